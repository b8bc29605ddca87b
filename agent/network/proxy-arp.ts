import { createHash } from 'node:crypto';
import { inNetwork, parseIp, sameIp, type IpAddress, type IpPrefix } from '../platform/ip-address.ts';

/**
 * A gateway with proxy ARP (RFC 1027; for IPv6 RFC 4389) answers for addresses of others, some for every address. Such an
 * answer says nothing about who has an address. Pure.
 *
 * - `nobodys(network, known)`: addresses of the network that nobody should have.
 * - `answersForAll(mac, gateways, answers)`: whether it is the gateway, and it answers for those as well.
 */

const askedCount = 3;
/** One of them may be somebody's after all, who then answers himself. */
const provingCount = 2;
/** Where fewer hosts fit, an address that nobody has cannot be told. */
const hostBitsMin = 4;

/** @param known addresses that belong to somebody. */
export function nobodys(network: IpPrefix, known: readonly IpAddress[]): IpAddress[] {
  const { address, length } = network;
  const hostBits = address.bytes.length * 8 - length;
  if (hostBits < hostBitsMin) return [];
  const found: IpAddress[] = [];
  for (let i = 0; found.length < askedCount && i < 20 * askedCount; i++) {
    const digest = createHash('sha256').update(`${address.text} ${i}`).digest();
    const bytes = Buffer.from(address.bytes);
    for (let bit = length; bit < bytes.length * 8; bit++) {
      const [at, mask] = [bit >> 3, 0x80 >> (bit & 7)];
      const isSet = ((digest[at] ?? 0) & mask) !== 0;
      bytes[at] = isSet ? (bytes[at] ?? 0) | mask : (bytes[at] ?? 0) & ~mask;
    }
    const text = bytes.length === 4 ? bytes.join('.') : bytes.toString('hex').replace(/(.{4})(?!$)/g, '$1:');
    const candidate = parseIp(text);
    if (!candidate || !inNetwork(candidate, network) || isEdge(bytes, length)) continue;
    if (![...known, ...found].some((each) => sameIp(each, candidate))) found.push(candidate);
  }
  return found;
}

/** The first address of a network is its own, the last one of an IPv4 network is everybody's. */
function isEdge(bytes: Buffer, length: number): boolean {
  const host = [...bytes].map((byte, i) => byte & (0xff >> Math.min(8, Math.max(0, length - i * 8))));
  const ones = bytes.map((_, i) => 0xff >> Math.min(8, Math.max(0, length - i * 8)));
  return host.every((byte) => byte === 0) || host.every((byte, i) => byte === ones[i]);
}

/**
 * @param mac who answered for a service address.
 * @param gateways who answered for the gateways of its segment.
 * @param answers who answered for the addresses that nobody has; null where nobody did.
 */
export function answersForAll(mac: string, gateways: readonly (string | null)[], answers: readonly (string | null)[]): boolean {
  return gateways.includes(mac) && answers.filter((each) => each === mac).length >= provingCount;
}
