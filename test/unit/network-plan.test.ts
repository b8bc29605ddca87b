import { describe, expect, it } from 'vitest';
import { networkSection, toNetworkConfig, type NetworkConfig } from '../../agent/config/takeover-sections/network.ts';
import { parseDevices, parseRoutes, type Device } from '../../agent/network/ip-facts.ts';
import { deviceName, releaseSteps, takeSteps, vlanSteps, type PlacedRole } from '../../agent/network/plan.ts';
import { mapRole, type RoleMap } from '../../agent/network/role-map.ts';
import { doubtful, foreignAddresses, judgeSegment, knownMacs, type SegmentSeen } from '../../agent/network/segments.ts';

/** As `ip -json -details address show` of iproute2 6.1 prints it, cut to what is read. */
function device(ifname: string, mac: string, more: object = {}, ...addresses: string[]): object {
  return {
    ifindex: Number.parseInt(mac.slice(-2), 16),
    ifname,
    flags: ['BROADCAST', 'MULTICAST', 'UP', 'LOWER_UP'],
    link_type: 'ether',
    address: mac,
    addr_info: addresses.map((text) => {
      const [local, prefixlen] = text.split('/');
      return { family: text.includes(':') ? 'inet6' : 'inet', local, prefixlen: Number(prefixlen), scope: 'global' };
    }),
    ...more,
  };
}

const devicesOf = (...all: object[]): Device[] => parseDevices(JSON.stringify([{}, ...all]));
const configOf = (...roles: object[]): NetworkConfig => toNetworkConfig(networkSection.parse({ roles }));

function placed(config: NetworkConfig, devices: Device[], map: RoleMap = {}): PlacedRole[] {
  return config.roles.flatMap((role) => {
    const mapped = mapRole(role, config, map, devices);
    return mapped ? [{ role, mapped }] : [];
  });
}

const assigned = (permanentMac: string, more: Partial<RoleMap[string]> = {}) => ({
  permanentMac,
  slot: null,
  ifname: 'x',
  unproven: false,
  at: '2026-01-01T00:00:00.000Z',
  ...more,
});
const lines = (steps: readonly { run: string[] }[]) => steps.map(({ run }) => run.join(' '));

const lan = { name: 'lan', addresses: ['192.0.2.10/24', '2001:db8::10/64'], gateways: ['192.0.2.1', '2001:db8::1'], default: true };
const voice = { name: 'voice', vlan: 30, addresses: ['198.51.100.10/24'], gateways: ['198.51.100.1'] };

