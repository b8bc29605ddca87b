import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { afterAll, expect, test } from 'vitest';
import type { DoctorFinding } from '../../protocol/control.ts';
import type { Plan, TakeoverReport } from '../../protocol/takeover.ts';
import { queueFiles } from '../../agent/platform/queue-files.ts';
import { countQueue } from '../../agent/services/queue/count-queue.ts';
import { postfixMessage } from '../../agent/services/queue/message-names.ts';
import { AgentPair, type LabAgent } from '../lab/agents.ts';
import { freePort } from '../lab/small-pair.ts';
import { LabPostfix } from '../lab/postfix.ts';
import { run as runCommand } from '../lab/processes.ts';
import { waitFor } from '../lab/waiting.ts';

const dir = mkdtempSync(join(tmpdir(), 'mailtwin-queue-'));
// Postfix works as a user of its own.
chmodSync(dir, 0o755);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const canRun = process.getuid?.() === 0 && existsSync('/usr/sbin/postfix');
const waitMs = 120_000;
const run = (agent: LabAgent, ...args: string[]) => agent.cli(args, { mayFail: true, timeoutMs: 120_000 });

async function metricsOf(agent: LabAgent): Promise<string> {
  return (await agent.control.ask('GET /metrics', null)).text;
}

/** Mail services that are a file, and the queue of an MTA. */
function configOf(at: string, queue: string): readonly (readonly [string, string])[] {
  const file = join(at, 'runs');
  const commands = `{ start: [touch, ${file}], stop: [rm, -f, ${file}], status: [sh, -c, "test -e ${file} || exit 3"] }`;
  const services = `services: { gate: ${join(at, 'active')}, commands: ${commands}, queue: { postfix: ${queue} } }\n`;
  return [['# Prometheus metrics', `fencing: [{ type: manual }]\n${services}# Prometheus metrics`]];
}

test.skipIf(!canRun)('a real Postfix: what waits is counted as Postfix itself lists it, with short and long queue IDs', async () => {
  for (const ids of ['no', 'yes']) {
    const at = join(dir, `ids-${ids}`);
    await using postfix = new LabPostfix(at, `enable_long_queue_ids = ${ids}\n`);
    const began = Math.floor(Date.now() / 1000) * 1000;
    const count = () => countQueue({ mta: 'postfix', dir: postfix.queue }, queueFiles);
    await postfix.start();
    expect(await count()).toEqual({ messages: 0, more: false, oldestMs: null });
    for (let i = 0; i < 5; i++) await postfix.submit(`letter ${i}`);
    await waitFor('all mail to wait', waitMs, async () => (await postfix.putOff()) === 5);
    const { messages, oldestMs } = await count();
    expect(messages).toBe(5);
    expect(oldestMs).toBeGreaterThanOrEqual(began);
    expect(oldestMs).toBeLessThanOrEqual(Date.now());
    for (const id of await postfix.listed()) expect(postfixMessage(id), id).not.toBeNull();
    // What is handed in while it is stopped is accepted, too.
    await postfix.stop();
    await postfix.submit('later');
    expect((await count()).messages).toBe(6);
  }
});

test.skipIf(!canRun)(
  'a real Postfix: what waits on one node is brought to the other one as the runbook says, each message once',
  async () => {
    await using old = new LabPostfix(join(dir, 'old'));
    await using active = new LabPostfix(join(dir, 'active'));
    for (const each of [old, active]) await each.start();
    for (let i = 0; i < 3; i++) await old.submit(`old ${i}`);
    await active.submit('of the active node');
    await waitFor('all mail to wait', waitMs, async () => (await old.putOff()) === 3 && (await active.putOff()) === 1);
    await old.stop();
    const copy = `find deferred active incoming hold -type f -print0 | while IFS= read -r -d "" f; do cp -p "$f" ${active.queue}/hold/; done`;
    await runCommand('bash', ['-c', copy], { cwd: old.queue });
    await active.repair('-s', 'hold');
    await active.repair('-r', 'ALL', 'hold');
    await waitFor('the mail to wait on the active node', waitMs, async () => (await active.putOff()) === 4);
    await old.repair('-d', 'ALL');
    expect(await countQueue({ mta: 'postfix', dir: old.queue }, queueFiles)).toMatchObject({ messages: 0 });
    expect((await active.subjects()).toSorted()).toEqual(['of the active node', 'old 0', 'old 1', 'old 2']);
  },
);

