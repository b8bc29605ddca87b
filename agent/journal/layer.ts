import type { Entry } from './entry.ts';

/** The changes of one batch to a replica index, seen by reads before they are durable. */
export class Layer {
  /** Directory number -> name -> new entry, or null when the name goes. */
  readonly entries = new Map<number, Map<string, Entry | null>>();
  /** Other keys (latin1) and values of the store. */
  readonly extra = new Map<string, Buffer | null>();
  /** Names by inode, for look-ups before the layer is durable. */
  readonly inodes = new Map<bigint, { dir: number; name: string }>();
  /** Names of files with several: by inode, then by key; false when the name goes. */
  readonly links = new Map<bigint, Map<string, { dir: number; name: string; there: boolean }>>();
  /** Directories that were numbered in this layer have numbers below this one. */
  dirsBelow = 0;
  /** Entries (directory/name) that changed and stay the same file: the inode's look-up key is not theirs to write. */
  readonly #sameFile = new Set<string>();
  readonly totals = new Map<string, { files: number; bytes: number }>();
  /** How many more files there are whose content is not known. */
  unknown = 0;

  set(dir: number, name: string, entry: Entry | null): void {
    let names = this.entries.get(dir);
    if (!names) this.entries.set(dir, (names = new Map()));
    names.set(name, entry);
  }

  /** Changes an entry that stays the same file. */
  update(dir: number, name: string, entry: Entry): void {
    if (this.entries.get(dir)?.get(name) === undefined) this.#sameFile.add(`${dir}/${name}`);
    this.set(dir, name, entry);
  }

  isSameFile(dir: number, name: string): boolean {
    return this.#sameFile.size > 0 && this.#sameFile.has(`${dir}/${name}`);
  }

  /** Sets an entry that is another file than what was there. */
  replace(dir: number, name: string, entry: Entry): void {
    if (this.#sameFile.size > 0) this.#sameFile.delete(`${dir}/${name}`);
    this.inodes.set(entry.ino, { dir, name });
    this.set(dir, name, entry);
  }

  /** A name of a file with several comes or goes. */
  setLink(ino: bigint, dir: number, name: string, there: boolean): void {
    let names = this.links.get(ino);
    if (!names) this.links.set(ino, (names = new Map()));
    names.set(`${dir}/${name}`, { dir, name, there });
  }

  count(root: string, entry: Entry, sign: 1 | -1): void {
    if (entry.kind !== 'file') return;
    if (entry.content.length === 0) this.unknown += sign;
    const totals = this.totals.get(root) ?? { files: 0, bytes: 0 };
    totals.files += sign;
    totals.bytes += sign * entry.size;
    this.totals.set(root, totals);
  }

  /** Whether this layer gives the same file another name. */
  refersElsewhere(entry: Entry, dir: number, name: string): boolean {
    const ref = this.inodes.get(entry.ino);
    return ref !== undefined && (ref.dir !== dir || ref.name !== name);
  }

  get isEmpty(): boolean {
    return this.entries.size === 0 && this.extra.size === 0;
  }
}
