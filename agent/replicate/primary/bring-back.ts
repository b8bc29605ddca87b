import { createHash } from 'node:crypto';
import type { MessageOf } from '../../../protocol/messages.ts';
import { OperatorError } from '../../platform/errors.ts';
import { displayPath, errnoCode, holding, joinPath, type BytePath, type Files, type Stat, type Xattrs } from '../../platform/files.ts';
import { absolute, type Root } from '../root.ts';
import { innerStagingName } from '../staging.ts';
import type { PrimaryParts } from './context.ts';
import { splitPath } from './context.ts';
import type { DamagedFile } from './damage.ts';
import { notADirectoryAbove } from './scan.ts';

/** Asks the standby for a part of what it has of a file; null when the connection ended. */
export type AskContent = (file: DamagedFile, offset: number) => Promise<MessageOf<'contentPart'> | null>;

/** What was put back into its place. */
export interface BroughtBack {
  bytes: number;
  /** Names that the file has, relative to its root. */
  names: BytePath[];
}

const copyName = 'brought-back';

/**
 * Brings the good version of a damaged file back from the standby: made beside it, proved against what the file held when it was
 * read last, durable, and then renamed into its place under each of its names. A mail server that has the damaged file open goes on
 * with that one until it opens it again.
 *
 * @throws OperatorError when there is no good version, or the file is another one by now; nothing was changed then.
 */
export async function bringBack(p: PrimaryParts, file: DamagedFile, ask: AskContent): Promise<BroughtBack> {
  const root = p.roots.find(({ name }) => name === file.root);
  const { dir } = splitPath(file.path);
  if (!root || notADirectoryAbove(p.files, root, file.path) !== null || !isStill(p.files, root, file)) throw changed(file);
  const own = joinPath(absolute(root, dir), innerStagingName);
  const staged = `${own}/${copyName}`;
  let isMade = false;
  try {
    clean(p.files, own, staged);
    p.files.mkdir(own, 0o700);
    isMade = true;
    const like = holding(p.files, absolute(root, file.path), (fd, stat) =>
      isOf(file, stat) ? { stat, xattrs: p.files.xattrsOpen(fd) } : null,
    );
    if (!like) throw changed(file);
    await receive(p.files, file, like, staged, ask);
    await p.files.syncfs(staged);
    return await place(p, root, file, own, staged);
  } catch (error) {
    const code = errnoCode(error);
    if (code === undefined || error instanceof OperatorError) throw error;
    throw new OperatorError(
      'restore-failed',
      `${nameOf(file)} cannot be written: ${code}`,
      'look at the disk of this node and its free space; the damaged file is as it was',
    );
  } finally {
    if (isMade) clean(p.files, own, staged);
  }
}

async function receive(
  files: Files,
  file: DamagedFile,
  { stat, xattrs }: { stat: Stat; xattrs: Xattrs | null },
  staged: BytePath,
  ask: AskContent,
): Promise<void> {
  const hash = createHash('sha256');
  const fd = files.create(staged);
  try {
    let bytes = 0;
    for (;;) {
      const part = await ask(file, bytes);
      if (part === null)
        throw new OperatorError(
          'disconnected',
          'the connection to the standby ended',
          'run it again when `mailtwin status` shows the standby connected',
        );
      if (part.error !== null) throw noGood(file, part.error);
      if (part.bytes.length === 0) break;
      if (bytes + part.bytes.length > file.size) throw noGood(file, 'what the standby has is longer');
      files.write(fd, part.bytes, bytes);
      hash.update(part.bytes);
      bytes += part.bytes.length;
    }
    const isGood = bytes === file.size && hash.digest().subarray(0, file.content.length).equals(file.content);
    if (!isGood) throw noGood(file, 'what the standby has is something else');
    const { uid, gid, mode, mtimeNs } = stat;
    files.setMetaOpen(fd, { uid, gid, mode, mtimeNs, ...(xattrs ? { xattrs } : {}) });
    await files.fdatasync(fd);
  } finally {
    files.close(fd);
  }
}

/** Renames the copy over the damaged file, and over its other names. */
async function place(p: PrimaryParts, root: Root, file: DamagedFile, own: BytePath, staged: BytePath): Promise<BroughtBack> {
  const { files, index, changes, clock } = p;
  const number = index.root(root.name);
  const others = number === null ? [] : index.namesOf(number, file.ino).map(({ dir, name }) => joinPath(index.pathOf(dir).path, name));
  const names = [file.path, ...others.filter((path) => path !== file.path)];
  // Nothing gives way from here on.
  if (!isStill(files, root, file)) throw changed(file);
  const more = names.slice(1).filter((path) => files.lstat(absolute(root, path))?.ino === file.ino);
  for (const [i, path] of more.entries()) {
    files.link(staged, `${own}/${i}`);
    files.rename(`${own}/${i}`, absolute(root, path));
  }
  files.rename(staged, absolute(root, file.path));
  for (const path of [file.path, ...more]) changes.record(root.name, path, 'path', clock.monotonicMs());
  p.damage.look(files, p.roots, index);
  await files.syncfs(absolute(root, file.path));
  return { bytes: file.size, names: [file.path, ...more] };
}

/** What an earlier try left goes. */
function clean(files: Files, own: BytePath, staged: BytePath): void {
  if (files.lstat(own)?.kind !== 'dir') return;
  for (const { name } of files.readdir(own) ?? []) if (`${own}/${name}` === staged || /^\d+$/.test(name)) files.unlink(`${own}/${name}`);
  if (files.readdir(own)?.length === 0) files.rmdir(own);
}

function isStill(files: Files, root: Root, file: DamagedFile): boolean {
  const stat = files.lstat(absolute(root, file.path));
  return stat !== null && isOf(file, stat);
}

function isOf(file: DamagedFile, { ino, size, mtimeNs }: Stat): boolean {
  return ino === file.ino && size === file.size && mtimeNs === file.mtimeNs;
}

function nameOf({ root, path }: DamagedFile): string {
  return displayPath(joinPath(root, path));
}

function changed(file: DamagedFile): OperatorError {
  return new OperatorError(
    'restore-changed',
    `${nameOf(file)} is another file than the damaged one by now; nothing was changed`,
    'run `mailtwin scrub`: what is still damaged is named there',
  );
}

function noGood(file: DamagedFile, why: string): OperatorError {
  return new OperatorError(
    'no-good-version',
    `the good version of ${nameOf(file)} cannot be had: ${why}; nothing was changed`,
    'bring it back from a backup, or keep what there is',
  );
}
