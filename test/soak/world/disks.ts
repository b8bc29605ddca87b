import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { runNow } from '../../lab/processes.ts';

export type DiskKind = 'ext4' | 'ext4-seconds' | 'xfs' | 'btrfs' | 'tmpfs';

const umountTries = 20;
const retryMs = 100;

/** How often disks came and went so far. */
export const moved = { mounts: 0, umounts: 0 };

/** A file system that can be mounted and unmounted. All but tmpfs keep their content while they are away. */
export class Disk {
  readonly kind: DiskKind;
  readonly at: string;
  readonly #image: string;
  readonly #size: string;
  readonly #subvolume: string | null;

  /** `image` may be shared by subvolumes of one btrfs; it is made when it is not there. */
  constructor(options: { kind: DiskKind; at: string; image: string; size: string; subvolume?: string }) {
    this.kind = options.kind;
    this.at = options.at;
    this.#image = options.image;
    this.#size = options.size;
    this.#subvolume = options.subvolume ?? null;
    if (this.kind !== 'tmpfs' && !existsSync(this.#image)) this.#make();
    if (this.#subvolume !== null) this.#makeSubvolume(this.#subvolume);
  }

  get isMounted(): boolean {
    return mountedAt(this.at);
  }

  mount(): void {
    if (this.isMounted) return;
    moved.mounts++;
    mkdirSync(this.at, { recursive: true });
    if (this.kind === 'tmpfs') runNow('mount', ['-t', 'tmpfs', '-o', `size=${this.#size},mode=0755`, 'tmpfs', this.at]);
    else
      runNow('mount', ['-o', ['loop', ...(this.#subvolume === null ? [] : [`subvol=${this.#subvolume}`])].join(','), this.#image, this.at]);
  }

  /** Tries for a moment without force; `lazy` at once takes the name away under whoever works there. */
  async umount(lazy: boolean): Promise<void> {
    if (this.isMounted) moved.umounts++;
    for (let tries = 0; this.isMounted; tries++) {
      try {
        runNow('umount', [...(lazy || tries >= umountTries ? ['-l'] : []), this.at]);
      } catch (error) {
        if (lazy || tries >= umountTries) throw error;
        await pause(retryMs);
      }
    }
  }

  /** Allows this many bytes more in all below the btrfs (its quota), or any number again. */
  limit(bytes: number | null): void {
    runNow('btrfs', ['qgroup', 'limit', bytes === null ? 'none' : String(bytes), this.at]);
  }

  used(): number {
    return Number(runNow('df', ['--output=used', '-B1', this.at]).trim().split('\n').at(-1));
  }

  #make(): void {
    runNow('truncate', ['-s', this.#size, this.#image]);
    if (this.kind === 'xfs') runNow('mkfs.xfs', ['-q', this.#image]);
    else if (this.kind === 'btrfs') runNow('mkfs.btrfs', ['-q', this.#image]);
    // Inodes of 128 bytes have no room for parts of a second.
    else runNow('mkfs.ext4', ['-q', ...(this.kind === 'ext4-seconds' ? ['-I', '128'] : []), '-E', 'lazy_itable_init=1', this.#image]);
  }

  #makeSubvolume(name: string): void {
    const top = `${this.#image}.top`;
    mkdirSync(top, { recursive: true });
    runNow('mount', ['-o', 'loop', this.#image, top]);
    try {
      if (!existsSync(join(top, name))) runNow('btrfs', ['subvolume', 'create', join(top, name)]);
      runNow('btrfs', ['quota', 'enable', top]);
    } finally {
      runNow('umount', [top]);
    }
  }
}

export function mountedAt(path: string): boolean {
  return readFileSync('/proc/self/mountinfo', 'latin1')
    .split('\n')
    .some((line) => line.split(' ')[4] === path);
}

/** Fills a file system to its last byte, and gives the room back. */
export class Ballast {
  readonly #file: string;

  constructor(dir: string) {
    this.#file = join(dir, 'ballast');
  }

  fill(): void {
    const block = Buffer.alloc(1024 * 1024);
    for (let size = block.length; size >= 512; size /= 2) {
      try {
        for (;;) writeFileSync(this.#file, block.subarray(0, size), { flag: 'a' });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    }
  }

  free(): void {
    rmSync(this.#file, { force: true });
  }
}
