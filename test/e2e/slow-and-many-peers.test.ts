import { readFileSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { expect, it } from 'vitest';
import { encode } from '../../protocol/codec.ts';
import { exactTree, treeDifferences } from '../lab/exact-tree.ts';
import { RoguePeer } from '../lab/rogue-peer.ts';
import { SmallPair, type SmallNode } from '../lab/small-pair.ts';
import { waitFor } from '../lab/waiting.ts';

const patienceMs = 120_000;
const bytesOf = (node: SmallNode) => Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${node.agent.pid}/status`, 'utf8'))?.[1]) * 1024;

/** The beginning of a TLS greeting, which never goes on. */
const halfHello = Buffer.from('16030100c8010000c40303', 'hex');

/** Thousands of connections of strangers, each half open, over and over, from two hundred addresses. */
class Crowd implements Disposable {
  opened = 0;
  readonly #sockets = new Set<Socket>();
  #isOver = false;

  constructor(port: number, count: number) {
    for (let i = 0; i < count; i++) this.#one(port, `127.0.2.${(i % 200) + 1}`, i % 3);
  }

  #one(port: number, localAddress: string, kind: number): void {
    if (this.#isOver) return;
    const socket = connect({ host: '127.0.0.1', port, localAddress });
    this.#sockets.add(socket);
    let drip: NodeJS.Timeout | undefined;
    socket.on('connect', () => {
      this.opened++;
      if (kind === 1) socket.write(halfHello);
      // A byte a second: the whole greeting would take minutes.
      if (kind === 2) drip = setInterval(() => socket.write(halfHello.subarray(0, 1)), 1000);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      clearInterval(drip);
      this.#sockets.delete(socket);
      setTimeout(() => this.#one(port, localAddress, kind), 50);
    });
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    for (const socket of this.#sockets) socket.destroy();
  }
}

it('five thousand half-open connections and slow ones keep the real peer out of nothing, and cost no memory (I12, I13)', async () => {
  await using pair = await SmallPair.running();
  const { primary, standby } = pair;
  const before = bytesOf(primary);
  await standby.stop();
  using crowd = new Crowd(primary.port, 400);
  await waitFor('five thousand connections', patienceMs, () => crowd.opened >= 5000);
  writeFileSync(`${primary.root}/f`, 'in the midst of it');
  await standby.start();
  await pair.settled();
  expect(treeDifferences(exactTree(primary.root), exactTree(standby.root))).toEqual([]);
  expect(bytesOf(primary)).toBeLessThan(before + 512 * 1024 ** 2);
  expect(primary.log).toMatch(/gave way to a newer one|more connections within a minute/);
  // A line for each would fill the disk.
  expect(primary.log.split('\n').filter((line) => line.includes('"level":"warn"')).length).toBeLessThan(100);
});

it('a peer that never reads has little in memory waiting for it, and gives way to the real one (I12)', async () => {
  await using pair = await SmallPair.running();
  const { primary, standby } = pair;
  await standby.stop();
  for (let i = 0; i < 20; i++) writeFileSync(`${primary.root}/large-${i}`, Buffer.alloc(4 << 20, i));
  const before = bytesOf(primary);
  const peer = await RoguePeer.connect(standby, primary.port);
  peer.ws.send(encode(peer.hello));
  await primary.until('the peer', (s) => s.peer.connected);
  peer.ws.pause();
  // Questions whose answers it never takes; each is one to the limit of what may wait.
  for (let i = 0; i < 5000 && peer.ws.readyState === peer.ws.OPEN; i++)
    peer.ws.send(encode({ type: 'takeoverAsk', id: i, ask: { ask: 'state', takeover: 't' } }));
  expect(primary.agent.isRunning).toBe(true);
  await standby.start();
  await pair.settled();
  peer.ws.terminate();
  expect(treeDifferences(exactTree(primary.root), exactTree(standby.root))).toEqual([]);
  expect(bytesOf(primary)).toBeLessThan(before + 512 * 1024 ** 2);
});
