import { describe, expect, it } from 'vitest';
import { makeNetwork } from '../../agent/network/make-network.ts';
import type { NetworkControl } from '../../agent/network/network.ts';
import { systemClock } from '../../agent/platform/clock.ts';
import { errnoError } from '../../agent/platform/native.ts';
import { silentLog } from '../../agent/platform/log.ts';

const devices = ['eno1', 'eno2'].map((ifname, i) => ({
  ifindex: i + 1,
  ifname,
  flags: ['UP', 'LOWER_UP'],
  link_type: 'ether',
  address: `02:00:00:00:00:0${i}`,
  addr_info: [],
}));

/** Two ports of a kernel that, as Linux does, lets one light of the whole machine blink and refuses a second one. */
function network(seen: string[], blinked: () => void): NetworkControl {
  let isBusy = false;
  return makeNetwork(null, {
    node: 'a',
    exec: async () => ({ code: 0, signal: null, timedOut: false, stdout: JSON.stringify(devices), stderr: '', truncated: false }),
    clock: systemClock,
    log: silentLog,
    openPort: () => expect.unreachable('no frame is sent'),
    openRoutes: () => expect.unreachable('nothing is watched'),
    processName: () => null,
    managers: { run: async () => null, readText: () => null, list: () => [] },
    ethtool: {
      facts: () => ({ driver: null, slot: null, speedMbits: null }),
      async blink(ifname) {
        if (isBusy) throw errnoError('EOPNOTSUPP', 'ETHTOOL_PHYS_ID', ifname);
        isBusy = true;
        seen.push(ifname);
        await new Promise((resolve) => setTimeout(resolve, 20));
        isBusy = false;
        blinked();
      },
    },
    hardware: async () => new Map(),
    roleMap: { read: () => null, write: () => {} },
    peerState: () => null,
  });
}

describe('two lights that two people let blink at once', () => {
  it('take turns, because the kernel refuses a second one', async () => {
    const seen: string[] = [];
    const enough = new AbortController();
    const ports = network(seen, () => seen.length >= 4 && enough.abort());
    await Promise.all(['eno1', 'eno2'].map((ifname) => ports.blink(ifname, 60, enough.signal)));
    expect(seen.slice(0, 4)).toEqual(['eno1', 'eno2', 'eno1', 'eno2']);
  });
});
