import fs from 'node:fs';
import { canMap, MADV_DONTNEED, madvise } from './native.ts';

/** Accesses between two looks at the resident memory: the kernel maps 16 pages around each one that was missing. */
const ACCESSES_BETWEEN_LOOKS = 512;

/**
 * Keeps a file that another library maps from counting as resident memory as a whole.
 *
 * Pages that were read once stay in the process until memory is short, although they belong to the file cache. When
 * they exceed the bound they are given back (MADV_DONTNEED on a shared, read-only mapping: nothing is lost, the next
 * access finds them in the cache).
 */
export class MappedMemory {
  readonly #bytesMax: number;
  readonly #inode: string;
  readonly #otherBytes: number;
  #accesses = 0;

  /** Made before `file` is read through its map. */
  constructor(file: string, bytesMax: number) {
    this.#bytesMax = bytesMax;
    this.#inode = String(fs.statSync(file, { bigint: true }).ino);
    this.#otherBytes = sharedBytes();
  }

  /** To be called with the number of entries that were looked at. */
  touched(accesses: number): void {
    this.#accesses += accesses;
    if (this.#accesses < ACCESSES_BETWEEN_LOOKS) return;
    this.#accesses = 0;
    if (sharedBytes() - this.#otherBytes > this.#bytesMax) this.#giveBack();
  }

  #giveBack(): void {
    for (const line of fs.readFileSync('/proc/self/maps', 'latin1').split('\n')) {
      // address-end permissions offset device inode path; a writable or private mapping is somebody else's.
      const [range = '', permissions = '', , , inode] = line.split(/\s+/);
      if (inode !== this.#inode || permissions !== 'r--s') continue;
      const [start, end] = range.split('-').map((hex) => BigInt(`0x${hex}`));
      if (start !== undefined && end !== undefined) madvise(start, Number(end - start), MADV_DONTNEED);
    }
  }
}

/** Resident bytes of files and shared memory (proc(5), status), whatever the size of the kernel's pages. */
function sharedBytes(): number {
  const status = fs.readFileSync('/proc/self/status', 'latin1');
  const kibibytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0);
  return (kibibytes('RssFile') + kibibytes('RssShmem')) * 1024;
}

/**
 * How much of `bytesMax` this process can map of a file, in halves of it: a limit of address space (`ulimit -v`, LimitAS), a
 * kernel with fewer address bits or an emulator may allow less. The lmdb package does not survive a map that is refused.
 *
 * @returns null when not even `bytesMin` can be had.
 */
export function mappableBytes(file: string, bytesMax: number, bytesMin: number): number | null {
  const fd = fs.openSync(file, 'a+', 0o600);
  try {
    // As much again is left for the process: each of its threads sets address space aside as well.
    for (let bytes = bytesMax; bytes >= bytesMin; bytes /= 2) if (canMap(fd, 2 * bytes)) return bytes;
    return canMap(fd, bytesMin) ? bytesMin : null;
  } finally {
    fs.closeSync(fd);
  }
}
