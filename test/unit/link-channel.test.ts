import { EventEmitter } from 'node:events';
import type { TLSSocket } from 'node:tls';
import { expect, test } from 'vitest';
import type { WebSocket } from 'ws';
import { decode, encode } from '../../protocol/codec.ts';
import { limits } from '../../protocol/limits.ts';
import type { Message } from '../../protocol/messages.ts';
import { emptyPosition } from '../../protocol/position.ts';
import { PeerChannel } from '../../agent/link/peer-channel.ts';
import type { Clock } from '../../agent/platform/clock.ts';

/** A WebSocket that sends nothing: what was given to it, and how full it says it is. */
class FakeSocket extends EventEmitter {
  readonly sent: Message[] = [];
  readonly callbacks: (() => void)[] = [];
  bufferedAmount = 0;
  bytesRead = 0;
  closed = false;
  send(frame: Buffer, _options: object, callback: () => void): void {
    this.sent.push(decode(frame, () => 10));
    this.callbacks.push(callback);
  }
  written(): void {
    this.bufferedAmount = 0;
    for (const callback of this.callbacks.splice(0)) callback();
  }
  close(): void {
    this.closed = true;
  }
  terminate(): void {
    this.closed = true;
  }
  pause(): void {}
  resume(): void {}
}

/** Time that moves only when told. */
function manualClock(): Clock & { advance(ms: number): Promise<void> } {
  let now = 0;
  const timers = new Set<{ at: number; fn: () => void }>();
  return {
    monotonicMs: () => now,
    wallMs: () => now,
    after(ms, fn) {
      const timer = { at: now + ms, fn };
      timers.add(timer);
      return { cancel: () => void timers.delete(timer) };
    },
    yield: () => new Promise((resolve) => setImmediate(resolve)),
    async advance(ms) {
      const end = now + ms;
      for (;;) {
        const next = [...timers].sort((a, b) => a.at - b.at)[0];
        if (!next || next.at > end) break;
        now = Math.max(now, next.at);
        timers.delete(next);
        next.fn();
        await new Promise((resolve) => setImmediate(resolve));
        await new Promise((resolve) => setImmediate(resolve));
      }
      now = end;
    },
  };
}

function channelOn(allowance: number | null = null) {
  const socket = new FakeSocket();
  const clock = manualClock();
  const channel = new PeerChannel(socket as unknown as WebSocket, socket as unknown as TLSSocket, {
    clock,
    bulkAllowance: () => allowance,
  });
  const state: { ended: string | null } = { ended: null };
  void channel.ended.then((end) => (state.ended = end.code));
  return { socket, clock, channel, state };
}

