import { metaKey } from '../../journal/keys.ts';
import type { Clock } from '../../platform/clock.ts';
import { baseName, displayPath, parentPath, type BytePath, type Files } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import { foldKey } from '../one-name.ts';
import type { Root } from '../root.ts';
import { innerStagingName } from '../staging.ts';
import { ExactFiles } from './exact-files.ts';

/** As much of the other name as a refusal holds. */
const shownMax = 90;

/** Why a name cannot be had beside another one, for people; no longer than a refusal may be. */
export function takenBy(other: BytePath): string {
  const shown = displayPath(other);
  return `this file system takes its name and ${shown.length > shownMax ? `${shown.slice(0, shownMax)}...` : shown} for one, and that is there`;
}

export interface FoldingParts {
  files: Files;
  kv: Kv;
  clock: Clock;
  roots: readonly Root[];
}

/**
 * Which roots of this standby lie on a file system that takes several names for one, as those do that know no case. What the primary
 * has under two such names cannot be here under both: the one that is here stays, and the other one is in doubt (I20). Once that is
 * known of a root, all who work there see its files by their very names alone (`files`). Until then each new name was free when it
 * was made, so that none leads to another one's file: the first that does not find its place tells.
 */
export class Folding {
  /** What all of this standby works with. */
  readonly files: Files;
  readonly #p: FoldingParts;
  readonly #exact: ExactFiles;
  /** By directory for staging. */
  readonly #folds = new Map<BytePath, boolean>();
  /** Roots (name) in which names fall together. Durable: a directory may do so where the one for staging does not. */
  readonly #found: Set<string>;
  #redoing = false;

  constructor(parts: FoldingParts) {
    this.#p = parts;
    this.#found = new Set(parts.roots.filter(({ name }) => parts.kv.get(keyOf(name)) !== undefined).map(({ name }) => name));
    this.#exact = new ExactFiles(
      parts.files,
      (path) => this.#rootOf(path),
      () => parts.clock.monotonicMs(),
    );
    this.files = this.#exact.files;
  }

  /** It was met below this root. */
  found({ name }: Root): void {
    if (this.#found.has(name)) return;
    this.#found.add(name);
    this.#p.kv.commit([[keyOf(name), Buffer.from([1])]]);
  }

  /** Whether names may fall together where things come from this directory for staging. */
  mayFold(root: Root, staging: BytePath): boolean {
    let folds = this.#folds.get(staging);
    if (folds === undefined) {
      folds = this.#p.files.lstat(`${staging}/STAGE`) !== null;
      this.#folds.set(staging, folds);
    }
    if (folds) this.found(root);
    return this.#found.has(root.name);
  }

  /** Does what was begun before and may be half done: power may have taken back what is known of a root. */
  whileRedoing<T>(work: () => T): T {
    this.#redoing = true;
    try {
      return work();
    } finally {
      this.#redoing = false;
    }
  }

  /** What a file system calls what it finds at a path (absolute), where that is another name; null where nothing has to give way. */
  otherName(path: BytePath): BytePath | null {
    const { files } = this.#p;
    const there = files.lstat(path);
    if (!there || this.#exact.isNamed(path)) return null;
    const [dir, name] = [parentPath(path), baseName(path)];
    // Where the directory itself is another one, nothing in it is in the way.
    if (!this.#exact.isNamed(dir)) return null;
    const names = (files.readdir(dir) ?? []).map((entry) => entry.name);
    const key = foldKey(name);
    const isIt = (other: BytePath) => files.lstat(`${dir}/${other}`)?.ino === there.ino;
    const alike = names.filter((other) => foldKey(other) === key);
    // What is mounted under the one may hide what the other one leads to.
    return alike.find(isIt) ?? names.find(isIt) ?? alike[0] ?? null;
  }

  /** The agent's own directories inside a root hold names that are told apart everywhere. */
  #rootOf(path: BytePath): BytePath | null {
    if (this.#found.size === 0 && !this.#redoing) return null;
    const root = this.#p.roots.find((each) => path.startsWith(`${each.path}/`));
    if (!root || (!this.#redoing && !this.#found.has(root.name))) return null;
    return path.includes(`/${innerStagingName}`) ? null : root.path;
  }
}

function keyOf(root: string): Buffer {
  return metaKey(`names-fall-together:${root}`);
}
