import { createHash } from 'node:crypto';
import { lacks } from '../../protocol/shortfall.ts';
import { contentBytes, replicatedMode, xattrsDigest, type Entry } from '../journal/entry.ts';
import type { ReplicaIndex } from '../journal/replica-index.ts';
import type { Clock } from '../platform/clock.ts';
import { baseName, errnoCode, joinPath, parentPath, type BytePath, type FileKind, type Files, type Stat } from '../platform/files.ts';
import { Pacer } from '../platform/pacer.ts';
import { canonicalTarget } from './links.ts';
import { isNamed } from './one-name.ts';
import { sameAttributes } from './primary/context.ts';
import type { HeldPlaces } from './primary/held-places.ts';
import { absolute, type Root } from './root.ts';
import { timesAgree } from './times.ts';

/** A place where the disk is not as the index says. */
export interface AuditDifference {
  root: string;
  path: BytePath;
  what: string;
  /** What the disk has; null when nothing is there. */
  stat: Stat | null;
}

export interface AuditParts {
  files: Files;
  clock: Clock;
  index: ReplicaIndex;
  roots: readonly Root[];
  /**
   * On a primary: what it holds back. There a symbolic link that leads out of its root is left out on purpose, and the
   * index tells what the standby keeps of it; on a standby nobody has put one there.
   */
  holds?: Pick<HeldPlaces, 'coveringAs'>;
  /** Places of which nothing can be said now, because their file system is missing. */
  skips?: (root: string, path: BytePath) => boolean;
  /** On a standby: directories that are mount points, or lead to one. They stay when what is in them goes. */
  mounted?: (root: string, path: BytePath) => boolean;
  /** Whether so much was found that it is all one by which name: of each place the whole directory would be read. */
  hasEnough?: () => boolean;
}

export interface AuditProgress {
  files: number;
  bytes: number;
}

/** What is said of a file that is as it was in everything that `lstat` shows. */
export const otherContent = 'has other content';

/** What these say is not that somebody changed anything: what is known to be doubtful, and what nobody can read. */
export const undecided: ReadonlySet<string> = new Set(['has unknown content', 'cannot be read']);

/** What these say is of the attributes alone, which all names of a file share. */
export const attributesAlone: ReadonlySet<string> = new Set([
  'has another owner or mode',
  'has another modification time',
  'has other extended attributes',
]);

const readBytes = 1024 * 1024;

/**
 * Compares the disk with the index, name by name; `deep` re-reads all content and compares its SHA-256.
 *
 * Yields each difference. `progress` counts on meanwhile. Gives way often; the caller sees to it that nothing is
 * replicated at the same time, or looks again at what is found.
 */
export async function* audit(
  parts: AuditParts,
  deep: boolean,
  progress: AuditProgress,
  signal: AbortSignal,
): AsyncGenerator<AuditDifference> {
  const pacer = new Pacer(parts.clock);
  for (const root of parts.roots) {
    const number = parts.index.root(root.name);
    yield* auditDir(parts, root, '', number, deep, progress, signal, pacer);
  }
}

/** Compares one place and all below it by what `lstat` shows. */
export async function* auditBelow(
  parts: AuditParts,
  rootName: string,
  path: BytePath,
  signal: AbortSignal,
): AsyncGenerator<AuditDifference> {
  const root = parts.roots.find(({ name }) => name === rootName);
  if (!root) return;
  const progress = { files: 0, bytes: 0 };
  const number = parts.index.dirAt(rootName, path);
  if (path !== '') {
    yield* auditPlaces(parts, [[rootName, path]], false, progress);
    // Below a directory that is on one side only there is nothing to compare.
    if (number === null || lstatOf(parts, root, path)?.kind !== 'dir') return;
  }
  yield* auditDir(parts, root, path, number, false, progress, signal, new Pacer(parts.clock));
}

