import { limits } from '../../../protocol/limits.ts';
import type { ReplicaIndex } from '../../journal/replica-index.ts';
import { errnoCode, joinPath, type BytePath, type DirEntry, type Files, type Stat } from '../../platform/files.ts';
import { whyOf } from '../fault.ts';
import { absolute, type Root } from '../root.ts';
import { coarseNs } from '../times.ts';
import { isRacy, racyNs, sameAttributes, sameContent } from './context.ts';
import type { RelivedTime } from './relived-time.ts';

/**
 * Something that a scan found worth a look. `seal` and `proven` come after all looks that they depend on; `isNewFile`: the
 * directory said that it is a regular file, and the index does not know it.
 */
export type ScanItem =
  | { look: BytePath; isNewFile?: true }
  | { seal: BytePath }
  | { proven: BytePath; mtimeNs: bigint }
  | { unreadable: BytePath; reason: string }
  | { pause: true };

export interface ScanParts {
  files: Files;
  index: ReplicaIndex;
  wallMs: () => number;
  relived: RelivedTime;
  /** Do not trust directory times: look at every file. */
  thorough: boolean;
  /** Whether a directory was left out until now: then a look must say that it is not any more. */
  wasLeftOut: (root: string, path: BytePath) => boolean;
  /** Directories with names that could not be read: their own time proves nothing. */
  unread: ReadonlySet<BytePath>;
  /** Whether nothing is to be said of a path now, because its disk is missing. */
  stops: (path: BytePath) => boolean;
}

const namesBetweenPauses = 256;
/** Why a path is in doubt that the other node may not be able to have. */
export const tooLong = `is longer than the ${limits.replicatedPathBytesMax} bytes that are replicated`;

/**
 * Compares a directory and all below it with the index and gives what differs, a piece at a time.
 *
 * In directories whose files never change under one name (a maildir's cur and new) an unchanged directory mtime proves
 * that nothing changed, so a restart looks only where something can have.
 */
export function* scan(parts: ScanParts, root: Root, path: BytePath): Generator<ScanItem> {
  // What lies behind a link is not of this root, whatever the kernel would find there.
  let through: BytePath | null;
  try {
    through = notADirectoryAbove(parts.files, root, path);
  } catch (error) {
    yield { unreadable: path, reason: unreadable(error) };
    return;
  }
  if (through === null) yield* scanDir(parts, root, path);
  else yield { look: through };
}

