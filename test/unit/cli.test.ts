import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { AgentApi } from '../../agent/control/api.ts';
import { startControlServer, type ControlServer } from '../../agent/control/server.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import { silentLog } from '../../agent/platform/log.ts';
import type { AgentEntry, DoctorFinding, InitOptions, JoinOptions, Status } from '../../protocol/control.ts';
import { fakeAgent, sampleStatus } from './control-fixture.ts';
import type { NicsReport } from '../../protocol/nics.ts';
import { commandGroups } from '../../tools/cli/command-groups.ts';
import { firstLine } from '../../tools/cli/terminal.ts';
import { recordingTerminal, runCli } from './cli-fixture.ts';

let dir: string;
let server: ControlServer | undefined;
let entry: Partial<AgentEntry>;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'mailtwin-cli-'));
  entry = { stateDirOf: async () => dir };
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  rmSync(dir, { recursive: true, force: true });
});
const serve = async (change: Partial<AgentApi> = {}) =>
  void (server = await startControlServer({ stateDir: dir, api: fakeAgent(change), log: silentLog }));

describe('usage', () => {
  it('shows help with a sentence, defaults and examples for every command', async () => {
    const help = await runCli(['--help'], entry);
    expect(help.code).toBe(0);
    for (const name of ['init', 'pair', 'run', 'status', 'wait', 'verify', 'scrub', 'doctor', 'allow-delete', 'demo']) {
      expect(help.out).toContain(`\n  ${name} `);
      const own = await runCli([name, '--help'], entry);
      expect(own).toMatchObject({ code: 0, err: '' });
      expect(own.out).toContain('Examples:');
      if (name !== 'demo') expect(own.out).toMatch(/\(default:\s+"\/etc\/mailtwin\/mailtwin.yaml",\s+env:\s+MAILTWIN_CONFIG\)/);
    }
  });

  it.each([
    [['nonsense']],
    [['status', '--nonsense']],
    [['wait', '--timeout', 'soon']],
    [['wait', '--timeout', '-1']],
    [['init', '--role', 'primary']],
    [['pair', '10.0.0.1:7420', 'ABCD', 'more']],
    [['status', 'more']],
    [['demo', '--messages', '0']],
    [[]],
  ])('%j is a usage error', async (args) => {
    const ran = await runCli(args, entry);
    expect(ran.code).toBe(2);
    expect(ran.err + ran.out).not.toMatch(/\n\s+at /);
  });

  it('tells its version', async () => {
    expect(await runCli(['--version'], entry)).toEqual({ code: 0, out: '1.2.3\n', err: '' });
  });
});

describe('errors', () => {
  it('says that no agent runs and what to do, without a stack', async () => {
    const ran = await runCli(['status'], entry);
    expect(ran.code).toBe(1);
    expect(ran.err).toMatch(/^mailtwin: agent-not-running: no agent is running on .*\n {2}what to do: .*mailtwin run/);
    expect(ran.err).not.toMatch(/\n\s+at /);
  });

  it('gives the same as JSON', async () => {
    const ran = await runCli(['status', '--json'], entry);
    expect(JSON.parse(ran.out)).toMatchObject({ error: { code: 'agent-not-running', exitCode: 1 } });
    expect(ran.err).toBe('');
  });

  it('knows the errors of the agent that it loads, and their exit codes', async () => {
    const stateDirOf = async () => {
      throw new OperatorError('config', 'mailtwin.yaml:3: rolle is not known', 'correct line 3', 2);
    };
    const ran = await runCli(['status'], { stateDirOf });
    expect(ran).toEqual({ code: 2, out: '', err: 'mailtwin: config: mailtwin.yaml:3: rolle is not known\n  what to do: correct line 3\n' });
  });

  it('shows the stack only of a fault', async () => {
    const stateDirOf = async () => {
      throw new TypeError('boom');
    };
    expect((await runCli(['status'], { stateDirOf })).err).toMatch(/mailtwin: internal: TypeError: boom\n\s+at /);
  });
});

