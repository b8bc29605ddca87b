import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setImmediate as breathe, setTimeout as pause } from 'node:timers/promises';
import { Packr } from 'msgpackr';
import { metaKey, numberKey, tables } from '../../agent/journal/keys.ts';
import { packNumber } from '../../agent/journal/replica-index.ts';
import { openLmdbKv } from '../../agent/platform/lmdb-kv.ts';
import { atMost, figure, type Row } from '../../tools/bench/measurement.ts';
import { ownFileSystem } from '../../tools/bench/own-file-system.ts';
import { memoryOf } from '../../tools/bench/process-usage.ts';
import { renderTable } from '../../tools/bench/table.ts';
import { SmallPair, type SmallNode } from '../lab/small-pair.ts';
import { waitFor } from '../lab/waiting.ts';

/**
 * How long the thread that answers the peer stands still in what is hard for it (I24): built agents, files of no content in memory,
 * and a probe inside each process. Usage: standstill.ts [share of the full sizes] [case,case].
 */
const share = Number(process.argv[2] ?? 1);
const chosen = process.argv[3]?.split(',') ?? null;
const base = '/dev/shm';
const goalMs = 200;
const waitMs = 1_800_000;
const count = {
  files: Math.ceil(1_000_000 * share),
  versions: Math.ceil(1_000_000 * share),
  mailboxes: Math.ceil(100_000 * share),
};
const filesInDirectory = 1000;
/** The standby looks for what it may remove each minute; one round is over by then. */
const pruneMs = 75_000;
const syncSeconds = 1;
const loadSeconds = 30;

const ms = (value: number): string => `${value.toFixed(0)} ms`;
const showCount = (value: number): string => value.toLocaleString('en');

/** A pair under probes. */
class Probed implements AsyncDisposable {
  readonly pair: SmallPair;
  readonly #release: () => void;
  #since = Date.now();

  private constructor(pair: SmallPair, release: () => void) {
    this.pair = pair;
    this.#release = release;
    const probe = fileURLToPath(new URL('standstill-probe.mjs', import.meta.url));
    for (const node of [pair.primary, pair.standby]) {
      writeFileSync(fileOf(node), '');
      node.env = { NODE_OPTIONS: `--import=${probe}`, MAILTWIN_STANDSTILL_FILE: fileOf(node) };
    }
  }

  static async create(format: 'maildir' | 'plain'): Promise<Probed> {
    const pair = await SmallPair.create({ base, format });
    return new Probed(pair, ownFileSystem(pair.standby.volume));
  }

  /** What comes before the first measured thing. */
  async fill(): Promise<void> {
    const { primary, standby } = this.pair;
    mkdirSync(standby.root, { recursive: true });
    await primary.start();
    await this.pair.introduce();
    await standby.start();
    this.begin();
    await this.pair.settled(waitMs);
  }

  /** What is measured of a start begins when it answers: before that nobody can ask it. */
  async restart(node: SmallNode): Promise<void> {
    await node.stop();
    await node.start();
    this.begin();
  }

  begin(): void {
    this.#since = Date.now();
  }

