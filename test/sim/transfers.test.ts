import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Message, MessageType } from '../../protocol/messages.ts';
import { PlainPair } from './plain-pair.ts';
import { SimRandom } from './sim-random.ts';

const MiB = 1024 * 1024;
const random = new SimRandom(11);
const content = (bytes: number) => random.bytes(bytes);
/** Two megabytes a second, as over a wide line. */
const slow = { bytesPerMs: 2000, latencyMs: [0.2, 0.5], noticeMs: [0, 0] } as const;
/** The same behind sockets that take some megabytes. */
const slowAndBuffered = { ...slow, bufferBytes: 4 * 1024 * 1024 };

async function pairOf(options: ConstructorParameters<typeof PlainPair>[0] = {}): Promise<PlainPair> {
  const pair = new PlainPair(options);
  pair.connect();
  await pair.clock.runFor(500);
  await pair.settle();
  return pair;
}

/** How long (ms) a small new file takes to the standby. */
async function letter(pair: PlainPair, name: string, limitMs = 10_000): Promise<number> {
  const began = pair.clock.now;
  pair.work.writeFile(`/plain/${name}`, `letter ${name}`);
  await pair.clock.runWhile(() => pair.copy.lstat(`/plain/${name}`) === null, limitMs);
  return pair.clock.now - began;
}

/** Counts messages as they arrive. */
function counted(pair: PlainPair): Map<MessageType, number> {
  const counts = new Map<MessageType, number>();
  pair.network.tap = (message) => {
    counts.set(message.type, (counts.get(message.type) ?? 0) + 1);
    return message;
  };
  return counts;
}

const lagging = (pair: PlainPair) => pair.primary.primary?.sender.lagging.list(pair.clock.now) ?? [];
const isAt = (pair: PlainPair, path: string, data: Buffer) => pair.copy.readFile(path, 1e9)?.data.equals(data) ?? false;

describe('many small files', () => {
  it('do not keep a letter to somebody else back: it goes with the next batch', async () => {
    const pair = await pairOf(slow);
    for (const dir of ['jo', 'al']) pair.work.mkdir(`/plain/${dir}`, 0o755);
    await pair.settle();
    for (let i = 0; i < 24_000; i++) pair.work.writeFile(`/plain/jo/${i}`, content(1000));
    await pair.clock.runFor(1000);
    // All of it takes more than 12 s at this rate; four batches that are under way take 4.
    expect(await letter(pair, 'al/letter', 30_000)).toBeLessThan(6000);
    expect(pair.copy.readdir('/plain/jo')?.length).toBeLessThan(16_000);
    await pair.settle();
    expect(pair.differences()).toEqual([]);
  });
});

