import { hash } from 'node:crypto';
import { limits } from '../../../protocol/limits.ts';
import type { Op, Place } from '../../../protocol/ops.ts';
import { encodeChunks } from '../../delta/chunk-code.ts';
import { ContentScan, type ScanResult } from '../../delta/scan.ts';
import { contentBytes, xattrsDigest, type Entry } from '../../journal/entry.ts';
import { errnoCode, type BytePath, type FileRead, type Stat, type Xattrs } from '../../platform/files.ts';
import { faultOf, whyOf } from '../fault.ts';
import { absolute } from '../root.ts';
import { coarseNs } from '../times.ts';
import { attributesOf, carried } from './bounds.ts';
import { chooseContent, isSameContent, oldVersion, pathOf, sentBytes, type Choice, type FileAt } from './choose-content.ts';
import { isDamagedHere } from './damage.ts';
import { entrySeen, isRacy, metaOf, sameAttributes, type Making, type Outcome, type SendingParts } from './context.ts';
import type { Arrived } from './transfers.ts';

/** Content that is about to go, and how. */
interface Sending {
  at: FileAt;
  stat: Stat;
  xattrs: Xattrs | null;
  scanned: ScanResult;
  choice: Choice;
  /** Wall clock when it was read, milliseconds. */
  readWallMs: number;
}

/** A patch of more pieces than this does not go inside a batch. */
const inlinePiecesMax = 10_000;

/** Reads a file, unless it was just `read`, and sends the least that makes the standby's copy the same. */
export async function sendFile(p: SendingParts, making: Making, at: FileAt, stat: Stat, read: FileRead | null): Promise<Outcome> {
  const path = absolute(at.root, pathOf(at));
  try {
    if (read) return await sendBytes(p, making, at, read.stat, read.data, read.xattrs);
    if (stat.size > limits.inlineFileBytesMax) return await sendLarge(p, making, at, stat);
    const now = readAtRest(p, at, path);
    if (!now) return 'later';
    return await sendBytes(p, making, at, now.stat, now.data, now.xattrs);
  } catch (error) {
    // It grew while it was read.
    if (errnoCode(error) === 'E2BIG') return 'later';
    switch (faultOf(error, 'reading')) {
      case 'us':
      case 'link':
        throw error;
      case 'gone':
        return 'later';
      case 'host':
        p.log.warn({ error: whyOf(error) }, 'files cannot be read now; trying again');
        return 'held';
      default:
        p.unproven.add(at.root.name, pathOf(at), `cannot be read: ${whyOf(error)}`);
        return 'unreadable';
    }
  }
}

/**
 * A small file as it was at one moment: nobody changed it while it was read, as far as its times can tell; where a change may
 * hide behind them, it was the same twice. Null when it would not hold still. Messages never change under one name.
 */
function readAtRest(p: SendingParts, at: FileAt, path: BytePath): FileRead | null {
  const read = p.files.readFile(path, limits.inlineFileBytesMax * 2);
  if (!read || read.data.length !== read.stat.size) return null;
  if (at.immutable) return read;
  const { stat } = read;
  if (isRacy(stat.mtimeNs, p.clock.wallMs())) {
    const again = p.files.readFile(path, limits.inlineFileBytesMax * 2);
    return again?.stat.ino === stat.ino && again.data.equals(read.data) ? read : null;
  }
  const now = p.files.lstat(path);
  return now?.ino === stat.ino && now.size === stat.size && now.mtimeNs === stat.mtimeNs && now.ctimeNs === stat.ctimeNs ? read : null;
}

