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
  const logs = [files.log2, files.log]
    .map((data) => (data ? readIndexLog(data) : null))
    .filter((log): log is IndexLogFacts => log !== null);
  if (logs.length === 0) return null;
  return {
    told: logs.map(({ seq, expunged }) => `${seq}:${expunged.length}`).join(' '),
    none: logs.every(({ expunged }) => expunged.length === 0),
    has: (uid) => logs.some(({ expunged }) => expunged.some(([first, last]) => uid >= first && uid <= last)),
  };
}

function marks(files: { uidlist?: Buffer; index?: Buffer; log?: Buffer; log2?: Buffer }): MailboxMarks | null {
  const uidlist = files.uidlist ? checkUidlist(files.uidlist) : null;
  const index = files.index ? readIndexHeader(files.index) : null;
  const logs = [files.log2, files.log]
    .map((data) => (data ? readIndexLog(data) : null))
    .filter((log): log is IndexLogFacts => log !== null);
  const uidValidity = (uidlist?.ok && uidlist.uidValidity) || logs.at(-1)?.uidValidity || index?.uidValidity || 0;
  if (uidValidity === 0) return null;
  return {
    uidValidity,
    uidNext: Math.max(1, uidlist?.ok ? uidlist.uidNext : 1, index?.nextUid ?? 1, ...logs.map((log) => log.uidNextAtLeast)),
    highestModseq: Math.max(1, index?.highestModseq ?? 0, ...logs.map((log) => log.highestModseq)),
  };
}
