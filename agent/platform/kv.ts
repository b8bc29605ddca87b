/** One write: a value to put, or null to delete the key. */
export type KvWrite = readonly [key: Buffer, value: Buffer | null];

/** Why the store cannot, or soon cannot, be written to disk. */
export interface StoreTrouble {
  code: 'state-full' | 'state-unwritable';
  /** What is wrong and where, for people. */
  detail: string;
  remedy: string;
}

/**
 * An ordered, durable key-value store with atomic commits.
 *
 * `commit` is visible at once and atomic, also after a crash, but durable only when a `flushed()` that was called
 * after it has resolved: nothing is acknowledged before that (I1).
 *
 * No call waits for the disk: what was committed waits in memory until it has been written.
 *
 * A disk that takes nothing, because it is full or fails, makes no commit fail: what was committed stays visible and waits
 * in memory, in its order, and `flushed()` resolves when the disk has taken it. `trouble` says so; whoever brings more
 * than a small record stops meanwhile, so that what waits stays small (I12).
 */
export interface Kv {
  get(key: Buffer): Buffer | undefined;
  /**
   * Keys from `start` (inclusive) to `end` (exclusive) in byte order. The caller may stop early, and must not commit
   * while it iterates. `reverse` walks down from the key before `end`.
   */
  range(start: Buffer, end: Buffer, options?: { limit?: number; reverse?: boolean }): Iterable<[Buffer, Buffer]>;
  commit(writes: readonly KvWrite[]): void;
  flushed(): Promise<void>;
  /** Null while the disk takes what is written. */
  readonly trouble: StoreTrouble | null;
  /** So much waits for the disk that nothing should be added that can wait itself (I12). */
  readonly isBehind: boolean;
  /** How long the write that is under way has taken so far, in milliseconds; 0 while none is. */
  readonly writingMs: number;
  close(): Promise<void>;
}
