import { limits } from '../../protocol/limits.ts';
import type { WholeLength } from './format.ts';

/**
 * Dovecot's transaction log (`dovecot.index.log`; mail-transaction-log.h): a header, then records of size, type and
 * content. It is appended to; what is not finished yet has a size that is not valid, or reaches past the end, and
 * readers stop there. How records raise the modification sequence is told by `mail_transaction_update_modseq`.
 */
export interface IndexLogFacts {
  indexId: number;
  seq: number;
  prevSeq: number;
  prevOffset: number;
  /** Bytes up to the end of the last whole transaction. */
  length: number;
  /** 0 when modification sequences are not tracked. */
  highestModseq: number;
  /** The last value that the log sets; 0 when it sets none. */
  uidValidity: number;
  /** Above every UID that the log adds or reserves; 1 when it does neither. */
  uidNextAtLeast: number;
  /** UIDs that the log adds, in its order. */
  appended: number[];
  /** UIDs that the log says were expunged, as [first, last]. */
  expunged: [number, number][];
}

const types = {
  expunge: 0x0000cd91,
  append: 0x00000002,
  flagUpdate: 0x00000004,
  headerUpdate: 0x00000020,
  extIntro: 0x00000040,
  keywordUpdate: 0x00000400,
  keywordReset: 0x00000800,
  expungeGuid: 0x0000ed90,
  modseqUpdate: 0x00008000,
  boundary: 0x00080000,
  attributeUpdate: 0x00100000,
} as const;
const typeMask = 0x0fffffff;
const external = 0x10000000;
const minHeaderBytes = 24;
const recordHeaderBytes = 8;
/** Answered, flagged, deleted, seen, draft: the flags that clients see. */
const visibleFlags = 0x1f;
const uidValidityAt = 24;
const nextUidAt = 28;

/** Null when the header is not whole, of another version, or marked as corrupted. Stops where Dovecot would stop. */
export function readIndexLog(data: Buffer): IndexLogFacts | null {
  const facts = walk(data);
  return typeof facts === 'string' ? null : facts;
}

export function logWholeLength(data: Buffer): WholeLength {
  const facts = walk(data);
  return typeof facts === 'string' ? { ok: false, reason: facts } : { ok: true, length: facts.length };
}

function walk(data: Buffer): IndexLogFacts | string {
  if (data.length < minHeaderBytes) return 'the header is not whole';
  if (data[0] !== 1) return `version ${data[0]} is unknown`;
  const headerBytes = data.readUInt16LE(2);
  if (headerBytes < minHeaderBytes) return 'its header size is not possible';
  if (headerBytes > data.length) return 'the header is not whole';
  const facts: IndexLogFacts = {
    indexId: data.readUInt32LE(4),
    seq: data.readUInt32LE(8),
    prevSeq: data.readUInt32LE(12),
    prevOffset: data.readUInt32LE(16),
    length: headerBytes,
    highestModseq: headerBytes >= 32 ? Number(data.readBigUInt64LE(24)) : 0,
    uidValidity: 0,
    uidNextAtLeast: 1,
    appended: [],
    expunged: [],
  };
  if (facts.indexId === 0) return 'it is marked as corrupted';
  if (facts.highestModseq > limits.modseqMax) return 'its modification sequence is not possible';
  const hidesInternal = (data[1] ?? 0) >= 3;
  let at = headerBytes;
  let transactionEnd = 0;
  while (at + recordHeaderBytes <= data.length) {
    const size = decodeSize(data.readUInt32BE(at));
    if (size === 0) break;
    if (size < recordHeaderBytes) return `the record at byte ${at} has ${size} bytes`;
    if (at + size > data.length) break;
    const type = data.readUInt32LE(at + 4);
    const content = data.subarray(at + recordHeaderBytes, at + size);
    // A transaction of several records counts as a whole or not at all.
    if ((type & typeMask) === types.boundary && (type & external) !== 0) {
      if (content.length < 4) return `the boundary at byte ${at} is not whole`;
      if (at + content.readUInt32LE(0) > data.length) break;
      // Damage may have put one into another.
      transactionEnd = Math.max(transactionEnd, at + content.readUInt32LE(0));
    }
    raiseModseq(facts, type, content, hidesInternal);
    if (facts.highestModseq > limits.modseqMax || !noteUids(facts, type, content)) return `the record at byte ${at} is not possible`;
    at += size;
  }
  // It was there to its end when its boundary was read: what breaks it off is damage.
  if (at < transactionEnd) return `the transaction that ends at byte ${transactionEnd} is broken off at ${at}`;
  facts.length = at;
  return facts;
}

