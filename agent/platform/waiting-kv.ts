import type { Clock, Timer } from './clock.ts';
import type { Kv, KvWrite, StoreTrouble } from './kv.ts';
import type { Log } from './log.ts';

/** The disk did not take a commit; nothing of it was written. The same commit may succeed later. */
export class WriteFailed extends Error {
  readonly isFull: boolean;
  /** The store must be opened again before it takes anything. */
  readonly isFatal: boolean;

  constructor(message: string, isFull: boolean, isFatal = false) {
    super(message);
    this.isFull = isFull;
    this.isFatal = isFatal;
  }
}

/** A store that knows only yes and no: `commit` is durable when it returns, and throws WriteFailed when the disk takes nothing. */
export type PlainStore = Pick<Kv, 'get' | 'range' | 'commit' | 'close'>;

/** The room that a store has on its disk. A part of it is kept back for the records that matter most. */
export interface StoreRoom {
  /** The directory, for people. */
  readonly where: string;
  /** False when the store's file is not where it was opened: removed, hidden, or its file system is not mounted any more. */
  isInPlace(): boolean;
  /** Free bytes beside the reserve; null when they cannot be told. */
  freeBytes(): number | null;
  /** Below this many free bytes the disk counts as full. */
  readonly lowBytes: number;
  readonly hasReserve: boolean;
  /** Keeps the reserve back. False when there is no room for it. */
  keepReserve(): boolean;
  /** Gives the reserve to whoever writes next. False when there is none. */
  spendReserve(): boolean;
}

export interface WaitingParts {
  clock: Clock;
  log: Log;
}

const lookEveryMs = 1000;
/** While a commit waits the disk is tried this often at most. */
const tryEveryMsMax = 5000;

/**
 * A store over a disk that may be full or fail.
 *
 * What the disk does not take waits here, merged by key: it is what every reader sees, and it is written as one commit,
 * so that the disk never holds a later change without an earlier one. Losing it in a crash is what losing a commit that
 * was not flushed always was.
 */
export class WaitingKv implements Kv {
  readonly #store: PlainStore;
  readonly #room: StoreRoom;
  readonly #p: WaitingParts;
  /** By key as a byte string. */
  #waiting = new Map<string, Buffer | null>();
  /** Keys of `#waiting` in order; null when they have to be sorted again. */
  #sorted: string[] | null = null;
  #flushes: (() => void)[] = [];
  #trouble: StoreTrouble | null = null;
  #timer: Timer | null = null;
  #waitMs = lookEveryMs;
  #triedMs = Number.NEGATIVE_INFINITY;

  constructor(store: PlainStore, room: StoreRoom, parts: WaitingParts) {
    this.#store = store;
    this.#room = room;
    this.#p = parts;
    this.#look();
  }

  get trouble(): StoreTrouble | null {
    return this.#trouble;
  }

  get(key: Buffer): Buffer | undefined {
    if (this.#waiting.size > 0) {
      const value = this.#waiting.get(key.toString('latin1'));
      if (value !== undefined) return value ?? undefined;
    }
    return this.#store.get(key);
  }

  range(start: Buffer, end: Buffer, options: { limit?: number; reverse?: boolean } = {}): Iterable<[Buffer, Buffer]> {
    return this.#waiting.size === 0 ? this.#store.range(start, end, options) : this.#merged(start, end, options);
  }

