/**
 * `dovecot-uidlist` (versions 1 and 3) and Courier's `courierimapuiddb` (version 1), as Dovecot's maildir-uidlist.c
 * reads them:
 *
 *     1 <uidvalidity> <nextuid>                 3 V<uidvalidity> N<nextuid> G<guid> ...
 *     <uid> <name>                              <uid> [<key><value> ...] :<name>
 *
 * Lines are appended, so N is stale: UIDNEXT is the higher one of N and the last UID + 1.
 */

export interface UidlistFacts {
  ok: true;
  /** Up to and including the last line end. */
  length: number;
  version: 1 | 3;
  uidValidity: number;
  uidNext: number;
  messages: number;
}

interface Header {
  version: 1 | 3;
  uidValidity: number;
  headerNextUid: number;
  /** Where N's digits begin and end. */
  nextUidAt: [number, number];
  /** Where the first line begins. */
  end: number;
}

const newline = 0x0a;
const space = 0x20;
const colon = 0x3a;
const slash = 0x2f;
const uidMax = 0xfffffffe;
/** Dovecot's own header takes less than a hundred. */
const headerBytesMax = 64 * 1024;

/** Reads all of it; `ok: false` for what Dovecot would throw away with a new UIDVALIDITY, or has not finished writing. */
export function checkUidlist(data: Buffer): UidlistFacts | { ok: false; reason: string } {
  const header = readHeader(data);
  if (typeof header === 'string') return { ok: false, reason: header };
  const length = data.lastIndexOf(newline) + 1;
  let last = 0;
  let messages = 0;
  for (let at = header.end; at < length;) {
    const line = readLine(data, at, header, last);
    if (typeof line === 'string') return { ok: false, reason: `line ${messages + 2}: ${line}` };
    last = line.uid;
    messages++;
    at = line.end + 1;
  }
  return {
    ok: true,
    length,
    version: header.version,
    uidValidity: header.uidValidity,
    uidNext: Math.max(header.headerNextUid, last + 1),
    messages,
  };
}

/** See MailstoreFormat. */
export function* namedMessages(data: Buffer, fromByte = 0): Generator<{ uid: number; base: string }> {
  const header = readHeader(data);
  if (typeof header === 'string') return;
  let last = 0;
  for (let at = Math.max(header.end, fromByte); at < data.length;) {
    const line = readLine(data, at, header, last);
    if (typeof line === 'string') return;
    yield { uid: line.uid, base: baseOf(data.toString('latin1', line.nameAt, line.end)) };
    last = line.uid;
    at = line.end + 1;
  }
}

/** Everything before the first colon, as Dovecot compares names (`:2,` begins the flags). */
export function baseOf(name: string): string {
  const end = name.indexOf(':');
  return end < 0 ? name : name.slice(0, end);
}

/**
 * A copy of the list whose next UID is at least `min`, for a takeover that may have lost messages: UIDVALIDITY and lines
 * stay as they are, and the next delivery gets `min` or more.
 *
 * @throws RangeError when `min` is no possible UID; Error when the list's header is not valid.
 */
export function raiseUidNext(data: Buffer, min: number): Buffer {
  if (!Number.isInteger(min) || min < 1 || min > uidMax) throw new RangeError(`${min} cannot be a next UID`);
  const header = readHeader(data);
  if (typeof header === 'string') throw new Error(`uidlist: ${header}`);
  if (header.headerNextUid >= min) return Buffer.from(data);
  const [from, to] = header.nextUidAt;
  return Buffer.concat([data.subarray(0, from), Buffer.from(String(min), 'latin1'), data.subarray(to)]);
}

function readHeader(data: Buffer): Header | string {
  const end = data.indexOf(newline);
  if (end < 0) return data.length === 0 ? 'it is empty' : 'the header is not whole';
  if (end > headerBytesMax) return `the header has ${end} bytes`;
  const text = data.toString('latin1', 0, end);
  const first = /^1 +([0-9]{1,10}) +([0-9]{1,10})(?: .*)?$/d.exec(text);
  const [from, to] = first?.indices?.[2] ?? [0, 0];
  if (first) return checkedHeader(1, Number(first[1]), Number(first[2]), from, to, end + 1);
  if (!text.startsWith('3 ')) return /^[0-9] /.test(text) ? `version ${text[0]} is unknown` : 'the header has no version';
  let uidValidity = 0;
  let nextUid = 0;
  let nextAt = 0;
  let nextEnd = 0;
  for (let at = 2; at < text.length;) {
    const stop = text.indexOf(' ', at);
    const fieldEnd = stop < 0 ? text.length : stop;
    const key = text[at];
    const value = text.slice(at + 1, fieldEnd);
    if (key === 'V' || key === 'N') {
      if (!/^[0-9]{1,10}$/.test(value)) return `${key} is not a number`;
      if (key === 'V') uidValidity = Number(value);
      else [nextUid, nextAt, nextEnd] = [Number(value), at + 1, fieldEnd];
    } else if (key === 'G' && !/^[0-9a-fA-F]{32}$/.test(value)) return 'G is not a GUID';
    at = fieldEnd + 1;
  }
  return checkedHeader(3, uidValidity, nextUid, nextAt, nextEnd, end + 1);
}

function checkedHeader(version: 1 | 3, uidValidity: number, headerNextUid: number, from: number, to: number, end: number): Header | string {
  if (uidValidity < 1 || uidValidity > 0xffffffff) return `UIDVALIDITY ${uidValidity} is not possible`;
  if (headerNextUid < 1 || headerNextUid > 0xffffffff) return `next UID ${headerNextUid} is not possible`;
  return { version, uidValidity, headerNextUid, nextUidAt: [from, to], end };
}

/** One line without making strings of it: lists have hundreds of thousands. Says what is wrong, or where the name is. */
function readLine(data: Buffer, start: number, header: Header, last: number): { uid: number; nameAt: number; end: number } | string {
  const end = data.indexOf(newline, start);
  if (end < 0) return 'it is not whole';
  let at = start;
  let uid = 0;
  for (let digit = (data[at] ?? 0) - 0x30; digit >= 0 && digit <= 9 && uid <= uidMax; digit = (data[at] ?? 0) - 0x30) {
    uid = uid * 10 + digit;
    at++;
  }
  if (uid === 0 || data[at] !== space) return 'it has no UID';
  if (uid > uidMax) return `UID ${uid} is not possible`;
  if (uid <= last) return `UID ${uid} follows ${last}`;
  if (header.version === 1 && uid >= header.headerNextUid) return `UID ${uid} is not below the next UID ${header.headerNextUid}`;
  while (data[at] === space) at++;
  if (header.version === 3) {
    while (data[at] !== colon) {
      while (at < end && data[at] !== space) at++;
      while (data[at] === space) at++;
      if (at >= end) return 'it has no name';
    }
    at++;
  }
  if (at >= end) return 'it has no name';
  for (let i = at; i < end; i++) if (data[i] === 0 || data[i] === slash) return 'the name is not possible';
  return { uid, nameAt: at, end };
}
