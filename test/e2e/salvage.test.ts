import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { SalvageCounts, TailItem } from '../../protocol/salvage.ts';
import { AgentPair, type LabAgent } from '../lab/agents.ts';
import { freePort } from '../lab/small-pair.ts';
import { waitFor } from '../lab/waiting.ts';

const dir = mkdtempSync(join(tmpdir(), 'mailtwin-salvage-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const levels = 'fencing: [{ type: cooperative, timeoutSeconds: 5 }, { type: manual }]\n';
const waitMs = 120_000;
const cli = (agent: LabAgent, ...args: string[]) => agent.cli(args, { mayFail: true, timeoutMs: 120_000 });

function makeMailbox(path: string, messages: readonly string[], uidValidity: number): void {
  for (const part of ['cur', 'new', 'tmp']) mkdirSync(join(path, part), { recursive: true });
  messages.forEach((name) => writeFileSync(join(path, 'cur', `${name}:2,S`), text(name)));
  const lines = messages.map((name, i) => `${i + 1} :${name}\n`);
  writeFileSync(
    join(path, 'dovecot-uidlist'),
    `3 V${uidValidity} N${messages.length + 1} G0123456789abcdef0123456789abcdef\n${lines.join('')}`,
  );
}

function text(name: string): string {
  return `Message-ID: <${name}>\nSubject: ${name}\n\ntext of ${name}\n`;
}

/** Message-IDs in a mailbox, sorted: twice what is there twice. */
function messagesIn(mailbox: string): string[] {
  return ['cur', 'new']
    .flatMap((place) => readdirSync(join(mailbox, place)).map((name) => readFileSync(join(mailbox, place, name), 'utf8')))
    .map((content) => /^Message-ID: <(.*)>$/m.exec(content)?.[1] ?? '?')
    .toSorted();
}

/** Fails over to this node, which heard of the other one until a moment ago: that counts as alive for some seconds. */
async function failOver(agent: LabAgent, other: string, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return waitFor('the failover', waitMs, async () => {
    const ran = await cli(agent, 'failover', '--confirm', other, '--accept-loss', '--fenced-by-hand', 'killed by the test', ...args);
    return ran.code === 3 && ran.stderr.includes('the primary lives') ? null : ran;
  });
}

async function fenced(agent: LabAgent): Promise<void> {
  await waitFor('the old primary to be fenced', waitMs, async () => {
    const { role, peer } = await agent.status();
    return role === 'fenced' && peer.connected;
  });
}

async function tailOf(agent: LabAgent, ...args: string[]): Promise<SalvageCounts & { items: TailItem[]; code: number }> {
  const { stdout, stderr, code } = await agent.cliOnceConnected(['salvage', '--json', ...args]);
  if (!stdout.includes('"items"')) throw new Error(stdout + stderr);
  return { ...(JSON.parse(stdout) as SalvageCounts & { items: TailItem[] }), code };
}

test('what only a dead primary has comes back, each exactly once, and it rejoins by differences; nothing there is wiped unseen (I15, I16)', async () => {
  const at = (node: string, root: string) => join(dir, node, root);
  const [mailA, mailB, queueA, queueB] = [at('a', 'mail'), at('b', 'mail'), at('a', 'queue'), at('b', 'queue')];
  makeMailbox(join(mailA, 'user'), ['1700000001.M1.h', '1700000002.M2.h', '1700000003.M3.h', '1700000004.M4.h'], 1234);
  makeMailbox(join(mailA, 'user/.Archive'), ['1700000005.M5.h'], 1235);
  mkdirSync(queueA, { recursive: true });
  writeFileSync(join(queueA, 'old'), 'queued before\n');
  // A node that comes back finds the other where it was.
  const ports = [await freePort(), await freePort()];
  const options = (node: 'a' | 'b') => ({
    node: `mail-${node}`,
    listen: `127.0.0.1:${ports[node === 'a' ? 0 : 1]}`,
    dir: join(dir, node),
    roots: [
      { name: 'mail', path: at(node, 'mail'), format: 'maildir' as const },
      { name: 'queue', path: at(node, 'queue'), format: 'plain' as const },
    ],
    config: [['# Prometheus metrics', `${levels}# Prometheus metrics`]] as const,
  });
  const pair = await AgentPair.create({ primary: options('a'), standby: options('b') });
  await using _ = pair;
  const { primary: a, standby: b } = pair;
  await b.start();
  await pair.filled(waitMs);
  await pair.wait();

  // Nothing of this arrives.
  await b.kill9();
  const user = join(mailA, 'user');
  writeFileSync(join(user, 'new/1700000010.M10.h,S=70'), text('delivered'));
  utimesSync(join(user, 'new/1700000010.M10.h,S=70'), 1_700_000_010, 1_700_000_010.25);
  writeFileSync(join(user, 'cur/1700000011.M11.h:2,FS'), text('draft'));
  makeMailbox(join(user, '.Sent'), ['1700000012.M12.h'], 1236);
  // The same letter to two mailboxes: one of them had arrived.
  const twin = join(user, '.Archive/cur/1700000005.M5.h:2,S');
  writeFileSync(join(user, 'new/1700000013.M13.h'), readFileSync(twin));
  utimesSync(join(user, 'new/1700000013.M13.h'), statSync(twin).atime, statSync(twin).mtime);
  renameSync(join(user, 'cur/1700000001.M1.h:2,S'), join(user, 'cur/1700000001.M1.h:2,FS'));
  unlinkSync(join(user, 'cur/1700000002.M2.h:2,S'));
  renameSync(join(user, 'cur/1700000003.M3.h:2,S'), join(user, '.Archive/cur/1700000020.moved:2,S'));
  writeFileSync(join(queueA, 'new'), 'queued and not sent\n');
  mkdirSync(join(queueA, 'deferred/A'), { recursive: true });
  writeFileSync(join(queueA, 'deferred/A/deep'), 'in a directory that is not there\n');
  writeFileSync(join(queueA, 'both'), 'of a\n');
  await a.kill9();

  await b.start();
  const over = await failOver(b, 'mail-a');
  expect([over.code, over.stderr]).toEqual([0, '']);
  writeFileSync(join(queueB, 'both'), 'of b\n');
  unlinkSync(join(mailB, 'user/cur/1700000004.M4.h:2,S'));
  await a.start();
  await fenced(a);

  expect((await cli(b, 'salvage')).stderr).toContain('not-fenced-here');
  const shown = await tailOf(a);
  expect(shown).toMatchObject({ missing: 6, brought: 0, there: 1, placed: 0, differs: 1, code: 1 });
  const told = (what: TailItem['what']) =>
    shown.items.filter((item) => item.what === what).map(({ mailbox, name, verdict, flags }) => ({ mailbox, name, verdict, flags }));
  expect(told('flags')).toEqual([{ mailbox: 'user', name: '1700000001.M1.h', verdict: 'shown', flags: 'S > FS' }]);
  expect(
    told('expunged')
      .map(({ name }) => name)
      .toSorted(),
  ).toEqual(['1700000002.M2.h', '1700000003.M3.h']);
  expect(told('folder')).toMatchObject([{ mailbox: 'user/.Sent' }]);
  expect(told('file').toSorted((x, y) => (x.name < y.name ? -1 : 1))).toMatchObject([
    { name: 'both', verdict: 'differs' },
    { name: 'deferred/A/deep', verdict: 'missing' },
    { name: 'new', verdict: 'missing' },
  ]);
  const before = messagesIn(join(mailB, 'user'));
  expect(before).not.toContain('delivered');

  const early = await cli(a, 'rejoin', '--confirm', 'mail-a');
  expect([early.code, early.stderr]).toEqual([3, expect.stringContaining('unsalvaged')]);
  expect((await a.status()).role).toBe('fenced');

  expect(await tailOf(a, '--apply')).toMatchObject({ missing: 0, brought: 6, there: 1, differs: 1, code: 0 });
  expect(await tailOf(a, '--apply')).toMatchObject({ missing: 0, brought: 0, placed: 6, code: 0 });
  expect(messagesIn(join(mailB, 'user'))).toEqual([...before, 'delivered', 'draft', '1700000005.M5.h'].toSorted());
  expect(messagesIn(join(mailB, 'user/.Sent'))).toEqual(['1700000012.M12.h']);
  expect(messagesIn(join(mailB, 'user/.Archive'))).toEqual(['1700000005.M5.h']);
  expect(readFileSync(join(queueB, 'new'), 'utf8')).toBe('queued and not sent\n');
  expect(readFileSync(join(queueB, 'deferred/A/deep'), 'utf8')).toContain('not there');
  expect(readFileSync(join(queueB, 'both'), 'utf8')).toBe('of b\n');
  const [arrived = ''] = readdirSync(join(mailB, 'user/new')).filter((name) => name.startsWith('1700000010'));
  expect(arrived).toMatch(/^1700000010\.S[0-9a-f]{32}\.mailtwin,S=70$/);
  expect(statSync(join(mailB, 'user/new', arrived)).mtimeMs).toBe(1_700_000_010_250);
  expect(readdirSync(join(mailB, 'user/cur')).filter((name) => name.includes('.mailtwin'))).toEqual([expect.stringMatching(/:2,FS$/)]);

  const wrong = await cli(a, 'rejoin', '--confirm', 'mail-b');
  expect([wrong.code, wrong.stderr]).toEqual([3, expect.stringContaining('wrong-name')]);
  const back = await cli(a, 'rejoin', '--confirm', 'mail-a');
  expect([back.code, back.stderr]).toEqual([0, '']);
  await waitFor('the old primary to be the standby', waitMs, async () => {
    const { role, replication, peer } = await a.status();
    return role === 'standby' && peer.connected && replication.phase === 'streaming';
  });
  expect((await a.status()).warnings.filter(({ code }) => code === 'fenced' || code === 'yielded')).toEqual([]);
  await cli(b, 'wait');
  const verified = await cli(b, 'verify', '--deep');
  expect([verified.code, verified.stdout]).toEqual([0, expect.stringContaining('both nodes hold the same')]);
  expect(messagesIn(join(mailA, 'user'))).toEqual(messagesIn(join(mailB, 'user')));
  // What was replaced is in history: the file that differs, and the messages under their old names.
  const history = execFileSync('grep', ['-rlF', '-e', 'of a', '-e', 'Message-ID: <delivered>', join(a.stateDir, 'staging')], {
    encoding: 'utf8',
  });
  expect(history.trim().split('\n').length).toBeGreaterThanOrEqual(2);
});

test('what was salvaged is there once when the node that it came from takes over again before its copy is complete (I15, I16)', async () => {
  const base = join(dir, 'again');
  const at = (node: string, ...path: string[]) => join(base, node, 'mail/user', ...path);
  const stuck: string[] = [];
  /** Nobody removes or renames what has this attribute; into and out of such a directory nothing goes. */
  const hold = (path: string) => {
    execFileSync('chattr', ['+i', path]);
    stuck.push(path);
  };
  const letGo = () => {
    for (const path of stuck.splice(0)) execFileSync('chattr', ['-i', path]);
  };
  makeMailbox(at('a'), ['1700000001.M1.h', '1700000003.M3.h'], 1234);
  makeMailbox(at('a', '.Archive'), [], 1235);
  makeMailbox(at('a', '.Late'), [], 1236);
  const ports = [await freePort(), await freePort()];
  const options = (node: 'a' | 'b') => ({
    node: `mail-${node}`,
    listen: `127.0.0.1:${ports[node === 'a' ? 0 : 1]}`,
    dir: join(base, node),
    roots: [{ name: 'mail', path: join(base, node, 'mail'), format: 'maildir' as const }],
    config: [['# Prometheus metrics', `${levels}# Prometheus metrics`]] as const,
  });
  const pair = await AgentPair.create({ primary: options('a'), standby: options('b') });
  await using _ = pair;
  const { primary: a, standby: b } = pair;
  try {
    await b.start();
    await pair.filled(waitMs);
    await pair.wait();
    await b.kill9();
    writeFileSync(at('a', 'new/1700000010.M10.h'), text('ten'));
    writeFileSync(at('a', '.Late/cur/1700000011.M11.h:2,S'), text('eleven'));
    renameSync(at('a', 'cur/1700000003.M3.h:2,S'), at('a', '.Archive/cur/1700000020.moved:2,S'));
    await a.kill9();
    await b.start();
    expect((await failOver(b, 'mail-a')).code).toBe(0);
    await a.start();
    await fenced(a);
    expect(await tailOf(a, '--apply')).toMatchObject({ brought: 2, there: 1, code: 0 });

    // The copy of one comes and its first name stays; of the other nothing comes and nothing goes.
    for (const path of [at('a', 'new/1700000010.M10.h'), at('a', '.Archive/cur/1700000020.moved:2,S')]) hold(path);
    for (const place of ['cur', 'new']) hold(at('a', '.Late', place));
    expect((await cli(a, 'rejoin', '--confirm', 'mail-a')).code).toBe(0);
    await waitFor('the copies of what is salvaged', waitMs, () => messagesIn(at('a')).filter((id) => id === 'ten').length === 2);
    await waitFor('what was moved to be where it was', waitMs, () => messagesIn(at('a')).includes('1700000003.M3.h'));
    expect(messagesIn(at('a', '.Archive'))).toEqual(['1700000003.M3.h']);
    // Only the last batch could be done again: what failed of an earlier one stays as it is.
    writeFileSync(at('b', 'new/1700000012.M12.h'), text('twelve'));
    const [list, listLater] = [at('b', 'dovecot-uidlist'), at('b', 'dovecot-uidlist.lock')];
    writeFileSync(listLater, `${readFileSync(list, 'utf8')}50000 :1700000012.M12.h\n`);
    renameSync(listLater, list);
    await waitFor('the next batch', waitMs, () => readFileSync(at('a', 'dovecot-uidlist'), 'utf8').includes('M12'));
    await b.kill9();
    letGo();

    const overrides = ['initial-fill', 'predicted-loss', 'unproven'].flatMap((name) => ['--override', name]);
    const over = await failOver(a, 'mail-b', ...overrides);
    expect([over.code, over.stdout]).toEqual([0, expect.stringContaining('2 salvaged messages were here under two names')]);
    expect(messagesIn(at('a'))).toEqual(['1700000001.M1.h', '1700000003.M3.h', 'ten', 'twelve']);
    expect(messagesIn(at('a', '.Archive'))).toEqual([]);
    expect(messagesIn(at('a', '.Late'))).toEqual(['eleven']);
    expect(readdirSync(at('a', 'new'))).toContainEqual(expect.stringMatching(/^\d+\.S[0-9a-f]{32}\.mailtwin/));
    const kept = execFileSync('grep', [
      '-rlF',
      '-e',
      'Message-ID: <ten>',
      '-e',
      'Message-ID: <1700000003.M3.h>',
      join(a.stateDir, 'staging'),
    ]);
    expect(kept.toString().trim().split('\n')).toHaveLength(2);

    // Raising numbers is this node's own work.
    expect(a.output).not.toContain('somebody else wrote');

    // The other way round nothing comes twice either: its copy is of what is here under the first name.
    await b.start();
    await fenced(b);
    expect(await tailOf(b, '--apply')).toMatchObject({ missing: 0, brought: 0, code: 0 });
    expect((await cli(b, 'rejoin', '--confirm', 'mail-b')).code).toBe(0);
    await waitFor('the other one to be the standby', waitMs, async () => {
      const { role, replication, peer } = await b.status();
      return role === 'standby' && peer.connected && replication.phase === 'streaming';
    });
    const waited = await cli(a, 'wait');
    expect([waited.code, waited.stderr]).toEqual([0, '']);
    for (const node of ['a', 'b']) {
      expect(messagesIn(at(node)), node).toEqual(['1700000001.M1.h', '1700000003.M3.h', 'ten', 'twelve']);
      expect(messagesIn(at(node, '.Late')), node).toEqual(['eleven']);
      expect(messagesIn(at(node, '.Archive')), node).toEqual([]);
    }
  } finally {
    letGo();
  }
});
