/** One write: a value to put, or null to delete the key. */
export type KvWrite = readonly [key: Buffer, value: Buffer | null];

/**
 * An ordered, durable key-value store with atomic commits.
 *
 * `commit` is visible at once and atomic, also after a crash, but durable only when a `flushed()` that was called
 * after it has resolved: nothing is acknowledged before that (I1).
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
  close(): Promise<void>;
}
