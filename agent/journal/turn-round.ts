import type { Clock } from '../platform/clock.ts';
import type { Kv, KvWrite } from '../platform/kv.ts';
import { decodeEntry, encodeEntry, type Entry } from './entry.ts';
import { contentKey, inodeKey, linkKey, metaKey, nameOfKey, namedKey, numberKey, numberOfKey, packRef, tables, unpackRef } from './keys.ts';
import { contentLookupBytesMin, packNumber, readNumber } from './replica-index.ts';

/** Which node's view the store holds. */
export type IndexOf = 'primary' | 'standby';

export interface TurnParts {
  kv: Kv;
  clock: Clock;
  /** Identity of a directory on this node's disk by root name and path; null when it is not there. */
  identify(root: string, path: string): { ino: bigint; btimeNs: bigint } | null;
  roots: readonly string[];
}

const indexOfKey = metaKey('index-of');
/** A node that was primary has not yet compared its disk with its index since it became standby. */
export const ownDiskKey = metaKey('own-disk');
/** On a standby: the first fill was complete, as the primary told. */
const filledHereKey = metaKey('filled-here');
/** On a primary: what its standby told to be missing there (`replicate/primary/against-standby.ts`). Whoever changes roles has another one, or none. */
export const standbyMissingKey = metaKey('standby-missing');
const portion = 1000;

/** For whom the store's index was last put in order; null when that was never noted. */
export function indexOf(kv: Kv): IndexOf | null {
  const stored = kv.get(indexOfKey)?.toString();
  return stored === 'primary' || stored === 'standby' ? stored : null;
}

/** Notes at a start for whom the index is, before anything can change the role. */
export function noteIndexOf(kv: Kv, role: IndexOf): void {
  if (indexOf(kv) === null) kv.commit([[indexOfKey, Buffer.from(role)]]);
}

/**
 * Makes of a standby's index a primary's, or the other way round, after a takeover.
 *
 * What both hold is the same: the tree that the standby has, with the identity of this node's own files. A primary
 * also finds names by inode and content, and knows when it last looked; a standby has a position that a primary made.
 * Doing it again after a crash comes to the same result, so nothing needs to be written down before.
 */
export async function turnRound(parts: TurnParts, to: IndexOf): Promise<void> {
  const { kv } = parts;
  // What only one of the two keeps up to date is old by now on either.
  for (const table of [tables.inode, tables.content, tables.chunks, tables.links, tables.journal]) await clear(parts, table);
  if (to === 'primary') {
    await forPrimary(parts);
    const position = kv.get(metaKey('position'));
    const head = Math.max(readNumber(kv.get(metaKey('head'))) ?? 0, position?.readUIntBE(6, 6) ?? 0);
    kv.commit([
      ...(position ? [[metaKey('sent-position'), position] as const] : []),
      ...(kv.get(filledHereKey) ? [[metaKey('filled'), Buffer.from([1])] as const] : []),
      [metaKey('head'), packNumber(head)],
      [Buffer.from([tables.redo]), null],
      [ownDiskKey, null],
      [standbyMissingKey, null],
      [indexOfKey, Buffer.from(to)],
    ]);
  } else {
    const position = kv.get(metaKey('sent-position'));
    await clear(parts, tables.unproven);
    kv.commit([
      ...(position ? [[metaKey('position'), position] as const] : []),
      ...(kv.get(metaKey('filled')) ? [[filledHereKey, Buffer.from([1])] as const] : []),
      [indexOfKey, Buffer.from(to)],
      [ownDiskKey, Buffer.from([1])],
      [standbyMissingKey, null],
    ]);
  }
  await kv.flushed();
}

async function clear({ kv, clock }: TurnParts, table: number): Promise<void> {
  for (;;) {
    const keys = [...kv.range(Buffer.from([table]), Buffer.from([table + 1]), { limit: portion })];
    if (keys.length === 0) return;
    kv.commit(keys.map(([key]) => [key, null]));
    await kv.flushed();
    await clock.yield();
  }
}

