import { rmSync, writeFileSync } from 'node:fs';
import { connect as netConnect } from 'node:net';
import { connect as tlsConnect, type TLSSocket } from 'node:tls';
import fc from 'fast-check';
import { Packr } from 'msgpackr';
import { afterEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { encode } from '../../protocol/codec.ts';
import { limits } from '../../protocol/limits.ts';
import type { Message } from '../../protocol/messages.ts';
import { emptyPosition } from '../../protocol/position.ts';
import { backoffMs } from '../../agent/link/backoff.ts';
import { judgeHello, makeHello, type Hello } from '../../agent/link/handshake.ts';
import { shortFingerprint, type Identity } from '../../agent/link/identity.ts';
import { linkPath } from '../../agent/link/listener.ts';
import { allowanceAt, RateLimit } from '../../agent/link/rate-limit.ts';
import { clientTls } from '../../agent/link/tls.ts';
import { introduce, TestNode, until } from '../lab/link-pair.ts';
import { TcpProxy } from '../lab/tcp-proxy.ts';

const clean: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const step of clean.splice(0).reverse()) await step();
});

function nodes(): { a: TestNode; b: TestNode } {
  const a = new TestNode('mail-a', 'primary');
  const b = new TestNode('mail-b', 'standby');
  clean.push(
    () => a.stop(),
    () => b.stop(),
  );
  return { a, b };
}

async function connected(through?: (port: number) => Promise<number>) {
  const { a, b } = nodes();
  introduce(a, b);
  const port = await a.listen();
  b.connect(through ? await through(port) : port);
  const onA = await until('channel on the primary', () => a.channels[0]);
  const onB = await until('channel on the standby', () => b.channels[0]);
  return { a, b, onA, onB, port };
}

async function proxied() {
  let proxy: TcpProxy | undefined;
  const pair = await connected(async (port) => {
    proxy = await TcpProxy.start({ port });
    clean.push(() => proxy?.stop());
    return proxy.port;
  });
  if (!proxy) throw new Error('no proxy');
  return { ...pair, proxy };
}

const said = (node: TestNode) =>
  node.lines
    .filter((line) => line.level === 'warn')
    .map((line) => line.text)
    .join('\n');
const heartbeat: Message = {
  type: 'heartbeat',
  wallMs: 1,
  role: 'primary',
  epoch: 1,
  position: emptyPosition,
  lagChanges: 0,
  lagBytes: 0,
  lagMs: 0,
  phase: 'streaming',
  lossMailboxes: null,
  lossMessages: null,
  lossBytes: null,
  filesTotal: null,
  appliedMs: 0,
  active: true,
  space: [],
  unproven: 0,
  leftOut: 0,
  warnings: [],
  doubts: [],
  complete: false,
  laggingCount: 0,
  lagging: [],
  fileSystems: [],
  queue: null,
  certificate: null,
  releases: null,
  damaged: 0,
};
const batch = (id: number): Message => ({ type: 'batch', id, from: emptyPosition });
const data = (id: number, bytes: number): Message => ({ type: 'slice', id, pieces: [], bytes: Buffer.alloc(bytes, id) });

/** A stranger's or traitor's way in: TLS with whatever key, then WebSocket. */
function raw(port: number, identity: Identity): Promise<{ ws: WebSocket; socket: TLSSocket }> {
  return new Promise((resolve, reject) => {
    const socket = tlsConnect(clientTls(identity, 'link', { host: '127.0.0.1', port }));
    clean.push(() => void socket.destroy());
    socket.on('error', reject);
    socket.once('secureConnect', () => {
      const ws = new WebSocket(`ws://x${linkPath}`, { createConnection: () => socket, perMessageDeflate: false });
      ws.on('error', reject);
      ws.on('open', () => resolve({ ws, socket }));
    });
  });
}

