import type { Stat } from '../platform/files.ts';

/** Steps in which file systems keep times: NTFS, microseconds, exFAT, ext4 with small inodes, FAT. Nanoseconds. */
const steps = [100n, 1000n, 1_000_000n, 10_000_000n, 1_000_000_000n, 2_000_000_000n] as const;
const second = 1_000_000_000n;

/**
 * Whether a file has the modification time that it was given, as far as its file system can keep it.
 *
 * Nobody needs to know the file system: where times are cut, the time of the last change, which the kernel itself set, is
 * cut as well. So a file of a disk that keeps nanoseconds is never taken for one of another.
 */
export function timesAgree(wantedNs: bigint, { mtimeNs, ctimeNs }: Pick<Stat, 'mtimeNs' | 'ctimeNs'>): boolean {
  if (wantedNs === mtimeNs) return true;
  return steps.some((step) => ctimeNs % (step < second ? step : second) === 0n && mtimeNs === wantedNs - remainder(wantedNs, step));
}

/**
 * How much later than a file's times a change may still have left them as they are: two seconds where both are whole
 * seconds, because the file system may know no others; 0 where they are finer.
 */
export function coarseNs({ mtimeNs, ctimeNs }: Pick<Stat, 'mtimeNs' | 'ctimeNs'>): bigint {
  return mtimeNs % second === 0n && ctimeNs % second === 0n ? 2n * second : 0n;
}

function remainder(value: bigint, step: bigint): bigint {
  return ((value % step) + step) % step;
}