/** Sends content that is in memory, as read from a file with this stat; its attributes are looked up when they are not given. */
export async function sendBytes(
  p: SendingParts,
  making: Making,
  at: FileAt,
  stat: Stat,
  data: Buffer,
  found?: Xattrs | null,
): Promise<Outcome> {
  const path = pathOf(at);
  const xattrs = found === undefined ? attributesOf(p, at.root, path, stat) : carried(p, at.root, path, stat, found);
  const scanned = at.immutable ? plainScan(data) : scanBytes(p, at, data);
  if (isDamagedHere(p, at, stat, scanned.content)) return 'unreadable';
  const choice = chooseBytes(p, at, stat, data, scanned);
  const sending = { at, stat, xattrs, scanned, choice, readWallMs: p.clock.wallMs() };
  if (!mayReplace(making, sending)) return 'held';
  if (choice.kind === 'patch') {
    const bytes = Buffer.concat(choice.literals.map(({ offset, length }) => data.subarray(offset, offset + length)));
    return emit(p, making, sending, { ...head(making, sending, 'patch'), base: choice.base, pieces: choice.pieces, bytes });
  }
  if (choice.kind === 'copy') {
    const from = { dir: making.writer.dir(at.root.name, choice.from.dir), name: choice.from.name };
    return emit(p, making, sending, { ...head(making, sending, 'copy'), from });
  }
  return emit(p, making, sending, { ...head(making, sending, 'put'), bytes: data });
}

/**
 * Whether content in memory is too much for a batch. Then it has to go ahead of it.
 */
export function isTooLarge(p: SendingParts, at: FileAt, stat: Stat, data: Buffer): ScannedBytes | null {
  if (data.length <= limits.inlineFileBytesMax) return null;
  const scanned = scanBytes(p, at, data);
  const choice = chooseBytes(p, at, stat, data, scanned);
  const isSmall = sentBytes(choice, data.length) <= limits.inlineFileBytesMax;
  return isSmall && (choice.kind !== 'patch' || choice.pieces.length <= inlinePiecesMax) ? null : { scanned, choice };
}

export interface ScannedBytes {
  scanned: ScanResult;
  choice: Choice;
}

/** Sends a large file whose content has gone ahead; `transfer` when it has not yet. */
async function sendLarge(p: SendingParts, making: Making, at: FileAt, stat: Stat): Promise<Outcome> {
  if (stat.size > limits.fileBytesMax) {
    p.unproven.add(at.root.name, pathOf(at), 'is larger than any file that is replicated');
    return 'unreadable';
  }
  const arrived = p.transfers.arrived(at.root.name, pathOf(at), stat);
  if (!arrived) return 'transfer';
  return sendArrived(p, making, at, arrived, stat);
}

/** Sends content that the standby has staged. `now` is the file as it is, whose content may be another one by now. */
export async function sendArrived(
  p: SendingParts,
  making: Making,
  at: FileAt,
  arrived: Arrived,
  now: Stat,
  found?: Xattrs | null,
): Promise<Outcome> {
  const { content } = arrived;
  const { scanned, readWallMs } = content;
  const isAsRead = now.size === content.stat.size && now.mtimeNs === content.stat.mtimeNs;
  const stat = isAsRead ? now : content.stat;
  const path = pathOf(at);
  if (isDamagedHere(p, at, content.stat, scanned.content)) {
    p.transfers.drop(arrived);
    return 'unreadable';
  }
  const xattrs = found === undefined ? attributesOf(p, at.root, path, stat) : carried(p, at.root, path, stat, found);
  const sending: Sending = { at, stat, xattrs, scanned, choice: content.choice, readWallMs };
  if (isSameContent(at, sending.stat, scanned.content)) {
    p.transfers.drop(arrived);
    sending.choice = { kind: 'same', base: scanned.content.subarray(0, at.known?.content.length) };
  } else if (arrived.id === null) {
    // The standby had this content when it was read, and has it no more.
    p.transfers.drop(arrived);
    return 'transfer';
  } else if (!mayReplace(making, sending)) return 'held';
  else p.transfers.use(arrived, making);
  if (!isAsRead) {
    // The change that made it so may have been told under a name or at a time that this one covers.
    p.changes.record(at.root.name, path, 'path', p.clock.monotonicMs());
    p.transfers.follows(arrived);
  }
  return emit(p, making, sending, { ...head(making, sending, 'put'), transfer: arrived.id ?? 0 });
}

