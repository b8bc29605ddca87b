import { limits } from '../../protocol/limits.ts';
import { borneOut, modseqGap, uidGap } from './borne-out.ts';
import type { MailboxMarks, MailstoreFormat, Removals, WholeLength } from './format.ts';
import { indexWholeLength, readIndexHeader } from './index-header.ts';
import { logWholeLength, readIndexLog, type IndexLogFacts } from './index-log.ts';
import { indexPart, sealOrder, sealPrefixes } from './maildir-names.ts';
import { classifyMaildir } from './maildir-paths.ts';
import { baseOf, checkUidlist, namedMessages } from './uidlist.ts';

// Both servers hold their lock for the whole of a transaction: Dovecot from before a message's rename until the
// uidlist and the index have it, Courier (tmp/courier.lock) from the scan of new/ until courierimapuiddb is written.
const locks = ['dovecot-uidlist.lock', 'tmp/courier.lock'] as const;

/** Maildir as Dovecot 2.x and Courier write it, Maildir++ and nested folders alike. */
export const maildirFormat: MailstoreFormat = {
  name: 'maildir',
  classify: classifyMaildir,
  locks: () => locks,
  sealOrder,
  sealPrefixes,
  wholeLength,
  isUidlist,
  namedMessages,
  baseOf,
  removals,
  marks,
};

function isUidlist(name: string): boolean {
  return name === 'dovecot-uidlist' || name === 'courierimapuiddb';
}

function wholeLength(name: string, data: Buffer): WholeLength {
  if (isUidlist(name)) {
    const uidlist = checkUidlist(data);
    return uidlist.ok ? { ok: true, length: uidlist.length } : uidlist;
  }
  switch (indexPart(name)) {
    case 'index':
      return indexWholeLength(data);
    case 'log':
    case 'log2':
      return logWholeLength(data);
    case 'other':
      return { ok: true, length: data.length };
    default:
      return { ok: true, length: data.lastIndexOf(0x0a) + 1 };
  }
}

function removals(files: { log?: Buffer; log2?: Buffer }): Removals | null {
  const logs = readLogs(files);
  if (logs.length === 0) return null;
  let ranges: [number, number][] | null = null;
  return {
    told: logs.map(({ seq, expunged }) => `${seq}:${expunged.length}`).join(' '),
    none: logs.every(({ expunged }) => expunged.length === 0),
    has: (uid) => isIn((ranges ??= joined(logs.flatMap(({ expunged }) => expunged))), uid),
  };
}

/** Ranges that do not meet, in order: a log holds a hundred thousand of them, and is asked for as many UIDs. */
function joined(ranges: readonly (readonly [number, number])[]): [number, number][] {
  const result: [number, number][] = [];
  for (const [first, last] of ranges.toSorted((a, b) => a[0] - b[0])) {
    const before = result.at(-1);
    if (last < first) continue;
    if (before && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else result.push([first, last]);
  }
  return result;
}

function isIn(ranges: readonly (readonly [number, number])[], uid: number): boolean {
  let [low, high] = [0, ranges.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ranges[middle]?.[1] ?? 0) < uid) low = middle + 1;
    else high = middle;
  }
  return (ranges[low]?.[0] ?? Infinity) <= uid;
}

function readLogs({ log, log2 }: { log?: Buffer; log2?: Buffer }): IndexLogFacts[] {
  return [log2, log].map((data) => (data ? readIndexLog(data) : null)).filter((facts): facts is IndexLogFacts => facts !== null);
}

/** The uidlist is what the server itself goes by; index and log are believed as far as something else bears them out. */
function marks(files: { uidlist?: Buffer; index?: Buffer; log?: Buffer; log2?: Buffer }): MailboxMarks | null {
  const uidlist = files.uidlist ? checkUidlist(files.uidlist) : null;
  const index = files.index ? readIndexHeader(files.index) : null;
  const logs = readLogs(files);
  const uidValidity = (uidlist?.ok && uidlist.uidValidity) || logs.at(-1)?.uidValidity || index?.uidValidity || 0;
  if (uidValidity === 0) return null;
  const listed = uidlist?.ok ? uidlist.uidNext : 1;
  const indexed = index ? [index.nextUid, Math.min(index.lastUid + 1, limits.uidMax)] : [];
  return {
    uidValidity,
    uidNext: Math.max(listed, borneOut([listed, ...indexed, ...logs.map((log) => log.uidNextAtLeast)], uidGap)),
    highestModseq: borneOut([index?.highestModseq ?? 0, ...logs.map((log) => log.highestModseq)], modseqGap),
  };
}
