import { createHash } from 'node:crypto';
import type { FileKind, Stat, Xattrs } from '../platform/files.ts';

/** Bytes of a SHA-256 that the index keeps of a file's content. */
export const contentBytes = 16;

/**
 * What the index knows of one name in a directory: on the primary what the standby is known to have (with the identity
 * that the primary's own file had when it was read), on the standby what was put there.
 */
export interface Entry {
  kind: Exclude<FileKind, 'other'>;
  /** Identity on this node; recognises a rename. */
  ino: bigint;
  btimeNs: bigint;
  /** Bytes; 0 for a directory. */
  size: number;
  /** Of a directory on the primary: its mtime when its names were last compared completely; 0 = not compared. */
  mtimeNs: bigint;
  /** On the primary: when anything about it last changed, as lstat showed; 0 = not known. Not compared between nodes. */
  ctimeNs: bigint;
  mode: number;
  uid: number;
  gid: number;
  /** First 16 bytes of the SHA-256 of a file's content or a link's canonical target; empty = not known; empty for a directory. */
  content: Buffer;
  /** First 8 bytes of the SHA-256 of the extended attributes; empty when there are none. */
  xattrs: Buffer;
  /** Number of a directory; 0 for anything else. */
  dir: number;
  /** Changed so shortly before it was read that a later change may hide behind the same mtime: read again before it is trusted. */
  racy: boolean;
  /** The file has (had) other names: they are found by `namesOf`. */
  linked: boolean;
  /** On the standby: what of all this its disk could not be given (bits of protocol/shortfall.ts); absent when it has all. */
  lacks?: number;
}

const empty = Buffer.alloc(0);
const kinds = ['file', 'dir', 'symlink'] as const;
const fixedBytes = 1 + 2 + 4 + 4 + 8 + 8 + 8 + 6;
/** What few entries have comes at the end, after a byte that says what it is. */
const more = 128;
const moreWideTime = 1;
const moreLacks = 2;
const wideTimeBytes = 12;
const nsPerSecond = 1_000_000_000n;

/** Whether a time in nanoseconds fits 64 bits: the years 1677 to 2262. */
function isNarrow(timeNs: bigint): boolean {
  return BigInt.asIntN(64, timeNs) === timeNs;
}

/** Any time that the kernel can keep: 64 bits of seconds, then nanoseconds. */
function wideTime(timeNs: bigint): Buffer {
  const out = Buffer.allocUnsafe(wideTimeBytes);
  const nsec = ((timeNs % nsPerSecond) + nsPerSecond) % nsPerSecond;
  out.writeBigInt64BE(BigInt.asIntN(64, (timeNs - nsec) / nsPerSecond), 0);
  out.writeUInt32BE(Number(nsec), 8);
  return out;
}

/** Packs an entry; fixed fields first, so that decoding needs no parser. A million of these are held. */
export function encodeEntry(entry: Entry): Buffer {
  const hasContent = entry.content.length > 0;
  const hasXattrs = entry.xattrs.length > 0;
  const hasCtime = entry.ctimeNs !== 0n;
  const narrow = isNarrow(entry.mtimeNs);
  const lacks = entry.lacks ?? 0;
  const rest: Buffer | null = narrow && lacks === 0 ? null : encodeMore(entry);
  const out = Buffer.allocUnsafe(
    fixedBytes + (hasContent ? contentBytes : 0) + (hasXattrs ? 8 : 0) + (hasCtime ? 8 : 0) + (rest?.length ?? 0),
  );
  out[0] =
    kinds.indexOf(entry.kind) |
    (hasContent ? 4 : 0) |
    (hasXattrs ? 8 : 0) |
    (entry.racy ? 16 : 0) |
    (entry.linked ? 32 : 0) |
    (hasCtime ? 64 : 0) |
    (rest ? more : 0);
  out.writeUInt16BE(entry.mode, 1);
  out.writeUInt32BE(entry.uid, 3);
  out.writeUInt32BE(entry.gid, 7);
  out.writeBigUInt64BE(entry.ino, 11);
  out.writeBigInt64BE(entry.btimeNs, 19);
  out.writeBigInt64BE(narrow ? entry.mtimeNs : 0n, 27);
  out.writeUIntBE(entry.kind === 'dir' ? entry.dir : entry.size, 35, 6);
  let at = fixedBytes;
  if (hasContent) at += entry.content.copy(out, at);
  if (hasXattrs) at += entry.xattrs.copy(out, at);
  if (hasCtime) at = out.writeBigInt64BE(entry.ctimeNs, at);
  rest?.copy(out, at);
  return out;
}

function encodeMore(entry: Entry): Buffer {
  const narrow = isNarrow(entry.mtimeNs);
  const lacks = entry.lacks ?? 0;
  const parts: Buffer[] = [Buffer.from([(narrow ? 0 : moreWideTime) | (lacks === 0 ? 0 : moreLacks)])];
  if (!narrow) parts.push(wideTime(entry.mtimeNs));
  if (lacks !== 0) parts.push(Buffer.from([lacks]));
  return Buffer.concat(parts);
}

