import { describe, expect, it } from 'vitest';
import { announcements, claimIn, question, showMac } from '../../agent/network/frames.ts';
import { parseIp, type IpAddress } from '../../agent/platform/ip-address.ts';

const mac = Buffer.from('020000000a0b', 'hex');
const ip = (text: string): IpAddress => parseIp(text)!;

describe('a question', () => {
  it('for an IPv4 address comes from nobody, so that nobody learns from it (RFC 5227)', () => {
    const frame = question(mac, ip('192.0.2.10'), null);
    expect(frame.toString('hex')).toBe(
      'ffffffffffff' +
        '020000000a0b' +
        '0806' +
        '0001080006040001' +
        '020000000a0b' +
        '00000000' +
        '000000000000' +
        'c000020a' +
        '00'.repeat(18),
    );
    expect(frame).toHaveLength(60);
  });

  it('from an address of this host names it', () => {
    expect(question(mac, ip('192.0.2.1'), ip('192.0.2.10')).toString('hex', 28, 32)).toBe('c000020a');
  });

  it('for an IPv6 address goes to its solicited-node group, from the unspecified address and without an option (RFC 4861, RFC 4862)', () => {
    const frame = question(mac, ip('2001:db8::12:3456'), null);
    expect(frame.toString('hex', 0, 14)).toBe('3333ff123456' + '020000000a0b' + '86dd');
    // Length 24, next header 58, hop limit 255, from ::, to ff02::1:ff12:3456.
    expect(frame.toString('hex', 14, 54)).toBe('60000000' + '0018' + '3aff' + '00'.repeat(16) + 'ff0200000000000000000001ff123456');
    expect(frame.toString('hex', 54, 56)).toBe('8700');
    expect(frame.toString('hex', 58)).toBe('00000000' + '20010db8000000000000000000123456');
  });

  it('for an IPv6 address from one of this host carries its port', () => {
    const frame = question(mac, ip('fe80::1'), ip('2001:db8::10'));
    expect(frame.toString('hex', 78)).toBe('0101020000000a0b');
  });
});

describe('an announcement', () => {
  it('of an IPv4 address is a request and a reply (RFC 5227)', () => {
    const [request, reply, ...more] = announcements(mac, ip('192.0.2.10'));
    expect(more).toEqual([]);
    expect(request!.toString('hex', 20, 42)).toBe('0001' + '020000000a0b' + 'c000020a' + '000000000000' + 'c000020a');
    expect(reply!.toString('hex', 20, 42)).toBe('0002' + '020000000a0b' + 'c000020a' + '020000000a0b' + 'c000020a');
  });

  it('of an IPv6 address overrides what all nodes know, with a checksum that fits', () => {
    const [frame] = announcements(mac, ip('2001:db8::10'));
    expect(frame!.toString('hex', 0, 14)).toBe('333300000001' + '020000000a0b' + '86dd');
    expect(frame!.toString('hex', 54, 56)).toBe('8800');
    expect(frame!.toString('hex', 58)).toBe('20000000' + '20010db8000000000000000000000010' + '0201020000000a0b');
    // Over pseudo-header and message, with the checksum in it, the ones' complement sum is 0xffff.
    const body = frame!.subarray(54);
    const pseudo = Buffer.concat([frame!.subarray(22, 54), Buffer.from([0, 0, 0, body.length, 0, 0, 0, 58])]);
    expect(sum(Buffer.concat([pseudo, body]))).toBe(0xffff);
  });

  it('is heard as a claim', () => {
    for (const address of ['192.0.2.10', '2001:db8::10'])
      for (const frame of announcements(mac, ip(address))) {
        const claim = claimIn(frame);
        expect(claim && showMac(claim.mac)).toBe('02:00:00:00:0a:0b');
        expect(claim?.address).toEqual(ip(address).bytes);
      }
  });
});

describe('no claim', () => {
  it.each([
    ['a question from nobody', question(mac, ip('192.0.2.10'), null)],
    ['a question of IPv6', question(mac, ip('2001:db8::10'), null)],
    ['a short frame', Buffer.alloc(20)],
    ['nothing', Buffer.alloc(0)],
    ['a cut advertisement', announcements(mac, ip('2001:db8::10'))[0]!.subarray(0, 70)],
  ])('is in %s', (_what, frame) => expect(claimIn(frame)).toBeNull());

  it('is in an advertisement that came over a router (RFC 4861, 7.1.2)', () => {
    const frame = announcements(mac, ip('2001:db8::10'))[0]!;
    frame[21] = 254;
    expect(claimIn(frame)).toBeNull();
  });

  it('hangs on options that make no sense', () => {
    const frame = announcements(mac, ip('2001:db8::10'))[0]!;
    frame[79] = 0;
    expect(showMac(claimIn(frame)!.mac)).toBe('02:00:00:00:0a:0b');
  });
});

function sum(bytes: Buffer): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) total += bytes.readUInt16BE(i);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}
