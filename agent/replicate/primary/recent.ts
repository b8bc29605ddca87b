/**
 * Remembers by content digest or path for about the guard's window, in two generations, so that forgetting costs nothing
 * and memory is bounded (I12). Time in monotonic milliseconds.
 */
export class Recent<V> {
  readonly #lifeMs: number;
  readonly #entriesMax: number;
  #young = new Map<string, V>();
  #old = new Map<string, V>();
  #since = 0;

  constructor(lifeMs: number, entriesMax: number) {
    this.#lifeMs = lifeMs;
    this.#entriesMax = entriesMax;
  }

  set(key: string, value: V, now: number): void {
    this.#age(now);
    if (this.#young.size >= this.#entriesMax) this.#turn(now);
    this.#young.set(key, value);
  }

  get(key: string, now: number): V | undefined {
    this.#age(now);
    return this.#young.get(key) ?? this.#old.get(key);
  }

  delete(key: string): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }

  #age(now: number): void {
    if (now - this.#since < this.#lifeMs) return;
    if (now - this.#since >= 2 * this.#lifeMs) this.#young = new Map();
    this.#turn(now);
  }

  #turn(now: number): void {
    this.#old = this.#young;
    this.#young = new Map();
    this.#since = now;
  }
}
