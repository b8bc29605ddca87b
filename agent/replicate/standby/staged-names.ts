import type { BytePath } from '../../platform/files.ts';
import type { Root } from '../root.ts';
import type { RenameRegions } from './rename-regions.ts';

/** Names of files in staging: the one place that says where what is to go to a path of a root waits until then. */
export class StagedNames {
  readonly #regions: Pick<RenameRegions, 'stagingOf'>;
  readonly #run: string;
  #next = 1;

  /** `startedMs` tells this run from earlier ones, of which files may be left on a disk that was away at the start. */
  constructor(regions: Pick<RenameRegions, 'stagingOf'>, startedMs: number) {
    this.#regions = regions;
    this.#run = Math.floor(startedMs).toString(36);
  }

  /**
   * A new absolute path, from which one rename leads to `path` (relative to the root).
   *
   * @throws an errno error when nothing can be staged there.
   */
  next(root: Root, path: BytePath, prefix = ''): BytePath {
    return `${this.#regions.stagingOf(root, path)}/stage/${prefix}${this.#run}-${this.#next++}`;
  }
}
