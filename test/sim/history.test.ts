import { expect, it } from 'vitest';
import { historyOptions } from './history-options.ts';
import { runHistory } from './pair.ts';

const first = Number(process.env['SIM_SEED'] ?? 1);
const count = Number(process.env['SIM_COUNT'] ?? 20);

it(`holds I1, I6, I7, I8 and I12 over ${count} histories of work, cuts, kills and power cuts from seed ${first} on`, async () => {
  const violations: string[] = [];
  for (let seed = first; seed < first + count; seed++) {
    const result = await runHistory(seed, historyOptions(seed));
    violations.push(...result.violations);
    if (violations.length > 20) break;
  }
  expect(violations).toEqual([]);
});
