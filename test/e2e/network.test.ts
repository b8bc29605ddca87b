import { afterEach, describe, expect, it } from 'vitest';
import type { PortEvent } from '../../agent/network/network.ts';
import { announcements } from '../../agent/network/frames.ts';
import { parseIp } from '../../agent/platform/ip-address.ts';
import { openPacketPort } from '../../agent/platform/packet-socket.ts';
import { networkStateSchema } from '../../protocol/network-state.ts';
import { labObstacle } from '../lab/lab.ts';
import { Network, type HostPlan } from '../lab/namespaces.ts';
import { networkNode } from '../lab/network-node.ts';
import { run, runNow } from '../lab/processes.ts';
import { waitFor } from '../lab/waiting.ts';

/** A machine that stands still for a while is no fault of the product. */
const waitMs = 60_000;
/** The agent looks for others once a minute when it has been active for a while. */
const roundMs = 60_000;

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

/** The kernel gives a port that has a cable an address of its own a moment later: that would look like a change of the agent's. */
async function makeNetworkOf(...hosts: HostPlan[]): Promise<Network> {
  network = new Network({ hosts, networks: 2, ipv6: true });
  for (const { name, ports } of hosts) {
    const plugged = ports.filter((port) => port.network !== null);
    await waitFor(`the kernel's own addresses on ${name}`, waitMs, () =>
      plugged.every((port) => on(name, 'ip', '-6', 'address', 'show', 'dev', port.name).includes(' fe80::')),
    );
  }
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
const untilAnswers = (host: string, address: string) => waitFor(`an answer of ${address} to ${host}`, waitMs, () => answers(host, address));

function neighbour(host: string, address: string): string | undefined {
  const [found] = JSON.parse(on(host, 'ip', '-j', 'neigh', 'show', address) || '[]') as { lladdr?: string }[];
  return found?.lladdr;
}

describe.skipIf(labObstacle() !== null)('service addresses', () => {
  it('move from one machine to a very different one within a second, and the client that knew the old port finds the new one', async () => {
    const net = await makeNetworkOf(gateway, small, large, client);
    const section = { roles: [lan, dmz], witnesses: ['10.77.0.4'] };
    const a = networkNode(net, 'small', section);
    const b = networkNode(net, 'large', section);
    const before = { a: networkOf('small'), b: networkOf('large') };
    await a.control.take(silently);
    expect(await a.control.held()).toEqual([service4, service6, '10.77.1.100']);
    for (const address of [service4, service6]) {
      await untilAnswers('client', address);
      expect(neighbour('client', address)).toBe(macOf('small', 'eth0'));
    }
    await untilAnswers('gw', '10.77.1.100');
    expect(on('small', 'ip', '-4', 'route', 'get', '203.0.113.9')).toContain(`via 10.77.0.1 dev eth0 src ${service4}`);
    expect(on('small', 'ip', '-6', 'route', 'get', '2001:db8::9')).toContain(`via fd77::1 dev eth0`);

    const times: number[] = [];
    for (const [from, to, port] of [
      [a, b, macOf('large', 'eno1')],
      [b, a, macOf('small', 'eth0')],
      [a, b, macOf('large', 'eno1')],
    ] as const) {
      const start = performance.now();
      await from.control.release();
      await to.control.take(silently);
      times.push(performance.now() - start);
      // The client still believes what it learned, until it hears the announcement: no packet of its own is needed.
      for (const address of [service4, service6])
        await waitFor(`the client to know ${address} anew`, waitMs, () => neighbour('client', address) === port);
      for (const address of [service4, service6]) await untilAnswers('client', address);
    }
    console.log(`release and take: ${times.map((ms) => Math.round(ms)).join(', ')} ms`);
    // A machine that others use too is slow now and then; who waits for more than an answer is slow each time.
    expect(Math.min(...times)).toBeLessThan(3000);
    expect(networkOf('small')).toBe(before.a);
    expect(on('large', 'ip', 'address', 'show', 'dev', 'enp65s0f0np0')).toContain('10.77.1.100/24');
    await b.control.release();
    expect(networkOf('large')).toBe(before.b);
  });

  it('are refused where somebody else answers, and nothing is changed', async () => {
    const net = await makeNetworkOf(gateway, small, client);
    const node = networkNode(net, 'small', { roles: [dmz, lan] });
    const before = networkOf('small');
    for (const address of [`${service4}/24`, `${service6}/64`]) {
      on('client', 'ip', 'address', 'add', address, 'dev', 'wlan0', ...(address.includes(':') ? ['nodad'] : []));
      const plain = address.replace(/\/.*/, '');
      await expect(node.control.take(silently)).rejects.toMatchObject({
        code: 'address-taken',
        exitCode: 3,
        message: `role lan: ${plain} is answered by somebody else, ${macOf('client', 'wlan0')}`,
      });
      expect((await node.control.probe()).filter(({ answeredBy }) => answeredBy !== null)).toEqual([
        { address: plain, role: 'lan', answeredBy: macOf('client', 'wlan0'), error: null },
      ]);
      expect(networkOf('small')).toBe(before);
      on('client', 'ip', 'address', 'delete', address, 'dev', 'wlan0');
    }
    expect(node.changes).toEqual([]);
    await node.control.take(silently);
    // What this host has itself is no answer of somebody else, also when it is taken once more.
    await node.control.take(silently);
    expect((await node.control.probe()).every(({ answeredBy, error }) => answeredBy === null && error === null)).toBe(true);
  });

  it('are kept away by a gateway that answers for every address, unless that was decided; and by another host all the same', async () => {
    const net = await makeNetworkOf(gateway, small, client);
    const node = networkNode(net, 'small', { roles: [{ ...lan, addresses: [`${service4}/24`] }] });
    const port = net.within('gw', () => openPacketPort('lan0', 'arp'));
    // As routers do it that also answer probes from nobody.
    const answering = setInterval(() => {
      for (let frame = port.receive(); frame !== null; frame = port.receive()) {
        const target = frame.readUInt16BE(20) === 1 ? parseIp([...frame.subarray(38, 42)].join('.')) : null;
        if (target) port.send(announcements(port.mac, target)[1]!);
      }
    }, 2);
    try {
      const probe = { address: service4, role: 'lan', answeredBy: macOf('gw', 'lan0'), error: null };
      expect(await node.control.probe()).toEqual([{ ...probe, isProxy: true }]);
      await expect(node.control.take(silently)).rejects.toMatchObject({
        code: 'address-taken',
        message: expect.stringContaining('proxy ARP') as string,
      });
      const said: string[] = [];
      await node.control.take((text) => said.push(text), { despiteProxy: true });
      expect(said.join('; ')).toContain('proxy ARP');
      expect(await node.control.held()).toEqual([service4]);
      await node.control.release();
    } finally {
      clearInterval(answering);
      port.close();
    }
    // What another host answers is never passed over.
    on('client', 'ip', 'address', 'add', `${service4}/24`, 'dev', 'wlan0');
    await expect(node.control.take(silently, { despiteProxy: true })).rejects.toMatchObject({ code: 'address-taken' });
  });

  it('are refused on a port without a cable, and taken when it is plugged in', async () => {
    const net = await makeNetworkOf(gateway, small);
    const node = networkNode(net, 'small', { roles: [lan] });
    const before = networkOf('small');
    net.plug('small', 'eth0', null);
    await waitFor('the loss of carrier', waitMs, async () =>
      (await node.control.ports()).some(({ ifname, carrier }) => ifname === 'eth0' && !carrier),
    );
    await expect(node.control.take(silently)).rejects.toMatchObject({ code: 'no-carrier', exitCode: 3 });
    expect(node.changes).toEqual([]);
    net.plug('small', 'eth0', 0);
    await waitFor('the carrier', waitMs, async () => (await node.control.proveSegments())[0]?.level === 'pass');
    // The kernel marks the routes of a port without a cable, and takes the mark away a moment after it is in.
    await waitFor('all to be as it was', waitMs, () => networkOf('small') === before);
    await node.control.take(silently);
    expect(await node.control.held()).toEqual([service4, service6]);
  });

  it('never go to the wrong segment when cables are swapped, and go to the right one after `nics swap`', async () => {
    const net = await makeNetworkOf(gateway, small, client);
    const node = networkNode(net, 'small', { roles: [lan, dmz] });
    const before = networkOf('small');
    net.plug('small', 'eth0', 1);
    net.plug('small', 'eth1', 0);
    await waitFor('the carrier', waitMs, async () => (await node.control.ports()).every(({ carrier }) => carrier));
    await expect(node.control.take(silently)).rejects.toMatchObject({
      code: 'segment-unproven',
      exitCode: 3,
      // This gateway, as Linux does, answers ARP on each of its ports for the addresses of all.
      message: expect.stringMatching(
        /^role lan: eth0 .*: 10\.77\.0\.1 answers from .* on every segment alike; no answer from fd77::1$/,
      ) as string,
    });
    expect(node.changes).toEqual([]);
    await waitFor('all to be as it was', waitMs, () => networkOf('small') === before);
    expect((await node.control.proveSegments()).map(({ role, port, level }) => [role, port, level])).toEqual([
      ['lan', 'eth0', 'fail'],
      ['dmz', 'eth1', 'fail'],
    ]);
    // Without an address in that network and without the other node nothing proves the second segment of such a gateway.
    await expect(node.control.swap('lan', 'dmz', { unproven: false })).rejects.toMatchObject({ code: 'segment-unproven', exitCode: 3 });
    expect(node.map.text).toBeNull();
    expect((await node.control.swap('lan', 'dmz', { unproven: true })).map(({ role, port, level }) => [role, port, level])).toEqual([
      ['lan', 'eth1', 'pass'],
      ['dmz', 'eth0', 'warn'],
    ]);
    // The map is by the ports' own addresses: other names change nothing.
    for (const [port, name] of [
      ['eth0', 'tmp'],
      ['eth1', 'eth0'],
      ['tmp', 'eth1'],
    ] as const) {
      on('small', 'ip', 'link', 'set', port, 'down');
      on('small', 'ip', 'link', 'set', port, 'name', name, 'up');
    }
    // Who is asked on a port that came up just now may answer a moment later.
    const proven = async () => (await node.control.proveSegments()).map(({ role, port, mappedBy, level }) => [role, port, mappedBy, level]);
    await expect.poll(proven, { timeout: waitMs }).toEqual([
      ['lan', 'eth0', 'assigned', 'pass'],
      ['dmz', 'eth1', 'assigned', 'warn'],
    ]);
    await node.control.take(silently);
    expect(on('small', 'ip', 'address', 'show', 'dev', 'eth0')).toContain(`${service4}/24`);
    expect(on('small', 'ip', 'address', 'show', 'dev', 'eth1')).toContain('10.77.1.100/24');
    await untilAnswers('client', service4);
    // The cables, which go by the first names of their ports, are put right while the node is active: the addresses move with
    // their roles, and with the host's own addresses on their segments every answer can be told.
    net.plug('small', 'eth0', 0);
    net.plug('small', 'eth1', 1);
    await waitFor('the swap', waitMs, () => node.control.swap('lan', 'dmz', { unproven: false }).catch(() => null));
    expect(on('small', 'ip', 'address', 'show', 'dev', 'eth1')).toContain(`${service4}/24`);
    expect(on('small', 'ip', 'address', 'show', 'dev', 'eth0')).not.toContain(service4);
    // Meanwhile the client may have given the old port up; then it asks.
    await waitFor(
      'the client to reach the new port',
      waitMs,
      async () => (await answers('client', service4)) && neighbour('client', service4) === macOf('small', 'eth1'),
    );
  });

  it('go to a port that was assigned, after its segment was proven or the operator vouched for it', async () => {
    const net = await makeNetworkOf(gateway, { name: 'bare', ports: large.ports.map((port) => ({ ...port, addresses: false })) });
    const node = networkNode(net, 'bare', { roles: [lan, dmz] });
    // Without any address nothing tells which port it is.
    await expect(node.control.take(silently)).rejects.toMatchObject({ code: 'nic-unmapped', exitCode: 3 });
    for (const [port, code] of [
      ['enp65s0f0np0', 'segment-unproven'],
      ['eno2', 'no-carrier'],
      ['eth0', 'no-such-port'],
    ] as const)
      await expect(node.control.assign('lan', port, { unproven: false })).rejects.toMatchObject({ code });
    await expect(node.control.assign('wan', 'eno1', { unproven: false })).rejects.toMatchObject({ code: 'no-such-role' });
    expect(node.map.text).toBeNull();
    expect(await node.control.assign('lan', macOf('bare', 'eno1'), { unproven: false })).toMatchObject({
      port: 'eno1',
      mappedBy: 'assigned',
      level: 'pass',
    });
    await expect(node.control.assign('dmz', 'eno1', { unproven: false })).rejects.toMatchObject({ code: 'port-in-use', exitCode: 3 });
    // Nothing tells the two segments apart here: the host has no address in the other one, and its gateway answers on both.
    await expect(node.control.assign('dmz', 'enp65s0f0np0', { unproven: false })).rejects.toMatchObject({ code: 'segment-unproven' });
    expect(await node.control.assign('dmz', 'enp65s0f0np0', { unproven: true })).toMatchObject({ level: 'warn' });
    await node.control.take(silently);
    expect(on('bare', 'ip', 'address', 'show', 'dev', 'eno1')).toContain(service4);
    await node.control.release();
    net.cut('gw');
    await expect(node.control.take(silently)).rejects.toMatchObject({ code: 'segment-unproven' });
    expect(await node.control.assign('lan', 'eno1', { unproven: true })).toMatchObject({ level: 'warn' });
    await node.control.take(silently);
    expect(await node.control.held()).toEqual([service4, service6, '10.77.1.100']);
  });

  it('go where the gateway is the one that the active node knew, and nowhere else', async () => {
    const net = await makeNetworkOf(gateway, small, large);
    const only4 = { ...lan, addresses: [`${service4}/24`], gateways: ['10.77.0.1'] };
    const a = networkNode(net, 'small', { roles: [only4] });
    const b = networkNode(net, 'large', { roles: [only4] });
    await a.control.take(silently);
    const state = await a.control.refresh();
    await a.control.release();
    net.plug('large', 'eno1', 1);
    await waitFor('the carrier', waitMs, async () => (await b.control.ports()).find(({ ifname }) => ifname === 'eno1')?.carrier);
    // With one role alone only the other node can tell that this is another port of the gateway.
    expect(await b.control.proveSegments()).toMatchObject([{ level: 'pass' }]);
    b.peer.state = state;
    await expect(b.control.take(silently)).rejects.toMatchObject({
      code: 'segment-unproven',
      message: expect.stringContaining(macOf('gw', 'lan0')) as string,
    });
    expect(b.changes).toEqual([]);
    net.plug('large', 'eno1', 0);
    await waitFor('the carrier', waitMs, async () => (await b.control.proveSegments())[0]?.level === 'pass');
    await b.control.take(silently);
    expect(await b.control.held()).toEqual([service4]);
  });

  it('leave nothing behind, whoever put them there', async () => {
    const net = await makeNetworkOf(gateway, small);
    on('small', 'ip', 'route', 'add', 'default', 'via', '10.77.0.1');
    const node = networkNode(net, 'small', {
      roles: [
        {
          ...lan,
          routes: [
            { to: '198.51.100.0/24', via: '10.77.0.1' },
            { to: '198.51.100.7/32', via: '10.77.0.4' },
          ],
        },
        dmz,
      ],
    });
    const before = networkOf('small');
    const plan = await node.control.plan();
    await node.control.take(silently);
    expect(node.changes).toEqual(plan.take.map((words) => words.filter((word) => !/^-[46]$/.test(word)).join(' ')));
    expect(on('small', 'ip', 'route', 'get', '198.51.100.9')).toContain(`via 10.77.0.1 dev eth0 src ${service4}`);
    expect(on('small', 'ip', 'route', 'get', '198.51.100.7')).toContain(`via 10.77.0.4 dev eth0 src ${service4}`);
    // Taken once more, nothing is to be done.
    node.changes.length = 0;
    await node.control.take(silently);
    expect(node.changes).toEqual([]);
    await node.control.release();
    expect(networkOf('small')).toBe(before);
    node.changes.length = 0;
    await node.control.release();
    expect(node.changes).toEqual([]);

    // An agent that was killed, and an address in the host's own configuration, on the wrong port.
    await node.control.take(silently);
    on('small', 'ip', 'address', 'add', `${service4}/32`, 'dev', 'eth1');
    const next = networkNode(net, 'small', { roles: [lan, dmz] });
    expect(await next.control.held()).toEqual([service4, service6, '10.77.1.100']);
    await next.control.release();
    expect(await next.control.held()).toEqual([]);
    expect(networkOf('small')).toBe(before);
  });

  it.each(['address replace 10.77.1.100', 'route replace default via fd77::1'])(
    'are as they were when the kernel refuses `%s`',
    async (line) => {
      const net = await makeNetworkOf(gateway, small);
      on('small', 'ip', 'address', 'add', `${service4}/32`, 'dev', 'eth1');
      const before = networkOf('small');
      const node = networkNode(net, 'small', { roles: [lan, dmz] }, { failing: new RegExp(`^${line}`) });
      await expect(node.control.take(silently)).rejects.toMatchObject({
        code: 'ip-command',
        exitCode: 4,
        message: expect.stringContaining('Refused') as string,
      });
      expect(networkOf('small')).toBe(before);
    },
  );

  it('that somebody else answers for later raise the alarm once, and are announced again', async () => {
    const net = await makeNetworkOf(gateway, small, client);
    const node = networkNode(net, 'small', { roles: [lan] });
    await node.control.take(silently);
    const stop = new AbortController();
    const announcing = node.control.announce(() => true, stop.signal);
    try {
      await untilAnswers('gw', service4);
      on('client', 'ip', 'address', 'add', `${service4}/24`, 'dev', 'wlan0');
      on('client', 'arping', '-q', '-c', '1', '-U', '-I', 'wlan0', service4);
      await waitFor('the alarm', waitMs + roundMs, () => node.alarms.length > 0);
      expect(node.alarms[0]).toMatchObject({
        code: 'address-conflict',
        address: service4,
        role: 'lan',
        text: expect.stringContaining(macOf('client', 'wlan0')) as string,
      });
      await waitFor('the gateway to believe this node again', waitMs + roundMs, () => neighbour('gw', service4) === macOf('small', 'eth0'));
      on('client', 'ip', 'address', 'delete', `${service4}/24`, 'dev', 'wlan0');
      await waitFor('the end of the alarm', waitMs + roundMs, () => node.control.alarms().length === 0);
      expect(node.alarms).toHaveLength(1);
      // Somebody restarts the networking of this host.
      on('small', 'ip', 'address', 'delete', `${service6}/64`, 'dev', 'eth0');
      await waitFor('the address to be taken again', waitMs, async () => (await node.control.held()).includes(service6));
      await waitFor('its route', waitMs, () => on('small', 'ip', '-6', 'route').includes('default via fd77::1'));
      // Released in the middle of everything, it stays so.
      await node.control.release();
      expect(await node.control.held()).toEqual([]);
    } finally {
      stop.abort();
      await announcing;
    }
    expect(await node.control.held()).toEqual([]);
  });

  it('tell with witnesses and gateways whether this node is the isolated one', async () => {
    const net = await makeNetworkOf(gateway, small, client);
    on('gw', 'ip', 'address', 'add', '203.0.113.1/32', 'dev', 'lo');
    on('small', 'ip', 'route', 'add', 'default', 'via', '10.77.0.1');
    const node = networkNode(net, 'small', { roles: [lan, dmz], witnesses: ['10.77.0.3', '203.0.113.1'] });
    expect(node.control.farAddresses).toEqual(['10.77.0.1', 'fd77::1', '10.77.1.1', '10.77.0.3', '203.0.113.1']);
    expect(
      (await node.control.reach([...node.control.farAddresses, '10.77.0.99', '10.77.0.2'])).map(({ address, reachable }) => [
        address,
        reachable,
      ]),
    ).toEqual([
      ['10.77.0.1', true],
      ['fd77::1', true],
      ['10.77.1.1', true],
      ['10.77.0.3', true],
      ['203.0.113.1', true],
      ['10.77.0.99', false],
      ['10.77.0.2', false],
    ]);
    net.cut('small');
    await waitFor('the cut', waitMs, async () => (await node.control.ports()).some(({ carrier }) => !carrier));
    expect((await node.control.reach(node.control.farAddresses)).map(({ reachable }) => reachable)).toEqual([
      false,
      false,
      true,
      false,
      false,
    ]);
  });

  it('hear the gateway of a role without an address on its segment: nobody calls such a node isolated', async () => {
    const net = await makeNetworkOf(gateway, { name: 'bare', ports: small.ports.map((port) => ({ ...port, addresses: false })) });
    const node = networkNode(net, 'bare', { roles: [lan, dmz] });
    expect((await node.control.reach(node.control.farAddresses)).map(({ reachable }) => reachable)).toEqual([false, false, false]);
    await node.control.assign('lan', 'eth0', { unproven: false });
    node.changes.length = 0;
    const reached = await node.control.reach([...node.control.farAddresses, '10.77.0.4']);
    expect(reached.map(({ reachable }) => reachable)).toEqual([true, true, false, false]);
    expect(reached[0]?.evidence).toBe(`10.77.0.1 answers on eth0 from ${macOf('gw', 'lan0')}`);
    // Who switches a port off means it.
    on('bare', 'ip', 'link', 'set', 'eth0', 'down');
    expect((await node.control.reach(['10.77.0.1'])).map(({ reachable }) => reachable)).toEqual([false]);
    on('bare', 'ip', 'link', 'set', 'eth0', 'up');
    expect(node.changes).toEqual([]);
    net.cut('bare');
    await waitFor('the cut', waitMs, async () => (await node.control.ports()).some(({ carrier }) => !carrier));
    expect((await node.control.reach(['10.77.0.1'])).map(({ reachable }) => reachable)).toEqual([false]);
  });
});

describe.skipIf(labObstacle() !== null)('ports', () => {
  it('are listed with their facts and roles, here and on the peer', async () => {
    const net = await makeNetworkOf(gateway, small, large);
    const a = networkNode(net, 'small', { roles: [lan, dmz] });
    const b = networkNode(net, 'large', { roles: [lan, dmz] });
    await a.control.take(silently);
    b.peer.state = networkStateSchema.parse(JSON.parse(JSON.stringify(await a.control.refresh())));
    expect(a.control.state()).toEqual(b.peer.state);
    expect(b.peer.state.roles).toEqual([
      {
        name: 'lan',
        vlan: 0,
        port: 'eth0',
        addresses: expect.arrayContaining(['10.77.0.2/24', `${service4}/24`, `${service6}/64`]) as string[],
        held: [service4, service6],
        gateways: [
          { address: '10.77.0.1', mac: macOf('gw', 'lan0') },
          { address: 'fd77::1', mac: macOf('gw', 'lan0') },
        ],
        routes: [],
      },
      {
        name: 'dmz',
        vlan: 0,
        port: 'eth1',
        addresses: expect.arrayContaining(['10.77.1.100/24']) as string[],
        held: ['10.77.1.100'],
        gateways: [{ address: '10.77.1.1', mac: macOf('gw', 'dmz0') }],
        routes: [],
      },
    ]);
    const ports = await b.control.ports();
    expect(ports).toContainEqual(
      expect.objectContaining({
        ifname: 'eno1',
        mac: macOf('large', 'eno1'),
        driver: 'veth',
        kind: 'veth',
        isUp: true,
        carrier: true,
        roles: ['lan'],
      }),
    );
    expect(ports.find(({ ifname }) => ifname === 'eno2')).toMatchObject({ carrier: false, roles: [], addresses: [] });
    expect(
      (await b.control.roles()).map(({ name, held, proof, peerPort }) => [name, held, proof.port, proof.level, peerPort?.ifname]),
    ).toEqual([
      ['lan', [], 'eno1', 'pass', 'eth0'],
      ['dmz', [], 'enp65s0f0np0', 'pass', 'eth1'],
    ]);
  });

  it('tell which cable is pulled and plugged, also when they were switched off', async () => {
    const net = await makeNetworkOf(gateway, small, large);
    const node = networkNode(net, 'large', { roles: [lan, dmz] });
    on('large', 'ip', 'link', 'set', 'eno2', 'down');
    const stop = new AbortController();
    const seen: PortEvent[] = [];
    const watching = (async () => {
      for await (const event of node.control.identify(stop.signal)) seen.push(event);
    })();
    await waitFor('the port to be on', waitMs, async () => (await node.control.ports()).every(({ isUp }) => isUp));
    net.plug('large', 'eno1', null);
    await waitFor('the pulled cable', waitMs, () => seen.length >= 1);
    net.plug('large', 'eno1', 0);
    await waitFor('the plugged cable', waitMs, () => seen.length >= 2);
    net.plug('large', 'enp65s0f0np0', null);
    await waitFor('the other cable', waitMs, () => seen.length >= 3);
    stop.abort();
    await watching;
    expect(seen.map(({ ifname, what, roles }) => [ifname, what, roles])).toEqual([
      ['eno1', 'pulled', ['lan']],
      ['eno1', 'plugged', ['lan']],
      ['enp65s0f0np0', 'pulled', ['dmz']],
    ]);
    expect((await node.control.ports()).find(({ ifname }) => ifname === 'eno2')?.isUp).toBe(false);
    await expect(node.control.blink('eno1', 1, new AbortController().signal)).rejects.toMatchObject({ code: 'no-light' });
  });
});