describe('keys (I13)', () => {
  test('the pinned peer connects, and each side learns who it is', async () => {
    const { onA, onB } = await connected();
    expect(onA.hello).toMatchObject({ node: 'mail-b', role: 'standby', pair: 'pair-1', roots: ['mail:maildir'] });
    expect(onB.hello).toMatchObject({ node: 'mail-a', role: 'primary' });
    onA.channel.sendControl(heartbeat);
    const { message } = await until('heartbeat', () => onB.got[0]);
    expect(message).toEqual(heartbeat);
  });

  test('a node that was never paired is refused, and both sides say why', async () => {
    const { a, b } = nodes();
    introduce(a, b);
    const stranger = new TestNode('mail-x', 'standby');
    clean.push(() => stranger.stop());
    stranger.pins.write({ ...(b.pins.read() ?? expect.fail()) });
    stranger.connect(await a.listen());
    await until('refusal', () => stranger.connector?.lastError);
    expect(stranger.connector?.lastError?.code).toBe('wrong-key');
    const short = shortFingerprint(stranger.identity.fingerprint);
    expect(stranger.connector?.lastError?.detail).toMatch(
      `showed key ${short}, but key ${shortFingerprint(b.identity.fingerprint)} is pinned for mail-b`,
    );
    expect(a.listener?.lastError).toMatchObject({ code: 'wrong-key', detail: expect.stringContaining(short) });
    expect(said(a)).toContain(`showed key ${short}`);
    expect(a.channels).toEqual([]);
  });

  test('a node that is not paired itself says so to the other', async () => {
    const { a, b } = nodes();
    introduce(a, b);
    const empty = new TestNode('mail-e', 'primary');
    clean.push(() => empty.stop());
    b.connect(await empty.listen());
    // The standby looks first: the key is not the pinned one, whoever it is.
    await until('refusal on both', () => b.connector?.lastError && empty.listener?.lastError);
    expect(b.connector?.lastError?.code).toBe('wrong-key');
    expect(empty.listener?.lastError?.code).toBe('unpaired');
    const { a: a2, b: b2 } = nodes();
    introduce(a2, b2);
    rmSync(`${a2.dir}/peer.json`);
    b2.connect(await a2.listen());
    await until('refusal', () => b2.connector?.lastError);
    expect(b2.connector?.lastError).toMatchObject({ code: 'unpaired', detail: expect.stringContaining('not paired yet') });
  });

  test('a primary with a new key is refused, and it learns why', async () => {
    const { a, b } = nodes();
    introduce(a, b);
    const old = shortFingerprint(a.identity.fingerprint);
    const fresh = shortFingerprint(a.newKey().fingerprint);
    b.connect(await a.listen());
    await until('refusal', () => b.connector?.lastError);
    expect(b.connector?.lastError).toMatchObject({
      code: 'wrong-key',
      detail: expect.stringContaining(`showed key ${fresh}, but key ${old} is pinned for mail-a`),
    });
    await until('reason on the primary', () => a.listener?.lastError);
    expect(a.listener?.lastError?.detail).toContain(
      `the other side refused this node: the node that listens showed key ${fresh}, but key ${old}`,
    );
    expect(a.channels.length + b.channels.length).toBe(0);
  });

  test('a standby with a new key is refused', async () => {
    const { a, b } = nodes();
    introduce(a, b);
    b.newKey();
    b.connect(await a.listen());
    await until('refusal', () => b.connector?.lastError);
    expect(b.connector?.lastError).toMatchObject({ code: 'wrong-key', detail: expect.stringMatching(/pair the two again/) });
  });

  test('a client without a certificate is refused without a byte of it being read', async () => {
    const { a, b } = nodes();
    introduce(a, b);
    const port = await a.listen();
    const answer = await new Promise<string>((resolve, reject) => {
      let text = '';
      const socket = tlsConnect({ host: '127.0.0.1', port, rejectUnauthorized: false, ALPNProtocols: ['mailtwin/1'] });
      socket.on('data', (part: Buffer) => (text += part.toString()));
      socket.on('close', () => resolve(text));
      socket.on('error', reject);
    });
    // It had sent nothing.
    expect(answer).toMatch(/^HTTP\/1\.1 403 .*"code":"no-certificate"/s);
    expect(a.channels).toEqual([]);
  });

  test.each([
    ['TLS 1.2', { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const],
    ['an unknown purpose', { ALPNProtocols: ['h2'] }],
  ])('%s is refused', async (_, change) => {
    const { a, b } = nodes();
    introduce(a, b);
    const port = await a.listen();
    const error = await new Promise<Error>((resolve, reject) => {
      const socket = tlsConnect({ ...clientTls(b.identity, 'link', { host: '127.0.0.1', port }), ...change });
      socket.on('secureConnect', () => reject(new Error('connected')));
      socket.on('error', resolve);
    });
    expect(error.message).toMatch(/alert|EPROTO|version|protocol/i);
    await until('a line', () => a.listener?.lastError);
    expect(a.listener?.lastError?.code).toBe('tls');
  });

  test('what is no TLS at all, and a client that stays silent, take nothing down', async () => {
    const { a, b } = nodes();
    introduce(a, b);
    const port = await a.listen();
    const socket = netConnect(port, '127.0.0.1');
    clean.push(() => void socket.destroy());
    const silent = netConnect(port, '127.0.0.1');
    clean.push(() => void silent.destroy());
    socket.on('error', () => {});
    silent.on('error', () => {});
    socket.write('GET / HTTP/1.1\r\n\r\n');
    await until('a line', () => a.listener?.lastError?.code === 'tls');
    b.connect(port);
    await until('channel', () => a.channels[0]);
  });

  test('pairing anew with another node ends the old connection', async () => {
    const { a, onA, onB } = await connected();
    const other = new TestNode('mail-c', 'standby');
    clean.push(() => other.stop());
    introduce(a, other, 'pair-2');
    expect((await onA.channel.ended).code).toBe('unpaired');
    expect((await onB.channel.ended).detail).toContain('mail-c');
  });
});

describe('first messages', () => {
  const { a, b } = nodes();
  introduce(a, b);
  const hello = (node: TestNode, change: Partial<Hello> = {}): Hello => {
    const pin = node.pins.read();
    if (!pin) throw new Error('not paired');
    return { ...makeHello(node.config, pin, node.options.hello(), 1000), ...change };
  };
  const mine = hello(a);
  const theirs = hello(b);

  test.each([
    ['version', { oldest: 7, newest: 9 }, /mail-a\) has version 2, .*mail-b\) has versions 7 to 9/],
    ['wrong-pair', { pair: 'pair-9' }, /has pair pair-1, .*has pair pair-9/],
    ['same-node', { node: 'mail-a' }, /both nodes are called mail-a/],
    ['same-role', { role: 'primary' as const }, /has role primary, .*has role primary/],
    ['roots', { roots: ['mail:plain'] }, /has roots mail:maildir, .*has roots mail:plain/],
    ['epoch', { epoch: limits.numberMax }, /has epoch 1, .*has epoch 281474976710655/],
    ['epoch', { position: { ...emptyPosition, epoch: limits.epochLeapMax + 2 } }, /has epoch 1, .*has epoch 1000002/],
  ])('%s is refused with both values, on either side', (code, change, text) => {
    const verdict = judgeHello(mine, { ...theirs, ...change });
    expect(verdict?.code).toBe(code);
    expect(verdict?.detail).toMatch(text);
    expect(judgeHello({ ...theirs, ...change }, mine)?.code).toBe(code);
  });

  test('clocks that differ by an hour are no reason, and overlapping versions neither', () => {
    expect(judgeHello(mine, { ...theirs, wallMs: 1000 + 3_600_000 })).toBeNull();
    expect(judgeHello({ ...mine, oldest: 1, newest: 3 }, { ...theirs, oldest: 3, newest: 4 })).toBeNull();
  });

  test.each([
    ['wrong-pair', (n: TestNode) => n.pins.write({ ...(n.pins.read() ?? expect.fail()), pair: 'pair-9' }), 'pair-9'],
    ['same-role', (n: TestNode) => void (n.role = 'primary'), 'role primary'],
    ['roots', (n: TestNode) => void n.config.roots.pop(), 'none'],
  ])('over the wire: %s, and both sides know', async (code, spoil, text) => {
    const pair = nodes();
    introduce(pair.a, pair.b);
    spoil(pair.b);
    pair.b.connect(await pair.a.listen());
    await until('refusal on both', () => pair.a.listener?.lastError && pair.b.connector?.lastError);
    for (const error of [pair.a.listener?.lastError, pair.b.connector?.lastError])
      expect(error).toMatchObject({ code, detail: expect.stringContaining(text) });
    expect(pair.a.channels.length + pair.b.channels.length).toBe(0);
  });

  test('a future hello with other fields is told apart by its versions', async () => {
    const pair = nodes();
    introduce(pair.a, pair.b);
    const { ws } = await raw(await pair.a.listen(), pair.b.identity);
    ws.send(new Packr({ useRecords: false }).pack([1, 8, 9, 'something new', { of: 'version 8' }]));
    await until('refusal', () => pair.a.listener?.lastError);
    expect(pair.a.listener?.lastError).toMatchObject({
      code: 'version',
      detail: expect.stringMatching(/version 2, the other has versions 8 to 9/),
    });
  });

  test.each([
    ['garbage', Buffer.from([0xc1, 0xff, 0x00, 0x13]), 'bad-message'],
    ['another message first', encode({ type: 'credit', bytes: 1 }), 'bad-message'],
    ['text', 'hello', 'bad-message'],
    ['an oversized frame', Buffer.alloc(limits.frameBytesMax + 1), 'oversized-frame'],
  ])('%s instead of hello ends the connection', async (_, frame, code) => {
    const pair = nodes();
    introduce(pair.a, pair.b);
    const { ws } = await raw(await pair.a.listen(), pair.b.identity);
    ws.on('error', () => {});
    ws.send(frame);
    await until('refusal', () => pair.a.listener?.lastError);
    expect(pair.a.listener?.lastError?.code).toBe(code);
    await until('closed', () => ws.readyState === WebSocket.CLOSED);
  });
});

