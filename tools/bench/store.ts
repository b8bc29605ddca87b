import { setImmediate as breathe } from 'node:timers/promises';
import { statfsSync } from 'node:fs';
import { CommandError } from '../cli/command-error.ts';
import { showBytes } from '../cli/format.ts';
import type { MessageSizes } from '../mailgen/message.ts';
import { makeStoreSteps, type StoreSummary } from '../mailgen/make.ts';
import type { Bench } from './measurement.ts';

/** Messages of about half a kilobyte: a tmpfs gives each a page, and a million of them twice still fit into memory. */
export const smallSizes: MessageSizes = { medianBytes: 600, sigma: 0.2, attachmentShare: 0, attachmentBytesMin: 1, attachmentBytesMax: 1 };

/** What one small file takes on a tmpfs: a page, an inode, a directory entry. */
export const smallFileBytes = 6 * 1024;

/** Makes a store of maildirs, always the same one for the same figures. */
export async function makeBenchStore(bench: Bench, dir: string, messages: number, sizes?: MessageSizes): Promise<StoreSummary> {
  const steps = makeStoreSteps({ seed: 'bench', dir, messages, ...(sizes ? { sizes } : {}) });
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    await breathe();
    bench.signal.throwIfAborted();
  }
}

/** @throws CommandError when the file system of the bench has less than `bytes` free. */
export function requireSpace(bench: Bench, bytes: number): void {
  const { bavail, bsize } = statfsSync(bench.dir);
  if (bavail * bsize >= bytes) return;
  throw new CommandError({
    code: 'no-space',
    message: `${bench.options.dir} has ${showBytes(bavail * bsize)} free, this measurement needs ${showBytes(bytes)}`,
    remedy: 'name a larger place with --dir, or measure less with --messages, --files or --quick',
    exitCode: 1,
  });
}
