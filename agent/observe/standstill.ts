import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Clock, Timer } from '../platform/clock.ts';

/** How often the thread is expected to come by; a standstill is known to within this. Twenty wakes of no work a second are not seen in idle use. */
const resolutionMs = 50;
const windowMs = 60_000;

/** How long the thread that answers the peer (I24), this one, stood still at most, of late. */
export class Standstill {
  readonly #clock: Clock;
  readonly #delays = monitorEventLoopDelay({ resolution: resolutionMs });
  #beforeMs = 0;
  #timer: Timer | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#delays.enable();
    this.#turn();
  }

  /** The longest one of the last minute or two, in milliseconds; one that goes on is not in it yet. */
  get longestMs(): number {
    return Math.max(this.#beforeMs, this.#latestMs());
  }

  stop(): void {
    this.#timer?.cancel();
    this.#delays.disable();
  }

  #turn(): void {
    this.#timer = this.#clock.after(windowMs, () => {
      this.#beforeMs = this.#latestMs();
      this.#delays.reset();
      this.#turn();
    });
  }

  /** What is measured is the time from one coming by to the next one. */
  #latestMs(): number {
    return this.#delays.count === 0 ? 0 : Math.max(0, this.#delays.max / 1e6 - resolutionMs);
  }
}