describe('an established connection', () => {
  test.each([
    ['garbage', Buffer.from([0x93, 0x01, 0x02, 0x03]), 'bad-message'],
    ['text', 'text', 'bad-message'],
    ['ops without a batch', encode({ type: 'ops', id: 3, dirs: [['mail', '']], ops: [] }), 'bad-message'],
    ['credit that was never used', encode({ type: 'credit', bytes: 1 }), 'bad-message'],
    ['a second hello', null, 'bad-message'],
    ['an oversized frame', Buffer.alloc(limits.frameBytesMax + 1), 'oversized-frame'],
  ])('%s ends it with a reason', async (_, frame, code) => {
    const pair = nodes();
    introduce(pair.a, pair.b);
    const { ws } = await raw(await pair.a.listen(), pair.b.identity);
    ws.on('error', () => {});
    const closed: string[] = [];
    ws.on('message', (part: Buffer) => void closed.push(part.toString('latin1')));
    const mine = makeHello(pair.b.config, pair.b.pins.read() ?? expect.fail(), pair.b.options.hello(), 1);
    ws.send(encode(mine));
    const onA = await until('channel', () => pair.a.channels[0]);
    ws.send(frame ?? encode(mine));
    expect((await onA.channel.ended).code).toBe(code);
    await until('closed', () => ws.readyState === WebSocket.CLOSED);
    if (code === 'bad-message') expect(closed.some((text) => text.includes('bad-message'))).toBe(true);
  });

  test('a peer that sends more bulk than it was granted is cut off (I12)', async () => {
    const pair = nodes();
    introduce(pair.a, pair.b);
    pair.a.consumes = false;
    const { ws } = await raw(await pair.a.listen(), pair.b.identity);
    ws.on('error', () => {});
    ws.send(encode(makeHello(pair.b.config, pair.b.pins.read() ?? expect.fail(), pair.b.options.hello(), 1)));
    const onA = await until('channel', () => pair.a.channels[0]);
    const frame = encode(data(1, 200_000));
    for (let sent = 0; sent <= limits.creditBytes; sent += frame.length) ws.send(frame);
    expect(await onA.channel.ended).toMatchObject({ code: 'bad-message', detail: expect.stringContaining('granted') });
  });

  test('the sender waits when the receiver consumes nothing, and goes on when it does (I12)', async () => {
    const { a, b, onA, onB } = await connected();
    b.consumes = false;
    const size = limits.dataFrameBytesMax;
    let sent = 0;
    const total = 64;
    const sending = (async () => {
      await onA.channel.sendBulk(batch(1));
      for (let i = 0; i < total; i++) {
        await onA.channel.sendBulk(data(1, size));
        sent++;
      }
    })();
    const most = Math.floor(limits.creditBytes / size);
    await until('the window to fill', () => sent >= most - 1 && onB.got.length >= sent);
    // Control still passes, both ways, while bulk waits.
    onA.channel.sendControl(heartbeat);
    await until('heartbeat', () => onB.got.some(({ message }) => message.type === 'heartbeat'));
    expect(sent).toBeLessThanOrEqual(most);
    b.consumes = true;
    for (const { done } of onB.got) done();
    await sending;
    await until('all to arrive', () => onB.got.filter(({ message }) => message.type === 'slice').length === total);
    expect(a.channels.length + b.channels.length).toBe(2);
  });

  test('bulk keeps its order, and done twice grants once', async () => {
    const { b, onA, onB } = await connected();
    b.consumes = false;
    await onA.channel.sendBulk(batch(1));
    for (let i = 0; i < 100; i++) await onA.channel.sendBulk({ type: 'slice', id: i, pieces: [], bytes: Buffer.alloc(50_000) });
    await until('all', () => onB.got.length === 101);
    expect(onB.got.slice(1).map(({ message }) => (message.type === 'slice' ? message.id : -1))).toEqual(
      Array.from({ length: 100 }, (_, i) => i),
    );
    for (const { done } of onB.got) {
      done();
      done();
    }
    onB.channel.sendControl({ ...heartbeat, role: 'standby' });
    await new Promise((resolve) => setImmediate(resolve));
    expect(onA.end).toBeNull();
  });

  test('a heartbeat overtakes bulk that waits for the line', async () => {
    const { onA, onB, proxy } = await proxied();
    proxy.bytesPerSecond = 4 * 1024 * 1024;
    const sending: Promise<void>[] = [onA.channel.sendBulk(batch(1))];
    for (let i = 0; i < 60; i++) sending.push(onA.channel.sendBulk(data(1, limits.dataFrameBytesMax)));
    const settled = Promise.allSettled(sending);
    await until('bulk to flow', () => onB.got.length > 2);
    const before = onB.got.length;
    onA.channel.sendControl(heartbeat);
    const at = await until('heartbeat', () => onB.got.findIndex(({ message }) => message.type === 'heartbeat') + 1 || null, 15_000);
    // Of the 15 MB that waited, only what the socket and the proxy had already taken came first.
    expect(at - before).toBeLessThan(50);
    expect(onB.got.filter(({ message }) => message.type === 'slice').length).toBeLessThan(60);
    onA.channel.close({ code: 'test', detail: 'enough' });
    await settled;
  });

  test('a sender that waits is told when the connection ends', async () => {
    const { b, onA, onB, proxy } = await proxied();
    b.consumes = false;
    const sending = (async () => {
      await onA.channel.sendBulk(batch(1));
      for (;;) await onA.channel.sendBulk(data(1, limits.dataFrameBytesMax));
    })();
    const outcome = sending.catch((error: unknown) => error);
    await until('some bulk', () => onB.got.length > 3);
    proxy.cut();
    expect(await outcome).toMatchObject({ code: 'channel-closed' });
    expect((await onB.channel.ended).code).toBe('connection-lost');
    await expect(onA.channel.sendBulk(batch(2))).rejects.toMatchObject({ code: 'channel-closed' });
  });

  test('the bandwidth limit holds bulk while it is throttled, and only then', async () => {
    const { a, onA, onB } = await connected();
    a.config.limits.bandwidth = [{ fromMinute: 0, toMinute: 1440, bytesPerSecond: 100_000 }];
    onA.channel.throttled = true;
    const startMs = performance.now();
    await onA.channel.sendBulk(batch(1));
    for (let i = 0; i < 4; i++) await onA.channel.sendBulk(data(1, 20_000));
    const throttledMs = performance.now() - startMs;
    expect(throttledMs).toBeGreaterThan(450);
    onA.channel.throttled = false;
    const freeMs = performance.now();
    for (let i = 0; i < 20; i++) await onA.channel.sendBulk(data(1, 200_000));
    await until('all', () => onB.got.length === 25);
    // Under the limit it would take 40 s.
    expect(performance.now() - freeMs).toBeLessThan(20_000);
  });

  test('the reason for closing reaches the other side', async () => {
    const { onA, onB } = await connected();
    onA.channel.close({ code: 'diverged', detail: 'because' });
    expect(await onA.channel.ended).toEqual({ code: 'diverged', detail: 'because' });
    expect(await onB.channel.ended).toEqual({ code: 'diverged', detail: 'the other side ended the connection: because' });
  });

  test('a silent peer is given up on the monotonic clock (I17)', async () => {
    const { onA, onB, proxy } = await proxied();
    const beat = setInterval(() => {
      onA.channel.sendControl(heartbeat);
      onB.channel.sendControl({ ...heartbeat, role: 'standby' });
    }, 500);
    clean.push(() => clearInterval(beat));
    await until('life', () => onA.got.length > 2 && onB.got.length > 2);
    const heard = onB.got.length;
    await until('the next sign of life', () => onB.got.length > heard);
    const startMs = performance.now();
    proxy.stall('down');
    // What the standby hears nothing of, it ends; the primary learns it from the standby.
    expect(await onB.channel.ended).toMatchObject({ code: 'silent', detail: expect.stringMatching(/nothing was heard for \d+\.\d s/) });
    const tookMs = performance.now() - startMs;
    expect(tookMs).toBeGreaterThan(limits.peerSilentMs - 500);
    // A machine that stands still for a while sees it later.
    expect(tookMs).toBeLessThan(limits.peerSilentMs + 20_000);
    expect(await onA.channel.ended).toMatchObject({ code: 'silent' });
  });
});

