/** One message as IMAP tells of it. Numbers that IMAP counts in 63 bits are decimal strings. */
export interface MessageSnapshot {
  uid: number;
  /** System flags without \Recent (which belongs to the session, not to the message), sorted. */
  flags: string[];
  /** Sorted. */
  keywords: string[];
  /** Null when the server has no CONDSTORE. */
  modseq: string | null;
  /** ISO 8601 in UTC. */
  internalDate: string | null;
  /** RFC822.SIZE in bytes. */
  size: number | null;
  /** Of the whole raw message. */
  sha256: string | null;
}

/** One selected mailbox. */
export interface MailboxSnapshot {
  uidValidity: string;
  uidNext: number;
  /** Null when the server has no CONDSTORE. */
  highestModseq: string | null;
  messages: MessageSnapshot[];
}

/** One mailbox as LIST tells of it. */
export interface ListedMailbox {
  path: string;
  delimiter: string;
  /** False for a name that only holds others. */
  selectable: boolean;
  specialUse: string | null;
}

/** What one user's login shows before any mailbox is opened. */
export interface AccountSnapshot {
  mailboxes: ListedMailbox[];
  /** Raw names of LSUB, also of mailboxes that are gone; sorted. */
  subscriptions: string[];
}

/** Something that server a and server b tell differently. */
export interface Difference {
  user: string;
  /** Null when it concerns the account. */
  mailbox: string | null;
  /** Null when it concerns the mailbox. */
  uid: number | null;
  property: Property;
  a: string;
  b: string;
}

export type Property =
  | 'mailbox'
  | 'delimiter'
  | 'selectable'
  | 'special-use'
  | 'subscription'
  | 'open'
  | 'UIDVALIDITY'
  | 'UIDNEXT'
  | 'HIGHESTMODSEQ'
  | 'message'
  | 'flags'
  | 'keywords'
  | 'MODSEQ'
  | 'INTERNALDATE'
  | 'RFC822.SIZE'
  | 'body';

/** One line for people. */
export function showDifference({ user, mailbox, uid, property, a, b }: Difference): string {
  const place = [user, ...(mailbox === null ? [] : [JSON.stringify(mailbox)]), ...(uid === null ? [] : [`uid ${uid}`])].join(' ');
  return `${place}: ${property}: a has ${a}, b has ${b}`;
}
