import { createHash } from 'node:crypto';
import type { HistoryKeeper } from '../../history/keeper.ts';
import { tables } from '../../journal/keys.ts';
import { namedMessages } from '../../mailstore/uidlist.ts';
import type { Clock } from '../../platform/clock.ts';
import { errnoCode, joinPath, parentPath, type BytePath, type Files } from '../../platform/files.ts';
import type { Kv, KvWrite } from '../../platform/kv.ts';
import { ifKnown, whyOf } from '../fault.ts';
import { absolute, type Root } from '../root.ts';

/** A message that this node has under its first name, and the active one under another, because a salvage found it there or put it there. */
export interface Original {
  root: string;
  mailbox: BytePath;
  /** Name without flags. */
  base: string;
  copy: { mailbox: BytePath; base: string };
}

export interface OriginalsParts {
  kv: Kv;
  files: Files;
  clock: Pick<Clock, 'wallMs' | 'yield'>;
  roots: readonly Root[];
}

const portion = 500;
const knownMax = 8;
const uidlistBytesMax = 256 * 1024 * 1024;

/** Makes them durable; again is the same as once. They stay until `dropGone` or `putAway` finds them gone. */
export async function noteOriginals(kv: Kv, originals: readonly Original[]): Promise<void> {
  if (originals.length === 0) return;
  kv.commit(originals.map((original) => [keyOf(original), Buffer.from(JSON.stringify(original), 'latin1')]));
  await kv.flushed();
}

/** Whether this node had, when it began to serve, the message that the other one has at this place under its first name. */
export function hasOriginal(kv: Kv, root: string, mailbox: BytePath, base: string): boolean {
  return kv.get(keyOf({ root, copy: { mailbox, base } })) !== undefined;
}

/** Forgets those that are no longer on this disk: the comparison with the active node has replaced them. */
export async function dropGone({ kv, files, clock, roots }: OriginalsParts): Promise<void> {
  const names = new MessageNames(files);
  const gone: KvWrite[] = [];
  for (const original of noted(kv)) {
    const root = roots.find(({ name }) => name === original.root);
    const here = root && names.of(root, original.mailbox);
    if (here === null || here?.has(original.base)) continue;
    gone.push([keyOf(original), null]);
    if (gone.length % portion === 0) await clock.yield();
  }
  if (gone.length > 0) kv.commit(gone);
}

export interface PutAway {
  /** Messages that were here twice and are here once. */
  away: number;
  /** Absolute path and reason of each that could not be moved. */
  left: { path: BytePath; why: string }[];
}

/**
 * Before this node serves: of a message that it has under both names, because the copy that replaces its own store is not
 * complete, one goes to history (I15), so that nobody has it twice (I16): the first, but where the mailbox's list is still this
 * node's own and names that one alone, the other. Clients would find the number of the first without a message. Where only the
 * first is here it stays. Doing it again after a crash comes to the same result.
 */
export async function putAway(
  parts: OriginalsParts & {
    keeper: HistoryKeeper;
    /** Absolute directory that one rename leads to from a path of a root. */
    history: (root: Root, path: BytePath) => BytePath;
  },
): Promise<PutAway> {
  const { kv, clock } = parts;
  const twice = twiceHere(parts);
  const result: PutAway = { away: 0, left: [] };
  for (let at = 0; at < twice.length; at += portion) {
    await moveAway(parts, twice.slice(at, at + portion), result);
    await clock.yield();
  }
  await dropGone(parts);
  await kv.flushed();
  return result;
}

interface Twice {
  root: Root;
  /** Of the name that goes; below the root. */
  path: BytePath;
}

function twiceHere({ kv, files, roots }: OriginalsParts): Twice[] {
  const names = new MessageNames(files);
  const lists = new ListedNames(files);
  return noted(kv).flatMap(({ root: name, mailbox, base, copy }) => {
    const root = roots.find((each) => each.name === name);
    if (root === undefined) return [];
    const first = names.of(root, mailbox)?.get(base);
    const second = names.of(root, copy.mailbox)?.get(copy.base);
    if (first === undefined || second === undefined) return [];
    const isFirstServed = lists.of(root, mailbox).has(base) && !lists.of(root, copy.mailbox).has(copy.base);
    return [{ root, path: isFirstServed ? second : first }];
  });
}

