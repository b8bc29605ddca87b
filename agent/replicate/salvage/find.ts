import type { Entry } from '../../journal/entry.ts';
import type { ReplicaIndex } from '../../journal/replica-index.ts';
import { joinPath, type BytePath, type DirEntry, type Files } from '../../platform/files.ts';
import { absolute, type Root } from '../root.ts';

/**
 * What a node that was primary has on its disk and the other one was not known to have, and the other way round: the
 * lost tail (I16). The index of a fenced node stays as it was when it lost its role, so it tells what had arrived.
 *
 * A batch may have arrived whose acknowledgement did not: the other node judges what is found here.
 */
export type Tail =
  | { what: 'message'; mailbox: BytePath; place: 'cur' | 'new'; name: string; base: string }
  | { what: 'folder'; mailbox: BytePath }
  | { what: 'flags'; mailbox: BytePath; base: string; before: string; after: string }
  | { what: 'expunged'; mailbox: BytePath; base: string }
  | { what: 'folder-removed'; mailbox: BytePath }
  | { what: 'file'; path: BytePath }
  | { what: 'file-changed' | 'file-removed'; path: BytePath };

interface Walk {
  files: Files;
  index: ReplicaIndex;
  root: Root;
}

/** As deep as folder names are long; this only keeps a damaged tree from being endless. */
const depthMax = 512;
const places = ['cur', 'new'] as const;

/** What the caller is told between two things: another directory is looked at, or more of a large one. */
type Step = Tail | 'directory' | 'more';
/** Names of the index after which the caller can do something else. */
const namesAtATime = 256;

/** One thing at a time, so that the caller can do something else in between (I24). */
export function* findTail(files: Files, index: ReplicaIndex, root: Root): Generator<Step> {
  yield* walkDir({ files, index, root }, '', index.root(root.name), 0);
}

/** Null when there is no directory. */
function* namesIn(files: Files, dir: BytePath): Generator<'more', DirEntry[] | null> {
  const portions = files.list(dir);
  if (!portions) return null;
  const entries: DirEntry[] = [];
  for (const portion of portions) {
    for (const entry of portion) entries.push(entry);
    yield 'more';
  }
  return entries;
}

function* knownIn(index: ReplicaIndex, dir: number): Generator<'more' | [string, Entry]> {
  let count = 0;
  for (const known of index.entries(dir)) {
    if (++count % namesAtATime === 0) yield 'more';
    yield known;
  }
}

function* walkDir(walk: Walk, path: BytePath, number: number | null, depth: number): Generator<Step> {
  const { files, index, root } = walk;
  const entries = yield* namesIn(files, absolute(root, path));
  if (!entries || depth > depthMax) return;
  yield 'directory';
  const isMailbox = holdsMessages(root, path, entries);
  if (isMailbox) yield* lookAtMailbox(walk, path, number);
  const onDisk = new Set<string>();
  let count = 0;
  for (const { name, kind } of entries) {
    if (++count % namesAtATime === 0) yield 'more';
    const below = joinPath(path, name);
    if (isMailbox && (name === 'cur' || name === 'new' || name === 'tmp')) continue;
    const { ignored, class: kindOfFile } = root.format.classify(below, kind);
    if (ignored) continue;
    onDisk.add(name);
    const known = number === null ? undefined : index.get(number, name);
    if (kind === 'dir') {
      yield* walkDir(walk, below, known?.kind === 'dir' ? known.dir : null, depth + 1);
      continue;
    }
    // Numbers and what is derived from them are the active node's own by now.
    if (kind === 'other' || (kindOfFile !== 'plain' && name !== 'subscriptions')) continue;
    if (!known) {
      if (name !== 'maildirfolder')
        yield kind === 'file' && kindOfFile === 'plain' ? { what: 'file', path: below } : { what: 'file-changed', path: below };
      continue;
    }
    const stat = files.lstat(absolute(root, below));
    if (stat && (known.kind !== stat.kind || known.size !== stat.size || (stat.kind === 'file' && known.mtimeNs !== stat.mtimeNs)))
      yield { what: 'file-changed', path: below };
  }
  if (number === null) return;
  for (const known of knownIn(index, number)) {
    if (known === 'more') {
      yield known;
      continue;
    }
    const [name, entry] = known;
    if (onDisk.has(name) || (isMailbox && (name === 'cur' || name === 'new' || name === 'tmp'))) continue;
    const below = joinPath(path, name);
    const { ignored, class: kindOfFile } = root.format.classify(below, entry.kind);
    if (ignored) continue;
    if (entry.kind === 'dir') {
      const isFolder = root.format.classify(`${below}/cur/x`, 'file').class === 'message' && index.get(entry.dir, 'cur')?.kind === 'dir';
      yield isFolder ? { what: 'folder-removed', mailbox: below } : { what: 'file-removed', path: below };
    } else if (kindOfFile === 'plain' || name === 'subscriptions') yield { what: 'file-removed', path: below };
  }
}

function holdsMessages(root: Root, path: BytePath, entries: readonly DirEntry[]): boolean {
  return entries.some(
    ({ name, kind }) =>
      kind === 'dir' &&
      (name === 'cur' || name === 'new') &&
      root.format.classify(joinPath(joinPath(path, name), 'x'), 'file').class === 'message',
  );
}

/** Messages by their names without flags, in cur and new together: reading a message moves it from one to the other. */
function* lookAtMailbox({ files, index, root }: Walk, mailbox: BytePath, number: number | null): Generator<Step> {
  const had = new Map<string, string>();
  let isKnown = false;
  for (const place of places) {
    const dir = number === null ? undefined : index.get(number, place);
    if (dir?.kind !== 'dir') continue;
    isKnown = true;
    for (const known of knownIn(index, dir.dir)) {
      if (known === 'more') yield known;
      else if (known[1].kind === 'file') had.set(root.format.baseOf(known[0]), known[0]);
    }
  }
  if (!isKnown) yield { what: 'folder', mailbox };
  const seen = new Set<string>();
  for (const place of places) {
    const dir = joinPath(mailbox, place);
    let count = 0;
    for (const { name, kind } of (yield* namesIn(files, absolute(root, dir))) ?? []) {
      if (++count % namesAtATime === 0) yield 'more';
      if (kind !== 'file' || root.format.classify(joinPath(dir, name), 'file').ignored || name.startsWith('.')) continue;
      const base = root.format.baseOf(name);
      seen.add(base);
      const before = had.get(base);
      if (before === undefined) yield { what: 'message', mailbox, place, name, base };
      else if (flagsOf(before) !== flagsOf(name)) yield { what: 'flags', mailbox, base, before: flagsOf(before), after: flagsOf(name) };
    }
  }
  let count = 0;
  for (const base of had.keys()) {
    if (++count % namesAtATime === 0) yield 'more';
    if (!seen.has(base)) yield { what: 'expunged', mailbox, base };
  }
}

/** Maildir flags of a name, keywords included; '' when it has none. */
export function flagsOf(name: string): string {
  return /:2,([A-Za-z]*)$/.exec(name)?.[1] ?? '';
}
