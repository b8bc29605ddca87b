import { baseName, displayPath, parentPath, type BytePath, type Files } from '../../platform/files.ts';
import { foldKey } from '../one-name.ts';
import type { Root } from '../root.ts';
import type { RenameRegions } from './rename-regions.ts';

/** As much of the other name as a refusal holds. */
const shownMax = 90;

/** Why a name cannot be had beside another one, for people; no longer than a refusal may be. */
export function takenBy(other: BytePath): string {
  const shown = displayPath(other);
  return `this file system takes its name and ${shown.length > shownMax ? `${shown.slice(0, shownMax)}...` : shown} for one, and that is there`;
}

/**
 * Which file systems of this standby take several names for one, as those do that know no case. What the primary has under two
 * such names cannot be here under both: the one that is here stays, and the other one is in doubt (I20).
 */
export class Folding {
  readonly #files: Files;
  readonly #regions: RenameRegions;
  /** By directory for staging. */
  readonly #folds = new Map<BytePath, boolean>();
  /** Roots in which it was met in a directory, whatever the one for staging does. */
  readonly #found = new Set<string>();

  constructor(files: Files, regions: RenameRegions) {
    this.#files = files;
    this.#regions = regions;
  }

  /** It was met below this root. */
  found(root: Root): void {
    this.#found.add(root.name);
  }

  /**
   * Whether names may fall together where `path` (relative to the root) is.
   *
   * @throws as `stagingOf` of the regions.
   */
  mayFold(root: Root, path: BytePath): boolean {
    if (this.#found.has(root.name)) return true;
    const staging = this.#regions.stagingOf(root, path);
    let folds = this.#folds.get(staging);
    if (folds === undefined) {
      folds = this.#files.lstat(`${staging}/STAGE`) !== null;
      this.#folds.set(staging, folds);
    }
    return folds;
  }

  /** What a file system calls what it finds at a path (absolute), where that is another name; null where nothing has to give way. */
  otherName(path: BytePath): BytePath | null {
    const there = this.#files.lstat(path);
    if (!there) return null;
    const [dir, name] = [parentPath(path), baseName(path)];
    const names = (this.#files.readdir(dir) ?? []).map((entry) => entry.name);
    if (names.includes(name)) return null;
    const key = foldKey(name);
    const isIt = (other: BytePath) => this.#files.lstat(`${dir}/${other}`)?.ino === there.ino;
    return names.find((other) => foldKey(other) === key && isIt(other)) ?? names.find(isIt) ?? null;
  }
}
