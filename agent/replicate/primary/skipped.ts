import type { BytePath } from '../../platform/files.ts';

const placesMax = 10_000;

/** What is left out of replication on purpose: sockets, fifos, devices, links that lead out. Counted and shown. */
export class Skipped {
  readonly #places = new Map<string, Set<string>>();

  note(root: string, path: BytePath, kind: string): void {
    let places = this.#places.get(kind);
    if (!places) this.#places.set(kind, (places = new Set()));
    if (places.size < placesMax) places.add(`${root}/${path}`);
  }

  list(): { kind: string; count: number; example: string }[] {
    return [...this.#places].map(([kind, places]) => ({ kind, count: places.size, example: [...places][0] ?? '' }));
  }
}
