import fs from 'node:fs/promises';
import path from 'node:path';

export const markerPrefix = 'barrier-';

/** Two watchers of one process stand side by side for a moment, and each sees the other's markers. */
let instances = 0;

/** A marker that was dropped by a full queue is followed by another one after this time. */
const REPEAT_MS = 250;

interface Waiting {
  first: number;
  resolve(): void;
  reject(error: Error): void;
}

/**
 * Barriers by marker files: events come in the order of the changes, so that everything before the making of a marker
 * has been told when the marker is.
 */
export class BarrierMarkers {
  readonly #dir: string;
  /** With which the names of these markers begin; a number follows. */
  readonly prefix = `${markerPrefix}${process.pid}-${++instances}-`;
  readonly #waiting = new Set<Waiting>();
  /** Called when a later marker came and this one did not: events were dropped in between. */
  readonly #onMissed: () => void;
  #made = 0;
  /** The one that is made last; each waits for the one before it, so that they come in the order of their numbers. */
  #last = Promise.resolve();
  #making = 0;
  #expected = 0;

  constructor(dir: string, onMissed: () => void = () => {}) {
    this.#dir = dir;
    this.#onMissed = onMissed;
  }

  /** @throws when no marker came back within `timeoutMs`, or the watcher was stopped. */
  async wait(timeoutMs: number): Promise<void> {
    const first = this.#made;
    let waiting: Waiting | undefined;
    let came: Promise<void> | undefined;
    const failed = new Promise<never>((_, reject) => {
      came = new Promise((resolve) => this.#waiting.add((waiting = { first, resolve, reject })));
    });
    const make = () => this.#make().catch((error: unknown) => waiting?.reject(error instanceof Error ? error : new Error(String(error))));
    const repeat = setInterval(() => {
      if (this.#making === 0) void make();
    }, REPEAT_MS);
    const timeout = setTimeout(
      () => waiting?.reject(new Error(`the watcher did not come to its barrier within ${timeoutMs} ms`)),
      timeoutMs,
    );
    try {
      void make();
      // Its marker is removed by then, unless the disk stands still.
      await Promise.race([failed, came?.then(() => this.#last)]);
    } finally {
      clearInterval(repeat);
      clearTimeout(timeout);
      if (waiting !== undefined) this.#waiting.delete(waiting);
    }
  }

  /** Not on this thread, which answers the peer (I24): the disk of the state directory may stand still. */
  #make(): Promise<void> {
    const file = path.join(this.#dir, `${this.prefix}${this.#made++}`);
    this.#making++;
    const made = this.#last
      .then(async () => {
        await (await fs.open(file, 'w', 0o600)).close();
        await fs.unlink(file);
      })
      .finally(() => this.#making--);
    this.#last = made.catch(() => {});
    return made;
  }

  /** The watcher came to the event of this marker, and has handed over all hints before it. Markers of others say nothing. */
  seen(name: string): void {
    if (!name.startsWith(this.prefix)) return;
    const number = Number(name.slice(this.prefix.length));
    if (!(number >= this.#expected)) return;
    if (number > this.#expected) this.#onMissed();
    this.#expected = number + 1;
    for (const waiting of this.#waiting) if (waiting.first <= number) waiting.resolve();
  }

  /** Ends every wait. */
  end(): void {
    for (const waiting of this.#waiting) waiting.reject(new Error('the watcher was stopped'));
  }
}
