import { runHistory } from '../sim/pair.ts';
import { worldOptions } from '../sim/world-options.ts';

/** What the worker answers for each seed that it is sent. */
export interface SimAnswer {
  seed: number;
  violations: string[];
  troubles: [string, number][];
  issued: number;
  bytesCarried: number;
}

const violationsMax = 5;
const violationCharsMax = 1000;

process.on('message', (seed: number) => {
  void (async () => {
    const { violations, troubles, issued, bytesCarried } = await runHistory(seed, worldOptions(seed));
    const answer: SimAnswer = {
      seed,
      violations: violations.slice(0, violationsMax).map((line) => line.slice(0, violationCharsMax)),
      troubles: [...troubles],
      issued,
      bytesCarried,
    };
    process.send?.(answer);
  })();
});
process.on('disconnect', () => process.exit(0));
