import type { BytePath, Files } from '../../platform/files.ts';
import type { Root } from '../root.ts';
import { StepBlocked, type Step } from './steps.ts';

/**
 * Makes sure that what a step touches is below a root, and that the directories above it are there. That nobody puts a link in
 * their place afterwards is the business of the calls themselves (`Files`), which follow none (I11). `safe` holds what was
 * checked for this batch; only this process changes directories here, and what a step of ours changes is no link.
 *
 * @throws StepBlocked naming the directory; ELOOP when a link stands there: what belongs below it cannot be had for now.
 */
export function checkParents(files: Files, roots: readonly Root[], step: Step, safe: Set<BytePath>): void {
  checkPath(files, roots, step.path, safe);
  if (step.do === 'move') checkPath(files, roots, step.from, safe);
  // A directory that goes or moves takes what was known below it along.
  if (safe.has(step.path) || (step.do === 'move' && safe.has(step.from))) safe.clear();
}

function checkPath(files: Files, roots: readonly Root[], path: BytePath, safe: Set<BytePath>): void {
  const root = roots.find((r) => path === r.path || path.startsWith(`${r.path}/`));
  if (!root) throw new StepBlocked(path, 'a path is outside of every root');
  const parent = path.slice(0, path.lastIndexOf('/'));
  if (path === root.path || safe.has(parent)) return;
  for (let end = root.path.length; end !== -1 && end <= parent.length; end = nextSlash(parent, end)) {
    const dir = parent.slice(0, end);
    if (safe.has(dir)) continue;
    // The root's own path may be a link: the operator chose it.
    const kind = end > root.path.length ? files.lstat(dir)?.kind : 'dir';
    if (kind === 'symlink')
      throw Object.assign(new Error('a symbolic link stands where a directory belongs'), { code: 'ELOOP', path: dir });
    if (kind !== 'dir') throw new StepBlocked(dir, 'a directory on the way is missing or is no directory');
    safe.add(dir);
  }
}

function nextSlash(path: string, from: number): number {
  if (from >= path.length) return -1;
  const slash = path.indexOf('/', from + 1);
  return slash === -1 ? path.length : slash;
}
