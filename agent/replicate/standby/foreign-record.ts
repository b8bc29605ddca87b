import { metaKey } from '../../journal/keys.ts';
import { displayPath, type BytePath } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import type { Log } from '../../platform/log.ts';

const recordKey = metaKey('foreign-writes');
/** Places that are remembered by name; further ones are counted. */
const placesMax = 100;

/**
 * Places below the roots where somebody else wrote on this standby (I2). Durable: neither a restart nor a role that is
 * entered later makes them good, only a comparison with the disk does, after which what differs is brought again.
 */
export class ForeignRecord {
  readonly #kv: Kv;
  readonly #log: Log;
  /** By absolute path: what was met there, and its number in the order of this process's notes. */
  readonly #places = new Map<BytePath, { what: string; number: number }>();
  #more = 0;
  #next = 1;
  #lastMore = 0;

  constructor(kv: Kv, log: Log) {
    this.#kv = kv;
    this.#log = log;
    const stored = kv.get(recordKey);
    if (!stored) return;
    const { places, more } = JSON.parse(stored.toString()) as { places: [BytePath, string][]; more: number };
    for (const [path, what] of places) this.#places.set(path, { what, number: 0 });
    this.#more = more;
  }

  /** How many places, also those that are not named. */
  get count(): number {
    return this.#places.size + this.#more;
  }

  list(): { path: BytePath; what: string }[] {
    return [...this.#places].map(([path, { what }]) => ({ path, what }));
  }

  /** `path` is absolute. */
  note(path: BytePath, what: string): void {
    const number = this.#next++;
    const known = this.#places.get(path);
    if (known?.what === what) {
      known.number = number;
      return;
    }
    if (known || this.#places.size < placesMax) {
      this.#places.set(path, { what, number });
      this.#log.warn({ path: displayPath(path), what }, 'somebody else wrote below a replicated root');
    } else {
      this.#more++;
      this.#lastMore = number;
      // How many there are is written down now and then: a tree of many files may be going.
      if (this.#more % placesMax !== 1) return;
    }
    this.#save();
  }

  /** What `forget` takes to mean everything noted so far. */
  mark(): number {
    return this.#next - 1;
  }

  /**
   * A comparison that was begun at `mark` has dealt with what was noted by then, and with `paths` (absolute) whenever
   * they were noted. What somebody wrote meanwhile stays.
   */
  forget(mark: number, paths: readonly BytePath[] = []): void {
    const before = this.count;
    for (const [path, { number }] of this.#places) if (number <= mark) this.#places.delete(path);
    for (const path of paths) this.#places.delete(path);
    if (this.#lastMore <= mark) this.#more = 0;
    if (this.count !== before) this.#save();
  }

  #save(): void {
    const places = [...this.#places].map(([path, { what }]) => [path, what]);
    this.#kv.commit([[recordKey, this.count === 0 ? null : Buffer.from(JSON.stringify({ places, more: this.#more }))]]);
  }
}
