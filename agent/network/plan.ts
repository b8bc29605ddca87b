import type { NetworkConfig, NetworkRoleConfig } from '../config/takeover-sections/network.ts';
import { inNetwork, networkOf, sameIp, showPrefix, type IpAddress, type IpPrefix } from '../platform/ip-address.ts';
import type { Device, Route } from './ip-facts.ts';
import { deviceOfRole, type MappedPort } from './role-map.ts';

/** One call of `ip` and the one that takes it back; null where nothing is to be taken back. Arguments without the program. */
export interface Step {
  run: string[];
  undo: string[] | null;
}

/** A role with the port that it is mapped to. */
export interface PlacedRole {
  role: NetworkRoleConfig;
  mapped: MappedPort;
}

/** The number by which the kernel remembers that a route is ours (rtnetlink(7), rtm_protocol); free in iproute2's list. */
export const routeProtocol = '77';
/** The name by which a VLAN device says that it is ours. */
export const deviceAlias = 'mailtwin';
/**
 * Ours goes before what the host has configured, which stays and counts again after `release`. IPv4 takes the first of
 * equal routes; IPv6 would use equal ones in turn, so that there ours has a lower metric than the usual 1024.
 */
const metric6 = '64';

/** The device that carries a role's addresses, there or not yet. */
export function deviceName({ role, mapped }: PlacedRole, devices: readonly Device[]): string {
  const port = mapped.device;
  const there = deviceOfRole(port, role.vlan, devices);
  if (there) return there.ifname;
  const usual = `${port.ifname}.${role.vlan}`;
  // A device's name has at most 15 characters.
  return usual.length <= 15 ? usual : `vlan${role.vlan}.${port.index}`;
}

/** Makes the VLAN devices that are missing. Cards drop frames of a VLAN without a device, so that the proof needs them, too. */
export function vlanSteps(placed: readonly PlacedRole[], devices: readonly Device[]): Step[] {
  const made = new Set<string>();
  return placed.flatMap((each) => {
    const name = deviceName(each, devices);
    if (each.role.vlan === 0 || made.has(name)) return [];
    made.add(name);
    const there = devices.find(({ ifname }) => ifname === name);
    if (there?.isUp) return [];
    const up = { run: ['link', 'set', 'dev', name, 'up'], undo: null };
    if (there) return [up];
    const id = String(each.role.vlan);
    return [
      {
        run: ['link', 'add', 'link', each.mapped.device.ifname, 'name', name, 'type', 'vlan', 'id', id],
        undo: ['link', 'delete', 'dev', name],
      },
      { run: ['link', 'set', 'dev', name, 'alias', deviceAlias], undo: null },
      up,
    ];
  });
}

/**
 * What brings every service address and route to its place, beside the VLAN devices; what is right already is left alone.
 * Addresses come without the kernel's own duplicate address detection, which takes a second or two: they were asked for before.
 */
export function takeSteps(
  config: NetworkConfig,
  placed: readonly PlacedRole[],
  devices: readonly Device[],
  routes: readonly Route[],
): Step[] {
  const steps: Step[] = [];
  const added: Step[] = [];
  for (const each of placed) {
    const name = deviceName(each, devices);
    for (const own of each.role.addresses) {
      const isThere = (device: Device) =>
        device.addresses.filter(({ address, length }) => sameIp(address, own.address) && (device.ifname !== name || length !== own.length));
      for (const device of devices)
        for (const wrong of isThere(device))
          steps.push({
            run: deleteAddress(showPrefix(wrong), device.ifname),
            undo: addAddress(showPrefix(wrong), own.address, device.ifname),
          });
      if (!isInPlace(own, name, devices))
        added.push({ run: addAddress(showPrefix(own), own.address, name), undo: deleteAddress(showPrefix(own), name) });
    }
  }
  return [...steps, ...added, ...routeSteps(placed, devices, routes)];
}

/** Whether the device has the service address, with the right length of its prefix and in use. */
export function isInPlace(own: IpPrefix, device: string, devices: readonly Device[]): boolean {
  const there = devices.find(({ ifname }) => ifname === device)?.addresses ?? [];
  return there.some(({ address, length, isUsable }) => sameIp(address, own.address) && length === own.length && isUsable);
}

