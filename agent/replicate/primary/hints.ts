import type { Hint } from '../../capture/watcher.ts';
import { displayPath, errnoCode, joinPath, type BytePath, type Stat } from '../../platform/files.ts';
import { absolute, type Root } from '../root.ts';
import type { PrimaryParts } from './context.ts';
import type { Lagging } from './lagging.ts';
import { nameBeside } from './name-beside.ts';

/** A change that is put off no longer than this is not worth a look before its time. */
const soonMs = 100;

/** Turns what a watcher tells into open changes. What waits for a cause that has gone since is looked at at once. */
export class Hints {
  readonly #p: PrimaryParts;
  readonly #lagging: Lagging;
  #last: Hint | null = null;

  constructor(parts: PrimaryParts, lagging: Lagging) {
    this.#p = parts;
    this.#lagging = lagging;
  }

  /** The path that was last said to have changed, for people; null before the first. */
  get lastChanged(): string | null {
    return this.#last && displayPath(joinPath(this.#last.root, this.#last.path));
  }

  /** Takes hints in the order in which the watcher gives them. */
  take(hints: readonly Hint[]): void {
    const { changes, clock, unproven, holds, fileSystemHolds, meter, log } = this.#p;
    const now = clock.monotonicMs();
    meter.hints(hints.length);
    for (const hint of hints) {
      if (hint.kind === 'lost') {
        unproven.add(hint.root, hint.path, hint.reason);
        meter.rescanned('lost-hints');
        log.warn({ root: hint.root, path: displayPath(hint.path), reason: hint.reason }, 'hints were lost; comparing again');
      }
      const isNew = changes.record(hint.root, hint.path, hint.kind === 'path' ? 'path' : 'scan', now);
      if (hint.kind !== 'path') continue;
      this.#last = hint;
      const root = this.#p.roots.find(({ name }) => name === hint.root);
      if (!root) continue;
      this.#lagging.touched(root.name, hint.path, now);
      if (unproven.count > 0) this.#tryDoubts(root, hint.path);
      if (!isNew) this.#hurry(root, hint.path, now);
      const mayVanish =
        fileSystemHolds.mayHide(root.name, hint.path) ||
        holds.stopping(root.name, hint.path) !== null ||
        unproven.isBlocked(root.name, hint.path);
      if (!isNew || mayVanish) this.#otherName(root, hint.path, now);
    }
  }

  /** A directory that changed itself, and not something in it, may be readable now, with all below it. */
  #tryDoubts(root: Root, path: BytePath): void {
    const { unproven } = this.#p;
    unproven.nudge(root.name, path, this.#stat(root, path)?.kind === 'dir');
  }

  /** A change that was put off: it is not put off any more when the file is gone, or has become another one. */
  #hurry(root: Root, path: BytePath, now: number): void {
    const { changes } = this.#p;
    if (changes.putOffMs(root.name, path, now) <= soonMs) return;
    const stat = this.#stat(root, path);
    if (stat === undefined || (stat && !this.#lagging.isAnother(root.name, path, stat.ino))) return;
    this.#lagging.tryNow(root.name, path, now);
    changes.hurry(root.name, path);
  }

  /**
   * A name that nobody has looked at yet changes again, or one changes that is not looked at while a disk is missing or the standby
   * cannot have it, or that a disk may hide. When it is one of several of a file that is known by another name, that one has changed as well; by the time
   * of the look this name may be gone, or hidden below the disk that is back, and nothing would tell.
   */
  #otherName(root: Root, path: BytePath, now: number): void {
    if (root.format.classify(path, 'file').class !== 'plain') return;
    const stat = this.#stat(root, path);
    const other = stat?.kind === 'file' && stat.nlink > 1 ? nameBeside(this.#p, root.name, path, stat.ino) : null;
    if (other !== null) this.#p.changes.record(root.name, other, 'path', now);
  }

  /** What cannot be looked at now is looked at in its turn: undefined. */
  #stat(root: Root, path: BytePath): Stat | null | undefined {
    try {
      return this.#p.files.lstat(absolute(root, path));
    } catch (error) {
      if (errnoCode(error) === undefined) throw error;
      return undefined;
    }
  }
}
