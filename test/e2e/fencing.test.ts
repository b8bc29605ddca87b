import { describe, expect, it } from 'vitest';
import { Bmc } from '../lab/bmc.ts';
import { createLab, labObstacle } from '../lab/lab.ts';
import { isAlive, killPid } from '../lab/processes.ts';

describe.skipIf(labObstacle() !== null)('the simulated BMC', () => {
  it('switches a host of the lab off for real, and back on', async () => {
    await using lab = await createLab({ hosts: 2 });
    const a = lab.host(0);
    const sleeper = a.start('sleep', ['1000']);
    // It hangs on the same network as the hosts, with an address of its own.
    await a.run('ip', ['address', 'add', '10.77.0.101/24', 'dev', 'eth0']);
    await using bmc = await Bmc.start({ address: '10.77.0.101', namespace: a.namespace, onPowerOff: () => killPid(sleeper.pid) });
    const { namespace } = lab.host(1);
    expect((await bmc.ipmitool('status', namespace)).stdout).toContain('Chassis Power is on');
    expect(isAlive(sleeper.pid)).toBe(true);
    expect((await bmc.ipmitool('off', namespace)).code).toBe(0);
    expect(isAlive(sleeper.pid)).toBe(false);
    expect((await bmc.ipmitool('status', namespace)).stdout).toContain('Chassis Power is off');
    expect(bmc.isOn).toBe(false);
    await bmc.ipmitool('on', namespace);
    expect(bmc.isOn).toBe(true);
    expect(bmc.failures).toEqual([]);
  });
});
