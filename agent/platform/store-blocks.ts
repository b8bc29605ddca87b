import fs from 'node:fs';
import { allocateAhead, noCopyOnWrite } from './native.ts';

/** More is asked for than the next commit needs, so that the call is rare. */
const stepBytes = 1024 ** 2;
/** A key changes the page that it is in and, with others, the pages above; LMDB writes changed pages to new places. */
const pagesPerKey = 1.5;
/** The list of free pages, and the roots. */
const pagesBeside = 16;
/** Where overwriting takes new blocks, this much must be free beside what is asked for. */
const besideBytes = 16 * 1024 ** 2;
const btrfsMagic = 0x9123683e;

/** What a commit is about to write. */
export interface Expected {
  keys: number;
  bytes: number;
}

/**
 * Sees to it that a commit finds blocks, before LMDB writes.
 *
 * A write that the disk refuses is not only a commit that failed: LMDB 0.9.90 as the lmdb package brings it then prints into a
 * buffer that is too short, which can end the process. So the blocks behind the end of the file are allocated first
 * (fallocate, without changing its size), which also fills its holes.
 */
export class StoreBlocks {
  readonly #fd: number;
  readonly #dir: string;
  readonly #isCopied: boolean;
  /** Everything below this byte has blocks. */
  #allocatedTo = 0;

  /** `fd` is open for writing, and stays the caller's. `dir` is on the same disk. */
  constructor(fd: number, dir: string) {
    this.#fd = fd;
    this.#dir = dir;
    this.#isCopied = isCopyOnWrite(fd, dir);
  }

  /** False when the disk has no room for it. `usedBytes` of the file are in use, of pages of `pageSize`. */
  reserve(usedBytes: number, pageSize: number, { keys, bytes }: Expected): boolean {
    const pages = Math.min(keys * pagesPerKey, usedBytes / pageSize) + pagesBeside;
    const needed = Math.ceil(pages) * pageSize + 2 * bytes;
    if (this.#isCopied && this.#freeBytes() < needed + besideBytes) return false;
    const end = usedBytes + needed;
    if (end <= this.#allocatedTo) return true;
    return this.#allocate(end + stepBytes) || this.#allocate(end);
  }

  #allocate(end: number): boolean {
    switch (allocateAhead(this.#fd, this.#allocatedTo, end - this.#allocatedTo)) {
      case 'allocated':
        this.#allocatedTo = end;
        return true;
      case 'full':
        return false;
      case 'unsupported':
        return this.#freeBytes() >= end - this.#allocatedTo;
    }
  }

  #freeBytes(): number {
    const { bavail, bsize } = fs.statfsSync(this.#dir);
    return bavail * bsize;
  }
}

/** Only btrfs is known to overwrite in place when told to; ZFS and bcachefs allocate nothing ahead and are asked for free space. */
function isCopyOnWrite(fd: number, dir: string): boolean {
  return fs.statfsSync(dir).type === btrfsMagic && !noCopyOnWrite(fd, 'is');
}

/** Before a store is made in `dir`: what is made there is overwritten in place, on file systems that copy otherwise. */
export function overwriteInPlace(dir: string): void {
  const fd = fs.openSync(dir, 'r');
  try {
    noCopyOnWrite(fd, 'set');
  } finally {
    fs.closeSync(fd);
  }
}
