import type { WholeLength } from './format.ts';

/**
 * Dovecot's main index file (`struct mail_index_header` of mail-index.h, version 7, little-endian): the base header,
 * extensions (each with name and data), then one record a message. It is written anew and renamed, never patched.
 */
export interface IndexHeader {
  indexId: number;
  /** 0 until the mailbox was first synced. */
  uidValidity: number;
  nextUid: number;
  messages: number;
  /** Of the last record; 0 when there is none. Records are in the order of their UIDs. */
  lastUid: number;
  /** The log that the index was synced to, and how far. */
  logSeq: number;
  logHeadOffset: number;
  /** 0 when modification sequences are not tracked. */
  highestModseq: number;
  /** Bytes that header and records take. */
  length: number;
}

const minHeaderBytes = 120;
const extensionHeaderBytes = 16;
const littleEndian = 0x01;

/** Null when it is not whole or not an index of this version and byte order. */
export function readIndexHeader(data: Buffer): IndexHeader | null {
  return check(data) === null ? header(data) : null;
}

export function indexWholeLength(data: Buffer): WholeLength {
  const reason = check(data);
  return reason === null ? { ok: true, length: data.length } : { ok: false, reason };
}

function check(data: Buffer): string | null {
  if (data.length < minHeaderBytes) return 'the header is not whole';
  if (data[0] !== 7) return `version ${data[0]} is unknown`;
  if (data[12] !== littleEndian) return 'it is of another byte order';
  const baseBytes = data.readUInt16LE(2);
  const headerBytes = data.readUInt32LE(4);
  if (baseBytes < minHeaderBytes || headerBytes < baseBytes) return 'its header sizes are not possible';
  if (data.readUInt32LE(8) < 5) return 'its record size is not possible';
  if (data.readUInt32LE(28) === 0) return 'its next UID is 0';
  const length = headerBytes + data.readUInt32LE(32) * data.readUInt32LE(8);
  return length > data.length ? `it has ${data.length} bytes of ${length}` : null;
}

function header(data: Buffer): IndexHeader {
  const headerBytes = data.readUInt32LE(4);
  const messages = data.readUInt32LE(32);
  const recordBytes = data.readUInt32LE(8);
  return {
    indexId: data.readUInt32LE(16),
    uidValidity: data.readUInt32LE(24),
    nextUid: data.readUInt32LE(28),
    messages,
    lastUid: messages === 0 ? 0 : data.readUInt32LE(headerBytes + (messages - 1) * recordBytes),
    logSeq: data.readUInt32LE(60),
    logHeadOffset: data.readUInt32LE(68),
    highestModseq: extensionModseq(data, headerBytes),
    length: headerBytes + messages * recordBytes,
  };
}

/** The `modseq` extension begins with the highest one (`struct mail_index_modseq_header`). */
function extensionModseq(data: Buffer, headerBytes: number): number {
  let at = align8(data.readUInt16LE(2));
  while (at + extensionHeaderBytes <= headerBytes) {
    const dataBytes = data.readUInt32LE(at);
    const nameBytes = data.readUInt16LE(at + 14);
    const dataAt = at + align8(extensionHeaderBytes + nameBytes);
    if (dataAt + dataBytes > headerBytes) return 0;
    const name = data.toString('latin1', at + extensionHeaderBytes, at + extensionHeaderBytes + nameBytes);
    if (name === 'modseq') return dataBytes >= 8 ? Number(data.readBigUInt64LE(dataAt)) : 0;
    at = dataAt + align8(dataBytes);
  }
  return 0;
}

function align8(bytes: number): number {
  return (bytes + 7) & ~7;
}
