import { hash } from 'node:crypto';
import { limits } from '../../../protocol/limits.ts';
import type { Op } from '../../../protocol/ops.ts';
import { chooseDelta, chunkFileBytesMin } from '../../delta/choose.ts';
import { decodeChunks, encodeChunks } from '../../delta/chunk-code.ts';
import { ContentScan, scanFile, type ScanResult } from '../../delta/scan.ts';
import { entryOf, xattrsDigest, type Entry } from '../../journal/entry.ts';
import { ChannelClosed } from '../../link/channel.ts';
import { errnoCode, joinPath, type BytePath, type FileRead, type Stat, type Xattrs } from '../../platform/files.ts';
import { absolute, type Root } from '../root.ts';
import { isRacy, metaOf, sameAttributes, type Making, type Outcome, type PrimaryParts } from './context.ts';

/** A file whose content has to reach the standby. */
export interface FileAt {
  root: Root;
  dir: BytePath;
  name: BytePath;
  /** Number of the directory in the index. */
  dirNumber: number;
  /** What the standby has under this name. */
  known: Entry | undefined;
  /** Content never changes under one name: no tail, no patch, no chunk list. */
  immutable: boolean;
}

const readBytes = 1024 * 1024;
/** Content at least this long is looked for on the standby before it is sent. */
const copyBytesMin = 16 * 1024;

/** Reads a file, unless it was just `read`, and sends the least that makes the standby's copy the same. */
export async function sendFile(p: PrimaryParts, making: Making, at: FileAt, stat: Stat, read: FileRead | null): Promise<Outcome> {
  const path = absolute(at.root, joinPath(at.dir, at.name));
  try {
    if (read) return await sendBytes(p, making, at, read.stat, read.data, read.xattrs);
    if (stat.size <= limits.inlineFileBytesMax) {
      const now = p.files.readFile(path, limits.inlineFileBytesMax * 2);
      if (!now || now.data.length !== now.stat.size) return 'later';
      return await sendBytes(p, making, at, now.stat, now.data, now.xattrs);
    }
    return await sendLarge(p, making, at, path);
  } catch (error) {
    const code = errnoCode(error);
    if (code === undefined || error instanceof ChannelClosed) throw error;
    if (code === 'E2BIG' || code === 'ENOENT') return 'later';
    p.unproven.add(at.root.name, joinPath(at.dir, at.name), `cannot be read: ${code}`);
    return 'unreadable';
  }
}

/** Sends content that is in memory, as read from a file with this stat; its attributes are looked up when they are not given. */
export async function sendBytes(
  p: PrimaryParts,
  making: Making,
  at: FileAt,
  stat: Stat,
  data: Buffer,
  xattrs = xattrsAt(p, at),
): Promise<Outcome> {
  const scanned = at.immutable ? plainScan(data) : scanBytes(p, at, data);
  const op = chooseOp(p, making, at, stat, xattrs, scanned, (offset, length) => p.hash.of(data.subarray(offset, offset + length)));
  if (op.op === 'put') op.bytes = data;
  const literals =
    op.op === 'patch' ? Buffer.concat(op.literals.map(({ offset, length }) => data.subarray(offset, offset + length))) : data;
  if (op.op === 'patch') op.bytes = literals;
  const streamed = 'bytes' in op && op.bytes && op.bytes.length > limits.inlineFileBytesMax;
  if (streamed) delete op.bytes;
  await emit(p, making, at, stat, op, scanned);
  if (streamed) await making.writer.stream(literals);
  return 'done';
}

async function sendLarge(p: PrimaryParts, making: Making, at: FileAt, path: BytePath): Promise<Outcome> {
  const fd = p.files.openRead(path);
  if (fd === null) return 'later';
  try {
    // What is appended while this file is read comes with its next change; what is here now is whole.
    const stat = p.files.fstat(fd);
    if (stat.size > limits.fileBytesMax) {
      p.unproven.add(at.root.name, joinPath(at.dir, at.name), 'is larger than any file that is replicated');
      return 'unreadable';
    }
    const read = (offset: number, length: number) => readRange(p, fd, offset, Math.max(0, Math.min(length, stat.size - offset)));
    const scanned = await scanFile(read, stat.size, at.immutable ? null : oldVersion(p, at), p.hash, () => p.clock.yield());
    if (scanned.size !== stat.size) return 'later';
    const op = chooseOp(p, making, at, stat, xattrsAt(p, at), scanned, (offset, length) => p.hash.of(read(offset, length)));
    await emit(p, making, at, stat, op, at.immutable ? { ...scanned, chunks: null } : scanned);
    const ranges = op.op === 'put' ? [{ offset: 0, length: stat.size }] : op.op === 'patch' ? op.literals : [];
    for (const { offset, length } of ranges) {
      for (let done = 0; done < length;) {
        const bytes = read(offset + done, Math.min(limits.dataFrameBytesMax, length - done));
        // A file that shrank while it was read cannot be made whole: the checksum will tell, and it is sent again.
        await making.writer.stream(bytes.length === 0 ? Buffer.alloc(Math.min(limits.dataFrameBytesMax, length - done)) : bytes);
        done += bytes.length === 0 ? Math.min(limits.dataFrameBytesMax, length - done) : bytes.length;
      }
    }
    return 'done';
  } finally {
    p.files.close(fd);
  }
}

