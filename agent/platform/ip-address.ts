import { isIP } from 'node:net';

/** An address of IPv4 or IPv6 by its bytes, so that two ways to write the same one are equal. */
export interface IpAddress {
  family: 4 | 6;
  /** 4 or 16 bytes in network order. */
  bytes: Buffer;
  /** The usual way to write it: `192.0.2.1`, `2001:db8::1` (RFC 5952). */
  text: string;
}

/** An address with the length of its network's prefix. */
export interface IpPrefix {
  address: IpAddress;
  length: number;
}

/** Null when the text is no address. A zone (`%eth0`) is none. */
export function parseIp(text: string): IpAddress | null {
  const family = text.includes('%') ? 0 : isIP(text);
  if (family === 4) return ipOf(Buffer.from(text.split('.').map(Number)));
  if (family !== 6) return null;
  // The last 32 bits may be written as an IPv4 address.
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  const hex = (high: string | undefined, low: string | undefined) => ((Number(high) << 8) | Number(low)).toString(16);
  const plain = dotted ? `${dotted[1]}${hex(dotted[2], dotted[3])}:${hex(dotted[4], dotted[5])}` : text;
  const [head = '', tail] = plain.split('::');
  const groups = (part: string | undefined) => (part ? part.split(':').map((group) => Number.parseInt(group, 16)) : []);
  const before = groups(head);
  const after = groups(tail);
  const all = tail === undefined ? before : [...before, ...Array.from({ length: 8 - before.length - after.length }, () => 0), ...after];
  const bytes = Buffer.alloc(16);
  all.forEach((group, i) => bytes.writeUInt16BE(group, i * 2));
  return ipOf(bytes);
}

/** `192.0.2.10/24`; null when it is none. */
export function parsePrefix(text: string): IpPrefix | null {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text.trim());
  const address = match ? parseIp(match[1] ?? '') : null;
  const length = Number(match?.[2]);
  return address && length <= address.bytes.length * 8 ? { address, length } : null;
}

export function showPrefix({ address, length }: IpPrefix): string {
  return `${address.text}/${length}`;
}

export function sameIp(a: IpAddress, b: IpAddress): boolean {
  return a.bytes.equals(b.bytes);
}

/** Whether the address lies in the prefix's network. */
export function inNetwork(address: IpAddress, network: IpPrefix): boolean {
  const { bytes } = network.address;
  if (bytes.length !== address.bytes.length) return false;
  return bytes.every((byte, i) => {
    const bits = Math.min(8, Math.max(0, network.length - i * 8));
    return byte >> (8 - bits) === (address.bytes[i] ?? 0) >> (8 - bits);
  });
}

/** The network of a prefix, with all bits of the host 0: `192.0.2.0/24`. */
export function networkOf({ address, length }: IpPrefix): string {
  const bytes = Buffer.from(address.bytes.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, length - i * 8)))));
  return `${ipOf(bytes).text}/${length}`;
}

/** Why no host can have this address for its own; null when one can. */
export function whyNoHost(address: IpAddress): string | null {
  const [first = 0, second = 0] = address.bytes;
  if (address.bytes.every((byte) => byte === 0)) return 'the unspecified address';
  if (address.family === 4) {
    if (first === 127) return 'a loopback address';
    if (first >= 224) return first >= 240 ? 'a reserved address' : 'a multicast address';
    return null;
  }
  if (first === 0xff) return 'a multicast address';
  if (first === 0xfe && (second & 0xc0) === 0x80) return 'a link-local address';
  return address.text === '::1' ? 'a loopback address' : null;
}

function ipOf(bytes: Buffer): IpAddress {
  return bytes.length === 4 ? { family: 4, bytes, text: bytes.join('.') } : { family: 6, bytes, text: showIp6(bytes) };
}

/** RFC 5952: no leading zeros, the longest run of two or more zero groups as `::`, the first of equal runs. */
function showIp6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2));
  let best = { at: -1, length: 1 };
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (at + length < 8 && groups[at + length] === 0) length++;
    if (length > best.length) best = { at, length };
  }
  const hex = (part: number[]) => part.map((group) => group.toString(16)).join(':');
  return best.at < 0 ? hex(groups) : `${hex(groups.slice(0, best.at))}::${hex(groups.slice(best.at + best.length))}`;
}

/** Addresses of this host whatever its configuration is. */
export function isLoopback(host: string): boolean {
  return /^(localhost|.*\.localhost|127\.[\d.]+|::1|::ffff:127\.[\d.]+|0\.0\.0\.0|::)\.?$/i.test(host);
}