/** What removes all that is ours: service addresses wherever they are and whoever put them there, our routes, our VLAN devices. */
export function releaseSteps(config: NetworkConfig, devices: readonly Device[], routes: readonly Route[]): string[][] {
  const service = config.roles.flatMap(({ addresses }) => addresses);
  const isOurs = (device: Device) => device.vlan !== null && device.alias === deviceAlias;
  return [
    ...devices.flatMap((device) =>
      device.addresses
        .filter(({ address }) => service.some((own) => sameIp(own.address, address)))
        .map((found) => deleteAddress(showPrefix(found), device.ifname)),
    ),
    ...flushRoutes(routes),
    ...devices.filter(isOurs).map(({ ifname }) => ['link', 'delete', 'dev', ifname]),
  ];
}

function addAddress(prefix: string, address: IpAddress, device: string): string[] {
  return ['address', 'replace', prefix, 'dev', device, ...(address.family === 6 ? ['nodad'] : [])];
}

function deleteAddress(prefix: string, device: string): string[] {
  return ['address', 'delete', prefix, 'dev', device];
}

function flushRoutes(routes: readonly Route[]): string[][] {
  const ours = routes.filter(({ protocol }) => protocol === routeProtocol);
  return ([4, 6] as const)
    .filter((family) => ours.some((route) => route.family === family))
    .map((family) => [`-${family}`, 'route', 'flush', 'protocol', routeProtocol]);
}

function routeSteps(placed: readonly PlacedRole[], devices: readonly Device[], routes: readonly Route[]): Step[] {
  const wanted = placed.flatMap((each) => {
    const { role } = each;
    const device = deviceName(each, devices);
    const defaults = role.isDefault ? firstOfEach(role.gateways).map((via) => ({ to: 'default', via })) : [];
    const further = role.routes.map(({ to, via }) => ({ to: showPrefix(to), via }));
    const beyond = [...defaults, ...further].map(({ to, via }) => ({
      to,
      via,
      family: via.family,
      device,
      source: sourceOf(role, via.family),
    }));
    return [...ownNetworks(each, device, devices), ...beyond];
  });
  const ours = routes.filter(({ protocol }) => protocol === routeProtocol);
  const isSame = (a: IpAddress | null, b: IpAddress | null) => (a === null || b === null ? a === b : sameIp(a, b));
  const isThere = ({ to, via, device, source }: (typeof wanted)[number]) =>
    ours.some((route) => sameTarget(route.to, to) && route.device === device && isSame(route.via, via) && isSame(route.source, source));
  if (ours.length === wanted.length && wanted.every(isThere)) return [];
  const add = wanted.map(({ to, via, family, device, source }) => {
    const way = [to, ...(via === null ? [] : ['via', via.text]), 'dev', device, 'protocol', routeProtocol];
    const from = source === null ? [] : ['src', source.text];
    return family === 4
      ? { run: ['-4', 'route', 'prepend', ...way, ...from], undo: ['-4', 'route', 'delete', ...way] }
      : { run: ['-6', 'route', 'replace', ...way, ...from, 'metric', metric6], undo: ['-6', 'route', 'delete', ...way, 'metric', metric6] };
  });
  return [...flushRoutes(routes).map((run) => ({ run, undo: null })), ...add];
}

/**
 * A host whose own address of the same network is on another port, because its cables were swapped, would answer through
 * that port: the role's network goes through the role's port first.
 */
function ownNetworks({ role }: PlacedRole, device: string, devices: readonly Device[]) {
  const others = devices.filter(({ ifname, isLoopback }) => ifname !== device && !isLoopback);
  const isElsewhere = (own: IpAddress, network: { address: IpAddress; length: number }) =>
    others.some(({ addresses }) => addresses.some(({ address }) => inNetwork(address, network) && !sameIp(address, own)));
  const networks = role.addresses
    .filter((own) => isElsewhere(own.address, own))
    .map((own) => ({ to: networkOf(own), via: null, family: own.address.family, device, source: sourceOf(role, own.address.family) }));
  return networks.filter((each, i) => networks.findIndex(({ to }) => to === each.to) === i);
}

/** Several gateways of one family are for the proof; the first is the default. */
function firstOfEach(gateways: readonly IpAddress[]): IpAddress[] {
  return gateways.filter((each, i) => gateways.findIndex(({ family }) => family === each.family) === i);
}

/** What leaves by a role's gateway comes from its first service address, so that other mail servers see the same sender after a takeover. */
function sourceOf(role: NetworkRoleConfig, family: 4 | 6): IpAddress | null {
  return role.addresses.find(({ address }) => address.family === family)?.address ?? null;
}

/** `ip` shows a route to one host without its prefix length. */
function sameTarget(shown: string, wanted: string): boolean {
  return shown === wanted || `${shown}/32` === wanted || `${shown}/128` === wanted;
}
