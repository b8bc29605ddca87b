import { OperatorError } from '../platform/errors.ts';
import { readDevices, type Device } from './ip-facts.ts';
import type { SegmentProof } from './network.ts';
import type { NetworkContext } from './parts.ts';
import { prove } from './proving.ts';
import { isPort, mapRole, readRoleMap, writeRoleMap, type Assignment, type RoleMap } from './role-map.ts';
import { heldAddresses, refuseSegment, take } from './taking.ts';

const refused = 3;
const usage = 2;

/** The port that an operator named: by its name, permanent address or slot. @throws OperatorError `no-such-port`. */
export function findPort(named: string, devices: readonly Device[]): Device {
  const ports = devices.filter(isPort);
  const text = named.toLowerCase();
  const found =
    ports.find(({ ifname }) => ifname === named) ??
    ports.find(({ mac, permanentMac }) => [mac, permanentMac].includes(text)) ??
    ports.find(({ slot }) => slot === text);
  if (!found)
    throw new OperatorError(
      'no-such-port',
      `this node has no port ${JSON.stringify(named)}`,
      `its ports are: ${ports.map(({ ifname }) => ifname).join(', ') || 'none'}`,
      usage,
    );
  if (found.master !== null)
    throw new OperatorError(
      'no-such-port',
      `${found.ifname} is a part of ${found.master} and carries no addresses of its own`,
      `name ${found.master}`,
      usage,
    );
  return found;
}

function checkRole({ config }: NetworkContext, name: string): void {
  if (config.roles.some((role) => role.name === name)) return;
  const known = config.roles.map((role) => role.name).join(', ');
  throw new OperatorError(
    'no-such-role',
    `the configuration has no network role ${JSON.stringify(name)}`,
    `its roles are: ${known}`,
    usage,
  );
}

/** See NetworkControl.assign. Called under the lock. */
export async function assign(context: NetworkContext, role: string, port: string, options: { unproven: boolean }): Promise<SegmentProof> {
  checkRole(context, role);
  const devices = await readDevices(context.exec);
  const device = findPort(port, devices);
  const map = { ...readRoleMap(context.roleMap), [role]: assignmentOf(context, device, options.unproven) };
  refuseShared(context, map, devices);
  const [proof] = await change(context, map, [role]);
  if (!proof) throw new Error(`role ${role} was not proven`);
  return proof;
}

/** See NetworkControl.swap. Called under the lock. */
export async function swap(
  context: NetworkContext,
  first: string,
  second: string,
  options: { unproven: boolean },
): Promise<SegmentProof[]> {
  checkRole(context, first);
  checkRole(context, second);
  if (first === second) throw new OperatorError('usage', 'the two roles are the same', 'name two roles', usage);
  const devices = await readDevices(context.exec);
  const map = readRoleMap(context.roleMap);
  const portOf = (name: string): Device => {
    const role = context.config.roles.find((each) => each.name === name);
    const found = role && mapRole(role, context.config, map, devices);
    if (!found) throw new OperatorError('nic-unmapped', `role ${name} has no port to swap`, `mailtwin nics assign ${name} PORT`, refused);
    return found.device;
  };
  const swapped = {
    ...map,
    [first]: assignmentOf(context, portOf(second), options.unproven),
    [second]: assignmentOf(context, portOf(first), options.unproven),
  };
  refuseShared(context, swapped, devices);
  return change(context, swapped, [first, second]);
}

function assignmentOf({ clock }: NetworkContext, { permanentMac, slot, ifname }: Device, unproven: boolean): Assignment {
  return { permanentMac, slot, ifname, unproven, at: new Date(clock.wallMs()).toISOString() };
}

/** Two roles may share a port only on different VLANs: otherwise one of them is on the wrong segment. */
function refuseShared({ config }: NetworkContext, map: RoleMap, devices: readonly Device[]): void {
  const seen = new Map<string, string>();
  for (const role of config.roles) {
    const mapped = mapRole(role, config, map, devices);
    if (!mapped || map[role.name] === undefined) continue;
    const place = `${mapped.device.ifname} VLAN ${role.vlan}`;
    const other = seen.get(place);
    if (other !== undefined)
      throw new OperatorError(
        'port-in-use',
        `${mapped.device.ifname} would carry both role ${other} and role ${role.name}${role.vlan === 0 ? '' : ` on VLAN ${role.vlan}`}`,
        `give ${other} another port first, or exchange them: mailtwin nics swap ${other} ${role.name}`,
        refused,
      );
    seen.set(place, role.name);
  }
}

/** Proves the new map, keeps it, and moves addresses that this node holds. What fails leaves the old map. */
async function change(context: NetworkContext, map: RoleMap, roles: readonly string[]): Promise<SegmentProof[]> {
  const proving = await prove(context, { segments: true, addresses: false, map, roles });
  await proving.undo();
  proving.proofs.forEach(refuseSegment);
  const before = readRoleMap(context.roleMap);
  // The operator's word counts only where it was needed: later on, the gateway of the others has to answer again.
  const kept = Object.fromEntries(
    Object.entries(map).map(([name, each]) => {
      const isProven = proving.proofs.some(({ role, level }) => role === name && level === 'pass');
      return [name, isProven ? { ...each, unproven: false } : each];
    }),
  );
  const isHeld = heldAddresses(context, proving.devices).some(({ role }) => roles.includes(role));
  writeRoleMap(context.roleMap, kept);
  if (!isHeld) return proving.proofs;
  try {
    await take(context, (text) => context.log.info({}, `after a change of ports: ${text}`));
    return proving.proofs;
  } catch (error) {
    writeRoleMap(context.roleMap, before);
    throw error;
  }
}
