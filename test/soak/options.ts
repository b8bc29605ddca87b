/** What every soak is told: how often, from which seed on, and how long at most. */
export interface SoakOptions {
  /** Histories of the simulation, inputs of each decoder, cuts, or kills of each agent. */
  times: number;
  seed: number;
  minutesMax: number;
}

/** One soak: false when something was wrong. It prints its own progress and what it found. */
export type Soak = (options: SoakOptions) => Promise<boolean>;
