import { Packr } from 'msgpackr';
import { createHash } from 'node:crypto';
import { tables } from '../../journal/keys.ts';
import type { BytePath } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';

const packr = new Packr({ useRecords: false });
const unprovenMax = 10_000;

/** Places whose replica may differ (I10): kept durable until a look proves them. */
export class Unproven {
  readonly #kv: Kv;
  readonly #places = new Map<string, { root: string; path: BytePath; reason: string }>();

  constructor(kv: Kv) {
    this.#kv = kv;
    for (const [, value] of kv.range(Buffer.from([tables.unproven]), Buffer.from([tables.unproven + 1]))) {
      const [root, path, reason] = packr.unpack(value) as [string, Buffer, string];
      this.#places.set(`${root}\0${path.toString('latin1')}`, { root, path: path.toString('latin1'), reason });
    }
  }

  list(): { root: string; path: BytePath; reason: string }[] {
    return [...this.#places.values()];
  }

  get count(): number {
    return this.#places.size;
  }

  add(root: string, path: BytePath, reason: string): void {
    const key = `${root}\0${path}`;
    if (this.#places.get(key)?.reason === reason) return;
    if (this.#places.size >= unprovenMax) {
      // Too many to name one by one: the root as a whole is in doubt.
      if (path !== '') return this.add(root, '', 'more places are in doubt than are listed');
    }
    this.#places.set(key, { root, path, reason });
    this.#kv.commit([[keyOf(key), Buffer.from(packr.pack([root, Buffer.from(path, 'latin1'), reason]))]]);
  }

  /** A place was looked at and is as the index says. */
  prove(root: string, path: BytePath): void {
    const key = `${root}\0${path}`;
    if (this.#places.delete(key)) this.#kv.commit([[keyOf(key), null]]);
  }

  /** A whole directory was compared: what is at or below it is proven, except for the places in `still`. */
  proveBelow(root: string, path: BytePath, still: ReadonlySet<BytePath>): void {
    for (const place of this.list()) {
      const below = place.path === path || path === '' || place.path.startsWith(`${path}/`);
      if (place.root === root && below && !still.has(place.path)) this.prove(root, place.path);
    }
  }
}

function keyOf(key: string): Buffer {
  return Buffer.concat([Buffer.from([tables.unproven]), createHash('sha256').update(key, 'latin1').digest().subarray(0, 16)]);
}
