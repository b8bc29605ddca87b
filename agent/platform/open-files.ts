import fs from 'node:fs';
import * as native from './native.ts';

/** Small files share blocks: a block of its own for each would cost the collector more than reading it. */
const slabBytes = 512 * 1024;
const slabFileBytesMax = 64 * 1024;
let slab = Buffer.alloc(0);
let slabUsed = 0;

/** Memory for the content of a file. */
export function allocate(size: number): Buffer {
  if (size > slabFileBytesMax) return Buffer.allocUnsafeSlow(size);
  if (slab.length - slabUsed < size) {
    slab = Buffer.allocUnsafeSlow(slabBytes);
    slabUsed = 0;
  }
  const part = slab.subarray(slabUsed, slabUsed + size);
  slabUsed += size;
  return part;
}

/** Fills `into` from `position` as far as the file goes. */
export function readFully(fd: number, into: Buffer, position: number): number {
  let done = 0;
  while (done < into.length) {
    const n = fs.readSync(fd, into, done, into.length - done, position + done);
    if (n === 0) break;
    done += n;
  }
  return done;
}

export function writeFully(fd: number, data: Buffer, position: number): void {
  let done = 0;
  while (done < data.length) done += fs.writeSync(fd, data, done, data.length - done, position + done);
}

/** Bytes handed to one copy call: large enough to be cheap, small enough for a 32-bit count. */
const COPY_BYTES = 1 << 30;

/** Copies all of one open file to another one, which is empty; they share blocks where the file system can. */
export function copyOpen(from: number, to: number): void {
  let position = 0;
  for (;;) {
    const n = native.copyFileRange(from, to, COPY_BYTES);
    if (n < 0) {
      const code = native.lastErrno();
      if (code === 'EINTR') continue;
      if (code === 'EXDEV' || code === 'EINVAL' || code === 'ENOSYS' || code === 'EOPNOTSUPP' || code === 'ENOTSUP') break;
      throw native.errnoError(code, 'copy_file_range');
    }
    if (n === 0) return;
    position += n;
  }
  const block = Buffer.allocUnsafe(256 * 1024);
  for (;;) {
    const n = readFully(from, block, position);
    if (n === 0) return;
    writeFully(to, block.subarray(0, n), position);
    position += n;
  }
}
