/** How long a part that failed waits before it begins again; the same input gives the same output. */
export interface BackoffBounds {
  /** After the first failure, in milliseconds; each further one doubles it. */
  firstMs: number;
  mostMs: number;
  /** A part that ran this long before it failed begins with `firstMs` again. */
  forgetMs: number;
}

export const partBackoff: BackoffBounds = { firstMs: 1000, mostMs: 60_000, forgetMs: 120_000 };

/** Counts failures of one part. */
export class Backoff {
  readonly #bounds: BackoffBounds;
  #waitMs = 0;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(bounds: BackoffBounds = partBackoff) {
    this.#bounds = bounds;
  }

  /** It failed at `nowMs` on the monotonic clock (I17): how many milliseconds to wait. */
  failed(nowMs: number): number {
    const { firstMs, mostMs, forgetMs } = this.#bounds;
    const ranMs = nowMs - this.#lastMs - this.#waitMs;
    this.#waitMs = ranMs >= forgetMs || this.#waitMs === 0 ? firstMs : Math.min(mostMs, this.#waitMs * 2);
    this.#lastMs = nowMs;
    return this.#waitMs;
  }
}