describe('finding the peer again', () => {
  test('after a cut the standby comes back by itself', async () => {
    const { a, b, onA, proxy } = await proxied();
    for (let round = 1; round <= 3; round++) {
      proxy.cut();
      await until('the next connection', () => a.channels.length === round + 1 && b.channels.length === round + 1);
    }
    expect((await onA.channel.ended).code).toBe('connection-lost');
    expect(proxy.accepted).toBe(4);
  });

  test('while the peer refuses, attempts grow rarer', async () => {
    const { a, b, proxy } = await proxied();
    proxy.refusing = true;
    proxy.cut();
    await until('a failure', () => b.connector?.lastError?.code === 'unreachable');
    const failures = () => b.lines.filter((line) => line.text.startsWith('no connection')).length;
    await until('three failures', () => failures() >= 3);
    // The same failure again and again is told once.
    const told = b.lines.filter((line) => line.level === 'warn').map((line) => line.text);
    expect(told.filter((text, i) => text === told[i - 1])).toEqual([]);
    proxy.refusing = false;
    await until('a new connection', () => a.channels.length === 2 && b.connector?.state === 'connected');
    expect(b.connector?.lastError).toBeNull();
  });

  test('backoff doubles to its bound, half of it chance', () => {
    expect([0, 1, 2, 5, 6, 1000].map((n) => backoffMs(n, 0))).toEqual([100, 200, 400, 3200, 5000, 5000]);
    fc.assert(
      fc.property(
        fc.nat(100),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (n, r) => backoffMs(n, r) >= 100 && backoffMs(n, r) <= 10_000,
      ),
    );
  });

  test('several addresses are tried in order, those of the configuration before those of pairing', async () => {
    const { a, b } = nodes();
    introduce(a, b);
    const dead = await TcpProxy.start({ port: 1 });
    dead.refusing = true;
    clean.push(() => dead.stop());
    const port = await a.listen();
    b.pins.write({ ...(b.pins.read() ?? expect.fail()), addresses: [{ host: '127.0.0.1', port }] });
    b.connect(dead.port);
    const { address } = await until('channel', () => b.channels[0]);
    expect(address).toBe(`127.0.0.1:${port}`);
  });

  test('a standby begins by itself once it is paired', async () => {
    const { a, b } = nodes();
    b.connect(await a.listen());
    await until('unpaired', () => b.connector?.state === 'unpaired');
    introduce(a, b);
    await until('channel', () => b.channels[0]);
  });

  test('a damaged pin file is told and never taken for "not paired"', async () => {
    const { a, b } = nodes();
    introduce(a, b);
    writeFileSync(`${b.dir}/peer.json`, '{"version":1,"pair":"x"}');
    b.connect(await a.listen());
    await until('complaint', () => b.connector?.lastError);
    expect(b.connector?.lastError).toMatchObject({ code: 'peer-file', detail: expect.stringMatching(/peer\.json is damaged/) });
  });

  test('a newer connection of the same peer replaces the old one', async () => {
    const { a, b, onA, port } = await connected();
    const twin = new TestNode('mail-b', 'standby');
    clean.push(() => twin.stop());
    twin.identity = b.identity;
    twin.boot = 'boot-2';
    twin.pins.write(b.pins.read() ?? expect.fail());
    twin.connect(port);
    expect(await onA.channel.ended).toMatchObject({ code: 'replaced' });
    await b.connector?.stop();
    await until('the newer one', () => a.channels.at(-1)?.hello.boot === 'boot-2' && a.channels.at(-1)?.end === null);
    expect(a.listener?.state).toBe('connected');
  });

  test('stopping either side leaves nothing behind and tells the other', async () => {
    const { a, b, onB } = await connected();
    await a.listener?.stop();
    expect(await onB.channel.ended).toMatchObject({ code: 'stopping', detail: expect.stringContaining('mail-a is being stopped') });
    await b.connector?.stop();
    expect([a.listener?.state, b.connector?.state]).toEqual(['stopped', 'stopped']);
  });

  test('a port that is taken is an error for the operator', async () => {
    const { a, b } = nodes();
    b.config.listen.port = await a.listen();
    await expect(b.listen()).rejects.toMatchObject({
      code: 'listen',
      message: expect.stringContaining('EADDRINUSE'),
      remedy: expect.stringContaining('listen'),
    });
  });
});

