import type { MessageOf } from '../../../protocol/messages.ts';
import { tables } from '../../journal/keys.ts';
import { packNumber } from '../../journal/replica-index.ts';
import { displayPath, joinPath, type BytePath } from '../../platform/files.ts';
import type { Kv, KvWrite } from '../../platform/kv.ts';

type Mark = MessageOf<'watermarks'>['items'][number];

const numberBytes = 6;
/** LMDB's keys end near 1,978 bytes. */
const placeBytesMax = 1900;
const examplesMax = 3;

/** Mailboxes whose UIDNEXT is lower than it was when the standby was told of it last. */
export interface FallenNumbers {
  mailboxes: number;
  /** Users whose mailboxes these are, by where they lie. */
  users: number;
  /** For people: which, and from what to what. */
  examples: string[];
  /** So many fell that the volume was put back, and not a mailbox restored. */
  isPutBack: boolean;
}

/** From so many users on whose numbers fell, or more than half of all, a volume was put back. */
const usersMin = 3;

/**
 * The UIDNEXT of every mailbox as this primary saw it last (I21). A volume with mail alone that is put back to an older
 * state leaves the positions as they are; the numbers of its mailboxes fall, which they never do otherwise.
 */
export class SeenNumbers {
  readonly #kv: Kv;

  constructor(kv: Kv) {
    this.#kv = kv;
  }

  /** Keeps what is now, also where it is lower; returns the mailboxes where it is. */
  see(marks: readonly Mark[]): string[] {
    const fallen: string[] = [];
    const writes: KvWrite[] = [];
    for (const mark of marks) {
      const [root, mailbox, uidValidity, uidNext] = mark;
      const key = keyOf(root, mailbox);
      const before = this.#at(key);
      if (before?.uidValidity === uidValidity && before.uidNext === uidNext) continue;
      if (before?.uidValidity === uidValidity && uidNext < before.uidNext) fallen.push(fallText(mark, before.uidNext));
      writes.push([key, Buffer.concat([packNumber(uidValidity), packNumber(uidNext)])]);
    }
    if (writes.length > 0) this.#kv.commit(writes);
    return fallen;
  }

  /** Compares all marks with what was seen last, and keeps none of them. Null: none fell. */
  fallen(marks: Iterable<Mark>): FallenNumbers | null {
    const count = this.counting();
    for (const mark of marks) count.add(mark);
    return count.result();
  }

  /** The same, mark by mark. */
  counting(): { add(mark: Mark): void; result(): FallenNumbers | null } {
    const all = new Set<string>();
    const users = new Set<string>();
    const examples: string[] = [];
    let mailboxes = 0;
    return {
      add: (mark) => {
        const [root, mailbox, uidValidity, uidNext] = mark;
        const before = this.#at(keyOf(root, mailbox));
        if (before?.uidValidity !== uidValidity) return;
        const user = `${root}\0${userOf(mailbox)}`;
        all.add(user);
        if (uidNext >= before.uidNext) return;
        users.add(user);
        mailboxes++;
        if (examples.length < examplesMax) examples.push(fallText(mark, before.uidNext));
      },
      result: () =>
        mailboxes === 0 ? null : { mailboxes, users: users.size, examples, isPutBack: users.size >= usersMin || users.size * 2 > all.size },
    };
  }

  #at(key: Buffer): { uidValidity: number; uidNext: number } | null {
    const value = this.#kv.get(key);
    return value ? { uidValidity: value.readUIntBE(0, numberBytes), uidNext: value.readUIntBE(numberBytes, numberBytes) } : null;
  }
}

function keyOf(root: string, mailbox: BytePath): Buffer {
  return Buffer.concat([Buffer.from([tables.seenNumbers]), Buffer.from(joinPath(root, mailbox).slice(0, placeBytesMax), 'latin1')]);
}

/** Folders of Maildir++ begin with a dot, below the directory of their user. */
function userOf(mailbox: BytePath): BytePath {
  const parts = mailbox.split('/');
  const folder = parts.findIndex((part) => part.startsWith('.'));
  return parts.slice(0, folder < 0 ? parts.length : folder).join('/');
}

function fallText([root, mailbox, , uidNext]: Mark, before: number): string {
  return `${displayPath(joinPath(root, mailbox))} (the next UID was ${before} and is ${uidNext})`;
}
