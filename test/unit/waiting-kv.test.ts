import { describe, expect, it } from 'vitest';
import { silentLog } from '../../agent/platform/log.ts';
import { WaitingKv, WriteFailed, type PlainStore, type StoreRoom } from '../../agent/platform/waiting-kv.ts';
import { SimClock } from '../sim/sim-clock.ts';
import { SimKvStore } from '../sim/sim-kv.ts';
import { SimRandom } from '../sim/sim-random.ts';

const b = (text: string) => Buffer.from(text, 'latin1');

/** A store on a disk of which a test says how much is free: a commit needs 10 bytes. */
class Bench {
  readonly sim = new SimClock();
  readonly clock = this.sim.host(0);
  freeBytes = 1000;
  reserveBytes = 0;
  isReadOnly = false;
  isInPlace = true;
  commits = 0;
  readonly inner = new SimKvStore(() => 0).open(this.clock);
  /** Writes that the disk has been given and holds back, oldest first; null while it takes each at once. */
  held: (() => void)[] | null = null;
  readonly store: PlainStore = {
    keyBytesMax: 100,
    get: (key) => this.inner.get(key),
    range: (start, end, options) => this.inner.range(start, end, options),
    write: async (writes) => {
      if (this.held) await new Promise<void>((resolve) => this.held?.push(resolve));
      if (this.isReadOnly) throw new WriteFailed('it is read-only (EROFS)', false);
      if (this.freeBytes < 10) throw new WriteFailed('no space', true);
      this.freeBytes -= 10;
      this.commits++;
      this.inner.commit(writes);
    },
    close: async () => {},
  };
  readonly room: StoreRoom;
  readonly kv: WaitingKv;
  failure: unknown = null;

  constructor() {
    const isKept = () => this.reserveBytes > 0;
    this.room = {
      where: '/state/store',
      isInPlace: () => this.isInPlace,
      lowBytes: 100,
      freeBytes: () => this.freeBytes,
      get hasReserve() {
        return isKept();
      },
      keepReserve: () => {
        this.freeBytes -= 100;
        this.reserveBytes = 100;
        return true;
      },
      spendReserve: () => {
        if (this.reserveBytes === 0) return false;
        this.freeBytes += this.reserveBytes;
        this.reserveBytes = 0;
        return true;
      },
    };
    this.kv = new WaitingKv(this.store, this.room, { clock: this.clock, log: silentLog, onFailure: (error) => (this.failure = error) });
  }

  /** Whether a `flushed` called now has resolved by the time `ms` later. */
  async flushes(ms: number): Promise<boolean> {
    let done = false;
    void this.kv.flushed().then(() => (done = true));
    await this.sim.runFor(ms);
    return done;
  }
}

