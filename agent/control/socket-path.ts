import { closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';

/** Longest path of a Unix socket on Linux: sun_path less its NUL. */
const socketPathBytesMax = 107;

/**
 * A path by which `name` in `dir` can be bound or connected to, however long the directory's own path is: Linux
 * resolves it through the open directory. `release` is called when the socket is closed.
 */
export function shortSocketPath(dir: string, name: string): { path: string; release(): void } {
  const path = join(dir, name);
  if (Buffer.byteLength(path) <= socketPathBytesMax) return { path, release() {} };
  const fd = openSync(dir, constants.O_RDONLY | constants.O_DIRECTORY);
  return { path: `/proc/self/fd/${fd}/${name}`, release: () => closeSync(fd) };
}