describe('status', () => {
  it('prints text, and JSON that is the agent’s', async () => {
    await serve();
    const text = await runCli(['status'], entry);
    expect(text.code).toBe(0);
    expect(text.out).toContain('mail-a  primary, active, epoch 3');
    expect(JSON.parse((await runCli(['status', '--json'], entry)).out)).toEqual({ mailtwin: 1, ...sampleStatus() });
  });

  it('watches until Ctrl-C, redraws in place, and goes on when the agent is away', async () => {
    let reads = 0;
    await serve({
      status: () => {
        reads++;
        return sampleStatus({ epoch: reads });
      },
    });
    const terminal = recordingTerminal({ isTTY: true, columns: () => 60 });
    const ran = runCli(['status', '--watch'], entry, terminal);
    await vi.waitFor(() => expect(terminal.out.join('')).toContain('epoch 3'), { timeout: 30_000 });
    await server?.close();
    await vi.waitFor(() => expect(terminal.out.join('')).toContain('agent-not-running'), { timeout: 30_000 });
    terminal.interrupt();
    expect((await ran).code).toBe(0);
    expect(terminal.out[1]).toMatch(/^\u001b\[\d+A\r/);
    const widest = Math.max(
      ...terminal.out
        .join('')
        .replace(/\u001b\[[0-9;]*[A-Za-z]/g, '')
        .split(/[\r\n]/)
        .map((line) => line.length),
    );
    expect(widest).toBeLessThan(60);
  });
});

describe('wait and verify', () => {
  it('wait ends with the agent’s exit code', async () => {
    const wait = vi.fn(async function* () {
      yield { kind: 'done' as const, summary: 'not all is durable after 5 s', exitCode: 1, facts: { lagChanges: 4 } };
    });
    await serve({ wait });
    expect(await runCli(['wait', '--timeout', '5'], entry)).toMatchObject({ code: 1, out: 'not all is durable after 5 s\n' });
    expect(wait).toHaveBeenCalledWith(5, expect.anything());
    expect(JSON.parse((await runCli(['wait', '--json'], entry)).out)).toMatchObject({ lagChanges: 4 });
  });

  it('verify names each difference, without letting a folder name write on the terminal', async () => {
    const verify = vi.fn(async function* () {
      yield { kind: 'progress' as const, done: 1, total: 2, text: '' };
      yield { kind: 'difference' as const, root: 'mail', path: 'anna/.\u001b[2JX', what: 'content' };
      yield { kind: 'done' as const, summary: '1 difference', exitCode: 1, facts: { files: 2 } };
    });
    await serve({ verify });
    const ran = await runCli(['verify', '--deep'], entry);
    expect(ran.code).toBe(1);
    expect(ran.out).toBe('different  mail:anna/.\\x1b[2JX  content\n1 difference\n');
    expect(verify).toHaveBeenCalledWith(true, expect.anything());
    expect(JSON.parse((await runCli(['verify', '--json'], entry)).out)).toMatchObject({
      files: 2,
      exitCode: 1,
      differences: [{ root: 'mail', what: 'content' }],
    });
  });

  it('says what stopped a verify', async () => {
    await serve({
      async *verify() {
        yield { kind: 'progress', done: 1, total: 2, text: '' };
        throw new OperatorError('peer-gone', 'the peer is not connected', 'connect it', 5);
      },
    });
    expect(await runCli(['verify'], entry)).toMatchObject({
      code: 5,
      err: expect.stringContaining('mailtwin: peer-gone: the peer is not connected\n  what to do: connect it'),
    });
  });
});

describe('pair', () => {
  it('prints JSON at once on the primary', async () => {
    await serve();
    expect(JSON.parse((await runCli(['pair', '--json'], entry)).out)).toEqual({
      mailtwin: 1,
      code: 'ABCD-EFGH',
      expiresAt: '2026-01-02T03:14:05.000Z',
      fingerprint: 'aa:bb',
    });
  });

  it('shows code, life and fingerprint and waits for the standby', async () => {
    await serve();
    const ran = await runCli(['pair'], entry);
    expect(ran.code).toBe(0);
    expect(ran.out).toMatch(/ABCD-EFGH.*within 10 min[^]*aa:bb[^]*paired with mail-b\n$/);
  });

  it('leaves the code valid when the waiting is interrupted', async () => {
    await serve({
      // oxlint-disable-next-line require-yield
      async *pairingResult(signal) {
        await once(signal, 'abort');
      },
    });
    const terminal = recordingTerminal();
    const ran = runCli(['pair'], entry, terminal);
    await vi.waitFor(() => expect(terminal.out.join('')).toContain('Waiting'), { timeout: 30_000 });
    terminal.interrupt();
    expect((await ran).code).toBe(0);
    expect(terminal.out.join('')).toContain('stays valid until');
  });

  const join = (seen: { asked?: boolean; code?: string } = {}) => ({
    joinPair: async (options: JoinOptions) => {
      seen.code = options.code;
      seen.asked = await options.confirm({ own: 'aa:own', peer: 'bb:peer', peerNode: 'mail-a' });
      if (!seen.asked) throw new OperatorError('not-confirmed', 'the pairing was declined', 'nothing was changed', 3);
      return { pair: 'p', peerNode: 'mail-a', ownFingerprint: 'aa:own', peerFingerprint: 'bb:peer' };
    },
  });
  /** Somebody at a terminal, or a file on standard input, that tells the code. */
  const told = { tell: async () => 'ABCD' };

  it('asks for the code, and joins when the person confirms both fingerprints', async () => {
    const seen = {};
    const questions: string[] = [];
    const ran = await runCli(['pair', '10.0.0.1:7420'], join(seen), {
      tell: async (question) => (questions.push(question), 'ABCD'),
      ask: async () => 'yes',
    });
    expect([ran.code, ran.err, seen]).toEqual([0, '', { asked: true, code: 'ABCD' }]);
    expect(questions).toEqual([expect.stringMatching(/^Code that .* shows on the primary: $/)]);
    expect(ran.out).toMatch(/aa:own[^]*bb:peer[^]*Paired with mail-a/);
  });

  it('takes a code on the command line with a word of warning, and none is a usage error', async () => {
    const seen = {};
    const tell = vi.fn(async () => null);
    const ran = await runCli(['pair', '10.0.0.1:7420', 'ABCD', '--yes'], join(seen), { tell });
    expect([ran.code, seen, tell.mock.calls.length]).toEqual([0, { asked: true, code: 'ABCD' }, 0]);
    expect(ran.err).toContain('every user of this host could read the code from the command line');
    const joined = vi.fn(join().joinPair);
    expect(await runCli(['pair', '10.0.0.1:7420'], { joinPair: joined }, { tell })).toMatchObject({
      code: 2,
      err: expect.stringContaining('no-code'),
    });
    expect(joined).not.toHaveBeenCalled();
  });

  it.each([
    ['one line', ['ABCD-EFGH\n'], 'ABCD-EFGH'],
    ['a line in parts, without an end', ['AB', 'CD'], 'ABCD'],
    ['a line of a file from Windows, and more', ['ABCD\r\nmore\n'], 'ABCD'],
    ['nothing', [], null],
    ['an empty line', ['\n', 'ABCD\n'], null],
    ['a line without an end in sight', ['x'.repeat(5000)], null],
  ])('reads from standard input %s', async (_, parts, line) => {
    expect(await firstLine(Readable.from(parts))).toBe(line);
  });

  it.each(['no', '', 'yess'])('does not join on %j', async (answer) => {
    expect((await runCli(['pair', '10.0.0.1:7420'], join(), { ...told, ask: async () => answer })).code).toBe(3);
  });

  it('does not join when nobody can answer, and joins with --yes', async () => {
    expect(await runCli(['pair', '10.0.0.1:7420'], join(), told)).toMatchObject({ code: 3, err: expect.stringContaining('--yes') });
    expect((await runCli(['pair', '10.0.0.1:7420', '--yes'], join(), told)).code).toBe(0);
    expect(JSON.parse((await runCli(['pair', '10.0.0.1:7420', '--yes', '--json'], join(), told)).out)).toMatchObject({
      peerNode: 'mail-a',
    });
  });
});

describe('init, run, doctor, allow-delete', () => {
  it('hands init over with its defaults', async () => {
    const initNode = vi.fn(async (options: InitOptions) => ({
      file: options.file,
      state: options.state,
      fingerprint: 'aa',
      sandbox: null,
    }));
    const ran = await runCli(
      ['init', '--role', 'standby', '--node', 'b', '--root', 'mail=/m:maildir', '--root', 'ctl=/c:plain', '--config', '/x.yaml'],
      { initNode },
    );
    expect(ran.code).toBe(0);
    expect(initNode).toHaveBeenCalledWith({
      file: '/x.yaml',
      role: 'standby',
      node: 'b',
      roots: ['mail=/m:maildir', 'ctl=/c:plain'],
      listen: '0.0.0.0:7420',
      state: '/var/lib/mailtwin',
      metrics: '127.0.0.1:9720',
    });
    expect(ran.out).toContain('mailtwin pair HOST:PORT --config /x.yaml');
  });

  it('run gives the exit code of the agent', async () => {
    const runAgent = vi.fn(async () => 5);
    expect((await runCli(['run', '--config', '/x.yaml'], { runAgent })).code).toBe(5);
    expect(runAgent).toHaveBeenCalledWith('/x.yaml', { foreign: 'refuse' });
    await runCli(['run', '--config', '/x.yaml', '--move-aside'], { runAgent });
    expect(runAgent).toHaveBeenLastCalledWith('/x.yaml', { foreign: 'move-aside' });
    expect((await runCli(['run', '--adopt', '--move-aside'], { runAgent })).code).toBe(2);
  });

  const findings: DoctorFinding[] = [
    { id: 'config', level: 'pass', summary: 'loads', evidence: 'e', remedy: '' },
    { id: 'inotify', level: 'warn', summary: 'too few watches', evidence: '8192', remedy: 'raise it' },
  ];
  const doctorOf = (list: DoctorFinding[], seen: (Status | null)[] = []) => ({
    ...entry,
    async *doctor(_config: string, status: Status | null) {
      seen.push(status);
      yield* list;
    },
  });

  it('doctor warns with exit 0 and fails with exit 1', async () => {
    const seen: (Status | null)[] = [];
    const ran = await runCli(['doctor'], doctorOf(findings, seen));
    expect(ran.code).toBe(0);
    expect(seen).toEqual([null]);
    expect(ran.out).toMatch(
      /pass {2}config[^]*warn {2}inotify[^]*evidence: 8192[^]*what to do: raise it[^]*2 checks: 0 failures, 1 warning\n$/,
    );
    const failing = await runCli(
      ['doctor', '--json'],
      doctorOf([...findings, { id: 'x', level: 'fail', summary: 's', evidence: '', remedy: 'r' }]),
    );
    expect(failing.code).toBe(1);
    expect(JSON.parse(failing.out)).toMatchObject({ fails: 1, warns: 1 });
  });

  it('doctor gets the status of a running agent', async () => {
    await serve();
    const seen: (Status | null)[] = [];
    await runCli(['doctor'], doctorOf([], seen));
    expect(seen[0]?.node).toBe('mail-a');
  });

  it('allow-delete tells what is held and changes nothing; with a place it says what it released', async () => {
    await serve();
    const asked = await runCli(['allow-delete'], entry);
    expect(asked.code).toBe(3);
    expect(asked.out).toMatch(/^mail\/u1: the deletion of 1 file is held\nNothing was changed\. Name a place .*--all/);
    expect((await runCli(['allow-delete', 'mail/u1'], entry)).out).toBe('Released the deletion of 1 file at mail/u1.\n');
    expect((await runCli(['allow-delete', '--all'], entry)).code).toBe(0);
  });

  it('scrub shows how far it is and what is damaged, begins a pass, and puts nothing in place before a person said yes', async () => {
    const file = { root: 'mail', path: 'u1/cur/m\n', reason: 'other content', since: '2026-01-01T00:00:00.000Z', there: 'good' as const };
    const sample = sampleStatus();
    const status = { ...sample, scrub: { ...sample.scrub!, damaged: [file], damagedCount: 1 } };
    const started = vi.fn(async () => {});
    await serve({ status: () => status, startScrub: started });
    const shown = await runCli(['scrub'], entry);
    expect(shown.code).toBe(1);
    expect(shown.out).toMatch(/^pass +25 %, 100 files and 1.0 MB since/);
    expect(shown.out).toContain('damaged   1 file on mail-a\n  mail/u1/cur/m\\x0a\n      other content; found 2026-01-01');
    expect(shown.out).toContain('mailtwin scrub restore brings it back');
    expect(JSON.parse((await runCli(['scrub', '--json'], entry)).out)).toMatchObject({ damagedCount: 1, damaged: [file] });
    expect((await runCli(['scrub', 'start'], entry)).out).toContain('has begun');
    expect(started).toHaveBeenCalledOnce();
    const place = 'mail/u1/cur/m\n';
    const nobody = await runCli(['scrub', 'restore', place], entry);
    expect(nobody).toMatchObject({ code: 3 });
    expect(nobody.err).toContain('nobody confirmed; nothing was changed');
    expect((await runCli(['scrub', 'restore', place], entry, { ask: async () => 'no' })).code).toBe(3);
    expect((await runCli(['scrub', 'restore', place], entry, { ask: async () => 'yes' })).out).toContain('is back\n');
    expect((await runCli(['scrub', 'restore', place, '--yes', '--json'], entry)).out).toContain('"exitCode":0');
    expect((await runCli(['scrub', 'restore'], entry)).code).toBe(2);
  });

  it('scrub is well where nothing is damaged, and says where nothing is read again', async () => {
    await serve();
    expect((await runCli(['scrub'], entry)).code).toBe(0);
    await server?.close();
    await serve({ status: () => ({ ...sampleStatus(), scrub: null }) });
    expect(await runCli(['scrub'], entry)).toMatchObject({ code: 0, out: expect.stringContaining('is not read again') as string });
    await server?.close();
    const off = { ...sampleStatus().scrub!, days: 0, pass: null, oldestUnprovedAt: null, damagedCount: 1 };
    await serve({ status: () => ({ ...sampleStatus(), scrub: off }) });
    const damaged = await runCli(['scrub'], entry);
    expect(damaged).toMatchObject({ code: 1, out: expect.stringContaining('is not read again') as string });
    expect(damaged.out).toContain('1 file on');
    // Of very many files the status names some: nothing is put in place unasked for the others either.
    expect((await runCli(['scrub', 'restore', 'mail/one-of-many'], entry)).code).toBe(3);
  });

  it('accept-root says what it accepted, and wants a name', async () => {
    await serve();
    expect((await runCli(['accept-root', 'mail'], entry)).out).toBe('Accepted mail as it is now.\n');
    expect((await runCli(['accept-root'], entry)).code).toBe(2);
  });
});

describe('the help', () => {
  it('has every command in a group, and each group in its order', async () => {
    const { out } = await runCli(['--help'], entry);
    const shown = [...out.matchAll(/^([A-Z][a-z ]+):\n((?: {2}.*\n?)+)/gm)].map(([, title = '', lines = '']) => ({
      title,
      names: [...lines.matchAll(/^ {2}([a-z-]+)/gm)].map(([, name]) => name),
    }));
    const groups = shown.filter(({ title }) => title !== 'Options');
    expect(groups).toEqual(commandGroups.map(({ title, commands }) => ({ title, names: Object.keys(commands) })));
  });

  it.each([
    [['init', '--role', 'primary'], '--node <name>, --root <name=path:format>'],
    [['init'], '--role <role>, --node <name>, --root <name=path:format>'],
    [['nics', 'assign'], '<role>, <port>'],
    [['nics', 'swap', 'lan'], '<other-role>'],
    [['migrate', 'report'], '<file>'],
  ])('%j says all that is missing at once', async (args, missing) => {
    const { code, err } = await runCli(args, entry);
    expect(code).toBe(2);
    expect(err).toContain(`error: missing: ${missing}\n`);
  });
});

describe('version and completion', () => {
  it('tell what a report of a fault needs', async () => {
    expect(await runCli(['version'], entry)).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^mailtwin 1\.2\.3, Node\.js \d+\.\S+, linux \w+\n$/),
    });
    expect(JSON.parse((await runCli(['version', '--json'], entry)).out)).toMatchObject({ mailtwin: 1, version: '1.2.3' });
  });

  it.each(['bash', 'zsh', 'fish'])('print a script for %s', async (shell) => {
    const { code, out } = await runCli(['completion', shell], entry);
    expect(code).toBe(0);
    expect(out).toContain('completion words roles');
  });

  it('refuse a shell that they do not know, and ask for one', async () => {
    expect((await runCli(['completion', 'tcsh'], entry)).err).toContain('there is one for bash, zsh, fish');
    expect((await runCli(['completion'], entry)).code).toBe(2);
  });

  it('have words of a running agent, and nothing without one', async () => {
    expect(await runCli(['completion', 'words', 'roles'], entry)).toEqual({ code: 0, out: '', err: '' });
    const report = { node: 'mail-a', at: '', ports: [{ ifname: 'eno1' }], roles: [{ name: 'lan' }, { name: 'dmz' }], alarms: [] };
    await serve({ nics: async () => report as unknown as NicsReport });
    expect(await runCli(['completion', 'words', 'roles'], entry)).toEqual({ code: 0, out: 'lan\ndmz\n', err: '' });
    expect((await runCli(['completion', 'words', 'ports'], entry)).out).toBe('eno1\n');
  });
});

describe('MAILTWIN_CONFIG', () => {
  afterEach(() => vi.unstubAllEnvs());

  it.each([
    [['status'], '/from/environment'],
    [['status', '--config', '/given'], '/given'],
    [['fence', 'test'], '/from/environment'],
    [['nics', 'identify'], '/from/environment'],
    [['gate', 'install'], '/from/environment'],
  ])('names the configuration of %j unless --config does', async (args, expected) => {
    vi.stubEnv('MAILTWIN_CONFIG', '/from/environment');
    const asked: string[] = [];
    const stateDirOf = async (file: string) => (asked.push(file), dir);
    await runCli(args, { stateDirOf, gateUnits: async (file) => (asked.push(file), []) });
    expect(asked).toEqual([expected]);
  });
});
