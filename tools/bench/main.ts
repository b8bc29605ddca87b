import { accessSync, constants, mkdirSync, mkdtempSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { asControlError, errorText } from '../cli/command-error.ts';
import { fill } from './fill.ts';
import { growth } from './growth.ts';
import { latency } from './latency.ts';
import type { BenchOptions, Measurement, Row } from './measurement.ts';
import { memory } from './memory.ts';
import { ownFileSystem } from './own-file-system.ts';
import { renderTable } from './table.ts';

const measurements: Record<string, Measurement> = { fill, latency, memory, growth };
/** What takes an hour is measured when it is asked for. */
const usual = ['fill', 'latency', 'memory'];
const full: BenchOptions = { dir: '/dev/shm', messages: 100_000, rounds: 3, seconds: 30, files: 1_000_000, minutes: 60 };
const quick = { messages: 10_000, rounds: 1, seconds: 5, files: 50_000, minutes: 2 } satisfies Partial<BenchOptions>;

const program = new Command('bench')
  .description('Measures a pair of real agents on loopback and prints one table.')
  .option('--only <names>', `comma-separated: ${Object.keys(measurements).join(', ')}; all but growth unless given`, names, usual)
  .option('--quick', 'small figures, for a look in a minute')
  .option('--messages <n>', `messages of the initial fill (${full.messages})`, count)
  .option('--rounds <n>', `rounds of the initial fill, taking turns with rsync and tar (${full.rounds})`, count)
  .option('--seconds <n>', `how long latency and load are measured, and a quarter of idle use (${full.seconds})`, count)
  .option('--files <n>', `files in the index for memory and idle use (${full.files})`, count)
  .option('--minutes <n>', `how long growth is watched (${full.minutes})`, count)
  .option('--dir <dir>', `where everything lies while it is measured (${full.dir})`)
  .addHelpText('after', '\nExamples:\n  npm run bench\n  npm run bench -- --only memory --files 200000')
  .parse();

const { only, quick: isQuick, ...given } = program.opts<Partial<BenchOptions> & { only: string[]; quick?: true }>();
process.exitCode = await main(only, { ...full, ...(isQuick ? quick : {}), ...given });

async function main(chosen: readonly string[], options: BenchOptions): Promise<number> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort(new Error(`ended by ${signal}`)));
  const rows: Row[] = [];
  let isWhole = true;
  for (const name of chosen) {
    try {
      rows.push(...(await measure(name, options, stop.signal)));
    } catch (error) {
      isWhole = false;
      const known = asControlError(error);
      console.error(`${name} was not measured: ${known ? errorText(known) : error instanceof Error ? error.message : String(error)}`);
    }
    if (stop.signal.aborted) break;
  }
  const [cpu] = cpus();
  console.log(
    `mailtwin on Node ${process.versions.node}, ${cpus().length} x ${cpu?.model ?? 'unknown'}, everything in ${options.dir}, loopback\n`,
  );
  console.log(renderTable(rows));
  return isWhole ? 0 : 1;
}

/** Runs one measurement in a directory of its own, which is removed however it goes. */
async function measure(name: string, options: BenchOptions, signal: AbortSignal): Promise<Row[]> {
  const measurement = measurements[name];
  if (!measurement) throw new Error(`no such measurement: ${name}`);
  mkdirSync(options.dir, { recursive: true });
  accessSync(options.dir, constants.W_OK);
  const dir = mkdtempSync(join(options.dir, 'mailtwin-bench-'));
  const release = ownFileSystem(dir);
  console.error(`${name}: ${measurement.about}`);
  try {
    return await measurement.run({ options, dir, signal, say: (text) => console.error(`  ${text}`) });
  } finally {
    release();
  }
}

function names(text: string): string[] {
  const chosen = text.split(',').map((name) => name.trim());
  const unknown = chosen.find((name) => !(name in measurements));
  if (unknown !== undefined) throw new InvalidArgumentError(`${unknown} is none of ${Object.keys(measurements).join(', ')}.`);
  return chosen;
}

function count(text: string): number {
  if (!/^[1-9]\d{0,7}$/.test(text)) throw new InvalidArgumentError('a whole number from 1 to 99999999 is expected.');
  return Number(text);
}
