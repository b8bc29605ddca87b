import type { NetworkState } from '../../protocol/network-state.ts';
import type { NetworkConfig, NetworkRoleConfig } from '../config/takeover-sections/network.ts';
import { inNetwork, sameIp, whyNoHost, type IpAddress } from '../platform/ip-address.ts';
import { gatewayMs, type Answer, type Question } from './asking.ts';
import type { Device } from './ip-facts.ts';
import type { SegmentProof } from './network.ts';
import type { MappedPort } from './role-map.ts';

/** Addresses whose answer proves that a port is plugged into the role's segment. */
export function provingAddresses(role: NetworkRoleConfig): IpAddress[] {
  const all = [...role.gateways, ...role.proof];
  return all.filter((each, i) => all.findIndex((other) => sameIp(each, other)) === i);
}

/**
 * Gateways of other roles, which a segment of this role should not have. A router that runs Linux answers ARP on every
 * port for the addresses of all its ports: where it answers for these, its answer for the role's own gateway tells nothing.
 */
export function foreignAddresses(role: NetworkRoleConfig, config: NetworkConfig): IpAddress[] {
  return config.roles
    .filter((other) => other !== role)
    .flatMap(({ gateways }) => gateways)
    .filter(
      (each) =>
        each.family === 4 &&
        !role.addresses.some((own) => inNetwork(each, own)) &&
        !provingAddresses(role).some((own) => sameIp(own, each)),
    );
}

/** A host of the segment answers within milliseconds; two questions fit into this. */
const foreignMs = 300;

/**
 * The questions of a role's proof on a device: the proving addresses, then the foreign ones. They come from an address
 * of this host's own where it has one there that does not move: some routers answer nobody. Otherwise from nobody, which
 * changes no neighbour cache.
 */
export function provingQuestions(role: NetworkRoleConfig, config: NetworkConfig, device: string, devices: readonly Device[]): Question[] {
  const service = config.roles.flatMap(({ addresses }) => addresses);
  const own = devices.find(({ ifname }) => ifname === device)?.addresses ?? [];
  const proving = provingAddresses(role).map((address) => {
    const source = own.find(
      (each) =>
        each.isUsable &&
        each.address.family === address.family &&
        inNetwork(address, each) &&
        !service.some((moving) => sameIp(moving.address, each.address)),
    );
    return { address, device, source: source?.address ?? null, waitMs: gatewayMs };
  });
  return [...proving, ...foreignAddresses(role, config).map((address) => ({ address, device, source: null, waitMs: foreignMs }))];
}

/** What was seen of a role's segment. */
export interface SegmentSeen {
  /** Of the proving addresses, in their order; empty when nothing was asked. */
  answers: readonly Answer[];
  /** Ports that answered for foreign addresses. */
  foreign: ReadonlySet<string>;
  /** Proving addresses that answered a ping which went out and came back through the device. */
  returned: ReadonlySet<string>;
}

/** Where the other node, while it held the role's addresses, knew its gateways: by address. */
export function knownMacs(role: NetworkRoleConfig, peer: NetworkState | null): Map<string, string> {
  const there = peer?.roles.find(({ name }) => name === role.name);
  // A node that is not active may itself have its cables in the wrong segments.
  if (!there || there.held.length === 0) return new Map();
  return new Map(there.gateways.flatMap(({ address, mac }) => (mac === null ? [] : [[address, mac]])));
}

/** Addresses whose answer could come from the wrong segment as well, and can be told by a ping that comes back through the port. */
export function doubtful(role: NetworkRoleConfig, seen: SegmentSeen, known: ReadonlyMap<string, string>): string[] {
  return provingAddresses(role).flatMap((address, i) => {
    const mac = seen.answers[i]?.mac ?? null;
    return mac !== null && address.family === 4 && seen.foreign.has(mac) && !known.has(address.text) ? [address.text] : [];
  });
}

/** Judges what was seen of a role's port. */
export function judgeSegment(
  role: NetworkRoleConfig,
  mapped: MappedPort | null,
  device: Device | null,
  seen: SegmentSeen,
  known: ReadonlyMap<string, string>,
): SegmentProof {
  const addresses = provingAddresses(role);
  const asked = addresses.slice(0, seen.answers.length).map((address, i) => ({
    address: address.text,
    answeredBy: seen.answers[i]?.mac ?? null,
    error: seen.answers[i]?.error ?? null,
  }));
  const facts = {
    role: role.name,
    port: mapped?.device.ifname ?? null,
    mappedBy: mapped?.by ?? null,
    carrier: device?.carrier ?? false,
    asked,
  };
  if (!mapped || !device)
    return { ...facts, level: 'fail', code: 'nic-unmapped', evidence: `no port of this node is assigned to role ${role.name}` };
  const where = `${mapped.device.ifname} (${mapped.device.permanentMac})${role.vlan === 0 ? '' : `, VLAN ${role.vlan}`}`;
  if (!device.carrier)
    return { ...facts, level: 'fail', code: 'no-carrier', evidence: `${where} has no carrier${device.isUp ? '' : ': it is switched off'}` };
  if (addresses.length === 0)
    return { ...facts, level: 'warn', code: null, evidence: `${where} has carrier; the role has no gateway that could prove the segment` };
  const readings = addresses.map((address, i) => readAnswer(address, seen.answers[i] ?? null, seen, known));
  const proof = readings.find(({ counts }) => counts === 'yes');
  if (proof) return { ...facts, level: 'pass', code: null, evidence: `${where}: ${proof.text}` };
  const evidence = `${where}: ${readings.map(({ text }) => text).join('; ')}`;
  if (mapped.unproven) return { ...facts, level: 'warn', code: null, evidence: `${evidence}; the port was assigned as unproven` };
  if (readings.some(({ counts }) => counts === 'little')) return { ...facts, level: 'warn', code: null, evidence };
  return { ...facts, level: 'fail', code: 'segment-unproven', evidence };
}

function readAnswer(
  address: IpAddress,
  answer: Answer | null,
  seen: SegmentSeen,
  known: ReadonlyMap<string, string>,
): { counts: 'yes' | 'little' | 'no'; text: string } {
  const { text } = address;
  const mac = answer?.mac ?? null;
  if (mac === null) return { counts: 'no', text: `no answer from ${text}${answer?.error ? ` (${answer.error})` : ''}` };
  const answers = `${text} answers from ${mac}`;
  const before = known.get(text);
  if (before === mac) return { counts: 'yes', text: `${answers}, where the other node knew it` };
  if (before !== undefined)
    return { counts: 'no', text: `${answers}, but the other node knew it at ${before}: this may be another segment` };
  if (whyNoHost(address) === 'a link-local address')
    return { counts: 'little', text: `${answers}, but routers of other segments may have this address, too` };
  if (address.family === 6 || !seen.foreign.has(mac)) return { counts: 'yes', text: answers };
  if (seen.returned.has(text)) return { counts: 'yes', text: `${answers}, and to a ping through this port` };
  return { counts: 'no', text: `${answers}, but so do gateways of other roles: it answers on every segment alike` };
}
