import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { raiseRoot } from '../../agent/mailstore/raise.ts';
import { clearStaged } from '../../agent/mailstore/staged-files.ts';
import { baseOf, checkUidlist, namedMessages } from '../../agent/mailstore/uidlist.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import { Random } from '../../tools/mailgen/random.ts';
import { AgentPair } from '../lab/agents.ts';
import type { Dovecot } from '../lab/dovecot.ts';
import { runLoad, usualUsers } from '../lab/imap-load.ts';
import { ImapSession, messageIdOf, sha256 } from '../lab/imap-session.ts';
import { createLab, type LabHost } from '../lab/lab.ts';
import type { Acknowledged, LoadRecord } from '../lab/load-record.ts';
import { keep } from '../lab/keep.ts';
import { run } from '../lab/processes.ts';
import { labRelease, type Release } from '../lab/release.ts';
import { TcpProxy } from '../lab/tcp-proxy.ts';
import { readCopy } from './torn-copy.ts';

export interface TornResult {
  cuts: number;
  /** Messages that a server showed from the copies, over all cuts. */
  messages: number;
  /** Cuts after which the copy was behind the primary: the others prove little. */
  behind: number;
  /** What was wrong, with the seed and the number of the cut. */
  problems: string[];
}

/** The store grows with every cut; a new one after this many keeps a long run from slowing down. */
const cutsPerStoreMax = 10;
const cutAfterMsMax = 2500;
/** A machine that others use as well may take this long; what it takes is no promise of this test. */
const waitSeconds = 240;

export interface TornOptions {
  times: number;
  seed: string | number;
  /** Whose Dovecot. Default `labRelease`. */
  release?: Release;
  say?: (line: string) => void;
}

