import { setTimeout as pause } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Standstill } from '../../agent/observe/standstill.ts';
import { SimClock } from '../sim/sim-clock.ts';
import { waitFor } from '../lab/waiting.ts';

const cell = new Int32Array(new SharedArrayBuffer(4));

it('tells how long the thread stood still at most, and forgets it after a while (I24)', async () => {
  const sim = new SimClock();
  const standstill = new Standstill(sim.host(0));
  try {
    // The first coming by is where measuring begins.
    await pause(200);
    Atomics.wait(cell, 0, 0, 700);
    await waitFor('the standstill to be known', 10_000, () => standstill.longestMs > 500);
    const longest = standstill.longestMs;
    expect(longest).toBeGreaterThan(600);
    await sim.runFor(60_000);
    expect(standstill.longestMs).toBe(longest);
    await sim.runFor(60_000);
    await sim.runFor(60_000);
    expect(standstill.longestMs).toBeLessThan(longest);
  } finally {
    standstill.stop();
  }
});
