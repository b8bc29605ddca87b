import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import type { Appliance } from '../lab/appliance.ts';
import { AppliancePair } from '../lab/appliance-pair.ts';
import { waitFor } from '../lab/waiting.ts';

const root = process.getuid?.() === 0;
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const waitMs = 120_000;

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