/** Cuts the pair's link at random moments under load, and looks each time at what the standby has then. */
export async function tornCuts(options: TornOptions): Promise<TornResult> {
  const result: TornResult = { cuts: 0, messages: 0, behind: 0, problems: [] };
  for (let store = 0; result.cuts < options.times; store++) {
    const seed = `${options.seed}/${store}`;
    try {
      await cutsOnOneStore(seed, Math.min(cutsPerStoreMax, options.times - result.cuts), result, options);
    } catch (error) {
      // A long run goes on with the next store.
      result.cuts++;
      result.problems.push(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return result;
}

async function cutsOnOneStore(seed: string, times: number, result: TornResult, options: TornOptions): Promise<void> {
  const { release = labRelease, say = () => {} } = options;
  const random = new Random(seed);
  await using lab = await createLab({ hosts: 2, diskDir: '/dev/shm', mail: { release } });
  const [a, b] = [lab.host(0), lab.host(1)];
  const replica = `${b.disk}/replica`;
  await a.dovecot.start();
  const record = await runLoad({ dovecot: a.dovecot, seed: `${seed}/before`, seconds: 3, acknowledgedMin: 120 });
  let proxy: TcpProxy | null = null;
  try {
    await using pair = await AgentPair.create({
      primary: {
        node: 'mail-a',
        dir: `${a.disk}/agent`,
        roots: [{ name: 'mail', path: a.storeDir }],
        // This load deletes more than any office does.
        config: [['massDelete: 20%', 'massDelete: 100%']],
      },
      standby: { node: 'mail-b', dir: `${b.disk}/agent`, roots: [{ name: 'mail', path: replica }] },
      connect: async (port) => {
        proxy = await TcpProxy.start({ port });
        return `127.0.0.1:${proxy.port}`;
      },
    });
    const link = proxy as TcpProxy | null;
    if (link === null) throw new Error('the pair was made without its proxy');
    await pair.standby.start();
    await pair.filled(waitSeconds * 1000);
    const over = new AbortController();
    const load = runLoad({
      dovecot: a.dovecot,
      seed,
      seconds: 3600,
      pauseMs: 30,
      lmtpClients: 1,
      weights: { copy: 4, move: 6, delete: 3 },
      record,
      signal: over.signal,
    });
    // Its failure is thrown below, where it is awaited.
    load.catch(() => {});
    try {
      for (let cut = 0; cut < times; cut++) {
        const name = `seed ${seed} cut ${cut}`;
        const confirmed = [...record.acknowledged];
        await pair.wait(waitSeconds);
        await Promise.race([load, pause(random.unit() * cutAfterMsMax)]);
        link.refusing = true;
        link.cut();
        const numbered = numbersIn(a.storeDir);
        await pair.standby.stop();
        const problems: string[] = [];
        const found = await inspect(replica, b, a, numbered, record, problems);
        const has = (each: Acknowledged) => found.messageIds.has(`${each.user} ${each.messageId}`);
        const lasting = new Set(record.lasting);
        for (const each of confirmed)
          if (lasting.has(each) && !has(each)) problems.push(`I1: ${each.user} lost ${each.messageId}, which wait had confirmed`);
        result.cuts++;
        result.messages += found.messageIds.size;
        const lost = [...lasting].filter((each) => !has(each)).length;
        if (lost > 0) result.behind++;
        result.problems.push(...problems.map((each) => `${name}: ${each}`));
        if (problems.length > 0) {
          const texts = { 'primary.log': pair.primary.output, 'standby.log': pair.standby.output, 'problems.txt': problems.join('\n') };
          keep(`torn ${name}`, { replica, copy: b.storeDir, primary: a.storeDir, state: `${b.disk}/agent` }, texts);
        }
        const verdict = problems.length === 0 ? 'all right' : problems.slice(0, 5).join('; ');
        say(`${name}: ${found.messageIds.size} messages on the copy, ${lost} of the primary not there yet: ${verdict}`);
        link.refusing = false;
        await pair.standby.start();
      }
    } finally {
      over.abort();
    }
    await load;
    await pair.wait(waitSeconds);
    result.problems.push(...[...pair.primary.errors(), ...pair.standby.errors()].map((line) => `seed ${seed}: ${line}`));
  } finally {
    await (proxy as TcpProxy | null)?.stop();
  }
}

/** Opens a copy of the replica with a server of its own, and compares all of it with what the primary shows and showed. */
async function inspect(
  replica: string,
  { storeDir: copy, dovecot: server }: LabHost,
  { storeDir, dovecot: primary }: LabHost,
  numbered: Numbers,
  record: LoadRecord,
  problems: string[],
): Promise<{ messageIds: Set<string> }> {
  rmSync(copy, { recursive: true, force: true });
  await run('cp', ['-a', replica, copy]);
  const facts = readCopy(copy, problems);
  const named = namedIn(copy);
  await raiseAsTakeover(copy);
  await readAll(primary, true, (seen) => record.sight(seen));
  problems.push(...record.conflicts.splice(0));
  const alarmsBefore = server.alarmingLogLines().length;
  const errorsBefore = server.errorLogLines().length;
  await server.start();
  const messageIds = new Set<string>();
  try {
    await readAll(server, false, (seen) => {
      named.delete(`${seen.user} ${seen.uidValidity} ${seen.uid}`);
      messageIds.add(`${seen.user} ${seen.messageId}`);
      const mailbox = facts.get(seen.user)?.find((each) => BigInt(each.uidValidity) === seen.uidValidity);
      // What the copy's files did not number yet was numbered by this server: a takeover raises the numbers before that.
      if (mailbox === undefined || seen.uid >= mailbox.uidNext) return;
      const known = record.find(seen);
      const other =
        known ??
        [...record.sightings].find((each) => each.user === seen.user && each.uidValidity === seen.uidValidity && each.uid === seen.uid);
      if (other && (other.messageId !== seen.messageId || (other.sha256 !== null && other.sha256 !== seen.sha256)))
        problems.push(`I5: ${seen.user} ${seen.mailbox} UID ${seen.uid} was ${other.messageId}, is ${seen.messageId}`);
      if (seen.messageId === '') problems.push(`${seen.user} ${seen.mailbox} UID ${seen.uid} has no Message-ID`);
    });
  } finally {
    await server.stop();
  }
  for (const [message, file] of named) problems.push(`I6: ${message} is named and there, and is not shown: ${file}`);
  const lines = [...server.alarmingLogLines().slice(alarmsBefore), ...server.errorLogLines().slice(errorsBefore)];
  problems.push(...lines.filter((line) => !isBackAgain(line, copy, [numbered, numbersIn(storeDir)])));
  return { messageIds };
}

/** What a takeover that may have lost a tail does to the store before any server opens it. */
async function raiseAsTakeover(store: string): Promise<void> {
  const staging = `${store}.raise`;
  const options = { nowSeconds: Math.floor(Date.now() / 1000), breathe: async () => {} };
  await raiseRoot(
    realFiles,
    { name: 'mail', path: store, staging },
    () => null,
    () => ({ uids: 1000, modseqs: 1000 }),
    options,
  );
  await clearStaged(realFiles, staging, async () => {});
}

/** Messages that a list of the store numbers and whose file is there, as user, UIDVALIDITY and UID: clients know them. */
function namedIn(store: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const [place, uids] of numbersIn(store)) {
    const list = readIfThere(join(store, place, 'dovecot-uidlist'));
    const facts = list && checkUidlist(list);
    if (!facts?.ok) continue;
    for (const part of ['cur', 'new'])
      for (const name of readdirSync(join(store, place, part))) {
        const uid = uids.get(baseOf(name));
        if (uid !== undefined) found.set(`${place.split('/')[0]} ${facts.uidValidity} ${uid}`, join(place, part, name));
      }
  }
  return found;
}

/**
 * A message that was moved away and back has its old name and, on the primary, a new UID. Messages come ahead of the
 * uidlist, so a copy may have the message again and not yet the new number: the server then gives it one, as to any
 * message that has none, and says that an expunged one reappeared. On the primary, where the load goes on, it may be gone
 * again meanwhile: what counts is also what was there at the cut.
 */
function isBackAgain(line: string, copy: string, moments: readonly Numbers[]): boolean {
  const found = /Maildir (\S+): Expunged message reappeared, giving a new UID \(old uid=(\d+), file=([^:)]+)/.exec(line);
  if (!found) return false;
  const [, dir = '', uid, base = ''] = found;
  return moments.some((numbers) => (numbers.get(relative(copy, dir))?.get(base) ?? 0) > Number(uid));
}

/** Of each mailbox, by its place in the store, the UID of each message by the base of its name. */
type Numbers = ReadonlyMap<string, ReadonlyMap<string, number>>;

function numbersIn(store: string): Numbers {
  const found = new Map<string, ReadonlyMap<string, number>>();
  for (const user of readdirSync(store))
    for (const name of ['', ...readdirSync(join(store, user)).filter((each) => /^\.[^.]/.test(each))]) {
      const place = join(user, name);
      const uidlist = readIfThere(join(store, place, 'dovecot-uidlist'));
      if (uidlist) found.set(place, new Map([...namedMessages(uidlist)].map(({ base, uid }) => [base, uid])));
    }
  return found;
}

/** A mailbox under load may be renamed or deleted at any moment. */
function readIfThere(path: string): Buffer | null {
  try {
    return readFileSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  }
}

interface Seen {
  user: string;
  mailbox: string;
  uidValidity: bigint;
  uid: number;
  messageId: string;
  sha256: string;
}

/** Every message of every mailbox, as a client sees it. On a server under load what vanishes meanwhile is passed over. */
async function readAll(server: Dovecot, isBusy: boolean, take: (seen: Seen) => void): Promise<void> {
  for (const user of usualUsers) {
    const paths = await withSession(server, user, async ({ client }) =>
      (await client.list()).filter(({ flags }) => !flags.has('\\Noselect') && !flags.has('\\NonExistent')).map(({ path }) => path),
    );
    for (const mailbox of paths) {
      try {
        await withSession(server, user, async (session) => {
          const { client } = session;
          const opened = await session.attempt(() => client.mailboxOpen(mailbox, { readOnly: true }));
          // The list index may still name what was renamed or deleted a moment ago; the server mends that by itself.
          if ('refused' in opened && /doesn't exist/.test(opened.refused.text)) return;
          if ('refused' in opened) throw new Error(`${user} cannot open ${mailbox}: ${opened.refused.text}`);
          const { uidValidity, exists } = opened.done;
          if (exists === 0) return;
          for await (const { uid, source } of client.fetch('1:*', { uid: true, source: true })) {
            if (source) take({ user, mailbox, uidValidity, uid, messageId: messageIdOf(source), sha256: sha256(source) });
            else if (!isBusy) throw new Error(`${user} ${mailbox} UID ${uid} has no body`);
          }
        });
      } catch (error) {
        if (!isBusy) throw error;
      }
    }
  }
}

async function withSession<T>(server: Dovecot, user: string, work: (session: ImapSession) => Promise<T>): Promise<T> {
  const session = await ImapSession.open(server.imap, user, server.password);
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}
