import { joinPath, type BytePath, type DirEntry, type Files } from '../platform/files.ts';
import type { MailboxMarks, MailstoreFormat } from './format.ts';
import { indexPart } from './maildir-names.ts';

/**
 * The mailboxes of a maildir root, by what lies on disk: whatever the layout (Maildir++, nested folders, control or
 * index files in a root of their own), a mailbox is a directory with messages, a uidlist or an index log.
 * A directory with nothing but the counter for new UIDVALIDITY values comes too.
 *
 * - `mailboxesBelow(files, dir)`: each of them once, parents first; none in what the root's patterns exclude, when these are given.
 * - `marksOf(files, format, mailbox)`: what one of them has issued.
 *
 * Symbolic links are not followed.
 */
export interface MailboxDir {
  /** Relative to the root; '' is the root itself. */
  mailbox: BytePath;
  /** Absolute. */
  dir: BytePath;
  /** Regular files directly in it. */
  names: ReadonlySet<string>;
  hasMessages: boolean;
  /** False for a user's directory in which there is only the counter for new UIDVALIDITY values. */
  isMailbox: boolean;
}

const messageDirs = ['cur', 'new', 'tmp'] as const;
/** Trees are as deep as folder names are long; this only keeps a damaged one from being endless. */
const depthMax = 512;

/** The agent's own, directly in a root. */
const own = '.mailtwin';

interface Walking {
  /** Takes the error of a directory that cannot be read; without it, it is thrown. */
  unreadable?: (error: unknown) => void;
  /** What is left out of replication, and so is no mailbox of the pair: a snapshot holds old ones, which nobody can write. */
  excluded?: MailstoreFormat['excluded'] | undefined;
}

export function* mailboxesBelow(files: Files, dir: BytePath, walking: Walking = {}): Generator<MailboxDir> {
  yield* walk(files, dir, '', walking, 0);
}

function* walk(files: Files, dir: BytePath, mailbox: BytePath, walking: Walking, depth: number): Generator<MailboxDir> {
  const entries = entriesOf(files, dir, walking);
  if (!entries || depth > depthMax) return;
  const names = new Set(entries.filter(({ kind }) => kind === 'file').map(({ name }) => name));
  const dirs = entries.filter(({ kind }) => kind === 'dir').map(({ name }) => name);
  const hasMessages = dirs.includes('cur') || dirs.includes('new');
  const isMailbox = hasMessages || isNumbered(names);
  if (isMailbox || names.has('dovecot-uidvalidity')) yield { mailbox, dir, names, hasMessages, isMailbox };
  for (const name of dirs) {
    if (isLeaf(files, dir, name, entries) || name.startsWith('..DOVECOT-T') || (depth === 0 && name === own)) continue;
    if (walking.excluded?.(joinPath(mailbox, name), 'dir')) continue;
    yield* walk(files, `${dir}/${name}`, joinPath(mailbox, name), walking, depth + 1);
  }
}

function entriesOf(files: Files, dir: BytePath, { unreadable }: Walking): DirEntry[] | null {
  if (!unreadable) return files.readdir(dir);
  try {
    return files.readdir(dir);
  } catch (error) {
    unreadable(error);
    return null;
  }
}

function isNumbered(names: ReadonlySet<string>): boolean {
  return names.has('dovecot-uidlist') || names.has('courierimapuiddb') || names.has('dovecot.index.log') || names.has('dovecot.index');
}

/** Whether this is where a mailbox keeps its messages, and not a user or a folder that is called so. */
function isLeaf(files: Files, dir: BytePath, name: string, entries: readonly DirEntry[]): boolean {
  if (!messageDirs.some((each) => each === name)) return false;
  if (!entries.some((entry) => entry.kind === 'dir' && entry.name !== name && messageDirs.some((each) => each === entry.name)))
    return false;
  return ['cur', 'dovecot-uidlist', 'dovecot.index.log'].every((inside) => files.lstat(`${dir}/${name}/${inside}`) === null);
}

/** The control and index files that number a mailbox, as `MailstoreFormat.marks` takes them. Absent when missing. */
export function readNumbering(
  files: Files,
  { dir, names }: MailboxDir,
): Partial<Record<'uidlist' | 'courier' | 'index' | 'log' | 'log2', NumberingFile>> {
  const found: Partial<Record<'uidlist' | 'courier' | 'index' | 'log' | 'log2', NumberingFile>> = {};
  for (const name of names) {
    const part =
      name === 'dovecot-uidlist'
        ? 'uidlist'
        : name === 'courierimapuiddb'
          ? 'courier'
          : name.startsWith('dovecot.index')
            ? indexPart(name)
            : null;
    if (part === null || part === 'other' || part === 'cache' || part === 'transient' || name.includes('.pvt')) continue;
    const read = files.readFile(`${dir}/${name}`, numberingBytesMax);
    if (read) found[part] = { path: `${dir}/${name}`, ...read };
  }
  return found;
}

export function marksOf(files: Files, format: Pick<MailstoreFormat, 'marks'>, mailbox: MailboxDir): MailboxMarks | null {
  return format.marks(contentOf(readNumbering(files, mailbox)));
}

/** What `MailstoreFormat.marks` takes, of what was read. */
export function contentOf(found: ReturnType<typeof readNumbering>): Parameters<MailstoreFormat['marks']>[0] {
  const uidlist = found.uidlist ?? found.courier;
  return {
    ...(uidlist && { uidlist: uidlist.data }),
    ...(found.index && { index: found.index.data }),
    ...(found.log && { log: found.log.data }),
    ...(found.log2 && { log2: found.log2.data }),
  };
}

export type NumberingFile = NonNullable<ReturnType<Files['readFile']>> & { path: BytePath };

const numberingBytesMax = 256 * 1024 * 1024;