function* scanDir(parts: ScanParts, root: Root, path: BytePath): Generator<ScanItem> {
  const { files, index } = parts;
  if (parts.stops(path)) return;
  const dir = absolute(root, path);
  const excluded = path === '' ? null : root.format.excluded?.(path, 'dir');
  if (excluded) {
    yield { look: excluded.path };
    return;
  }
  if (path.length > limits.replicatedPathBytesMax) {
    yield { unreadable: path, reason: tooLong };
    return;
  }
  let stat;
  try {
    stat = files.lstat(dir);
  } catch (error) {
    yield { unreadable: path, reason: unreadable(error) };
    return;
  }
  if (stat?.kind !== 'dir') {
    yield { look: path };
    return;
  }
  const entry = path === '' ? undefined : index.at(root.name, path)?.entry;
  // A change time says nothing of what changed: names, or an ACL.
  const isSame = entry?.kind === 'dir' && entry.ino === stat.ino && sameAttributes(entry, stat) && entry.ctimeNs === stat.ctimeNs;
  if (path !== '' && (!isSame || parts.wasLeftOut(root.name, path))) yield { look: path };
  // A user may be called `new`: then there are mailboxes below, and their changes do not show in this directory's mtime.
  const holdsMessages = !mayHoldDirs(index, root, path, stat) && root.format.classify(joinPath(path, 'x'), 'file').immutable;
  if (
    holdsMessages &&
    !parts.thorough &&
    !parts.unread.has(path) &&
    entry?.kind === 'dir' &&
    entry.ino === stat.ino &&
    entry.mtimeNs === stat.mtimeNs &&
    entry.mtimeNs !== 0n &&
    !parts.relived.has(stat.mtimeNs)
  )
    return;
  const names: DirEntry[] = [];
  const here = new Set<BytePath>();
  try {
    const portions = files.list(dir);
    if (portions === null) return;
    for (const portion of portions) {
      for (const entry of portion) {
        names.push(entry);
        here.add(entry.name);
      }
      yield { pause: true };
    }
  } catch (error) {
    yield { unreadable: path, reason: unreadable(error) };
    return;
  }
  const number = index.dirAt(root.name, path);
  const subdirs: BytePath[] = [];
  let seal = false;
  let count = 0;
  for (const { name, kind } of names) {
    if (++count % namesBetweenPauses === 0) yield { pause: true };
    const child = joinPath(path, name);
    const class_ = root.format.classify(child, kind);
    if (class_.ignored) {
      // What is excluded is named; what a server leaves behind half done is nobody's concern.
      if (root.format.excluded?.(child, kind)) yield { look: child };
      continue;
    }
    if (kind === 'dir') {
      subdirs.push(name);
      continue;
    }
    const known = number === null ? undefined : index.get(number, name);
    // Where a link leads is its text and the place that it stands at: a directory above may have moved.
    if (known && kind !== 'symlink') {
      const now = lstatOrNull(files, `${dir}/${name}`);
      const isSame = now && sameContent(known, now) && sameAttributes(known, now) && known.ctimeNs === now.ctimeNs;
      if (isSame && (class_.immutable || !parts.relived.has(now.mtimeNs))) continue;
    }
    if (class_.mailbox !== null && (class_.class === 'control' || class_.class === 'index')) seal = true;
    else if (kind === 'file' && !known) yield { look: child, isNewFile: true };
    else yield { look: child };
  }
  // Messages before what names them; then the folders inside.
  subdirs.sort((a, b) => Number(!isMessageDir(a)) - Number(!isMessageDir(b)) || (a < b ? -1 : 1));
  for (const name of subdirs) yield* scanDir(parts, root, joinPath(path, name));
  if (number !== null) {
    for (const name of yield* namesInIndex(index, number)) {
      if (here.has(name) || parts.stops(joinPath(path, name))) continue;
      const class_ = root.format.classify(joinPath(path, name), null);
      if (class_.mailbox !== null && (class_.class === 'control' || class_.class === 'index')) seal = true;
      yield { look: joinPath(path, name) };
    }
  }
  if (seal) yield { seal: path };
  if (path !== '' && !isRacy(stat.mtimeNs + racyNs + coarseNs(stat), parts.wallMs())) yield { proven: path, mtimeNs: stat.mtimeNs };
}

function* namesInIndex(index: ReplicaIndex, dir: number): Generator<ScanItem, BytePath[]> {
  const names: BytePath[] = [];
  for (const [name] of index.entries(dir)) if (names.push(name) % namesBetweenPauses === 0) yield { pause: true };
  return names;
}

/** Most file systems count a directory's own name, its `.` and the `..` of each directory in it; some always say 1. */
function mayHoldDirs(index: ReplicaIndex, root: Root, path: BytePath, stat: Stat): boolean {
  if (stat.nlink >= 2) return stat.nlink > 2;
  const number = index.dirAt(root.name, path);
  if (number !== null) for (const [, entry] of index.entries(number)) if (entry.kind === 'dir') return true;
  return false;
}

function isMessageDir(name: string): boolean {
  return name === 'cur' || name === 'new';
}

/**
 * The topmost place above a path where no directory is: a link, a file, or nothing.
 *
 * @throws an errno error when a place above cannot be looked at: then nobody knows.
 */
export function notADirectoryAbove(files: Files, root: Root, path: BytePath): BytePath | null {
  for (let end = path.indexOf('/'); end !== -1; end = path.indexOf('/', end + 1)) {
    const above = path.slice(0, end);
    if (files.lstat(absolute(root, above))?.kind !== 'dir') return above;
  }
  return null;
}

/** A look at what cannot be had is what says so; here it is only not known to be the same. */
function lstatOrNull(files: Files, path: BytePath): Stat | null {
  try {
    return files.lstat(path);
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return null;
  }
}

/** Why a place is in doubt, without its path, which stands beside it. */
function unreadable(error: unknown): string {
  if (errnoCode(error) === undefined) throw error;
  return `cannot be read: ${whyOf(error)}`;
}
