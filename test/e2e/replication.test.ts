import { afterEach, describe, expect, it } from 'vitest';
import { createLab, labObstacle, type Lab } from '../lab/lab.ts';
import { copies, nothingWrong, replicate } from './replication-scenario.ts';

let lab: Lab | null = null;
afterEach(async () => {
  await lab?.dispose();
  lab = null;
});

const seconds = 6;
const seed = process.env['MAILTWIN_SEED'] ?? 'replication';

describe.skipIf(labObstacle() !== null)('a live Dovecot store on the standby', () => {
  // Each watcher on each kind of disk, and each layout once; `npm run soak -- --replication` has all of them, for longer.
  it.each(copies.filter(({ isInTests }) => isInTests))(
    'is the same to clients, byte by byte, modseqs included ($name)',
    async ({ lab: options, ...copy }) => {
      lab = await createLab({ hosts: 2, ...options });
      const found = await replicate({ lab, seed, seconds, ...copy });
      console.log(`seed ${seed}: ${found.summary}`);
      expect(found).toMatchObject(nothingWrong);
      expect(found.audited.messages).toBeGreaterThan(50);
    },
  );
});
