import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, expect, test } from 'vitest';
import type { GuardResult, Plan } from '../../protocol/takeover.ts';
import { servicePassword, type Appliance } from '../lab/appliance.ts';
import { AppliancePair } from '../lab/appliance-pair.ts';
import { waitFor } from '../lab/waiting.ts';
import { Witness } from '../lab/witness.ts';

const root = process.getuid?.() === 0;
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const dir = mkdtempSync(join(tmpdir(), 'mailtwin-whole-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const waitMs = 120_000;
/** Longer than the agent takes to miss its peer, and than its loops take to come round (5 s each). */
const quietMs = 6500;

const run = (node: Appliance, ...args: string[]) => node.agent.cli(args, { mayFail: true, timeoutMs: 120_000 });

/** What a dry run of a failover says of each guard. */
async function guardsOf(node: Appliance): Promise<Map<string, GuardResult>> {
  const { stdout, stderr } = await run(node, 'failover', '--dry-run', '--json', '--plan', join(dir, 'plan.json'));
  const { plan } = JSON.parse(stdout) as { plan?: Plan };
  if (!plan) throw new Error(stdout + stderr);
  return new Map(plan.guards.map((result) => [result.guard, result]));
}

test.skipIf(!root)(
  'a switchover of whole appliances under load, wrong input refused before, and cables that are cut change nobody by themselves (I3, I14)',
  async () => {
    await using pair = new AppliancePair({ base });
    await pair.start();
    const { a, b } = pair;
    const witness = new Witness({ host: pair.address, password: servicePassword, users: ['anna', 'bert'], pauseMs: 50 });
    witness.start();
    await waitFor('the first mail', waitMs, () => witness.accepted.size > 20 && witness.seen > 20);

    // Wrong input: exit code 3, a reason, and nothing changed.
    const refused = async (node: Appliance, code: string, ...args: string[]) => {
      const ran = await run(node, ...args);
      expect([ran.code, ran.stderr]).toEqual([3, expect.stringContaining(code)]);
    };
    await refused(a, 'on-primary', 'switchover', '--confirm', 'mail-b');
    await refused(b, 'wrong-name', 'switchover', '--confirm', 'mail-a.example');
    await refused(b, 'peer-state', 'failover', '--confirm', 'mail-a', '--accept-loss');
    expect([a.held().length, b.held().length, a.serves(), b.serves()]).toEqual([1, 0, true, false]);

    // A cable is out: each says which, and nobody takes anything.
    const stands = async () => {
      await pause(quietMs);
      expect([a.held().length, b.held().length, a.serves(), b.serves()]).toEqual([1, 0, true, false]);
    };
    pair.network.cut('b', 0);
    await stands();
    await waitFor('the pair to meet over its own cable', waitMs, async () => (await b.agent.status()).peer.connected);
    const isolated = await guardsOf(b);
    expect(isolated.get('peer-state')?.level, isolated.get('peer-state')?.evidence).toBe('fail');
    expect([isolated.get('isolation')?.level, isolated.get('nic-roles')?.level]).toContain('fail');
    pair.network.mend('b', 0);
    pair.network.cut('b', 1);
    await waitFor('the standby to miss its peer', waitMs, async () => !(await b.agent.status()).peer.connected);
    await stands();
    const apart = await guardsOf(b);
    expect(
      [...apart.values()]
        .filter(({ level }) => level !== 'pass')
        .map(({ evidence }) => evidence)
        .join(' '),
    ).toContain(a.mac());
    pair.network.mend('b', 1);
    await pair.settled(a);

    // Two people at once: one of them is refused, and the other one's switchover succeeds.
    const both = await Promise.all([run(b, 'switchover', '--confirm', 'mail-a'), run(b, 'switchover', '--confirm', 'mail-a')]);
    expect(both.map(({ code }) => code).toSorted((x, y) => x - y)).toEqual([0, 3]);
    await pair.settled(b);
    expect([a.held().length, b.held().length, a.serves(), b.serves()]).toEqual([0, 1, false, true]);
    const seen = witness.seen;
    await waitFor('clients at the new node', waitMs, () => witness.seen > seen + 5);
    expect(pair.neighbour()).toBe(b.mac());
    // A plan that the other node made is none for this one.
    expect((await run(a, 'failover', '--apply', join(dir, 'plan.json'), '--confirm', 'mail-b', '--accept-loss')).code).toBe(3);
    await witness.stop();
    await pause(500);
    await witness.check();
    expect(witness.problems).toEqual([]);
  },
);

test.skipIf(!root)(
  'half a cable: who hears nothing any more changes nothing by itself, guards tell what is cut, and a deaf primary can be relieved (I3)',
  async () => {
    await using pair = new AppliancePair({ base });
    await pair.start();
    const { a, b, network } = pair;
    const stands = async () => {
      await pause(quietMs);
      expect([a.held().length, b.held().length, a.serves(), b.serves()]).toEqual([1, 0, true, false]);
    };
    const told = async () => [...(await guardsOf(b)).values()].map(({ guard, level, evidence }) => `${level} ${guard}: ${evidence}`);

    // The standby hears nothing on the cable between the two: for it the primary is gone, and in the LAN it still answers.
    network.deafen('b', 1, true);
    await waitFor('the standby to miss its peer', waitMs, async () => !(await b.agent.status()).peer.connected);
    await stands();
    expect((await told()).filter((line) => !line.startsWith('pass')).join('; ')).toContain(a.mac());
    // Nor in the LAN: now it is alone, and knows that it is.
    network.deafen('b', 0, true);
    await stands();
    expect((await told()).join('; ')).toContain('fail isolation');
    network.deafen('b', 0, false);
    network.deafen('b', 1, false);
    await pair.settled(a);

    // The primary hears nothing in the LAN: nobody can reach the mail, and still no node decides that by itself.
    network.deafen('a', 0, true);
    await stands();
    expect((await told()).join('; ')).toContain('fail peer-state');
    const there = await run(b, 'switchover', '--confirm', 'mail-a');
    expect([there.code, there.stderr]).toEqual([0, '']);
    expect([a.held().length, b.held().length, a.serves(), b.serves()]).toEqual([0, 1, false, true]);
    await waitFor('the LAN to know the new place', waitMs, () => pair.neighbour() === b.mac());
    network.deafen('a', 0, false);
    await pair.settled(b);
  },
);
