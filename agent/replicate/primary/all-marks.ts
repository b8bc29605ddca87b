import type { MessageOf } from '../../../protocol/messages.ts';
import { mailboxesBelow, readNumbering } from '../../mailstore/mailbox-walk.ts';
import { errnoCode, type Files } from '../../platform/files.ts';
import type { Root } from '../root.ts';

type Mark = MessageOf<'watermarks'>['items'][number];

/**
 * What every mailbox has issued now. A standby that was away may hear of a mailbox's changes long after they were made, and
 * must know before that how far its numbers went (I5).
 *
 * Null after each directory that tells nothing, so that the caller can do something else in between.
 *
 * @returns false when a mailbox could not be read: then not everything was told.
 */
export function* allMarks(files: Files, roots: readonly Root[]): Generator<Mark | null, boolean> {
  let isAll = true;
  for (const root of roots) {
    if (root.format.name !== 'maildir') continue;
    for (const mailbox of mailboxesBelow(files, root.path)) {
      try {
        const marks = mailbox.isMailbox ? marksOf(files, root, mailbox) : null;
        yield marks && [root.name, mailbox.mailbox, marks.uidValidity, marks.uidNext, marks.highestModseq];
      } catch (error) {
        if (errnoCode(error) === undefined) throw error;
        isAll = false;
      }
    }
  }
  return isAll;
}

function marksOf(files: Files, root: Root, mailbox: Parameters<typeof readNumbering>[1]): ReturnType<Root['format']['marks']> {
  const found = readNumbering(files, mailbox);
  const uidlist = found.uidlist ?? found.courier;
  return root.format.marks({
    ...(uidlist && { uidlist: uidlist.data }),
    ...(found.index && { index: found.index.data }),
    ...(found.log && { log: found.log.data }),
    ...(found.log2 && { log2: found.log2.data }),
  });
}
