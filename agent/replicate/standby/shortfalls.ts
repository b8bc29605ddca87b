import { Packr } from 'msgpackr';
import { createHash } from 'node:crypto';
import type { MessageOf } from '../../../protocol/messages.ts';
import { lacks, shortfallItemsMax, shortfallTextMax } from '../../../protocol/shortfall.ts';
import type { Entry } from '../../journal/entry.ts';
import { metaKey, tables } from '../../journal/keys.ts';
import type { ReplicaIndex } from '../../journal/replica-index.ts';
import type { Clock } from '../../platform/clock.ts';
import { displayPath, joinPath, type BytePath } from '../../platform/files.ts';
import type { Kv, KvWrite } from '../../platform/kv.ts';
import type { Log } from '../../platform/log.ts';

/** What a place could not be given. */
export interface Shortfall {
  /** Bits of protocol/shortfall.ts, and `untold`. */
  bits: number;
  /** Why, for people, without the path; empty when it is not told of this place. */
  text: string;
}

/** Of an entry: what it lacks, its file system has for no file, which is said of that once. */
export const untold = 32;

/**
 * Of a directory's entry: it should have gone, or came from somebody else, and what lies in it is in no index. It goes as a whole
 * before anything is put there. Of the index alone: no place lacks this, and nobody is told.
 */
export const unlisted = 128;

/** Whether nothing is known of what a directory holds. */
export function isUnlisted(entry: Entry | undefined): boolean {
  return entry?.kind === 'dir' && ((entry.lacks ?? 0) & unlisted) !== 0;
}

export interface ShortPlace extends Shortfall {
  root: string;
  path: BytePath;
  /** Wall clock, milliseconds. */
  sinceMs: number;
}

/** Why a place lacks its content, where the error that told of it is not known any more. */
export const damagedText = 'its content was damaged on the disk';

const packr = new Packr({ useRecords: false });
const moreKey = metaKey('shortfalls-more');
const placesMax = 10_000;
const loggedMax = 200;
const beforeMax = 10_000;
const entriesBetweenPauses = 512;

/**
 * Places that this standby has without all that belongs to them, or cannot have (I20). Durable with the batch that found
 * them; the primary is told with the acknowledgement, and of all of them at the beginning of each connection and after each
 * comparison of everything. Where there are more than are named here, the index alone knows of the rest.
 */
export class Shortfalls {
  readonly #kv: Kv;
  readonly #clock: Pick<Clock, 'wallMs'>;
  readonly #log: Log;
  readonly #places = new Map<string, ShortPlace>();
  #logged = 0;
  /** When what was cleared last began: a place that is tried in vain has lacked it all the time. */
  readonly #before = new Map<string, number>();

  constructor(kv: Kv, clock: Pick<Clock, 'wallMs'>, log: Log) {
    this.#kv = kv;
    this.#clock = clock;
    this.#log = log;
    for (const [, value] of [...kv.range(Buffer.from([tables.shortfall]), Buffer.from([tables.shortfall + 1]))]) {
      const [root, path, bits, text, sinceMs] = packr.unpack(value) as [string, Buffer, number, string, number];
      const place = { root, path: path.toString('latin1'), bits, text, sinceMs };
      this.#places.set(keyOf(place), place);
    }
  }

  get count(): number {
    return this.#places.size;
  }

  /** There were more than could be named, and there is place for them now. */
  get mayHaveMore(): boolean {
    return this.#places.size < placesMax / 2 && this.#kv.get(moreKey) !== undefined;
  }

