import type { Changes } from '../../journal/changes.ts';
import type { Clock } from '../../platform/clock.ts';
import { displayPath, type BytePath } from '../../platform/files.ts';
import type { Log } from '../../platform/log.ts';
import { fileSystemTroubles, isAtOrBelow, placeName, type FileSystems, type FileSystemTrouble } from '../file-systems.ts';
import type { HeldPlaces, HoldCode } from './held-places.ts';

export interface FileSystemHoldsParts {
  fileSystems: FileSystems;
  holds: HeldPlaces;
  changes: Changes;
  clock: Clock;
  log: Log;
}

/** Who holds places with these. */
const ownCodes: ReadonlySet<HoldCode> = new Set(fileSystemTroubles);

/** A place below a standby's root whose file system is missing there. */
export interface MissingThere {
  root: string;
  path: BytePath;
  detail: string;
}

/**
 * Holds what lies on a file system that is not there, on this node or on the standby, and nothing else (I19). What is held is
 * neither sent nor removed; when its file system is back, all below it is compared.
 */
export class FileSystemHolds {
  readonly #p: FileSystemHoldsParts;
  #onMoved: (places: readonly { root: string; path: BytePath }[]) => void = () => {};

  constructor(parts: FileSystemHoldsParts) {
    this.#p = parts;
  }

  /** Calls `fn` when file systems came or went: what watches over them has to be made anew there. */
  onMoved(fn: (places: readonly { root: string; path: BytePath }[]) => void): void {
    this.#onMoved = fn;
  }

  /**
   * Looks at every file system. One that is missing holds its place, and a missing root of several holds itself alone. `root`
   * is the trouble of a root when no root is in its place, which holds everything; `isSame` says that nothing went since the
   * look before, not for a moment either.
   */
  look(): { root: FileSystemTrouble | null; isSame: boolean } {
    const { fileSystems, holds, clock, log } = this.#p;
    const { troubles, came, began, remounted } = fileSystems.look();
    const nowMs = clock.monotonicMs();
    const held = new Set<string>();
    for (const { root, path, code, detail, remedy } of troubles) {
      if (path === '' && fileSystems.allAway) continue;
      holds.hold({ root, path, code, detail, remedy, sinceMs: nowMs });
      held.add(`${code}\0${root}\0${path}`);
    }
    for (const { root, path, code, detail } of began)
      if (path !== '' || !fileSystems.allAway)
        log.warn({ code, place: placeName({ root, path }) }, `${placeName({ root, path })}: ${detail}`);
    const ended = holds.list().filter(({ code, root, path }) => ownCodes.has(code) && !held.has(`${code}\0${root}\0${path}`));
    // While the root itself is in trouble nothing is known of what is mounted below it.
    for (const place of ended)
      if (place.path === '' || !troubles.some(({ root, path }) => root === place.root && path === '')) holds.letGo(place);
    for (const place of came) {
      log.info({ root: place.root, path: displayPath(place.path) }, 'a file system is there; comparing what is on it');
      this.compare(place);
    }
    if (came.length > 0 || began.length > 0) this.#onMoved([...came, ...began]);
    return { root: (fileSystems.allAway && troubles.find(({ path }) => path === '')) || null, isSame: began.length === 0 && !remounted };
  }

  /** What the standby says is missing there takes the place of what it said before. */
  missingThere(places: readonly MissingThere[]): void {
    const { holds, clock, log } = this.#p;
    const wanted = new Set(places.map(({ root, path }) => `${root}\0${path}`));
    for (const { root, path, detail } of places) {
      const known = holds.list().some((place) => place.code === 'standby-mount' && place.root === root && place.path === path);
      if (!known) log.warn({ code: 'standby-mount', place: placeName({ root, path }) }, `${placeName({ root, path })}: ${detail}`);
      const remedy = 'mount it on the standby; what is below then goes on by itself. `mailtwin status` there says more';
      holds.hold({ root, path, code: 'standby-mount', detail, remedy, sinceMs: clock.monotonicMs() });
    }
    for (const place of holds.list()) {
      if (place.code !== 'standby-mount' || wanted.has(`${place.root}\0${place.path}`)) continue;
      holds.letGo(place);
      this.compare(place);
    }
  }

  /** Whether a disk that comes or goes hides a path, also one of which this was not noticed yet. */
  mayHide(root: string, path: BytePath): boolean {
    return this.#p.fileSystems.mayBeHidden(root, path);
  }

  /** Compares all that lies at or below a place, and lets what waits there go on. */
  compare({ root, path }: { root: string; path: BytePath }): void {
    const { changes, clock } = this.#p;
    for (const change of changes.waiting()) if (change.root === root && isAtOrBelow(change.path, path)) change.notBefore = 0;
    changes.record(root, path, 'scan', clock.monotonicMs());
  }
}