describe('large content', () => {
  it('gives way: letters overtake two large files on a slow line, and the files keep most of it', async () => {
    const pair = await pairOf(slowAndBuffered);
    pair.work.writeFile('/plain/a.tar', content(6 * MiB));
    pair.work.writeFile('/plain/b.tar', content(6 * MiB));
    await pair.clock.runFor(1000);
    const waits: number[] = [];
    for (let i = 0; i < 10; i++) {
      await pair.clock.runFor(400);
      waits.push(await letter(pair, `l${i}`));
    }
    expect(Math.max(...waits)).toBeLessThan(1000);
    expect(waits.toSorted((a, b) => a - b)[5]).toBeLessThan(500);
    const began = pair.clock.now;
    await pair.settle();
    // 12 MiB take 6.3 s at this rate, of which five have passed.
    expect(pair.clock.now - began).toBeLessThan(4000);
    expect(pair.differences()).toEqual([]);
  });

  it('lets a short file pass a long one, and a long one its turn among short ones', async () => {
    const pair = await pairOf(slow);
    pair.work.writeFile('/plain/long', content(17 * MiB));
    await pair.clock.runFor(500);
    const began = pair.clock.now;
    pair.work.writeFile('/plain/short', content(400_000));
    await pair.clock.runWhile(() => pair.copy.lstat('/plain/short') === null, 20_000);
    expect(pair.clock.now - began).toBeLessThan(1500);
    for (let i = 0; i < 80; i++) pair.work.writeFile(`/plain/short${i}`, content(300_000));
    await pair.settle();
    expect(pair.differences()).toEqual([]);
  });

  it('waits in nobody`s way and is waited for: nothing is called durable before it is', async () => {
    const pair = await pairOf(slow);
    pair.work.writeFile('/plain/a.tar', content(4 * MiB));
    let durable = false;
    void pair.primary.primary?.wait(60_000, new AbortController().signal).then(() => (durable = true));
    await pair.clock.runWhile(() => !durable, 60_000);
    expect(durable).toBe(true);
    expect(pair.differences()).toEqual([]);
  });

  it('keeps mail flowing beside a file that never rests; it is told as lagging, and follows when it rests', async () => {
    const pair = await pairOf();
    const data = content(20 * MiB);
    pair.work.writeFile('/plain/hot.db', data);
    await pair.settle();
    const counts = counted(pair);
    let isHot = true;
    const write = () => {
      if (!isHot) return;
      const at = random.int(data.length - 4096);
      const page = content(4096);
      page.copy(data, at);
      pair.work.overwrite('/plain/hot.db', page, at);
      pair.clock.after(5, write);
    };
    write();
    const waits: number[] = [];
    for (let i = 0; i < 30; i++) {
      await pair.clock.runFor(300);
      waits.push(await letter(pair, `l${i}`));
    }
    expect(Math.max(...waits)).toBeLessThan(200);
    // Nothing is refused and nothing compared for it.
    expect([counts.get('reject') ?? 0, counts.get('list') ?? 0]).toEqual([0, 0]);
    expect(lagging(pair)).toMatchObject([{ root: 'plain', path: 'hot.db' }]);
    expect(pair.primary.primary?.unproven.count).toBe(0);
    await expect(pair.clock.settle(pair.primary.primary!.wait(500, new AbortController().signal), 5000)).rejects.toThrow(
      /hot\.db lags behind/,
    );
    isHot = false;
    await pair.settle();
    await pair.clock.runFor(2000);
    expect(pair.differences()).toEqual([]);
    expect(lagging(pair)).toEqual([]);
  });

  it.each([
    ['read at once into memory', 600_000, false],
    ['read from a clone', 16.5 * MiB, true],
  ])('brings over moments of a file that never rests, never a mixture of two: %s', async (_, bytes, makesSnapshots) => {
    const pair = await pairOf(slow);
    pair.primaryDisk.makesSnapshots = makesSnapshots;
    const data = content(bytes);
    const sha = (of: Buffer) => createHash('sha256').update(of).digest('hex');
    const moments = new Set([sha(data)]);
    pair.work.writeFile('/plain/hot.db', data);
    await pair.settle();
    let isHot = true;
    const write = () => {
      if (!isHot) return;
      const page = content(16);
      page.copy(data, random.int(data.length - 16));
      // A whole new state, as far as a reader can see only in one piece.
      const at = random.int(data.length - 16);
      page.copy(data, at);
      pair.work.writeFile('/plain/hot.db', data);
      moments.add(sha(data));
      pair.clock.after(bytes / 10_000, write);
    };
    write();
    const seen = new Set<string>();
    for (let i = 0; i < 5; i++) {
      await pair.clock.runFor(bytes / 2000);
      const copy = pair.copy.readFile('/plain/hot.db', 1e9);
      if (copy) seen.add(sha(copy.data));
    }
    expect([...seen].filter((state) => !moments.has(state))).toEqual([]);
    expect(seen.size).toBeGreaterThan(2);
    isHot = false;
    await pair.settle();
    expect(pair.differences()).toEqual([]);
  });

  it('never places a mixture of two moments, where a file changed behind the reader and then before it', async () => {
    const pair = await pairOf(slow);
    const data = content(6 * MiB);
    pair.work.writeFile('/plain/db', data);
    await pair.settle();
    await pair.clock.runFor(1000);
    const moments = [Buffer.from(data)];
    const change = (at: number, bytes: number) => {
      content(bytes).copy(data, at);
      pair.work.overwrite('/plain/db', data.subarray(at, at + bytes), at);
      moments.push(Buffer.from(data));
    };
    const { files } = pair.primary;
    const read = files.read.bind(files);
    let isChanged = false;
    files.read = (fd, into, offset, length, position) => {
      if (!isChanged && position >= 3 * MiB) {
        isChanged = true;
        change(100, 4096);
        change(5 * MiB, 400_000);
      }
      return read(fd, into, offset, length, position);
    };
    change(4 * MiB, 10);
    for (let i = 0; i < 60; i++) {
      await pair.clock.runFor(50);
      expect(moments.some((moment) => isAt(pair, '/plain/db', moment))).toBe(true);
    }
    expect(isChanged).toBe(true);
    await pair.settle();
    expect(pair.differences()).toEqual([]);
  });

  it('follows a log that is appended to all the time, by its tail', async () => {
    const pair = await pairOf(slow);
    pair.work.writeFile('/plain/log', content(1.2 * MiB));
    await pair.settle();
    const carried = pair.network.bytesCarried;
    let lines = 0;
    const write = () => {
      if (++lines > 150) return;
      pair.work.append('/plain/log', content(2000));
      pair.clock.after(20, write);
    };
    write();
    await pair.clock.runFor(2000);
    expect(pair.copy.lstat('/plain/log')?.size).toBeGreaterThan(1.2 * MiB);
    await pair.clock.runFor(2000);
    await pair.settle();
    expect(pair.differences()).toEqual([]);
    expect(pair.network.bytesCarried - carried).toBeLessThan(3 * 150 * 2000);
  });

  it.each([
    ['removed', (pair: PlainPair) => pair.work.unlink('/plain/big')],
    ['renamed', (pair: PlainPair) => pair.work.rename('/plain/big', '/plain/renamed')],
    [
      'moved with its directory',
      (pair: PlainPair) => {
        pair.work.mkdir('/plain/dir', 0o755);
        pair.work.rename('/plain/big', '/plain/dir/big');
        pair.work.rename('/plain/dir', '/plain/other');
      },
    ],
    [
      'replaced by a rename',
      (pair: PlainPair) => {
        pair.work.writeFile('/plain/new', content(900_000));
        pair.work.rename('/plain/new', '/plain/big');
      },
    ],
    ['cut short', (pair: PlainPair) => pair.work.truncate('/plain/big', 700_000)],
    ['cut to a small one', (pair: PlainPair) => pair.work.truncate('/plain/big', 7)],
    ['linked', (pair: PlainPair) => pair.work.link('/plain/big', '/plain/link')],
    ['given another mode', (pair: PlainPair) => pair.work.setMeta('/plain/big', { mode: 0o600 })],
    [
      'replaced by a directory',
      (pair: PlainPair) => {
        pair.work.unlink('/plain/big');
        pair.work.mkdir('/plain/big', 0o755);
        pair.work.writeFile('/plain/big/inside', content(800_000));
      },
    ],
  ])('may be %s while it is on its way', async (_, happens) => {
    for (const afterMs of [4, 300, 1500]) {
      const pair = await pairOf(slow);
      pair.work.writeFile('/plain/big', content(2.5 * MiB));
      await pair.clock.runFor(afterMs);
      happens(pair);
      await pair.settle();
      expect(pair.differences()).toEqual([]);
      expect(lagging(pair)).toEqual([]);
    }
  });

  it('is sent once for a file that was renamed meanwhile', async () => {
    const pair = await pairOf(slow);
    pair.work.writeFile('/plain/big', content(3 * MiB));
    await pair.clock.runFor(800);
    pair.work.rename('/plain/big', '/plain/renamed');
    await pair.settle();
    expect(pair.differences()).toEqual([]);
    expect(pair.network.bytesCarried).toBeLessThan(3.3 * MiB);
  });

  describe('that is tried again only after a pause', () => {
    /** A file that has not held still for a while; its next try is far away. */
    async function restless(): Promise<{ pair: PlainPair; rest: () => void }> {
      const pair = await pairOf();
      const data = content(20 * MiB);
      pair.work.writeFile('/plain/hot.db', data);
      let isHot = true;
      const write = () => {
        if (!isHot) return;
        pair.work.overwrite('/plain/hot.db', content(16), random.int(data.length - 16));
        pair.clock.after(20, write);
      };
      write();
      const tries = () => pair.primary.primary?.sender.lagging.tries('plain', 'hot.db') ?? 0;
      await pair.clock.runWhile(() => tries() < 8, 200_000);
      expect(tries()).toBe(8);
      return { pair, rest: () => (isHot = false) };
    }
    const until = async (pair: PlainPair, isDone: () => boolean) => {
      const began = pair.clock.now;
      await pair.clock.runWhile(() => !isDone(), 100_000);
      return pair.clock.now - began;
    };

    it('is removed at once when it goes', async () => {
      const { pair, rest } = await restless();
      rest();
      pair.work.unlink('/plain/hot.db');
      let durable = false;
      void pair.primary.primary?.wait(60_000, new AbortController().signal).then(() => (durable = true));
      expect(await until(pair, () => durable)).toBeLessThan(1000);
      expect(pair.differences()).toEqual([]);
    });

    it('follows at once when another file takes its place', async () => {
      const { pair, rest } = await restless();
      rest();
      pair.work.writeFile('/plain/new', content(300_000));
      pair.work.rename('/plain/new', '/plain/hot.db');
      expect(await until(pair, () => pair.copy.lstat('/plain/hot.db')?.size === 300_000)).toBeLessThan(1000);
      await pair.settle();
      expect(pair.differences()).toEqual([]);
    });

    it('follows soon when it rests', async () => {
      const { pair, rest } = await restless();
      rest();
      expect(await until(pair, () => pair.copy.lstat('/plain/hot.db') !== null)).toBeLessThan(10_000);
      await pair.settle();
      expect(pair.differences()).toEqual([]);
    });

    it('is removed at once also while it is on its way and has changed meanwhile', async () => {
      const pair = await pairOf(slow);
      pair.work.writeFile('/plain/old', content(300_000));
      await pair.settle();
      pair.work.writeFile('/plain/old', content(40 * MiB));
      await pair.clock.runFor(3000);
      pair.work.overwrite('/plain/old', content(16), 30 * MiB);
      await pair.clock.runFor(1000);
      pair.work.unlink('/plain/old');
      expect(await until(pair, () => pair.copy.lstat('/plain/old') === null)).toBeLessThan(1000);
      await pair.clock.runFor(2000);
      // Nothing of it is sent any more.
      const counts = counted(pair);
      await pair.clock.runFor(3000);
      expect(counts.get('slice') ?? 0).toBe(0);
    });
  });

  it('takes a full disk of the standby for its own trouble, and goes when there is room', async () => {
    const pair = await pairOf();
    const data = content(6 * MiB);
    pair.standbyDisk.capacityBytes = 3 * MiB;
    pair.work.writeFile('/plain/big', data);
    await pair.clock.runFor(3000);
    for (let i = 0; i < 5; i++) expect(await letter(pair, `l${i}`)).toBeLessThan(1000);
    await pair.clock.runFor(4000);
    expect(lagging(pair)).toMatchObject([{ path: 'big', reason: 'the standby has no room for it' }]);
    // Both nodes tell it as what it is, although everything smaller goes on.
    expect(pair.primary.primary?.sender.held).toMatchObject({
      code: 'no-space',
      detail: expect.stringContaining('one file waits') as string,
    });
    expect(pair.standby.standby?.receiver.cannotTake).toMatchObject({ code: 'no-space' });
    pair.standbyDisk.capacityBytes = Infinity;
    await pair.clock.runFor(70_000);
    await pair.settle();
    expect(pair.differences()).toEqual([]);
    expect(lagging(pair)).toEqual([]);
    expect(pair.primary.primary?.sender.held).toBe(null);
    expect(pair.standby.standby?.receiver.cannotTake).toBe(null);
  });

  it('is wanted no more while the standby has no room for it: nothing is said of that any more', async () => {
    const pair = await pairOf();
    pair.standbyDisk.capacityBytes = 3 * MiB;
    pair.work.writeFile('/plain/big', content(6 * MiB));
    await pair.clock.runFor(5000);
    expect(pair.primary.primary?.sender.held?.code).toBe('no-space');
    pair.work.unlink('/plain/big');
    await pair.clock.runFor(70_000);
    expect(pair.primary.primary?.sender.held).toBe(null);
    await pair.settle();
  });

  it('outlives a cut of the line and the death of either side, at each of its messages', async () => {
    const steps: MessageType[] = [
      'transfer',
      'slice',
      'slice',
      'transferTaken',
      'transferEnd',
      'transferred',
      'batch',
      'ops',
      'commit',
      'ack',
    ];
    for (const trouble of ['cut', 'standby', 'primary'] as const) {
      for (const [i, type] of steps.entries()) {
        const pair = await pairOf({ noticeMs: [0, 0] });
        let wanted = steps.slice(0, i + 1).filter((step) => step === type).length;
        let isStruck = false;
        pair.network.tap = (message: Message) => {
          if (message.type !== type || isStruck || --wanted > 0) return message;
          isStruck = true;
          if (trouble === 'cut') pair.network.cut();
          else if (trouble === 'standby') pair.killStandby();
          else pair.killPrimary();
          return message;
        };
        pair.work.writeFile('/plain/big', content(700_000));
        await pair.clock.runFor(3000);
        expect([trouble, type, isStruck]).toEqual([trouble, type, true]);
        if (trouble === 'standby') await pair.startStandby();
        if (trouble === 'primary') pair.startPrimary();
        pair.connect();
        await pair.clock.runFor(1000);
        await pair.settle();
        expect([trouble, type, pair.differences()]).toEqual([trouble, type, []]);
        expect(pair.copy.readdir('/state-b/staging/plain/stage')).toEqual([]);
      }
    }
  });

  it('goes on where a lost connection ended', async () => {
    const pair = await pairOf({ noticeMs: [0, 0], bytesPerMs: 20_000 });
    const bytes = 24 * MiB;
    pair.work.writeFile('/plain/big', content(bytes));
    let arrived = 0;
    let isCut = false;
    pair.network.tap = (message) => {
      if (message.type !== 'slice') return message;
      arrived += message.bytes.length;
      if (arrived > 16 * MiB && !isCut) {
        isCut = true;
        pair.network.cut();
      }
      return message;
    };
    await pair.clock.runFor(20_000);
    pair.connect();
    await pair.settle();
    expect(pair.differences()).toEqual([]);
    expect(arrived).toBeLessThan(bytes + 4 * MiB);
  });

  it('stays staged when a batch is refused that was to use it', async () => {
    const pair = await pairOf();
    let transfers = 0;
    let refused = 0;
    let uses = false;
    pair.network.tap = (message) => {
      if (message.type === 'transfer') transfers++;
      if (message.type === 'reject') refused++;
      if (message.type === 'ops') uses = message.ops.some((op) => op.op === 'put' && 'transfer' in op);
      // The first batch that uses it is not whole when it arrives.
      return message.type === 'commit' && uses && refused === 0 ? { ...message, ops: message.ops + 1 } : message;
    };
    pair.work.writeFile('/plain/big', content(2 * MiB));
    await pair.settle();
    expect(pair.differences()).toEqual([]);
    expect([transfers, refused]).toEqual([1, 1]);
  });

  it('keeps the holes of a file, also in its copies and next versions', async () => {
    const pair = await pairOf();
    const data = Buffer.alloc(8 * MiB);
    content(5000).copy(data, 3 * MiB + 100);
    const before = pair.network.bytesCarried;
    pair.work.writeFile('/plain/sparse', data);
    pair.work.writeFile('/plain/small-and-sparse', Buffer.concat([Buffer.alloc(100_000), Buffer.from('x')]));
    await pair.settle();
    expect(pair.differences()).toEqual([]);
    // Zeros are a number on the wire; a slice around data goes whole.
    expect(pair.network.bytesCarried - before).toBeLessThan(MiB);
    expect(pair.copy.writtenBytes('/plain/sparse')).toBeLessThan(20_000);
    expect(pair.copy.writtenBytes('/plain/small-and-sparse')).toBeLessThan(5000);
    pair.work.overwrite('/plain/sparse', 'changed', 5 * MiB);
    pair.work.writeFile('/plain/copy', data);
    await pair.settle();
    expect(pair.differences()).toEqual([]);
    for (const name of ['sparse', 'copy']) expect(pair.copy.writtenBytes(`/plain/${name}`)).toBeLessThan(30_000);
  });

  it('is in doubt by name when it is larger than any file that is replicated, and nothing else waits', async () => {
    const pair = await pairOf();
    pair.work.writeFile('/plain/huge', content(200_000));
    const { files } = pair.primary;
    const lstat = files.lstat.bind(files);
    files.lstat = (path) => {
      const stat = lstat(path);
      return stat && path === '/plain/huge' ? { ...stat, size: 2 ** 41 } : stat;
    };
    await pair.clock.runFor(200);
    expect(await letter(pair, 'l')).toBeLessThan(200);
    expect(pair.primary.primary?.unproven.list()).toMatchObject([{ path: 'huge', reason: 'is larger than any file that is replicated' }]);
  });
});
