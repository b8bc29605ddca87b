import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { showBytes, showCount } from '../cli/format.ts';
import { quantile } from '../cli/demo/latency.ts';
import { figure, showExactSeconds, type Bench, type Measurement, type Row } from './measurement.ts';
import { ownFileSystem } from './own-file-system.ts';
import { withPair } from './pair.ts';
import { copyByRsyncDaemon, copyByTar } from './peers.ts';
import { makeBenchStore, requireSpace } from './store.ts';

/** Copies what lies in `from` into the empty directory `to`; how many seconds it took. */
type Way = (from: string, to: string) => Promise<number>;

/** The initial fill of an empty standby beside what copies files otherwise. Nobody is asked for an fsync a file. */
export const fill: Measurement = {
  about: 'initial fill of an empty standby, beside rsync and tar',
  async run(bench) {
    const { messages, rounds } = bench.options;
    // A realistic message takes about 9 kB on a tmpfs; the store is there twice, beside the state directories.
    requireSpace(bench, messages * 9_000 * 2.5);
    const source = join(bench.dir, 'source');
    bench.say(`making ${showCount(messages)} messages`);
    const store = await makeBenchStore(bench, source, messages);
    const seconds = await inRounds(bench, source, rounds);

    const [ours, rsync, tar] = [median(seconds.mailtwin), median(seconds.rsync), median(seconds.tar)];
    const what = `fill of ${showCount(store.messages)} messages, ${showCount(store.directories)} directories, ${showBytes(store.bytes)}`;
    const times = (peer: number, name: string): string => `${(ours / peer).toFixed(2)} x ${name}`;
    return [
      { what, value: showExactSeconds(ours), ratio: times(rsync, 'rsync'), goal: '<= 1.00 x rsync', isReached: ours <= rsync },
      { ...figure('  rsync -a through a daemon', showExactSeconds(rsync)), ratio: '1.00 x rsync' },
      { ...figure('  tar | tar', showExactSeconds(tar)), ratio: times(tar, 'tar') },
      figure('  throughput of the fill', `${showBytes(store.bytes / ours)}/s`),
      figure('  each of the rounds', seconds.mailtwin.map((value) => value.toFixed(2)).join(' ')),
    ] satisfies Row[];
  },
};

/** The ways take turns, so that what disturbs the machine meets all of them. */
async function inRounds(bench: Bench, source: string, rounds: number): Promise<Record<'mailtwin' | 'rsync' | 'tar', number[]>> {
  const seconds = { mailtwin: [] as number[], rsync: [] as number[], tar: [] as number[] };
  const scratch = join(bench.dir, 'scratch');
  const ways: [keyof typeof seconds, Way][] = [
    ['rsync', (from, to) => copyByRsyncDaemon(from, to, scratch, bench.signal)],
    ['mailtwin', (from) => withPair(join(scratch, 'pair'), from, bench.signal, (pair) => pair.fill(bench.signal, 600))],
    ['tar', (from, to) => copyByTar(from, to, bench.signal)],
  ];
  for (let round = 1; round <= rounds; round++) {
    for (const [name, way] of ways) {
      const release = ownFileSystem(join(scratch, 'copy'));
      try {
        const took = await way(source, join(scratch, 'copy'));
        seconds[name].push(took);
        bench.say(`round ${round}: ${name} ${showExactSeconds(took)}`);
      } finally {
        release();
        rmSync(scratch, { recursive: true });
      }
    }
  }
  return seconds;
}

function median(values: readonly number[]): number {
  return quantile(values, 0.5) ?? Number.NaN;
}
