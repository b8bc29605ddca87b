import fs from 'node:fs';
import type { Clock } from './clock.ts';

/*
 * A whole look at an LMDB file without LMDB, which would end the process at damage (SIGABRT, SIGBUS, SIGSEGV). Layout as in
 * lmdb-check.ts; offsets within a page count from the end of its header. In the list of free
 * pages of the lmdb package a negative number is the length of a block that begins with the
 * page after it, and zeros are gaps.
 */
const META = { magic: 24, version: 28, free: 48, main: 96, lastPage: 144, transaction: 152, bytes: 160, magicNumber: 0xbeefc0de };
const TREE = { depth: 6, branches: 8, leaves: 16, overflows: 24, entries: 32, root: 40 };
const PAGE = { number: 0, flags: 18, lower: 20, upper: 22, count: 20, header: 24, branch: 1, leaf: 2, overflow: 4 };
const NODE = { low: 0, high: 2, flags: 4, keySize: 6, header: 8, bigData: 1 };
/** Page number, transaction, count. */
const OVERFLOW_REF_BYTES = 24;
const NO_PAGE = 0xffff_ffff_ffff_ffffn;
const DEPTH_MAX = 32;
/** Whoever else needs this thread waits no longer than this and one read; a page may come from a slow disk. */
const SLICE_MS = 20;
const PAGES_READ_AT_ONCE = 64;

interface Tree {
  root: bigint;
  depth: number;
  branches: number;
  leaves: number;
  overflows: number;
  entries: number;
}

export interface WalkOptions {
  /** Told of each entry; whatever it throws is damage. */
  entry: (key: Buffer, value: Buffer) => void;
  clock: Pick<Clock, 'monotonicMs' | 'yield'>;
}

/**
 * Reads every page that is in use and proves that LMDB can: each is what the one above it says, keys are in order, counts
 * agree, and no page is in use twice or also free.
 *
 * @throws Error that says what is damaged.
 */
export async function walkLmdbFile(file: string, options: WalkOptions): Promise<void> {
  const size = fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (size === 0) return;
  const fd = fs.openSync(file, 'r');
  try {
    await new Walk(fd, size, options).run();
  } finally {
    fs.closeSync(fd);
  }
}

class Walk {
  readonly #fd: number;
  readonly #size: number;
  readonly #p: WalkOptions;
  #pageSize = 4096;
  #lastPage = 0;
  /** A bit for each page: in use, or free. */
  #seen: Uint8Array = new Uint8Array(0);
  #sliceBegan: number;
  #window = Buffer.alloc(0);
  #windowStart = 0;

  constructor(fd: number, size: number, options: WalkOptions) {
    this.#fd = fd;
    this.#size = size;
    this.#p = options;
    this.#sliceBegan = options.clock.monotonicMs();
  }

  async run(): Promise<void> {
    const meta = this.#meta();
    this.#lastPage = Number(meta.readBigUInt64LE(META.lastPage));
    if (this.#lastPage < 1 || this.#lastPage > 2 ** 40) throw new Error('its head is destroyed');
    this.#seen = new Uint8Array(Math.ceil((this.#lastPage + 1) / 8));
    this.#take(0, 'the head');
    this.#take(1, 'the head');
    await this.#tree(
      treeOf(meta, META.main),
      (key, value) => this.#p.entry(key, value),
      (a, b) => a.compare(b),
    );
    const free: Buffer[] = [];
    await this.#tree(treeOf(meta, META.free), (_key, value) => void free.push(Buffer.from(value)), compareNumbers);
    for (const list of free) {
      this.#freeList(list);
      await this.#pause();
    }
  }

  /** Lets others have their turn. */
  async #pause(): Promise<void> {
    const { clock } = this.#p;
    if (clock.monotonicMs() - this.#sliceBegan < SLICE_MS) return;
    await clock.yield();
    this.#sliceBegan = clock.monotonicMs();
  }

