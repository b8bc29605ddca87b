import type { Clock, Timer } from './clock.ts';
import type { Kv, KvWrite, StoreTrouble } from './kv.ts';
import type { Log } from './log.ts';
import { merged, PendingWrites } from './pending-writes.ts';

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

/** A store that knows only yes and no. */
export interface PlainStore extends Pick<Kv, 'get' | 'range' | 'close'> {
  readonly keyBytesMax: number;
  /**
   * Writes all of it or nothing. Resolves when it is on disk and `get` and `range` show it; the caller waits for that before it
   * writes again. Rejects with WriteFailed when the disk takes nothing.
   */
  write(writes: readonly KvWrite[]): Promise<void>;
}

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
  /** A write failed, and not for the disk: nothing more is written. */
  onFailure?: (error: Error) => void;
}

/** More than this of keys and values waits for the disk: nothing is added that can wait itself. */
const behindBytes = 16 * 1024 ** 2;
const lookEveryMs = 1000;
/** While a commit waits the disk is tried this often at most. */
const tryEveryMsMax = 5000;

/**
 * A store over a disk that takes its time, may be full, or fails.
 *
 * A commit is taken here, merged by key, and is what every reader sees from then on. What was committed while the last write was under
 * way is written as one, so that the disk never holds a later change without an earlier one. Losing it in a crash is what losing
 * a commit that was not flushed always was.
 */
export class WaitingKv implements Kv {
  readonly #store: PlainStore;
  readonly #room: StoreRoom;
  readonly #p: WaitingParts;
  #waiting = new PendingWrites();
  /** What the disk has been given; nothing while no write is under way. */
  #writing = new PendingWrites();
  #isWriting = false;
  #beganMs = 0;
  #isWoken = false;
  /** The disk did not take the last write: it is tried again by the clock. */
  #isRefused = false;
  /** Who waits for `#writing`, and for `#waiting`. */
  #flushes: Flush[] = [];
  #nextFlushes: Flush[] = [];
  #failure: Error | null = null;
  #written: (() => void) | null = null;
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

  get isBehind(): boolean {
    return this.#waiting.bytes + this.#writing.bytes > behindBytes;
  }

  get writingMs(): number {
    return this.#isWriting ? this.#p.clock.monotonicMs() - this.#beganMs : 0;
  }

  get(key: Buffer): Buffer | undefined {
    if (this.#waiting.size + this.#writing.size > 0) {
      const value = this.#pendingOf(key.toString('latin1'));
      if (value !== undefined) return value ?? undefined;
    }
    return this.#store.get(key);
  }

