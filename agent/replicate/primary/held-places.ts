import { parentPath, type BytePath } from '../../platform/files.ts';
import { fileSystemTroubles, type FileSystemTrouble } from '../file-systems.ts';

/**
 * Why a place waits: a disk that is missing here or is another one, or is missing on the standby; something that was left out
 * while the standby has it; a deletion that a person must allow.
 */
export type HoldCode = FileSystemTrouble['code'] | 'standby-mount' | 'left-out' | 'mass-delete';

/** With these nothing of the place is sent; with the others only nothing of it is removed. */
const stopping: ReadonlySet<HoldCode> = new Set([...fileSystemTroubles, 'standby-mount']);

/** A place of which nothing is taken away on the standby until a disk is back or a person has decided. */
export interface HeldPlace {
  root: string;
  /** Relative to the root; the place and all below it. */
  path: BytePath;
  code: HoldCode;
  /** What is wrong, for people, without the place, which stands beside it. */
  detail: string;
  /** What a person does about it. */
  remedy: string;
  /** Monotonic milliseconds. */
  sinceMs: number;
}

/** More than that nobody goes through by name: whoever has more of one kind holds the directory above them. */
export const heldPlacesMax = 10_000;

/**
 * Places that are held, each alone: everything beside them goes on (I19, I20). Whoever holds a place lets it go again;
 * each code has one owner. Not durable: at a start each owner finds its places again before anything is removed.
 */
export class HeldPlaces {
  readonly #places = new Map<string, HeldPlace>();
  /** By root and path: the places that are this path. */
  readonly #at = new Map<string, HeldPlace[]>();
  /** By root and path of a directory: how many places are below it. */
  readonly #below = new Map<string, number>();
  #resumed = 0;

  get count(): number {
    return this.#places.size;
  }

  /** How many places that were not sent at all have been let go since the start: whoever did it compares them then. */
  get resumed(): number {
    return this.#resumed;
  }

  /** Holds a place; a place that is held already keeps its time. */
  hold(place: HeldPlace): void {
    const key = keyOf(place);
    const known = this.#places.get(key);
    if (!known && this.#places.size >= heldPlacesMax)
      throw new Error(`more than ${heldPlacesMax} places are held; the owner of ${place.code} must hold a directory above them`);
    const held = { ...place, sinceMs: known?.sinceMs ?? place.sinceMs };
    this.#places.set(key, held);
    const at = atKey(place.root, place.path);
    this.#at.set(at, [...(this.#at.get(at) ?? []).filter(({ code }) => code !== place.code), held]);
    if (!known) this.#countAbove(place, 1);
  }

  /** True when it was held. */
  letGo(place: Pick<HeldPlace, 'root' | 'path' | 'code'>): boolean {
    if (!this.#places.delete(keyOf(place))) return false;
    if (stopping.has(place.code)) this.#resumed++;
    const at = atKey(place.root, place.path);
    const left = (this.#at.get(at) ?? []).filter(({ code }) => code !== place.code);
    if (left.length > 0) this.#at.set(at, left);
    else this.#at.delete(at);
    this.#countAbove(place, -1);
    return true;
  }

  /**
   * What keeps a path from being removed: a held place that is the path itself, lies above it, or lies below it. Places of
   * the code `but` are judged by their owner.
   */
  blocking(root: string, path: BytePath, but?: HoldCode): HeldPlace | null {
    const covering = this.#covering(root, path, but);
    if (covering || !this.#below.has(atKey(root, path))) return covering;
    for (const place of this.#places.values()) if (place.code !== but && place.root === root && isAtOrBelow(place.path, path)) return place;
    return null;
  }

  /** What holds a path because it is or lies below a held place; null also where only something below the path is held. */
  covering(root: string, path: BytePath): HeldPlace | null {
    return this.#covering(root, path);
  }

  /** The same for one code alone. */
  coveringAs(code: HoldCode, root: string, path: BytePath): HeldPlace | null {
    return this.#nearest(root, path, (place) => place.code === code);
  }

  /** What keeps a path from being sent at all: it is or lies below a place whose disk is missing. */
  stopping(root: string, path: BytePath): HeldPlace | null {
    for (const place of this.#places.values())
      if (place.root === root && stopping.has(place.code) && isAtOrBelow(path, place.path)) return place;
    return null;
  }

  /** A place that is not sent at all; null when there is none. */
  get stopped(): HeldPlace | null {
    for (const place of this.#places.values()) if (stopping.has(place.code)) return place;
    return null;
  }

  list(): readonly HeldPlace[] {
    return [...this.#places.values()];
  }

  #covering(root: string, path: BytePath, but?: HoldCode): HeldPlace | null {
    return this.#nearest(root, path, (place) => place.code !== but);
  }

  #nearest(root: string, path: BytePath, fits: (place: HeldPlace) => boolean): HeldPlace | null {
    if (this.#places.size === 0) return null;
    for (let at: BytePath | null = path; at !== null; at = at === '' ? null : parentPath(at)) {
      const place = this.#at.get(atKey(root, at))?.find(fits);
      if (place) return place;
    }
    return null;
  }

  #countAbove({ root, path }: Pick<HeldPlace, 'root' | 'path'>, by: number): void {
    for (let at = path; at !== '';) {
      at = parentPath(at);
      const key = atKey(root, at);
      const count = (this.#below.get(key) ?? 0) + by;
      if (count > 0) this.#below.set(key, count);
      else this.#below.delete(key);
    }
  }
}

function keyOf({ root, path, code }: Pick<HeldPlace, 'root' | 'path' | 'code'>): string {
  return `${code}\0${root}\0${path}`;
}

function atKey(root: string, path: BytePath): string {
  return `${root}\0${path}`;
}

function isAtOrBelow(path: BytePath, place: BytePath): boolean {
  return place === '' || path === place || path.startsWith(`${place}/`);
}
