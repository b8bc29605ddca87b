import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { errnoCode } from './errno.ts';
import * as native from './native.ts';

/** What the thread is asked: a file that is open for reading in this process. */
export interface DiskRead {
  id: number;
  fd: number;
  bytesPerSecond: number;
}

/** What it found. */
export interface DiskReading {
  id: number;
  /** SHA-256 of what was read; null with an error. */
  sha256: Uint8Array | null;
  error: string | null;
  bytes: number;
}

const stepBytes = 1024 * 1024;
/** What every disk and file system takes for the address and length of a read past the cache. */
const alignment = 4096;
const { O_RDONLY, O_NONBLOCK, O_DIRECT, O_NOATIME } = fs.constants;
const pause = new Int32Array(new SharedArrayBuffer(4));

/**
 * The same file once more, with flags of its own: through the descriptor, so that nobody leads elsewhere who can exchange a directory.
 *
 * @throws the error of the operating system; EINVAL where the file system cannot read past the cache.
 */
function openAgain(fd: number, direct: boolean): number {
  const flags = O_RDONLY | O_NONBLOCK | (direct ? O_DIRECT : 0);
  try {
    return fs.openSync(`/proc/self/fd/${fd}`, flags | O_NOATIME);
  } catch (error) {
    // Only the owner of a file may leave the time of its last reading alone.
    if (errnoCode(error) !== 'EPERM') throw error;
    return fs.openSync(`/proc/self/fd/${fd}`, flags);
  }
}

/** Reads past the page cache where the file system can; elsewhere what the cache has of it, and is not to be written, is dropped first. */
function read({ id, fd: opened, bytesPerSecond }: DiskRead, buffer: Buffer): DiskReading {
  for (const direct of [true, false]) {
    let fd: number | null = null;
    let bytes = 0;
    try {
      fd = openAgain(opened, direct);
      if (!direct) native.dropFromCache(fd);
      const hash = createHash('sha256');
      for (;;) {
        const began = performance.now();
        const got = fs.readSync(fd, buffer, 0, stepBytes, bytes);
        hash.update(buffer.subarray(0, got));
        bytes += got;
        // Behind a part that is no whole block there is nothing more, or the file grows just now.
        if (got < stepBytes) break;
        Atomics.wait(pause, 0, 0, Math.max(0, (got * 1000) / bytesPerSecond - (performance.now() - began)));
      }
      if (!direct) native.dropFromCache(fd);
      return { id, sha256: hash.digest(), error: null, bytes };
    } catch (error) {
      const code = errnoCode(error);
      if (code === undefined) throw error;
      // Some file systems say only when they read that they cannot do so past the cache.
      if (!direct || code !== 'EINVAL') return { id, sha256: null, error: code, bytes };
    } finally {
      if (fd !== null) fs.closeSync(fd);
    }
  }
  return { id, sha256: null, error: 'EINVAL', bytes: 0 };
}

const port = parentPort;
if (port !== null) {
  native.giveWay();
  const memory = Buffer.allocUnsafeSlow(stepBytes + alignment);
  const skip = Number((BigInt(alignment) - (native.addressOf(memory) % BigInt(alignment))) % BigInt(alignment));
  const buffer = memory.subarray(skip, skip + stepBytes);
  port.on('message', (message: DiskRead) => port.postMessage(read(message, buffer)));
}
