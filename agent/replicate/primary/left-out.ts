import { Packr } from 'msgpackr';
import { createHash } from 'node:crypto';
import { tables } from '../../journal/keys.ts';
import type { Clock } from '../../platform/clock.ts';
import { displayPath, parentPath, type BytePath } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import { heldPlacesMax, type HeldPlaces } from './held-places.ts';

/**
 * Why something is not replicated on purpose.
 *
 * - `link-out`: a symbolic link that leads out of every root
 * - `special`: a socket, fifo or device
 * - `excluded`: a pattern of the configuration names it
 * - `derived`: a pattern names it, and the mail server makes it anew from the mail (full-text indexes)
 */
export type LeftOutReason = 'link-out' | 'special' | 'excluded' | 'derived';

/** One thing that is left out. */
export interface LeftOutPlace {
  root: string;
  path: BytePath;
  reason: LeftOutReason;
  /** Where a link leads; what names an excluded path; null for anything else. */
  detail: string | null;
  /** The standby has something under this name from before, and keeps it until a person says otherwise. */
  kept: boolean;
  /** It looks like a mailbox although the patterns name it. */
  mailbox: boolean;
  /** Wall clock, milliseconds. */
  sinceMs: number;
}

/** What is left out for one reason, for people. */
export interface LeftOutSummary {
  reason: LeftOutReason;
  count: number;
  /** Of how many the standby keeps what it had. */
  kept: number;
  /** A person has to know: mail may be missing on the standby. */
  unexpected: number;
  /** The newest ones that need somebody's eye, else the newest ones. */
  places: LeftOutPlace[];
  /** Wall clock, milliseconds. */
  sinceMs: number;
}

interface Kept extends LeftOutPlace {
  /** When it was last seen, by the count of scans that had begun. */
  scan: number;
}

const packr = new Packr({ useRecords: false });
/** More are not counted (I12). */
const placesMax = 100_000;
const examplesMax = 5;
/** The other owners of held places need some, too. */
const heldMax = heldPlacesMax / 2;

export const leftOutTexts: Record<LeftOutReason, string> = {
  'link-out': 'symbolic link that leads out of its root',
  special: 'socket, fifo or device',
  excluded: 'path that the configuration excludes',
  derived: 'index that the mail server makes anew from the mail',
};

/**
 * What is left out of replication on purpose, by place, and only as long as it is there (I22).
 *
 * A directory of the standby whose place here became something that is left out is held: nothing of it is removed
 * until a person says so. That is durable, because the reason may be gone at the next start (a link that is about to
 * be replaced by the directory again).
 */
export class LeftOut {
  readonly #kv: Kv;
  readonly #clock: Clock;
  readonly #holds: HeldPlaces;
  readonly #places = new Map<string, Kept>();
  readonly #held = new Map<string, Pick<LeftOutPlace, 'root' | 'path'>>();
  /** What a person said may go: the next look removes it, also when its batch is given up and made again. */
  readonly #released = new Set<string>();
  #scans = 0;

  constructor({ kv, clock, holds }: { kv: Kv; clock: Clock; holds: HeldPlaces }) {
    this.#kv = kv;
    this.#clock = clock;
    this.#holds = holds;
    for (const [, value] of kv.range(Buffer.from([tables.leftOut]), Buffer.from([tables.leftOut + 1]))) {
      const [root, pathBytes] = packr.unpack(value) as [string, Buffer];
      const path = pathBytes.toString('latin1');
      this.#held.set(keyOf(root, path), { root, path });
      this.#hold(root, path, 'it was left out before this agent started');
    }
  }