const heartbeat: Message = {
  type: 'heartbeat',
  wallMs: 1,
  role: 'primary',
  epoch: 1,
  position: emptyPosition,
  lagChanges: 0,
  lagBytes: 0,
  lagMs: 0,
  phase: 'x',
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
const data = (id: number, bytes = limits.dataFrameBytesMax): Message => ({ type: 'slice', id, pieces: [], bytes: Buffer.alloc(bytes) });
const kinds = (socket: FakeSocket) => socket.sent.map((m) => (m.type === 'slice' ? `data${m.id}` : m.type));

test('while the socket is full bulk waits, and a heartbeat passes it', async () => {
  const { socket, channel } = channelOn();
  socket.bufferedAmount = 600 * 1024;
  const bulk = [channel.sendBulk(data(1)), channel.sendBulk(data(2))];
  channel.sendControl(heartbeat);
  expect(kinds(socket)).toEqual(['heartbeat']);
  socket.written();
  await Promise.all(bulk);
  expect(kinds(socket)).toEqual(['heartbeat', 'data1', 'data2']);
});

test('bulk stops at the end of the credit, to the byte, and goes on with what is granted', async () => {
  const { socket, channel } = channelOn();
  const frameBytes = encode(data(1)).length;
  const fits = Math.floor(limits.creditBytes / frameBytes);
  const sending = Array.from({ length: fits + 3 }, () => channel.sendBulk(data(1)));
  expect(socket.sent.length).toBe(fits);
  channel.onMessage(() => {});
  socket.emit('message', encode({ type: 'credit', bytes: frameBytes }), true);
  expect(socket.sent.length).toBe(fits + 1);
  socket.emit('message', encode({ type: 'credit', bytes: 2 * frameBytes }), true);
  await Promise.all(sending);
});

test('credit is granted in few large steps, for bulk alone', async () => {
  const { socket, channel } = channelOn();
  const done: (() => void)[] = [];
  channel.onMessage((_message, consumed) => done.push(consumed));
  socket.emit('message', encode({ type: 'batch', id: 1, from: emptyPosition }), true);
  const frame = encode(data(1));
  for (let i = 0; i < 20; i++) socket.emit('message', frame, true);
  socket.emit('message', encode(heartbeat), true);
  expect(done.length).toBe(22);
  for (const consumed of done) consumed();
  const granted = socket.sent.map((m) => (m.type === 'credit' ? m.bytes : 0));
  expect(granted.length).toBe(2);
  expect(Math.min(...granted)).toBeGreaterThanOrEqual(limits.creditBytes / 4);
});

test('messages that come before there is a handler are kept in order', () => {
  const { socket, channel } = channelOn();
  socket.emit('message', encode({ type: 'batch', id: 7, from: emptyPosition }), true);
  socket.emit('message', encode(data(7, 10)), true);
  const got: string[] = [];
  channel.onMessage((message) => got.push(message.type));
  socket.emit('message', encode(heartbeat), true);
  expect(got).toEqual(['batch', 'slice', 'heartbeat']);
});

test("a batch's directory table grows message by message, and bounds what ops may name (I11)", async () => {
  const { socket, channel, state } = channelOn();
  channel.onMessage((_message, consumed) => consumed());
  const ops = (id: number, dirs: number, dir: number): Message => ({
    type: 'ops',
    id,
    dirs: Array.from({ length: dirs }, (_, i) => ['mail', `d${i}`] as [string, string]),
    ops: [{ op: 'remove', at: { dir, name: 'x' }, tree: false }],
  });
  const feed = (message: Message) => socket.emit('message', encode(message), true);
  feed({ type: 'batch', id: 1, from: emptyPosition });
  feed(ops(1, 2, 1));
  feed(ops(1, 1, 2));
  // Given up in the middle; the next batch has a table of its own.
  feed({ type: 'batch', id: 2, from: emptyPosition });
  feed(ops(2, 1, 0));
  await Promise.resolve();
  expect(state.ended).toBeNull();
  feed(ops(2, 0, 1));
  await Promise.resolve();
  expect(state.ended).toBe('bad-message');
});

test('silence ends the channel; a wall clock that jumps does not, a frame or bytes of a large one keep it (I17)', async () => {
  const { socket, clock, channel, state } = channelOn();
  channel.onMessage((_message, consumed) => consumed());
  for (let i = 0; i < 10; i++) {
    await clock.advance(limits.peerSilentMs * 0.8);
    if (i % 2 === 0) socket.emit('message', encode(heartbeat), true);
    else socket.bytesRead += 1000;
  }
  expect(state.ended).toBeNull();
  clock.wallMs = () => 9e15;
  await clock.advance(100);
  expect(state.ended).toBeNull();
  await clock.advance(limits.peerSilentMs * 1.5);
  expect(state.ended).toBe('silent');
  expect(socket.sent.at(-1)).toMatchObject({ type: 'refuse', code: 'silent' });
});

test('a process that stood still itself does not take the peer for silent', async () => {
  const { socket, clock, channel, state } = channelOn();
  channel.onMessage((_message, consumed) => consumed());
  // The timer is late by a minute; what the peer sent meanwhile is read right after it.
  setImmediate(() => (socket.bytesRead += 10));
  const now = clock.monotonicMs();
  clock.monotonicMs = () => now + 60_000;
  await clock.advance(limits.peerSilentMs);
  expect(state.ended).toBeNull();
});

test('throttled bulk keeps to the rate, control does not wait for it', async () => {
  const { socket, clock, channel } = channelOn(100_000);
  channel.throttled = true;
  for (let i = 0; i < 5; i++) void channel.sendBulk(data(i, 99_000)).catch(() => {});
  channel.sendControl(heartbeat);
  const seen: number[] = [];
  for (let second = 0; second < 5; second++) {
    seen.push(socket.sent.filter((m) => m.type === 'slice').length);
    socket.bytesRead++;
    await clock.advance(1000);
  }
  expect(seen).toEqual([1, 2, 3, 4, 5]);
  expect(kinds(socket)[1]).toBe('heartbeat');
});

test('a peer that takes no control messages is given up before memory grows', () => {
  const { socket, channel } = channelOn();
  socket.bufferedAmount = 17 * 1024 * 1024;
  channel.sendControl(heartbeat);
  expect(socket.closed).toBe(true);
});

test('a peer that takes nothing for a minute is given up although it speaks; one that takes a frame now and then is not', async () => {
  const { socket, clock, channel, state } = channelOn();
  channel.onMessage((_message, consumed) => consumed());
  const seconds = async (count: number) => {
    for (let i = 0; i < count; i++) {
      socket.emit('message', encode(heartbeat), true);
      await clock.advance(1000);
    }
  };
  for (let i = 0; i < 3; i++) {
    socket.bufferedAmount = 1000;
    channel.sendControl(heartbeat);
    await seconds(50);
    socket.written();
  }
  await seconds(100);
  expect(state.ended).toBeNull();
  socket.bufferedAmount = 1000;
  channel.sendControl(heartbeat);
  await seconds(70);
  expect(state.ended).toBe('stuck');
});

test.each<[string, Message]>([
  ['control', { type: 'list', id: 1, root: 'mail', dir: '', after: '' }],
  ['bulk', { type: 'transferDrop', id: 1 }],
])('a peer that sends %s messages without end is cut off while nobody consumes them (I12)', async (_, message) => {
  const { socket, channel, state } = channelOn();
  const waiting: (() => void)[] = [];
  channel.onMessage((_message, consumed) => waiting.push(consumed));
  const frame = encode(message);
  for (let i = 0; i < 8000; i++) socket.emit('message', frame, true);
  await Promise.resolve();
  expect(state.ended).toBeNull();
  for (const consumed of waiting.splice(0)) consumed();
  for (let i = 0; i < 40_000; i++) socket.emit('message', frame, true);
  await Promise.resolve();
  expect(state.ended).toBe('flood');
  expect(waiting.length).toBeLessThan(17_000);
});

test('lanes are not mixed up, and nothing is sent after the end', async () => {
  const { socket, channel } = channelOn();
  expect(() => channel.sendControl(data(1))).toThrow(/not a control message/);
  expect(() => channel.sendBulk(heartbeat)).toThrow(/not a bulk message/);
  channel.close({ code: 'x', detail: 'y' });
  channel.sendControl(heartbeat);
  await expect(channel.sendBulk(data(1))).rejects.toMatchObject({ code: 'channel-closed', end: { code: 'x' } });
  expect(kinds(socket)).toEqual(['refuse']);
});
