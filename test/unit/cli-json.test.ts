import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startControlServer, type ControlServer } from '../../agent/control/server.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { flatten } from '../../tools/cli/command-facts.ts';
import { jsonVersion } from '../../tools/cli/json.ts';
import { describeCommands } from '../../tools/cli/program.ts';
import { readText } from '../lab/markdown-files.ts';
import { runCli } from './cli-fixture.ts';
import { fakeAgent, sampleStatus } from './control-fixture.ts';

/** Fields of each command, by the page. */
const documented = new Map(
  [...readText('deploy/docs/json.md').matchAll(/^\| (`mailtwin [^|]*) \| ([^|]*) \|/gm)].flatMap(([, names = '', cell = '']) =>
    [...names.matchAll(/`mailtwin ([^`]+)`/g)].map(([, name = '']): [string, string[]] => [
      name,
      [...cell.matchAll(/`([^`]+)`/g)].map(([, field = '']) => field),
    ]),
  ),
);

let dir: string;
let server: ControlServer;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'mailtwin-json-'));
  server = await startControlServer({ stateDir: dir, api: fakeAgent(), log: silentLog });
});
afterEach(async () => {
  await server.close();
  rmSync(dir, { recursive: true, force: true });
});

describe('--json', () => {
  it('is described in deploy/docs/json.md for every command that has it', () => {
    const all = flatten(describeCommands('1.2.3')).filter(({ path }) => path.length > 0);
    const own = all.filter(({ options }) => options.some(({ names }) => names.includes('--json'))).map(({ path }) => path.join(' '));
    const inherited = ['nics assign', 'nics swap', 'nics identify', 'scrub restore'];
    expect([...documented.keys()].toSorted()).toEqual([...own, ...inherited].toSorted());
  });

  it.each([
    [['status']],
    [['wait']],
    [['verify']],
    [['scrub']],
    [['scrub', 'restore', 'mail/x', '--yes']],
    [['doctor']],
    [['gate']],
    [['fence', 'test']],
    [['nics']],
    [['nics', 'assign', 'lan', 'eno1']],
    [['nics', 'swap', 'lan', 'dmz']],
    [['pair']],
    [['salvage']],
    [['keep-this-store', '--confirm', 'mail-a']],
    [['allow-delete']],
    [['accept-root', 'mail']],
    [['migrate', 'status']],
    [['notify', 'test']],
    [['explain']],
    [['explain', 'peer-lost']],
    [['version']],
  ])('of %j has the version and fields that are described, and nothing else', async (args) => {
    const entry = { stateDirOf: async () => dir, gateUnits: async () => [], async *doctor() {} };
    const { out, err } = await runCli([...args, '--json'], entry);
    expect(err).toBe('');
    const { mailtwin, ...rest } = JSON.parse(out) as Record<string, unknown>;
    expect(mailtwin).toBe(jsonVersion);
    const typed = `${args.join(' ')} `;
    const [name = ''] = [...documented.keys()].filter((each) => typed.startsWith(`${each} `)).toSorted((x, y) => y.length - x.length);
    const known = documented.get(name);
    expect(Object.keys(rest).filter((field) => !known?.includes(field))).toEqual([]);
  });

  it('of an error has the version and the error alone', async () => {
    const { out, err, code } = await runCli(['status', '--json'], { stateDirOf: async () => join(dir, 'nowhere') });
    expect({ err, code }).toEqual({ err: '', code: 1 });
    expect(JSON.parse(out)).toEqual({ mailtwin: 1, error: expect.objectContaining({ code: 'agent-not-running', exitCode: 1 }) });
  });

  it('names every field of the status', () => {
    expect(documented.get('status')?.toSorted()).toEqual(Object.keys(sampleStatus()).toSorted());
  });
});
