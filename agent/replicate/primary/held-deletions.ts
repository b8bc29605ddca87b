import type { BytePath } from '../../platform/files.ts';
import type { Tripped } from './guard.ts';

/** A deletion that waits for a person, at one place. */
export interface HeldDeletion {
  root: string;
  /** A mailbox or a directory, relative to the root. */
  place: BytePath;
  /** All below the place is held, too: a directory that is gone as a whole, or many places that were put together. */
  deep: boolean;
  /** Files that would be lost, as last counted. */
  files: number;
  tripped: Tripped;
  /** Monotonic milliseconds. */
  sinceMs: number;
  /** When it is counted again: what has come back meanwhile is held no longer. */
  nextCheckMs: number;
}

/** More places of a root than this are put together in the directories above them. */
const placesMax = 32;

/** The held deletions of all roots. Pure. */
export class HeldDeletions {
  readonly #held = new Map<string, HeldDeletion>();

  list(): readonly HeldDeletion[] {
    return [...this.#held.values()];
  }

  /** What holds the losses of a mailbox or a directory: a deletion held there, or above with all below it. */
  covering(root: string, unit: BytePath): HeldDeletion | null {
    for (const held of this.#held.values()) {
      if (held.root === root && (held.place === unit || (held.deep && isBelow(unit, held.place)))) return held;
    }
    return null;
  }

  /** What keeps a directory from going with all below it. */
  blockingTree(root: string, path: BytePath): HeldDeletion | null {
    for (const held of this.#held.values()) {
      if (held.root !== root) continue;
      if (held.place === path || isBelow(held.place, path) || (held.deep && isBelow(path, held.place))) return held;
    }
    return null;
  }

  /** Holds a deletion; returns the places that it replaces because there were too many. */
  hold(deletion: HeldDeletion): HeldDeletion[] {
    const key = keyOf(deletion);
    const known = this.#held.get(key);
    if (known) {
      known.deep ||= deletion.deep;
      known.files = Math.max(known.files, deletion.files);
      known.tripped = deletion.tripped;
      return [];
    }
    this.#held.set(key, deletion);
    const replaced: HeldDeletion[] = [];
    // What a place with all below it covers by now.
    if (deletion.deep) this.#swallow(deletion, replaced);
    for (;;) {
      const all = this.list().filter(({ root }) => root === deletion.root);
      if (all.length <= placesMax) return replaced;
      this.#putTogether(all, replaced);
    }
  }

  letGo({ root, place }: Pick<HeldDeletion, 'root' | 'place'>): boolean {
    return this.#held.delete(keyOf({ root, place }));
  }

  /** Puts the deepest places into the directories above them. */
  #putTogether(all: readonly HeldDeletion[], replaced: HeldDeletion[]): void {
    const depth = Math.max(...all.map(({ place }) => place.split('/').length));
    for (const held of all.filter(({ place }) => place !== '' && place.split('/').length === depth)) {
      const above = { ...held, place: held.place.slice(0, Math.max(0, held.place.lastIndexOf('/'))), deep: true };
      const known = this.#held.get(keyOf(above));
      if (known) {
        known.deep = true;
        known.files += held.files;
      } else this.#held.set(keyOf(above), above);
      this.#held.delete(keyOf(held));
      replaced.push(held);
    }
  }

  #swallow(deletion: HeldDeletion, replaced: HeldDeletion[]): void {
    for (const held of this.list()) {
      if (held === deletion || held.root !== deletion.root || !isBelow(held.place, deletion.place)) continue;
      deletion.files += held.files;
      this.#held.delete(keyOf(held));
      replaced.push(held);
    }
  }
}

export function isBelow(path: BytePath, place: BytePath): boolean {
  return path !== place && (place === '' || path.startsWith(`${place}/`));
}

function keyOf({ root, place }: Pick<HeldDeletion, 'root' | 'place'>): string {
  return `${root}\0${place}`;
}