function decodeMore(data: Buffer, at: number): { mtimeNs?: bigint; lacks?: number } {
  const flags = data[at++] ?? 0;
  const found: { mtimeNs?: bigint; lacks?: number } = {};
  if (flags & moreWideTime) {
    found.mtimeNs = data.readBigInt64BE(at) * nsPerSecond + BigInt(data.readUInt32BE(at + 8));
    at += wideTimeBytes;
  }
  if (flags & moreLacks) found.lacks = data[at] ?? 0;
  return found;
}

export function decodeEntry(data: Buffer): Entry {
  const flags = data[0] ?? 0;
  const kind = kinds[flags & 3] ?? 'file';
  const number = data.readUIntBE(35, 6);
  const contentEnd = fixedBytes + (flags & 4 ? contentBytes : 0);
  const ctimeAt = contentEnd + (flags & 8 ? 8 : 0);
  return {
    kind,
    mode: data.readUInt16BE(1),
    uid: data.readUInt32BE(3),
    gid: data.readUInt32BE(7),
    ino: data.readBigUInt64BE(11),
    btimeNs: data.readBigInt64BE(19),
    mtimeNs: data.readBigInt64BE(27),
    size: kind === 'dir' ? 0 : number,
    dir: kind === 'dir' ? number : 0,
    content: flags & 4 ? Buffer.from(data.subarray(fixedBytes, contentEnd)) : empty,
    xattrs: flags & 8 ? Buffer.from(data.subarray(contentEnd, contentEnd + 8)) : empty,
    racy: (flags & 16) !== 0,
    linked: (flags & 32) !== 0,
    ctimeNs: flags & 64 ? data.readBigInt64BE(ctimeAt) : 0n,
    ...(flags & more ? decodeMore(data, ctimeAt + (flags & 64 ? 8 : 0)) : {}),
  };
}

/** The permission bits that replication keeps: never setuid, and setgid on directories only (I11). */
export function replicatedMode(kind: FileKind, mode: number): number {
  return mode & (kind === 'dir' ? 0o3777 : 0o1777);
}

/** An entry for what `lstat` showed. */
export function entryOf(stat: Stat, content: Buffer, xattrs: Buffer, dir: number): Entry {
  if (stat.kind === 'other') throw new Error('sockets, fifos and devices have no entry');
  return {
    kind: stat.kind,
    ino: stat.ino,
    btimeNs: stat.btimeNs,
    ctimeNs: stat.ctimeNs,
    size: stat.kind === 'dir' ? 0 : stat.size,
    mtimeNs: stat.kind === 'dir' ? 0n : stat.mtimeNs,
    mode: replicatedMode(stat.kind, stat.mode),
    uid: stat.uid,
    gid: stat.gid,
    content: content.subarray(0, contentBytes),
    xattrs,
    dir,
    racy: false,
    linked: stat.kind === 'file' && stat.nlink > 1,
  };
}

/** An entry of which only the kind is known: it is the same as nothing that a primary has, and is sent whole. `dir`: its number, of a directory. */
export function unknownEntry(kind: Entry['kind'], dir: number): Entry {
  return {
    kind,
    ino: 0n,
    btimeNs: 0n,
    size: 0,
    mtimeNs: 0n,
    mode: 0,
    uid: 0,
    gid: 0,
    content: empty,
    xattrs: empty,
    dir,
    ctimeNs: 0n,
    racy: false,
    linked: false,
  };
}

/** Digest of extended attributes as the index keeps it: empty when there are none. */
export function xattrsDigest(xattrs: Xattrs | null): Buffer {
  if (xattrs === null || xattrs.size === 0) return empty;
  const hash = createHash('sha256');
  for (const name of [...xattrs.keys()].toSorted()) {
    const value = xattrs.get(name) ?? empty;
    hash.update(`${name}\0${value.length}\0`).update(value);
  }
  return hash.digest().subarray(0, 8);
}

/**
 * What two replicas compare of one name: everything that replication keeps, nothing that is local to a node. 8 bytes.
 * A directory's own attributes only; what is below it is in its tree digest.
 */
export function entryDigest(entry: Entry): Buffer {
  const fixed = Buffer.allocUnsafe(1 + 2 + 4 + 4 + 8 + 6);
  fixed[0] = kinds.indexOf(entry.kind);
  fixed.writeUInt16BE(entry.mode, 1);
  fixed.writeUInt32BE(entry.uid, 3);
  fixed.writeUInt32BE(entry.gid, 7);
  const timeNs = entry.kind === 'dir' ? 0n : entry.mtimeNs;
  const narrow = isNarrow(timeNs);
  fixed.writeBigInt64BE(narrow ? timeNs : 0n, 11);
  // The text of a link to an absolute path is as long as the path of the root on each node.
  fixed.writeUIntBE(entry.kind === 'symlink' ? 0 : entry.size, 19, 6);
  const hash = createHash('sha256').update(fixed).update(entry.content).update(entry.xattrs);
  if (!narrow) hash.update(wideTime(timeNs));
  return hash.digest().subarray(0, 8);
}
