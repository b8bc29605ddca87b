import type { Hint, WatchedRoot, Watcher, WatchOptions } from '../../agent/capture/watcher.ts';
import type { HostClock } from './sim-clock.ts';
import type { DiskListener, SimDisk } from './sim-disk.ts';
import type { SimFiles } from './sim-files.ts';
import type { SimRandom } from './sim-random.ts';

export interface SimWatcherOptions {
  /** Bounds of how late a hint comes. */
  delayMs?: readonly [number, number];
  /** Share of events at which the queue overflows: what waits is lost, and said to be. */
  overflowShare?: number;
  /** Tells of its own process's changes too, as inotify does. */
  hearsItself?: boolean;
}

/**
 * Hints about a simulated disk: late, in order, deaf to its own process, and at times lost, which it says (I10). What was
 * mounted after it began, also the same disk at the same place, it does not see.
 */
export class SimWatcher implements Watcher {
  readonly kind = 'fanotify';
  readonly #disk: SimDisk;
  readonly #own: SimFiles;
  readonly #clock: HostClock;
  readonly #random: SimRandom;
  readonly #options: WatchOptions;
  readonly #delayMs: readonly [number, number];
  readonly #overflowShare: number;
  readonly #hearsItself: boolean;
  #mounts: ReadonlyMap<string | null, number> = new Map();
  #queue: (Hint | (() => void))[] = [];
  #scheduled = false;
  #running = false;
  #events = 0;
  #overflows = 0;

  constructor(disk: SimDisk, own: SimFiles, clock: HostClock, random: SimRandom, watch: WatchOptions, options: SimWatcherOptions = {}) {
    this.#disk = disk;
    this.#own = own;
    this.#clock = clock;
    this.#random = random;
    this.#options = watch;
    this.#delayMs = options.delayMs ?? [0.1, 5];
    this.#overflowShare = options.overflowShare ?? 0;
    this.#hearsItself = options.hearsItself ?? false;
  }

  readonly #listen: DiskListener = (event) => {
    if (this.#clock.dead) {
      this.#disk.listeners.delete(this.#listen);
      return;
    }
    if ((event.by === this.#own && !this.#hearsItself) || !this.#disk.isAlive(this.#own)) return;
    const { mounts } = this.#disk;
    const point = mounts.pointOf(event.path);
    const place = this.#mounts.get(point) === mounts.mountId(point) ? this.#placeOf(event.path) : null;
    if (!place) return;
    this.#events++;
    if (this.#random.chance(this.#overflowShare)) this.#overflow();
    else this.#enqueue({ kind: event.kind, root: place.root.name, path: place.path });
  };

  async start(): Promise<void> {
    this.#running = true;
    this.seeMounts();
    this.#disk.listeners.add(this.#listen);
  }

  /** File systems came or went: from now on it sees them as they are, as another watcher would that begins now. */
  seeMounts(): void {
    const { mounts } = this.#disk;
    this.#mounts = new Map([null, ...mounts.points].map((point) => [point, mounts.mountId(point)]));
  }

  barrier(timeoutMs: number): Promise<void> {
    if (!this.#running) return Promise.reject(new Error(`the watcher does not run (waited 0 of ${timeoutMs} ms)`));
    return new Promise((resolve) => {
      this.#enqueue(resolve);
    });
  }

  async stop(): Promise<void> {
    this.#running = false;
    this.#disk.listeners.delete(this.#listen);
    this.#queue = [];
  }

  stats(): { watches: number; events: number; overflows: number } {
    return { watches: 1, events: this.#events, overflows: this.#overflows };
  }

  #placeOf(path: string): { root: WatchedRoot; path: string } | null {
    for (const root of this.#options.roots) {
      if (path !== root.path && !path.startsWith(`${root.path}/`)) continue;
      const relative = path.slice(root.path.length + 1);
      const parts = relative.split('/');
      // Nothing below a name that does not matter is watched.
      const ignored = relative !== '' && parts.some((_, i) => this.#options.ignores(root.name, parts.slice(0, i + 1).join('/')));
      return ignored ? null : { root, path: relative };
    }
    return null;
  }

  /** All that waits is lost; a barrier that waits is still answered. */
  #overflow(): void {
    this.#overflows++;
    const barriers = this.#queue.filter((item) => typeof item === 'function');
    const lost = this.#options.roots.map((root): Hint => ({ kind: 'lost', root: root.name, path: '', reason: 'the queue overflowed' }));
    this.#queue = [];
    for (const item of [...lost, ...barriers]) this.#enqueue(item);
  }

  #enqueue(item: Hint | (() => void)): void {
    this.#queue.push(item);
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#clock.after(this.#random.between(...this.#delayMs), () => {
      this.#scheduled = false;
      if (this.#running) this.#deliver();
    });
  }

  #deliver(): void {
    const items = this.#queue;
    this.#queue = [];
    let hints: Hint[] = [];
    for (const item of items) {
      if (typeof item !== 'function') {
        hints.push(item);
        continue;
      }
      if (hints.length > 0) this.#options.onHints(hints);
      hints = [];
      item();
    }
    if (hints.length > 0) this.#options.onHints(hints);
  }
}