/** Seven bits a byte with the top bit set in each, big-endian, in units of four bytes; 0 when not finished. */
export function decodeSize(raw: number): number {
  if ((raw & 0x80808080) >>> 0 !== 0x80808080) return 0;
  return ((raw & 0x7f) | ((raw & 0x7f00) >>> 1) | ((raw & 0x7f0000) >>> 2) | ((raw & 0x7f000000) >>> 3)) * 4;
}

function raiseModseq(facts: IndexLogFacts, type: number, content: Buffer, hidesInternal: boolean): void {
  const kind = type & typeMask;
  if (facts.highestModseq === 0) {
    // Tracking begins where the extension is introduced.
    if (kind === types.extIntro && content.length >= 20 && content.toString('latin1', 20, 20 + content.readUInt16LE(18)) === 'modseq')
      facts.highestModseq = 1;
    return;
  }
  switch (kind) {
    case types.expunge:
    case types.expungeGuid:
      // Without the mark it is a wish, which the next sync grants.
      if ((type & external) !== 0) facts.highestModseq++;
      return;
    case types.append:
    case types.keywordUpdate:
    case types.keywordReset:
    case types.attributeUpdate:
      facts.highestModseq++;
      return;
    case types.flagUpdate:
      if (!hidesInternal || flagsVisible(content)) facts.highestModseq++;
      return;
    case types.modseqUpdate:
      for (let at = 0; at + 12 <= content.length; at += 12) {
        facts.highestModseq = Math.max(facts.highestModseq, content.readUInt32LE(at + 8) * 2 ** 32 + content.readUInt32LE(at + 4));
      }
  }
}

function flagsVisible(content: Buffer): boolean {
  for (let at = 0; at + 12 <= content.length; at += 12) {
    if ((((content[at + 8] ?? 0) | (content[at + 9] ?? 0)) & visibleFlags) !== 0 || content[at + 10] !== 0) return true;
  }
  return false;
}

/** False when the content does not fit its type. */
function noteUids(facts: IndexLogFacts, type: number, content: Buffer): boolean {
  const isExternal = (type & external) !== 0;
  switch (type & typeMask) {
    case types.append:
      for (let at = 0; at + 8 <= content.length; at += 8) {
        const uid = content.readUInt32LE(at);
        if (uid >= limits.uidMax) return false;
        facts.appended.push(uid);
        facts.uidNextAtLeast = Math.max(facts.uidNextAtLeast, uid + 1);
      }
      return content.length % 8 === 0;
    case types.expunge:
      for (let at = 0; isExternal && at + 8 <= content.length; at += 8)
        facts.expunged.push([content.readUInt32LE(at), content.readUInt32LE(at + 4)]);
      return content.length % 8 === 0;
    case types.expungeGuid:
      for (let at = 0; isExternal && at + 20 <= content.length; at += 20)
        facts.expunged.push([content.readUInt32LE(at), content.readUInt32LE(at)]);
      return content.length % 20 === 0;
    case types.headerUpdate:
      return noteHeaderUpdates(facts, content);
    default:
      return true;
  }
}

/** Pieces of the index header: offset, size, bytes, padded to four. */
function noteHeaderUpdates(facts: IndexLogFacts, content: Buffer): boolean {
  for (let at = 0; at + 4 <= content.length;) {
    const offset = content.readUInt16LE(at);
    const size = content.readUInt16LE(at + 2);
    const bytes = at + 4;
    if (bytes + size > content.length) return false;
    const field = (place: number) => (offset <= place && offset + size >= place + 4 ? content.readUInt32LE(bytes + place - offset) : null);
    facts.uidValidity = field(uidValidityAt) ?? facts.uidValidity;
    facts.uidNextAtLeast = Math.max(facts.uidNextAtLeast, field(nextUidAt) ?? 1);
    at = bytes + ((size + 3) & ~3);
  }
  return true;
}
