import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readIndexHeader } from '../../agent/mailstore/index-header.ts';
import { readIndexLog } from '../../agent/mailstore/index-log.ts';
import { maildirFormat } from '../../agent/mailstore/maildir.ts';
import { baseOf, checkUidlist, namedMessages } from '../../agent/mailstore/uidlist.ts';

/** What the files of one mailbox say before any server has opened them. */
export interface MailboxFacts {
  path: string;
  uidValidity: number;
  /** UIDs below it were given by the primary; a server that opens the copy gives the others. */
  uidNext: number;
  messages: number;
}

/**
 * Reads a store of Maildir++ as it lies there, one directory a user, and holds it to I6: the uidlist is whole, and every
 * UID that the index names has its line and its file.
 */
export function readCopy(store: string, problems: string[]): Map<string, MailboxFacts[]> {
  const found = new Map<string, MailboxFacts[]>();
  for (const user of readdirSync(store)) {
    const home = join(store, user);
    const mailboxes = ['', ...readdirSync(home).filter((name) => /^\.[^.]/.test(name))];
    const facts = mailboxes.map((name) => readMailbox(join(home, name), `${user}/${name}`, problems));
    found.set(
      user,
      facts.filter((each) => each !== null),
    );
  }
  return found;
}

function readMailbox(dir: string, shown: string, problems: string[]): MailboxFacts | null {
  const bytes = (name: string) => (existsSync(join(dir, name)) ? readFileSync(join(dir, name)) : undefined);
  const uidlist = bytes('dovecot-uidlist');
  const names = new Set(
    ['cur', 'new'].flatMap((sub) => (existsSync(join(dir, sub)) ? readdirSync(join(dir, sub), { encoding: 'latin1' }) : [])).map(baseOf),
  );
  const index = bytes('dovecot.index');
  const logs = [bytes('dovecot.index.log.2'), bytes('dovecot.index.log')].map((data) => (data ? readIndexLog(data) : null));
  const named = new Map<number, string>();
  if (uidlist) {
    const checked = checkUidlist(uidlist);
    if (!checked.ok) problems.push(`${shown}: uidlist: ${checked.reason}`);
    else if (checked.length !== uidlist.length) problems.push(`${shown}: uidlist ends inside a line`);
    for (const { uid, base } of namedMessages(uidlist)) named.set(uid, base);
  }
  const header = index ? readIndexHeader(index) : null;
  if (index && !header) problems.push(`${shown}: dovecot.index is not whole`);
  const log = bytes('dovecot.index.log');
  if (log && logs[1]?.length !== log.length) problems.push(`${shown}: dovecot.index.log ends inside a record`);

  const expunged = (uid: number) => logs.some((each) => each?.expunged.some(([first, last]) => uid >= first && uid <= last));
  const inIndex = new Set([...(index && header ? indexUids(index) : []), ...logs.flatMap((each) => each?.appended ?? [])]);
  for (const uid of inIndex) {
    if (expunged(uid)) continue;
    const base = named.get(uid);
    if (base === undefined) problems.push(`${shown}: the index names UID ${uid}, the uidlist does not`);
    else if (!names.has(base)) problems.push(`${shown}: the index names UID ${uid}, its message ${base} is not there`);
  }
  const marks = maildirFormat.marks({
    ...(uidlist ? { uidlist } : {}),
    ...(index ? { index } : {}),
    ...(log ? { log } : {}),
  });
  return marks ? { path: shown, uidValidity: marks.uidValidity, uidNext: marks.uidNext, messages: names.size } : null;
}

/** UIDs of the records of a main index file: the first field of each (`struct mail_index_record` of mail-index.h). */
function indexUids(index: Buffer): number[] {
  const [headerBytes, recordBytes, count] = [index.readUInt32LE(4), index.readUInt32LE(8), index.readUInt32LE(32)];
  return Array.from({ length: count }, (_, i) => index.readUInt32LE(headerBytes + i * recordBytes));
}
