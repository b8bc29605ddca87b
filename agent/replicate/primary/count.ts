import type { Clock } from '../../platform/clock.ts';
import { errnoCode, joinPath, type BytePath, type Files } from '../../platform/files.ts';
import { absolute, type Root } from '../root.ts';

/** Counts the files that a first fill will bring, by names alone, so that progress can be shown against a total. */
export async function countFiles(files: Files, clock: Clock, roots: readonly Root[], signal: AbortSignal): Promise<number> {
  let count = 0;
  for (const root of roots) {
    const dirs: BytePath[] = [''];
    for (let dir = dirs.pop(); dir !== undefined; dir = dirs.pop()) {
      if (signal.aborted) return count;
      for (const { name, kind } of list(files, absolute(root, dir))) {
        const path = joinPath(dir, name);
        if (kind === 'other' || root.format.classify(path, kind).ignored) continue;
        if (kind === 'dir') dirs.push(path);
        else count++;
      }
      await clock.yield();
    }
  }
  return count;
}

function list(files: Files, path: BytePath) {
  try {
    return files.readdir(path) ?? [];
  } catch (error) {
    // What cannot be read is reported where it is compared; for a count it is just not there.
    if (errnoCode(error) === undefined) throw error;
    return [];
  }
}
