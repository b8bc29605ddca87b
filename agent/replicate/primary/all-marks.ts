import type { MessageOf } from '../../../protocol/messages.ts';
import { mailboxesBelow, marksOf } from '../../mailstore/mailbox-walk.ts';
import { errnoCode, type Files } from '../../platform/files.ts';
import type { Root } from '../root.ts';

type Mark = MessageOf<'watermarks'>['items'][number];

/**
 * What every mailbox has issued now. A standby that was away may hear of a mailbox's changes long after they were made, and
 * must know before that how far its numbers went (I5).
 *
 * Null after each directory that tells nothing, so that the caller can do something else in between.
 *
 * @returns false when a mailbox or a directory could not be read: then not everything was told.
 */
export function* allMarks(files: Files, roots: readonly Root[]): Generator<Mark | null, boolean> {
  let isAll = true;
  const unreadable = (error: unknown) => {
    if (errnoCode(error) === undefined) throw error;
    isAll = false;
  };
  for (const { name, path, format } of roots) {
    if (format.name !== 'maildir') continue;
    try {
      for (const mailbox of mailboxesBelow(files, path, { unreadable, excluded: format.excluded })) {
        let mark: Mark | null = null;
        try {
          const marks = mailbox.isMailbox ? marksOf(files, format, mailbox) : null;
          mark = marks && [name, mailbox.mailbox, marks.uidValidity, marks.uidNext, marks.highestModseq];
        } catch (error) {
          unreadable(error);
        }
        yield mark;
      }
    } catch (error) {
      unreadable(error);
    }
  }
  return isAll;
}
