import { joinPath, type BytePath, type Files } from '../../agent/platform/files.ts';
import { snapshotTree, type Ignores } from './tree.ts';

/** What one root holds at a moment: by path its facts, and when it was last touched in any way. */
export interface Moment {
  facts: ReadonlyMap<BytePath, string>;
  touched: ReadonlyMap<BytePath, bigint>;
}

export function momentOf(files: Files, root: BytePath, ignores: Ignores): Moment {
  const facts = new Map<BytePath, string>();
  const touched = new Map<BytePath, bigint>();
  for (const [path, text] of snapshotTree(files, root, ignores)) {
    facts.set(path, text.replace(/ same as [^]*$/, ''));
    const stat = files.lstat(joinPath(root, path));
    if (stat) touched.set(path, stat.ctimeNs);
  }
  return { facts, touched };
}

/**
 * What `wait` confirmed is on the standby (I1): everything that was there when it was called and has not been touched
 * since. One line for each path that is missing or differs.
 */
export function missingConfirmed(before: Moment, now: Moment, copy: Moment): string[] {
  const lines: string[] = [];
  for (const [path, facts] of before.facts) {
    if (now.facts.get(path) !== facts || now.touched.get(path) !== before.touched.get(path)) continue;
    const there = copy.facts.get(path);
    // A directory's attributes may have changed and changed back meanwhile.
    if (there === undefined || (there !== facts && !facts.startsWith('dir')))
      lines.push(`${path} was confirmed as ${facts}, and is ${there ?? 'not there'} on the standby`);
  }
  return lines;
}
