import { tornCuts } from '../e2e/torn-scenario.ts';

/** `npm run soak -- --torn`: the torn cut, many times. False when any copy was not a valid store. */
export async function run(options: { times: number; seed: number }): Promise<boolean> {
  const result = await tornCuts({ ...options, say: (line) => process.stdout.write(`${line}\n`) });
  for (const problem of result.problems) process.stdout.write(`WRONG ${problem}\n`);
  const { cuts, behind, messages, problems } = result;
  process.stdout.write(
    `torn: seed ${options.seed}, ${cuts} cuts, ${behind} of them behind the primary, ${messages} messages read, ${problems.length} problems\n`,
  );
  return problems.length === 0;
}
