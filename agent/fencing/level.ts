import type { LevelReading } from '../../protocol/control.ts';
import type { FenceAsk, FenceTarget } from './fencing.ts';

/** What a level saw. `off` without an error is a proof, and nothing else is. */
export type Observation = Pick<LevelReading, 'state' | 'evidence' | 'error'>;

/** The bounds of one attempt. */
export interface Attempt {
  /** What is left of the level's time, in milliseconds. */
  leftMs: () => number;
  signal: AbortSignal;
}

/** One way to switch the other node off. Errors that are thrown are OperatorErrors. */
export interface Level {
  /** Looks whether the level can be used, without reaching for the other node. */
  check(attempt: Attempt): Promise<void>;
  /** Reads the state; changes nothing. */
  read(attempt: Attempt): Promise<Observation>;
  /** Switches off and reads the state back. */
  off(attempt: Attempt, how: { target: FenceTarget; ask: FenceAsk; say: (text: string) => void }): Promise<Observation>;
}

export function unknownState(code: string, detail: string, evidence = ''): Observation {
  return { state: 'unknown', evidence, error: { code, detail } };
}
