import { readdirSync, watch, type FSWatcher } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { quantile } from '../cli/demo/latency.ts';
import { showCount } from '../cli/format.ts';
import { ChangeLoop, changesAtRate } from '../mailgen/change.ts';
import { atMost, figure, showMs, type Bench, type Measurement, type Row } from './measurement.ts';
import { withPair, type Pair } from './pair.ts';
import { makeBenchStore, requireSpace } from './store.ts';

const messages = 5000;
const deliveriesPerSecond = 50;
/** Deliveries before the measured ones: caches and the compiler of the agents warm up. */
const warmUpSeconds = 3;
const lastArrivalMs = 10_000;
const goals = { medianMs: 15, p99Ms: 80 };

/**
 * From the rename into new/ to durable on the standby, measured twice over. The standby makes a batch durable before it
 * renames, so the moment at which the name appears there is an upper bound and disturbs nothing: that is the figure
 * with the goal. `wait`, asked right after the rename, is what an operator can ask for, and makes work of its own.
 */
export const latency: Measurement = {
  about: 'from a delivery to durable on the standby',
  async run(bench) {
    requireSpace(bench, 500_000_000);
    const source = join(bench.dir, 'source');
    await makeBenchStore(bench, source, messages);
    return withPair(join(bench.dir, 'pair'), source, bench.signal, async (pair) => {
      await pair.fill(bench.signal, 120);
      bench.say(`${deliveriesPerSecond} deliveries a second for ${bench.options.seconds} s, seen on the standby`);
      const seen = await measureSeen(bench, pair);
      bench.say('the same, each with a wait');
      const waited = await measureWaits(bench, pair);
      return [...rows('delivery to in place on the standby', seen, true), ...rows('delivery to wait returned', waited, false)];
    });
  },
};

function rows(what: string, ms: readonly number[], hasGoals: boolean): Row[] {
  const at = (share: number): number => quantile(ms, share) ?? Number.NaN;
  const row = (name: string, share: number, goal: number): Row =>
    hasGoals ? atMost(`${what}, ${name}`, at(share), goal, showMs) : figure(`${what}, ${name}`, showMs(at(share)));
  return [
    row('median', 0.5, goals.medianMs),
    row('99th percentile', 0.99, goals.p99Ms),
    figure(`  worst of ${showCount(ms.length)}`, showMs(at(1))),
  ];
}

/** Milliseconds until each delivery's name appeared in the standby's new/. */
async function measureSeen(bench: Bench, pair: Pair): Promise<number[]> {
  const { primary, standby } = pair.roots;
  const arrival = watchArrivals(standby);
  const deliveredAtMs = new Map<string, number>();
  try {
    for await (const { path, atMs, isMeasured } of deliveries(bench, primary, 'seen')) {
      if (isMeasured) deliveredAtMs.set(path.slice(primary.length + 1), atMs);
    }
    await pair.waitDurable(bench.signal);
    const deadline = performance.now() + lastArrivalMs;
    while ([...deliveredAtMs.keys()].some((path) => !arrival.atMs.has(path))) {
      if (performance.now() > deadline) throw new Error('deliveries that were waited for are not on the standby');
      await delay(10, undefined, { signal: bench.signal });
    }
  } finally {
    arrival.stop();
  }
  return [...deliveredAtMs].map(([path, atMs]) => (arrival.atMs.get(path) ?? Number.NaN) - atMs);
}

/** Milliseconds until a `wait` that was asked right after each delivery returned. */
async function measureWaits(bench: Bench, pair: Pair): Promise<number[]> {
  const ms: number[] = [];
  const underWay: Promise<void>[] = [];
  for await (const { atMs, isMeasured } of deliveries(bench, pair.roots.primary, 'wait')) {
    if (!isMeasured) continue;
    const returned = pair.waitDurable(bench.signal).then(() => void ms.push(performance.now() - atMs));
    // A failure is thrown below, where all are awaited.
    returned.catch(() => {});
    underWay.push(returned);
  }
  await Promise.all(underWay);
  return ms;
}

async function* deliveries(bench: Bench, root: string, seed: string): AsyncGenerator<{ path: string; atMs: number; isMeasured: boolean }> {
  const loop = new ChangeLoop({ seed, dir: root, weights: { deliver: 1 } });
  const start = performance.now();
  for await (const { path, atMs } of changesAtRate(loop, deliveriesPerSecond, warmUpSeconds + bench.options.seconds, bench.signal)) {
    yield { path, atMs, isMeasured: performance.now() - start > warmUpSeconds * 1000 };
  }
  bench.signal.throwIfAborted();
}

/** Notes when each name first appeared in a new/ below `root`, by path relative to it. */
function watchArrivals(root: string): { atMs: Map<string, number>; stop(): void } {
  const atMs = new Map<string, number>();
  const watchers: FSWatcher[] = [];
  const stop = (): void => watchers.forEach((watcher) => watcher.close());
  try {
    for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
      if (!entry.isDirectory() || basename(entry.name) !== 'new') continue;
      const dir = join(entry.parentPath, entry.name);
      const relative = join(dirname(dir), 'new').slice(root.length + 1);
      watchers.push(
        watch(dir, (_event, name) => {
          const path = `${relative}/${name}`;
          if (name !== null && !atMs.has(path)) atMs.set(path, performance.now());
        }),
      );
    }
  } catch (error) {
    stop();
    throw error;
  }
  return { atMs, stop };
}
