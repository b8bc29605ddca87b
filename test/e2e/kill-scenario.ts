import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ChangeLoop, changesAtRate } from '../../tools/mailgen/change.ts';
import { makeStore } from '../../tools/mailgen/make.ts';
import { Random } from '../../tools/mailgen/random.ts';
import { AgentPair } from '../lab/agents.ts';
import { ownerMark } from '../lab/ownership.ts';
import { keep } from '../lab/keep.ts';
import { differentTrees } from '../lab/trees.ts';

export type Victim = 'primary' | 'standby';

export interface KillResult {
  kills: number;
  changes: number;
  /** Messages that a `wait` had confirmed when an agent was killed, over all kills. */
  confirmed: number;
  problems: string[];
}

const changesPerSecond = 80;
const killAfterMsMax = 1200;
const downMsMax = 300;
const filledMs = 180_000;
/** A machine that others use as well may take this long; what it takes is no promise of this test. */
const waitSeconds = 240;

/** Kills an agent of a pair at random moments while a generated store changes, and starts it again. */
export async function killUnderLoad(options: {
  victim: Victim;
  times: number;
  seed: string | number;
  /** Parent of everything; default the system's temporary directory. */
  diskDir?: string;
  say?: (line: string) => void;
}): Promise<KillResult> {
  const { victim, times, seed, say = () => {} } = options;
  const dir = mkdtempSync(join(options.diskDir ?? tmpdir(), `${ownerMark()}-`));
  const result: KillResult = { kills: 0, changes: 0, confirmed: 0, problems: [] };
  const over = new AbortController();
  const [left, right] = [join(dir, 'a/mail'), join(dir, 'b/mail')];
  const logs: Record<string, string> = {};
  try {
    mkdirSync(join(dir, 'a'));
    makeStore({ seed, dir: left, messages: 400, users: 2, mailboxesPerUser: 6 });
    const agent = (name: string) => ({ node: name, dir: join(dir, name), roots: [{ name: 'mail', path: join(dir, name, 'mail') }] });
    await using pair = await AgentPair.create({
      primary: { ...agent('a'), listen: `127.0.0.1:${await freePort()}`, config: [['massDelete: 20%', 'massDelete: 100%']] },
      standby: agent('b'),
    });
    await pair.standby.start();
    await pair.filled(filledMs);
    const loop = new ChangeLoop({ seed: `${seed}/changes`, dir: left });
    const load = (async () => {
      for await (const _ of changesAtRate(loop, changesPerSecond, 24 * 3600, over.signal)) result.changes++;
    })();
    // Its failure is thrown below, where it is awaited.
    load.catch(() => {});
    try {
      const at = { pair, left, right, victim };
      await killAgain(at, times, new Random(`${seed}/kills`), result, (line) => say(`seed ${seed} ${victim} ${line}`));
      over.abort();
      await load;
      await pair.wait(waitSeconds);
      result.problems.push(...differentTrees(left, right), ...(await pair.verify(true)));
      result.problems.push(...[...pair.primary.errors(), ...pair.standby.errors()]);
    } finally {
      over.abort();
      await load.catch(() => {});
      logs['primary.log'] = pair.primary.output;
      logs['standby.log'] = pair.standby.output;
    }
  } catch (error) {
    // A long run goes on with the next store.
    result.problems.push(error instanceof Error ? error.message : String(error));
  } finally {
    if (result.problems.length > 0) keep(`kill-${seed}-${victim}`, { dir }, { ...logs, 'problems.txt': result.problems.join('\n') });
    rmSync(dir, { recursive: true, force: true });
  }
  result.problems = result.problems.map((each) => `seed ${seed} ${victim}: ${each}`);
  return result;
}

interface Place {
  pair: AgentPair;
  left: string;
  right: string;
  victim: Victim;
}

/** I1: what a `wait` confirmed is on the standby at every kill, unless it is gone from the primary by now. */
export async function killAgain(at: Place, times: number, random: Random, result: KillResult, say: (line: string) => void): Promise<void> {
  const { pair, left, right } = at;
  const agent = pair[at.victim];
  for (let kill = 0; kill < times; kill++) {
    let confirmed = messagesIn(left);
    await pair.wait(waitSeconds);
    // The kill may hit this one while it waits: then it confirms no more than the last one did.
    const here = messagesIn(left);
    const waiting = pair.wait(waitSeconds).then(
      () => void (confirmed = here),
      () => {},
    );
    await pause(random.unit() * killAfterMsMax);
    await agent.kill9();
    if (at.victim === 'primary') await waiting;
    const there = messagesIn(right);
    const still = messagesIn(left);
    const lost = [...confirmed].filter((name) => still.has(name) && !there.has(name));
    // On a standby that runs a rename may hide a message from a walk; one that is lost stays lost.
    let missing = lost;
    for (let looks = 0; at.victim === 'primary' && missing.length > 0 && looks < 20; looks++) {
      await pause(50);
      missing = lostFrom(messagesIn(right), messagesIn(left), missing);
    }
    result.problems.push(...missing.map((name) => `kill ${kill}: ${name} is missing, which wait had confirmed`));
    if (missing.length > 0)
      keep(
        `missing-${at.victim}-${kill}-${Date.now()}`,
        { left, right },
        { 'primary.log': pair.primary.output, 'standby.log': pair.standby.output },
      );
    result.kills++;
    result.confirmed += confirmed.size;
    say(`kill ${kill}: ${confirmed.size} messages confirmed, ${missing.length} missing`);
    await pause(random.unit() * downMsMax);
    await agent.start();
    await waiting;
  }
}

function lostFrom(there: ReadonlySet<string>, still: ReadonlySet<string>, suspects: readonly string[]): string[] {
  return suspects.filter((name) => still.has(name) && !there.has(name));
}

/** Names of all messages, without their flags. */
function messagesIn(root: string): Set<string> {
  const found = new Set<string>();
  for (const user of readdirSync(root)) {
    for (const name of ['.', ...listed(join(root, user)).filter((each) => /^\.[^.]/.test(each))]) {
      for (const sub of ['cur', 'new']) {
        for (const message of listed(join(root, user, name, sub))) found.add(message.split(':')[0] ?? '');
      }
    }
  }
  return found;
}

/** Empty when the directory is gone: another process works here. */
function listed(dir: string): string[] {
  try {
    return readdirSync(dir, { encoding: 'latin1' });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  }
}

/** The primary keeps its port over its lives, because the standby knows it. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', () => resolve()));
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return typeof address === 'object' && address !== null ? address.port : 0;
}
