import { expect, it } from 'vitest';
import { Flapping, pauseMsFirst, pauseMsMax, timesMax, windowMs } from '../../agent/network/flapping.ts';

/** Sets again as soon as it may, as against somebody who removes at once; the times in milliseconds. */
function fight(flapping: Flapping, fromMs: number, untilMs: number): number[] {
  const times: number[] = [];
  for (let nowMs = fromMs; nowMs < untilMs; nowMs += 100) {
    if (flapping.pauseMs(nowMs) > 0) continue;
    flapping.setAgain(nowMs);
    times.push(nowMs);
  }
  return times;
}

it('mends a few removals at once, more of them with growing pauses', () => {
  const flapping = new Flapping();
  const times = fight(flapping, 0, 600_000);
  expect(times.slice(0, timesMax)).toEqual([0, 100, 200, 300, 400]);
  const pauses = times.slice(timesMax).map((each, i) => each - (times[timesMax - 1 + i] ?? 0));
  expect(pauses.slice(0, 7)).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, pauseMsMax]);
  expect(Math.max(...pauses)).toBe(pauseMsMax);
  // Ten minutes of fight: five at once, six doubled pauses, and once a minute.
  expect(times.length).toBeLessThan(timesMax + 6 + 11);
  expect(flapping.count).toBe(times.length);
  expect(flapping.isFlapping(600_000)).toBe(true);
});

it('never pauses for removals that are far apart', () => {
  const flapping = new Flapping();
  for (let i = 0; i < 100; i++) {
    const nowMs = i * (windowMs / (timesMax - 1));
    expect(flapping.pauseMs(nowMs)).toBe(0);
    flapping.setAgain(nowMs);
  }
  expect(flapping.isFlapping(100 * windowMs)).toBe(false);
});

it('is over when all was quiet for the window after the pause, and not before', () => {
  const flapping = new Flapping();
  for (let i = 0; i < timesMax; i++) flapping.setAgain(i);
  const lastMs = timesMax - 1;
  expect(flapping.pauseMs(lastMs)).toBe(pauseMsFirst);
  expect(flapping.isFlapping(lastMs + pauseMsFirst + windowMs - 1)).toBe(true);
  expect(flapping.isFlapping(lastMs + pauseMsFirst + windowMs)).toBe(false);
  expect(flapping.count).toBe(0);
  expect(flapping.pauseMs(lastMs + pauseMsFirst + windowMs)).toBe(0);
});
