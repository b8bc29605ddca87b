import { resolve } from 'node:path';

/** Something wrong with the file, at the path of a key. */
export interface Problem {
  path: (string | number)[];
  what: string;
  remedy?: string;
}

interface Places {
  state: string;
  roots: { name: string; path: string; staging?: string | undefined }[];
}

/**
 * Judges where roots, staging directories and the state directory lie: no root in another, the state directory in no
 * root and no root in it. Otherwise the agent would replicate its own journal, or a file twice.
 */
export function checkPlaces(form: Places, real: (path: string) => string): Problem[] {
  const problems: Problem[] = [];
  const state = real(resolve(form.state));
  const roots = form.roots.map((root) => ({
    name: root.name,
    path: real(resolve(root.path)),
    staging: root.staging === undefined ? null : real(resolve(root.staging)),
  }));
  roots.forEach((root, i) => {
    const at = (key: string): (string | number)[] => ['roots', i, key];
    if (root.path === '/') {
      problems.push({
        path: at('path'),
        what: 'the whole file system cannot be a root',
        remedy: 'Name the directory that holds the mail.',
      });
      return;
    }
    const before = roots.slice(0, i);
    if (before.some((other) => other.name === root.name))
      problems.push({
        path: at('name'),
        what: `the name "${root.name}" is used twice`,
        remedy: 'Give each root a name of its own; the same names on both nodes.',
      });
    const other = before.find((o) => within(o.path, root.path) || within(root.path, o.path));
    if (other) {
      const how = other.path === root.path ? 'is the same directory as' : within(other.path, root.path) ? 'lies inside' : 'holds';
      problems.push({
        path: at('path'),
        what: `${root.path} ${how} root "${other.name}" (${other.path})`,
        remedy: 'Name only the outer directory as a root, or two that do not overlap.',
      });
    }
    if (within(root.path, state))
      problems.push({
        path: ['state'],
        what: `the state directory ${state} lies inside root "${root.name}" (${root.path})`,
        remedy: 'Put the state directory elsewhere, for example /var/lib/mailtwin.',
      });
    else if (within(state, root.path))
      problems.push({
        path: at('path'),
        what: `${root.path} lies inside the state directory ${state}`,
        remedy: 'Put the state directory elsewhere, for example /var/lib/mailtwin.',
      });
    const holder = root.staging === null ? undefined : roots.find((r) => within(r.path, root.staging ?? ''));
    if (holder)
      problems.push({
        path: at('staging'),
        what: `the staging directory ${root.staging} lies inside root "${holder.name}" (${holder.path})`,
        remedy: 'Name a directory outside of all roots, on the same file system.',
      });
  });
  return problems;
}

/** True when `inner` is `outer` or lies below it. Both absolute and normal. */
function within(outer: string, inner: string): boolean {
  return inner === outer || inner.startsWith(outer.endsWith('/') ? outer : `${outer}/`);
}
