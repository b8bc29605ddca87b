import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import type { Appliance } from '../lab/appliance.ts';
import { AppliancePair } from '../lab/appliance-pair.ts';
import { Bmc } from '../lab/bmc.ts';
import { waitFor } from '../lab/waiting.ts';

const root = process.getuid?.() === 0;
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const waitMs = 60_000;

const run = (node: Appliance, ...args: string[]) => node.agent.cli(args, { mayFail: true, timeoutMs: 120_000 });
const stands = (a: Appliance, b: Appliance) => [a.held().length, a.serves(), b.held().length, b.serves()];

test.skipIf(!root)(
  'a switchover to hardware with other ports: no address goes to a port without a cable or to the wrong segment (I3, I14)',
  async () => {
    // Other names, another order, one port more, and the first one has no cable.
    const ports = [
      { name: 'eno1', network: null },
      { name: 'ens5f0', network: 1 },
      { name: 'enp7s0', network: 0 },
    ];
    await using pair = new AppliancePair({ base, hardware: { ports, lan: 'enp7s0' } });
    await pair.start();
    const { a, b, network } = pair;

    for (const [port, code] of [
      ['eno1', 'no-carrier'],
      ['ens5f0', 'segment-unproven'],
    ] as const) {
      const ran = await run(b, 'nics', 'assign', 'lan', port);
      expect([ran.code, ran.stderr], port).toEqual([3, expect.stringContaining(code)]);
    }

    // The cable of the service port in the other switch: refused, nothing was changed, and the address is nowhere else.
    network.plug('b', 'enp7s0', 1);
    const swapped = await run(b, 'switchover', '--confirm', 'mail-a');
    expect([swapped.code, swapped.stderr]).toEqual([3, expect.stringMatching(/nic-roles/)]);
    expect(stands(a, b)).toEqual([1, true, 0, false]);

    network.plug('b', 'enp7s0', 0);
    await pair.settled(a);
    const there = await run(b, 'switchover', '--confirm', 'mail-a');
    expect([there.code, there.stderr]).toEqual([0, '']);
    expect(stands(a, b)).toEqual([0, false, 1, true]);
    await waitFor('the LAN to know the new place', waitMs, () => pair.neighbour() === b.mac());
    await pair.settled(b);
    const back = await run(a, 'switchover', '--confirm', 'mail-b');
    expect([back.code, back.stderr]).toEqual([0, '']);
    expect(stands(a, b)).toEqual([1, true, 0, false]);
  },
);

test.skipIf(!root)('a fence device that lies, a second one that hangs, then proves, and a person at last (I3, I14)', async () => {
  const pduPort = 9651;
  await using pair = new AppliancePair({ base, pduPort });
  await pair.start();
  const { a, b, network } = pair;
  let cut: Appliance = a;
  await using pdu = await Bmc.start({ address: '10.77.0.254', port: pduPort, node: 'pdu', onPowerOff: () => cut.cutPower() });
  const failover = (node: Appliance, dead: string, ...args: string[]) =>
    run(node, 'failover', '--confirm', dead, '--accept-loss', '--override', 'fence-path', '--override', 'predicted-loss', ...args);
  const mayBegin = async (node: Appliance, dead: string, wanted: number) =>
    waitFor(`${dead} to count as dead`, waitMs, async () => {
      const ran = await failover(node, dead);
      if (ran.code === 3) return false;
      expect([ran.code, ran.stderr + ran.stdout]).toEqual([wanted, expect.any(String)]);
      return ran;
    });

  // It runs on without its cables, its BMC says yes and does nothing, and the PDU does not answer: nobody takes anything.
  for (const each of [0, 1]) network.cut('a', each);
  a.powerSticks = true;
  pdu.pause();
  const refused = await mayBegin(b, 'mail-a', 1);
  expect(refused.stderr).toContain('not-fenced');
  expect(stands(a, b)).toEqual([1, true, 0, false]);
  expect((await b.agent.status()).role).toBe('standby');

  // The PDU answers again: the first level still lies, the second one proves it.
  pdu.resume();
  const proved = await mayBegin(b, 'mail-a', 0);
  expect(pdu.isOn).toBe(false);
  expect(a.bmc.failures.length).toBeGreaterThan(0);
  expect(proved.stdout).toContain('done');
  expect(stands(a, b)).toEqual([0, false, 1, true]);

  // It comes back, and the other one dies: no device answers, and only what a person saw counts.
  a.powerSticks = false;
  for (const each of [0, 1]) network.mend('a', each);
  pdu.setPower(true);
  await a.agent.start();
  await waitFor('mail-a to be fenced', waitMs, async () => {
    const { role, peer } = await a.agent.status();
    return role === 'fenced' && peer.connected;
  });
  expect(stands(a, b)).toEqual([0, false, 1, true]);
  await a.agent.cli(['rejoin', '--salvage', '--confirm', 'mail-a'], { timeoutMs: 120_000 });
  await pair.settled(b);
  cut = b;
  await b.cutPower();
  b.bmc.pause();
  pdu.pause();
  const alone = await mayBegin(a, 'mail-b', 1);
  expect(alone.stderr).toContain('not-fenced');
  expect(stands(a, b)).toEqual([0, false, 0, false]);
  const byHand = await failover(a, 'mail-b', '--fenced-by-hand', 'I pulled both power cords');
  expect([byHand.code, byHand.stderr]).toEqual([0, '']);
  expect(stands(a, b)).toEqual([1, true, 0, false]);
  b.bmc.resume();
  pdu.resume();
});
