import { createCipheriv } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SmallPair } from '../lab/small-pair.ts';
import { TcpProxy } from '../lab/tcp-proxy.ts';

const kib = 1024;
const mib = 1024 * kib;
/** The loop of neither agent may stand still for longer: the peer is taken for gone after 5 s. */
const answerMsMax = 4000;
const memory = existsSync('/dev/shm') ? { base: '/dev/shm' } : {};

describe('bytes on the wire', () => {
  let pair: SmallPair;
  let proxy: TcpProxy;
  let root: string;

  beforeAll(async () => {
    pair = await SmallPair.create({ ...memory, format: 'maildir', set: { massDelete: '100%' } });
    root = pair.primary.root;
    await pair.primary.start();
    proxy = await TcpProxy.start({ port: pair.primary.port });
    // The standby knows the primary by the address at which it was paired: all that they say goes through the proxy.
    const { code } = JSON.parse(await pair.primary.ok('pair', '--json')) as { code: string };
    await pair.standby.ok('pair', `127.0.0.1:${proxy.port}`, code, '--yes');
    await pair.standby.start();
    await pair.settled();
  });

  afterAll(async () => {
    await pair?.[Symbol.asyncDispose]();
    await proxy?.stop();
  });

  /** Bytes in both directions, heartbeats included, until what `work` did is durable on the standby. */
  async function bytesOf(work: () => void): Promise<number> {
    const before = proxy.passed.up + proxy.passed.down;
    work();
    await pair.settled(300_000);
    return proxy.passed.up + proxy.passed.down - before;
  }

  /** The same, while both agents are asked for their status again and again; `slowestMs` is the longest that one took. */
  async function bytesWhileAnswering(work: () => void): Promise<{ bytes: number; slowestMs: number }> {
    let isOver = false;
    let slowestMs = 0;
    const ask = async (node: SmallPair['primary']): Promise<void> => {
      while (!isOver) {
        const asked = performance.now();
        await node.status();
        slowestMs = Math.max(slowestMs, performance.now() - asked);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    const asking = [ask(pair.primary), ask(pair.standby)];
    const bytes = await bytesOf(work).finally(() => (isOver = true));
    await Promise.all(asking);
    return { bytes, slowestMs };
  }

  it('sends the tail of a file of 1 GiB that grows by 10 KiB, and stands still for neither', async () => {
    const path = join(root, 'archive.mbox');
    const filled = await bytesWhileAnswering(() => {
      writeFileSync(path, '');
      truncateSync(path, 1024 * mib);
    });
    expect(filled.slowestMs).toBeLessThan(answerMsMax);
    const grown = await bytesWhileAnswering(() => writeFileSync(path, noise(10 * kib, 1), { flag: 'a' }));
    console.log(
      `10 KiB appended to 1 GiB: ${grown.bytes} bytes; slowest answer ${Math.round(Math.max(filled.slowestMs, grown.slowestMs))} ms`,
    );
    expect(grown.bytes).toBeLessThan(64 * kib);
    expect(grown.slowestMs).toBeLessThan(answerMsMax);
    expect(proxy.accepted).toBe(2);
    unlinkSync(path);
    await pair.settled();
  });

  it('sends the changed chunks of a file of 256 MiB with 4 KiB inserted in its middle', async () => {
    const old = noise(256 * mib, 2);
    await bytesOf(() => writeFileSync(join(root, 'database'), old));
    const bytes = await bytesOf(() => {
      const next = join(pair.primary.dir, 'next');
      const fd = openSync(next, 'w');
      for (const part of [old.subarray(0, 128 * mib), noise(4 * kib, 3), old.subarray(128 * mib)])
        for (let at = 0; at < part.length;) at += writeSync(fd, part, at);
      closeSync(fd);
      renameSync(next, join(root, 'database'));
    });
    console.log(`4 KiB inserted into 256 MiB: ${bytes} bytes`);
    expect(bytes).toBeLessThan(mib);
    unlinkSync(join(root, 'database'));
    await pair.settled();
  });

  it('sends no body for flags, names, links, modes, times and deletions', async () => {
    const count = 10_000;
    const cur = join(root, 'cur');
    const name = (i: number): string => `17000${10_000 + i}.M${i}P4242.mail-a,S=2048,W=2100:2,`;
    await bytesOf(() => {
      for (const dir of [cur, join(root, 'new'), join(root, 'tmp')]) mkdirSync(dir);
      for (let i = 0; i < count; i++) writeFileSync(join(cur, name(i)), noise(2048, 100 + i));
    });
    const each = (change: (i: number) => void) => (): void => {
      for (let i = 0; i < count; i++) change(i);
    };
    const sizes: Record<string, number> = {
      flags: await bytesOf(each((i) => renameSync(join(cur, name(i)), join(cur, `${name(i)}S`)))),
      mode: await bytesOf(each((i) => chmodSync(join(cur, `${name(i)}S`), 0o640))),
      time: await bytesOf(each((i) => utimesSync(join(cur, `${name(i)}S`), 1_600_000_000, 1_600_000_000 + i))),
      link: await bytesOf(each((i) => linkSync(join(cur, `${name(i)}S`), join(root, 'new', `link-${i}`)))),
      delete: await bytesOf(each((i) => unlinkSync(join(cur, `${name(i)}S`)))),
    };
    console.log(
      `bytes each: ${Object.entries(sizes)
        .map(([what, bytes]) => `${what} ${(bytes / count).toFixed(1)}`)
        .join(', ')}`,
    );
    expect(sizes['flags']).toBeLessThan(2 * mib);
    for (const [what, bytes] of Object.entries(sizes)) expect(bytes / count, what).toBeLessThan(150);
  });
});

/** Bytes that nothing compresses and no chunk repeats, the same ones for the same seed. */
function noise(length: number, seed: number): Buffer {
  const iv = Buffer.alloc(16);
  iv.writeUInt32BE(seed, 0);
  return createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), iv).update(Buffer.alloc(length));
}
