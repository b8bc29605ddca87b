import { fork, type ChildProcess } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { showFailure } from '../fuzz/decoder.ts';
import { makeDecoders } from '../fuzz/decoders.ts';
import type { FuzzAnswer, FuzzOrder } from './fuzz-worker.ts';
import type { SoakOptions } from './options.ts';

const workersMax = 2;
/** Cases in one order: short enough that the end of the time is kept, long enough that a worker is not asked all the time. */
const casesAtOnce = 20_000;
const progressEveryMs = 30_000;
/** An order takes a minute; one that takes this long does not end. */
const orderMsMax = 30 * 60_000;
/** Where a process that only decodes has more memory than this, something keeps it. */
const peakBytesMax = 1024 ** 3;

interface Row extends Omit<FuzzAnswer, 'failures'> {
  failures: string[];
  seconds: number;
}

/** `npm run soak -- --fuzz`: `times` hostile inputs for each decoder. False when any did something else than accept or refuse. */
export async function run({ times, seed, minutesMax }: SoakOptions): Promise<boolean> {
  const started = performance.now();
  const decoders = await makeDecoders();
  for (const decoder of decoders) await decoder.close?.();
  const orders = decoders.flatMap(({ name: decoder }) =>
    Array.from({ length: Math.ceil(times / casesAtOnce) }, (_, i): FuzzOrder => {
      const first = i * casesAtOnce;
      return { decoder, seed, first, cases: Math.min(casesAtOnce, times - first) };
    }),
  );
  const rows = new Map<string, Row>(
    decoders.map(({ name, from }) => [
      name,
      { decoder: name, from, cases: 0, accepted: 0, refused: 0, worstMs: 0, worstIndex: 0, failures: [], peakBytes: 0, seconds: 0 },
    ]),
  );
  const minutes = () => (performance.now() - started) / 60_000;
  let at = '';
  const say = () => process.stdout.write(`fuzz: ${at}, ${sum(rows, 'cases')} cases, ${minutes().toFixed(1)} min\n`);
  const timer = setInterval(say, progressEveryMs);
  const take = () => {
    const row = rows.get(orders[0]?.decoder ?? '');
    // One that fails again and again needs no more cases.
    while (row && row.failures.length >= 5 && orders[0]?.decoder === row.decoder) orders.shift();
    return minutes() > minutesMax ? null : (orders.shift() ?? null);
  };
  const answered = (answer: FuzzAnswer | string, { decoder, first }: FuzzOrder, seconds: number) => {
    const row = rows.get(decoder);
    if (!row) return;
    at = `${decoder} from case ${first} on`;
    row.seconds += seconds;
    if (typeof answer === 'string') {
      row.failures.push(`${decoder}, seed ${seed}, cases from ${first} on: ${answer}`);
      process.stdout.write(`WRONG ${row.failures.at(-1)}\n`);
      return;
    }
    for (const key of ['cases', 'accepted', 'refused'] as const) row[key] += answer[key];
    if (answer.worstMs > row.worstMs) [row.worstMs, row.worstIndex] = [answer.worstMs, answer.worstIndex];
    row.peakBytes = Math.max(row.peakBytes, answer.peakBytes);
    const failures = answer.failures.map(showFailure);
    if (answer.peakBytes > peakBytesMax) failures.push(`${decoder}: the process had ${answer.peakBytes} bytes of memory`);
    row.failures.push(...failures);
    for (const failure of failures) process.stdout.write(`WRONG ${failure}\n`);
  };
  try {
    await Promise.all(Array.from({ length: Math.min(workersMax, availableParallelism()) }, () => worker(take, answered)));
  } finally {
    clearInterval(timer);
  }
  table([...rows.values()]);
  const wrong = [...rows.values()].flatMap(({ failures }) => failures).length;
  process.stdout.write(`fuzz: seed ${seed}, ${sum(rows, 'cases')} cases, ${minutes().toFixed(1)} min, ${wrong} wrong\n`);
  return wrong === 0;
}

function sum(rows: ReadonlyMap<string, Row>, key: 'cases'): number {
  return [...rows.values()].reduce((all, row) => all + row[key], 0);
}

function table(rows: readonly Row[]): void {
  const width = Math.max(...rows.map(({ decoder }) => decoder.length));
  const line = (cells: readonly (string | number)[]) =>
    process.stdout.write(
      `${String(cells[0]).padEnd(width)} ${cells
        .slice(1)
        .map((cell) => String(cell).padStart(10))
        .join(' ')}\n`,
    );
  line(['decoder', 'from', 'cases', 'refused', 'accepted', 'worst ms', 'of case', 'peak MiB', 'seconds', 'wrong']);
  for (const row of rows)
    line([
      row.decoder,
      row.from,
      row.cases,
      row.refused,
      row.accepted,
      row.worstMs.toFixed(1),
      row.worstIndex,
      Math.round(row.peakBytes / 1024 ** 2),
      Math.round(row.seconds),
      row.failures.length,
    ]);
}

/** One process that carries out one order after the other; a new one for each decoder, so that memory is each one's own. */
async function worker(
  take: () => FuzzOrder | null,
  answered: (answer: FuzzAnswer | string, order: FuzzOrder, seconds: number) => void,
): Promise<void> {
  let child: ChildProcess | null = null;
  let busyWith = '';
  for (let order = take(); order; order = take()) {
    if (child && busyWith !== order.decoder) child.disconnect();
    if (busyWith !== order.decoder) child = null;
    child ??= fork(fileURLToPath(new URL('fuzz-worker.ts', import.meta.url)));
    busyWith = order.decoder;
    const started = performance.now();
    const answer: FuzzAnswer | string = await ask(child, order);
    answered(answer, order, (performance.now() - started) / 1000);
    if (typeof answer !== 'string') continue;
    child.kill('SIGKILL');
    child = null;
  }
  child?.disconnect();
}

/** The answer to an order, or why there is none. */
function ask(child: ChildProcess, order: FuzzOrder): Promise<FuzzAnswer | string> {
  return new Promise((resolve) => {
    const settle = (answer: FuzzAnswer | string) => {
      clearTimeout(timer);
      child.off('message', onMessage).off('exit', onExit);
      resolve(answer);
    };
    const onMessage = (answer: unknown) => settle(answer as FuzzAnswer);
    const onExit = (code: number | null) => settle(`the process that ran it ended with code ${code}`);
    const timer = setTimeout(() => settle(`it did not end within ${orderMsMax / 60_000} minutes`), orderMsMax);
    child.on('message', onMessage).on('exit', onExit);
    child.send(order);
  });
}
