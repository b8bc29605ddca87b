import { metaKey } from '../../journal/keys.ts';
import { displayPath, joinPath, parentPath, type BytePath, type Files } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import { absolute, type Root } from '../root.ts';
import { innerStagingName } from '../staging.ts';
import { OpRefused } from './batch.ts';

export interface RenameRegionsParts {
  files: Files;
  kv: Kv;
  roots: readonly Root[];
}

const cachedMax = 20_000;

/**
 * A root is made of regions within which rename(2) leads from one place to another: a file system that is mounted inside it is one of
 * its own, and so are a subvolume and a directory with a project quota. Each has a place for staging and history: the root's
 * own, or a hidden directory at the region's top, which is never replicated.
 */
export class RenameRegions {
  readonly #p: RenameRegionsParts;
  /** Staging by root and directory. */
  readonly #cached = new Map<string, BytePath>();

  constructor(parts: RenameRegionsParts) {
    this.#p = parts;
  }

  /** Something was mounted or unmounted, or a directory took the place of another one. */
  forget(): void {
    this.#cached.clear();
  }

  /**
   * Directory (absolute) with `stage` and `history` from which one rename leads to `path` (relative to the root); it is made
   * when there is none yet.
   *
   * @throws an errno error when it cannot be made, OpRefused when the file system of the path went in this moment.
   */
  stagingOf(root: Root, path: BytePath): BytePath {
    return this.#stagingOfDir(root, parentPath(path));
  }

  #stagingOfDir(root: Root, dir: BytePath): BytePath {
    const key = `${root.name}\0${dir}`;
    const known = this.#cached.get(key);
    if (known !== undefined) return known;
    if (this.#cached.size >= cachedMax) this.#cached.clear();
    const own = dir === '' ? null : this.#p.files.renameRegion(absolute(root, dir));
    // A directory that is still to be made will be of the region of the one above it.
    const staging = dir === '' ? root.staging : own === null ? this.#stagingOfDir(root, parentPath(dir)) : this.#stagingIn(root, dir, own);
    this.#cached.set(key, staging);
    return staging;
  }

  #stagingIn(root: Root, dir: BytePath, region: string): BytePath {
    const above = parentPath(dir);
    if (this.#p.files.renameRegion(absolute(root, above)) === region) return this.#stagingOfDir(root, above);
    return this.#makeAt(root, dir, region);
  }

  /** The top of a region. */
  #makeAt(root: Root, top: BytePath, region: string): BytePath {
    const { files, kv } = this.#p;
    const staging = absolute(root, joinPath(top, innerStagingName));
    const missing = [staging, `${staging}/stage`, `${staging}/history`].filter((dir) => !files.lstat(dir));
    // What is missing may have gone with its disk, and nothing is made below the mount point of that.
    if (missing.length > 0 && files.renameRegion(absolute(root, top)) !== region)
      throw new OpRefused('io', `what was mounted at ${displayPath(absolute(root, top))} is gone`);
    for (const dir of missing) files.mkdir(dir, 0o700);
    const tops = this.#tops(root);
    if (!tops.includes(top)) kv.commit([[keyOf(root), Buffer.from(JSON.stringify([...tops, top]))]]);
    return staging;
  }

  /** Every directory for staging that a root has now, its own first. */
  all(root: Root): BytePath[] {
    const inner = this.#tops(root).map((top) => absolute(root, joinPath(top, innerStagingName)));
    return [root.staging, ...inner.filter((dir) => this.#p.files.lstat(dir)?.kind === 'dir')];
  }

  #tops(root: Root): BytePath[] {
    const kept = this.#p.kv.get(keyOf(root));
    return kept ? (JSON.parse(kept.toString()) as BytePath[]) : [];
  }
}

function keyOf(root: Root): Buffer {
  return metaKey(`inner-staging:${root.name}`);
}
