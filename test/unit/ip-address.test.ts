import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { inNetwork, networkOf, parseIp, parsePrefix, showPrefix, whyNoHost } from '../../agent/platform/ip-address.ts';

describe('an address', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8::0:1:0:0', '2001:db8::1:0:0'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['::', '::'],
    ['1::', '1::'],
    ['::ffff:192.0.2.1', '::ffff:c000:201'],
  ])('%s is %s (RFC 5952)', (text, shown) => expect(parseIp(text)?.text).toBe(shown));

  it.each(['', '192.0.2', '192.0.2.256', 'fe80::1%eth0', '2001:db8::1::2', 'mail-a', '192.0.2.1/24'])('%j is none', (text) => {
    expect(parseIp(text)).toBeNull();
  });

  it('of any bytes is read as it is shown', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
        const text = Array.from({ length: 8 }, (_, i) =>
          Buffer.from(bytes)
            .readUInt16BE(i * 2)
            .toString(16),
        ).join(':');
        const address = parseIp(text)!;
        expect(address.bytes).toEqual(Buffer.from(bytes));
        expect(parseIp(address.text)!.bytes).toEqual(address.bytes);
      }),
    );
  });
});

describe('a network', () => {
  it.each([
    ['192.0.2.200', '192.0.2.10/24', true],
    ['192.0.3.1', '192.0.2.10/24', false],
    ['192.0.3.1', '192.0.2.10/23', true],
    ['192.0.2.129', '192.0.2.10/25', false],
    ['2001:db8::ffff', '2001:db8::10/64', true],
    ['2001:db8:0:1::1', '2001:db8::10/64', false],
    ['192.0.2.1', '2001:db8::10/0', false],
    ['203.0.113.1', '0.0.0.0/0', true],
  ])('%s in %s: %s', (address, network, is) => expect(inNetwork(parseIp(address)!, parsePrefix(network)!)).toBe(is));

  it.each(['192.0.2.1', '192.0.2.1/33', '192.0.2.1/', '/24', '2001:db8::/129', '192.0.2.1/24/8'])('%j is none', (text) => {
    expect(parsePrefix(text)).toBeNull();
  });

  it('is shown as it was written', () => expect(showPrefix(parsePrefix('2001:db8:0::10/64')!)).toBe('2001:db8::10/64'));
});

it.each(['127.0.0.1', '0.0.0.0', '224.0.0.1', '255.255.255.255', '::1', '::', 'ff02::1', 'fe80::1'])('%s cannot move', (text) => {
  expect(whyNoHost(parseIp(text)!)).not.toBeNull();
});

it.each([
  ['192.0.2.10/24', '192.0.2.0/24'],
  ['192.0.2.130/25', '192.0.2.128/25'],
  ['192.0.2.10/32', '192.0.2.10/32'],
  ['192.0.2.10/0', '0.0.0.0/0'],
  ['2001:db8::10/64', '2001:db8::/64'],
])('the network of %s is %s', (prefix, network) => expect(networkOf(parsePrefix(prefix)!)).toBe(network));