  /** Something is there that is left out. */
  note(place: Omit<LeftOutPlace, 'sinceMs' | 'mailbox'> & { mailbox?: boolean }): void {
    const key = keyOf(place.root, place.path);
    const known = this.#places.get(key);
    if (!known && this.#places.size >= placesMax) return;
    const sinceMs = known?.reason === place.reason ? known.sinceMs : this.#clock.wallMs();
    // Newest last, so that examples are fresh.
    if (known && known.reason !== place.reason) this.#places.delete(key);
    this.#places.set(key, { mailbox: false, ...place, sinceMs, scan: this.#scans });
  }

  /** Keeps what the standby has of a directory, which is left out here. Of very many the directory above is held. */
  hold(root: string, path: BytePath, why: string): void {
    const key = keyOf(root, path);
    if (!this.#held.has(key) && this.#held.size >= heldMax && path !== '')
      return this.hold(root, parentPath(path), 'more than can be named were left out below it');
    if (!this.#held.has(key)) {
      this.#held.set(key, { root, path });
      this.#kv.commit([[storeKey(key), Buffer.from(packr.pack([root, Buffer.from(path, 'latin1')]))]]);
    }
    this.#hold(root, path, why);
  }

  /** A place was looked at and is replicated, or nothing is there on either node. True when it was held. */
  settle(root: string, path: BytePath): boolean {
    if (this.#places.size === 0 && this.#held.size === 0) return false;
    const key = keyOf(root, path);
    this.#places.delete(key);
    this.#released.delete(key);
    return this.letGo(root, path);
  }

  /** Ends the hold of a place; the place may still be left out. True when it was held. */
  letGo(root: string, path: BytePath): boolean {
    const key = keyOf(root, path);
    if (!this.#held.delete(key)) return false;
    this.#kv.commit([[storeKey(key), null]]);
    this.#holds.letGo({ root, path, code: 'left-out' });
    return true;
  }

  /** A directory went or moved as a whole, with what was left out below it. */
  forgetBelow(root: string, path: BytePath): void {
    for (const place of this.#places.values())
      if (place.root === root && place.path.startsWith(`${path}/`)) this.#places.delete(keyOf(root, place.path));
  }

  /** Whether something that is left out is at this very place. */
  has(root: string, path: BytePath): boolean {
    return this.#places.has(keyOf(root, path));
  }

  isHeld(root: string, path: BytePath): boolean {
    return this.#held.has(keyOf(root, path));
  }

  /** A person says that the standby's copy of a place may go. False when nothing is kept there. */
  release(root: string, path: BytePath): boolean {
    const key = keyOf(root, path);
    if (!this.#held.has(key) && !this.#places.get(key)?.kept) return false;
    this.#released.add(key);
    return true;
  }

  isReleased(root: string, path: BytePath): boolean {
    return this.#released.has(keyOf(root, path));
  }

  /** A scan begins; what it returns goes to `endScan`. */
  beginScan(): number {
    return ++this.#scans;
  }

  /** All below a path was looked at since `begun`: what was not seen again is dropped unless `isThere` says otherwise. */
  endScan(begun: number, root: string, path: BytePath, isThere: (path: BytePath) => boolean): void {
    for (const [key, place] of this.#places) {
      const below = path === '' || place.path === path || place.path.startsWith(`${path}/`);
      if (place.root === root && below && place.scan < begun && !isThere(place.path)) this.#places.delete(key);
    }
  }

  /** Places of which the standby keeps what it had; reason null where nothing is left out any more, and nothing is back. */
  kept(): { root: string; path: BytePath; reason: LeftOutReason | null }[] {
    const gone = [...this.#held].filter(([key]) => !this.#places.has(key)).map(([, place]) => ({ ...place, reason: null }));
    return [...[...this.#places.values()].filter(({ kept }) => kept), ...gone];
  }

  /** By reason; a count of 0 is not listed. */
  list(): LeftOutSummary[] {
    const byReason = new Map<LeftOutReason, Kept[]>();
    for (const place of this.#places.values()) {
      const places = byReason.get(place.reason);
      if (places) places.push(place);
      else byReason.set(place.reason, [place]);
    }
    return [...byReason].map(([reason, places]) => {
      const unexpected = places.filter(isUnexpected);
      const newest = (unexpected.length > 0 ? unexpected : places).slice(-examplesMax).toReversed();
      return {
        reason,
        count: places.length,
        kept: places.filter(({ kept }) => kept).length,
        unexpected: unexpected.length,
        places: newest,
        sinceMs: Math.min(...newest.map(({ sinceMs }) => sinceMs), places[0]?.sinceMs ?? Infinity),
      };
    });
  }

  #hold(root: string, path: BytePath, why: string): void {
    this.#holds.hold({
      root,
      path,
      code: 'left-out',
      detail: `${why}; the standby keeps what it has of it`,
      remedy: `put the directory back, or add where it is now as a root (\`mailtwin doctor\` says how); \`mailtwin allow-delete\` with the name of the place removes the standby's copy`,
      sinceMs: this.#clock.monotonicMs(),
    });
  }
}

/** Whether mail may be missing on the standby because of it. Sockets and what the configuration excludes are nobody's surprise. */
export function isUnexpected(place: Pick<LeftOutPlace, 'reason' | 'kept' | 'mailbox'>): boolean {
  return place.reason === 'link-out' || place.mailbox || (place.kept && place.reason !== 'derived');
}

/** For people: `mail/example.com -> /disk2/example.com`. */
export function showLeftOut({ root, path, reason, detail }: Pick<LeftOutPlace, 'root' | 'path' | 'reason' | 'detail'>): string {
  const where = `${root}/${displayPath(path)}`;
  if (detail === null) return where;
  return reason === 'link-out' ? `${where} -> ${displayPath(detail)}` : `${where} (${displayPath(detail)})`;
}

function keyOf(root: string, path: BytePath): string {
  return `${root}\0${path}`;
}

function storeKey(key: string): Buffer {
  return Buffer.concat([Buffer.from([tables.leftOut]), createHash('sha256').update(key, 'latin1').digest().subarray(0, 16)]);
}
