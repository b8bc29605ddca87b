import { describe, expect, it } from 'vitest';
import { labObstacle } from '../lab/lab.ts';
import { tornCuts } from './torn-scenario.ts';

const seed = process.env['MAILTWIN_SEED'] ?? 'torn';

describe.skipIf(labObstacle() !== null)('the torn cut', () => {
  // `npm run soak -- --torn` cuts a hundred times.
  it('leaves a valid store on the standby, two times (I1, I5, I6)', async () => {
    const result = await tornCuts({ times: 2, seed, say: (line) => console.log(line) });
    expect(result.problems).toEqual([]);
    expect(result.cuts).toBe(2);
    expect(result.messages).toBeGreaterThan(100);
  });
});