describe('a store whose disk is full', () => {
  it('spends its reserve on what comes first, and says that it is full', async () => {
    const bench = new Bench();
    expect(bench.reserveBytes).toBe(100);
    expect(bench.kv.trouble).toBeNull();
    bench.freeBytes = 0;
    bench.kv.commit([[b('role'), b('primary')]]);
    expect(await bench.flushes(1)).toBe(true);
    expect(bench.inner.get(b('role'))).toEqual(b('primary'));
    expect(bench.kv.trouble).toMatchObject({ code: 'state-full', detail: expect.stringContaining('/state/store') });
    bench.freeBytes = 1000;
    await bench.sim.runFor(2000);
    expect(bench.kv.trouble).toBeNull();
    expect(bench.reserveBytes).toBe(100);
  });

  it('shows what waits at once, calls nothing of it flushed, and writes it as one commit when there is room', async () => {
    const bench = new Bench();
    bench.kv.commit([
      [b('a'), b('old')],
      [b('b'), b('old')],
    ]);
    expect(await bench.flushes(1)).toBe(true);
    bench.room.spendReserve();
    bench.freeBytes = 0;
    bench.kv.commit([[b('a'), b('new')]]);
    bench.kv.commit([
      [b('b'), null],
      [b('c'), b('new')],
    ]);
    expect(bench.kv.get(b('a'))).toEqual(b('new'));
    expect(bench.kv.get(b('b'))).toBeUndefined();
    expect([...bench.kv.range(b('a'), b('z'))].map(([key]) => key.toString())).toEqual(['a', 'c']);
    expect(await bench.flushes(60_000)).toBe(false);
    expect(bench.inner.get(b('a'))).toEqual(b('old'));
    const before = bench.commits;
    bench.freeBytes = 500;
    expect(await bench.flushes(1500)).toBe(true);
    expect(bench.commits).toBe(before + 1);
    expect(bench.inner.get(b('a'))).toEqual(b('new'));
    expect(bench.inner.get(b('b'))).toBeUndefined();
    expect(bench.kv.trouble).toBeNull();
  });

  it('never writes a later commit before an earlier one that waits', async () => {
    const bench = new Bench();
    bench.room.spendReserve();
    bench.freeBytes = 0;
    bench.kv.commit([[b('first'), b('1')]]);
    expect(await bench.flushes(1)).toBe(false);
    bench.freeBytes = 1000;
    bench.kv.commit([[b('second'), b('2')]]);
    await bench.sim.runFor(1);
    expect(bench.inner.get(b('second'))).toBeUndefined();
    expect(await bench.flushes(2000)).toBe(true);
    expect([bench.inner.get(b('first')), bench.inner.get(b('second'))]).toEqual([b('1'), b('2')]);
  });

  it('holds early when little is free, although everything can still be written', async () => {
    const bench = new Bench();
    bench.freeBytes = 99;
    await bench.sim.runFor(1500);
    expect(bench.kv.trouble).toMatchObject({ code: 'state-full' });
    bench.kv.commit([[b('a'), b('1')]]);
    expect(await bench.flushes(1)).toBe(true);
    expect(bench.inner.get(b('a'))).toEqual(b('1'));
    bench.freeBytes = 150;
    await bench.sim.runFor(1500);
    expect(bench.kv.trouble).not.toBeNull();
    bench.freeBytes = 250;
    await bench.sim.runFor(1500);
    expect(bench.kv.trouble).toBeNull();
  });

  it('keeps its reserve for a disk that is full when it is read-only', async () => {
    const bench = new Bench();
    bench.isReadOnly = true;
    bench.kv.commit([[b('a'), b('1')]]);
    await bench.sim.runFor(1);
    expect(bench.kv.trouble).toMatchObject({ code: 'state-unwritable', detail: expect.stringContaining('read-only') });
    expect(bench.reserveBytes).toBe(100);
    expect(await bench.flushes(30_000)).toBe(false);
    bench.isReadOnly = false;
    expect(await bench.flushes(6000)).toBe(true);
    expect(bench.kv.trouble).toBeNull();
  });

  it('takes nothing for durable while its file is not in its place, and goes on when it is there again', async () => {
    const bench = new Bench();
    bench.isInPlace = false;
    bench.kv.commit([[b('a'), b('1')]]);
    await bench.sim.runFor(1);
    expect(bench.kv.trouble).toMatchObject({ code: 'state-unwritable', detail: expect.stringContaining('is not what it was') });
    expect(await bench.flushes(30_000)).toBe(false);
    expect(bench.inner.get(b('a'))).toBeUndefined();
    bench.isInPlace = true;
    expect(await bench.flushes(6000)).toBe(true);
    expect([bench.kv.trouble, bench.inner.get(b('a'))]).toEqual([null, b('1')]);
    // Also when there is nothing to write.
    bench.isInPlace = false;
    await bench.sim.runFor(1500);
    expect(bench.kv.trouble).not.toBeNull();
  });

  it('throws what is no fault of the disk, and takes nothing of it', () => {
    const bench = new Bench();
    for (const key of [Buffer.alloc(101), Buffer.alloc(0)])
      expect(() =>
        bench.kv.commit([
          [b('a'), b('1')],
          [key, b('1')],
        ]),
      ).toThrow('cannot be stored');
    expect(bench.kv.get(b('a'))).toBeUndefined();
  });

  it('ends with what nobody foresaw: it is told once, and nothing is called flushed', async () => {
    const bench = new Bench();
    bench.store.write = () => Promise.reject(new Error('a bug'));
    bench.kv.commit([[b('a'), b('1')]]);
    await expect(bench.kv.flushed()).rejects.toThrow('a bug');
    expect(bench.failure).toMatchObject({ message: 'a bug' });
    await expect(bench.kv.flushed()).rejects.toThrow('a bug');
    expect(() => bench.kv.commit([[b('b'), b('1')]])).toThrow('a bug');
  });

  it('reads like a store without a full disk, whatever waits', async () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const random = new SimRandom(seed);
    for (let round = 0; round < 300; round++) {
      const bench = new Bench();
      if (random.chance(0.5)) bench.held = [];
      const plain = new SimKvStore(() => 0).open(bench.clock);
      const key = () => Buffer.from([random.int(4), random.int(4)]);
      for (let step = 0; step < 12; step++) {
        if (step === 5 && !bench.held) {
          bench.room.spendReserve();
          bench.freeBytes = 0;
        }
        // A write that is held may be under way, with more waiting behind it, or end between two steps.
        if (random.chance(0.4)) bench.held?.shift()?.();
        if (random.chance(0.6)) await bench.sim.runFor(1);
        const writes = Array.from({ length: random.int(4) + 1 }, () => [key(), random.chance(0.3) ? null : random.bytes(3)] as const);
        bench.kv.commit(writes);
        plain.commit(writes);
        const [start, end] = [key(), key()].toSorted((x, y) => Buffer.compare(x, y)) as [Buffer, Buffer];
        for (const options of [{}, { reverse: true }, { limit: random.int(5) }, { limit: random.int(5), reverse: true }]) {
          expect([...bench.kv.range(start, end, options)], `seed ${seed}`).toEqual([...plain.range(start, end, options)]);
        }
        expect(bench.kv.get(start)).toEqual(plain.get(start));
      }
    }
  });
});

