import { createHash } from 'node:crypto';
import { isOwnName } from '../../agent/replicate/staging.ts';
import { joinPath, type BytePath, type Files } from '../../agent/platform/files.ts';
import type { SimDisk } from './sim-disk.ts';

/** Every content that any file below a directory ever had: a replica that shows another one shows half a file (I7). */
export class KnownContents {
  readonly #digests = new Set<string>();

  constructor(disk: SimDisk, files: Files, root: BytePath) {
    disk.listeners.add((event) => {
      if (event.kind !== 'path' || !event.path.startsWith(`${root}/`)) return;
      const read = files.readFile(event.path, Infinity);
      if (read) this.#digests.add(digest(read.data));
    });
  }

  /** One line for each file below `root` with a content that was never there. */
  strangers(files: Files, root: BytePath): string[] {
    const lines: string[] = [];
    for (const { name, kind } of files.readdir(root) ?? []) {
      const path = joinPath(root, name);
      // The agent's own, where the root is the top of a disk or has one inside.
      if (isOwnName(name)) continue;
      if (kind === 'dir') lines.push(...this.strangers(files, path));
      if (kind !== 'file') continue;
      const read = files.readFile(path, Infinity);
      if (read && !this.#digests.has(digest(read.data)))
        lines.push(`${path} has ${read.data.length} bytes that it never had on the primary`);
    }
    return lines;
  }
}

function digest(data: Buffer): string {
  return createHash('sha1').update(data).digest().toString('latin1');
}
