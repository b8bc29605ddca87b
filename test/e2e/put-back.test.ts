import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { AgentPair, type LabAgent } from '../lab/agents.ts';
import { waitFor } from '../lab/waiting.ts';

const dir = mkdtempSync(join(tmpdir(), 'mailtwin-put-back-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const waitMs = 120_000;
const levels = 'fencing: [{ type: cooperative, timeoutSeconds: 5 }, { type: manual }]\n';

/** A mailbox whose messages have the UIDs from 1 on, as Dovecot numbers them. */
function mailbox(path: string, messages: number): void {
  for (const part of ['cur', 'new', 'tmp']) mkdirSync(join(path, part), { recursive: true });
  const names = Array.from({ length: messages }, (_, i) => `17000${String(i).padStart(5, '0')}.M${i}P1.host`);
  for (const name of names) writeFileSync(join(path, 'cur', `${name}:2,S`), `Subject: ${name}\n\ntext\n`);
  const lines = names.map((name, i) => `${i + 1} :${name}\n`);
  writeFileSync(join(path, 'dovecot-uidlist'), `3 V1234 N${messages + 1} G0123456789abcdef0123456789abcdef\n${lines.join('')}`);
}

function uidNextOf(path: string): number {
  return Number(/^3 V1234 N(\d+) /.exec(readFileSync(join(path, 'dovecot-uidlist'), 'utf8'))?.[1]);
}

const messagesIn = (path: string): number => readdirSync(join(path, 'cur')).length;

/** What a volume holds, replaced below its top: that is the mount point, and stays. */
function copyBelow(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(to)) rmSync(join(to, name), { recursive: true, force: true });
  for (const name of readdirSync(from)) {
    if (!name.endsWith('.sock')) cpSync(join(from, name), join(to, name), { recursive: true, preserveTimestamps: true });
  }
}

/**
 * A pair whose primary's volume, with 10 messages, was put back by 4 messages; with a mail server that the agents run,
 * which `isServing` tells of, or one that they do not run.
 */
async function putBack(name: string, hasServices: boolean, part: 'root and state' | 'root' = 'root and state') {
  const at = (node: string) => join(dir, name, node);
  const root = (node: string) => join(at(node), 'mail');
  const serving = (node: string) => join(at(node), 'serving');
  mailbox(join(root('a'), 'user'), 10);
  const services = (node: string) =>
    `services:\n  gate: ${at(node)}/gate\n  commands: { start: ["touch", "${serving(node)}"], stop: ["rm", "-f", "${serving(node)}"], status: ["/bin/sh", "-c", "[ -e ${serving(node)} ] || exit 3"] }\n`;
  const options = (node: string) => ({
    node: `mail-${node}`,
    dir: at(node),
    roots: [{ name: 'mail', path: root(node), format: 'maildir' as const }],
    config: [['# Prometheus metrics', `${levels}${hasServices ? services(node) : ''}# Prometheus metrics`]] as const,
  });
  const pair = await AgentPair.create({ primary: options('a'), standby: options('b') });
  const { primary: a, standby: b } = pair;
  await b.start();
  await pair.filled(waitMs);
  await pair.wait();
  await a.stop();
  copyBelow(root('a'), join(at('snapshot'), 'mail'));
  copyBelow(a.stateDir, join(at('snapshot'), 'state'));
  await a.start();
  mailbox(join(root('a'), 'user'), 14);
  writeFileSync(join(root('a'), 'user', 'new', '1700099999.M99P1.host'), 'not seen by anybody yet\n');
  await waitFor('the newer mail on the standby', waitMs, async () => existsSync(join(root('b'), 'user', 'new', '1700099999.M99P1.host')));
  await pair.wait();
  await a.kill9();
  rmSync(serving('a'), { force: true });
  copyBelow(join(at('snapshot'), 'mail'), root('a'));
  if (part === 'root and state') copyBelow(join(at('snapshot'), 'state'), a.stateDir);
  await a.start();
  await waitFor('put-back to be said on both nodes', waitMs, async () => (await warns(a)) && (await warns(b)));
  const userA = join(root('a'), 'user');
  const userB = join(root('b'), 'user');
  return { pair, a, b, userA, userB, isServing: (node: string) => existsSync(serving(node)) };
}

async function warns(agent: LabAgent): Promise<boolean> {
  return (await agent.status()).warnings.some(({ code, text }) => code === 'put-back' && !text.includes('being counted'));
}

const run = (agent: LabAgent, ...args: string[]) => agent.cli(args, { mayFail: true, timeoutMs: 120_000 });

test('a primary that was put back does not serve, says what the standby has more, and steps down for it without loss (I21)', async () => {
  const { pair, a, b, userA, userB, isServing } = await putBack('failover', true);
  await using _ = pair;
  const status = await a.status();
  expect(status.warnings.find(({ code }) => code === 'put-back')?.text).toContain('5 messages more in 1 mailbox');
  expect([status.active, isServing('a')]).toEqual([false, false]);
  expect(status.replication.held?.code).toBe('put-back');
  expect([messagesIn(userA), messagesIn(userB)]).toEqual([10, 14]);
  const wait = await run(a, 'wait', '--timeout', '2');
  expect([wait.code, wait.stderr]).toEqual([1, expect.stringContaining('older state')]);
  // Nor does it when the standby is silent from now on, and it is started anew.
  await a.stop();
  await a.start();
  expect((await a.status()).warnings.map(({ code }) => code)).toContain('put-back');
  await waitFor('the two to be connected', waitMs, async () => (await b.status()).peer.connected && (await warns(b)));
  const failover = await run(b, 'failover', '--confirm', 'mail-a');
  expect([failover.code, failover.stderr]).toEqual([0, '']);
  expect(failover.stdout).not.toContain('may be lost');
  expect([(await b.status()).active, isServing('b'), isServing('a')]).toEqual([true, true, false]);
  expect(messagesIn(userB)).toBe(14);
  await waitFor('the old primary to be fenced', waitMs, async () => (await a.status()).role === 'fenced');
});

test.each(['root and state', 'root'] as const)(
  'a person keeps the state that a primary was put back to: no UID is given twice, and the newer mail is in the history (I5, I21): %s',
  async (part) => {
    const { pair, a, b, userA, userB } = await putBack(`keep-${part.length}`, false, part);
    await using _ = pair;
    const refused = await run(a, 'keep-this-store', '--confirm', 'mail-a');
    expect([refused.code, refused.stderr]).toEqual([3, expect.stringContaining('--server-stopped')]);
    const wrong = await run(a, 'keep-this-store', '--confirm', 'mail-b', '--server-stopped');
    expect([wrong.code, wrong.stderr]).toEqual([3, expect.stringContaining('wrong-name')]);
    const onStandby = await run(b, 'keep-this-store', '--confirm', 'mail-b', '--server-stopped');
    expect([onStandby.code, onStandby.stderr]).toEqual([3, expect.stringContaining('not-put-back')]);
    expect([messagesIn(userA), messagesIn(userB), uidNextOf(userA)]).toEqual([10, 14, 11]);
    const kept = await run(a, 'keep-this-store', '--confirm', 'mail-a', '--server-stopped');
    expect([kept.code, kept.stderr]).toEqual([0, '']);
    // 15 was the next one to be given in the life that is over.
    expect(uidNextOf(userA)).toBeGreaterThanOrEqual(15 + 1000);
    await waitFor('the standby to have this state', waitMs, async () => messagesIn(userB) === 10 && uidNextOf(userB) === uidNextOf(userA));
    await pair.wait();
    const verify = await run(a, 'verify');
    expect([verify.code, verify.stdout]).toEqual([0, expect.stringContaining('both nodes hold the same')]);
    expect((await a.status()).warnings.map(({ code }) => code)).not.toContain('put-back');
    expect(readFileSync(join(a.stateDir, 'audit.ndjson'), 'utf8')).toContain('keep-this-store');
    const onPrimary = await run(a, 'salvage');
    expect([onPrimary.code, onPrimary.stderr]).toEqual([3, expect.stringContaining('not-fenced-here')]);
    const shown = await run(b, 'salvage', '--json');
    expect(JSON.parse(shown.stdout), shown.stdout).toMatchObject({ missing: 5, brought: 0, exitCode: 1 });
    const brought = await run(b, 'salvage', '--apply', '--json');
    expect([brought.stderr, JSON.parse(brought.stdout)]).toEqual(['', expect.objectContaining({ missing: 0, brought: 5, exitCode: 0 })]);
    // Nobody's watcher saw them come, and yet they are on the standby.
    expect(messagesIn(userA) + readdirSync(join(userA, 'new')).length).toBe(15);
    await pair.wait();
    expect(JSON.parse((await run(b, 'salvage', '--apply', '--json')).stdout)).toMatchObject({ missing: 0, brought: 0, placed: 5 });
    const again = await run(a, 'verify');
    expect([again.code, again.stdout]).toEqual([0, expect.stringContaining('both nodes hold the same')]);
  },
);
