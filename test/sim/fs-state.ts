import type { BytePath, FileKind } from '../../agent/platform/files.ts';
import { applyNames, mount, save, type Durable, type Inode, type NameChange, type Saved } from './fs-tree.ts';
import type { SimRandom } from './sim-random.ts';

/** How a power cut treats what was not synced. */
export interface CrashOptions {
  /** Name changes survive as any set that respects cause and effect, instead of the first ones of all. */
  chaos: boolean;
}

const blockBytes = 4096;

/**
 * One file system: what programs see, what is on stable storage, and what lies between.
 *
 * Name changes are kept in order; content and attributes per inode. `sync` writes out both as they are when it begins.
 */
export class FsState {
  inodes = new Map<number, Inode>();
  root: Inode;
  readonly reuseInos: boolean;
  /** Names with the same value are one name. */
  readonly #fold: (name: string) => string;
  usedBytes = 0;
  #durable: Durable;
  /** Unsynced name changes; the first one has the number `#firstChange`. */
  #changes: NameChange[] = [];
  #firstChange = 0;
  readonly #dirty = new Map<number, Inode>();
  /** Inodes without a name, which stable storage forgets once the removal is on it. */
  readonly #gone = new Set<number>();
  readonly #blocks = new WeakMap<Inode, Set<number>>();
  #nextId = 1;
  #nextIno = 1000;
  #freeInos: number[] = [];

  constructor(reuseInos: boolean, nowNs: bigint, fold: (name: string) => string = (name) => name) {
    this.reuseInos = reuseInos;
    this.#fold = fold;
    this.#durable = { inodes: new Map(), names: new Map() };
    this.root = this.newInode('dir', 0o755, nowNs, '');
    this.root.nlink = 2;
    this.#durable.inodes.set(this.root.id, save(this.root));
  }

