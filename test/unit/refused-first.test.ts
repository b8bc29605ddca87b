import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RejoinBody } from '../../protocol/control.ts';
import { startControlServer, type ControlServer } from '../../agent/control/server.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { judged, refuseFailing, type Judged } from '../../agent/wiring/checks.ts';
import { allowDelete } from '../../agent/wiring/held.ts';
import { Lines } from '../../agent/wiring/lines.ts';
import { refusals } from '../../agent/failover/guards.ts';
import type { PrimaryRole } from '../../agent/replicate/primary/role.ts';
import type { GuardResult } from '../../protocol/takeover.ts';
import { fakeAgent } from './control-fixture.ts';
import { runCli } from './cli-fixture.ts';

const role = judged('role', '', 'pass', { summary: 'this node was replaced' });
const down = judged('down', 'not-down', 'fail', { summary: 'this node is not down', remedy: 'stop the services' });
const salvaged = judged('salvaged', 'unsalvaged', 'fail', {
  summary: '2 messages are only here',
  remedy: 'give --salvage',
  override: '--override unsalvaged',
});

const state = mkdtempSync(join(tmpdir(), 'mailtwin-refused-first-'));
let server: ControlServer;
let checks: Judged[] = [];
let bodies: RejoinBody[] = [];

const answer = (signal: AbortSignal) =>
  Lines.of(signal, async (push) => {
    refuseFailing(checks, push);
    push({ kind: 'done', summary: 'done', exitCode: 0, facts: {} });
  });

beforeAll(async () => {
  const api = fakeAgent({
    rejoin: (body, signal) => {
      bodies.push(body);
      return answer(signal);
    },
    salvage: (_, signal) => answer(signal),
  });
  server = await startControlServer({ stateDir: state, api, log: silentLog });
});
afterAll(async () => {
  await server.close();
  rmSync(state, { recursive: true, force: true });
});

async function cli(...args: string[]) {
  bodies = [];
  const asked: string[] = [];
  const ask = async (question: string) => {
    asked.push(question);
    return 'mail-a';
  };
  const ran = await runCli(args, { stateDirOf: async () => state }, { ask });
  return { ...ran, asked, lines: (ran.out + ran.err).trimEnd().split('\n') };
}

describe('a command that is refused', () => {
  it.each([[['rejoin']], [['salvage', '--apply']]])(
    '%j: tells each check before it asks anything, those that fail first, and ends with one line',
    async (args) => {
      checks = [role, down, salvaged];
      const { code, out, asked, lines } = await cli(...args);
      expect([code, asked]).toEqual([3, []]);
      const at = (text: string) => out.indexOf(text);
      expect(at('this node is not down')).toBeLessThan(at('2 messages are only here'));
      expect(at('2 messages are only here')).toBeLessThan(at('this node was replaced'));
      expect(lines.at(-1)).toContain('REFUSED: 2 of 3 checks fail: down, salvaged. Nothing was changed.');
      // What cannot be overridden says so, and beside it nothing is offered.
      expect(out).toContain('this check cannot be overridden');
      expect(out).not.toContain('--override');
    },
  );

  it('offers an override where it helps', async () => {
    checks = [role, salvaged];
    const { out, lines } = await cli('rejoin');
    expect(out).toContain('if you know better: --override unsalvaged');
    expect(lines.at(-1)).toContain('REFUSED: 1 of 2 checks fails: salvaged.');
  });

  it('asks when nothing fails, and judges alone before that', async () => {
    checks = [role];
    const { code, asked } = await cli('rejoin', '--salvage');
    expect([code, asked.length]).toEqual([0, 1]);
    expect(bodies.map(({ judge, confirm, salvage }) => [judge, confirm, salvage])).toEqual([
      [true, '', true],
      [false, 'mail-a', true],
    ]);
  });
});

describe('deletions that are let go by name', () => {
  it('names all places at which nothing is held, and changes nothing', async () => {
    const held = { root: 'mail', place: 'u1', files: 3 };
    let released = 0;
    const primary = {
      deletions: [held],
      holds: { list: () => [{ root: 'mail', path: 'u1', code: 'mass-delete', detail: '3 files' }] },
      keptPlaces: () => [],
      allowDelete: async () => released++,
    } as unknown as PrimaryRole;
    const by = { uid: 0, user: 'root', tty: null, sudoUser: null };
    const error = await allowDelete(primary, { places: ['mail/u1', 'mail/u2', 'mail/u3'], all: false, by }, async () => {}).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: 'not-held', exitCode: 3 });
    const lines = (error as Error).message.split('\n');
    expect(lines[0]).toMatch(/mail\/u2, mail\/u3.*cannot be overridden/);
    expect(lines.at(-1)).toBe('REFUSED: 2 of 3 places are not held. Nothing was changed.');
    expect(released).toBe(0);
  });
});

describe('what the agent says of a takeover that it refuses', () => {
  const result = (guard: GuardResult['guard'], overridable: boolean): GuardResult => ({
    guard,
    level: 'fail',
    summary: 'x',
    evidence: '',
    remedy: 'mend it',
    overridable,
  });

  it('offers no override beside a check that is final, as that of a primary that is heard', () => {
    const remedies = (...results: GuardResult[]) => refusals(results, []).map(({ remedy }) => remedy);
    expect(remedies(result('isolation', true))).toEqual(['mend it; or `--override isolation` if you know better']);
    expect(remedies(result('isolation', true), result('peer-state', false))).toEqual([
      'mend it',
      'mend it; this check cannot be overridden',
    ]);
  });
});
