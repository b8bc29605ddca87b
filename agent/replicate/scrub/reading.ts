import { createHash } from 'node:crypto';
import { contentBytes } from '../../journal/entry.ts';
import type { Clock } from '../../platform/clock.ts';
import type { DiskReader } from '../../platform/disk-reader.ts';
import { errnoCode, type BytePath, type Files, type Stat } from '../../platform/files.ts';

/** What a file gave back: the first 16 bytes of its SHA-256, or the name of the error; and how it stood when it was opened. */
export interface Reading {
  stat: Pick<Stat, 'ino' | 'size' | 'mtimeNs' | 'ctimeNs'>;
  content: Buffer | null;
  error: string | null;
  bytes: number;
}

/** Reads files for the scrub. */
export interface ScrubReader {
  /** Reads a file whole, at most so many bytes a second. Null when it is gone, is no regular file, or nothing of it can be known now. */
  read(path: BytePath, bytesPerSecond: number): Promise<Reading | null>;
  /** Ends what it needs; it may be used again. */
  close(): Promise<void>;
}

/** Reads from the disk itself, on a thread of its own. What somebody changes meanwhile gives null. */
export function diskScrubReader(files: Files, disk: Pick<DiskReader, 'read' | 'close'>): ScrubReader {
  return {
    async read(path, bytesPerSecond) {
      const fd = openFile(files, path);
      if (fd === null) return null;
      try {
        const stat = files.fstat(fd);
        const reading = await disk.read(fd, bytesPerSecond);
        const now = files.fstat(fd);
        if (!reading || now.size !== stat.size || now.ctimeNs !== stat.ctimeNs || now.mtimeNs !== stat.mtimeNs) return null;
        const content = reading.sha256 && Buffer.from(reading.sha256).subarray(0, contentBytes);
        return { stat, content, error: reading.error, bytes: reading.bytes };
      } catch (error) {
        if (errnoCode(error) === undefined) throw error;
        return null;
      } finally {
        files.close(fd);
      }
    },
    async close() {
      disk.close();
    },
  };
}

function openFile(files: Files, path: BytePath): number | null {
  try {
    return files.openRead(path);
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return null;
  }
}

const stepBytes = 256 * 1024;

/** Reads with the calls and on the thread of everybody else. */
export function filesReader(files: Files, clock: Clock): ScrubReader {
  return {
    async read(path, bytesPerSecond) {
      const fd = openFile(files, path);
      if (fd === null) return null;
      let stat: Stat | null = null;
      let bytes = 0;
      try {
        stat = files.fstat(fd);
        const hash = createHash('sha256');
        const buffer = Buffer.allocUnsafe(stepBytes);
        for (;;) {
          const got = files.read(fd, buffer, 0, buffer.length, bytes);
          if (got === 0) return { stat, content: hash.digest().subarray(0, contentBytes), error: null, bytes };
          hash.update(buffer.subarray(0, got));
          bytes += got;
          if (bytes < stat.size) await new Promise<void>((resolve) => clock.after((got * 1000) / bytesPerSecond, resolve));
        }
      } catch (error) {
        const code = errnoCode(error);
        if (code === undefined) throw error;
        return stat && { stat, content: null, error: code, bytes };
      } finally {
        files.close(fd);
      }
    },
    close: async () => {},
  };
}
