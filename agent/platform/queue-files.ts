import { lstat, opendir } from 'node:fs/promises';
import { errnoCode } from './files.ts';

/**
 * Directories that may be very large, read beside everything else: in the thread pool, some hundred names at a time, so
 * that nothing waits for it.
 */
export interface QueueFiles {
  /** Names and whether each is a directory. Null when there is no such directory. Other errors are Node's own. */
  list(dir: string): Promise<AsyncIterable<{ name: string; isDirectory: boolean }> | null>;
  /** Null when it is gone. `bornMs`: wall clock; null where the file system does not tell. */
  stat(path: string): Promise<{ mode: number; bornMs: number | null } | null>;
}

const namesAtOnce = 256;

export const queueFiles: QueueFiles = {
  async list(dir) {
    try {
      const handle = await opendir(dir, { bufferSize: namesAtOnce });
      return entriesOf(handle);
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  },
  async stat(path) {
    try {
      const { mode, birthtimeMs } = await lstat(path);
      return { mode: mode & 0o7777, bornMs: birthtimeMs > 0 ? birthtimeMs : null };
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  },
};

/** Closes the directory when the reader stops early, too. */
async function* entriesOf(handle: Awaited<ReturnType<typeof opendir>>): AsyncGenerator<{ name: string; isDirectory: boolean }> {
  for await (const entry of handle) yield { name: entry.name, isDirectory: entry.isDirectory() };
}

function isMissing(error: unknown): boolean {
  const code = errnoCode(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}
