import { describe, expect, it } from 'vitest';
import { answersForAll, nobodys } from '../../agent/network/proxy-arp.ts';
import { inNetwork, parsePrefix, type IpPrefix } from '../../agent/platform/ip-address.ts';

const prefix = (text: string) => parsePrefix(text) as IpPrefix;
const gateway = '02:00:00:00:00:fe';
const host = '02:00:00:00:00:01';

describe('addresses that nobody has', () => {
  it.each(['10.77.0.100/24', '192.0.2.17/28', '10.0.0.1/8', 'fd77::100/64'])(
    'of %s lie in its network, differ, and belong to nobody',
    (text) => {
      const network = prefix(text);
      const known = [network.address];
      const found = nobodys(network, known);
      expect(found).toHaveLength(3);
      expect(new Set([...found, ...known].map((each) => each.text)).size).toBe(4);
      expect(found.every((each) => inNetwork(each, network))).toBe(true);
      // Always the same ones: an answer can be understood afterwards.
      expect(nobodys(network, known)).toEqual(found);
      expect(nobodys(network, [...known, ...found]).some((each) => found.some(({ text: other }) => other === each.text))).toBe(false);
    },
  );

  it('cannot be told in a network of few hosts', () => {
    expect(nobodys(prefix('192.0.2.1/30'), [])).toEqual([]);
  });
});

describe('whether it is a gateway that answers for everybody', () => {
  it.each<[string, boolean, string, (string | null)[], (string | null)[]]>([
    ['the gateway, for all of them', true, gateway, [gateway], [gateway, gateway, gateway]],
    ['the gateway, and one address is somebody’s after all', true, gateway, [null, gateway], [gateway, host, gateway]],
    ['the gateway has the address itself', false, gateway, [gateway], [null, null, null]],
    ['the gateway has one more address', false, gateway, [gateway], [gateway, null, null]],
    ['another host answers for everybody', false, host, [gateway], [host, host, host]],
    ['the primary that is still there, beside such a gateway', false, host, [gateway], [gateway, gateway, gateway]],
    ['no gateway answers', false, gateway, [null], [gateway, gateway, gateway]],
  ])('%s: %s', (_, isProxy, mac, gateways, answers) => {
    expect(answersForAll(mac, gateways, answers)).toBe(isProxy);
  });
});
