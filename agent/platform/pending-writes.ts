import type { KvWrite } from './kv.ts';

/** What waits for the disk, merged by key: the last write of a key is what counts. Keys as byte strings. */
export class PendingWrites {
  readonly #values = new Map<string, Buffer | null>();
  /** Keys in order, but for those in `#added`. */
  #sorted: string[] = [];
  #added: string[] = [];
  #bytes = 0;

  get size(): number {
    return this.#values.size;
  }

  /** Of keys and values. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Takes copies: the caller's buffers are the caller's. */
  add(writes: readonly KvWrite[]): void {
    for (const [key, value] of writes) this.#set(key.toString('latin1'), value && Buffer.from(value));
  }

  /** What came before: where both have a key, what is here stays. */
  addOlder(older: PendingWrites): void {
    for (const [key, value] of older.#values) if (!this.#values.has(key)) this.#set(key, value);
  }

  #set(key: string, value: Buffer | null): void {
    const known = this.#values.get(key);
    if (known === undefined) {
      this.#added.push(key);
      this.#bytes += key.length;
    }
    this.#bytes += (value?.length ?? 0) - (known?.length ?? 0);
    this.#values.set(key, value);
  }

  /** Null when the key goes, undefined when nothing is said of it. */
  get(key: string): Buffer | null | undefined {
    return this.#values.get(key);
  }

  writes(): KvWrite[] {
    return [...this.#values].map(([key, value]) => [Buffer.from(key, 'latin1'), value]);
  }

  /** Keys from `start` (inclusive) to `end` (exclusive), in order. */
  keys(start: string, end: string): string[] {
    if (this.#added.length > 0) {
      this.#sorted = merged(this.#sorted, this.#added.sort());
      this.#added = [];
    }
    return this.#sorted.slice(firstAtLeast(this.#sorted, start), firstAtLeast(this.#sorted, end));
  }
}

/** Two lists in order as one, each key once. */
export function merged(a: readonly string[], b: readonly string[]): string[] {
  if (a.length === 0 || b.length === 0) return [...a, ...b];
  const all: string[] = [];
  let [i, j] = [0, 0];
  for (let one = a[i], other = b[j]; one !== undefined || other !== undefined; [one, other] = [a[i], b[j]]) {
    if (other === undefined || (one !== undefined && one <= other)) {
      all.push(one as string);
      i++;
      if (one === other) j++;
    } else {
      all.push(other);
      j++;
    }
  }
  return all;
}

function firstAtLeast(keys: readonly string[], key: string): number {
  let [low, high] = [0, keys.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((keys[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