  list(): readonly ShortPlace[] {
    return [...this.#places.values()];
  }

  at(root: string, path: BytePath): ShortPlace | undefined {
    return this.#places.size === 0 ? undefined : this.#places.get(keyOf({ root, path }));
  }

  /** Notes a place; `writes` receives what has to be committed. */
  note(root: string, path: BytePath, { bits, text }: Shortfall, writes: KvWrite[]): void {
    const known = this.at(root, path);
    if (known?.bits === bits && known.text === text) return;
    if (!known && this.#places.size >= placesMax) {
      writes.push([moreKey, Buffer.from([1])]);
      return;
    }
    const key = keyOf({ root, path });
    const before = known?.sinceMs ?? this.#before.get(key);
    const place = { root, path, bits, text: text.slice(0, shortfallTextMax), sinceMs: before ?? Math.floor(this.#clock.wallMs()) };
    this.#places.set(key, place);
    writes.push([storeKey(place), pack(place)]);
    if (before === undefined && this.#logged++ < loggedMax)
      this.#log.warn({ root, path: displayPath(path), reason: text }, 'a place lacks what belongs to it');
  }

  /** A place has all that belongs to it, or is gone. */
  clear(root: string, path: BytePath, writes: KvWrite[]): void {
    const place = this.at(root, path);
    if (!place) return;
    this.#places.delete(keyOf(place));
    if (this.#before.size >= beforeMax) this.#before.clear();
    this.#before.set(keyOf(place), place.sinceMs);
    writes.push([storeKey(place), null]);
  }

  /** A directory is gone with all below it. */
  clearBelow(root: string, path: BytePath, writes: KvWrite[]): void {
    for (const place of this.below(root, path)) this.clear(root, place.path, writes);
  }

  /** A directory has another name. */
  move(root: string, from: BytePath, to: BytePath, writes: KvWrite[]): void {
    for (const place of this.below(root, from)) {
      this.clear(root, place.path, writes);
      const moved = { ...place, path: `${to}${place.path.slice(from.length)}` };
      this.#places.set(keyOf(moved), moved);
      writes.push([storeKey(moved), pack(moved)]);
    }
  }

  /** Those at a place and below it. */
  below(root: string, path: BytePath): ShortPlace[] {
    if (this.#places.size === 0) return [];
    return this.list().filter((place) => place.root === root && (place.path === path || place.path.startsWith(`${path}/`)));
  }

  /** All of them, as messages; the last one says so. */
  *messages(): Generator<MessageOf<'shortfalls'>> {
    const places = this.list();
    for (let at = 0; at === 0 || at < places.length; at += shortfallItemsMax) {
      const items = places
        .slice(at, at + shortfallItemsMax)
        .map(({ root, path, bits, text }): MessageOf<'shortfalls'>['items'][number] => [root, path, bits, text]);
      yield { type: 'shortfalls', items, more: at + shortfallItemsMax < places.length };
    }
  }

  /** Names again what the index alone knows of, once there is place for it. */
  async fill(index: ReplicaIndex, roots: readonly { name: string }[], pause: () => Promise<void>): Promise<void> {
    const writes: KvWrite[] = [[moreKey, null]];
    let count = 0;
    const walk = async (root: string, dir: number, path: BytePath): Promise<void> => {
      for (const [name, entry] of index.entries(dir)) {
        if (++count % entriesBetweenPauses === 0) await pause();
        const child = joinPath(path, name);
        const bits = (entry.lacks ?? 0) & ~unlisted;
        if (bits && !(bits & untold)) this.note(root, child, this.at(root, child) ?? { bits, text: textOf(bits) }, writes);
        if (entry.kind === 'dir') await walk(root, entry.dir, child);
      }
    };
    for (const { name } of roots) {
      const number = index.root(name);
      if (number !== null) await walk(name, number, '');
    }
    this.#kv.commit(writes);
  }
}

/** What is known without the error that told of it. */
export function textOf(bits: number): string {
  if (bits & lacks.content) return damagedText;
  const parts = [
    ...(bits & lacks.place ? ['place'] : []),
    ...(bits & lacks.owner ? ['owner'] : []),
    ...(bits & lacks.mode ? ['mode'] : []),
    ...(bits & lacks.attributes ? ['extended attributes'] : []),
    ...(bits & lacks.time ? ['modification time'] : []),
  ];
  return `${parts.join(', ')} cannot be set`;
}

function keyOf({ root, path }: { root: string; path: BytePath }): string {
  return `${root}\0${path}`;
}

function storeKey(place: { root: string; path: BytePath }): Buffer {
  return Buffer.concat([Buffer.from([tables.shortfall]), createHash('sha256').update(keyOf(place), 'latin1').digest().subarray(0, 16)]);
}

function pack({ root, path, bits, text, sinceMs }: ShortPlace): Buffer {
  return Buffer.from(packr.pack([root, Buffer.from(path, 'latin1'), bits, text, sinceMs]));
}
