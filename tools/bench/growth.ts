import { quantile } from '../cli/demo/latency.ts';
import { ChangeLoop, changesAtRate } from '../mailgen/change.ts';
import { atMost, figure, type Bench, type Measurement, type Row } from './measurement.ts';
import { withManyFiles, type Pair } from './pair.ts';
import { memoryOf } from './process-usage.ts';
import { smallSizes } from './store.ts';

const changesPerSecond = 20;
const sampleMs = 2000;
/** What the heap may swing between two collections. */
const growthMax = 1.05;
const sides = ['primary', 'standby'] as const;

type Samples = Record<(typeof sides)[number], number[]>;

/**
 * Whether the memory of the agents grows while mail arrives, is read and goes for `minutes`.
 *
 * Compared are the medians of the second and of the last quarter: the first one warms up. Counted is anonymous memory, because
 * the pages of the database that are mapped may be taken back at any time, and grow with the store.
 */
export const growth: Measurement = {
  about: 'memory over a long time under load',
  async run(bench) {
    const { minutes } = bench.options;
    return withManyFiles(bench, async (pair) => {
      bench.say(`${changesPerSecond} changes a second for ${minutes} minutes`);
      const samples = await sampled(bench, pair);
      return sides.flatMap((side) => rowsOf(side, minutes, samples[side]));
    });
  },
};

async function sampled(bench: Bench, pair: Pair): Promise<Samples> {
  const pids = pair.pids();
  const samples: Samples = { primary: [], standby: [] };
  const loop = new ChangeLoop({ seed: 'growth', dir: pair.roots.primary, sizes: smallSizes });
  let sampledAtMs = 0;
  for await (const _change of changesAtRate(loop, changesPerSecond, bench.options.minutes * 60, bench.signal)) {
    if (performance.now() - sampledAtMs < sampleMs) continue;
    sampledAtMs = performance.now();
    for (const side of sides) samples[side].push(memoryOf(pids[side]).anonymous);
  }
  bench.signal.throwIfAborted();
  await pair.waitDurable(bench.signal);
  return samples;
}

function rowsOf(side: string, minutes: number, samples: readonly number[]): Row[] {
  const quarters = [0, 1, 2, 3].map((n) => {
    const part = samples.slice((samples.length * n) / 4, (samples.length * (n + 1)) / 4);
    return quantile(part, 0.5) ?? Number.NaN;
  });
  const times = (quarters[3] ?? Number.NaN) / (quarters[1] ?? Number.NaN);
  return [
    atMost(`${side}, memory at the end of ${minutes} minutes`, times, growthMax, (value) => `${value.toFixed(3)} x`),
    figure('  anonymous, median of each quarter', quarters.map((bytes) => `${(bytes / 1e6).toFixed(1)} MB`).join(', ')),
  ];
}
