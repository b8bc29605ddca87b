import { copies, nothingWrong, replicate } from '../e2e/replication-scenario.ts';
import { createLab } from '../lab/lab.ts';
import type { Soak } from './options.ts';

const seconds = 60;

/** `npm run soak -- --replication`: a live Dovecot store, each watcher, disk and layout; false when a copy was not the same. */
export const run: Soak = async ({ times, seed }) => {
  let well = true;
  for (let round = 0; round < times; round++)
    for (const { lab: options, name, ...copy } of copies) {
      const lab = await createLab({ hosts: 2, ...options });
      try {
        const found = await replicate({ lab, seed: `${seed + round}`, seconds, ...copy });
        const wrong = Object.keys(nothingWrong).flatMap((what) => {
          const seen = found[what as keyof typeof nothingWrong];
          return seen.length === 0 ? [] : [`${what}: ${JSON.stringify(seen)}`];
        });
        well &&= wrong.length === 0;
        for (const each of wrong) console.log(`WRONG ${name}: ${each}`);
        console.log(`replication: seed ${seed + round}, ${name}: ${found.summary}; ${wrong.length} problems`);
      } finally {
        await lab.dispose();
      }
    }
  return well;
};
