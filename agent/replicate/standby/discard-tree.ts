import { baseName, errnoCode, type BytePath, type Files } from '../../platform/files.ts';
import { innerStagingName } from '../staging.ts';

/**
 * Moves a directory to `keep` (absolute), and with it all that lies in it. Where file systems are mounted in it, they stay where they
 * are: what is on one is moved to its own history, and its mount point is left, empty. Doing it again goes on where it ended.
 */
export function discardTree(files: Files, path: BytePath, keep: BytePath): void {
  const inside = files.mountPoints(path);
  if (inside.length === 0 && renamed(files, path, keep)) return;
  const points = new Set(inside.map((point) => `${path}/${point}`));
  // Whatever can be renamed is not a mount point, and with nothing mounted inside it would be gone by now.
  if (inside.length === 0) points.add(path);
  vacate(files, path, keep, { points, file: `${baseName(parentOf(keep))}/${baseName(keep)}` });
}

/** False when the path is itself a mount point. */
function renamed(files: Files, from: BytePath, to: BytePath): boolean {
  try {
    files.rename(from, to);
    return true;
  } catch (error) {
    if (errnoCode(error) !== 'EBUSY') throw error;
    return false;
  }
}

interface Vacating {
  points: Set<BytePath>;
  /** `history/17` or `stage/trash-17`: where it goes below each disk's own directory for staging. */
  file: BytePath;
}

function vacate(files: Files, dir: BytePath, keep: BytePath, vacating: Vacating): void {
  const { points, file } = vacating;
  const isPoint = points.has(dir) || isMountPoint(files, dir);
  const own = `${dir}/${innerStagingName}`;
  const to = isPoint ? `${own}/${file}` : keep;
  // Of the disk that is mounted here: the one place to which a rename leads.
  if (isPoint) for (const made of [own, parentOf(to)]) if (!files.lstat(made)) files.mkdir(made, 0o700);
  if (!files.lstat(to)) files.mkdir(to, 0o700);
  for (const { name, kind } of files.readdir(dir) ?? []) {
    const child = `${dir}/${name}`;
    if (name === innerStagingName || (isPoint && name === 'lost+found')) continue;
    const holds = kind === 'dir' && [...points].some((point) => point === child || point.startsWith(`${child}/`));
    if (holds) vacate(files, child, `${to}/${name}`, vacating);
    else files.rename(child, `${to}/${name}`);
  }
  // A mount point stays as long as something is mounted there, and so does what leads to it.
  if (isPoint) return;
  try {
    files.rmdir(dir);
  } catch (error) {
    if (errnoCode(error) !== 'ENOTEMPTY') throw error;
  }
}

function isMountPoint(files: Files, dir: BytePath): boolean {
  return files.mountPoints(parentOf(dir)).includes(baseName(dir));
}

function parentOf(path: BytePath): BytePath {
  return path.slice(0, path.lastIndexOf('/'));
}
