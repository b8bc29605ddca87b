import type { IpAddress } from '../platform/ip-address.ts';

/**
 * Ethernet frames of ARP (RFC 826, RFC 5227) and of IPv6 neighbour discovery (RFC 4861, RFC 4862): questions, answers,
 * announcements. Addresses of ports are six bytes.
 */

const broadcast = Buffer.alloc(6, 0xff);
const nobody4 = Buffer.alloc(4);
const nobody6 = Buffer.alloc(16);
const allNodes = Buffer.from('ff020000000000000000000000000001', 'hex');

export function showMac(mac: Uint8Array): string {
  return [...mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/**
 * Asks who has `target`. Without `source` the question comes from nobody, so that it changes no neighbour cache: an ARP
 * probe (RFC 5227, 1.1) or the question of duplicate address detection (RFC 4862, 5.4.2).
 */
export function question(mac: Buffer, target: IpAddress, source: IpAddress | null): Buffer {
  if (target.family === 4) return arp(mac, broadcast, 1, mac, source?.bytes ?? nobody4, Buffer.alloc(6), target.bytes);
  const solicited = Buffer.concat([Buffer.from('ff0200000000000000000001ff', 'hex'), target.bytes.subarray(13)]);
  // A question from nobody carries no link-layer address (RFC 4861, 4.3).
  const option = source === null ? Buffer.alloc(0) : linkLayerOption(1, mac);
  return neighbourDiscovery(mac, solicited, source?.bytes ?? nobody6, 135, 0, target.bytes, option);
}

/**
 * Tells the segment that `address` is at `mac` now. For IPv4 as a request and as a reply, because receivers heed one or
 * the other (RFC 5227, 3); for IPv6 an unsolicited neighbour advertisement that overrides what is cached (RFC 4861, 7.2.6).
 */
export function announcements(mac: Buffer, address: IpAddress): Buffer[] {
  if (address.family === 4)
    return [
      arp(mac, broadcast, 1, mac, address.bytes, Buffer.alloc(6), address.bytes),
      arp(mac, broadcast, 2, mac, address.bytes, mac, address.bytes),
    ];
  const override = 0x2000_0000;
  return [neighbourDiscovery(mac, allNodes, address.bytes, 136, override, address.bytes, linkLayerOption(2, mac))];
}

/** Who says in this frame that an address is his: an ARP frame whose sender has it, or a neighbour advertisement. Null for any other frame. */
export function claimIn(frame: Buffer): { address: Buffer; mac: Buffer } | null {
  if (frame.length < 14) return null;
  const etherType = frame.readUInt16BE(12);
  if (etherType === 0x0806) {
    // Ethernet and IPv4, six and four bytes; request or reply.
    if (frame.length < 42 || frame.readUInt32BE(14) !== 0x0001_0800 || frame.readUInt16BE(18) !== 0x0604) return null;
    const address = frame.subarray(28, 32);
    return address.equals(nobody4) ? null : { address, mac: frame.subarray(22, 28) };
  }
  // A neighbour advertisement comes from this very segment when its hop limit is still 255 (RFC 4861, 7.1.2).
  if (etherType !== 0x86dd || frame.length < 14 + 40 + 24) return null;
  if (frame[20] !== 58 || frame[21] !== 255 || frame[54] !== 136) return null;
  return { address: frame.subarray(62, 78), mac: targetLinkLayer(frame.subarray(78)) ?? frame.subarray(6, 12) };
}

function arp(mac: Buffer, to: Buffer, operation: 1 | 2, sender: Buffer, senderIp: Buffer, target: Buffer, targetIp: Buffer): Buffer {
  const head = Buffer.from([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, operation]);
  // Padded to the least that Ethernet carries, as some cards do not do it.
  return Buffer.concat([to, mac, head, sender, senderIp, target, targetIp, Buffer.alloc(18)]);
}

function linkLayerOption(type: 1 | 2, mac: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, 1]), mac]);
}

function neighbourDiscovery(mac: Buffer, to: Buffer, from: Buffer, type: 135 | 136, flags: number, target: Buffer, option: Buffer): Buffer {
  const message = Buffer.alloc(8 + 16);
  message.writeUInt8(type, 0);
  message.writeUInt32BE(flags, 4);
  target.copy(message, 8);
  const body = Buffer.concat([message, option]);
  const header = Buffer.alloc(40);
  header.writeUInt8(0x60, 0);
  header.writeUInt16BE(body.length, 4);
  header.writeUInt8(58, 6);
  header.writeUInt8(255, 7);
  from.copy(header, 8);
  to.copy(header, 24);
  body.writeUInt16BE(checksum(from, to, body), 2);
  const group = Buffer.concat([Buffer.from([0x33, 0x33]), to.subarray(12)]);
  return Buffer.concat([group, mac, Buffer.from([0x86, 0xdd]), header, body]);
}

/** RFC 4443, 2.3: over the pseudo-header of RFC 8200, 8.1 and the message. */
function checksum(from: Buffer, to: Buffer, body: Buffer): number {
  const pseudo = Buffer.alloc(8);
  pseudo.writeUInt32BE(body.length, 0);
  pseudo.writeUInt8(58, 7);
  const all = Buffer.concat([from, to, pseudo, body]);
  let sum = 0;
  for (let i = 0; i < all.length; i += 2) sum += ((all[i] ?? 0) << 8) | (all[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** The target link-layer address option of an advertisement; null when it has none. */
function targetLinkLayer(options: Buffer): Buffer | null {
  for (let at = 0; at + 8 <= options.length;) {
    const units = options[at + 1] ?? 0;
    if (units === 0) return null;
    if (options[at] === 2) return options.subarray(at + 2, at + 8);
    at += units * 8;
  }
  return null;
}
