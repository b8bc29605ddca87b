import { joinPath, type BytePath } from '../../agent/platform/files.ts';
import type { SimFiles } from './sim-files.ts';
import { snapshotTree, type Ignores } from './tree.ts';

/** What one root holds at a moment: by path its facts, and how often it was touched in any way. */
export interface Moment {
  facts: ReadonlyMap<BytePath, string>;
  touched: ReadonlyMap<BytePath, string>;
}

export function momentOf(files: SimFiles, root: BytePath, ignores: Ignores, timesNs = 1n): Moment {
  const facts = new Map<BytePath, string>();
  const touched = new Map<BytePath, string>();
  for (const [path, text] of snapshotTree(files, root, ignores, timesNs)) {
    facts.set(path, text.replace(/ same as [^]*$/, ''));
    const touches = files.touchesOf(joinPath(root, path));
    if (touches !== null) touched.set(path, touches);
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
