import type { BytePath, FileKind } from '../platform/files.ts';

/** What a path is to a mail store format, by its name alone. */
export interface Classified {
  /** Left out of replication. A directory that is ignored is left out with everything below it. */
  ignored: boolean;
  /**
   * - `message`: content that never changes; the name carries the flags.
   * - `control`: names or numbers messages or mailboxes (uidlist, keywords, UIDVALIDITY counter, subscriptions).
   * - `index`: derived from both (`dovecot.index*`, mailbox list index), and never to be newer than they are.
   * - `plain`: anything else, directories included.
   */
  class: 'message' | 'control' | 'index' | 'plain';
  /**
   * The mailbox directory, relative to the root ('' is the root itself), with whose commit group the file goes; null
   * when it goes alone. A control or index file with a mailbox lies directly in that directory, and `sealOrder` has it.
   */
  mailbox: BytePath | null;
  /** Order of putting into place inside one commit group, lower first. Removals come after all of these. */
  applyOrder: number;
  /** Content never changes under one name, so that a directory whose mtime is the same holds the same files. */
  immutable: boolean;
}

/** Why a path is left out by a pattern of the configuration. */
export interface ExcludedBy {
  /** The path itself, or the topmost directory above it that is left out with all below it. */
  path: BytePath;
  pattern: string;
  /** The mail server makes it anew from the mail. */
  derived: boolean;
  /** The pattern is one of the defaults: nobody has said that this very name is of no use. */
  byDefault: boolean;
}

/** The highest numbers that a mailbox has issued (RFC 9051 2.3.1.1, RFC 7162). */
export interface MailboxMarks {
  uidValidity: number;
  /** No UID from here on was ever given. */
  uidNext: number;
  /** At least 1, which is what a mailbox without modification sequences shows. */
  highestModseq: number;
}

/** What index logs tell of removed messages. */
export interface Removals {
  /** Another text whenever they tell of another removal. */
  told: string;
  /** They tell of none. */
  none: boolean;
  /** Whether they tell that this UID was removed. */
  has(uid: number): boolean;
}

/** How many leading bytes of a file read from a live store are whole, or why it must not be used as it is. */
export type WholeLength = { ok: true; length: number } | { ok: false; reason: string };

/**
 * What the replicator knows about one format of mail store. Pure: bytes and names in, facts out.
 *
 * `classify` is called for every name of a tree and takes about a microsecond.
 */
export interface MailstoreFormat {
  readonly name: 'maildir' | 'plain';
  /** Patterns of what is left out; absent where none are. `classify` ignores what they name. */
  readonly excludes?: readonly string[];
  /** What of `excludes` names a path. */
  readonly excluded?: (path: BytePath, kind: FileKind | null) => ExcludedBy | null;
  /**
   * `path` is relative to the root. With kind null (a name that is gone) nothing is ignored that could have been a
   * directory with mail in it.
   */
  classify(path: BytePath, kind: FileKind | null): Classified;
  /** Lock files, relative to the mailbox directory, whose presence means that a transaction is open. */
  locks(mailbox: BytePath): readonly BytePath[];
  /** Whether a name in a mailbox directory belongs to the set that is read together, and when: lower first; null when not. */
  sealOrder(name: string): number | null;
  /** Every name with a `sealOrder` begins with one of these. */
  readonly sealPrefixes: readonly string[];
  /** Checks the structure of a file that has a `sealOrder`. */
  wholeLength(name: string, data: Buffer): WholeLength;
  /** Whether the file gives UIDs to message names. */
  isUidlist(name: string): boolean;
  /**
   * The messages that a uidlist names. `fromByte` is where an earlier reading of the same file ended (a line's start).
   * Stops at the first line that is not whole or not valid.
   */
  namedMessages(uidlist: Buffer, fromByte?: number): Iterable<{ uid: number; base: string }>;
  /** A message's file name without its flags: what a uidlist calls it, and what stays the same in a flag change. */
  baseOf(name: string): string;
  /** What the index logs tell of messages that were removed; null when there is no log to tell it. */
  removals(files: { log?: Buffer; log2?: Buffer }): Removals | null;
  /** Null when the files do not tell a UIDVALIDITY. Damaged files tell nothing. */
  marks(files: { uidlist?: Buffer; index?: Buffer; log?: Buffer; log2?: Buffer }): MailboxMarks | null;
}
