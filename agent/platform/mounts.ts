import type { BytePath } from './files.ts';

/** A place where a file system is attached, from /proc/self/mountinfo (proc_pid_mountinfo(5)). */
export interface Mount {
  /** Number of the mount, used again after it is gone. */
  id: number;
  /** `major:minor`; of btrfs another number than stat(2) gives. */
  device: string;
  /** Absolute path, as the kernel names it. */
  at: BytePath;
  type: string;
  /** For example `/dev/sda1`, `server:/export` or `tmpfs`. */
  source: BytePath;
  writable: boolean;
  /**
   * The file system can be written, but not by way of this mount: what a sandbox of systemd makes of a mount, or a bind mount
   * that was made so.
   */
  readOnlyHere: boolean;
}

/**
 * Reads the text (latin1) of /proc/self/mountinfo. What was mounted last stands first, because it hides what is below
 * the same place.
 *
 * Each line counts by itself: the same device is often attached at several places, here writable and there not, and many
 * file systems in memory bear one name.
 */
export function parseMountInfo(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    // Optional fields stand before the hyphen.
    const hyphen = fields.indexOf('-', 6);
    const [id, , device, , at, options] = fields;
    const [type, source, superOptions] = hyphen < 0 ? [] : fields.slice(hyphen + 1);
    if (id === undefined || device === undefined || at === undefined || options === undefined || type === undefined) continue;
    const [here, everywhere] = [options, superOptions ?? ''].map((list) => list.split(',').includes('ro'));
    mounts.push({
      id: Number(id),
      device,
      at: unescaped(at),
      type,
      source: unescaped(source ?? ''),
      writable: here !== true && everywhere !== true,
      readOnlyHere: here === true && everywhere !== true,
    });
  }
  return mounts.toReversed();
}

/** Blanks, tabs, line ends and backslashes are written as three octal digits. */
function unescaped(field: string): BytePath {
  return field.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** Mount points strictly below a directory, relative to it, each once; a directory's own comes before those inside it. */
export function mountPointsBelow(mounts: readonly Mount[], directory: BytePath): BytePath[] {
  const prefix = directory === '/' ? '/' : `${directory}/`;
  const below = mounts.filter(({ at }) => at.startsWith(prefix) && at !== directory).map(({ at }) => at.slice(prefix.length));
  return [...new Set(below)].toSorted();
}