describe('what take would run', () => {
  const devices = devicesOf(device('eno1', '02:00:00:00:00:01', {}, '192.0.2.2/24'));

  it('makes the VLAN, marked as ours, and undoes it as a whole', () => {
    const config = configOf(lan, voice);
    const places = placed(config, devices, { voice: assigned('02:00:00:00:00:01') });
    const steps = vlanSteps(places, devices);
    expect(lines(steps)).toEqual([
      'link add link eno1 name eno1.30 type vlan id 30',
      'link set dev eno1.30 alias mailtwin',
      'link set dev eno1.30 up',
    ]);
    expect(steps.flatMap(({ undo }) => (undo ? [undo.join(' ')] : []))).toEqual(['link delete dev eno1.30']);
    expect(lines(takeSteps(config, places, devices, []))).toEqual([
      'address replace 192.0.2.10/24 dev eno1',
      'address replace 2001:db8::10/64 dev eno1 nodad',
      'address replace 198.51.100.10/24 dev eno1.30',
      '-4 route prepend default via 192.0.2.1 dev eno1 protocol 77 src 192.0.2.10',
      '-6 route replace default via 2001:db8::1 dev eno1 protocol 77 src 2001:db8::10 metric 64',
    ]);
  });

  it('uses a VLAN device that the host has, whatever its name, and leaves it when it releases', () => {
    const vlan = device(
      'voice0',
      '02:00:00:00:00:01',
      { link: 'eno1', linkinfo: { info_kind: 'vlan', info_data: { id: 30 } } },
      '198.51.100.10/24',
    );
    const own = devicesOf(device('eno1', '02:00:00:00:00:01'), vlan);
    const config = configOf(voice);
    const places = placed(config, own);
    expect(places[0]?.mapped).toMatchObject({ by: 'address', device: { ifname: 'eno1' } });
    expect(vlanSteps(places, own)).toEqual([]);
    expect(takeSteps(config, places, own, [])).toEqual([]);
    expect(releaseSteps(config, own, [])).toEqual([['address', 'delete', '198.51.100.10/24', 'dev', 'voice0']]);
    const ours = devicesOf(device('eno1', '02:00:00:00:00:01'), { ...vlan, ifalias: 'mailtwin' });
    expect(releaseSteps(config, ours, [])).toContainEqual(['link', 'delete', 'dev', 'voice0']);
  });

  it('gives a device a name that fits the kernel', () => {
    const long = devicesOf(device('enp129s0f0np0', '02:00:00:00:00:07'));
    const [place] = placed(configOf(voice), long, { voice: assigned('02:00:00:00:00:07') });
    expect(deviceName(place!, long)).toBe('vlan30.7');
  });

  it('first takes an address away from where it does not belong', () => {
    const config = configOf(lan);
    const two = devicesOf(
      device('eno1', '02:00:00:00:00:01', {}, '192.0.2.2/24', '192.0.2.10/32'),
      device('eno2', '02:00:00:00:00:02', {}, '2001:db8::10/64'),
    );
    const steps = takeSteps(config, placed(config, two, { lan: assigned('02:00:00:00:00:01') }), two, []);
    expect(lines(steps).slice(0, 3)).toEqual([
      'address delete 192.0.2.10/32 dev eno1',
      'address delete 2001:db8::10/64 dev eno2',
      'address replace 192.0.2.10/24 dev eno1',
    ]);
    expect(steps[1]?.undo?.join(' ')).toBe('address replace 2001:db8::10/64 dev eno2 nodad');
  });

  it('makes its routes anew when one is missing, and touches nobody else’s', () => {
    const config = configOf({ ...lan, routes: [{ to: '203.0.113.7/32', via: '192.0.2.9' }] });
    const there = devicesOf(device('eno1', '02:00:00:00:00:01', {}, '192.0.2.10/24', '2001:db8::10/64'));
    const places = placed(config, there);
    const v4 = (...more: object[]) =>
      parseRoutes(JSON.stringify([{ dst: 'default', gateway: '192.0.2.1', dev: 'eno1', protocol: 'dhcp' }, ...more]), 4);
    const v6 = parseRoutes(
      JSON.stringify([{ dst: 'default', gateway: '2001:db8::1', dev: 'eno1', protocol: '77', prefsrc: '2001:db8::10' }]),
      6,
    );
    const ours = [
      { dst: 'default', gateway: '192.0.2.1', dev: 'eno1', protocol: '77', prefsrc: '192.0.2.10' },
      { dst: '203.0.113.7', gateway: '192.0.2.9', dev: 'eno1', protocol: '77', prefsrc: '192.0.2.10' },
    ];
    expect(takeSteps(config, places, there, [...v4(...ours), ...v6])).toEqual([]);
    expect(lines(takeSteps(config, places, there, [...v4(ours[0]!), ...v6]))).toEqual([
      '-4 route flush protocol 77',
      '-6 route flush protocol 77',
      '-4 route prepend default via 192.0.2.1 dev eno1 protocol 77 src 192.0.2.10',
      '-6 route replace default via 2001:db8::1 dev eno1 protocol 77 src 2001:db8::10 metric 64',
      '-4 route prepend 203.0.113.7/32 via 192.0.2.9 dev eno1 protocol 77 src 192.0.2.10',
    ]);
    expect(releaseSteps(config, [], v4())).toEqual([]);
    // The kernel forgets the source of an IPv6 route when that address goes, and does not learn it when it comes back.
    expect(takeSteps(config, places, there, [...v4(...ours), ...v6.map((route) => ({ ...route, source: null }))])).not.toEqual([]);
  });
});

