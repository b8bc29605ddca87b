import { boundState, networkLimits, type NetworkState } from '../../protocol/network-state.ts';
import { showPrefix, sameIp } from '../platform/ip-address.ts';
import { readDevices, readNeighbours, readRoutes, type Device } from './ip-facts.ts';
import type { PortFact, RoleFact, SegmentProof } from './network.ts';
import type { NetworkContext } from './parts.ts';
import { deviceOfRole, isPort, mapRole, readRoleMap, type MappedPort } from './role-map.ts';
import { heldAddresses } from './taking.ts';

/** Kinds of virtual ports whose speed means nothing. */
const speedless = new Set(['veth', 'bridge', 'macvlan', 'tun', 'vxlan']);

/** All ports, those of hardware first. */
export async function readPorts(context: NetworkContext): Promise<PortFact[]> {
  const devices = await readDevices(context.exec);
  const hardware = await context.hardware();
  const ports = devices.filter(isPort);
  const roles = rolesByPort(context, devices);
  const facts = ports.map((port): PortFact => {
    const driver = context.ethtool.facts(port.ifname);
    const known = hardware.get(port.ifname);
    const hasSpeed = port.carrier && !(port.kind !== null && speedless.has(port.kind));
    return {
      ifname: port.ifname,
      mac: port.permanentMac,
      driver: driver.driver,
      slot: port.slot ?? driver.slot,
      kind: port.kind ?? (known?.isVirtual ? 'virtual' : known?.type === 'wireless' ? 'wireless' : 'hardware'),
      isUp: port.isUp,
      carrier: port.carrier,
      speedMbits: hasSpeed ? (driver.speedMbits ?? known?.speedMbits ?? null) : null,
      dhcp: known?.dhcp ?? null,
      partOf: port.master,
      addresses: addressesOn(port, devices),
      roles: roles.get(port.ifname) ?? [],
    };
  });
  return facts.sort((a, b) => Number(b.kind === 'hardware') - Number(a.kind === 'hardware'));
}

/** Names of roles by the name of the port that they are mapped to. */
export function rolesByPort({ config, roleMap }: NetworkContext, devices: readonly Device[]): Map<string, string[]> {
  const map = readRoleMap(roleMap);
  const found = new Map<string, string[]>();
  for (const role of config.roles) {
    const name = mapRole(role, config, map, devices)?.device.ifname;
    if (name !== undefined) found.set(name, [...(found.get(name) ?? []), role.name]);
  }
  return found;
}

export async function roleFacts(context: NetworkContext, proofs: readonly SegmentProof[]): Promise<RoleFact[]> {
  const held = heldAddresses(context, await readDevices(context.exec));
  const peer = context.peerState();
  return context.config.roles.flatMap((role) => {
    const proof = proofs.find((each) => each.role === role.name);
    if (!proof) return [];
    const there = peer?.roles.find((each) => each.name === role.name)?.port;
    const port = peer?.ports.find(({ ifname }) => ifname === there);
    return [
      {
        name: role.name,
        vlan: role.vlan,
        addresses: role.addresses.map(showPrefix),
        held: held.filter((each) => each.role === role.name).map(({ address }) => address),
        proof,
        peerPort: port ? { ifname: port.ifname, mac: port.mac, carrier: port.carrier } : null,
      },
    ];
  });
}

/** Who answered for a gateway the last time it was asked, by address. */
export type GatewayMacs = ReadonlyMap<string, string>;

/** What this host's network really is now, by role. */
export async function readState(context: NetworkContext, gatewayMacs: GatewayMacs): Promise<NetworkState> {
  const { config, node, exec, clock, ethtool, roleMap } = context;
  const [devices, routes, neighbours] = await Promise.all([readDevices(exec), readRoutes(exec), readNeighbours(exec)]);
  const map = readRoleMap(roleMap);
  const roles = config.roles.map((role) => {
    const mapped: MappedPort | null = mapRole(role, config, map, devices);
    const device = mapped && deviceOfRole(mapped.device, role.vlan, devices);
    const through = routes.filter((route) => route.device === device?.ifname && route.protocol !== 'kernel');
    const gateways = [...role.gateways, ...through.flatMap(({ to, via }) => (to === 'default' && via ? [via] : []))];
    // What real traffic found is newer than what was asked.
    const macOf = (address: string) =>
      neighbours.find((each) => each.address === address && each.device === device?.ifname)?.mac ?? gatewayMacs.get(address) ?? null;
    return {
      name: role.name,
      vlan: role.vlan,
      port: mapped?.device.ifname ?? null,
      addresses: reachable(device).slice(0, networkLimits.addressesPerPortMax),
      held: role.addresses
        .filter((own) => device?.addresses.some(({ address }) => sameIp(address, own.address)) ?? false)
        .map(({ address }) => address.text),
      gateways: gateways
        .filter((each, i) => gateways.findIndex((other) => sameIp(each, other)) === i)
        .map(({ text }) => ({ address: text, mac: macOf(text) }))
        .slice(0, networkLimits.gatewaysPerRoleMax),
      routes: through
        .filter(({ to, via }) => to !== 'default' && via !== null)
        .map(({ to, via }) => ({ to, via: via?.text ?? null }))
        .slice(0, networkLimits.routesPerRoleMax),
    };
  });
  const ports = devices.filter(isPort).map((port) => {
    const { driver, slot, speedMbits } = ethtool.facts(port.ifname);
    return {
      ifname: port.ifname,
      mac: port.permanentMac,
      driver,
      slot: port.slot ?? slot,
      carrier: port.carrier,
      speedMbits: port.carrier && !speedless.has(port.kind ?? '') ? speedMbits : null,
      addresses: reachable(port).slice(0, networkLimits.addressesPerPortMax),
    };
  });
  return boundState({ version: 1, node, at: new Date(clock.wallMs()).toISOString(), ports, roles });
}

/** Addresses of a device that others can reach. */
function reachable(device: Device | null): string[] {
  return device?.addresses.filter(({ scope }) => scope !== 'link' && scope !== 'host').map(showPrefix) ?? [];
}

/** Addresses of a port and of the VLANs on it. */
function addressesOn(port: Device, devices: readonly Device[]): string[] {
  return [port, ...devices.filter(({ vlan }) => vlan?.link === port.ifname)].flatMap((device) =>
    reachable(device).map((address) => (device.vlan ? `${address} (VLAN ${device.vlan.id})` : address)),
  );
}
