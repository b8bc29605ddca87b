import { createHash } from 'node:crypto';
import { entryOf, xattrsDigest } from '../../journal/entry.ts';
import type { ReplicaIndex } from '../../journal/replica-index.ts';
import type { Clock } from '../../platform/clock.ts';
import { OperatorError } from '../../platform/errors.ts';
import { displayPath, joinPath, type BytePath, type Files } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import { Pacer } from '../../platform/pacer.ts';
import { canonicalTarget } from '../links.ts';
import { absolute, type Root } from '../root.ts';

/** What to do with files that this standby did not put there. */
export type ForeignPolicy = 'refuse' | 'adopt' | 'move-aside';

export interface StartupParts {
  files: Files;
  kv: Kv;
  clock: Clock;
  index: ReplicaIndex;
  roots: readonly Root[];
  /** Directories that are mount points, or lead to one: nobody's, whatever is in them. */
  mounted?: (root: string, path: BytePath) => boolean;
}

const namedMax = 5;
const noBytes = Buffer.alloc(0);

/** Names on disk below a root that are not in the index; names only, so that a start takes seconds with a million files. */
export async function* foreignNames(
  parts: StartupParts,
  root: Root,
  path: BytePath = '',
  number = parts.index.root(root.name),
): AsyncGenerator<BytePath> {
  const { pause } = new Pacer(parts.clock);
  const subdirs: { child: BytePath; number: number | null }[] = [];
  for (const portion of parts.files.list(absolute(root, path)) ?? []) {
    for (const { name, kind } of portion) {
      const child = joinPath(path, name);
      if (root.format.classify(child, kind).ignored || name === 'lost+found') continue;
      // Sockets, fifos and devices are never replicated, and so are nobody's.
      if (kind === 'other') continue;
      const known = number === null ? undefined : parts.index.get(number, name);
      const dir = known?.kind === 'dir' ? known.dir : 0;
      if (known === undefined && kind === 'dir' && parts.mounted?.(root.name, child)) subdirs.push({ child, number: null });
      else if (known === undefined) yield child;
      else if (kind === 'dir' && dir !== 0) subdirs.push({ child, number: dir });
    }
    await pause();
  }
  for (const { child, number: dir } of subdirs) yield* foreignNames(parts, root, child, dir);
  await parts.clock.yield();
}

/**
 * Makes sure that a standby starts only on what it put there itself (I2): a store that holds somebody else's files may
 * be the only copy of that mail, and must not be overwritten unseen.
 *
 * @throws OperatorError `foreign-files` (exit code 3) unless the policy says what to do with them.
 */
export async function checkForeign(parts: StartupParts, policy: ForeignPolicy): Promise<{ adopted: number; movedAside: number }> {
  const result = { adopted: 0, movedAside: 0 };
  for (const root of parts.roots) {
    const found: BytePath[] = [];
    let count = 0;
    for await (const path of foreignNames(parts, root)) {
      count++;
      if (policy === 'refuse' ? found.length < namedMax : true) found.push(path);
    }
    if (count === 0) continue;
    if (policy === 'refuse') {
      const names = found.map((path) => displayPath(path)).join(', ');
      throw new OperatorError(
        'foreign-files',
        `root ${root.name} at ${displayPath(root.path)} holds ${count} names that this standby did not put there: ${names}${count > namedMax ? ', ...' : ''}`,
        'start it once with `mailtwin run --adopt` to keep them as far as the primary has the same, or with `--move-aside` to put them away first',
        3,
      );
    }
    if (policy === 'move-aside') result.movedAside += moveAside(parts, root, found);
    else for (const path of found) result.adopted += await adopt(parts, root, path);
  }
  return result;
}

/**
 * Names that somebody else put below the roots of a standby that has taken batches of its primary: what it holds is a
 * copy, so it starts all the same, and each name is noted (I2). They block a takeover until a comparison dealt with them.
 *
 * @returns how many.
 */
export async function noteForeign(parts: StartupParts, note: (path: BytePath, what: string) => void): Promise<number> {
  let count = 0;
  for (const root of parts.roots) {
    for await (const path of foreignNames(parts, root)) {
      count++;
      note(absolute(root, path), 'was written while the agent did not run');
    }
  }
  return count;
}

/** Moves foreign names to a directory beside history, with their paths kept readable. */
function moveAside(parts: StartupParts, root: Root, paths: readonly BytePath[]): number {
  const aside = `${root.staging}/moved-aside-${new Date(parts.clock.wallMs()).toISOString().replaceAll(':', '')}`;
  parts.files.mkdir(aside, 0o700);
  for (const path of paths) {
    let dir = aside;
    for (const part of path.split('/').slice(0, -1)) {
      dir = `${dir}/${part}`;
      if (!parts.files.lstat(dir)) parts.files.mkdir(dir, 0o700);
    }
    parts.files.rename(absolute(root, path), `${aside}/${path}`);
  }
  return paths.length;
}

/** Takes a foreign name and all below it into the index, with its content read; the comparison then sends what differs. */
async function adopt(parts: StartupParts, root: Root, path: BytePath): Promise<number> {
  const { files, index, kv, clock } = parts;
  const stat = files.lstat(absolute(root, path));
  if (!stat || stat.kind === 'other') return 0;
  const layer = index.begin();
  const slash = path.lastIndexOf('/');
  const parent = slash < 0 ? index.addRoot(layer, root.name) : index.dirAt(root.name, path.slice(0, slash));
  let adopted = 0;
  if (parent !== null) {
    const content =
      stat.kind === 'file'
        ? await digestOf(parts, absolute(root, path))
        : stat.kind === 'symlink'
          ? linkContent(parts, root, path)
          : noBytes;
    const xattrs = stat.kind === 'symlink' ? noBytes : xattrsDigest(files.xattrs(absolute(root, path)));
    index.put(layer, root.name, parent, path.slice(slash + 1), {
      ...entryOf(stat, content, xattrs, 0),
      ...(stat.kind === 'dir' ? { ino: 0n } : {}),
    });
    adopted = 1;
  }
  kv.commit(index.writesOf(layer));
  index.settle(layer);
  await kv.flushed();
  if (stat.kind !== 'dir') return adopted;
  const names: BytePath[] = [];
  for (const portion of files.list(absolute(root, path)) ?? []) {
    for (const { name, kind } of portion) if (!root.format.classify(joinPath(path, name), kind).ignored) names.push(name);
    await clock.yield();
  }
  for (const name of names) adopted += await adopt(parts, root, joinPath(path, name));
  await clock.yield();
  return adopted;
}

/** What the index keeps of a link: of one that leads out, which no primary sends, its text. */
function linkContent({ files, roots }: StartupParts, root: Root, path: BytePath): Buffer {
  const target = files.readlink(absolute(root, path));
  const canonical = canonicalTarget(files, roots, root, path, target) ?? target;
  return createHash('sha256').update(canonical, 'latin1').digest();
}

async function digestOf(parts: StartupParts, path: BytePath): Promise<Buffer> {
  const fd = parts.files.openRead(path);
  if (fd === null) return noBytes;
  try {
    const hash = createHash('sha256');
    const buffer = Buffer.allocUnsafe(1024 * 1024);
    for (let at = 0; ;) {
      const got = parts.files.read(fd, buffer, 0, buffer.length, at);
      if (got === 0) return hash.digest();
      hash.update(buffer.subarray(0, got));
      at += got;
      await parts.clock.yield();
    }
  } finally {
    parts.files.close(fd);
  }
}
