import type { Change } from '../../journal/changes.ts';
import { parentPath } from '../../platform/files.ts';

/** So many changes overtake; with files of any size that go inside a batch they are half of one. */
const freshMax = 16;
/** Of so many of the latest changes. */
const latestMax = 20_000;

/**
 * The changes that the next batch looks at, at most `most`: the oldest ones, behind the latest one of each of a few
 * directories. When thousands of files wait (a restore, a store that was moved in), a letter to somebody else does not wait for
 * all of them; and those still get most of each batch, so that nothing waits for ever. Pure.
 */
export function freshFirst(ready: readonly Change[], most: number): Change[] {
  if (ready.length <= most) return [...ready];
  const dirs = new Set<string>();
  const fresh = new Set<Change>();
  for (let i = ready.length - 1; i >= Math.max(0, ready.length - latestMax) && fresh.size < freshMax; i--) {
    const change = ready[i];
    if (!change || change.kind === 'scan' || change.deferrals > 0) continue;
    const dir = `${change.root}\0${parentPath(change.path)}`;
    if (dirs.has(dir)) continue;
    dirs.add(dir);
    fresh.add(change);
  }
  const rest = ready.slice(0, most).filter((change) => !fresh.has(change));
  return [...fresh, ...rest].slice(0, most);
}
