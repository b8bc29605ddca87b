import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { exactTree, treeDifferences } from '../lab/exact-tree.ts';
import { MountRoom } from '../lab/mount-room.ts';
import { SmallPair, type SmallNode } from '../lab/small-pair.ts';
import { waitFor } from '../lab/waiting.ts';

const codes = (list: readonly { code: string }[]) => list.map(({ code }) => code);

/** A mail server of three commands; what it is told is done after `delay` seconds. */
function addServer(node: SmallNode, delay = 0): { up: string; start(): void } {
  const up = `${node.state}-server-up`;
  const script = `${node.state}-server`;
  writeFileSync(
    script,
    `#!/bin/sh\ncase $1 in\nstart) touch ${up};;\nstop) sleep ${delay}; rm -f ${up};;\nstatus) [ -e ${up} ] && exit 0 || exit 3;;\nesac\n`,
  );
  chmodSync(script, 0o755);
  const commands = `{ start: [${script}, start], stop: [${script}, stop], status: [${script}, status] }`;
  writeFileSync(node.configFile, `${readFileSync(node.configFile, 'utf8')}\nservices:\n  commands: ${commands}\n  gate: ${up}-gate\n`);
  return { up, start: () => writeFileSync(up, '') };
}

it('a mail server that comes up before the agent of a standby is stopped, and what it wrote is said and mended', async () => {
  await using pair = await SmallPair.create();
  const { primary, standby } = pair;
  writeFileSync(`${primary.root}/message`, 'mail');
  const server = addServer(standby);
  await primary.start();
  await pair.introduce();
  await standby.start();
  await pair.settled();
  await standby.kill();
  server.start();
  mkdirSync(`${standby.root}/box`);
  writeFileSync(`${standby.root}/box/of the server`, 'written before the agent came up');
  await standby.start();
  expect(existsSync(server.up)).toBe(false);
  const status = await standby.until('the foreign write', (s) => codes(s.warnings).includes('foreign-write'));
  expect(JSON.stringify(status.replication.unproven)).toContain(`${standby.root}/box`);
  // It works on.
  writeFileSync(`${primary.root}/second`, 'mail');
  await pair.settled();
  expect(readFileSync(`${standby.root}/second`, 'utf8')).toBe('mail');
  await primary.cli('verify');
  await pair.settled();
  expect(treeDifferences(exactTree(primary.root), exactTree(standby.root))).toEqual([]);
  await standby.until('no foreign write', (s) => !codes(s.warnings).includes('foreign-write'));
});

it('a port that somebody else has is said, and taken when it is free', async () => {
  await using pair = await SmallPair.create();
  const { primary } = pair;
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(primary.port, '127.0.0.1', resolve));
  await primary.start();
  const status = await primary.until('the warning', (s) => codes(s.warnings).includes('listen'));
  expect(status.warnings.find(({ code }) => code === 'listen')?.text).toContain(`127.0.0.1:${primary.port}`);
  await new Promise((resolve) => other.close(resolve));
  await primary.until('no warning', (s) => !codes(s.warnings).includes('listen'));
  await pair.introduce();
  await pair.standby.start();
  await pair.settled();
});

describe('SIGTERM ends an agent within ten seconds (I23)', () => {
  const stop = async (node: SmallNode): Promise<number> => {
    const began = performance.now();
    const { agent } = node;
    process.kill(agent.pid, 'SIGTERM');
    const { code } = await agent.ended;
    expect(code).toBe(0);
    return (performance.now() - began) / 1000;
  };

  it('while a start waits for a mail server that does not stop', async () => {
    await using pair = await SmallPair.create();
    const { standby } = pair;
    const server = addServer(standby, 25);
    server.start();
    standby.spawn();
    await waitFor('the services to be stopped', 60_000, async () => standby.log.includes('stopping the mail services') || null);
    expect(await stop(standby)).toBeLessThan(10);
    expect(standby.log).toContain('the start did not end in time');
  });

  it('while it runs, with a peer that does not answer any more', async () => {
    await using pair = await SmallPair.running();
    const { primary, standby } = pair;
    process.kill(primary.agent.pid, 'SIGSTOP');
    try {
      expect(await stop(standby)).toBeLessThan(10);
    } finally {
      process.kill(primary.agent.pid, 'SIGCONT');
    }
    expect(await stop(primary)).toBeLessThan(10);
  });
});

it('a damaged store is said once, and repaired without losing the role', async () => {
  await using pair = await SmallPair.create();
  const { primary, standby } = pair;
  for (let i = 0; i < 20; i++) writeFileSync(`${primary.root}/${i}`, `mail ${i}`);
  await primary.start();
  await pair.introduce();
  await standby.start();
  await pair.settled();
  for (const node of [standby, primary]) {
    await node.stop();
    const store = `${node.state}/store/data.mdb`;
    const bytes = readFileSync(store);
    for (let page = 2; page < bytes.length / 4096; page++) bytes.fill(0x5a, page * 4096 + 10, page * 4096 + 2000);
    writeFileSync(store, bytes);
    const ended = await node.runToEnd();
    expect(ended.code).toBe(5);
    expect(ended.output).toMatch(/store-damaged.*repair-store/s);
    expect(ended.output).not.toMatch(/internal|^\s+at /m);
    expect(await node.ok('repair-store')).toContain(node.role);
    await node.start();
    writeFileSync(`${primary.root}/after the repair of ${node.name}`, 'mail');
    await pair.settled();
    expect(treeDifferences(exactTree(primary.root), exactTree(standby.root))).toEqual([]);
    expect(await node.status()).toMatchObject({ role: node.role, epoch: 1 });
  }
});

describe.skipIf(process.getuid?.() !== 0)('a full state directory', () => {
  it.each(['standby', 'primary'] as const)('of the %s is said on both nodes, and goes on when there is room', async (which) => {
    await using room = await MountRoom.create();
    await using pair = await SmallPair.create({ wrap: room.wrap });
    const node = pair[which];
    const { primary, standby } = pair;
    room.run(
      'sh',
      '-c',
      `mkdir /tmp/kept.$$ && cp -a ${node.state}/. /tmp/kept.$$ && mount -t tmpfs -o size=3m mailtwin-test ${node.state} && cp -a /tmp/kept.$$/. ${node.state} && rm -r /tmp/kept.$$`,
    );
    // The control socket is found inside of the room.
    node.seenAt(room.path(node.state));
    await primary.start();
    await pair.introduce();
    await standby.start();
    await pair.settled();
    room.run('sh', '-c', `dd if=/dev/zero of=${node.state}/filler bs=64k 2>/dev/null || true`);
    const other = which === 'standby' ? primary : standby;
    await node.until('state-full', (s) => codes(s.warnings).includes('state-full'));
    for (let i = 0; i < 200; i++) writeFileSync(`${primary.root}/${i}`, `mail ${i}`);
    await other.until('the word of the other node', (s) =>
      s.warnings.some(({ code, text }) => code === 'state-full' || text.includes('state-full')),
    );
    expect((await primary.cli('wait', '--timeout', '1')).code).not.toBe(0);
    // So it does after a start on a full disk.
    await node.kill();
    await node.start();
    await node.until('state-full', (s) => codes(s.warnings).includes('state-full'));
    room.run('rm', `${node.state}/filler`);
    await pair.settled();
    expect(treeDifferences(exactTree(primary.root), exactTree(standby.root))).toEqual([]);
    await node.until('the end of state-full', (s) => !codes(s.warnings).includes('state-full'));
  });
});
