import { expect, it } from 'vitest';
import { runHistory, type HistoryOptions } from './pair.ts';

const first = Number(process.env['SIM_SEED'] ?? 1);
const count = Number(process.env['SIM_COUNT'] ?? 20);

export const ordinary: HistoryOptions = { workMs: 1500, troubleMs: 200, overflowShare: 0.0005, chaos: false };

it(`holds I1, I6, I7, I8 and I12 over ${count} histories of work, cuts, kills and power cuts from seed ${first} on`, async () => {
  const violations: string[] = [];
  for (let seed = first; seed < first + count; seed++) {
    const result = await runHistory(seed, { ...ordinary, chaos: seed % 3 === 0 });
    violations.push(...result.violations);
    if (violations.length > 20) break;
  }
  expect(violations).toEqual([]);
});
