/** The lag of the last minutes, for the graph of a page that was opened just now. Null: it was not known then (I18). */
export interface LagSample {
  /** Milliseconds since the Unix epoch. */
  at: number;
  seconds: number | null;
}

const samplesMax = 300;

export class LagHistory {
  readonly #samples: LagSample[] = [];

  add(sample: LagSample): void {
    this.#samples.push(sample);
    if (this.#samples.length > samplesMax) this.#samples.shift();
  }

  get samples(): readonly LagSample[] {
    return this.#samples;
  }
}
