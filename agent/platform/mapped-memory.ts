import fs from 'node:fs';
import { MADV_DONTNEED, madvise } from './native.ts';

/** Accesses between two looks at the resident memory: the kernel maps 16 pages around each one that was missing. */
const ACCESSES_BETWEEN_LOOKS = 512;
const PAGE_BYTES = 4096;

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

/** Resident pages of files and shared memory (proc(5), statm). */
function sharedBytes(): number {
  return Number(fs.readFileSync('/proc/self/statm', 'latin1').split(' ')[2]) * PAGE_BYTES;
}
