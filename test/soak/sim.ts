import { fork, type ChildProcess } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { SoakOptions } from './options.ts';
import type { SimAnswer } from './sim-worker.ts';

const workersMax = 2;
const progressEveryMs = 10_000;
/** A history takes a fraction of a second; one that takes this long does not end. */
const historyMsMax = 120_000;
const badSeedsMax = 20;

/** `npm run soak -- --sim`: simulated histories from a seed on. False when any promise was broken in any of them. */
export async function run(options: SoakOptions): Promise<boolean> {
  const started = performance.now();
  const totals = new Map<string, number>();
  const bad: number[] = [];
  let next = options.seed;
  let done = 0;
  let issued = 0;
  let bytes = 0;
  const end = options.seed + options.times;
  const minutes = () => (performance.now() - started) / 60_000;
  const say = () =>
    process.stdout.write(`sim: ${done} of ${options.times} histories, ${bad.length} with violations, ${minutes().toFixed(1)} min\n`);
  const timer = setInterval(say, progressEveryMs);
  const take = () => (next >= end || minutes() > options.minutesMax || bad.length >= badSeedsMax ? null : next++);
  const answered = (answer: SimAnswer) => {
    done++;
    issued += answer.issued;
    bytes += answer.bytesCarried;
    for (const [kind, count] of answer.troubles) totals.set(kind, (totals.get(kind) ?? 0) + count);
    if (answer.violations.length === 0) return;
    bad.push(answer.seed);
    process.stdout.write(
      `VIOLATION in seed ${answer.seed} (SIM_SEED=${answer.seed} SIM_COUNT=1 npx vitest run test/sim/world-history.test.ts)\n`,
    );
    for (const line of answer.violations) process.stdout.write(`  ${line}\n`);
  };
  try {
    await Promise.all(Array.from({ length: Math.min(workersMax, availableParallelism()) }, () => worker(take, answered)));
  } finally {
    clearInterval(timer);
  }
  say();
  const kinds = [...totals].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([kind, count]) => `${kind} ${count}`);
  process.stdout.write(
    `sim: seeds ${options.seed} to ${next - 1}, ${issued} UIDs, ${(bytes / 1e6).toFixed(0)} MB carried; ${kinds.join(', ')}\n`,
  );
  process.stdout.write(bad.length === 0 ? 'sim: no violation\n' : `sim: violations in seeds ${bad.toSorted((a, b) => a - b).join(', ')}\n`);
  return bad.length === 0;
}

/** One process that runs one history after the other until there are no more. */
async function worker(take: () => number | null, answered: (answer: SimAnswer) => void): Promise<void> {
  for (let child: ChildProcess | null = null, seed = take(); ; seed = take()) {
    if (seed === null) {
      child?.disconnect();
      return;
    }
    child ??= fork(fileURLToPath(new URL('sim-worker.ts', import.meta.url)));
    const answer: SimAnswer | string = await ask(child, seed);
    if (typeof answer !== 'string') answered(answer);
    else {
      child.kill('SIGKILL');
      child = null;
      answered({ seed, violations: [answer], troubles: [], issued: 0, bytesCarried: 0 });
    }
  }
}

/** The answer for a seed, or why there is none. */
function ask(child: ChildProcess, seed: number): Promise<SimAnswer | string> {
  return new Promise((resolve) => {
    const settle = (answer: SimAnswer | string) => {
      clearTimeout(timer);
      child.off('message', onMessage).off('exit', onExit);
      resolve(answer);
    };
    const onMessage = (answer: unknown) => settle(answer as SimAnswer);
    const onExit = (code: number | null) => settle(`the process that ran it ended with code ${code}`);
    const timer = setTimeout(() => settle(`it did not end within ${historyMsMax / 1000} s`), historyMsMax);
    child.on('message', onMessage).on('exit', onExit);
    child.send(seed);
  });
}
