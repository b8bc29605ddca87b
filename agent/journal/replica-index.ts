import { joinPath, type BytePath } from '../platform/files.ts';
import type { Kv, KvWrite } from '../platform/kv.ts';
import { decodeEntry, encodeEntry, type Entry } from './entry.ts';
import {
  contentKey,
  inodeKey,
  linkKey,
  metaKey,
  nameOfKey,
  namedKey,
  numberKey,
  numberOfKey,
  packRef,
  refOfLinkKey,
  tables,
  unpackRef,
} from './keys.ts';
import { Layer } from './layer.ts';

/** Files from this size on are found again by content (a copy needs no body). */
export const contentLookupBytesMin = 16 * 1024;
const knownMax = 10_000;

export interface Ref {
  dir: number;
  name: string;
}

export interface FoundEntry extends Ref {
  entry: Entry;
}

/**
 * The tree of one replica: for every name below every root, its entry.
 *
 * Directories are numbered and entries keyed by (number, name), so that renaming a directory of any size changes one
 * key. Changes are made in layers, one a batch: a layer is seen by all reads at once and becomes durable with the
 * batch it belongs to (`writesOf` in the batch's own commit, then `settle`), or vanishes (`discardLayers`).
 */
export class ReplicaIndex {
  readonly #kv: Kv;
  readonly #findByIdentity: boolean;
  readonly #layers: Layer[] = [];
  #nextDir: number;
  /** No directory with this number or a higher one has an entry in the store: those of a fill are looked up in the layers alone. */
  #storedBelow: number;
  /** Some file has several names, or may have had. */
  #holdsLinks: boolean;
  #unknown: number;
  #revision = 0;
  /** Numbers of roots and directories that were looked up, until a directory goes, moves, or is given up with its layer. */
  readonly #known = new Map<string, number>();

  /** `findByIdentity` keeps the look-up tables by inode and content that only a sender needs. */
  constructor(kv: Kv, options: { findByIdentity: boolean }) {
    this.#kv = kv;
    this.#findByIdentity = options.findByIdentity;
    this.#nextDir = this.#storedBelow = readNumber(kv.get(metaKey('next-dir'))) ?? 1;
    this.#unknown = readNumber(kv.get(metaKey('unknown'))) ?? 0;
    this.#holdsLinks = [...kv.range(Buffer.from([tables.links]), Buffer.from([tables.links + 1]), { limit: 1 })].length > 0;
  }