describe('bandwidth windows', () => {
  const windows = [
    { fromMinute: 480, toMinute: 1080, bytesPerSecond: 1 },
    { fromMinute: 1320, toMinute: 360, bytesPerSecond: null },
    { fromMinute: 0, toMinute: 1440, bytesPerSecond: 2 },
  ];
  test.each([
    [479, 2],
    [480, 1],
    [1079, 1],
    [1080, 2],
    [1320, null],
    [0, null],
    [359, null],
    [360, 2],
  ])('minute %i', (minute, allowance) => expect(allowanceAt(windows, minute)).toBe(allowance));

  test('without a window there is no limit', () => expect(allowanceAt([], 7)).toBeNull());

  test('over any time the bucket lets through no more than rate, burst and one frame', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ afterMs: fc.nat(500), bytes: fc.integer({ min: 1, max: 300_000 }) }), { maxLength: 200 }),
        (tries) => {
          const rate = 1_000_000;
          const limit = new RateLimit(0);
          let now = 0;
          let passed = 0;
          for (const { afterMs, bytes } of tries) {
            now += afterMs;
            if (limit.take(bytes, rate, now) === 0) passed += bytes;
          }
          return passed <= (now / 1000) * rate + rate / 10 + 300_000;
        },
      ),
    );
  });
});