  range(start: Buffer, end: Buffer, options: { limit?: number; reverse?: boolean } = {}): Iterable<[Buffer, Buffer]> {
    if (this.#waiting.size + this.#writing.size > 0) {
      const [from, to] = [start.toString('latin1'), end.toString('latin1')];
      const mine = merged(this.#writing.keys(from, to), this.#waiting.keys(from, to));
      if (mine.length > 0) return this.#merged(start, end, mine, options);
    }
    return this.#store.range(start, end, options);
  }

  commit(writes: readonly KvWrite[]): void {
    if (this.#failure) throw this.#failure;
    if (writes.length === 0) return;
    for (const [key] of writes) {
      if (key.length > 0 && key.length <= this.#store.keyBytesMax) continue;
      throw new Error(`a key of ${key.length} bytes cannot be stored; 1 to ${this.#store.keyBytesMax} are possible`);
    }
    this.#waiting.add(writes);
    if (this.#isWoken) return;
    this.#isWoken = true;
    // Commits of one turn are one write.
    queueMicrotask(() => {
      this.#isWoken = false;
      if (!this.#isRefused) this.#write();
    });
  }

  flushed(): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#waiting.size + this.#writing.size === 0) return Promise.resolve();
    return new Promise((resolve, reject) => (this.#waiting.size > 0 ? this.#nextFlushes : this.#flushes).push({ resolve, reject }));
  }

  async close(): Promise<void> {
    this.#timer?.cancel();
    // The disk is tried once more with what it did not take.
    for (let tried = false; this.#isWriting || (this.#waiting.size > 0 && !this.#failure && !(tried && this.#isRefused)); tried = true) {
      this.#write();
      if (this.#isWriting) await new Promise<void>((resolve) => (this.#written = resolve));
    }
    await this.#store.close();
  }

  /** Gives the disk what waits, unless it has something already. */
  #write(): void {
    if (this.#isWriting || this.#waiting.size === 0 || this.#failure) return;
    if (!this.#room.isInPlace()) {
      this.#isRefused = true;
      return this.#say(this.#gone());
    }
    [this.#writing, this.#waiting] = [this.#waiting, new PendingWrites()];
    [this.#flushes, this.#nextFlushes] = [this.#nextFlushes, []];
    this.#isWriting = true;
    this.#beganMs = this.#p.clock.monotonicMs();
    this.#store.write(this.#writing.writes()).then(
      () => this.#took(),
      (error: unknown) => this.#refused(error),
    );
  }

  #took(): void {
    const wasRefused = this.#isRefused;
    this.#isWriting = this.#isRefused = false;
    this.#writing = new PendingWrites();
    if (wasRefused) this.#judgeRoom();
    for (const { resolve } of this.#flushes.splice(0)) resolve();
    this.#write();
    this.#tellWritten();
  }

  #refused(error: unknown): void {
    this.#isWriting = false;
    this.#waiting.addOlder(this.#writing);
    this.#writing = new PendingWrites();
    this.#nextFlushes = [...this.#flushes.splice(0), ...this.#nextFlushes];
    if (error instanceof WriteFailed) {
      this.#say(error.isFull ? this.#full() : this.#unwritable(error.message));
      this.#isRefused = !error.isFull || !this.#room.spendReserve();
      if (!this.#isRefused) this.#write();
    } else {
      this.#failure = error instanceof Error ? error : new Error(String(error));
      for (const { reject } of this.#nextFlushes.splice(0)) reject(this.#failure);
      this.#p.onFailure?.(this.#failure);
    }
    this.#tellWritten();
  }

  #tellWritten(): void {
    this.#written?.();
    this.#written = null;
  }

  /** Tries again what waits, and looks whether there is room. */
  #look(): void {
    const { clock } = this.#p;
    const now = clock.monotonicMs();
    const hasRoom = (this.#room.freeBytes() ?? 0) >= this.#room.lowBytes;
    if (this.#isRefused && (now - this.#triedMs >= this.#waitMs || (hasRoom && this.#trouble?.code === 'state-full'))) {
      this.#triedMs = now;
      this.#write();
      this.#waitMs = Math.min(tryEveryMsMax, this.#waitMs * 2);
    }
    if (!this.#isRefused) {
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

  /** What is on disk, and `mine` (keys in order) of what is not yet. */
  *#merged(
    start: Buffer,
    end: Buffer,
    mine: string[],
    { limit = Infinity, reverse = false }: { limit?: number; reverse?: boolean },
  ): Iterable<[Buffer, Buffer]> {
    if (reverse) mine.reverse();
    // As they are now: when the disk has them meanwhile, they come all the same, and once.
    const own = mine.map((key): [string, Buffer | null | undefined] => [key, this.#pendingOf(key)]);
    let left = limit;
    let next = 0;
    const isBefore = (a: string, b: string) => (reverse ? a > b : a < b);
    const ownUpTo = function* (key: string | null): Generator<[Buffer, Buffer]> {
      for (let each = own[next]; each && left > 0 && (key === null || isBefore(each[0], key)); each = own[++next]) {
        const [name, value] = each;
        if (!value) continue;
        left--;
        yield [Buffer.from(name, 'latin1'), value];
      }
    };
    if (left <= 0) return;
    for (const [key, value] of this.#store.range(start, end, { reverse })) {
      const name = key.toString('latin1');
      yield* ownUpTo(name);
      if (left <= 0) return;
      // What waits stands for what is on disk; it comes by itself.
      if (own[next]?.[0] === name) continue;
      left--;
      yield [key, value];
      if (left <= 0) return;
    }
    yield* ownUpTo(null);
  }

  #pendingOf(key: string): Buffer | null | undefined {
    const value = this.#waiting.get(key);
    return value === undefined ? this.#writing.get(key) : value;
  }
}

interface Flush {
  resolve: () => void;
  reject: (error: Error) => void;
}