  /** The number of a root's own directory, or null when the root was never seen. */
  root(name: string): number | null {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const number = readNumber(this.#overlayMeta(`root:${name}`) ?? this.#kv.get(metaKey(`root:${name}`)));
    if (number !== null) this.#remember(name, number);
    return number;
  }

  #remember(key: string, dir: number): void {
    if (this.#known.size >= knownMax) this.#known.clear();
    this.#known.set(key, dir);
  }

  /** Number of a directory by its path below a root; null when it is not in the index. */
  dirAt(root: string, path: BytePath): number | null {
    if (path === '') return this.root(root);
    const key = `${root}\0${path}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const slash = path.lastIndexOf('/');
    const above = this.dirAt(root, slash < 0 ? '' : path.slice(0, slash));
    const entry = above === null ? undefined : this.get(above, path.slice(slash + 1));
    if (entry?.kind !== 'dir') return null;
    this.#remember(key, entry.dir);
    return entry.dir;
  }

  /** Looks a path up; the root itself has no entry. */
  at(root: string, path: BytePath): FoundEntry | null {
    const slash = path.lastIndexOf('/');
    const dir = this.dirAt(root, slash < 0 ? '' : path.slice(0, slash));
    if (dir === null || path === '') return null;
    const name = path.slice(slash + 1);
    const entry = this.get(dir, name);
    return entry ? { dir, name, entry } : null;
  }

  get(dir: number, name: string): Entry | undefined {
    for (let i = this.#layers.length - 1; i >= 0; i--) {
      const known = this.#layers[i]?.entries.get(dir)?.get(name);
      if (known !== undefined) return known ?? undefined;
    }
    return this.settled(dir, name);
  }

  /** The same without what is still on its way. */
  settled(dir: number, name: string): Entry | undefined {
    if (dir >= this.#storedBelow) return undefined;
    const value = this.#kv.get(namedKey(tables.entry, dir, name));
    return value && decodeEntry(value);
  }

  /** Entries of a directory in byte order, from names greater than `after` on, that start with `prefix`. */
  *entries(dir: number, options: { after?: string; prefix?: string } = {}): Generator<[string, Entry]> {
    const { after = '', prefix = '' } = options;
    const changed = new Map<string, Entry | null>();
    for (const layer of this.#layers) {
      for (const [name, entry] of layer.entries.get(dir) ?? []) if (name > after && name.startsWith(prefix)) changed.set(name, entry);
    }
    const names = [...changed.keys()].toSorted(byBytes);
    let next = 0;
    // Reads in portions: a range must not stay open while the caller does other things.
    let from = prefix > after ? namedKey(tables.entry, dir, prefix) : namedKey(tables.entry, dir, after === '' ? '' : `${after}\0`);
    const end = prefix === '' ? numberKey(tables.entry, dir + 1) : endOfPrefix(namedKey(tables.entry, dir, prefix));
    while (dir < this.#storedBelow) {
      const portion = [...this.#kv.range(from, end, { limit: 512 })];
      for (const [key, value] of portion) {
        const name = nameOfKey(key);
        for (; next < names.length && (names[next] ?? '') < name; next++) yield* present(names[next] ?? '', changed);
        if (changed.has(name)) {
          yield* present(name, changed);
          if (names[next] === name) next++;
        } else yield [name, decodeEntry(value)];
      }
      const last = portion.at(-1);
      if (portion.length < 512 || !last) break;
      from = Buffer.concat([last[0], Buffer.from([0])]);
    }
    for (; next < names.length; next++) yield* present(names[next] ?? '', changed);
  }

  /** Entries in the order of the store, whatever their directory, without what is still on its way; at most `most` after a place. */
  settledAfter(after: Ref | null, most: number): FoundEntry[] {
    const from = after ? Buffer.concat([namedKey(tables.entry, after.dir, after.name), Buffer.from([0])]) : Buffer.from([tables.entry]);
    return [...this.#kv.range(from, Buffer.from([tables.entry + 1]), { limit: most })].map(([key, value]) => ({
      dir: numberOfKey(key),
      name: nameOfKey(key),
      entry: decodeEntry(value),
    }));
  }

  /** Root number and path of a directory. */
  pathOf(dir: number): { root: number; path: BytePath } {
    const names: string[] = [];
    for (let depth = 0; depth < 4096; depth++) {
      const parent = this.#parentOf(dir);
      if (!parent) return { root: dir, path: names.toReversed().join('/') };
      names.push(parent.name);
      dir = parent.dir;
    }
    throw new Error('the index holds a cycle of directories');
  }

  /** A name that had this inode when it was indexed. The caller compares the rest: inode numbers are used again. */
  byInode(root: number, ino: bigint): FoundEntry | null {
    for (let i = this.#layers.length - 1; i >= 0; i--) {
      const found = this.#check(this.#layers[i]?.inodes.get(ino));
      if (found?.entry.ino === ino && this.pathOf(found.dir).root === root) return found;
    }
    const value = this.#kv.get(inodeKey(root, ino));
    const found = this.#check(value && unpackRef(value));
    if (found?.entry.ino === ino) return found;
    // The name that was noted is gone; a file with several names has another.
    if (!this.#holdsLinks) return null;
    const [name] = this.namesOf(root, ino);
    return name ?? null;
  }

  /** All names of a file that has several, as far as they are in the index. */
  namesOf(root: number, ino: bigint): FoundEntry[] {
    return [...this.eachNameOf(root, ino)];
  }

  /** The same one by one, for who needs only some of them. */
  *eachNameOf(root: number, ino: bigint): Generator<FoundEntry> {
    const names = new Map<string, Ref>();
    const from = linkKey(root, ino);
    for (const [key] of this.#kv.range(from, endOfPrefix(from), { limit: 4096 })) {
      const ref = refOfLinkKey(key);
      names.set(`${ref.dir}/${ref.name}`, ref);
    }
    for (const layer of this.#layers) {
      for (const [key, { dir, name, there }] of layer.links.get(ino) ?? []) {
        if (there) names.set(key, { dir, name });
        else names.delete(key);
      }
    }
    for (const ref of names.values()) {
      const found = this.#check(ref);
      // The number may be a directory's by now: inode numbers are used again.
      if (found?.entry.kind === 'file' && found.entry.ino === ino && this.pathOf(ref.dir).root === root) yield found;
    }
  }

  /** A file that has this content (16 bytes of SHA-256), if one is known. */
  byContent(content: Buffer): FoundEntry | null {
    const value = this.#kv.get(contentKey(content));
    const found = this.#check(value && unpackRef(value));
    return found?.entry.kind === 'file' && found.entry.content.equals(content) ? found : null;
  }

  chunksOf(dir: number, name: string): Buffer | undefined {
    const key = namedKey(tables.chunks, dir, name);
    for (let i = this.#layers.length - 1; i >= 0; i--) {
      const known = this.#layers[i]?.extra.get(key.toString('latin1'));
      if (known !== undefined) return known ?? undefined;
    }
    return this.#kv.get(key);
  }

  /** Files and bytes below a root. */
  totals(root: string): { files: number; bytes: number } {
    const stored = this.#kv.get(metaKey(`totals:${root}`));
    const totals = { files: stored?.readUIntBE(0, 6) ?? 0, bytes: stored?.readUIntBE(6, 6) ?? 0 };
    for (const layer of this.#layers) {
      const change = layer.totals.get(root);
      totals.files += change?.files ?? 0;
      totals.bytes += change?.bytes ?? 0;
    }
    return totals;
  }

  // Changes -----------------------------------------------------------------------------------------------------------

  /** Begins a layer on top of those that stand. */
  begin(): Layer {
    const layer = new Layer();
    this.#layers.push(layer);
    return layer;
  }

  /** Makes a root's directory; returns its number. */
  addRoot(layer: Layer, name: string): number {
    const known = this.root(name);
    if (known !== null) return known;
    const dir = this.#number(layer);
    layer.extra.set(metaKey(`root:${name}`).toString('latin1'), packNumber(dir));
    return dir;
  }

  #number(layer: Layer): number {
    layer.dirsBelow = this.#nextDir + 1;
    return this.#nextDir++;
  }

  /** Puts an entry. A directory that is new gets its number here (`entry.dir` 0); returns the entry's directory number. */
  put(layer: Layer, root: string, dir: number, name: string, entry: Entry): number {
    this.#revision++;
    this.#disprove(layer, dir);
    const old = this.get(dir, name);
    if (old && old.kind === 'dir' && (entry.kind !== 'dir' || (entry.dir !== 0 && entry.dir !== old.dir)))
      this.remove(layer, root, dir, name);
    else if (old) layer.count(root, old, -1);
    if (entry.kind === 'dir') {
      if (entry.dir === 0) entry = { ...entry, dir: old?.kind === 'dir' ? old.dir : this.#number(layer) };
      layer.extra.set(numberKey(tables.dir, entry.dir).toString('latin1'), packRef(dir, name));
    }
    layer.count(root, entry, 1);
    if (!this.#findByIdentity) layer.set(dir, name, entry);
    else {
      if (old?.linked && (old.ino !== entry.ino || !entry.linked)) layer.setLink(old.ino, dir, name, false);
      if (entry.linked) this.#link(layer, root, dir, name, entry);
      layer.replace(dir, name, entry);
    }
    return entry.dir;
  }

  /** A name of a file with several; the name that was there first was entered when it was the only one. */
  #link(layer: Layer, root: string, dir: number, name: string, entry: Entry): void {
    this.#holdsLinks = true;
    const rootNumber = this.root(root);
    const first = rootNumber === null ? null : this.byInode(rootNumber, entry.ino);
    if (first?.entry.kind === 'file' && !first.entry.linked) {
      layer.update(first.dir, first.name, { ...first.entry, linked: true });
      layer.setLink(entry.ino, first.dir, first.name, true);
    }
    layer.setLink(entry.ino, dir, name, true);
  }

  /**
   * Changes what is known of a directory that nobody has looked at. It may be gone, and its inode's number another's by
   * now, which must be found in its place.
   */
  amendDir(layer: Layer, dir: number, name: string, change: { mode: number; mtimeNs: bigint }): void {
    const entry = this.get(dir, name);
    if (entry?.kind !== 'dir') return;
    this.#revision++;
    layer.update(dir, name, { ...entry, ...change });
  }

  /**
   * The time with which a directory was proven says nothing of what the index has come to hold since: a volume that is put
   * back to an older state shows that very time again.
   */
  #disprove(layer: Layer, dir: number): void {
    const parent = this.#findByIdentity ? this.#parentOf(dir) : null;
    const entry = parent ? this.get(parent.dir, parent.name) : undefined;
    if (parent && entry?.kind === 'dir' && entry.mtimeNs !== 0n) layer.update(parent.dir, parent.name, { ...entry, mtimeNs: 0n });
  }

  /** Removes a name and, of a directory, all below it. Returns what went. */
  remove(layer: Layer, root: string, dir: number, name: string): { files: number; bytes: number } {
    this.#revision++;
    const old = this.get(dir, name);
    const gone = { files: old && old.kind !== 'dir' ? 1 : 0, bytes: old?.size ?? 0 };
    if (!old) return gone;
    this.#disprove(layer, dir);
    if (old.kind === 'dir') {
      this.#known.clear();
      for (const child of [...this.entries(old.dir)].map(([childName]) => childName)) {
        const below = this.remove(layer, root, old.dir, child);
        gone.files += below.files;
        gone.bytes += below.bytes;
      }
      layer.extra.set(numberKey(tables.dir, old.dir).toString('latin1'), null);
    }
    layer.set(dir, name, null);
    if (old.linked) layer.setLink(old.ino, dir, name, false);
    layer.count(root, old, -1);
    if (old.kind === 'file') layer.extra.set(namedKey(tables.chunks, dir, name).toString('latin1'), null);
    return gone;
  }

  /** Renames a name; what is below a directory goes with it, whatever its size. */
  move(layer: Layer, root: string, from: Ref, to: Ref): void {
    this.#revision++;
    const entry = this.get(from.dir, from.name);
    if (!entry) throw new Error('a name that is not in the index cannot move');
    const chunks = this.chunksOf(from.dir, from.name);
    this.#disprove(layer, from.dir);
    this.#disprove(layer, to.dir);
    this.remove(layer, root, to.dir, to.name);
    layer.set(from.dir, from.name, null);
    if (this.#findByIdentity) layer.replace(to.dir, to.name, entry);
    else layer.set(to.dir, to.name, entry);
    if (entry.kind === 'dir') this.#known.clear();
    if (entry.linked) {
      layer.setLink(entry.ino, from.dir, from.name, false);
      layer.setLink(entry.ino, to.dir, to.name, true);
    }
    if (entry.kind === 'dir') layer.extra.set(numberKey(tables.dir, entry.dir).toString('latin1'), packRef(to.dir, to.name));
    if (chunks) {
      layer.extra.set(namedKey(tables.chunks, from.dir, from.name).toString('latin1'), null);
      layer.extra.set(namedKey(tables.chunks, to.dir, to.name).toString('latin1'), chunks);
    }
  }

  setChunks(layer: Layer, dir: number, name: string, chunks: Buffer | null): void {
    layer.extra.set(namedKey(tables.chunks, dir, name).toString('latin1'), chunks);
  }

  /** The writes that make the oldest layer durable; goes into the commit of its batch, followed by `settle`. */
  writesOf(layer: Layer): KvWrite[] {
    if (this.#layers[0] !== layer) throw new Error('layers become durable in the order in which they were made');
    const writes: KvWrite[] = [];
    for (const [dir, names] of layer.entries) {
      let root: number | null = null;
      for (const [name, entry] of names) {
        writes.push([namedKey(tables.entry, dir, name), entry && encodeEntry(entry)]);
        if (!this.#findByIdentity) continue;
        if (entry) {
          root ??= this.pathOf(dir).root;
          if (!layer.isSameFile(dir, name)) writes.push([inodeKey(root, entry.ino), packRef(dir, name)]);
          if (entry.kind === 'file' && entry.size >= contentLookupBytesMin && entry.content.length > 0)
            writes.push([contentKey(entry.content), packRef(dir, name)]);
        } else writes.push(...this.#forget(dir, name));
      }
    }
    if (this.#findByIdentity) {
      for (const [ino, names] of layer.links) {
        for (const ref of names.values()) writes.push([linkKey(this.pathOf(ref.dir).root, ino, ref), ref.there ? Buffer.alloc(0) : null]);
      }
    }
    for (const [key, value] of layer.extra) writes.push([Buffer.from(key, 'latin1'), value]);
    for (const [root, change] of layer.totals) {
      const stored = this.#kv.get(metaKey(`totals:${root}`));
      const totals = Buffer.alloc(12);
      totals.writeUIntBE(Math.max(0, (stored?.readUIntBE(0, 6) ?? 0) + change.files), 0, 6);
      totals.writeUIntBE(Math.max(0, (stored?.readUIntBE(6, 6) ?? 0) + change.bytes), 6, 6);
      writes.push([metaKey(`totals:${root}`), totals]);
    }
    writes.push([metaKey('next-dir'), packNumber(this.#nextDir)]);
    if (layer.unknown !== 0) writes.push([metaKey('unknown'), packNumber(Math.max(0, this.#unknown + layer.unknown))]);
    return writes;
  }

  /** Look-up keys that still lead to a name that goes. */
  *#forget(dir: number, name: string): Generator<KvWrite> {
    const stored = this.#kv.get(namedKey(tables.entry, dir, name));
    if (!stored) return;
    const entry = decodeEntry(stored);
    const keys = [inodeKey(this.pathOf(dir).root, entry.ino)];
    if (entry.size >= contentLookupBytesMin && entry.content.length > 0) keys.push(contentKey(entry.content));
    for (const key of keys) {
      const ref = this.#kv.get(key);
      if (!ref) continue;
      const { dir: refDir, name: refName } = unpackRef(ref);
      // A rename already leads to the new name in a write of the same commit.
      if (refDir === dir && refName === name && !this.#layers[0]?.refersElsewhere(entry, dir, name)) yield [key, null];
    }
  }

  /** The oldest layer's writes are committed. */
  settle(layer: Layer): void {
    if (this.#layers[0] !== layer) throw new Error('layers settle in order');
    this.#layers.shift();
    this.#unknown = Math.max(0, this.#unknown + layer.unknown);
    this.#storedBelow = Math.max(this.#storedBelow, layer.dirsBelow);
  }

  /** Forgets the newest layer: nothing of it happened. */
  drop(layer: Layer): void {
    if (this.#layers.at(-1) !== layer) throw new Error('only the newest layer can be dropped');
    this.#revision++;
    this.#layers.pop();
    this.#known.clear();
  }

  /** Forgets every layer: nothing of them happened. */
  discardLayers(): void {
    this.#revision++;
    this.#layers.length = 0;
    this.#known.clear();
  }

  /** There are files whose content is not known: look-ups by identity miss them. */
  get holdsUnknown(): boolean {
    let unknown = this.#unknown;
    for (const layer of this.#layers) unknown += layer.unknown;
    return unknown > 0;
  }

  /** Another number after every change: what was computed from the index holds while this stays. */
  get revision(): number {
    return this.#revision;
  }

  get layersOpen(): number {
    return this.#layers.length;
  }

  #check(ref: Ref | undefined): FoundEntry | null {
    if (!ref) return null;
    const entry = this.get(ref.dir, ref.name);
    return entry ? { ...ref, entry } : null;
  }

  #parentOf(dir: number): Ref | null {
    const key = numberKey(tables.dir, dir);
    const text = key.toString('latin1');
    for (let i = this.#layers.length - 1; i >= 0; i--) {
      const known = this.#layers[i]?.extra.get(text);
      if (known) return unpackRef(known);
    }
    const value = this.#kv.get(key);
    return value ? unpackRef(value) : null;
  }

  #overlayMeta(name: string): Buffer | undefined {
    const key = metaKey(name).toString('latin1');
    for (let i = this.#layers.length - 1; i >= 0; i--) {
      const known = this.#layers[i]?.extra.get(key);
      if (known) return known;
    }
    return undefined;
  }
}

function* present(name: string, changed: ReadonlyMap<string, Entry | null>): Generator<[string, Entry]> {
  const entry = changed.get(name);
  if (entry) yield [name, entry];
}

/** Byte order, which for byte strings is code unit order. */
export function byBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function endOfPrefix(key: Buffer): Buffer {
  const end = Buffer.from(key);
  for (let i = end.length - 1; i >= 0; i--) {
    const byte = end[i] ?? 0;
    if (byte < 0xff) {
      end[i] = byte + 1;
      return end.subarray(0, i + 1);
    }
  }
  return end;
}

export function packNumber(number: number): Buffer {
  const out = Buffer.allocUnsafe(6);
  out.writeUIntBE(number, 0, 6);
  return out;
}

export function readNumber(value: Buffer | undefined): number | null {
  return value ? value.readUIntBE(0, 6) : null;
}

/** For people: a path below a root. */
export function showPlace(root: string, path: BytePath): string {
  return joinPath(root, path);
}
