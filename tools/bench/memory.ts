import { setTimeout as delay } from 'node:timers/promises';
import { showCount } from '../cli/format.ts';
import { ChangeLoop, changesAtRate } from '../mailgen/change.ts';
import { atMost, figure, showExactSeconds, type Bench, type Measurement, type Row } from './measurement.ts';
import { withManyFiles, type Pair } from './pair.ts';
import { memoryOf, processorSeconds, type Memory } from './process-usage.ts';
import { smallSizes } from './store.ts';

const changesPerSecond = 50;
/** After the fill a standby looks once whether anybody else wrote below its roots; idle is what comes after that. */
const restMsMax = 900_000;
const restWindowMs = 10_000;
const restPercent = 3;
const sampleMs = 500;
/** A short look shows the compiler at work on code that has just become hot. */
const idleTimes = 4;
const goals = { residentBytes: 250e6, idlePercent: 1 };
const sides = ['primary', 'standby'] as const;

type Side = (typeof sides)[number];

/** Memory and idle use of both agents with many files in the index. */
export const memory: Measurement = {
  about: 'memory and idle use with many files in the index',
  async run(bench) {
    const { files, seconds } = bench.options;
    return withManyFiles(bench, async (pair, fillSeconds) => {
      const pids = pair.pids();
      const restSeconds = await atRest(bench, pids);
      const afterFill = { primary: memoryOf(pids.primary), standby: memoryOf(pids.standby) };
      const idleSeconds = seconds * idleTimes;
      bench.say(`idle for ${idleSeconds} s`);
      const idle = await percentOver(bench, pids, idleSeconds * 1000);
      bench.say(`${changesPerSecond} changes a second for ${seconds} s`);
      const underLoad = await memoryUnderLoad(bench, pair, pids);
      const label = `${showCount(files)} files`;
      return [
        figure(`fill of ${label}`, showExactSeconds(fillSeconds)),
        figure('  until both were at rest after it', showExactSeconds(restSeconds)),
        ...sides.flatMap((side) => memoryRows(side, label, afterFill[side], underLoad[side])),
        ...sides.map((side) =>
          atMost(`${side}, idle use of a core, ${label}`, idle[side], goals.idlePercent, (value) => `${value.toFixed(2)} %`),
        ),
      ];
    });
  },
};

function memoryRows(side: Side, label: string, afterFill: Memory, underLoad: Memory): Row[] {
  const split = ({ resident, anonymous, mapped }: Memory): string =>
    `${megabytes(resident)} = ${megabytes(anonymous)} + ${megabytes(mapped)}`;
  return [
    atMost(`${side}, resident under load, ${label}`, underLoad.resident, goals.residentBytes, megabytes),
    figure('  under load: anonymous + mapped files', split(underLoad)),
    figure('  after the fill: anonymous + mapped files', split(afterFill)),
    figure('  highest since the start, fill included', megabytes(underLoad.residentPeak)),
  ];
}

/** Waits until neither agent works any more. @returns seconds. @throws when they never rest: then there is no idle use to measure. */
async function atRest(bench: Bench, pids: Record<Side, number>): Promise<number> {
  const start = performance.now();
  for (;;) {
    const used = await percentOver(bench, pids, restWindowMs);
    if (used.primary < restPercent && used.standby < restPercent) return (performance.now() - start - restWindowMs) / 1000;
    if (performance.now() - start > restMsMax)
      throw new Error(
        `the agents still use ${used.primary.toFixed(1)} % and ${used.standby.toFixed(1)} % of a core ${restMsMax / 60_000} minutes after the fill`,
      );
  }
}

async function percentOver(bench: Bench, pids: Record<Side, number>, ms: number): Promise<Record<Side, number>> {
  const before = { primary: processorSeconds(pids.primary), standby: processorSeconds(pids.standby) };
  const start = performance.now();
  await delay(ms, undefined, { signal: bench.signal });
  const percent = (side: Side): number => ((processorSeconds(pids[side]) - before[side]) / ((performance.now() - start) / 1000)) * 100;
  return { primary: percent('primary'), standby: percent('standby') };
}

/** The sample of each agent with the most memory while mail arrives and changes. */
async function memoryUnderLoad(bench: Bench, pair: Pair, pids: Record<Side, number>): Promise<Record<Side, Memory>> {
  const highest = { primary: memoryOf(pids.primary), standby: memoryOf(pids.standby) };
  const sample = (): void => {
    for (const side of sides) {
      const now = memoryOf(pids[side]);
      highest[side] = { ...(now.resident > highest[side].resident ? now : highest[side]), residentPeak: now.residentPeak };
    }
  };
  const loop = new ChangeLoop({ seed: 'load', dir: pair.roots.primary, sizes: smallSizes });
  let sampledAtMs = 0;
  for await (const _change of changesAtRate(loop, changesPerSecond, bench.options.seconds, bench.signal)) {
    if (performance.now() - sampledAtMs < sampleMs) continue;
    sampledAtMs = performance.now();
    sample();
  }
  bench.signal.throwIfAborted();
  await pair.waitDurable(bench.signal);
  sample();
  return highest;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}