function readRange(p: PrimaryParts, fd: number, offset: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(length);
  let got = 0;
  while (got < length) {
    const n = p.files.read(fd, buffer, got, Math.min(readBytes, length - got), offset + got);
    if (n === 0) break;
    got += n;
  }
  return buffer.subarray(0, got);
}

function oldVersion(p: PrimaryParts, at: FileAt) {
  if (at.known?.kind !== 'file' || at.known.content.length === 0) return null;
  const stored = at.known.size >= chunkFileBytesMin ? p.index.chunksOf(at.dirNumber, at.name) : undefined;
  return { size: at.known.size, content: at.known.content, chunks: stored ? decodeChunks(stored) : null };
}

function scanBytes(p: PrimaryParts, at: FileAt, data: Buffer): ScanResult {
  const scan = new ContentScan(data.length, oldVersion(p, at), p.hash);
  scan.update(data);
  return scan.finish();
}

function plainScan(data: Buffer): ScanResult {
  return { size: data.length, content: hash('sha256', data, 'buffer'), chunks: null, comparable: null, keepsPrefix: false };
}

function xattrsAt(p: PrimaryParts, at: FileAt): Xattrs | null {
  return p.files.xattrs(absolute(at.root, joinPath(at.dir, at.name)));
}

type ContentOp =
  | Extract<Op, { op: 'put' | 'copy' }>
  | (Extract<Op, { op: 'meta' }> & { same: true })
  | (Extract<Op, { op: 'patch' }> & { literals: { offset: number; length: number }[]; tail: boolean });

function chooseOp(
  p: PrimaryParts,
  making: Making,
  at: FileAt,
  stat: Stat,
  xattrs: Xattrs | null,
  scanned: ScanResult,
  idOf: (offset: number, length: number) => bigint,
): ContentOp {
  const place = { dir: making.writer.dir(at.root.name, at.dir), name: at.name };
  const meta = metaOf(stat, xattrs);
  const { content, size } = scanned;
  const old = at.known?.kind === 'file' && at.known.content.length > 0 ? at.known : null;
  // Another file of the same content: on the standby the old one may have names that are not this one's.
  const isSameFile = old !== null && (old.ino === stat.ino || (!old.linked && stat.nlink === 1));
  if (old && isSameFile && old.content.equals(content.subarray(0, old.content.length)))
    return { op: 'meta', at: place, meta, base: old.content, same: true };
  if (size >= copyBytesMin) {
    const elsewhere = p.index.byContent(content.subarray(0, 16));
    if (elsewhere && p.index.pathOf(elsewhere.dir).root === p.index.root(at.root.name)) {
      const from = { dir: making.writer.dir(at.root.name, p.index.pathOf(elsewhere.dir).path), name: elsewhere.name };
      return { op: 'copy', at: place, from, meta, size, content };
    }
  }
  if (old && !at.immutable) {
    const delta = chooseDelta(
      {
        oldSize: old.size,
        newSize: size,
        keepsPrefix: scanned.keepsPrefix,
        oldChunks: oldVersion(p, at)?.chunks ?? null,
        newChunks: scanned.comparable,
      },
      idOf,
    );
    if (delta.kind !== 'whole')
      return {
        op: 'patch',
        at: place,
        meta,
        size,
        content,
        base: old.content,
        pieces: delta.pieces,
        literalBytes: delta.literalBytes,
        literals: delta.literals,
        tail: delta.kind === 'tail',
      };
  }
  return { op: 'put', at: place, meta, size, content };
}

async function emit(p: PrimaryParts, making: Making, at: FileAt, stat: Stat, op: ContentOp, scanned: ScanResult): Promise<void> {
  const xattrs = xattrsDigest(op.meta.xattrs ? new Map(op.meta.xattrs) : null);
  const entry: Entry = {
    ...entryOf(stat, scanned.content, xattrs, 0),
    size: scanned.size,
    racy: !at.immutable && isRacy(stat.mtimeNs, p.clock.wallMs()),
  };
  p.index.put(making.layer, at.root.name, at.dirNumber, at.name, entry);
  if (op.op !== 'meta' && scanned.chunks) p.index.setChunks(making.layer, at.dirNumber, at.name, encodeChunks(scanned.chunks));
  p.unproven.prove(at.root.name, joinPath(at.dir, at.name));
  const known = at.known;
  // Read again only because of a racy timestamp, and nothing was hiding behind it.
  if (op.op === 'meta' && known && known.mtimeNs === stat.mtimeNs && sameAttributes(known, stat) && known.xattrs.equals(xattrs)) return;
  const sent = op.op === 'put' ? scanned.size : op.op === 'patch' ? op.literalBytes : 0;
  p.meter.sent(op.op === 'put' ? 'whole' : op.op === 'patch' && op.tail ? 'tail' : op.op, 1, sent, scanned.size - sent);
  await making.writer.add(wireOp(op), { root: at.root.name, dir: at.dir, name: at.name });
}

/** The op without what only this file needs of it. */
function wireOp(op: ContentOp): Op {
  if (op.op === 'patch') {
    const { literals: _literals, tail: _tail, ...rest } = op;
    return rest;
  }
  if (op.op === 'meta') {
    const { same: _same, ...rest } = op;
    return rest;
  }
  return op;
}
