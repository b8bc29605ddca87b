import fs from 'node:fs';

/*
 * Layout of an LMDB file as the lmdb package writes it (mdb.c: MDB_page_header, MDB_meta, MDB_node), little-endian:
 * a page begins with a header of 24 bytes, pages 0 and 1 are the two metas.
 */
const META = { magic: 24, pageSize: 48, mainRoot: 136, lastPage: 144, transaction: 152, bytes: 160, magicNumber: 0xbeefc0de };
const PAGE = { flags: 18, lower: 20, pointers: 24, branch: 1, leaf: 2, leaf2: 0x20 };
const NODE = { low: 0, high: 2, flags: 4, keySize: 6, key: 8, bigData: 1 };
const FREE_ROOT = 88;
const NO_PAGE = 0xffff_ffff_ffff_ffffn;

interface Meta {
  pageSize: number;
  roots: bigint[];
  lastPage: number;
  transaction: bigint;
}

/**
 * Looks at the file before LMDB maps it, because LMDB meets damage by ending the process: SIGBUS at a page that is
 * missing at the end, an assertion at a page of zeros.
 *
 * LMDB may leave free pages at the end unwritten, so that a short file is only suspect; then every page in use is
 * looked up. A whole file costs two reads.
 *
 * @throws Error that says what is wrong.
 */
export function checkLmdbFile(file: string): void {
  const size = fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (size === 0) return;
  const fd = fs.openSync(file, 'r');
  try {
    const first = readMeta(fd, 0);
    const second = first === null ? null : readMeta(fd, first.pageSize);
    if (first === null || second === null) throw new Error('it is not an LMDB file, or its head is destroyed');
    const latest = first.transaction > second.transaction ? first : second;
    if (size >= (latest.lastPage + 1) * latest.pageSize) return;
    for (const root of latest.roots) if (root !== NO_PAGE) checkPage(fd, latest.pageSize, size, root, 0);
  } finally {
    fs.closeSync(fd);
  }
}

/** What of an open LMDB file is in use; zeros of one that is new. @throws Error when its head is destroyed. */
export function usedOf(fd: number): { usedBytes: number; pageSize: number } {
  const first = readMeta(fd, 0);
  const second = first === null ? null : readMeta(fd, first.pageSize);
  if (first === null || second === null) {
    if (fs.fstatSync(fd).size === 0) return { usedBytes: 0, pageSize: 4096 };
    throw new Error('it is not an LMDB file, or its head is destroyed');
  }
  const { pageSize, lastPage } = first.transaction > second.transaction ? first : second;
  return { usedBytes: (lastPage + 1) * pageSize, pageSize };
}

function readMeta(fd: number, position: number): Meta | null {
  const page = Buffer.alloc(META.bytes);
  if (fs.readSync(fd, page, 0, page.length, position) < page.length) return null;
  const pageSize = page.readUInt32LE(META.pageSize);
  if (page.readUInt32LE(META.magic) !== META.magicNumber || pageSize < 512 || pageSize > 65536) return null;
  return {
    pageSize,
    roots: [page.readBigUInt64LE(FREE_ROOT), page.readBigUInt64LE(META.mainRoot)],
    lastPage: Number(page.readBigUInt64LE(META.lastPage)),
    transaction: page.readBigUInt64LE(META.transaction),
  };
}

/** No tree of LMDB is deeper (CURSOR_STACK); a circle in a damaged file ends here. */
const DEPTH_MAX = 32;

function checkPage(fd: number, pageSize: number, fileSize: number, number: bigint, depth: number): void {
  const position = Number(number) * pageSize;
  if (position + pageSize > fileSize) throw new Error(`it ends at byte ${fileSize}, before page ${number}`);
  const page = Buffer.allocUnsafe(pageSize);
  fs.readSync(fd, page, 0, pageSize, position);
  const flags = page.readUInt16LE(PAGE.flags);
  const isBranch = (flags & PAGE.branch) !== 0;
  if (depth > DEPTH_MAX || (!isBranch && (flags & PAGE.leaf) === 0)) throw new Error(`page ${number} is destroyed`);
  if (flags & PAGE.leaf2) return;
  // Offsets within a page count from the end of its header.
  const lower = PAGE.pointers + page.readUInt16LE(PAGE.lower);
  for (let at = PAGE.pointers; at < lower && at + 2 <= pageSize; at += 2) {
    const node = PAGE.pointers + page.readUInt16LE(at);
    if (node + NODE.key > pageSize) throw new Error(`page ${number} is destroyed`);
    const low = page.readUInt16LE(node + NODE.low);
    const high = page.readUInt16LE(node + NODE.high);
    const nodeFlags = page.readUInt16LE(node + NODE.flags);
    if (isBranch) {
      checkPage(fd, pageSize, fileSize, BigInt(low) | (BigInt(high) << 16n) | (BigInt(nodeFlags) << 32n), depth + 1);
    } else if (nodeFlags & NODE.bigData) {
      const pageOfData = page.readBigUInt64LE(node + NODE.key + page.readUInt16LE(node + NODE.keySize));
      const end = Number(pageOfData) * pageSize + PAGE.pointers + (low | (high << 16));
      if (end > fileSize) throw new Error(`it ends at byte ${fileSize}, inside a value that ends at ${end}`);
    }
  }
}
