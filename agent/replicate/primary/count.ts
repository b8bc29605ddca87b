import type { Clock } from '../../platform/clock.ts';
import { errnoCode, joinPath, type BytePath, type DirEntry, type Files } from '../../platform/files.ts';
import { Pacer } from '../../platform/pacer.ts';
import { absolute, type Root } from '../root.ts';

/** What is below the roots; bytes are an estimate. */
export interface StoreCount {
  files: number;
  messages: number;
  /** Directories with messages. */
  mailboxes: number;
  bytes: number;
}

/** Of so many files the size of one is looked at. */
const filesPerSample = 32;

/**
 * Counts what a fill will bring, by names alone, so that progress and what is missing can be shown against a total. The size
 * of some files stands for that of all.
 */
export async function countFiles(files: Files, clock: Clock, roots: readonly Root[], signal: AbortSignal): Promise<StoreCount> {
  const count: StoreCount = { files: 0, messages: 0, mailboxes: 0, bytes: 0 };
  let sampled = 0;
  let sampledBytes = 0;
  const { pause } = new Pacer(clock);
  for (const root of roots) {
    const dirs: BytePath[] = [''];
    for (let dir = dirs.pop(); dir !== undefined; dir = dirs.pop()) {
      if (signal.aborted) return count;
      for (const portion of portionsOf(files, absolute(root, dir))) {
        for (const { name, kind } of portion) {
          const path = joinPath(dir, name);
          const class_ = root.format.classify(path, kind);
          if (kind === 'other' || class_.ignored) continue;
          if (kind === 'dir') {
            dirs.push(path);
            if (name === 'cur' && root.format.classify(joinPath(path, 'x'), 'file').class === 'message') count.mailboxes++;
            continue;
          }
          if (class_.class === 'message') count.messages++;
          if (count.files++ % filesPerSample !== 0) continue;
          sampled++;
          sampledBytes += sizeOf(files, absolute(root, path));
        }
        await pause();
      }
    }
  }
  count.bytes = Math.round((sampledBytes * count.files) / Math.max(1, sampled));
  return count;
}

function* portionsOf(files: Files, path: BytePath): Generator<DirEntry[]> {
  try {
    yield* files.list(path) ?? [];
  } catch (error) {
    // What cannot be read is reported where it is compared; for a count it is just not there.
    if (errnoCode(error) === undefined) throw error;
  }
}

function sizeOf(files: Files, path: BytePath): number {
  try {
    return files.lstat(path)?.size ?? 0;
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return 0;
  }
}
