/** A place where a file system is attached. */
export interface Mount {
  at: string;
  type: string;
  writable: boolean;
}

/**
 * Reads /proc/self/mounts (fstab(5)). What was mounted last stands first, because it hides what is below the same place.
 *
 * Each line counts by itself: the same device is often attached at several places, here writable and there not, and many
 * file systems in memory bear one name.
 */
export function readMounts(text: string): Mount[] {
  return text
    .split('\n')
    .map((line) => line.split(' '))
    .flatMap(([, at, type, options]) =>
      at === undefined || type === undefined || options === undefined
        ? []
        : [{ at: unescaped(at), type, writable: !options.split(',').includes('ro') }],
    )
    .toReversed();
}

/** Blanks and backslashes are written as three octal digits. */
function unescaped(path: string): string {
  return path.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