it('the network of a role goes through its port, although the host has an address of it elsewhere', () => {
  const config = configOf(lan);
  const two = devicesOf(device('eno1', '02:00:00:00:00:01'), device('eno2', '02:00:00:00:00:02', {}, '192.0.2.2/24', '2001:db8::2/64'));
  const routes = lines(takeSteps(config, placed(config, two, { lan: assigned('02:00:00:00:00:01') }), two, [])).filter((line) =>
    / route /.test(line),
  );
  expect(routes.slice(0, 2)).toEqual([
    '-4 route prepend 192.0.2.0/24 dev eno1 protocol 77 src 192.0.2.10',
    '-6 route replace 2001:db8::/64 dev eno1 protocol 77 src 2001:db8::10 metric 64',
  ]);
});

describe('a role finds its port', () => {
  const config = configOf(lan);
  const role = config.roles[0]!;
  const find = (map: RoleMap, ...all: object[]) => {
    const found = mapRole(role, config, map, devicesOf(...all));
    return found && [found.device.ifname, found.by];
  };
  const [a, b] = ['02:00:00:00:00:01', '02:00:00:00:00:02'];

  it.each<[string, (string | null)[] | null, RoleMap, object[]]>([
    ['by its permanent address, under any name', ['enp9s0', 'assigned'], { lan: assigned(a) }, [device('eno1', b), device('enp9s0', a)]],
    [
      'by the permanent address, not the one in use',
      ['eno1', 'assigned'],
      { lan: assigned(a) },
      [device('eno1', b, { permaddr: a }), device('eno2', a, { permaddr: b })],
    ],
    [
      'in the slot, when the card there was replaced',
      ['eno1', 'slot'],
      { lan: assigned('02:00:00:00:00:99', { slot: '0000:03:00.0' }) },
      [device('eno1', a, { parentdev: '0000:03:00.0' })],
    ],
    [
      'not in a slot with two ports',
      null,
      { lan: assigned('02:00:00:00:00:99', { slot: '0000:03:00.0' }) },
      [device('eno1', a, { parentdev: '0000:03:00.0' }), device('eno2', b, { parentdev: '0000:03:00.0' })],
    ],
    [
      'on the bond, not on its part with the same address',
      ['bond0', 'assigned'],
      { lan: assigned(a) },
      [device('eno1', a, { master: 'bond0' }), device('bond0', a, { linkinfo: { info_kind: 'bond' } })],
    ],
    [
      'by the only address of its network, when nothing was assigned',
      ['eno2', 'address'],
      {},
      [device('eno1', a, {}, '198.51.100.2/24'), device('eno2', b, {}, '192.0.2.2/24')],
    ],
    [
      'by an address that stays rather than one that moves',
      ['eno2', 'address'],
      {},
      [device('eno1', a, {}, '192.0.2.10/24'), device('eno2', b, {}, '192.0.2.2/24')],
    ],
    [
      'by a service address, when the host has no other',
      ['eno1', 'address'],
      {},
      [device('eno1', a, {}, '192.0.2.10/24'), device('eno2', b)],
    ],
    ['nowhere, when two could be meant', null, {}, [device('eno1', a, {}, '192.0.2.2/24'), device('eno2', b, {}, '192.0.2.3/24')]],
    [
      'nowhere, when the assigned port is gone, although another has an address',
      null,
      { lan: assigned(a) },
      [device('eno2', b, {}, '192.0.2.2/24')],
    ],
  ])('%s', (_what, expected, map, all) => expect(find(map, ...all)).toEqual(expected));
});