  /** The newer one of the two. */
  #meta(): Buffer {
    const first = this.#metaAt(0);
    this.#pageSize = first.readUInt32LE(META.free);
    if (![512, 1024, 2048, 4096, 8192, 16384, 32768, 65536].includes(this.#pageSize)) throw new Error('its head is destroyed');
    const second = this.#metaAt(this.#pageSize);
    if (second.readUInt32LE(META.free) !== this.#pageSize) throw new Error('its head is destroyed');
    return first.readBigUInt64LE(META.transaction) > second.readBigUInt64LE(META.transaction) ? first : second;
  }

  #metaAt(position: number): Buffer {
    const page = Buffer.alloc(META.bytes);
    if (fs.readSync(this.#fd, page, 0, page.length, position) < page.length || page.readUInt32LE(META.magic) !== META.magicNumber)
      throw new Error('it is not an LMDB file, or its head is destroyed');
    return page;
  }

  async #tree(tree: Tree, entry: (key: Buffer, value: Buffer) => void, compare: (a: Buffer, b: Buffer) => number): Promise<void> {
    const counted = { branches: 0, leaves: 0, overflows: 0, entries: 0 };
    if (tree.root !== NO_PAGE) {
      if (tree.depth < 1 || tree.depth > DEPTH_MAX) throw new Error('its head is destroyed');
      let last: Buffer | null = null;
      const visit = async (number: bigint, level: number, least: Buffer | null): Promise<void> => {
        const page = this.#page(number);
        const isLeaf = level === tree.depth;
        const flags = page.readUInt16LE(PAGE.flags);
        if ((flags & 0x7f) !== (isLeaf ? PAGE.leaf : PAGE.branch)) throw damaged(number, 'of a wrong kind');
        counted[isLeaf ? 'leaves' : 'branches']++;
        await this.#pause();
        for (const [i, node] of nodesOf(page, number, isLeaf).entries()) {
          // The first key of a branch stands for everything below.
          const isBound = !isLeaf && i === 0;
          const key = isBound ? least : node.key;
          if (!isBound && last !== null && key !== null && compare(last, key) > (isLeaf ? -1 : 0)) throw damaged(number, 'not in order');
          if (!isLeaf) {
            await visit(node.child, level + 1, key);
            continue;
          }
          if (least !== null && key !== null && compare(least, key) > 0) throw damaged(number, 'not in order');
          counted.entries++;
          last = Buffer.from(node.key);
          if (!node.isBig) entry(node.key, node.value);
          else {
            await this.#pause();
            const { value, pages } = this.#big(node.value, node.size, number);
            counted.overflows += pages;
            entry(node.key, value);
          }
        }
      };
      await visit(tree.root, 1, null);
    }
    const { branches, leaves, overflows, entries } = tree;
    if (branches !== counted.branches || leaves !== counted.leaves || overflows !== counted.overflows || entries !== counted.entries)
      throw new Error('its head does not agree with its pages');
  }

  #big(ref: Buffer, size: number, at: bigint): { value: Buffer; pages: number } {
    const first = ref.readBigUInt64LE(0);
    const pages = Number(ref.readBigUInt64LE(16));
    if (pages !== Math.floor((PAGE.header - 1 + size) / this.#pageSize) + 1) throw damaged(at, 'wrong about a large value');
    const head = this.#page(first);
    if (head.readUInt16LE(PAGE.flags) !== PAGE.overflow || head.readUInt32LE(PAGE.count) !== pages) throw damaged(first, 'of a wrong kind');
    for (let i = 1; i < pages; i++) this.#take(Number(first) + i, `page ${first}`);
    const value = Buffer.alloc(size);
    if (fs.readSync(this.#fd, value, 0, size, Number(first) * this.#pageSize + PAGE.header) < size)
      throw new Error(`it ends at byte ${this.#size}, inside a value`);
    return { value, pages };
  }

  #freeList(list: Buffer): void {
    if (list.length < 8 || list.length % 8 !== 0) throw new Error('its list of free pages is destroyed');
    const count = Number(list.readBigUInt64LE(0));
    if (count * 8 + 8 > list.length) throw new Error('its list of free pages is destroyed');
    for (let i = 1; i <= count; i++) {
      const entry = Number(list.readBigInt64LE(i * 8));
      if (entry === 0) continue;
      if (entry > 0) this.#take(entry, 'its list of free pages');
      else {
        if (++i > count || -entry > this.#lastPage) throw new Error('its list of free pages is destroyed');
        const start = Number(list.readBigInt64LE(i * 8));
        for (let page = start; page < start - entry; page++) this.#take(page, 'its list of free pages');
      }
    }
  }

  #page(number: bigint): Buffer {
    if (number > BigInt(this.#lastPage)) throw new Error(`page ${number} is beyond its end`);
    const n = Number(number);
    this.#take(n, `page ${number}`);
    const start = n * this.#pageSize;
    if (start + this.#pageSize > this.#size) throw new Error(`it ends at byte ${this.#size}, before page ${number}`);
    if (start < this.#windowStart || start + this.#pageSize > this.#windowStart + this.#window.length) {
      const window = Buffer.allocUnsafe(this.#pageSize * PAGES_READ_AT_ONCE);
      this.#window = window.subarray(0, fs.readSync(this.#fd, window, 0, window.length, start));
      this.#windowStart = start;
    }
    const page = this.#window.subarray(start - this.#windowStart, start - this.#windowStart + this.#pageSize);
    if (page.length < this.#pageSize || page.readBigUInt64LE(PAGE.number) !== number) throw damaged(number, 'destroyed');
    return page;
  }

  #take(page: number, what: string): void {
    if (!(page >= 0 && page <= this.#lastPage)) throw new Error(`${what} names a page beyond its end`);
    const [byte, bit] = [page >> 3, 1 << (page & 7)];
    if ((this.#seen[byte] ?? 0) & bit) throw new Error(`page ${page} is in use twice`);
    this.#seen[byte] = (this.#seen[byte] ?? 0) | bit;
  }
}

interface LmdbNode {
  key: Buffer;
  /** Of a branch. */
  child: bigint;
  /** Of a leaf; the reference to a large one. */
  value: Buffer;
  size: number;
  isBig: boolean;
}

function nodesOf(page: Buffer, number: bigint, isLeaf: boolean): LmdbNode[] {
  const lower = PAGE.header + page.readUInt16LE(PAGE.lower);
  const upper = PAGE.header + page.readUInt16LE(PAGE.upper);
  if (lower > upper || upper > page.length || lower % 2 !== 0) throw damaged(number, 'destroyed');
  const count = (lower - PAGE.header) / 2;
  // A leaf can be empty only as the root of an empty tree, which has no root; a branch leads to two pages at least.
  if (count < (isLeaf ? 1 : 2)) throw damaged(number, 'empty');
  const nodes: LmdbNode[] = [];
  let used = 0;
  for (let i = 0; i < count; i++) {
    const at = PAGE.header + page.readUInt16LE(PAGE.header + 2 * i);
    if (at < upper || at % 2 !== 0 || at + NODE.header > page.length) throw damaged(number, 'destroyed');
    const low = page.readUInt16LE(at + NODE.low);
    const high = page.readUInt16LE(at + NODE.high);
    const flags = page.readUInt16LE(at + NODE.flags);
    const keyEnd = at + NODE.header + page.readUInt16LE(at + NODE.keySize);
    const size = low + high * 0x1_0000;
    const isBig = isLeaf && flags === NODE.bigData;
    const end = keyEnd + (isLeaf ? (isBig ? OVERFLOW_REF_BYTES : size) : 0);
    if (end > page.length || (isLeaf && flags !== 0 && !isBig)) throw damaged(number, 'destroyed');
    used += end - at + ((end - at) % 2);
    nodes.push({
      key: page.subarray(at + NODE.header, keyEnd),
      child: BigInt(low) | (BigInt(high) << 16n) | (BigInt(flags) << 32n),
      value: isLeaf ? page.subarray(keyEnd, end) : page.subarray(0, 0),
      size,
      isBig,
    });
  }
  // Nodes fill the page from `upper` to its end without a gap, or two of them overlap.
  if (used !== page.length - upper) throw damaged(number, 'destroyed');
  return nodes;
}

function treeOf(meta: Buffer, at: number): Tree {
  const count = (offset: number) => Number(meta.readBigUInt64LE(at + offset));
  return {
    root: meta.readBigUInt64LE(at + TREE.root),
    depth: meta.readUInt16LE(at + TREE.depth),
    branches: count(TREE.branches),
    leaves: count(TREE.leaves),
    overflows: count(TREE.overflows),
    entries: count(TREE.entries),
  };
}

function compareNumbers(a: Buffer, b: Buffer): number {
  if (a.length !== 8 || b.length !== 8) throw new Error('its list of free pages is destroyed');
  const [x, y] = [a.readBigUInt64LE(0), b.readBigUInt64LE(0)];
  return x < y ? -1 : x > y ? 1 : 0;
}

function damaged(number: bigint, how: string): Error {
  return new Error(`page ${number} is ${how}`);
}
