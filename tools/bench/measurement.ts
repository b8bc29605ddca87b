/** One line of the table. */
export interface Row {
  what: string;
  /** The figure, with its unit. */
  value: string;
  /** The same as a ratio to a peer of the same run, or to the goal; empty where there is none. */
  ratio: string;
  /** What was wanted; empty for a figure that only informs. */
  goal: string;
  /** Whether the goal was reached; null where there is none. */
  isReached: boolean | null;
}

export interface BenchOptions {
  /** Where stores and state directories lie; a tmpfs, so that the disk is not what is measured. */
  dir: string;
  /** Messages of the initial fill. */
  messages: number;
  /** Alternating rounds of the initial fill. */
  rounds: number;
  /** How long each measurement of latency, load and idle use takes. */
  seconds: number;
  /** Files in the index when memory and idle use are measured. */
  files: number;
  /** How long growth is watched. */
  minutes: number;
}

/** What a measurement is handed. */
export interface Bench {
  options: BenchOptions;
  /** Made for this measurement, and removed with all that is in it when the measurement has ended. */
  dir: string;
  signal: AbortSignal;
  /** Says what is being done, beside the table. */
  say(text: string): void;
}

export interface Measurement {
  about: string;
  run(bench: Bench): Promise<Row[]>;
}

/** A figure with nothing to compare it with. */
export function figure(what: string, value: string): Row {
  return { what, value, ratio: '', goal: '', isReached: null };
}

/** A figure that should be at most `goal`. */
export function atMost(what: string, value: number, goal: number, show: (value: number) => string): Row {
  return { what, value: show(value), ratio: `${(value / goal).toFixed(2)} x goal`, goal: `< ${show(goal)}`, isReached: value < goal };
}

/** Three digits that matter: 0.712 ms, 12.3 ms, 123 ms. */
export function showMs(ms: number): string {
  return `${ms.toPrecision(3)} ms`;
}

export function showExactSeconds(seconds: number): string {
  return `${seconds.toFixed(2)} s`;
}