function scanBytes(p: SendingParts, at: FileAt, data: Buffer): ScanResult {
  const scan = new ContentScan(data.length, oldVersion(p, at), p.hash);
  scan.update(data);
  return scan.finish();
}

function plainScan(data: Buffer): ScanResult {
  return { size: data.length, content: hash('sha256', data, 'buffer'), chunks: null, comparable: null, keepsPrefix: false };
}

function chooseBytes(p: SendingParts, at: FileAt, stat: Stat, data: Buffer, scanned: ScanResult): Choice {
  return chooseContent(p, at, stat, scanned, (offset, length) => p.hash.of(data.subarray(offset, offset + length)));
}

/** What ops that bring content have in common. */
function head<K extends 'put' | 'patch' | 'copy'>(making: Making, { at, stat, xattrs, scanned }: Sending, op: K) {
  return { op, at: placeOf(making, at), meta: metaOf(stat, xattrs), size: scanned.size, content: scanned.content };
}

function placeOf(making: Making, at: FileAt): Place {
  return { dir: making.writer.dir(at.root.name, at.dir), name: at.name };
}

/** Whether the standby may lose what it has under this name: the guard against mass deletion counts rewrites, too. */
function mayReplace(making: Making, { at, scanned, choice }: Sending): boolean {
  // What is damaged there is replaced by what it was.
  if (choice.kind === 'same' || at.known === undefined || (at.anew && at.known.content.equals(scanned.content.subarray(0, contentBytes))))
    return true;
  const kept = choice.kind === 'patch' ? scanned.size - choice.literalBytes : 0;
  return making.deletions.mayReplace(making, at, { oldSize: at.known.size, kept, content: scanned.content });
}

/** Adds the op, or one for the attributes alone where the standby has the content. */
async function emit(p: SendingParts, making: Making, sending: Sending, contentOp: Op): Promise<Outcome> {
  const { at, stat, scanned, choice } = sending;
  const { known } = at;
  const xattrs = xattrsDigest(sending.xattrs);
  const entry: Entry = {
    ...entrySeen(stat, scanned.content, xattrs, 0, { wallMs: sending.readWallMs, immutable: at.immutable }),
    size: scanned.size,
    racy: !at.immutable && isRacy(latest(stat.mtimeNs, stat.ctimeNs) + coarseNs(stat), sending.readWallMs),
  };
  p.index.put(making.layer, at.root.name, at.dirNumber, at.name, entry);
  const root = p.index.root(at.root.name);
  if (root !== null) p.damage.remembered.forget(making.layer, root, stat.ino);
  if (choice.kind !== 'same' && scanned.chunks) p.index.setChunks(making.layer, at.dirNumber, at.name, encodeChunks(scanned.chunks));
  const isSame = choice.kind === 'same';
  if (!isSame) making.deletions.losses.arrived(at, scanned.content);
  p.unproven.prove(at.root.name, pathOf(at));
  // Read again only because of a racy timestamp, and nothing was hiding behind it.
  const isNothing = isSame && known && known.mtimeNs === stat.mtimeNs && sameAttributes(known, stat) && known.xattrs.equals(xattrs);
  if (isNothing && !p.unproven.isTrying(at.root.name, pathOf(at))) return 'done';
  const sent = sentBytes(choice, scanned.size);
  const kind = choice.kind === 'same' ? 'meta' : choice.kind === 'patch' && choice.tail ? 'tail' : choice.kind;
  p.meter.sent(kind, 1, sent, scanned.size - sent);
  const op: Op = isSame ? { op: 'meta', at: placeOf(making, at), meta: metaOf(stat, sending.xattrs), base: choice.base } : contentOp;
  await making.writer.add(op, { root: at.root.name, dir: at.dir, name: at.name });
  return 'done';
}

/** A modification time can be set to one long ago; the change time of that moment cannot. */
function latest(mtimeNs: bigint, ctimeNs: bigint): bigint {
  return mtimeNs > ctimeNs ? mtimeNs : ctimeNs;
}
