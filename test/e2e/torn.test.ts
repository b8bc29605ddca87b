import { describe, expect, it } from 'vitest';
import { labObstacle } from '../lab/lab.ts';
import { tornCuts } from './torn-scenario.ts';

const seed = process.env['MAILTWIN_SEED'] ?? 'torn';

describe.skipIf(labObstacle() !== null)('the torn cut', () => {
  it('leaves a valid store on the standby, five times (I1, I5, I6)', async () => {
    const result = await tornCuts({ times: 5, seed, say: (line) => console.log(line) });
    expect(result.problems).toEqual([]);
    expect(result.cuts).toBe(5);
    expect(result.messages).toBeGreaterThan(100);
  });
});
