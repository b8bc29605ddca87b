import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { realFiles } from '../../agent/platform/real-files.ts';

/**
 * All that replication keeps of a tree, a line a path: kind, mode, owner, content, mtime in nanoseconds, extended
 * attributes, link target, and which names are one file. Paths are byte strings (latin1). What is neither file,
 * directory nor symbolic link is left out.
 *
 * @param options.keep false for paths that are not compared.
 */
export function exactTree(root: string, options: { keep?: (path: string) => boolean; xattrs?: boolean } = {}): Map<string, string> {
  const tree = new Map<string, string>();
  const firstName = new Map<bigint, string>();
  const walk = (dir: string): void => {
    const names = readdirSync(bytes(dir === '' ? root : `${root}/${dir}`), { encoding: 'buffer' }).map((name) => name.toString('latin1'));
    for (const name of names.sort()) {
      const path = dir === '' ? name : `${dir}/${name}`;
      if (options.keep?.(path) === false) continue;
      const at = `${root}/${path}`;
      const stat = lstatSync(bytes(at), { bigint: true });
      const owner = `${stat.uid}:${stat.gid}`;
      const mode = (stat.mode & 0o7777n).toString(8);
      const xattrs = options.xattrs === false || stat.isSymbolicLink() ? '' : showXattrs(at);
      if (stat.isDirectory()) {
        tree.set(path, `dir ${mode} ${owner} ${xattrs}`);
        walk(path);
      } else if (stat.isSymbolicLink()) {
        tree.set(path, `symlink ${owner} ${stat.mtimeNs} -> ${readlinkSync(bytes(at), { encoding: 'buffer' }).toString('latin1')}`);
      } else if (stat.isFile()) {
        const first = firstName.get(stat.ino) ?? path;
        firstName.set(stat.ino, first);
        const content = createHash('sha256')
          .update(readFileSync(bytes(at)))
          .digest('hex');
        tree.set(
          path,
          `file ${mode} ${owner} ${stat.size} ${content} ${stat.mtimeNs} ${xattrs} ${stat.nlink > 1n ? `one with ${first}` : ''}`,
        );
      }
    }
  };
  walk('');
  return tree;
}

/** What two trees differ in, at most `most` lines; empty when they are the same. */
export function treeDifferences(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>, most = 20): string[] {
  const found: string[] = [];
  for (const path of new Set([...a.keys(), ...b.keys()])) {
    if (a.get(path) === b.get(path)) continue;
    found.push(
      `${JSON.stringify(path.length > 120 ? `${path.slice(0, 50)}...${path.slice(-50)}` : path)}: ${a.get(path) ?? 'missing'} | ${b.get(path) ?? 'missing'}`,
    );
    if (found.length >= most) break;
  }
  return found;
}

/** A byte path for Node's file functions. */
export function bytes(path: string): Buffer {
  return Buffer.from(path, 'latin1');
}

function showXattrs(path: string): string {
  const found = realFiles.xattrs(path);
  return found
    ? [...found]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, value]) => `${name}=${value.toString('hex')}`)
        .join(',')
    : '';
}
