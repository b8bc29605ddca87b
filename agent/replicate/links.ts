import { linkStaysInside } from '../mailstore/links.ts';
import { errnoCode, type BytePath, type Files, type Stat } from '../platform/files.ts';
import type { Root } from './root.ts';

/**
 * Where a symbolic link leads, in a form that both nodes understand although the paths of their roots differ:
 *
 * - a relative text that stays inside its root: as it is
 * - `/REST`: REST below the link's own root, however the text on the disk reaches it
 * - `//NAME/REST`: REST below the root of that name
 *
 * This form travels, and its digest is the link's content in the index, so that a comparison and an audit agree on
 * either node. What counts is the text as far as the root's own directory: links on the way to that are followed, links
 * on the way inside are not, because each of those is replicated or named as left out by itself.
 */
export type CanonicalTarget = BytePath;

/** The canonical form of the target of a link at `path`; null when it leads out of every root. */
export function canonicalTarget(
  files: Files,
  roots: readonly Root[],
  root: Root,
  path: BytePath,
  target: BytePath,
): CanonicalTarget | null {
  if (linkStaysInside(path, target)) return target;
  if (target === '' || target.includes('\0')) return null;
  const slash = path.lastIndexOf('/');
  const from = slash < 0 ? root.path : `${root.path}/${path.slice(0, slash)}`;
  const whole = target.startsWith('/') ? target : `${from}/${target}`;
  const own = [root, ...roots.filter((other) => other !== root)].map((each) => ({
    root: each,
    stat: lstatOrNull(files, `${each.path}/.`),
  }));
  for (let end = 0; end !== -1; end = nextEnd(whole, end)) {
    const stat = lstatOrNull(files, `${whole.slice(0, end)}/.`);
    // What is not there leads nowhere that could be a root.
    if (stat === null) return null;
    const reached = own.find((each) => each.stat !== null && each.stat.ino === stat.ino && each.stat.dev === stat.dev);
    if (!reached) continue;
    const rest = whole.slice(end).replace(/^\/+/, '');
    if (restStaysInside(rest)) return reached.root === root ? `/${rest}` : `//${reached.root.name}/${rest}`;
  }
  return null;
}

/**
 * The text that a link at `path` of this node gets for a canonical target; null when that would lead out of every root
 * (I11). A link to a root that this node does not have leads out, too.
 */
export function targetHere(roots: readonly Root[], root: Root, path: BytePath, canonical: CanonicalTarget): BytePath | null {
  if (!canonical.startsWith('/')) return linkStaysInside(path, canonical) ? canonical : null;
  let reached: Root | undefined = root;
  let rest = canonical.slice(1);
  if (rest.startsWith('/')) {
    const slash = rest.indexOf('/', 1);
    const name = rest.slice(1, slash < 0 ? undefined : slash);
    reached = roots.find((each) => each.name === name);
    rest = slash < 0 ? '' : rest.slice(slash + 1);
  }
  if (!reached || !restStaysInside(rest)) return null;
  return rest === '' ? reached.path : `${reached.path}/${rest}`;
}

function restStaysInside(rest: BytePath): boolean {
  return rest === '' || linkStaysInside('link', rest);
}

/** Where the next component of a path ends; -1 after the last one. */
function nextEnd(path: BytePath, end: number): number {
  let at = end;
  while (path[at] === '/') at++;
  if (at >= path.length) return -1;
  const slash = path.indexOf('/', at);
  return slash < 0 ? path.length : slash;
}

/** What cannot be looked at on the way is none of the roots. */
function lstatOrNull(files: Files, path: BytePath): Stat | null {
  try {
    return files.lstat(path);
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return null;
  }
}