describe('a store whose disk takes its time', () => {
  it('takes commits meanwhile and shows them; what came while one was written is written as one, in order', async () => {
    const bench = new Bench();
    const held: (() => void)[] = (bench.held = []);
    bench.kv.commit([[b('a'), b('1')]]);
    await bench.sim.runFor(1);
    expect(held).toHaveLength(1);
    const first = bench.flushes(0);
    for (const value of ['2', '3']) bench.kv.commit([[b(value), b(value)]]);
    bench.kv.commit([[b('a'), b('4')]]);
    const order: string[] = [];
    void bench.kv.flushed().then(() => order.push('all'));
    expect([...bench.kv.range(b('0'), b('z'))].map(([key, value]) => `${key.toString()}=${value.toString()}`)).toEqual([
      '2=2',
      '3=3',
      'a=4',
    ]);
    expect(await first).toBe(false);
    await bench.sim.runFor(5000);
    expect([bench.commits, held.length, bench.kv.writingMs >= 5000]).toEqual([0, 1, true]);
    held.shift()?.();
    await bench.sim.runFor(1);
    expect([bench.commits, held.length, order]).toEqual([1, 1, []]);
    expect(bench.inner.get(b('a'))).toEqual(b('1'));
    expect(bench.kv.get(b('a'))).toEqual(b('4'));
    held.shift()?.();
    await bench.sim.runFor(1);
    expect([bench.commits, order, bench.kv.writingMs]).toEqual([2, ['all'], 0]);
    expect(bench.inner.get(b('a'))).toEqual(b('4'));
  });

  it('says when more waits than memory is for', async () => {
    const bench = new Bench();
    const held: (() => void)[] = (bench.held = []);
    const large = Buffer.alloc(1024 ** 2);
    for (let i = 0; i < 17; i++) bench.kv.commit([[b(`k${i}`), large]]);
    await bench.sim.runFor(1);
    expect(bench.kv.isBehind).toBe(true);
    held.shift()?.();
    await bench.sim.runFor(1);
    expect(bench.kv.isBehind).toBe(false);
    // The same key again and again is one.
    for (let i = 0; i < 40; i++) bench.kv.commit([[b('k'), large]]);
    expect(bench.kv.isBehind).toBe(false);
  });

  it('closes when the last of it is on disk', async () => {
    const bench = new Bench();
    const held: (() => void)[] = (bench.held = []);
    bench.kv.commit([[b('a'), b('1')]]);
    await bench.sim.runFor(1);
    bench.kv.commit([[b('b'), b('1')]]);
    let isClosed = false;
    void bench.kv.close().then(() => (isClosed = true));
    await bench.sim.runFor(1);
    held.shift()?.();
    await bench.sim.runFor(1);
    expect([isClosed, held.length]).toEqual([false, 1]);
    held.shift()?.();
    await bench.sim.runFor(1);
    expect([isClosed, bench.inner.get(b('b'))]).toEqual([true, b('1')]);
  });
});
