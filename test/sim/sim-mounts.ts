import type { BytePath } from '../../agent/platform/files.ts';
import type { Inode } from './fs-tree.ts';

const volumesDir = '/.volumes';

/**
 * File systems that come and go below the one of a simulated host. Each is a hidden directory of the same disk that is
 * seen at its mount point: so power cuts treat all of them alike.
 */
export class SimMounts {
  /** What is mounted, by mount point; absolute paths. */
  readonly #at = new Map<BytePath, string>();
  readonly #volumes: string[] = [];
  /** To which file system an inode belongs; those of the first one are not listed. */
  readonly #volumeOf = new Map<number, string>();
  /** Grows with each mount: what was mounted anew is another mount. */
  #mounted = 0;
  readonly #mountIds = new Map<BytePath, number>();

  /** Where the top of a file system is kept; its maker puts a directory there. */
  static top(volume: string): BytePath {
    return `${volumesDir}/${volume}`;
  }

  static readonly home = volumesDir;

  mount(point: BytePath, volume: string): void {
    if (!this.#volumes.includes(volume)) this.#volumes.push(volume);
    this.#at.set(point, volume);
    this.#mountIds.set(point, ++this.#mounted);
  }

  umount(point: BytePath): void {
    this.#at.delete(point);
  }

  has(point: BytePath): boolean {
    return this.#at.has(point);
  }

  get points(): BytePath[] {
    return [...this.#at.keys()].toSorted();
  }

  /** Where a path is on the disk. */
  translate(path: BytePath): BytePath {
    const point = this.pointOf(path);
    const volume = point === null ? undefined : this.#at.get(point);
    return point === null || volume === undefined ? path : `${SimMounts.top(volume)}${path.slice(point.length)}`;
  }

  /** The innermost mount point at or above a path; null on the first file system. */
  pointOf(path: BytePath): BytePath | null {
    let found: BytePath | null = null;
    for (const point of this.#at.keys()) {
      if ((path === point || path.startsWith(`${point}/`)) && (found === null || point.length > found.length)) found = point;
    }
    return found;
  }

  mountId(point: BytePath | null): number {
    return point === null ? 0 : (this.#mountIds.get(point) ?? 0);
  }

  /** A new inode belongs to the file system of its directory. */
  born(inode: Inode, dir: Inode, path: BytePath): void {
    const volume =
      path.startsWith(`${volumesDir}/`) && path.indexOf('/', volumesDir.length + 1) < 0 ? path.slice(volumesDir.length + 1) : null;
    const above = volume ?? this.#volumeOf.get(dir.id);
    // A number that was lost in a power cut is given again.
    if (above === undefined) this.#volumeOf.delete(inode.id);
    else this.#volumeOf.set(inode.id, above);
    if (volume !== null && !this.#volumes.includes(volume)) this.#volumes.push(volume);
  }

  volumeOf(inode: Inode): string | null {
    return this.#volumeOf.get(inode.id) ?? null;
  }

  deviceOf(inode: Inode, first: bigint): bigint {
    const volume = this.volumeOf(inode);
    return volume === null ? first : first + 1000n * BigInt(this.#volumes.indexOf(volume) + 1);
  }

  /** Inode numbers of two file systems fall together. */
  inoOf(inode: Inode): bigint {
    return BigInt(this.volumeOf(inode) === null ? inode.ino : inode.ino ^ 1);
  }
}
