import { defaultExcludes, derivedExcludes } from '../../protocol/exclude.ts';
import type { BytePath, FileKind } from '../platform/files.ts';
import type { ExcludedBy, MailstoreFormat } from './format.ts';

interface Rule {
  pattern: string;
  negated: boolean;
  dirOnly: boolean;
  /** A name without wildcards, which counts in every directory; the common case. */
  name: string | null;
  regex: RegExp;
}

/**
 * A format of which paths are left out by patterns in the style of .gitignore (git 2.47, gitignore(5)): the last pattern
 * that fits decides, `!` takes a path in again unless a directory above it is left out, a pattern with a slash before its
 * end counts from the root, one with a slash at its end counts for directories. Pure; paths and patterns are byte strings.
 */
export function excluding(format: MailstoreFormat, patterns: readonly string[]): MailstoreFormat {
  const matcher = new Matcher(format.name, patterns);
  return Object.assign(Object.create(format) as MailstoreFormat, {
    excludes: patterns,
    excluded: (path: BytePath, kind: FileKind | null) => matcher.match(path, kind),
    classify: (path: BytePath, kind: FileKind | null) => {
      const class_ = format.classify(path, kind);
      return class_.ignored || matcher.match(path, kind) === null ? class_ : { ...class_, ignored: true };
    },
  });
}

class Matcher {
  readonly #rules: readonly Rule[];
  readonly #format: MailstoreFormat['name'];
  /** Names come directory by directory. */
  #dir: BytePath = '';
  #above: ExcludedBy | null = null;

  constructor(format: MailstoreFormat['name'], patterns: readonly string[]) {
    this.#format = format;
    this.#rules = patterns.map(parse);
  }

  /** With kind null (a name that is gone) a pattern for directories does not fit the name itself. */
  match(path: BytePath, kind: FileKind | null): ExcludedBy | null {
    if (this.#rules.length === 0) return null;
    const slash = path.lastIndexOf('/');
    if (slash < 0 ? this.#dir !== '' : this.#dir.length !== slash || !path.startsWith(this.#dir)) {
      this.#dir = slash < 0 ? '' : path.slice(0, slash);
      this.#above = this.#aboveOf(this.#dir);
    }
    return this.#above ?? this.#own(path, path.slice(slash + 1), kind === 'dir');
  }

  #aboveOf(dir: BytePath): ExcludedBy | null {
    if (dir === '') return null;
    for (let end = dir.indexOf('/'); ; end = dir.indexOf('/', end + 1)) {
      const above = end === -1 ? dir : dir.slice(0, end);
      const found = this.#own(above, above.slice(above.lastIndexOf('/') + 1), true);
      if (found || end === -1) return found;
    }
  }

  #own(path: BytePath, name: string, isDir: boolean): ExcludedBy | null {
    for (let i = this.#rules.length - 1; i >= 0; i--) {
      const rule = this.#rules[i] as Rule;
      if ((rule.dirOnly && !isDir) || (rule.name === null ? !rule.regex.test(path) : rule.name !== name)) continue;
      if (rule.negated) return null;
      const { pattern } = rule;
      const defaults: readonly string[] = defaultExcludes[this.#format];
      return { path, pattern, derived: derivedExcludes.includes(pattern), byDefault: defaults.includes(pattern) };
    }
    return null;
  }
}

function parse(pattern: string): Rule {
  const negated = pattern.startsWith('!');
  let glob = negated ? pattern.slice(1) : pattern;
  const dirOnly = glob.endsWith('/');
  if (dirOnly) glob = glob.slice(0, -1);
  const isAnchored = glob.includes('/');
  if (glob.startsWith('/')) glob = glob.slice(1);
  const name = isAnchored || /[*?[\\]/.test(glob) ? null : glob;
  return { pattern, negated, dirOnly, name, regex: new RegExp(`${isAnchored ? '^' : '^(?:.*/)?'}${regexOf(glob)}$`, 's') };
}

function regexOf(glob: string): string {
  let out = '';
  for (let i = 0; i < glob.length;) {
    const rest = glob.slice(i);
    if (rest.startsWith('**/') && (i === 0 || glob[i - 1] === '/')) {
      out += '(?:.*/)?';
      i += 3;
    } else if (rest === '**' && (i === 0 || glob[i - 1] === '/')) {
      out += '.+';
      i += 2;
    } else if (glob[i] === '*') {
      while (glob[i] === '*') i++;
      out += '[^/]*';
    } else if (glob[i] === '?') {
      out += '[^/]';
      i++;
    } else if (glob[i] === '[') {
      const set = /^\[([!^]?)(\]?[^\]/]*)\]/.exec(rest);
      out += set ? setOf(set[1] !== '', set[2] ?? '') : '\\[';
      i += set ? set[0].length : 1;
    } else {
      if (glob[i] === '\\' && i + 1 < glob.length) i++;
      out += (glob[i] as string).replace(/[\\^$.*+?()[\]{}|/-]/, '\\$&');
      i++;
    }
  }
  return out;
}

/** A set of characters; a range that ends before it begins fits nothing, as in git. */
function setOf(isNegated: boolean, characters: string): string {
  let inside = '';
  for (let i = 0; i < characters.length; i++) {
    const first = characters.charCodeAt(i);
    const isRange = characters[i + 1] === '-' && i + 2 < characters.length;
    const last = isRange ? characters.charCodeAt(i + 2) : first;
    if (first <= last) inside += `\\x${hex(first)}-\\x${hex(last)}`;
    if (isRange) i += 2;
  }
  if (inside === '') return isNegated ? '[^/]' : '(?!)';
  return `(?!/)[${isNegated ? '^' : ''}${inside}]`;
}

function hex(code: number): string {
  return code.toString(16).padStart(2, '0');
}
