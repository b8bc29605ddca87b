import { failOverUnderLoad } from '../e2e/failover-scenario.ts';
import type { Soak } from './options.ts';

/** `npm run soak -- --failover`: false when a UID named two messages, an accepted message is missing or doubled, or two nodes served. */
export const run: Soak = async ({ times, seed }) => {
  let well = true;
  const all: number[] = [];
  // Appliances of their own after some failovers, so that a long run does not work on ever larger mailboxes.
  for (let done = 0, round = 0; done < times; round++) {
    const some = Math.min(10, times - done);
    const result = await failOverUnderLoad({ base: '/dev/shm', times: some, seed: seed * 1000 + round, say: (line) => console.log(line) });
    done += some;
    all.push(...result.times);
    for (const problem of result.problems) console.log(`WRONG ${problem}`);
    well &&= result.problems.length === 0;
    console.log(
      `failover: seed ${seed * 1000 + round}, ${result.failovers} failovers, ${result.accepted} messages accepted, ${result.seen} UIDs seen, ${result.salvaged} salvaged, ${result.problems.length} problems`,
    );
  }
  all.sort((a, b) => a - b);
  console.log(
    `failover: ${all.length} in all; from the command to a login at the service address: median ${Math.round(all[Math.floor(all.length / 2)] ?? 0)} ms, worst ${Math.round(all.at(-1) ?? 0)} ms`,
  );
  return well;
};
