import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { AgentPair, type LabAgent } from '../lab/agents.ts';
import { waitFor } from '../lab/waiting.ts';

const dir = mkdtempSync(join(tmpdir(), 'mailtwin-takeover-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const levels = 'fencing: [{ type: cooperative, timeoutSeconds: 5 }, { type: manual }]\n';
const waitMs = 120_000;

/** Three messages as Dovecot numbers them: UIDVALIDITY 1234, UIDNEXT 4. */
function makeMailbox(mailbox: string): void {
  for (const part of ['cur', 'new', 'tmp']) mkdirSync(join(mailbox, part), { recursive: true });
  const names = [1, 2, 3].map((uid) => `170000000${uid}.M1P1.host`);
  for (const name of names) writeFileSync(join(mailbox, 'cur', `${name}:2,S`), `Subject: ${name}\n\ntext\n`);
  const lines = names.map((name, i) => `${i + 1} :${name}\n`);
  writeFileSync(join(mailbox, 'dovecot-uidlist'), `3 V1234 N4 G0123456789abcdef0123456789abcdef\n${lines.join('')}`);
}

/** UIDVALIDITY and UIDNEXT that a mailbox's list tells. */
function numbersOf(mailbox: string): { uidValidity: number; uidNext: number } {
  const match = /^3 V(\d+) N(\d+) /.exec(readFileSync(join(mailbox, 'dovecot-uidlist'), 'utf8'));
  return { uidValidity: Number(match?.[1]), uidNext: Number(match?.[2]) };
}

/** A standby that may also be asked to serve, on loopback: no addresses and no services move, roles and mail do. */
async function makePair(
  name: string,
  format: 'plain' | 'maildir' = 'plain',
): Promise<{ pair: AgentPair; a: LabAgent; b: LabAgent; rootA: string; rootB: string }> {
  const own = mkdtempSync(join(dir, `${name}-`));
  const at = (node: string) => join(own, node);
  const rootA = join(at('a'), 'mail');
  const rootB = join(at('b'), 'mail');
  mkdirSync(rootA, { recursive: true });
  for (let i = 0; i < 50; i++) writeFileSync(join(rootA, `file-${i}`), `${i}\n`);
  if (format === 'maildir') makeMailbox(join(rootA, 'user'));
  const options = (node: string, root: string) => ({
    node: `mail-${node}`,
    dir: at(node),
    roots: [{ name: 'mail', path: root, format }],
    config: [['# Prometheus metrics', `${levels}# Prometheus metrics`]] as const,
  });
  const pair = await AgentPair.create({ primary: options('a', rootA), standby: options('b', rootB) });
  await pair.standby.start();
  await pair.filled(waitMs);
  await pair.wait();
  return { pair, a: pair.primary, b: pair.standby, rootA, rootB };
}

async function becomes(agent: LabAgent, role: string, peerConnected: boolean): Promise<void> {
  await waitFor(`${agent.node} to be ${role}`, waitMs, async () => {
    const status = await agent.status();
    return status.role === role && status.peer.connected === peerConnected;
  });
}

const run = (agent: LabAgent, ...args: string[]) => agent.cli(args, { mayFail: true, timeoutMs: 120_000 });

test('a switchover there and back: roles turn, epochs rise, nothing is lost, and mail flows the other way (I3)', async () => {
  const { pair, a, b, rootA, rootB } = await makePair('there', 'maildir');
  await using _ = pair;
  expect((await run(a, 'switchover', '--confirm', 'mail-b')).stderr).toContain('on-primary');
  const wrong = await run(b, 'switchover', '--confirm', 'mail-x');
  expect([wrong.code, wrong.stderr]).toEqual([3, expect.stringContaining('wrong-name')]);
  const snapshot = join(dir, 'before.json');
  expect((await run(a, 'migrate', 'snapshot', snapshot)).stdout).toContain('1 mailboxes, 3 messages');
  await run(a, 'verify');
  // The standby hears of the verification a moment after it.
  await waitFor('the switchover to be what is next', waitMs, async () => {
    const remains = await run(b, 'migrate', 'status', '--json');
    return (JSON.parse(remains.stdout) as { next: { id: string } | null }).next?.id === 'switched';
  });
  const there = await run(b, 'switchover', '--confirm', 'mail-a');
  expect([there.code, there.stderr]).toEqual([0, '']);
  await becomes(b, 'primary', true);
  await becomes(a, 'standby', true);
  expect([(await a.status()).epoch, (await b.status()).epoch]).toEqual([2, 2]);
  expect([(await a.status()).active, (await b.status()).active]).toEqual([false, true]);
  const page = join(dir, 'report.html');
  const none = await run(b, 'migrate', 'report', join(dir, 'none.json'));
  expect([none.code, none.stderr]).toEqual([2, expect.stringContaining(`${join(dir, 'none.json')} cannot be read`)]);
  writeFileSync(join(dir, 'empty.json'), '{}');
  const empty = await run(b, 'migrate', 'report', join(dir, 'empty.json'));
  expect([empty.code, empty.stderr]).toEqual([2, expect.stringContaining(`${join(dir, 'empty.json')} is no snapshot`)]);
  const report = await run(b, 'migrate', 'report', snapshot, '--html', page);
  expect([report.code, report.stdout]).toEqual([0, expect.stringContaining('accepted: 1 mailboxes, 1 the same')]);
  expect(readFileSync(page, 'utf8')).toContain('<!doctype html>');
  await pair.filled(waitMs);
  writeFileSync(join(rootB, 'written-on-b'), 'after the switchover\n');
  expect((await run(b, 'wait')).code).toBe(0);
  expect(readFileSync(join(rootA, 'written-on-b'), 'utf8')).toBe('after the switchover\n');
  await pair.filled(waitMs);
  const back = await run(a, 'switchover', '--confirm', 'mail-b');
  expect([back.code, back.stderr]).toEqual([0, '']);
  await becomes(a, 'primary', true);
  await becomes(b, 'standby', true);
  await pair.filled(waitMs);
  const verified = await run(a, 'verify', '--deep');
  expect([verified.code, verified.stdout]).toEqual([0, expect.stringContaining('both nodes hold the same')]);
});

test('a failover of a dead primary raises UIDs; the dead one comes back fenced and stays so (I3, I4, I5)', async () => {
  const { pair, a, b, rootB } = await makePair('failover', 'maildir');
  const mailbox = join(rootB, 'user');
  expect(numbersOf(mailbox)).toEqual({ uidValidity: 1234, uidNext: 4 });
  await using _ = pair;
  await a.kill9();
  // Until its last word is too old to say anything, the primary counts as alive.
  await waitFor('the word of the dead to expire', waitMs, async () => (await b.status()).peer.role === null);
  const unproven = await run(b, 'failover', '--confirm', 'mail-a', '--accept-loss');
  expect(unproven.code).not.toBe(0);
  expect((await b.status()).role).toBe('standby');
  const done = await run(b, 'failover', '--confirm', 'mail-a', '--accept-loss', '--fenced-by-hand', 'the process was killed by the test');
  expect([done.code, done.stderr]).toEqual([0, '']);
  await becomes(b, 'primary', false);
  expect(numbersOf(mailbox).uidValidity).toBe(1234);
  expect(numbersOf(mailbox).uidNext).toBeGreaterThanOrEqual(1004);
  expect(existsSync(join(b.stateDir, 'staging/mail/raise'))).toBe(false);
  writeFileSync(join(rootB, 'written-on-b'), 'after the failover\n');
  await a.start();
  await waitFor('the dead primary to learn that it was replaced', waitMs, async () => (await a.status()).role === 'fenced');
  expect((await a.status()).active).toBe(false);
  await a.stop();
  await a.start();
  const again = await a.status();
  expect([again.role, again.active, again.epoch]).toEqual(['fenced', false, (await b.status()).epoch]);
});

test('whoever still writes when the services are stopped ends the switchover, and nothing is left behind (I1, I14)', async () => {
  const { pair, a, b, rootA, rootB } = await makePair('written');
  await using _ = pair;
  // A session that outlived its server, as a service command leaves it that looks at the master alone.
  let written = 0;
  const writer = setInterval(() => writeFileSync(join(rootA, `late-${written++}`), 'late\n'), 20);
  try {
    const refused = await run(b, 'switchover', '--confirm', 'mail-a');
    expect([refused.code, refused.stderr]).toEqual([4, expect.stringContaining('still-written')]);
    expect(refused.stderr).toMatch(/late-\d+ changed last/);
    await waitFor('mail-a to serve again', waitMs, async () => (await a.status()).active);
    expect((await a.status()).role).toBe('primary');
  } finally {
    clearInterval(writer);
  }
  await becomes(b, 'standby', true);
  await pair.filled(waitMs);
  const there = await run(b, 'switchover', '--confirm', 'mail-a');
  expect([there.code, there.stderr]).toEqual([0, '']);
  expect(readdirSync(rootB).filter((name) => name.startsWith('late-')).length).toBe(written);
});
