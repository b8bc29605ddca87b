import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { failOverUnderLoad } from './failover-scenario.ts';

const root = process.getuid?.() === 0;
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const say = (line: string) => void process.stdout.write(`${line}\n`);
const seed = Number(process.env['FAILOVER_SEED'] ?? Math.floor(Math.random() * 1e6));
/** Letters come and mailboxes are read often enough for every claim; `npm run soak -- --failover` presses harder. */
const calmMs = 30;

test.skipIf(!root)(
  'whole appliances fail over under load, are salvaged and rejoin: no UID twice, one active node, every accepted message once (I3, I4, I5, I16)',
  async () => {
    const { problems, failovers, accepted, seen } = await failOverUnderLoad({ base, times: 2, seed, say, pauseMs: calmMs });
    expect(problems, `seed ${seed}`).toEqual([]);
    expect(failovers).toBe(2);
    // It was a test: mail came and was read before, between and after.
    expect(accepted).toBeGreaterThan(100);
    expect(seen).toBeGreaterThan(100);
  },
);

test.skipIf(!root)('the same without raising UIDs hands out a UID twice, and this is seen (I5)', async () => {
  const hook = new URL('../fixtures/broken/no-raise.mjs', import.meta.url).href;
  const environment = { ...process.env, NODE_OPTIONS: `--import=${hook}` };
  const { problems } = await failOverUnderLoad({ base, times: 1, seed: 3, say, environment, stallMs: 1500, pauseMs: calmMs });
  expect(problems.join('\n')).toMatch(/UIDVALIDITY \d+ UID \d+ named .* \(I5\)/);
});
