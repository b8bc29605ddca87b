import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Random } from '../../../tools/mailgen/random.ts';
import { AgentPair, type LabAgent } from '../../lab/agents.ts';
import { Dovecot } from '../../lab/dovecot.ts';
import { keep } from '../../lab/keep.ts';
import { LoadRecord } from '../../lab/load-record.ts';
import { ownerMark } from '../../lab/ownership.ts';
import { runNow } from '../../lab/processes.ts';
import { freePort } from '../../lab/small-pair.ts';
import { waitFor } from '../../lab/waiting.ts';
import { treesDiffer } from './compare.ts';
import type { Disk } from './disks.ts';
import { events, type World } from './events.ts';
import { HotFiles } from './hot-files.ts';
import { makeLayout, users, type Layout } from './layout.ts';
import { Letters, type Stores } from './letters.ts';
import { UserLoad } from './load.ts';
import { oddPrefix } from './odd-files.ts';

export interface WorldResult {
  events: number;
  calm: number;
  waits: number;
  confirmed: number;
  acknowledged: number;
  /** Why waits confirmed nothing, by code. */
  refused: Record<string, number>;
  /** How often each event came. */
  happened: Record<string, number>;
  problems: string[];
}

const eventsBetweenCalm = 8;
const filledMs = 120_000;
const settleMs = 180_000;
const probeEveryMs = 1000;
const laterMs = 30_000;
/** Words that no log of an agent may hold: a fault that nobody foresaw. */
const unforeseen = /"code":"internal"|code internal|uncaught|Assertion|the agent ends|^\s+at .+:\d+:\d+\)?$/m;

/** A pair under load on disks of many kinds, and what happens to disks. Compared at rest after every few events. */
export async function soakWorld(options: { seed: string; minutes: number; say: (line: string) => void }): Promise<WorldResult> {
  const { seed, say } = options;
  const base = mkdtempSync(join(tmpdir(), `${ownerMark()}-`));
  chmodSync(base, 0o755);
  const result: WorldResult = { events: 0, calm: 0, waits: 0, confirmed: 0, acknowledged: 0, refused: {}, happened: {}, problems: [] };
  const until = performance.now() + options.minutes * 60_000;
  const random = new Random(`${seed}/world`);
  let pair: AgentPair | null = null;
  let dovecot: Dovecot | null = null;
  let hot: HotFiles | null = null;
  const loads = new Map<string, UserLoad>();
  try {
    const layout = makeLayout(base);
    mkdirSync(join(layout.primary.files, 'domain'));
    writeFileSync(join(layout.primary.files, 'domain/letter'), 'of a domain that moves\n');
    const [imapPort, lmtpPort, port] = [await freePort(), await freePort(), await freePort()];
    dovecot = new Dovecot({ dir: join(base, 'd'), storeDir: layout.primary.store, address: '127.0.0.1', imapPort, lmtpPort });
    await dovecot.start();
    const record = new LoadRecord();
    for (const user of users) loads.set(user, new UserLoad({ user, dovecot, record, seed }));
    pair = await makePair(layout, port);
    // The mount points of its disks are there before anything was replicated.
    await pair.standby.start('--adopt');
    await pair.filled(filledMs);
    hot = new HotFiles(layout.primary.files, new Random(`${seed}/hot`));
    const letters = new Letters();
    const world: World = { layout, pair, loads, random, say: (line) => say(`  ${line}`) };
    while (performance.now() < until) {
      await work(world, letters, hot, result, until);
      await calm(world, letters, hot, result);
      result.calm++;
      const { waits, confirmed, refused } = letters;
      Object.assign(result, { waits, refused, confirmed: confirmed.length, acknowledged: record.acknowledged.length });
      say(`at rest: ${result.events} events, ${waits} waits, ${confirmed.length} confirmed, ${result.problems.length} problems`);
      if (result.problems.length > 0) break;
    }
    if (result.confirmed === 0) result.problems.push('no wait confirmed anything, so that nothing was tried');
  } catch (error) {
    result.problems.push(error instanceof Error ? error.message : String(error));
  } finally {
    await Promise.allSettled([...loads.values()].map((load) => load.stop()));
    await Promise.allSettled([hot?.stop(), dovecot?.kill9(), pair?.dispose()]);
    if (result.problems.length > 0)
      keep(`world-${seed}`, {}, { 'primary.log': pair?.primary.output ?? '', 'standby.log': pair?.standby.output ?? '' });
    unmountAll(base);
    rmSync(base, { recursive: true, force: true });
  }
  return result;
}

async function makePair(layout: Layout, port: number): Promise<AgentPair> {
  const roots = ({ store, files }: { store: string; files: string }) => [
    { name: 'mail', path: store },
    { name: 'files', path: files, format: 'plain' as const },
  ];
  return AgentPair.create({
    primary: {
      node: 'mail-a',
      dir: layout.a,
      roots: roots(layout.primary),
      listen: `127.0.0.1:${port}`,
      config: [['massDelete: 20%', 'massDelete: 100%']],
    },
    standby: { node: 'mail-b', dir: layout.b, roots: roots(layout.standby) },
  });
}

