import { errnoCode, type BytePath, type Files } from './files.ts';

/** Removes a path and all below it, at once; missing is fine. For what is known to be small. */
export function removeTree(files: Files, path: BytePath): void {
  const stat = files.lstat(path);
  if (!stat) return;
  try {
    if (stat.kind !== 'dir') return files.unlink(path);
    for (const entry of files.readdir(path) ?? []) removeTree(files, `${path}/${entry.name}`);
    files.rmdir(path);
  } catch (error) {
    if (errnoCode(error) !== 'ENOENT') throw error;
  }
}

/** Removals between two pauses: each is a system call or two. */
const betweenPauses = 16;

/**
 * The same in slices, whatever the size (I24): `pause` is called often. Doing it again goes on where it ended.
 *
 * @throws an errno error when something of it cannot be removed, and what `pause` throws.
 */
export async function removeTreeInSlices(files: Files, path: BytePath, pause: () => Promise<void>): Promise<void> {
  let removed = 0;
  const unlessGone = (remove: () => void): void => {
    try {
      remove();
    } catch (error) {
      if (errnoCode(error) !== 'ENOENT') throw error;
    }
  };
  const removeDir = async (dir: BytePath): Promise<void> => {
    // What a directory gives while it is emptied may pass over some of it.
    for (let isEmpty = false; !isEmpty;) {
      isEmpty = true;
      for (const portion of files.list(dir) ?? [])
        for (const { name, kind } of portion) {
          isEmpty = false;
          if (kind === 'dir') await removeDir(`${dir}/${name}`);
          else unlessGone(() => files.unlink(`${dir}/${name}`));
          if (++removed % betweenPauses === 0) await pause();
        }
    }
    unlessGone(() => files.rmdir(dir));
  };
  const stat = files.lstat(path);
  if (stat?.kind === 'dir') await removeDir(path);
  else if (stat) unlessGone(() => files.unlink(path));
}