/** Looks at single places once more. */
export async function* auditPlaces(
  parts: AuditParts,
  places: readonly (readonly [root: string, path: BytePath])[],
  deep: boolean,
  progress: AuditProgress,
): AsyncGenerator<AuditDifference> {
  const pacer = new Pacer(parts.clock);
  for (const [rootName, path] of places) {
    const root = parts.roots.find(({ name }) => name === rootName);
    if (!root || parts.skips?.(rootName, path)) continue;
    const entry = parts.index.at(rootName, path)?.entry;
    const stat = lstat(parts, root, path);
    if (stat === 'unreadable') {
      yield { root: rootName, path, what: 'cannot be read', stat: null };
      continue;
    }
    if ((!entry && !stat) || isHeldBack(parts, root, path)) continue;
    let what: string | null;
    if (entry && stat && isLeftOut(parts, root, path, stat.kind, true)) what = null;
    else if (!entry) what = isLeftOut(parts, root, path, stat?.kind ?? null) ? null : 'is not in the index';
    else what = stat ? await difference(parts, root, path, entry, stat, deep, progress, pacer) : 'is missing';
    if (what === null) continue;
    // What was found may be there under another name, which this file system takes for the same.
    const named = stat && isThere(parts, root, path) ? stat : null;
    if (named || entry) yield { root: rootName, path, what: named ? what : 'is missing', stat: named };
  }
}

async function* auditDir(
  parts: AuditParts,
  root: Root,
  path: BytePath,
  number: number | null,
  deep: boolean,
  progress: AuditProgress,
  signal: AbortSignal,
  pacer: Pacer,
): AsyncGenerator<AuditDifference> {
  const { index } = parts;
  if (parts.skips?.(root.name, path)) return;
  const here = await namesIn(parts, root, path, pacer);
  if (here === null) {
    yield { root: root.name, path, what: 'cannot be read', stat: null };
    return;
  }
  const subdirs: { path: BytePath; number: number }[] = [];
  if (number !== null) {
    for (const [name, entry] of index.entries(number)) {
      if (signal.aborted) return;
      const child = joinPath(path, name);
      const wasHere = here.delete(name);
      if (parts.skips?.(root.name, child) || isHeldBack(parts, root, child)) continue;
      let stat = lstat(parts, root, child);
      if (stat === 'unreadable') {
        yield { root: root.name, path: child, what: 'cannot be read', stat: null };
        continue;
      }
      // It has come meanwhile, or its file system takes another name for it.
      if (stat !== null && !wasHere && !isThere(parts, root, child)) stat = null;
      if (stat !== null && isLeftOut(parts, root, child, stat.kind, true)) continue;
      const what = stat === null ? 'is missing' : await difference(parts, root, child, entry, stat, deep, progress, pacer);
      if (what !== null) yield { root: root.name, path: child, what, stat };
      if (entry.kind === 'dir' && stat?.kind === 'dir') subdirs.push({ path: child, number: entry.dir });
      else progress.files++;
      await pacer.pause();
    }
  }
  for (const [name, kind] of here) {
    const child = joinPath(path, name);
    if (isLeftOut(parts, root, child, kind) || parts.skips?.(root.name, child)) continue;
    const stat = lstat(parts, root, child);
    yield { root: root.name, path: child, what: 'is not in the index', stat: stat === 'unreadable' ? null : stat };
    await pacer.pause();
  }
  for (const dir of subdirs) yield* auditDir(parts, root, dir.path, dir.number, deep, progress, signal, pacer);
}

/** What is not compared because of what is here now: the primary knows, and says that the standby keeps what it had. */
function isHeldBack(parts: AuditParts, root: Root, path: BytePath): boolean {
  return (parts.holds?.coveringAs('left-out', root.name, path) ?? null) !== null;
}

/**
 * What is not replicated, and so is not expected in the index. `known`: it is all the same, which on a standby means that
 * it was brought, and on a primary that the standby keeps it.
 */
function isLeftOut(parts: AuditParts, root: Root, path: BytePath, kind: FileKind | null, known = false): boolean {
  const isPrimary = parts.holds !== undefined;
  if (known && !isPrimary) return false;
  // A directory on the standby may be a file system of its own where it is none on the primary.
  if (baseName(path) === 'lost+found' && !isPrimary) return true;
  if (kind === 'dir' && parts.mounted?.(root.name, path)) return true;
  if (kind === 'other' || root.format.classify(path, kind).ignored) return true;
  if (kind !== 'symlink' || !isPrimary) return false;
  try {
    return canonicalTarget(parts.files, parts.roots, root, path, parts.files.readlink(absolute(root, path))) === null;
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return false;
  }
}

