import { killAtEachStep, killPoints } from '../e2e/killed-takeover-scenario.ts';
import type { Soak } from './options.ts';

/** `npm run soak -- --killed`: an agent killed at every step of both takeover commands; false when anything was wrong after it. */
export const run: Soak = async ({ times, seed }) => {
  let well = true;
  for (let round = 0; round < times; round++) {
    const points = killPoints();
    // Some at a time with appliances of their own, so that mailboxes stay small.
    for (let at = 0; at < points.length; at += 13) {
      const some = points.slice(at, at + 13);
      const result = await killAtEachStep({
        base: '/dev/shm',
        points: some,
        seed: seed * 1000 + round * 100 + at,
        say: (line) => console.log(line),
      });
      for (const problem of result.problems) console.log(`WRONG ${problem}`);
      well &&= result.problems.length === 0;
      console.log(
        `killed: ${result.rounds} takeovers, ${result.accepted} messages accepted, ${result.seen} UIDs seen, ${result.problems.length} problems`,
      );
    }
  }
  return well;
};
