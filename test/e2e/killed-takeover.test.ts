import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { killAtEachStep, killPoints, type KillPoint } from './killed-takeover-scenario.ts';

const root = process.getuid?.() === 0;
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const say = (line: string) => void process.stdout.write(`${line}\n`);

/** Letters come and mailboxes are read often enough for every claim; `npm run soak -- --killed` presses harder. */
const calmMs = 30;

test('the points to kill at are both sides of every step', () => {
  const points = killPoints();
  expect(points.length).toBe(9 * 2 * 2 + 8 * 2);
  expect(new Set(points.map((point) => JSON.stringify(point))).size).toBe(points.length);
});

// Around the commit point; `npm run soak -- --killed` has all of them.
const some: KillPoint[] = [
  { kind: 'switchover', step: 'stepdown', moment: 'begun', victim: 'there' },
  // The address is there already, and the agent that comes back begins by bringing everything down.
  { kind: 'switchover', step: 'addresses', moment: 'done', victim: 'here' },
];

test.skipIf(!root)(
  'an agent killed in the middle of a takeover of whole appliances: the command again ends it truly (I3, I5, I14, I16)',
  async () => {
    const { problems, rounds, accepted, seen } = await killAtEachStep({ base, points: some, seed: 7, say, pauseMs: calmMs });
    expect(problems).toEqual([]);
    expect(rounds).toBe(some.length);
    expect(accepted).toBeGreaterThan(100);
    expect(seen).toBeGreaterThan(100);
  },
);