/** Load, letters and events together; resolves when a few events are over. */
async function work(world: World, letters: Letters, hot: HotFiles, result: WorldResult, until: number): Promise<void> {
  const { loads, random, layout, pair } = world;
  for (const load of loads.values()) load.start();
  // While a file never rests no `wait` can confirm all: every second time there is none.
  if (result.calm % 2 === 0) hot.start();
  const over = new AbortController();
  const { volume, users: disks } = layout.standby;
  const stores: Stores = {
    primary: layout.primary.store,
    standby: layout.standby.store,
    isMounted: (user) => volume.isMounted && (disks as Record<string, Disk>)[user]?.isMounted !== false,
  };
  const probing = (async () => {
    while (!over.signal.aborted) {
      const lie = await letters.probe(pair.primary, stores, random.pick(users));
      if (lie !== null) result.problems.push(lie);
      await pause(probeEveryMs);
    }
  })();
  try {
    const weights = Object.fromEntries(Object.entries(events).map(([name, { weight }]) => [name, weight]));
    for (let i = 0; i < eventsBetweenCalm && performance.now() < until; i++) {
      const name = random.weighted(weights);
      world.say(name);
      result.events++;
      result.happened[name] = (result.happened[name] ?? 0) + 1;
      await events[name]?.run(world);
      await pause(random.unit() * 2000);
      for (const agent of [pair.primary, pair.standby]) agent.check();
    }
  } finally {
    over.abort();
    await Promise.all([probing, hot.stop(), ...[...loads.values()].map((load) => load.stop())]);
  }
}

/** Everything is mended and at rest: now both nodes hold the same, but for what they name. */
async function calm(world: World, letters: Letters, hot: HotFiles, result: WorldResult): Promise<void> {
  const { layout, pair } = world;
  await hot.stop();
  for (const disk of Object.values(layout.primary.users)) disk.mount();
  await acceptNewDisks(pair.primary);
  await untilDurable(pair);
  const problem = (text: string) => result.problems.push(text);
  for (const letter of letters.missing(layout.primary.store, layout.standby.store))
    problem(`wait had confirmed ${letter}, and the standby has not got it`);
  const named = await namedPlaces(pair);
  for (const [left, right] of [
    [layout.primary.store, layout.standby.store],
    [layout.primary.files, layout.standby.files],
  ] as const) {
    const differing = treesDiffer(left, right, (path) => path.includes(oddPrefix));
    if (differing.length > 0) {
      // It is wrong either way; for who looks for the cause it matters whether it comes by itself later.
      await pause(laterMs);
      const later = new Set(treesDiffer(left, right, (path) => path.includes(oddPrefix)));
      for (const line of differing)
        problem(`${line}${later.has(line) ? `; still so ${laterMs / 1000} s later` : '; not so any more later'}`);
    }
    for (const line of treesDiffer(left, right, (path) => !path.startsWith(oddPrefix)))
      if (!named.has(oddNumber(line))) problem(`differs, and no status names it: ${line}`);
  }
  for (const agent of [pair.primary, pair.standby]) {
    const found = unforeseen.exec(agent.output);
    if (found) problem(`${agent.node} said ${JSON.stringify(agent.output.slice(Math.max(0, found.index - 300), found.index + 600))}`);
  }
  for (const load of world.loads.values()) load.failure = null;
  for (const dir of [layout.primary.store, layout.primary.files])
    // By the shell, because names may be no UTF-8.
    runNow('sh', ['-c', `rm -rf -- "$0"/${oddPrefix}*`, dir]);
}

/** A tmpfs that was mounted anew is another file system: a person says by its name that it is the right one. */
async function acceptNewDisks(primary: LabAgent): Promise<void> {
  const { heldPlaces } = (await primary.status()).replication;
  for (const { root, path } of heldPlaces) await primary.cli(['accept-root', `${root}/${path}`], { mayFail: true });
}

/** Also what is held or in doubt for a while after a disk is back must be over by then. */
async function untilDurable(pair: AgentPair): Promise<void> {
  await pair.primary.status();
  await waitFor('everything to be durable', settleMs, async () => {
    for await (const line of pair.primary.control.stream('POST /wait', { timeoutSeconds: 30 })) {
      if (line.kind === 'done') return true;
      // Odd files may be in doubt, by name.
      if (line.kind === 'error' && line.code === 'unproven') {
        const { unproven } = (await pair.primary.status()).replication;
        return unproven.length > 0 && unproven.every(({ path }) => path.includes(oddPrefix));
      }
    }
    return false;
  });
}

/** The beginnings of the names of all odd files that a status names as left out, held or in doubt. */
async function namedPlaces(pair: AgentPair): Promise<ReadonlySet<string>> {
  const texts = await Promise.all([pair.primary, pair.standby].map(async (agent) => JSON.stringify(await agent.status())));
  return new Set(texts.flatMap((text) => [...text.matchAll(new RegExp(`${oddPrefix}\\d+-`, 'g'))].map(([name]) => name)));
}

function oddNumber(line: string): string {
  return new RegExp(`^${oddPrefix}\\d+-`).exec(line)?.[0] ?? '';
}

/** The namespace would do it at its end; the directory is removed before. */
function unmountAll(base: string): void {
  for (;;) {
    const at = runNow('sh', ['-c', `awk '{print $5}' /proc/self/mountinfo | grep -F '${base}' | tail -1`]).trim();
    if (at === '') return;
    runNow('umount', ['-l', at]);
  }
}
