/**
 * Somebody else removes what the agent sets, again and again: it is set again a few times at once, then with growing
 * pauses, so that the two do not fight without end. Pure; times are of the monotonic clock.
 *
 * - `pauseMs(nowMs)`: how long to wait until it may be set again; 0 = now.
 * - `setAgain(nowMs)`: it was set again.
 * - `isFlapping(nowMs)`: whether pauses are made. It ends when all was quiet for the time of the window after a pause.
 * - `count`: how often it was set again since all was quiet.
 */
export class Flapping {
  #times: number[] = [];
  #count = 0;
  #pauseMs = 0;

  get count(): number {
    return this.#count;
  }

  pauseMs(nowMs: number): number {
    if (!this.isFlapping(nowMs)) return 0;
    return Math.max(0, this.#lastMs + this.#pauseMs - nowMs);
  }

  isFlapping(nowMs: number): boolean {
    this.#forget(nowMs);
    return this.#pauseMs > 0;
  }

  setAgain(nowMs: number): void {
    this.#forget(nowMs);
    this.#times = [...this.#times.filter((each) => nowMs - each < windowMs), nowMs];
    this.#count++;
    if (this.#pauseMs > 0) this.#pauseMs = Math.min(pauseMsMax, this.#pauseMs * 2);
    else if (this.#times.length >= timesMax) this.#pauseMs = pauseMsFirst;
  }

  get #lastMs(): number {
    return this.#times.at(-1) ?? Number.NEGATIVE_INFINITY;
  }

  #forget(nowMs: number): void {
    if (nowMs - this.#lastMs < this.#pauseMs + windowMs) return;
    this.#times = [];
    this.#count = 0;
    this.#pauseMs = 0;
  }
}

/** This many times within the window go without a pause. */
export const timesMax = 5;
export const windowMs = 60_000;
export const pauseMsFirst = 1000;
export const pauseMsMax = 60_000;
