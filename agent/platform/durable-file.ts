import { closeSync, fsyncSync, linkSync, openSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** fsync of a directory: makes new names in it survive a power cut. */
export function syncDir(dir: string): void {
  const fd = openSync(dir, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Writes a small file of the agent's own, mode 0600 unless told otherwise, atomically and durably: when it returns, the content survives a
 * power cut; when it throws, the old content stands.
 *
 * @param exclusive error EEXIST when the file is there already, instead of replacing it.
 */
export function writeDurable(path: string, content: string | Buffer, options: { exclusive?: boolean; mode?: number } = {}): void {
  const staged = join(dirname(path), `.${basename(path)}.new.${process.pid}`);
  const fd = openSync(staged, 'wx', options.mode ?? 0o600);
  try {
    try {
      const bytes = Buffer.from(content);
      for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    // A link fails where the name exists; a rename replaces it.
    if (options.exclusive) linkSync(staged, path);
    else renameSync(staged, path);
  } catch (error) {
    unlinkSync(staged);
    throw error;
  }
  if (options.exclusive) unlinkSync(staged);
  syncDir(dirname(path));
}