  newInode(kind: FileKind, mode: number, nowNs: bigint, target: BytePath): Inode {
    const ino = (this.reuseInos ? this.#freeInos.shift() : undefined) ?? this.#nextIno++;
    const inode: Inode = {
      id: this.#nextId++,
      ino,
      kind,
      mode,
      uid: 0,
      gid: 0,
      mtimeNs: nowNs,
      ctimeNs: nowNs,
      btimeNs: nowNs,
      nlink: 0,
      data: Buffer.alloc(0),
      shared: 0,
      size: target.length,
      xattrs: new Map(),
      target,
      entries: new Map(),
      openCount: 0,
      version: 0,
      contentVersion: 0,
    };
    this.inodes.set(inode.id, inode);
    this.#dirty.set(inode.id, inode);
    return inode;
  }

  /** Records a change of content or attributes. */
  touch(inode: Inode): void {
    inode.version++;
    this.#dirty.set(inode.id, inode);
  }

  /** Sets and clears names, all or nothing. */
  changeNames(entries: { dir: Inode; name: string; child: Inode | null }[]): void {
    const marks: string[] = [];
    const needs: string[] = [];
    for (const { dir, name, child } of entries) {
      const before = dir.entries.get(name);
      // No power cut leaves two names that are one.
      const slot = `${dir.id}/${this.#fold(name)}`;
      marks.push(slot, `in ${dir.id}`);
      needs.push(slot, `ino ${dir.ino}`);
      for (const inode of [before, child]) {
        if (!inode) continue;
        marks.push(`ino ${inode.ino}`);
        needs.push(`ino ${inode.ino}`);
      }
      // A directory cannot be gone while what was moved out of it is not out.
      if (before && before !== child && before.kind === 'dir' && !entries.some((e) => e.child === before)) needs.push(`in ${before.id}`);
      if (child) dir.entries.set(name, child);
      else dir.entries.delete(name);
    }
    this.#changes.push({ entries: entries.map(({ dir, name, child }) => ({ dir: dir.id, name, child: child?.id ?? null })), marks, needs });
  }

  /** Forgets an inode that has neither name nor open descriptor. */
  release(inode: Inode): void {
    if (inode.nlink > 0 || inode.openCount > 0 || !this.inodes.delete(inode.id)) return;
    this.#gone.add(inode.id);
    this.usedBytes -= inode.size;
    this.#freeInos.push(inode.ino);
    this.#freeInos.sort((a, b) => a - b);
  }

  write(inode: Inode, data: Buffer, position: number): void {
    const end = position + data.length;
    const blocks = this.#blocks.get(inode) ?? new Set();
    for (let block = Math.floor(position / blockBytes); block * blockBytes < end; block++) blocks.add(block);
    this.#blocks.set(inode, blocks);
    if (end > inode.data.length || position < inode.shared) {
      const grown = Buffer.alloc(end > inode.data.length ? end * 2 : inode.data.length);
      inode.data.copy(grown, 0, 0, inode.size);
      inode.data = grown;
      inode.shared = 0;
    }
    data.copy(inode.data, position);
    this.usedBytes += Math.max(0, end - inode.size);
    inode.size = Math.max(inode.size, end);
    inode.contentVersion++;
    this.touch(inode);
  }

  /** The disk flips a bit: nothing shows it but the content, on stable storage too. */
  flip(inode: Inode, position: number): void {
    inode.data[position] = (inode.data[position] ?? 0) ^ 1;
  }

  /** Bytes of the blocks of a file that were ever written; the others are holes. */
  blocksBytes(inode: Inode): number {
    return (this.#blocks.get(inode)?.size ?? 0) * blockBytes;
  }

  truncate(inode: Inode, size: number): void {
    const kept = Buffer.alloc(size);
    inode.data.copy(kept, 0, 0, Math.min(size, inode.size));
    this.usedBytes += size - inode.size;
    inode.data = kept;
    inode.shared = 0;
    inode.size = size;
    inode.contentVersion++;
    this.touch(inode);
  }

  /** Begins a sync: gives what makes durable all that is there now. Calling that later, or never, is the disk's affair. */
  beginSync(): () => void {
    const upTo = this.#firstChange + this.#changes.length;
    const captured = new Map<number, Saved>();
    for (const inode of this.#dirty.values()) captured.set(inode.id, save(inode));
    return () => {
      while (this.#firstChange < upTo) {
        applyNames(this.#durable.names, this.#changes.shift()!);
        this.#firstChange++;
      }
      for (const [id, saved] of captured) {
        const known = this.#durable.inodes.get(id);
        if (!known || known.version <= saved.version) this.#durable.inodes.set(id, saved);
        if ((this.#dirty.get(id)?.version ?? -1) <= saved.version) this.#dirty.delete(id);
      }
      if (this.#changes.length > 0) return;
      for (const id of this.#gone) {
        this.#durable.inodes.delete(id);
        this.#durable.names.delete(id);
        this.#dirty.delete(id);
      }
      this.#gone.clear();
    };
  }

  /** True when a power cut now would lose nothing. */
  get clean(): boolean {
    return this.#dirty.size === 0 && this.#changes.length === 0;
  }

  /** The same file system as another process finds it: nothing lost, nothing open, and no longer tied to this one. */
  fork(): FsState {
    const names = copyNames(this.#durable.names);
    for (const change of this.#changes) applyNames(names, change);
    const copy = this.#rebuilt({ inodes: new Map([...this.inodes].map(([id, inode]) => [id, save(inode)])), names });
    copy.#durable = { inodes: new Map(this.#durable.inodes), names: copyNames(this.#durable.names) };
    copy.#changes = [...this.#changes];
    copy.#firstChange = this.#firstChange;
    for (const id of this.#dirty.keys()) {
      const inode = copy.inodes.get(id);
      if (inode) copy.#dirty.set(id, inode);
    }
    return copy;
  }

  /** The file system after a power cut now: what was synced, and a random part of the rest. */
  afterCrash(random: SimRandom, options: CrashOptions): FsState {
    const names = copyNames(this.#durable.names);
    for (const change of options.chaos ? anyCausal(this.#changes, random) : this.#changes.slice(0, random.int(this.#changes.length + 1))) {
      applyNames(names, change);
    }
    const inodes = new Map(this.#durable.inodes);
    for (const [id, inode] of this.#dirty) {
      const before = inodes.get(id);
      inodes.set(id, tornVersion(before, save(inode), random));
    }
    const state = this.#rebuilt({ inodes, names });
    // What a mount finds after a crash is what is on the disk, by definition.
    state.#durable = { inodes, names };
    return state;
  }

  #rebuilt(durable: Durable): FsState {
    const state = new FsState(this.reuseInos, 0n, this.#fold);
    state.inodes = mount(durable, this.root.id);
    state.root = state.inodes.get(this.root.id)!;
    state.#dirty.clear();
    state.#nextId = this.#nextId;
    state.#nextIno = this.#nextIno;
    const used = new Set<number>();
    for (const inode of state.inodes.values()) {
      used.add(inode.ino);
      state.usedBytes += inode.size;
    }
    for (let ino = 1000; ino < this.#nextIno; ino++) if (!used.has(ino)) state.#freeInos.push(ino);
    return state;
  }
}

function copyNames(names: Map<number, Map<string, number>>): Map<number, Map<string, number>> {
  return new Map([...names].map(([dir, entries]) => [dir, new Map(entries)]));
}

/** A random set of changes in which none stands without an earlier one that it builds on. */
function anyCausal(changes: readonly NameChange[], random: SimRandom): NameChange[] {
  const keep = random.next();
  const lost = new Set<string>();
  return changes.filter((change) => {
    const stays = random.chance(keep) && !change.needs.some((need) => lost.has(need));
    if (!stays) for (const mark of change.marks) lost.add(mark);
    return stays;
  });
}

/** One inode whose last changes were not synced: old, new, or new with blocks that never arrived. */
function tornVersion(before: Saved | undefined, now: Saved, random: SimRandom): Saved {
  const old: Saved = before ?? { ...now, data: Buffer.alloc(0), size: 0 };
  const attributes = random.chance(0.5) ? now : old;
  if (now.kind !== 'file' || now.contentVersion === before?.contentVersion) return { ...now, ...attributesOf(attributes) };
  const fate = random.int(4);
  if (fate === 0) return { ...old, ...attributesOf(attributes) };
  if (fate === 1) return { ...now, ...attributesOf(attributes) };
  const kept = Math.min(old.size, now.size);
  const size = fate === 2 ? kept + random.int(now.size - kept + 1) : now.size;
  const data = Buffer.alloc(size);
  now.data.copy(data, 0, 0, size);
  if (fate === 3) {
    for (let at = 0; at < size; at += blockBytes) {
      if (random.chance(0.5)) continue;
      const end = Math.min(at + blockBytes, size);
      data.fill(0, at, end);
      if (at < old.size) old.data.copy(data, at, at, Math.min(end, old.size));
    }
  }
  return { ...now, ...attributesOf(attributes), data, size };
}

function attributesOf(saved: Saved): Pick<Saved, 'mode' | 'uid' | 'gid' | 'mtimeNs' | 'ctimeNs' | 'xattrs'> {
  const { mode, uid, gid, mtimeNs, ctimeNs, xattrs } = saved;
  return { mode, uid, gid, mtimeNs, ctimeNs, xattrs };
}
