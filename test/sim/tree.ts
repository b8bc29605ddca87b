import { joinPath, type BytePath, type Files } from '../../agent/platform/files.ts';
import { digestOf } from './mail-history.ts';

/** A tree as it must be on both sides: by path, everything that counts, as text. */
export type TreeSnapshot = ReadonlyMap<BytePath, string>;

/** Names that are never replicated, as paths relative to the root. */
export type Ignores = (path: BytePath) => boolean;

/** Locks, temporary files and what is being deleted, in a Maildir. */
export function ignoresOfMaildir(path: BytePath): boolean {
  return path.split('/').some((name) => name === 'tmp' || /\.lock|\.tmp$|\.newlock$|^\.temp\.|^\.\.DOVECOT-TRASH/.test(name));
}

/** Takes a whole tree: kind, mode, owner, mtime, content, link target, extended attributes, and which names are one file. Times in units of `timesNs`. */
export function snapshotTree(files: Files, root: BytePath, ignores: Ignores, timesNs = 1n): TreeSnapshot {
  const snapshot = new Map<BytePath, string>();
  const firstNames = new Map<string, BytePath>();
  const walk = (dir: BytePath): void => {
    const entries = files.readdir(joinPath(root, dir)) ?? [];
    entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const { name } of entries) {
      const path = joinPath(dir, name);
      if (ignores(path)) continue;
      const full = joinPath(root, path);
      const stat = files.lstat(full)!;
      const facts = [stat.kind, stat.mode.toString(8), `${stat.uid}:${stat.gid}`];
      // A directory's mtime is the time of its last change here, which means nothing over there.
      if (stat.kind !== 'dir') facts.push(`mtime ${stat.mtimeNs / timesNs}`);
      if (stat.kind === 'symlink') facts.push(`-> ${files.readlink(full)}`);
      if (stat.kind !== 'symlink')
        for (const [key, value] of [...(files.xattrs(full) ?? [])].sort(([a], [b]) => (a < b ? -1 : 1)))
          facts.push(`${key}=${value.toString('hex')}`);
      if (stat.kind === 'file') {
        facts.push(`${stat.size} bytes`, digestOf(files.readFile(full, Infinity)!.data));
        // Only names in the tree count: the standby's history may hold another one outside.
        const first = firstNames.get(`${stat.dev}:${stat.ino}`);
        if (first !== undefined) facts.push(`same as ${first}`);
        else if (stat.nlink > 1) firstNames.set(`${stat.dev}:${stat.ino}`, path);
      }
      snapshot.set(path, facts.join(' '));
      if (stat.kind === 'dir') walk(path);
    }
  };
  walk('');
  return snapshot;
}

/** One line for each path that differs, except those that may; empty when the trees are the same. */
export function compareTrees(primary: TreeSnapshot, replica: TreeSnapshot, mayDiffer: (path: BytePath) => boolean = () => false): string[] {
  const lines: string[] = [];
  for (const [path, facts] of primary) {
    if (replica.get(path) !== facts && mayDiffer(path)) continue;
    const there = replica.get(path);
    if (there === undefined) lines.push(`${path}: missing on the replica (${facts})`);
    else if (there !== facts) lines.push(`${path}: ${facts}; on the replica ${there}`);
  }
  for (const [path, facts] of replica) if (!primary.has(path) && !mayDiffer(path)) lines.push(`${path}: only on the replica (${facts})`);
  return lines;
}