/** Whether a place is there by the names as they are written. */
function isThere(parts: AuditParts, root: Root, path: BytePath): boolean {
  if (parts.hasEnough?.()) return true;
  try {
    for (let at = path; at !== ''; at = parentPath(at)) if (!isNamed(parts.files, absolute(root, at))) return false;
    return true;
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return true;
  }
}

function lstat(parts: AuditParts, root: Root, path: BytePath): Stat | null | 'unreadable' {
  try {
    return parts.files.lstat(absolute(root, path));
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return 'unreadable';
  }
}

function lstatOf(parts: AuditParts, root: Root, path: BytePath): Stat | null {
  const stat = lstat(parts, root, path);
  return stat === 'unreadable' ? null : stat;
}

/** Null when the directory cannot be read; empty when it is not there. */
async function namesIn(parts: AuditParts, root: Root, path: BytePath, pacer: Pacer): Promise<Map<BytePath, FileKind> | null> {
  const names = new Map<BytePath, FileKind>();
  try {
    for (const portion of parts.files.list(absolute(root, path)) ?? []) {
      for (const { name, kind } of portion) names.set(name, kind);
      await pacer.pause();
    }
    return names;
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return null;
  }
}

async function difference(
  parts: AuditParts,
  root: Root,
  path: BytePath,
  entry: Entry,
  stat: Stat,
  deep: boolean,
  progress: AuditProgress,
  pacer: Pacer,
): Promise<string | null> {
  if (entry.kind !== stat.kind) return `is a ${stat.kind}, not a ${entry.kind}`;
  // What this disk could not be given is known, and named elsewhere.
  const lacking = entry.lacks ?? 0;
  if (entry.kind === 'dir') return hasAttributes(entry, stat, lacking) ? null : 'has another owner or mode';
  if (entry.content.length === 0) return 'has unknown content';
  if (entry.kind === 'file' && entry.size !== stat.size) return `has ${stat.size} bytes, not ${entry.size}`;
  if (!(lacking & lacks.time) && !timesAgree(entry.mtimeNs, stat)) return 'has another modification time';
  if (!hasAttributes(entry, stat, lacking)) return 'has another owner or mode';
  if (entry.kind === 'symlink') return linkDifference(parts, root, path, entry);
  if (!deep) return null;
  if (!(lacking & lacks.attributes) && !xattrsDigest(parts.files.xattrs(absolute(root, path))).equals(entry.xattrs))
    return 'has other extended attributes';
  const digest = await contentDigest(parts.files, absolute(root, path), progress, pacer);
  if (digest === null) return 'cannot be read';
  return digest.subarray(0, contentBytes).equals(entry.content) ? null : otherContent;
}

function linkDifference(parts: AuditParts, root: Root, path: BytePath, entry: Entry): string | null {
  const digest = (text: BytePath) => createHash('sha256').update(text, 'latin1').digest().subarray(0, contentBytes);
  try {
    const target = parts.files.readlink(absolute(root, path));
    // A relative link whose directory moved leads elsewhere by the same text; the primary looks at it again.
    if (!target.startsWith('/') && digest(target).equals(entry.content)) return null;
    const canonical = canonicalTarget(parts.files, parts.roots, root, path, target);
    return canonical !== null && digest(canonical).equals(entry.content) ? null : 'leads elsewhere';
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return 'cannot be read';
  }
}

function hasAttributes(entry: Entry, stat: Stat, lacking: number): boolean {
  if (!(lacking & (lacks.owner | lacks.mode))) return sameAttributes(entry, stat);
  const { uid, gid } = lacking & lacks.owner ? stat : entry;
  return sameAttributes({ ...entry, uid, gid, ...(lacking & lacks.mode ? { mode: replicatedMode(stat.kind, stat.mode) } : {}) }, stat);
}

async function contentDigest(files: Files, path: BytePath, progress: AuditProgress, pacer: Pacer): Promise<Buffer | null> {
  try {
    const fd = files.openRead(path);
    if (fd === null) return null;
    try {
      const hash = createHash('sha256');
      const buffer = Buffer.allocUnsafe(readBytes);
      for (let at = 0; ;) {
        const got = files.read(fd, buffer, 0, buffer.length, at);
        if (got === 0) return hash.digest();
        hash.update(buffer.subarray(0, got));
        at += got;
        progress.bytes += got;
        await pacer.pause();
      }
    } finally {
      files.close(fd);
    }
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return null;
  }
}
