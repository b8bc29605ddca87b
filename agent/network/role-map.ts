import { z } from 'zod';
import type { NetworkConfig, NetworkRoleConfig } from '../config/takeover-sections/network.ts';
import { OperatorError } from '../platform/errors.ts';
import { inNetwork, sameIp } from '../platform/ip-address.ts';
import type { Device } from './ip-facts.ts';

/** Which port a role was given by `mailtwin nics assign`. Names of ports change with the kernel and the slots; these do not. */
export interface Assignment {
  permanentMac: string;
  slot: string | null;
  /** The name it had; decides only between ports with the same address, such as a bond and a part of it. */
  ifname: string;
  /** The operator vouched for the segment: a silent gateway does not count against it. */
  unproven: boolean;
  at: string;
}

export type RoleMap = Record<string, Assignment>;

/** Where the map is kept; handed in. */
export interface RoleMapStore {
  /** Null when there is none yet. */
  read(): string | null;
  /** Durable when it returns. */
  write(text: string): void;
}

const fileSchema = z.strictObject({
  version: z.literal(1),
  roles: z.record(
    z.string(),
    z.strictObject({
      permanentMac: z.string(),
      slot: z.string().nullable(),
      ifname: z.string(),
      unproven: z.boolean(),
      at: z.string(),
    }),
  ),
});

/** @throws OperatorError `role-map` when what is kept cannot be read. */
export function readRoleMap(store: RoleMapStore): RoleMap {
  const text = store.read();
  if (text === null) return {};
  try {
    return fileSchema.parse(JSON.parse(text)).roles;
  } catch {
    throw new OperatorError(
      'role-map',
      'the map of network roles in the state directory is damaged',
      'remove network-roles.json from the state directory and assign the roles again: mailtwin nics assign ROLE PORT',
    );
  }
}

export function writeRoleMap(store: RoleMapStore, roles: RoleMap): void {
  store.write(`${JSON.stringify({ version: 1, roles }, null, 2)}\n`);
}

/** The port of a role, and how it was found. */
export interface MappedPort {
  device: Device;
  /** `assigned`: by its permanent address; `slot`: another card sits in the assigned slot; `address`: nothing was assigned, and it alone has an address of the role's network. */
  by: 'assigned' | 'slot' | 'address';
  unproven: boolean;
}

/** A device that can carry a role: Ethernet, no part of a bond or bridge, no VLAN of another. */
export function isPort(device: Device): boolean {
  return device.isEthernet && !device.isLoopback && device.vlan === null && device.kind !== 'ifb' && device.kind !== 'dummy';
}

export function mapRole(role: NetworkRoleConfig, config: NetworkConfig, map: RoleMap, devices: readonly Device[]): MappedPort | null {
  const ports = devices.filter((device) => isPort(device) && device.master === null);
  const assigned = map[role.name];
  if (assigned === undefined) {
    const device = byAddress(role, config, ports, devices);
    return device && { device, by: 'address', unproven: false };
  }
  const same = ports.filter(({ permanentMac }) => permanentMac === assigned.permanentMac);
  const found = same.length > 1 ? same.find(({ ifname }) => ifname === assigned.ifname) : same[0];
  if (found) return { device: found, by: 'assigned', unproven: assigned.unproven };
  const inSlot = assigned.slot === null ? [] : ports.filter(({ slot }) => slot === assigned.slot);
  // A card with several ports has one slot: then only the permanent address tells them apart.
  return inSlot.length === 1 && inSlot[0] ? { device: inSlot[0], by: 'slot', unproven: false } : null;
}

/** The one port with an address in a network of the role. Addresses that do not move tell more than service addresses. */
function byAddress(role: NetworkRoleConfig, config: NetworkConfig, ports: readonly Device[], devices: readonly Device[]): Device | null {
  const service = config.roles.flatMap(({ addresses }) => addresses);
  for (const counts of ['own', 'any'] as const) {
    const found = ports.filter((port) =>
      (deviceOfRole(port, role.vlan, devices)?.addresses ?? []).some(
        ({ address }) =>
          role.addresses.some((network) => inNetwork(address, network)) &&
          (counts === 'any' || !service.some((moving) => sameIp(moving.address, address))),
      ),
    );
    if (found.length === 1) return found[0] ?? null;
    if (found.length > 1) return null;
  }
  return null;
}

/** The device that carries addresses of a VLAN on a port: the port itself for 0; null when there is none yet. */
export function deviceOfRole(port: Device, vlan: number, devices: readonly Device[]): Device | null {
  if (vlan === 0) return port;
  return devices.find((each) => each.vlan?.link === port.ifname && each.vlan.id === vlan) ?? null;
}
