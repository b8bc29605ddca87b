import { killUnderLoad } from '../e2e/kill-scenario.ts';

/** `npm run soak -- --kill`: kill -9 of each agent, many times. False when anything confirmed was lost or the trees differ. */
export async function run(options: { times: number; seed: number }): Promise<boolean> {
  let well = true;
  for (const victim of ['primary', 'standby'] as const) {
    // A store of its own after some kills, so that a long run does not work on an ever larger one.
    for (let done = 0, round = 0; done < options.times; round++) {
      const times = Math.min(20, options.times - done);
      const seed = `${options.seed}/${round}`;
      const result = await killUnderLoad({ victim, times, seed, say: (line) => process.stdout.write(`${line}\n`) });
      done += Math.max(1, result.kills);
      for (const problem of result.problems) process.stdout.write(`WRONG ${problem}\n`);
      well &&= result.problems.length === 0;
      process.stdout.write(
        `kill: seed ${seed}, ${victim} killed ${result.kills} times under ${result.changes} changes, ${result.confirmed} messages confirmed, ${result.problems.length} problems\n`,
      );
    }
  }
  return well;
}
