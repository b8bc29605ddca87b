import { describe, expect, it } from 'vitest';
import { killUnderLoad, type Victim } from './kill-scenario.ts';

const seed = process.env['MAILTWIN_SEED'] ?? 'kill';
/** `npm run soak -- --kill` kills each a hundred times. */
const times = 3;

describe('kill -9 at random moments under load', () => {
  it.each<Victim>(['primary', 'standby'])(
    'of the %s loses nothing that was confirmed, and both trees are the same at the end (I1)',
    async (victim) => {
      const result = await killUnderLoad({ victim, times, seed, say: (line) => console.log(line) });
      console.log(`seed ${seed}: ${result.changes} changes, ${result.confirmed} messages confirmed`);
      expect(result.problems).toEqual([]);
      expect(result.kills).toBe(times);
      expect(result.confirmed).toBeGreaterThan(400);
    },
  );
});
