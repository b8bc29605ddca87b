import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { createServer as createHttpServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { AgentApi } from '../../agent/control/api.ts';
import { startControlServer, type ControlServer } from '../../agent/control/server.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { controlLimits, type StreamLine } from '../../protocol/control.ts';
import { controlClient } from '../../tools/cli/control-client.ts';
import { fakeAgent, sampleStatus } from './control-fixture.ts';

let dir: string;
const servers: ControlServer[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'mailtwin-control-'));
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
  rmSync(dir, { recursive: true, force: true });
});

async function serve(change: Partial<AgentApi> = {}, stateDir = dir): Promise<ControlServer> {
  const server = await startControlServer({ stateDir, api: fakeAgent(change), log: silentLog });
  servers.push(server);
  return server;
}

async function all(lines: AsyncIterable<StreamLine>): Promise<StreamLine[]> {
  const seen: StreamLine[] = [];
  for await (const line of lines) seen.push(line);
  return seen;
}

function raw(method: string, path: string, body: string): Promise<{ status: number; body: { code: string } }> {
  return new Promise((resolve, reject) => {
    const req = request({ socketPath: join(dir, 'control.sock'), method, path, agent: false }, (response) => {
      let text = '';
      response.on('data', (part) => (text += part));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) }));
    });
    req.on('error', reject);
    req.end(body);
  });
}

