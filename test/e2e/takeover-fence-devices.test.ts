import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import type { Appliance } from '../lab/appliance.ts';
import { AppliancePair } from '../lab/appliance-pair.ts';
import { Bmc } from '../lab/bmc.ts';
import { waitFor } from '../lab/waiting.ts';

const root = process.getuid?.() === 0;
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const waitMs = 180_000;

const run = (node: Appliance, ...args: string[]) => node.agent.cli(args, { mayFail: true, timeoutMs: 120_000 });
const stands = (a: Appliance, b: Appliance) => [a.held().length, a.serves(), b.held().length, b.serves()];

test.skipIf(!root)('a fence device that lies, a second one that hangs, then proves, and a person at last (I3, I14)', async () => {
  const pduPort = 9651;
  await using pair = new AppliancePair({ base, pduPort });
  await pair.start();
  const { a, b, network } = pair;
  let cut: Appliance = a;
  await using pdu = await Bmc.start({ address: '10.77.0.254', port: pduPort, node: 'pdu', onPowerOff: () => cut.cutPower() });
  const failover = (node: Appliance, dead: string, ...args: string[]) =>
    run(node, 'failover', '--confirm', dead, '--accept-loss', '--override', 'predicted-loss', ...args);
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
  const rejoined = await a.agent.cliOnceConnected(['rejoin', '--salvage', '--confirm', 'mail-a']);
  expect([rejoined.code, rejoined.stderr]).toEqual([0, '']);
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
  // Nobody has read the power of a node of which a person speaks.
  expect(byHand.stdout).toMatch(/mail-b is off, stated by \S+: I pulled both power cords/);
  expect(byHand.stdout).not.toContain('power state was read back');
  expect(stands(a, b)).toEqual([1, true, 0, false]);
  b.bmc.resume();
  pdu.resume();
});
