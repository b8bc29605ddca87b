import { sleep, type Clock } from '../platform/clock.ts';
import type { FenceAsk } from './fencing.ts';
import { unknownState, type Level } from './level.ts';

/** Nothing switches here: the peer, or a person, states that the node is passive. Nothing can be read beforehand. */

const evidenceCharsMax = 2000;

/** The living peer steps down durably, at the higher epoch, and says so over the pinned connection. */
export function cooperativeLevel(clock: Clock): Level {
  return {
    check: async () => {},
    read: async () => ({ state: 'unknown', evidence: 'the other node is asked when it comes to it', error: null }),
    async off({ leftMs, signal }, { ask }) {
      if (signal.aborted) return unknownState('fence-aborted', 'it was broken off');
      const { steppedDown, evidence } = await stepDown(ask, leftMs(), clock);
      if (steppedDown && leftMs() > 0) return { state: 'off', evidence: `it stepped down: ${evidence}`, error: null };
      return steppedDown
        ? unknownState('fence-timeout', 'the other node answered too late', evidence)
        : unknownState('fence-no-step-down', `the other node did not step down: ${evidence}`, evidence);
    },
  };
}

async function stepDown(ask: FenceAsk, timeoutMs: number, clock: Clock): Promise<{ steppedDown: boolean; evidence: string }> {
  const over = new AbortController();
  const tooLate = sleep(clock, timeoutMs, over.signal).then(() => ({ steppedDown: false, evidence: 'it gave no answer in time' }));
  try {
    return await Promise.race([ask.cooperative(timeoutMs), tooLate]);
  } catch (error) {
    return { steppedDown: false, evidence: error instanceof Error ? error.message : String(error) };
  } finally {
    over.abort();
  }
}

/** A person has made sure that the node is off, types its name and says how they know. */
export function manualLevel(): Level {
  return {
    check: async () => {},
    read: async () => ({ state: 'unknown', evidence: 'a person says so when it comes to it', error: null }),
    async off(_attempt, { target, ask: { manual } }) {
      if (manual === null) return unknownState('fence-not-stated', `nobody has stated that ${target.node} is off`);
      const line = (text: string) =>
        text
          .replace(/[\p{C}]+/gu, ' ')
          .trim()
          .slice(0, evidenceCharsMax);
      const [by, evidence] = [line(manual.by), line(manual.evidence)];
      if (manual.node !== target.node)
        return unknownState(
          'fence-wrong-node',
          `${JSON.stringify(line(manual.node).slice(0, 80))} was typed, but the node is ${target.node}`,
        );
      if (by === '' || evidence === '')
        return unknownState('fence-not-stated', `it was not said who knows that ${target.node} is off, and how`);
      return { state: 'off', evidence: `stated by ${by}: ${evidence}`, error: null };
    },
  };
}
