import { afterEach, describe, expect, it } from 'vitest';
import { labObstacle } from '../lab/lab.ts';
import { Network, type HostPlan } from '../lab/namespaces.ts';
import { networkNode } from '../lab/network-node.ts';
import { run, runNow } from '../lab/processes.ts';
import { waitFor } from '../lab/waiting.ts';

let network: Network | null = null;
afterEach(() => {
  network?.dispose();
  network = null;
});

const service4 = '10.77.0.100';
const service6 = 'fd77::100';
const lan = { name: 'lan', addresses: [`${service4}/24`, `${service6}/64`], gateways: ['10.77.0.1', 'fd77::1'], default: true };
const dmz = { name: 'dmz', addresses: ['10.77.1.100/24'], gateways: ['10.77.1.1'] };

/** A gateway on every network (its addresses end in 1), two different machines (2 and 3) and a client (4) on the first network. */
const gateway: HostPlan = {
  name: 'gw',
  ports: [
    { name: 'lan0', network: 0 },
    { name: 'dmz0', network: 1 },
  ],
};
const small: HostPlan = {
  name: 'small',
  ports: [
    { name: 'eth0', network: 0 },
    { name: 'eth1', network: 1 },
  ],
};
const large: HostPlan = {
  name: 'large',
  ports: [
    { name: 'enp3s0f1', network: null },
    { name: 'enp65s0f0np0', network: 1 },
    { name: 'eno2', network: null },
    { name: 'eno1', network: 0 },
  ],
};
const client: HostPlan = { name: 'client', ports: [{ name: 'wlan0', network: 0 }] };

function makeNetworkOf(...hosts: HostPlan[]): Network {
  network = new Network({ hosts, networks: 2, ipv6: true });
  return network;
}

function on(host: string, ...command: string[]): string {
  const [program = '', ...args] = command;
  return runNow('nsenter', [`--net=/run/netns/${network!.host(host).namespace}`, '--', program, ...args]);
}

/** Everything of a host's network that the agent could change. */
function networkOf(host: string): string {
  const text = on(host, 'ip', 'address', 'show') + on(host, 'ip', '-4', 'route') + on(host, 'ip', '-6', 'route');
  // Lifetimes tick, and the kernel's own link-local addresses become valid by themselves.
  return text.replace(/ tentative/g, '').replace(/(valid|preferred)_lft \d+sec/g, '$1_lft');
}

function macOf(host: string, port: string): string {
  return (JSON.parse(on(host, 'ip', '-j', 'link', 'show', 'dev', port)) as { address: string }[])[0]!.address;
}

const silently = () => {};
const answers = async (host: string, address: string): Promise<boolean> =>
  (await run('ping', ['-n', '-c', '1', '-W', '1', address], { namespace: network!.host(host).namespace, mayFail: true })).code === 0;

function neighbour(host: string, address: string): string | undefined {
  const [found] = JSON.parse(on(host, 'ip', '-j', 'neigh', 'show', address) || '[]') as { lladdr?: string }[];
  return found?.lladdr;
}

describe.skipIf(labObstacle() !== null)('service addresses', () => {
  it('move from one machine to a very different one within a second, and the client that knew the old port finds the new one', async () => {
    const net = makeNetworkOf(gateway, small, large, client);
    const section = { roles: [lan, dmz], witnesses: ['10.77.0.4'] };
    const a = networkNode(net, 'small', section);
    const b = networkNode(net, 'large', section);
    const before = { a: networkOf('small'), b: networkOf('large') };
    await a.control.take(silently);
    expect(await a.control.held()).toEqual([service4, service6, '10.77.1.100']);
    for (const address of [service4, service6]) {
      expect(await answers('client', address)).toBe(true);
      expect(neighbour('client', address)).toBe(macOf('small', 'eth0'));
    }
    expect(await answers('gw', '10.77.1.100')).toBe(true);
    expect(on('small', 'ip', '-4', 'route', 'get', '203.0.113.9')).toContain(`via 10.77.0.1 dev eth0 src ${service4}`);
    expect(on('small', 'ip', '-6', 'route', 'get', '2001:db8::9')).toContain(`via fd77::1 dev eth0`);

    const start = performance.now();
    await a.control.release();
    await b.control.take(silently);
    const took = performance.now() - start;
    console.log(`release and take: ${Math.round(took)} ms`);
    // The client still believes what it learned, until it hears the announcement: no packet of its own is needed.
    for (const address of [service4, service6])
      await waitFor(`the client to know ${address} anew`, 2000, () => neighbour('client', address) === macOf('large', 'eno1'));
    for (const address of [service4, service6]) expect(await answers('client', address)).toBe(true);
    expect(took).toBeLessThan(3000);
    expect(networkOf('small')).toBe(before.a);
    expect(on('large', 'ip', 'address', 'show', 'dev', 'enp65s0f0np0')).toContain('10.77.1.100/24');
    await b.control.release();
    expect(networkOf('large')).toBe(before.b);
  });
});