describe('control socket', () => {
  it('answers status and is closed to other users', async () => {
    const server = await serve();
    expect(statSync(server.path).mode & 0o777).toBe(0o600);
    expect(await controlClient(dir).ask('GET /status', null)).toEqual(sampleStatus());
    await server.close();
    expect(existsSync(server.path)).toBe(false);
  });

  it('works in a directory whose path is longer than a socket address', async () => {
    const long = join(dir, 'a'.repeat(120), 'b'.repeat(120));
    mkdirSync(long, { recursive: true });
    await serve({}, long);
    expect((await controlClient(long).ask('GET /status', null)).node).toBe('mail-a');
    await expect(serve({}, long)).rejects.toMatchObject({ code: 'already-running' });
  });

  it('refuses a second agent and leaves the first one reachable', async () => {
    await serve();
    await expect(serve()).rejects.toMatchObject({ code: 'already-running' });
    expect((await controlClient(dir).ask('GET /status', null)).node).toBe('mail-a');
    expect(readdirSync(dir)).toEqual(['agent.lock', 'control.sock']);
  });

  it('takes over the socket that a killed agent left behind', async () => {
    const script = `require('net').createServer().listen(${JSON.stringify(join(dir, 'control.sock'))}, () => console.log('up'))`;
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await once(child.stdout, 'data');
      await expect(serve()).rejects.toMatchObject({ code: 'already-running' });
    } finally {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    }
    expect(existsSync(join(dir, 'control.sock'))).toBe(true);
    await serve();
    expect((await controlClient(dir).ask('GET /status', null)).node).toBe('mail-a');
  });

  it('lets only one of many agents that start at once win', async () => {
    const results = await Promise.allSettled(Array.from({ length: 5 }, () => serve()));
    expect(results.filter((r) => r.status === 'fulfilled')).toHaveLength(1);
    expect((await controlClient(dir).ask('GET /status', null)).node).toBe('mail-a');
  });

  it('says that no agent runs, with what to do', async () => {
    await expect(controlClient(dir).ask('GET /status', null)).rejects.toMatchObject({
      code: 'agent-not-running',
      remedy: expect.stringContaining('mailtwin run'),
    });
  });

  it('says that an agent gave no answer, whether it never began one or never ended it', async () => {
    const asked = [0, 0];
    const server = createHttpServer((message, response) => {
      const halfway = message.url === '/nics';
      asked[halfway ? 1 : 0]!++;
      if (!halfway) return;
      response.writeHead(200, { 'content-length': '100' });
      response.write('{');
    });
    server.listen(join(dir, 'control.sock'));
    await once(server, 'listening');
    const silent = { code: 'agent-silent', message: expect.stringContaining('no answer') as string };
    const client = controlClient(dir, { answerMs: 100 });
    try {
      // A machine that is slow may need more than one time to be asked at all.
      while (asked[0] === 0) await expect(client.ask('GET /status', null)).rejects.toMatchObject(silent);
      while (asked[1] === 0) await expect(client.ask('GET /nics', null)).rejects.toMatchObject(silent);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  it('passes on operator errors and hides no exit code', async () => {
    const by = { uid: 0, user: 'root', tty: null, sudoUser: null };
    await serve({
      allowDelete() {
        throw new OperatorError('nothing-held', 'no deletion is held', 'nothing to do', 3);
      },
    });
    await expect(controlClient(dir).ask('POST /allow-delete', { places: ['mail/u1'], all: false, by })).rejects.toMatchObject({
      code: 'nothing-held',
      exitCode: 3,
      remedy: 'nothing to do',
    });
  });

  it('reports a fault as internal and logs it', async () => {
    const error = vi.fn();
    servers.push(
      await startControlServer({
        stateDir: dir,
        log: { ...silentLog, error },
        api: fakeAgent({
          status() {
            throw new TypeError('boom');
          },
        }),
      }),
    );
    await expect(controlClient(dir).ask('GET /status', null)).rejects.toMatchObject({ code: 'internal' });
    expect(error).toHaveBeenCalled();
  });

  it('streams lines and ends with an error line when the work throws', async () => {
    await serve({
      async *verify(deep) {
        yield { kind: 'progress', done: 1, total: 2, text: deep ? 'deep' : 'shallow' };
        throw new OperatorError('peer-gone', 'the peer is not connected', 'connect it');
      },
    });
    expect(await all(controlClient(dir).stream('POST /verify', { deep: true }))).toEqual([
      { kind: 'progress', done: 1, total: 2, text: 'deep' },
      { kind: 'error', code: 'peer-gone', message: 'the peer is not connected', remedy: 'connect it', exitCode: 1 },
    ]);
  });

  it('aborts the work when the client goes away', async () => {
    let aborted!: () => void;
    const seen = new Promise<void>((resolve) => {
      aborted = resolve;
    });
    await serve({
      async *wait(_timeout, signal) {
        yield { kind: 'progress', done: 0, total: 1, text: 'waiting' };
        await once(signal, 'abort');
        aborted();
      },
    });
    for await (const line of controlClient(dir).stream('POST /wait', { timeoutSeconds: 60 })) {
      expect(line.kind).toBe('progress');
      break;
    }
    await seen;
  });

  it('says so when the agent ends before the result', async () => {
    const server = await serve({
      async *wait(_timeout, signal) {
        yield { kind: 'progress', done: 0, total: 1, text: 'waiting' };
        await once(signal, 'abort');
      },
    });
    const work = (async () => {
      for await (const line of controlClient(dir).stream('POST /wait', { timeoutSeconds: 60 }))
        if (line.kind === 'progress') void server.close();
    })();
    await expect(work).rejects.toMatchObject({ code: 'agent-ended' });
  });

  it('holds a stream back while the client does not read (I12)', async () => {
    let made = 0;
    await serve({
      async *verify(_deep, signal) {
        while (!signal.aborted && made < 100_000) {
          made++;
          yield { kind: 'difference', root: 'mail', path: 'x'.repeat(1000), what: 'differs' };
        }
        yield { kind: 'done', summary: '', exitCode: 1, facts: {} };
      },
    });
    const socket = connect(join(dir, 'control.sock'));
    await once(socket, 'connect');
    socket.pause();
    socket.write('POST /verify HTTP/1.1\r\nhost: x\r\ncontent-length: 14\r\n\r\n{"deep":false}');
    // It has filled every buffer once it makes nothing more.
    await vi.waitFor(
      async () => {
        const before = made;
        await delay(100);
        expect(made).toBeGreaterThan(0);
        expect(made).toBe(before);
      },
      { timeout: 30_000, interval: 10 },
    );
    expect(made).toBeLessThan(10_000);
    socket.destroy();
  });

  it.each([
    ['GET', '/nothing', '', 404],
    ['POST', '/wait', '{', 400],
    ['POST', '/wait', '{"timeoutSeconds":"1"}', 400],
    ['POST', '/wait', '{"timeoutSeconds":1,"more":1}', 400],
    ['POST', '/verify', JSON.stringify({ deep: 'x'.repeat(controlLimits.requestBytesMax) }), 413],
  ])('refuses %s %s %s', async (method, path, body, status) => {
    await serve();
    expect(await raw(method, path, body)).toMatchObject({ status, body: { code: 'bad-request' } });
  });

  it('answers stop before it stops', async () => {
    const stop = vi.fn();
    await serve({ stop });
    expect(await controlClient(dir).ask('POST /stop', {})).toEqual({});
    await vi.waitFor(() => expect(stop).toHaveBeenCalledOnce(), { timeout: 30_000 });
  });

  it('explains a control socket that cannot be made', async () => {
    await expect(serve({}, join(dir, 'missing'))).rejects.toMatchObject({ code: 'control-socket' });
  });

  it('does not take a listener that is not an agent for a stale socket', async () => {
    const other = createServer((socket) => socket.end());
    other.listen(join(dir, 'control.sock'));
    await once(other, 'listening');
    await expect(serve()).rejects.toMatchObject({ code: 'already-running' });
    other.close();
    await once(other, 'close');
  });
});
