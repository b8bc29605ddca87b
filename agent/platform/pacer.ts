import type { Clock } from './clock.ts';

/** The main thread gives way after this long, so that whoever speaks with the peer gets its turn (I24). */
const sliceMs = 8;

/** Divides long work into slices: `pause` is called often, and gives way when a slice is over. */
export class Pacer {
  readonly #clock: Clock;
  readonly #signal: AbortSignal | undefined;
  #beganMs: number;

  /** With a signal, `pause` throws its reason once it is aborted. */
  constructor(clock: Clock, signal?: AbortSignal) {
    this.#clock = clock;
    this.#signal = signal;
    this.#beganMs = clock.monotonicMs();
  }

  readonly pause = async (): Promise<void> => {
    if (this.#clock.monotonicMs() - this.#beganMs < sliceMs) return;
    await this.#clock.yield();
    this.#beganMs = this.#clock.monotonicMs();
    this.#signal?.throwIfAborted();
  };
}
