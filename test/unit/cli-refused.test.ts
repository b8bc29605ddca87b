import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { GuardResult, Plan, PredictedLoss } from '../../protocol/takeover.ts';
import { startControlServer, type ControlServer } from '../../agent/control/server.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { fakeAgent } from './control-fixture.ts';
import { runCli } from './cli-fixture.ts';

const state = mkdtempSync(join(tmpdir(), 'mailtwin-refused-'));
let server: ControlServer;
let guards: GuardResult[] = [];
const nothing: PredictedLoss = { mailboxes: 0, messages: 0, seconds: 0, changes: 0 };
let loss = nothing;
const result = (guard: GuardResult['guard'], level: GuardResult['level'], overridable: boolean): GuardResult => ({
  guard,
  level,
  summary: `${guard} says ${level}`,
  evidence: 'seen',
  remedy: 'mend it',
  overridable,
});
const plan = (): Plan => ({
  plan: 1,
  id: 'p1',
  kind: 'failover',
  node: 'mail-b',
  target: 'mail-a',
  epoch: 2,
  createdAt: '2026-01-02T03:04:05.000Z',
  expiresAt: '2026-01-02T03:19:05.000Z',
  guards,
  overrides: [],
  predictedLoss: loss,
  steps: [],
  basis: {
    role: 'standby',
    epoch: 1,
    seenEpoch: 1,
    peerRole: null,
    peerEpoch: null,
    peerConnected: false,
    position: '1:1:00',
    addressesAnswered: null,
    configDigest: 'x',
  },
  digest: 'd',
});

beforeAll(async () => {
  server = await startControlServer({ stateDir: state, api: fakeAgent({ takeoverPlan: async () => plan() }), log: silentLog });
});
afterAll(async () => {
  await server.close();
  rmSync(state, { recursive: true, force: true });
});

/** What the person types, question by question; nothing more is answered. */
let answers: string[] = [];

async function failover(...args: string[]): Promise<{ code: number; out: string; asked: string[] }> {
  const asked: string[] = [];
  const ask = async (question: string) => {
    asked.push(question);
    return answers[asked.length - 1] ?? null;
  };
  const ran = await runCli(['failover', ...args], { stateDirOf: async () => state }, { ask });
  return { code: ran.code, out: ran.out, asked };
}

describe('a takeover that is refused', () => {
  it('is refused before anything is asked; what fails stands first, and the last line counts it', async () => {
    guards = [
      result('role', 'pass', false),
      result('isolation', 'fail', true),
      result('unproven', 'warn', true),
      result('disk-space', 'fail', true),
    ];
    const { code, out, asked } = await failover();
    expect([code, asked]).toEqual([3, []]);
    const at = (text: string) => out.indexOf(text);
    expect(at('isolation says fail')).toBeLessThan(at('disk-space says fail'));
    expect(at('disk-space says fail')).toBeLessThan(at('role says pass'));
    expect(out).toContain('--override isolation');
    expect(out.trimEnd().split('\n').at(-1)).toBe('REFUSED: 2 of 4 checks fail: isolation, disk-space. Nothing was changed.');
  });

  it('offers no override beside a check that cannot be overridden', async () => {
    guards = [result('peer-state', 'fail', false), result('unproven', 'fail', true)];
    const { out } = await failover();
    expect(out).toContain('this check cannot be overridden');
    expect(out).not.toContain('--override');
  });

  it('asks when nothing fails', async () => {
    guards = [result('role', 'pass', false)];
    expect((await failover()).asked).toHaveLength(1);
  });

  it('leaves no file of a dry run that nobody asked for', async () => {
    guards = [result('role', 'pass', false)];
    const dir = mkdtempSync(join(tmpdir(), 'mailtwin-dry-'));
    const before = process.cwd();
    process.chdir(dir);
    try {
      expect((await failover('--dry-run')).code).toBe(0);
      expect(readdirSync(dir)).toEqual([]);
      await failover('--dry-run', '--plan', 'kept.json');
      expect(readdirSync(dir)).toEqual(['kept.json']);
    } finally {
      process.chdir(before);
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

describe('mail that waits in the queue of the node that goes out of service', () => {
  it('is shown with the plan, and named again where the loss is accepted, of which it is no part', async () => {
    guards = [result('role', 'pass', false)];
    loss = { ...nothing, seconds: 3, queue: { mta: 'postfix', messages: 42, more: false, oldestMs: null, readMs: 0, why: '' } };
    answers = ['mail-a'];
    const { out, asked } = await failover();
    expect(out).toContain('not replicated   42 messages wait in the queue of mail-a, which is not replicated: they are on its disk');
    expect(asked[1]).toMatch(/^This may be lost: .* 3 s unheard\.\nBesides, 42 messages wait in the queue of mail-a, .*\nType yes/);
    loss = { ...nothing, seconds: 3, queue: { ...loss.queue!, messages: 0 } };
    const empty = await failover();
    expect([empty.out, empty.asked.join()]).not.toContain('queue of mail-a');
    expect(empty.out).not.toContain('queue');
    expect(empty.asked[1]).not.toContain('queue');
  });
});