test.skipIf(!canRun)('mail that waits on the primary is told on both nodes, also after it died, and named by the takeover', async () => {
  await using postfix = new LabPostfix(join(dir, 'primary-mta'));
  await postfix.start();
  for (let i = 0; i < 3; i++) await postfix.submit(`letter ${i}`);
  await waitFor('all mail to wait', waitMs, async () => (await postfix.putOff()) === 3);
  const own = join(dir, 'pair');
  const other = join(own, 'queue-b');
  for (const part of ['incoming', 'active', 'deferred']) mkdirSync(join(other, part), { recursive: true });
  // Both are started again, and find each other where they were.
  const ports = { a: await freePort(), b: await freePort() };
  const optionsOf = (node: 'a' | 'b', queue: string) => ({
    node: `mail-${node}`,
    listen: `127.0.0.1:${ports[node]}`,
    dir: join(own, node),
    roots: [{ name: 'mail', path: join(own, node, 'mail'), format: 'plain' as const }],
    config: configOf(join(own, node), queue),
  });
  mkdirSync(join(own, 'a', 'mail'), { recursive: true });
  writeFileSync(join(own, 'a', 'mail', 'file'), 'text\n');
  await using pair = await AgentPair.create({ primary: optionsOf('a', postfix.queue), standby: optionsOf('b', other) });
  const { primary: a, standby: b } = pair;
  await b.start();
  await pair.filled(waitMs);
  const told = { node: 'mail-a', mta: 'postfix', messages: 3, more: false, why: '' };
  const empty = { node: 'mail-b', mta: 'postfix', messages: 0, more: false, why: '', oldestAt: null };
  for (const [agent, queues] of [
    [a, [told, empty]],
    [b, [empty, told]],
  ] as const)
    await waitFor(`${agent.node} to tell of both queues`, waitMs, async () => {
      const status = await agent.status();
      return status.queues.length === 2 && status.queues.every(({ messages }) => messages !== null)
        ? (expect(status.queues).toMatchObject(queues), true)
        : false;
    });
  expect((await run(a, 'status')).stdout).toContain(
    'mail queue    3 messages wait in the queue of mail-a, which is not replicated, the oldest came',
  );
  const planned = JSON.parse((await run(b, 'switchover', '--dry-run', '--json')).stdout) as { plan: Plan };
  expect(planned.plan.guards.find(({ guard }) => guard === 'predicted-loss')).toMatchObject({
    level: 'warn',
    summary: 'nothing of the mail store is lost, but 3 messages wait in the queue of mail-a, which is not replicated',
  });
  const { findings } = JSON.parse((await run(a, 'doctor', '--json')).stdout) as { findings: DoctorFinding[] };
  expect(findings.find(({ id }) => id === 'mail-queue')).toMatchObject({ level: 'pass', evidence: `postfix in ${postfix.queue}` });

  // The host dies, and the standby's agent is started again: what was heard last still counts.
  await a.kill9();
  await b.stop();
  await b.start();
  const last = await b.status();
  expect(last.queues.find(({ node }) => node === 'mail-a')).toMatchObject(told);
  expect(await metricsOf(b)).toContain('mailtwin_mta_queue_messages{node="mail-a"} 3');
  expect((await run(b, 'status')).stdout).toMatch(/mail queue +3 messages wait in the queue of mail-a, which is not replicated/);
  await waitFor('the word of the dead to expire', waitMs, async () => (await b.status()).peer.role === null);
  const plan = await run(b, 'failover', '--dry-run');
  expect(plan.stdout).toContain('Besides, 3 messages wait in the queue of mail-a, which is not replicated: they are on its disk');
  expect(plan.stdout).toContain('not replicated   3 messages wait in the queue of mail-a');
  const done = await run(
    b,
    'failover',
    '--json',
    '--confirm',
    'mail-a',
    '--accept-loss',
    '--fenced-by-hand',
    'the process was killed by the test',
  );
  expect([done.code, done.stderr]).toEqual([0, '']);
  const { report } = JSON.parse(done.stdout) as { report: TakeoverReport };
  expect(report.predictedLoss.queue).toMatchObject({ mta: 'postfix', messages: 3 });
  expect(report.remedy).toContain('3 messages wait in the queue of mail-a, which is not replicated');
  expect(existsSync(join(own, 'b', 'runs'))).toBe(true);

  // It comes back, replaced: its mail still waits there, and is told on both nodes.
  await a.start();
  await waitFor('mail-b to tell of the queue of the replaced node', waitMs, async () =>
    (await b.status()).queues.some(({ node, messages }) => node === 'mail-a' && messages === 3),
  );
  await waitFor('mail-a to be replaced', waitMs, async () => (await a.status()).role === 'fenced');
  const replaced = JSON.parse((await run(a, 'doctor', '--json')).stdout) as { findings: DoctorFinding[] };
  expect(replaced.findings.find(({ id }) => id === 'mail-queue')).toMatchObject({
    level: 'warn',
    summary: expect.stringContaining('nobody delivers them: this node is not active') as string,
  });
  const rejoined = await a.cliOnceConnected(['rejoin', '--confirm', 'mail-a', '--salvage']);
  expect([rejoined.code, rejoined.stderr]).toEqual([0, '']);
  expect(rejoined.stdout).toContain(
    '3 messages wait in the queue of mail-a, which is not replicated, and nobody delivers them while mail-a is a standby',
  );
});
