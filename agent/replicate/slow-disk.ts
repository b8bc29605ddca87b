import type { Kv } from '../platform/kv.ts';

/** A write to a disk that takes longer is said. */
const slowMs = 3000;

/** For people. */
export interface SlowDisk {
  /** For the other node: the same as long as it lasts. */
  text: string;
  seconds: number;
}

/**
 * A disk that takes long is no peer that is gone: it is said while it is waited for. Null while no disk is slow. `syncingMs`: how
 * long the disks of the roots have been taking what was written.
 */
export function slowDisk(kv: Pick<Kv, 'writingMs'>, stateDir: string, syncingMs: number): SlowDisk | null {
  const state = kv.writingMs;
  const ms = Math.max(state, syncingMs);
  if (ms < slowMs) return null;
  const where = state >= syncingMs ? `the state directory ${stateDir}` : 'the roots';
  return {
    text: `the disk of ${where} does not take what is written; replication waits for it, and nothing is acknowledged meanwhile`,
    seconds: Math.round(ms / 1000),
  };
}