describe('a segment', () => {
  const config = configOf(lan, { name: 'dmz', addresses: ['198.51.100.10/24'], gateways: ['198.51.100.1'] });
  const [role, dmz] = config.roles as [NetworkConfig['roles'][0], NetworkConfig['roles'][0]];
  const gateway = '02:00:00:00:00:99';
  const [port] = devicesOf(device('eno1', '02:00:00:00:00:01', {}, '192.0.2.2/24'));
  const [cut] = devicesOf(device('eno1', '02:00:00:00:00:01', { flags: ['UP', 'NO-CARRIER'] }));
  const mapped = { device: port!, by: 'assigned' as const, unproven: false };
  const seen = (macs: (string | null)[], more: Partial<SegmentSeen> = {}): SegmentSeen => ({
    answers: macs.map((mac) => ({ mac, error: null })),
    foreign: new Set(),
    returned: new Set(),
    ...more,
  });
  const judge = (what: SegmentSeen, known = new Map<string, string>(), by: Partial<typeof mapped> = {}) =>
    judgeSegment(role, { ...mapped, ...by }, port!, what, known);

  it('is proven by one gateway that answers', () => {
    expect(judge(seen([gateway, null]))).toMatchObject({ level: 'pass', code: null, port: 'eno1' });
    expect(judge(seen([null, gateway]))).toMatchObject({ level: 'pass' });
  });

  it('is not without carrier, port or answer', () => {
    expect(judgeSegment(role, null, null, seen([]), new Map())).toMatchObject({ level: 'fail', code: 'nic-unmapped' });
    expect(judgeSegment(role, mapped, cut!, seen([]), new Map())).toMatchObject({ level: 'fail', code: 'no-carrier', carrier: false });
    expect(judge(seen([null, null]))).toMatchObject({ level: 'fail', code: 'segment-unproven' });
    expect(judge(seen([null, null]), undefined, { unproven: true })).toMatchObject({ level: 'warn', code: null });
    expect(judgeSegment(role, { ...mapped, unproven: true }, cut!, seen([]), new Map())).toMatchObject({ level: 'fail' });
  });

  it('is not by a gateway that answers for other segments, too, unless its answer comes back through the port', () => {
    expect(foreignAddresses(role, config).map(({ text }) => text)).toEqual(['198.51.100.1']);
    const alike = seen([gateway, null], { foreign: new Set([gateway]) });
    expect(judge(alike)).toMatchObject({
      level: 'fail',
      code: 'segment-unproven',
      evidence: expect.stringContaining('every segment alike') as string,
    });
    expect(doubtful(role, alike, new Map())).toEqual(['192.0.2.1']);
    expect(judge({ ...alike, returned: new Set(['192.0.2.1']) })).toMatchObject({ level: 'pass' });
    // Neighbour discovery is strict: a port answers for its own addresses alone.
    expect(judge(seen([gateway, gateway], { foreign: new Set([gateway]) }))).toMatchObject({ level: 'pass' });
  });

  it('is the one where the other node knew its gateway', () => {
    const alike = seen([gateway, null], { foreign: new Set([gateway]) });
    const known = new Map([['192.0.2.1', gateway]]);
    expect(judge(alike, known)).toMatchObject({ level: 'pass' });
    expect(doubtful(role, alike, known)).toEqual([]);
    expect(judge(seen([gateway, null]), new Map([['192.0.2.1', '02:00:00:00:00:98']]))).toMatchObject({
      level: 'fail',
      code: 'segment-unproven',
    });
  });

  it('is told by the other node only when that one holds the addresses', () => {
    const state = (held: string[]) => ({
      version: 1 as const,
      node: 'a',
      at: '',
      ports: [],
      roles: [
        {
          name: 'lan',
          vlan: 0,
          port: 'eth0',
          addresses: [],
          held,
          gateways: [
            { address: '192.0.2.1', mac: gateway },
            { address: '2001:db8::1', mac: null },
          ],
          routes: [],
        },
      ],
    });
    expect(knownMacs(role, state(['192.0.2.10']))).toEqual(new Map([['192.0.2.1', gateway]]));
    expect(knownMacs(role, state([])).size).toBe(0);
    expect(knownMacs(dmz, state(['192.0.2.10'])).size).toBe(0);
    expect(knownMacs(role, null).size).toBe(0);
  });

  it('is weakly proven where nothing can answer, or only what is everywhere', () => {
    const [bare] = configOf({ name: 'lan', addresses: ['192.0.2.10/24'] }).roles;
    expect(judgeSegment(bare!, mapped, port!, seen([]), new Map())).toMatchObject({ level: 'warn', code: null });
    const [local] = configOf({ name: 'lan', addresses: ['2001:db8::10/64'], gateways: ['fe80::1'] }).roles;
    expect(judgeSegment(local!, mapped, port!, seen([gateway]), new Map())).toMatchObject({ level: 'warn' });
    expect(judgeSegment(local!, mapped, port!, seen([null]), new Map())).toMatchObject({ level: 'fail' });
  });
});
