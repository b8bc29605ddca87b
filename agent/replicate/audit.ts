import { createHash } from 'node:crypto';
import { contentBytes, xattrsDigest, type Entry } from '../journal/entry.ts';
import type { ReplicaIndex } from '../journal/replica-index.ts';
import type { Clock } from '../platform/clock.ts';
import { linkStaysInside } from '../mailstore/links.ts';
import { errnoCode, joinPath, type BytePath, type DirEntry, type FileKind, type Files, type Stat } from '../platform/files.ts';
import { sameAttributes } from './primary/context.ts';
import { absolute, type Root } from './root.ts';

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
  /** True on a primary: a symbolic link that leads out of its root is left out on purpose. On a standby nobody has put one there. */
  leavesOutLinks?: boolean;
}

export interface AuditProgress {
  files: number;
  bytes: number;
}

/** What these say is not that somebody changed anything: what is known to be doubtful, and what nobody can read. */
export const undecided: ReadonlySet<string> = new Set(['has unknown content', 'cannot be read']);

const readBytes = 1024 * 1024;
const sliceMs = 10;

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
    if (!root) continue;
    const entry = parts.index.at(rootName, path)?.entry;
    const stat = lstat(parts, root, path);
    if (stat === 'unreadable') {
      yield { root: rootName, path, what: 'cannot be read', stat: null };
      continue;
    }
    if (!entry && !stat) continue;
    let what: string | null;
    if (!entry) what = isLeftOut(parts, root, path, stat?.kind ?? null) ? null : 'is not in the index';
    else what = stat ? await difference(parts, root, path, entry, stat, deep, progress, pacer) : 'is missing';
    if (what !== null) yield { root: rootName, path, what, stat };
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
  const names = readdir(parts, root, path);
  if (names === null) {
    yield { root: root.name, path, what: 'cannot be read', stat: null };
    return;
  }
  const here = new Map(names.map((entry) => [entry.name, entry.kind]));
  const subdirs: { path: BytePath; number: number }[] = [];
  if (number !== null) {
    for (const [name, entry] of index.entries(number)) {
      if (signal.aborted) return;
      const child = joinPath(path, name);
      here.delete(name);
      const stat = lstat(parts, root, child);
      if (stat === 'unreadable') {
        yield { root: root.name, path: child, what: 'cannot be read', stat: null };
        continue;
      }
      const what = stat === null ? 'is missing' : await difference(parts, root, child, entry, stat, deep, progress, pacer);
      if (what !== null) yield { root: root.name, path: child, what, stat };
      if (entry.kind === 'dir' && stat?.kind === 'dir') subdirs.push({ path: child, number: entry.dir });
      else progress.files++;
      await pacer.pause();
    }
  }
  for (const [name, kind] of here) {
    const child = joinPath(path, name);
    if (isLeftOut(parts, root, child, kind)) continue;
    const stat = lstat(parts, root, child);
    yield { root: root.name, path: child, what: 'is not in the index', stat: stat === 'unreadable' ? null : stat };
  }
  for (const dir of subdirs) yield* auditDir(parts, root, dir.path, dir.number, deep, progress, signal, pacer);
}

/** What is not replicated, and so is not expected in the index. */
function isLeftOut(parts: AuditParts, root: Root, path: BytePath, kind: FileKind | null): boolean {
  // The standby's root may be a file system of its own where the primary's is not.
  if (path === 'lost+found' && !parts.leavesOutLinks) return true;
  if (kind === 'other' || root.format.classify(path, kind).ignored) return true;
  if (kind !== 'symlink' || !parts.leavesOutLinks) return false;
  try {
    return !linkStaysInside(path, parts.files.readlink(absolute(root, path)));
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return false;
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
function readdir(parts: AuditParts, root: Root, path: BytePath): DirEntry[] | null {
  try {
    return parts.files.readdir(absolute(root, path)) ?? [];
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
  if (entry.kind === 'dir') return sameAttributes(entry, stat) ? null : 'has another owner or mode';
  if (entry.content.length === 0) return 'has unknown content';
  if (entry.kind === 'file' && entry.size !== stat.size) return `has ${stat.size} bytes, not ${entry.size}`;
  if (entry.mtimeNs !== stat.mtimeNs) return 'has another modification time';
  if (!sameAttributes(entry, stat)) return 'has another owner or mode';
  if (!deep || entry.kind !== 'file') return null;
  if (!xattrsDigest(parts.files.xattrs(absolute(root, path))).equals(entry.xattrs)) return 'has other extended attributes';
  const digest = await contentDigest(parts.files, absolute(root, path), progress, pacer);
  if (digest === null) return 'cannot be read';
  return digest.subarray(0, contentBytes).equals(entry.content) ? null : 'has other content';
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

class Pacer {
  readonly #clock: Clock;
  #last: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#last = clock.monotonicMs();
  }

  async pause(): Promise<void> {
    if (this.#clock.monotonicMs() - this.#last < sliceMs) return;
    await this.#clock.yield();
    this.#last = this.#clock.monotonicMs();
  }
}
