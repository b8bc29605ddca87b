import { sleep, type Clock } from '../platform/clock.ts';
import type { Attempt, Observation } from './level.ts';
import { unknownState } from './level.ts';

/** What a program said when it was told to switch off. */
export interface OffResult {
  ok: boolean;
  timedOut: boolean;
  evidence: string;
}

/** A switch that is worked by programs: one that switches off, and one that reads. */
export interface PowerSwitch {
  off(attempt: Attempt): Promise<OffResult>;
  read(attempt: Attempt): Promise<Observation>;
}

/** A BMC that answers over UDP may miss one command; a second one is cheap. */
const offTries = 2;
const pauseMs = 500;
/** A program that hangs may have switched off all the same: there must be time to look. */
const offShare = 0.7;

/**
 * Switches off and reads the state back until it says off or the time is up. What the program says of its own success
 * never counts: only the state does.
 */
export async function switchOff(power: PowerSwitch, clock: Clock, attempt: Attempt, say: (text: string) => void): Promise<Observation> {
  const { leftMs, signal } = attempt;
  const isOver = () => signal.aborted || leftMs() <= 0;
  let said: OffResult = { ok: false, timedOut: false, evidence: '' };
  let seen: Observation = unknownState('fence-timeout', 'there was no time to read the state');
  for (let tries = 1; tries <= offTries && !said.ok && !isOver(); tries++) {
    said = await power.off({ leftMs: () => leftMs() * offShare, signal });
    say(`switching off ${said.ok ? 'is said to have worked' : 'failed'}: ${said.evidence}`);
    // After a success the state may take its time; after a failure one look tells whether it is off all the same.
    do {
      if (isOver()) break;
      seen = await power.read(attempt);
      if (seen.state === 'off' && seen.error === null) return { ...seen, evidence: joined(said.evidence, seen.evidence) };
      if (!isOver()) await sleep(clock, Math.min(pauseMs, leftMs()), signal);
    } while (said.ok);
  }
  const evidence = joined(said.evidence, seen.evidence);
  if (signal.aborted) return unknownState('fence-aborted', 'it was broken off', evidence);
  if (said.timedOut) return unknownState('fence-timeout', 'switching off took longer than the level may; the program was killed', evidence);
  if (seen.state === 'on') {
    return said.ok
      ? {
          state: 'on',
          evidence,
          error: { code: 'fence-still-on', detail: `switching off was said to have worked, but the state reads on: ${evidence}` },
        }
      : { state: 'on', evidence, error: { code: 'fence-failed', detail: `switching off failed, and the state reads on: ${evidence}` } };
  }
  return unknownState(seen.error?.code ?? 'fence-failed', seen.error?.detail ?? `the state could not be read: ${evidence}`, evidence);
}

function joined(...parts: string[]): string {
  return parts.filter((part) => part !== '').join('; ');
}