  /** The longest standstill since `begin`, on both nodes. */
  async rows(what: string): Promise<Row[]> {
    // A gap is noted when it is over.
    await pause(1000);
    const { primary, standby } = this.pair;
    const rows = [primary, standby]
      .filter((node) => node.agent.isRunning)
      .map((node) => {
        const gaps = readFileSync(fileOf(node), 'utf8')
          .split('\n')
          .map((line) => line.split(' ').map(Number))
          .filter(([at = 0]) => at >= this.#since);
        const [, longest = 0, ran = 0] = gaps.reduce((a, b) => ((b[1] ?? 0) > (a[1] ?? 0) ? b : a), [0, 0, 0]);
        const mostRan = Math.max(0, ...gaps.map(([, , each = 0]) => each));
        const row = atMost(`${what}, ${node.role}`, longest, goalMs, ms);
        return { ...row, what: `${row.what} (computed in it ${ms(ran)}; most in one go ${ms(mostRan)})` };
      });
    for (const row of rows) console.error(`  ${row.what}: ${row.value}`);
    this.begin();
    return rows;
  }

  memory(what: string): Row[] {
    const { primary, standby } = this.pair;
    return [primary, standby].map((node) => {
      const { resident, residentPeak } = memoryOf(agentPid(node));
      return figure(
        `  ${what}, resident of the ${node.role}, now and highest`,
        `${(resident / 1e6).toFixed(0)} MB, ${(residentPeak / 1e6).toFixed(0)} MB`,
      );
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of [this.pair.primary, this.pair.standby]) {
      // A tracer that is killed leaves its agent behind.
      if (node.wrap.length > 0 && node.agent.isRunning) process.kill(agentPid(node), 'SIGKILL');
      await node.kill();
    }
    this.#release();
    await this.pair[Symbol.asyncDispose]();
  }
}

function fileOf(node: SmallNode): string {
  return join(node.dir, 'standstill');
}

/** The agent's own process, also where something stands before it on the command line. */
function agentPid(node: SmallNode): number {
  const children = readFileSync(`/proc/${node.agent.pid}/task/${node.agent.pid}/children`, 'utf8').trim().split(' ');
  return node.wrap.length > 0 ? Number(children[0]) : node.agent.pid;
}

/** Empty files: what they hold is not what this is about. */
async function makeFiles(dir: string, files: number, inDirectory: number): Promise<void> {
  for (let made = 0; made < files;) {
    const into = join(dir, `d${Math.floor(made / inDirectory)}`);
    mkdirSync(into, { recursive: true });
    for (const end = Math.min(files, made + inDirectory); made < end; made++) {
      writeFileSync(join(into, `1700000000.M${made}P1.mail-host.example`), '');
      if (made % 1000 === 0) await breathe();
    }
  }
}

/** A fill, a start of each node with all that in its index, and a verification. */
async function filesIn(inDirectory: number, label: string): Promise<Row[]> {
  await using probed = await Probed.create('plain');
  const { pair } = probed;
  await makeFiles(pair.primary.root, count.files, inDirectory);
  await probed.fill();
  const rows = await probed.rows(`${label}: the fill`);
  await probed.restart(pair.standby);
  await pair.settled(waitMs);
  rows.push(...(await probed.rows(`${label}: a start of the standby`)));
  await probed.restart(pair.primary);
  await pair.settled(waitMs);
  rows.push(...(await probed.rows(`${label}: a start of the primary`)));
  const last = (await pair.primary.lines('POST /verify', { deep: false })).at(-1);
  if (last?.kind !== 'done') throw new Error(`verify failed: ${JSON.stringify(last)}`);
  rows.push(...(await probed.rows(`${label}: a verification`)), ...probed.memory(label));
  return rows;
}

async function directories(): Promise<Row[]> {
  return filesIn(filesInDirectory, `${showCount(count.files)} files`);
}

async function directory(): Promise<Row[]> {
  return filesIn(count.files, `${showCount(count.files)} files in one directory`);
}

/** What `agent/history/keeper.ts` writes of one version. */
function versionOf(number: number, atMs: number, files: number): readonly [Buffer, Buffer] {
  const record = ['mail', Buffer.from(`u${number % 1000}/cur/${number}`), atMs, files, 1000, String(number), false, false, false];
  return [numberKey(tables.history, number), Buffer.from(new Packr({ useRecords: false }).pack(record))];
}

async function putVersions(node: SmallNode, first: number, versions: number, atMs: number): Promise<void> {
  const kv = openLmdbKv(join(node.state, 'store'));
  try {
    for (let done = 0; done < versions;) {
      const writes: (readonly [Buffer, Buffer])[] = [];
      for (; writes.length < 10_000 && done < versions; done++) writes.push(versionOf(first + done, atMs, 1));
      kv.commit([...writes, [metaKey('history-next'), packNumber(first + done)]]);
      await kv.flushed();
    }
  } finally {
    await kv.close();
  }
}

/** A history of many versions: first none is due, then all are. */
async function versions(): Promise<Row[]> {
  await using probed = await Probed.create('plain');
  const { standby } = probed.pair;
  await probed.fill();
  const dayMs = 86_400_000;
  const rows: Row[] = [];
  for (const [what, days] of [
    ['none due', 1],
    ['all due', 30],
  ] as const) {
    await standby.stop();
    await putVersions(standby, 1, count.versions, Date.now() - days * dayMs);
    await standby.start();
    probed.begin();
    await pause(pruneMs);
    rows.push(...(await probed.rows(`${showCount(count.versions)} kept versions, ${what}: pruning`)));
  }
  return [...rows, ...probed.memory(`${showCount(count.versions)} kept versions`)];
}

/** One kept version that is a tree, and its time has come. */
async function tree(): Promise<Row[]> {
  await using probed = await Probed.create('plain');
  const { standby } = probed.pair;
  await probed.fill();
  await standby.stop();
  await putVersions(standby, 1, 1, Date.now() - 30 * 86_400_000);
  const kept = join(standby.volume, '.mailtwin-mail/history/1');
  mkdirSync(kept, { recursive: true });
  await makeFiles(kept, count.files, 10 * filesInDirectory);
  await standby.start();
  probed.begin();
  await pause(pruneMs);
  const started = Date.now();
  await waitFor('the tree to be gone', waitMs, () => isGone(kept));
  const seconds = (Date.now() - started) / 1000;
  return [
    ...(await probed.rows(`a kept tree of ${showCount(count.files)} files: pruning`)),
    figure('  how long the removal went on after the first round', `${seconds.toFixed(0)} s`),
    ...probed.memory('a kept tree'),
  ];
}

function isGone(path: string): boolean {
  try {
    readFileSync(path);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}

/** A tree that goes from the primary, whole. */
async function removal(): Promise<Row[]> {
  await using probed = await Probed.create('plain');
  const { pair } = probed;
  await makeFiles(join(pair.primary.root, 'gone'), count.files, filesInDirectory);
  await makeFiles(join(pair.primary.root, 'stays'), Math.ceil(count.files / 100), filesInDirectory);
  await probed.fill();
  probed.begin();
  renameSync(join(pair.primary.root, 'gone'), join(pair.primary.dir, 'gone'));
  await pair.primary.until('a deletion that is held', (s) => s.replication.heldPlaces.length > 0, waitMs);
  const rows = await probed.rows(`a tree of ${showCount(count.files)} files that went: holding it`);
  await pair.primary.ok('allow-delete', '--all');
  await pair.primary.until('the deletion to be through', (s) => s.replication.heldPlaces.length === 0, waitMs);
  await pair.settled(waitMs);
  await waitFor('the tree to be gone', waitMs, () => isGone(join(pair.standby.root, 'gone')));
  return [
    ...rows,
    ...(await probed.rows(`a tree of ${showCount(count.files)} files that went: removing it`)),
    ...probed.memory('the tree'),
  ];
}

/** Many mailboxes: a reconnect tells what each of them has issued. */
async function mailboxes(): Promise<Row[]> {
  await using probed = await Probed.create('maildir');
  const { pair } = probed;
  for (let made = 0; made < count.mailboxes; made++) {
    const dir = join(pair.primary.root, `u${Math.floor(made / 20)}`, made % 20 === 0 ? '' : `.F${made % 20}`);
    for (const name of ['cur', 'new', 'tmp']) mkdirSync(join(dir, name), { recursive: true });
    writeFileSync(join(dir, 'dovecot-uidlist'), `3 V1700000000 N${made + 2} G${made.toString(16).padStart(32, '0')}\n`);
    if (made % 1000 === 0) await breathe();
  }
  await probed.fill();
  const label = `${showCount(count.mailboxes)} mailboxes`;
  const rows = await probed.rows(`${label}: the fill`);
  await probed.restart(pair.standby);
  const started = performance.now();
  await pair.primary.until('streaming', (s) => s.replication.phase === 'streaming', waitMs);
  const streaming = performance.now() - started;
  await pair.settled(waitMs);
  rows.push(...(await probed.rows(`${label}: a reconnect`)), figure('  until it streams', ms(streaming)));
  await probed.restart(pair.primary);
  await pair.settled(waitMs);
  return [...rows, ...(await probed.rows(`${label}: a start of the primary`)), ...probed.memory(label)];
}

/** Every sync of both agents takes a second; mail comes in all the time. */
async function slowSync(): Promise<Row[]> {
  await using probed = await Probed.create('plain');
  const { pair } = probed;
  const slow = (node: SmallNode) => [
    ...['strace', '-f', '--seccomp-bpf', '-o', join(node.dir, 'strace')],
    ...['-e', 'trace=fsync,fdatasync,syncfs,msync', '-e', `inject=fsync,fdatasync,syncfs,msync:delay_enter=${syncSeconds * 1_000_000}`],
  ];
  for (const node of [pair.primary, pair.standby]) node.wrap = slow(node);
  await probed.fill();
  probed.begin();
  let silentMs = 0;
  let lagSeconds = 0;
  for (let i = 0; i < loadSeconds * 20; i++) {
    writeFileSync(join(pair.primary.root, `m${i}`), 'mail');
    if (i % 10 === 0) {
      const { peer, replication } = await pair.primary.status();
      silentMs = Math.max(silentMs, Date.now() - Date.parse(peer.lastHeardAt ?? ''));
      lagSeconds = Math.max(lagSeconds, replication.lagSeconds ?? 0);
    }
    await pause(50);
  }
  await pair.settled(waitMs);
  return [
    ...(await probed.rows(`syncs of ${syncSeconds} s, 20 deliveries a second`)),
    figure('  the longest silence of the standby, as the primary heard it', ms(silentMs)),
    figure('  the longest lag meanwhile', `${lagSeconds.toFixed(1)} s`),
  ];
}

const cases: Record<string, () => Promise<Row[]>> = { slowSync, versions, tree, removal, mailboxes, directory, directories };
const rows: Row[] = [];
let failed = false;
for (const [name, run] of Object.entries(cases)) {
  if (chosen && !chosen.includes(name)) continue;
  console.error(name);
  try {
    rows.push(...(await run()));
  } catch (error) {
    failed = true;
    console.error(`${name} was not measured: ${error instanceof Error ? error.message : String(error)}`);
  }
}
console.log('The longest time for which the thread that answers the peer stood still\n');
console.log(renderTable(rows));
process.exitCode = failed ? 1 : 0;