async function moveAway(
  { kv, files, clock, keeper, history }: Parameters<typeof putAway>[0],
  twice: Twice[],
  result: PutAway,
): Promise<void> {
  const writes: KvWrite[] = [];
  const moves = twice.flatMap(({ root, path }) => {
    const from = absolute(root, path);
    const stat = files.lstat(from);
    if (stat === null) return [];
    const file = keeper.keep({ root: root.name, path, atMs: clock.wallMs(), files: 1, bytes: stat.size, foreign: false }, true, writes);
    return [{ from, to: file === null ? null : `${history(root, path)}/${file}` }];
  });
  // What the history says of a file must be durable before that file is nowhere else.
  kv.commit(writes);
  await kv.flushed();
  const dirs = new Set<BytePath>();
  for (const { from, to } of moves) {
    try {
      if (to === null) files.unlink(from);
      else files.rename(from, to);
      result.away++;
      dirs.add(parentPath(from));
    } catch (error) {
      if (errnoCode(error) === undefined) throw error;
      result.left.push({ path: from, why: whyOf(error) });
    }
  }
  // There is no telling which of them lie on one file system.
  for (const dir of dirs) await files.syncfs(dir);
}

/** In the order of mailboxes, so that each of them is read once. */
function noted(kv: Kv): Original[] {
  const all: Original[] = [];
  for (const [, value] of kv.range(Buffer.from([tables.originals]), Buffer.from([tables.originals + 1])))
    all.push(JSON.parse(value.toString('latin1')) as Original);
  const place = ({ root, mailbox }: Original) => `${root}\0${mailbox}`;
  return all.toSorted((a, b) => (place(a) < place(b) ? -1 : place(a) > place(b) ? 1 : 0));
}

function keyOf({ root, copy }: Pick<Original, 'root' | 'copy'>): Buffer {
  const hash = createHash('sha256').update([root, copy.mailbox, copy.base].join('\0'), 'latin1').digest();
  return Buffer.concat([Buffer.from([tables.originals]), hash]);
}

/** Messages of mailboxes by their names without flags. */
class MessageNames {
  readonly #files: Files;
  /** The last few. */
  readonly #known = new Map<string, ReadonlyMap<string, BytePath> | null>();

  constructor(files: Files) {
    this.#files = files;
  }

  /** Path below the root by name without flags; null when the mailbox cannot be read. */
  of(root: Root, mailbox: BytePath): ReadonlyMap<string, BytePath> | null {
    const key = `${root.name}\0${mailbox}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    if (this.#known.size >= knownMax) this.#known.clear();
    const names = this.#read(root, mailbox);
    this.#known.set(key, names);
    return names;
  }

  #read(root: Root, mailbox: BytePath): ReadonlyMap<string, BytePath> | null {
    try {
      return new Map(
        ['cur', 'new'].flatMap((place) =>
          (this.#files.readdir(absolute(root, joinPath(mailbox, place))) ?? [])
            .filter(({ kind }) => kind === 'file')
            .map(({ name }) => [root.format.baseOf(name), joinPath(joinPath(mailbox, place), name)] as const),
        ),
      );
    } catch (error) {
      if (errnoCode(error) === undefined) throw error;
      return null;
    }
  }
}

/** Names that the uidlists of mailboxes give a number; none where there is no list beside the messages, or it cannot be read. */
class ListedNames {
  readonly #files: Files;
  /** The last few. */
  readonly #known = new Map<string, ReadonlySet<string>>();

  constructor(files: Files) {
    this.#files = files;
  }

  of(root: Root, mailbox: BytePath): ReadonlySet<string> {
    const path = absolute(root, joinPath(mailbox, 'dovecot-uidlist'));
    const known = this.#known.get(path);
    if (known) return known;
    if (this.#known.size >= knownMax) this.#known.clear();
    const data = ifKnown(() => this.#files.readFile(path, uidlistBytesMax))?.data;
    const listed = new Set(data ? [...namedMessages(data)].map(({ base }) => base) : []);
    this.#known.set(path, listed);
    return listed;
  }
}
