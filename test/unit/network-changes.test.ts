import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toNetworkConfig, networkSection } from '../../agent/config/takeover-sections/network.ts';
import { Removers } from '../../agent/network/removers.ts';
import { parseChanges, type NetworkChange } from '../../agent/network/rtnetlink.ts';
import { concerns } from '../../agent/network/watching.ts';
import { parseIp } from '../../agent/platform/ip-address.ts';

const config = toNetworkConfig(
  networkSection.parse({
    roles: [
      {
        name: 'lan',
        addresses: ['192.0.2.10/24', '2001:db8::10/64'],
        gateways: ['192.0.2.1'],
        default: true,
        routes: [{ to: '198.51.100.0/24', via: '192.0.2.1' }],
      },
    ],
  }),
);

function attribute(type: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc(4 + ((value.length + 3) & ~3));
  bytes.writeUInt16LE(4 + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  value.copy(bytes, 4);
  return bytes;
}

/** A message as the kernel writes it: header, body, attributes. */
function message(type: number, flags: number, by: number, ...parts: Buffer[]): Buffer {
  const header = Buffer.alloc(16);
  const body = Buffer.concat(parts);
  header.writeUInt32LE(16 + body.length, 0);
  header.writeUInt16LE(type, 4);
  header.writeUInt16LE(flags, 6);
  header.writeUInt32LE(by, 12);
  return Buffer.concat([header, body]);
}

const ip = (text: string) => parseIp(text)!.bytes;
const address = (type: 20 | 21, by: number, text: string) =>
  message(
    type,
    0,
    by,
    Buffer.from([2, 24, 0, 0, 2, 0, 0, 0]),
    attribute(1, ip(text)),
    attribute(2, ip(text)),
    attribute(3, Buffer.from('eth0\0')),
  );
const route = (type: 24 | 25, flags: number, protocol: number, to: string | null, length: number) =>
  message(
    type,
    flags,
    7,
    Buffer.from([2, length, 0, 0, 254, protocol, 0, 1, 0, 0, 0, 0]),
    ...(to === null ? [] : [attribute(1, ip(to))]),
    attribute(4, Buffer.from([2, 0, 0, 0])),
  );
const link = (type: 16 | 17) => message(type, 0, 0, Buffer.alloc(16), attribute(3, Buffer.from('eth0\0')));

describe('what the kernel tells', () => {
  it('is read with who asked for it', () => {
    expect(parseChanges(Buffer.concat([address(21, 4711, '192.0.2.10'), link(16), address(20, 0, '2001:db8::10')]))).toEqual([
      { what: 'address', gone: true, by: 4711, address: ip('192.0.2.10') },
      { what: 'link', gone: false, by: 0 },
      { what: 'address', gone: false, by: 0, address: ip('2001:db8::10') },
    ]);
    expect(parseChanges(Buffer.concat([route(25, 0, 77, null, 0), route(24, 0x100, 3, '198.51.100.0', 24)]))).toEqual([
      { what: 'route', gone: true, by: 7, protocol: 77, to: null, length: 0, replaces: false },
      { what: 'route', gone: false, by: 7, protocol: 3, to: ip('198.51.100.0'), length: 24, replaces: true },
    ]);
  });

  it('begins at a multiple of four bytes', () => {
    const odd = message(16, 0, 0, Buffer.alloc(17));
    expect(parseChanges(Buffer.concat([odd, Buffer.alloc(3), link(17)])).map(({ gone }) => gone)).toEqual([false, true]);
  });

  it.each<[string, Buffer, boolean]>([
    ['a link', link(16), true],
    ['a removed service address', address(21, 1, '192.0.2.10'), true],
    ['another address that is removed, for a route may go with it', address(21, 1, '192.0.2.2'), true],
    ['a service address that somebody sets', address(20, 1, '2001:db8::10'), true],
    ['another address that is set', address(20, 1, '192.0.2.2'), false],
    ['our removed route', route(25, 0, 77, null, 0), true],
    ['our own new route', route(24, 0x100, 77, null, 0), false],
    ['a removed route of somebody else', route(25, 0, 3, null, 0), false],
    ['a route beside ours', route(24, 0, 3, null, 0), false],
    ['a default route that takes the place of one', route(24, 0x100, 3, null, 0), true],
    ['a route that takes the place of one of ours', route(24, 0x100, 3, '198.51.100.0', 24), true],
    ['a route that takes the place of one of others', route(24, 0x100, 186, '203.0.113.0', 24), false],
  ])('%s', (_, bytes, isOurs) => {
    expect(parseChanges(bytes).map((change: NetworkChange) => concerns(change, config))).toEqual([isOurs]);
  });

  it('may be cut short or be anything else, and is never an error', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void parseChanges(Buffer.from(bytes))));
    const whole = Buffer.concat([address(21, 1, '192.0.2.10'), route(25, 0, 77, '198.51.100.0', 24)]);
    for (let length = 0; length < whole.length; length++) expect(parseChanges(whole.subarray(0, length)).length).toBeLessThan(2);
  });
});

describe('who removed it', () => {
  const names: Record<number, string> = { 1: 'systemd', 161: 'NetworkManager', 812: 'dockerd' };
  const removers = () => new Removers(config, (pid) => names[pid] ?? null);

  it('is told by the name of the process, once', () => {
    const who = removers();
    who.note(
      parseChanges(Buffer.concat([address(21, 161, '192.0.2.10'), address(21, 1, '2001:db8::10'), address(21, 161, '2001:db8::10')])),
      false,
    );
    expect(who.take()).toEqual(['NetworkManager (process 161)', 'systemd-networkd by its socket from systemd (process 1)']);
    expect(who.take()).toEqual([]);
  });

  it('may have ended, and is nobody who removed what is none of ours, or set something', () => {
    const who = removers();
    who.note(parseChanges(Buffer.concat([address(21, 812, '172.17.0.1'), address(20, 812, '192.0.2.10'), link(17)])), false);
    expect(who.take()).toEqual([]);
    for (const pid of [5000, 5001]) who.note(parseChanges(address(21, pid, '192.0.2.10')), false);
    expect(who.take()).toEqual(['a program that had ended before it could be named, such as `ip`']);
  });

  it('is not the agent, which sets all its routes anew', () => {
    const who = removers();
    who.note(parseChanges(route(25, 0, 77, null, 0)), true);
    expect(who.take()).toEqual([]);
    who.note(parseChanges(route(25, 0, 77, null, 0)), false);
    expect(who.take()).toHaveLength(1);
  });
});
