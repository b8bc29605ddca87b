import { closeSync, constants, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { syncDir } from './durable-file.ts';

/** A text file of the agent's own that only grows. Handed in, so that the simulation can lose its power. */
export interface AppendFile {
  /** All of it. */
  read(): string;
  /** Adds to the end; durable when it returns. */
  append(text: string): void;
  /** Cuts it to its first bytes: what a power cut left of a last line. Durable when it returns. */
  cut(bytes: number): void;
  close(): void;
}

/** Opens the file, mode 0600, or makes it. */
export function openAppendFile(path: string): AppendFile {
  const { O_RDWR, O_CREAT, O_APPEND, O_NOFOLLOW } = constants;
  const fd = openSync(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600);
  syncDir(dirname(path));
  return {
    read: () => readFileSync(path, 'utf8'),
    append(text) {
      const bytes = Buffer.from(text, 'utf8');
      for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
      fsyncSync(fd);
    },
    cut(bytes) {
      ftruncateSync(fd, bytes);
      fsyncSync(fd);
    },
    close: () => closeSync(fd),
  };
}
