import type { BytePath, FileKind } from '../../agent/platform/files.ts';

/** An inode as it is in memory. `id` is never reused; `ino`, the number that programs see, may be. */
export interface Inode {
  readonly id: number;
  readonly ino: number;
  readonly kind: FileKind;
  mode: number;
  uid: number;
  gid: number;
  mtimeNs: bigint;
  ctimeNs: bigint;
  readonly btimeNs: bigint;
  nlink: number;
  /** At least `size` bytes. The first `shared` of them are also held by a durable version and must not be changed in place. */
  data: Buffer;
  shared: number;
  size: number;
  xattrs: ReadonlyMap<string, Buffer>;
  readonly target: BytePath;
  readonly entries: Map<string, Inode>;
  openCount: number;
  /** Raised by every change of content or attributes. */
  version: number;
  /** Raised by every change of content. */
  contentVersion: number;
}

/** One inode's content and attributes at one moment, with nothing that changes later. */
export interface Saved {
  kind: FileKind;
  ino: number;
  mode: number;
  uid: number;
  gid: number;
  mtimeNs: bigint;
  ctimeNs: bigint;
  btimeNs: bigint;
  data: Buffer;
  size: number;
  xattrs: ReadonlyMap<string, Buffer>;
  target: BytePath;
  version: number;
  contentVersion: number;
}

/** One atomic change of names: entries set or cleared together, as a rename does. */
export interface NameChange {
  entries: { dir: number; name: string; child: number | null }[];
  /** What is in doubt when this change is lost. */
  marks: string[];
  /** What must not be in doubt for this change to survive a power cut. */
  needs: string[];
}

/** Takes what would be on disk if the inode were written out now. */
export function save(inode: Inode): Saved {
  inode.shared = inode.size;
  const { kind, ino, mode, uid, gid, mtimeNs, ctimeNs, btimeNs, data, size, xattrs, target, version, contentVersion } = inode;
  return { kind, ino, mode, uid, gid, mtimeNs, ctimeNs, btimeNs, data, size, xattrs, target, version, contentVersion };
}

/** What is on stable storage: each inode as last written out, and the names of each directory, by inode id. */
export interface Durable {
  inodes: Map<number, Saved>;
  names: Map<number, Map<string, number>>;
}

export function applyNames(names: Map<number, Map<string, number>>, change: NameChange): void {
  for (const { dir, name, child } of change.entries) {
    let entries = names.get(dir);
    if (!entries) names.set(dir, (entries = new Map()));
    if (child === null) entries.delete(name);
    else entries.set(name, child);
  }
}

/**
 * Builds the tree that a mount finds: what the names reach from the root. A directory that is reached twice and a name
 * without inode are dropped, as a file system check would.
 */
export function mount(durable: Durable, rootId: number): Map<number, Inode> {
  const inodes = new Map<number, Inode>();
  const load = (id: number): Inode | null => {
    const saved = durable.inodes.get(id);
    if (!saved) return null;
    // Cut to its size, so that whoever appends takes a buffer of its own.
    const data = saved.data.subarray(0, saved.size);
    const inode: Inode = { ...saved, id, data, shared: saved.size, nlink: 0, entries: new Map(), openCount: 0 };
    inodes.set(id, inode);
    return inode;
  };
  const root = load(rootId);
  if (!root) throw new Error('the root directory was never written');
  root.nlink = 2;
  const queue = [root];
  for (let dir = queue.shift(); dir; dir = queue.shift()) {
    for (const [name, id] of durable.names.get(dir.id) ?? []) {
      const seen = inodes.get(id);
      if (seen?.kind === 'dir') continue;
      const child = seen ?? load(id);
      if (!child) continue;
      dir.entries.set(name, child);
      child.nlink += child.kind === 'dir' ? 2 : 1;
      if (child.kind === 'dir') {
        dir.nlink++;
        queue.push(child);
      }
    }
  }
  return inodes;
}
