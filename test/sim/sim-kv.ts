import type { Kv, KvWrite } from '../../agent/platform/kv.ts';
import type { HostClock } from './sim-clock.ts';
import type { SimRandom } from './sim-random.ts';

/** What one process works on. A killed process keeps its own, so that what it still does changes nothing. */
class Table {
  readonly values: Map<string, Buffer>;
  /** Keys as byte strings, sorted; null when it has to be made again. */
  keys: string[] | null = null;
  version = 0;

  constructor(values: Map<string, Buffer>) {
    this.values = values;
  }

  apply(writes: readonly KvWrite[]): void {
    for (const [key, value] of writes) {
      const name = key.toString('latin1');
      if (value === null) {
        if (this.values.delete(name)) this.keys = null;
      } else {
        if (!this.values.has(name)) this.keys = null;
        this.values.set(name, Buffer.from(value));
      }
    }
    this.version++;
  }

  sorted(): string[] {
    this.keys ??= [...this.values.keys()].sort();
    return this.keys;
  }
}

/** A commit is on its way to the disk for this long at most, when nobody waits for it. */
const writeMsMax = 20;

/**
 * A key-value store on a simulated disk. What was committed is visible at once and durable after a `flushed`; a power
 * cut keeps a random number of the first commits since then, each whole.
 */
export class SimKvStore {
  #durable = new Map<string, Buffer>();
  /** Commits not yet durable, oldest first. */
  #pending: { number: number; atMs: number; writes: KvWrite[] }[] = [];
  #commits = 0;
  /** The disk takes nothing. */
  #full = false;
  /** While it is full: the number of the last commit that it took. */
  #written = 0;
  /** Flushes that wait for room. */
  #waiting: (() => void)[] = [];
  /** Of the process that has it. */
  #clock: HostClock | null = null;
  #table = new Table(new Map());
  readonly #flushMs: () => number;

  constructor(flushMs: () => number) {
    this.#flushMs = flushMs;
  }

  /** The store as a new process opens it. What an earlier process does from now on is lost. */
  open(clock: HostClock): Kv {
    const table = new Table(new Map(this.#table.values));
    this.#table = table;
    this.#clock = clock;
    const isMine = () => this.#table === table;
    const isFull = () => this.#full;
    return {
      get: (key) => table.values.get(key.toString('latin1')),
      range: (start, end, options) => walk(table, start, end, options ?? {}),
      commit: (writes) => {
        const copied = writes.map(([key, value]): KvWrite => [Buffer.from(key), value && Buffer.from(value)]);
        table.apply(copied);
        if (isMine()) this.#pending.push({ number: ++this.#commits, atMs: clock.monotonicMs(), writes: copied });
      },
      flushed: () =>
        new Promise((resolve) => {
          const upTo = this.#commits;
          const flush = () =>
            void clock.after(this.#flushMs(), () => {
              if (isMine() && this.#full) return void this.#waiting.push(flush);
              if (isMine()) this.#makeDurable(upTo);
              resolve();
            });
          flush();
        }),
      get trouble() {
        return isFull() && isMine() ? { code: 'state-full' as const, detail: 'the disk of the store is full', remedy: 'make room' } : null;
      },
      isBehind: false,
      writingMs: 0,
      close: async () => {},
    };
  }

  /** The role that a power cut would leave; for tests. */
  get durableRole(): string | null {
    return this.#durable.get('\x01role')?.toString() ?? null;
  }

  /** The disk of the store takes nothing until there is room again: what is committed waits in the process. */
  get full(): boolean {
    return this.#full;
  }

  set full(full: boolean) {
    this.#full = full;
    if (full) {
      // What was committed before the disk was full had been written.
      this.#written = this.#commits;
      return;
    }
    for (const flush of this.#waiting.splice(0)) flush();
  }

  /**
   * The process is killed, the host lives on: what the disk took is still there. The last commits may not have been written yet; how
   * many of them varies, and costs no random number.
   */
  kill(): void {
    const nowMs = this.#clock?.monotonicMs() ?? 0;
    const young = this.#pending.filter(({ atMs }) => atMs > nowMs - writeMsMax).length;
    const lost = (this.#commits * 7919) % (young + 1);
    this.#pending = this.#full
      ? this.#pending.filter(({ number }) => number <= this.#written)
      : this.#pending.slice(0, this.#pending.length - lost);
    this.#waiting = [];
    this.#table = new Table(this.#valuesOf(this.#pending));
  }

  #valuesOf(pending: readonly { writes: readonly KvWrite[] }[]): Map<string, Buffer> {
    const table = new Table(new Map(this.#durable));
    for (const { writes } of pending) table.apply(writes);
    return table.values;
  }

  /** The power is cut. */
  crash(random: SimRandom): void {
    if (this.#full) this.#pending = this.#pending.filter(({ number }) => number <= this.#written);
    this.#waiting = [];
    const survivors = random.int(this.#pending.length + 1);
    const last = this.#pending[survivors - 1];
    if (last) this.#makeDurable(last.number);
    this.#pending = [];
    this.#table = new Table(new Map(this.#durable));
  }

  /** What a snapshot of the volume holds of this store. */
  snapshot(): ReadonlyMap<string, Buffer> {
    return new Map(this.#table.values);
  }

  /** The volume is put back to a snapshot while no process has the store. */
  putBack(snapshot: ReadonlyMap<string, Buffer>): void {
    this.#pending = [];
    this.#durable = new Map(snapshot);
    this.#table = new Table(new Map(snapshot));
  }

  #makeDurable(upTo: number): void {
    const table = new Table(this.#durable);
    while (this.#pending[0] && this.#pending[0].number <= upTo) table.apply(this.#pending.shift()!.writes);
  }
}

function* walk(table: Table, start: Buffer, end: Buffer, options: { limit?: number; reverse?: boolean }): Generator<[Buffer, Buffer]> {
  const keys = table.sorted();
  const from = firstAtLeast(keys, start.toString('latin1'));
  const to = firstAtLeast(keys, end.toString('latin1'));
  const count = Math.min(Math.max(0, to - from), options.limit ?? Infinity);
  const version = table.version;
  for (let i = 0; i < count; i++) {
    if (table.version !== version) throw new Error('a commit came while a range was being walked');
    const key = keys[options.reverse ? to - 1 - i : from + i]!;
    yield [Buffer.from(key, 'latin1'), table.values.get(key)!];
  }
}

function firstAtLeast(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
