import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../agent/config/load.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import { boundState, networkLimits, networkStateSchema, type NetworkState } from '../../protocol/network-state.ts';

const base = `node: mail-a
role: primary
state: /var/lib/mailtwin
roots: [{ name: mail, path: /srv/vmail, format: maildir }]
network:
  roles:
`;
const parse = (roles: string, more = '') => parseConfig('/x.yaml', base + roles + more, (path) => path);

function complaint(roles: string, more = ''): string {
  try {
    parse(roles, more);
  } catch (error) {
    if (error instanceof OperatorError) return error.message;
    throw error;
  }
  return 'nothing';
}

describe('the section network', () => {
  it('is read with its defaults', () => {
    const { network } = parse(
      '    - { name: lan, addresses: [192.0.2.10/24, "2001:DB8:0::10/64"], gateways: [192.0.2.1] }\n',
      '  witnesses: [203.0.113.1]\n',
    );
    expect(network?.roles).toMatchObject([{ name: 'lan', vlan: 0, isDefault: false, routes: [], proof: [] }]);
    expect(network?.roles[0]?.addresses.map(({ address, length }) => [address.text, length])).toEqual([
      ['192.0.2.10', 24],
      ['2001:db8::10', 64],
    ]);
    expect(network?.witnesses.map(({ text }) => text)).toEqual(['203.0.113.1']);
  });

  it.each([
    [
      '    - { name: lan, addresses: [192.0.2.10] }',
      /line 7|:7: network\.roles\[1\]\.addresses\[1\]: "192\.0\.2\.10" is not an address with its prefix length/,
    ],
    ['    - { name: lan, addresses: [127.0.0.1/8] }', /is a loopback address, which cannot move/],
    ['    - { name: lan, addresses: [] }', /at least one address/],
    ['    - { name: lan, addresses: [192.0.2.10/24], vlan: 4095 }', /4095 is not a VLAN number/],
    ['    - { name: lan, addresses: [192.0.2.10/24], gateway: 192.0.2.1 }', /gateway: unknown key; did you mean "gateways"/],
    [
      '    - { name: lan, addresses: [192.0.2.10/24], gateways: [198.51.100.1] }',
      /198\.51\.100\.1 is in no network of the role's addresses/,
    ],
    ['    - { name: lan, addresses: [192.0.2.10/24], gateways: [192.0.2.10] }', /192\.0\.2\.10 is in no network/],
    ['    - { name: lan, addresses: [192.0.2.10/24], default: true }', /no gateways to be the default/],
    [
      '    - { name: lan, addresses: [192.0.2.10/24], routes: [{ to: 203.0.113.0/24, via: 198.51.100.1 }] }',
      /198\.51\.100\.1 is in no network/,
    ],
    ['    - { name: lan, addresses: [192.0.2.10/24], routes: [{ to: "2001:db8::/32", via: 192.0.2.1 }] }', /not of the same family/],
    ['    - { name: "la n", addresses: [192.0.2.10/24] }', /is not a name/],
    [
      '    - { name: lan, addresses: [192.0.2.10/24] }\n    - { name: lan, addresses: [192.0.2.11/24] }',
      /:8: .*the name "lan" is used twice/,
    ],
    [
      '    - { name: lan, addresses: [192.0.2.10/24] }\n    - { name: dmz, addresses: [192.0.2.10/24] }',
      /192\.0\.2\.10 stands in role "lan" already/,
    ],
    [
      '    - { name: lan, addresses: [192.0.2.10/24], gateways: [192.0.2.1], default: true }\n    - { name: dmz, addresses: [198.51.100.10/24], gateways: [198.51.100.1], default: true }',
      /role "lan" has the default gateway of IPv4 already/,
    ],
  ])('%s is refused', (roles, message) => expect(complaint(`${roles}\n`)).toMatch(message));

  it('takes a link-local gateway, which every IPv6 router has', () => {
    expect(complaint('    - { name: lan, addresses: ["2001:db8::10/64"], gateways: ["fe80::1"], default: true }\n')).toBe('nothing');
  });
});

describe('a network state', () => {
  const port = (n: number): NetworkState['ports'][number] => ({
    ifname: `port${n}`,
    mac: '02:00:00:00:00:01',
    driver: 'a-driver-with-a-name',
    slot: `0000:0${n}:00.0`,
    carrier: true,
    speedMbits: 1000,
    addresses: Array.from({ length: 32 }, (_, i) => `2001:db8:1111:2222:3333:4444:5555:${i}/64`),
  });
  const role = { name: 'lan', vlan: 0, port: 'port70', addresses: [], held: ['192.0.2.10'], gateways: [], routes: [] };

  it('stays within its bound on a host with ever so many ports, and keeps those with a role (I12)', () => {
    const ports = Array.from({ length: 80 }, (_, n) => port(n));
    const bounded = boundState({ version: 1, node: 'a', at: '', ports, roles: [role] });
    expect(Buffer.byteLength(JSON.stringify(bounded))).toBeLessThanOrEqual(networkLimits.stateBytesMax);
    expect(bounded.ports[0]?.ifname).toBe('port70');
    expect(bounded.ports.length).toBeGreaterThan(2);
    expect(networkStateSchema.safeParse({ version: 1, node: 'a', at: '', ports: ports.slice(0, 64), roles: [] }).success).toBe(false);
  });

  it('is refused with anything unknown or too long', () => {
    const good = { version: 1, node: 'a', at: '', ports: [], roles: [role] };
    expect(networkStateSchema.safeParse(good).success).toBe(true);
    for (const bad of [
      { ...good, more: 1 },
      { ...good, version: 2 },
      { ...good, node: 'x'.repeat(200) },
      { ...good, roles: [{ ...role, vlan: 5000 }] },
    ])
      expect(networkStateSchema.safeParse(bad).success).toBe(false);
  });
});
