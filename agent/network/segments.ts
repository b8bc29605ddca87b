import type { NetworkRoleConfig } from '../config/takeover-sections/network.ts';
import { inNetwork, sameIp, type IpAddress } from '../platform/ip-address.ts';
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
 * The questions of a role's proof on a device. They come from an address of this host's own where it has one there that
 * does not move: some routers answer nobody. Otherwise from nobody, which changes no neighbour cache.
 */
export function provingQuestions(
  role: NetworkRoleConfig,
  device: string,
  devices: readonly Device[],
  service: readonly IpAddress[],
): Question[] {
  const own = devices.find(({ ifname }) => ifname === device)?.addresses ?? [];
  return provingAddresses(role).map((address) => {
    const source = own.find(
      (each) =>
        each.isUsable &&
        each.address.family === address.family &&
        inNetwork(address, each) &&
        !service.some((moving) => sameIp(moving, each.address)),
    );
    return { address, device, source: source?.address ?? null, waitMs: gatewayMs };
  });
}

/** Judges what was seen of a role's port. `answers` belong to `provingAddresses(role)`; empty when nothing was asked. */
export function judgeSegment(
  role: NetworkRoleConfig,
  mapped: MappedPort | null,
  device: Device | null,
  answers: readonly Answer[],
): SegmentProof {
  const addresses = provingAddresses(role);
  const asked = answers.map(({ mac, error }, i) => ({ address: addresses[i]?.text ?? '', answeredBy: mac, error }));
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
  const answered = asked.find(({ answeredBy }) => answeredBy !== null);
  if (answered)
    return { ...facts, level: 'pass', code: null, evidence: `${where}: ${answered.address} answers from ${answered.answeredBy}` };
  if (addresses.length === 0)
    return { ...facts, level: 'warn', code: null, evidence: `${where} has carrier; the role has no gateway that could prove the segment` };
  const error = asked.find((each) => each.error !== null)?.error;
  const silent = `${where}: no answer from ${addresses.map(({ text }) => text).join(', ')}${error ? ` (${error})` : ''}`;
  if (mapped.unproven) return { ...facts, level: 'warn', code: null, evidence: `${silent}; the port was assigned as unproven` };
  return { ...facts, level: 'fail', code: 'segment-unproven', evidence: silent };
}
