import { expect, test } from 'vitest';
import { labObstacle } from '../lab/lab.ts';
import { labRelease } from '../lab/release.ts';
import { copyStorm, stormUids } from './copy-storm-scenario.ts';

test.skipIf(labObstacle() !== null)(
  'a storm of copies and appends into a quiet mailbox, moments after the primary was last heard, reuses no UID (I5)',
  async () => {
    const { seen, reused, log } = await copyStorm(labRelease);
    expect([reused, log]).toEqual([[], []]);
    expect(seen).toBeGreaterThan(stormUids);
  },
);