  commit(writes: readonly KvWrite[]): void {
    if (writes.length === 0) return;
    if (this.#waiting.size === 0 && this.#wrote(writes)) return;
    for (const [key, value] of writes) this.#waiting.set(key.toString('latin1'), value && Buffer.from(value));
    this.#sorted = null;
  }

  flushed(): Promise<void> {
    if (this.#waiting.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#flushes.push(resolve));
  }

  async close(): Promise<void> {
    this.#timer?.cancel();
    this.#drain();
    await this.#store.close();
  }

  /** False when the disk takes it neither with nor without the reserve. */
  #wrote(writes: readonly KvWrite[]): boolean {
    for (;;) {
      if (!this.#room.isInPlace()) {
        this.#say(this.#gone());
        return false;
      }
      try {
        this.#store.commit(writes);
        return true;
      } catch (error) {
        if (!(error instanceof WriteFailed)) throw error;
        this.#say(error.isFull ? this.#full() : this.#unwritable(error.message));
        if (!error.isFull || !this.#room.spendReserve()) return false;
      }
    }
  }

  #drain(): void {
    if (this.#waiting.size === 0) return;
    const writes = [...this.#waiting].map(([key, value]): KvWrite => [Buffer.from(key, 'latin1'), value]);
    if (!this.#wrote(writes)) return;
    this.#waiting = new Map();
    this.#sorted = null;
    for (const resolve of this.#flushes.splice(0)) resolve();
  }

  /** Tries again what waits, and looks whether there is room. */
  #look(): void {
    const { clock } = this.#p;
    const now = clock.monotonicMs();
    const hasRoom = (this.#room.freeBytes() ?? 0) >= this.#room.lowBytes;
    if (this.#waiting.size > 0 && (now - this.#triedMs >= this.#waitMs || (hasRoom && this.#trouble?.code === 'state-full'))) {
      this.#triedMs = now;
      this.#drain();
      this.#waitMs = Math.min(tryEveryMsMax, this.#waitMs * 2);
    }
    if (this.#waiting.size === 0) {
      this.#waitMs = lookEveryMs;
      this.#judgeRoom();
    }
    this.#timer = clock.after(lookEveryMs, () => this.#look());
  }

  #judgeRoom(): void {
    const { lowBytes, hasReserve } = this.#room;
    if (!this.#room.isInPlace()) return this.#say(this.#gone());
    const free = this.#room.freeBytes();
    if (free === null) return;
    // Enough for the reserve and some more, or what comes and goes at the edge would be said and taken back all the time.
    const needed = this.#trouble === null ? lowBytes : hasReserve ? 2 * lowBytes : 3 * lowBytes;
    if (free < needed) return this.#say(this.#full());
    if (!hasReserve && free >= 2 * lowBytes) this.#room.keepReserve();
    this.#say(null);
  }

  #full(): StoreTrouble {
    const free = this.#room.freeBytes();
    return {
      code: 'state-full',
      detail: `the disk of the state directory ${this.#room.where} is full (${free === null ? 'unknown' : Math.floor(free / 1024)} KiB free): nothing more is taken until it has room`,
      remedy: 'make room on the disk of the state directory; everything goes on by itself',
    };
  }

  #unwritable(reason: string): StoreTrouble {
    return {
      code: 'state-unwritable',
      detail: `the state directory ${this.#room.where} cannot be written (${reason}): nothing more is taken until it can`,
      remedy: 'look at the disk of the state directory and the kernel log; everything goes on by itself when it can be written again',
    };
  }

  /** A disk would still take it, but the next start would not find it. */
  #gone(): StoreTrouble {
    return {
      code: 'state-unwritable',
      detail: `the state directory ${this.#room.where} is not what it was when the agent started: it was removed or replaced, or its file system is not mounted; nothing more is taken`,
      remedy:
        'mount or put back what belongs there, and everything goes on by itself; if something else is to stand there, restart the agent',
    };
  }

  #say(trouble: StoreTrouble | null): void {
    const { log } = this.#p;
    if (trouble && this.#trouble?.code !== trouble.code) log.error({ code: trouble.code, remedy: trouble.remedy }, trouble.detail);
    if (!trouble && this.#trouble) log.info({ code: this.#trouble.code }, 'the state directory takes what is written again');
    this.#trouble = trouble;
  }

  *#merged(
    start: Buffer,
    end: Buffer,
    { limit = Infinity, reverse = false }: { limit?: number; reverse?: boolean },
  ): Iterable<[Buffer, Buffer]> {
    this.#sorted ??= [...this.#waiting.keys()].sort();
    const [from, to] = [start.toString('latin1'), end.toString('latin1')];
    const mine = this.#sorted.filter((key) => key >= from && key < to);
    if (reverse) mine.reverse();
    const isBefore = (a: string, b: string) => (reverse ? a > b : a < b);
    let left = limit;
    let next = 0;
    const ownUpTo = function* (this: WaitingKv, key: string | null): Generator<[Buffer, Buffer]> {
      for (let own = mine[next]; own !== undefined && (key === null || isBefore(own, key)) && left > 0; own = mine[++next]) {
        const value = this.#waiting.get(own);
        if (!value) continue;
        left--;
        yield [Buffer.from(own, 'latin1'), value];
      }
    }.bind(this);
    if (left <= 0) return;
    for (const [key, value] of this.#store.range(start, end, { reverse })) {
      const name = key.toString('latin1');
      yield* ownUpTo(name);
      if (left <= 0) return;
      // What waits stands for what is on disk; it comes by itself.
      if (this.#waiting.has(name)) continue;
      left--;
      yield [key, value];
      if (left <= 0) return;
    }
    yield* ownUpTo(null);
  }
}
