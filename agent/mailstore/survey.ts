import { createHash } from 'node:crypto';
import type { BytePath, Files } from '../platform/files.ts';
import type { MailstoreFormat } from './format.ts';
import { contentOf, mailboxesBelow, readNumbering, type MailboxDir } from './mailbox-walk.ts';
import { maildirFormat } from './maildir.ts';
import { baseOf, namedMessages } from './uidlist.ts';

/**
 * What each mailbox of a root holds, from its files alone: for a predicted loss, and for what is handed over after a move.
 *
 * - `survey(files, root, excluded)`: one mailbox at a time, so that the caller can do something else in between.
 */
export interface SurveyedMailbox {
  mailbox: BytePath;
  /** 0 when its files do not tell; so for the two others. */
  uidValidity: number;
  uidNext: number;
  highestModseq: number;
  messages: number;
  /** SHA-256 (hex) over each message's UID (0 when it has none yet), name without flags, and flags, in order of UID and name. */
  digest: string;
}

export function* survey(files: Files, root: BytePath, excluded?: MailstoreFormat['excluded']): Generator<SurveyedMailbox> {
  for (const dir of mailboxesBelow(files, root, { excluded })) if (dir.isMailbox) yield surveyMailbox(files, dir);
}

function surveyMailbox(files: Files, dir: MailboxDir): SurveyedMailbox {
  const found = readNumbering(files, dir);
  const uidlist = found.uidlist ?? found.courier;
  const marks = maildirFormat.marks(contentOf(found));
  const uids = new Map<string, number>();
  if (uidlist) for (const { uid, base } of namedMessages(uidlist.data)) uids.set(base, uid);
  const messages = ['cur', 'new'].flatMap((place) =>
    (files.readdir(`${dir.dir}/${place}`) ?? [])
      .filter(({ name, kind }) => kind === 'file' && !name.startsWith('.'))
      .map(({ name }) => {
        const base = baseOf(name);
        return { uid: uids.get(base) ?? 0, base, flags: name.slice(base.length) };
      }),
  );
  messages.sort((a, b) => a.uid - b.uid || (a.base < b.base ? -1 : a.base > b.base ? 1 : a.flags < b.flags ? -1 : 1));
  const hash = createHash('sha256');
  for (const { uid, base, flags } of messages) hash.update(`${uid} ${base} ${flags}\n`, 'latin1');
  return {
    mailbox: dir.mailbox,
    uidValidity: marks?.uidValidity ?? 0,
    uidNext: marks?.uidNext ?? 0,
    highestModseq: marks?.highestModseq ?? 0,
    messages: messages.length,
    digest: hash.digest('hex'),
  };
}