/** Look-ups by inode and content, and nothing that says a directory was compared. */
async function forPrimary(parts: TurnParts): Promise<void> {
  const { kv, clock } = parts;
  const rootOf = new Map<number, string>();
  for (const name of parts.roots) {
    const number = readNumber(kv.get(metaKey(`root:${name}`)));
    if (number !== null) rootOf.set(number, name);
  }
  const places = new Map<number, { root: number; path: string } | null>();
  const end = Buffer.from([tables.entry + 1]);
  let from: Buffer = Buffer.from([tables.entry]);
  for (;;) {
    const part = [...kv.range(from, end, { limit: portion })];
    const last = part.at(-1);
    if (!last) return;
    from = Buffer.concat([last[0], Buffer.from([0])]);
    const writes: KvWrite[] = [];
    const links: KvWrite[] = [];
    // Inodes of this portion: what was written before it is in the store.
    const seen = new Map<string, { dir: number; name: string }>();
    for (const [key, value] of part) {
      const dir = numberOfKey(key);
      const name = nameOfKey(key);
      const place = placeOf(kv, dir, places);
      if (!place) continue;
      const stored = decodeEntry(value);
      const entry = refreshed(parts, stored, rootOf.get(place.root), place.path === '' ? name : `${place.path}/${name}`);
      const ref = inodeKey(place.root, entry.ino);
      const text = ref.toString('latin1');
      const other = entry.kind === 'file' && entry.ino !== 0n ? (seen.get(text) ?? refAt(kv, ref)) : null;
      const linked = entry.kind === 'file' && (entry.linked || other !== null);
      if (linked) links.push([linkKey(place.root, entry.ino, { dir, name }), Buffer.alloc(0)]);
      if (other && linked) links.push(...linkFirst(kv, place.root, entry.ino, other, writes));
      if (entry.ino !== 0n && other === null) {
        writes.push([ref, packRef(dir, name)]);
        seen.set(text, { dir, name });
      }
      if (entry.kind === 'file' && entry.size >= contentLookupBytesMin && entry.content.length > 0)
        writes.push([contentKey(entry.content), packRef(dir, name)]);
      if (entry !== stored || linked !== stored.linked) writes.push([key, encodeEntry({ ...entry, linked })]);
    }
    kv.commit([...writes, ...links]);
    await kv.flushed();
    await clock.yield();
  }
}

/** A directory gets its identity on this node, and has not been compared by it. */
function refreshed(parts: TurnParts, entry: Entry, root: string | undefined, path: string): Entry {
  if (entry.kind !== 'dir' || root === undefined) return entry;
  const here = parts.identify(root, path);
  return { ...entry, mtimeNs: 0n, ctimeNs: 0n, ino: here?.ino ?? 0n, btimeNs: here?.btimeNs ?? 0n };
}

/** The first name of a file that turned out to have several is one of them. */
function linkFirst(kv: Kv, root: number, ino: bigint, first: { dir: number; name: string }, pending: readonly KvWrite[]): KvWrite[] {
  const key = namedKey(tables.entry, first.dir, first.name);
  const value = pending.findLast(([written]) => written.equals(key))?.[1] ?? kv.get(key);
  if (!value) return [];
  const entry = decodeEntry(value);
  return [
    [linkKey(root, ino, first), Buffer.alloc(0)],
    [key, encodeEntry({ ...entry, linked: true })],
  ];
}

function refAt(kv: Kv, key: Buffer): { dir: number; name: string } | null {
  const value = kv.get(key);
  return value ? unpackRef(value) : null;
}

/** Root and path of a directory; null for one that hangs nowhere. */
function placeOf(kv: Kv, dir: number, known: Map<number, { root: number; path: string } | null>): { root: number; path: string } | null {
  const found = known.get(dir);
  if (found !== undefined) return found;
  if (known.size > 100_000) known.clear();
  const value = kv.get(numberKey(tables.dir, dir));
  let place: { root: number; path: string } | null = { root: dir, path: '' };
  if (value) {
    const { dir: parent, name } = unpackRef(value);
    const above = placeOf(kv, parent, known);
    place = above && { root: above.root, path: above.path === '' ? name : `${above.path}/${name}` };
  }
  known.set(dir, place);
  return place;
}
