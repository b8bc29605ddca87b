import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { AgentApi } from '../../agent/control/api.ts';
import { nameOf, signedBy } from '../../agent/control/caller.ts';
import { startControlServer, type ControlServer } from '../../agent/control/server.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { loginUid, peerCredentials, terminalOf, userName } from '../../agent/platform/peer-credentials.ts';
import type { Operator } from '../../protocol/takeover.ts';
import { controlClient } from '../../tools/cli/control-client.ts';
import { run } from '../lab/processes.ts';
import { fakeAgent } from './control-fixture.ts';

let dir = '';
let server: ControlServer | undefined;
const seen: Operator[] = [];
const log = { ...silentLog, info: vi.fn() };

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'mailtwin-caller-'));
  seen.length = 0;
  log.info.mockClear();
  const api: Partial<AgentApi> = {
    async allowDelete({ by }) {
      seen.push(by);
      return { held: [], released: [] };
    },
  };
  server = await startControlServer({ stateDir: dir, api: fakeAgent(api), log });
});
afterEach(async () => {
  await server?.close();
  rmSync(dir, { recursive: true, force: true });
});

/** What a command would say of itself; none of it is true. */
const claimed = { uid: 4711, user: 'mallory', tty: 'pts/99', sudoUser: 'anna' };
const own = process.getuid?.() ?? 0;

/** A process of its own that gives a command and says that it is somebody else. */
function commandOf(before: string, wrap: (script: string) => string[] = (script) => ['sh', '-c', script]): Promise<unknown> {
  const body = JSON.stringify({ places: [], all: false, by: claimed });
  const script = join(dir, 'command.mjs');
  writeFileSync(
    script,
    `import { request } from 'node:http';
     const asked = request({ socketPath: ${JSON.stringify(join(dir, 'control.sock'))}, path: '/allow-delete', method: 'POST' }, (answer) => answer.resume());
     asked.end(${JSON.stringify(body)});`,
  );
  const [program = '', ...args] = wrap(`${before} echo $$ > ${dir}/pid; exec ${process.execPath} ${script}`);
  return run(program, args);
}

describe('who gave a command', () => {
  it('is what the kernel says, whatever the command says', async () => {
    await commandOf('');
    const pid = Number(readFileSync(join(dir, 'pid'), 'utf8'));
    expect(pid).not.toBe(process.pid);
    expect(seen).toEqual([{ uid: own, user: await userName(own), pid, tty: null, login: expectedLogin(), sudoUser: 'anna' }]);
  });

  it('is known by its terminal', async () => {
    await commandOf(`tty > ${dir}/tty;`, (script) => ['script', '--quiet', '--return', '--command', script, '/dev/null']);
    expect(seen[0]?.tty).toBe(readFileSync(join(dir, 'tty'), 'utf8').trim().replace('/dev/', ''));
    expect(seen[0]?.tty).toMatch(/^pts\/\d+$/);
  });

  it.skipIf(own !== 0 || !existsSync('/proc/self/loginuid'))('is named by the login behind su and sudo as well', async () => {
    await commandOf('echo 65534 > /proc/self/loginuid &&');
    expect(seen[0]).toMatchObject({ uid: 0, login: { uid: 65_534, user: 'nobody' } });
    expect(nameOf(seen[0] as Operator)).toBe('root (login nobody)');
  });

  it('stands in the log for what has no audit entry, and in the word of a person that a node is off', async () => {
    await controlClient(dir).ask('POST /pair', { replace: false });
    expect(log.info).toHaveBeenCalledWith(
      expect.objectContaining({ request: '/pair', uid: own, pid: process.pid }),
      expect.stringMatching(/^asked by /),
    );
    const caller: Operator = { uid: 0, user: 'root', pid: 7, tty: null, login: { uid: 1000, user: 'anna' }, sudoUser: null };
    const manual = { node: 'mail-a', by: 'mallory', evidence: 'no power' };
    expect(signedBy({ confirm: 'mail-a', by: claimed, manual }, caller)).toEqual({
      confirm: 'mail-a',
      by: caller,
      manual: { ...manual, by: 'root (login anna)' },
    });
    expect(signedBy({ manual: null, by: claimed }, caller)).toEqual({ manual: null, by: caller });
    expect(signedBy({ deep: true }, caller)).toEqual({ deep: true });
  });

  it('is nobody where there is no local socket', async () => {
    const listening = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => listening.once('listening', resolve));
    const socket = connect((listening.address() as { port: number }).port, '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    // TCP knows no such thing: the kernel tells pid 0 and no user, which is nobody's number.
    expect(peerCredentials(socket)).toEqual({ pid: 0, uid: 0xffff_ffff, gid: 0xffff_ffff });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.destroy();
    await closed;
    expect(peerCredentials(socket)).toBeNull();
    listening.close();
    expect([loginUid(2 ** 22 + 1), terminalOf(2 ** 22 + 1)]).toEqual([null, null]);
    expect(await userName(0)).toBe('root');
    expect(await userName(3_999_999_999)).toBe('uid 3999999999');
  });
});

function expectedLogin(): unknown {
  const uid = loginUid(process.pid);
  return uid === null ? null : expect.objectContaining({ uid });
}
