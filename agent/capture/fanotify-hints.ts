import type { BytePath } from '../platform/files.ts';
import { FAN, type FanotifyEvent, type HandleName } from './fanotify-events.ts';
import { HintBatch, isAtOrAbove, relativeTo, type RealRoot } from './root-paths.ts';
import type { Hint } from './watcher.ts';

/** Handles whose directories are remembered; a few hundred bytes each. */
const CACHE_ENTRIES_MAX = 32_768;

/** What the events of one read mean. */
export interface Reading {
  hints: Hint[];
  /** Names of barrier markers, which come after every hint of earlier changes. */
  markers: string[];
  events: number;
  overflows: number;
}

/** Gives where the directory of a handle is now: one path for each mount in use; empty when gone. Throws when it cannot be told. */
export type ResolveHandle = (dir: string) => BytePath[];

/**
 * Turns events into hints. Directories come as file handles, which stay the same when a directory moves; their paths
 * are asked for once and remembered until a directory moves or goes.
 */
export class FanotifyHints {
  readonly #roots: readonly RealRoot[];
  readonly #barrierDir: string;
  readonly #ownPid: number;
  readonly #resolve: ResolveHandle;
  /** By handle: where the directory lies, in each root that holds it. Empty: outside, or gone. */
  readonly #places = new Map<string, readonly { root: string; path: BytePath; absolute: BytePath }[]>();
  readonly #handleByPath = new Map<BytePath, string>();
  readonly #batch = new HintBatch();

  /** `barrierDir` is the handle of the directory of the markers. */
  constructor(roots: readonly RealRoot[], barrierDir: string, ownPid: number, resolve: ResolveHandle) {
    this.#roots = roots;
    this.#barrierDir = barrierDir;
    this.#ownPid = ownPid;
    this.#resolve = resolve;
  }

  read(events: readonly FanotifyEvent[]): Reading {
    const reading: Reading = { hints: [], markers: [], events: events.length, overflows: 0 };
    for (const event of events) {
      if (event.mask & FAN.Q_OVERFLOW) {
        reading.overflows++;
        this.#forgetAll();
        this.#lostAll('the kernel’s event queue overflowed');
      } else if (event.pid === this.#ownPid) {
        if (event.at?.dir === this.#barrierDir && event.mask & FAN.CREATE) reading.markers.push(event.at.name);
        // A directory that this process moves or removes must be forgotten all the same.
        if (event.mask & FAN.ONDIR && event.mask & (FAN.RENAME | FAN.DELETE)) this.#forgetDirectory(event);
      } else {
        this.#interpret(event);
      }
    }
    reading.hints = this.#batch.take();
    return reading;
  }

  #interpret(event: FanotifyEvent): void {
    const isDirectory = (event.mask & FAN.ONDIR) !== 0;
    const isRename = (event.mask & FAN.RENAME) !== 0;
    // Looked up before anything is forgotten, so that the old name is told as it was.
    if (event.at !== null) this.#hint(event.at, isDirectory && (event.mask & FAN.CREATE) !== 0 ? 'tree' : 'path');
    if (isDirectory && (isRename || event.mask & FAN.DELETE)) this.#forgetDirectory(event);
    if (isRename && event.to !== null) this.#hint(event.to, isDirectory ? 'tree' : 'path');
  }

  #hint(where: HandleName, kind: 'path' | 'tree'): void {
    for (const place of this.#placesOf(where.dir)) {
      const path = where.name === '.' ? place.path : place.path === '' ? where.name : `${place.path}/${where.name}`;
      this.#batch.add({ kind, root: place.root, path });
    }
  }

  #placesOf(dir: string): readonly { root: string; path: BytePath; absolute: BytePath }[] {
    const known = this.#places.get(dir);
    if (known !== undefined) return known;
    let found: BytePath[];
    try {
      found = this.#resolve(dir);
    } catch (error) {
      this.#lostAll(`a changed directory cannot be looked up: ${error instanceof Error ? error.message : String(error)}`);
      return [];
    }
    // A directory that is gone is covered by the event of its removal, in the directory above.
    const places = found.flatMap((absolute) =>
      this.#roots.flatMap((root) => {
        const path = relativeTo(root.realPath, absolute);
        return path === null ? [] : [{ root: root.name, path, absolute }];
      }),
    );
    this.#remember(dir, places);
    return places;
  }

  #remember(dir: string, places: readonly { root: string; path: BytePath; absolute: BytePath }[]): void {
    if (this.#places.size >= CACHE_ENTRIES_MAX) this.#forgetAll();
    this.#places.set(dir, places);
    for (const place of places) this.#handleByPath.set(place.absolute, dir);
  }

  #forgetAll(): void {
    this.#places.clear();
    this.#handleByPath.clear();
  }

  /** A removed directory was empty: only its own handle can be known. A renamed one takes all paths below with it. */
  #forgetDirectory(event: FanotifyEvent): void {
    this.#checkAbove(event);
    for (const where of [event.at, event.to]) {
      if (where === null) continue;
      const places = this.#placesOf(where.dir);
      if (places.length > 0 && event.mask & FAN.RENAME) return this.#forgetAll();
      for (const place of places) {
        const absolute = `${place.absolute}/${where.name}`;
        const handle = this.#handleByPath.get(absolute);
        if (handle !== undefined) this.#places.delete(handle);
        this.#handleByPath.delete(absolute);
      }
    }
  }

  /** A root, or a directory above one, was moved or removed: nothing below is where it was. */
  #checkAbove(event: FanotifyEvent): void {
    if (event.at === null) return;
    for (const parent of this.#absolutePathsOf(event.at.dir)) {
      const moved = parent === '/' ? `/${event.at.name}` : `${parent}/${event.at.name}`;
      for (const root of this.#roots) {
        if (!isAtOrAbove(moved, root.realPath)) continue;
        this.#forgetAll();
        this.#batch.add({ kind: 'lost', root: root.name, path: '', reason: 'the root, or a directory above it, was moved or removed' });
      }
    }
  }

  #absolutePathsOf(dir: string): readonly BytePath[] {
    const places = this.#placesOf(dir);
    if (places.length > 0) return places.map((place) => place.absolute);
    try {
      return this.#resolve(dir);
    } catch {
      // That it cannot be told was already reported as lost.
      return [];
    }
  }

  #lostAll(reason: string): void {
    for (const root of this.#roots) this.#batch.add({ kind: 'lost', root: root.name, path: '', reason });
  }
}
