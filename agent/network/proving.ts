import { sleep } from '../platform/clock.ts';
import type { IpAddress } from '../platform/ip-address.ts';
import { ask, silenceMs, type Answer, type Question } from './asking.ts';
import { ip, readDevices, type Device } from './ip-facts.ts';
import { returns } from './pinging.ts';
import type { AddressProbe, SegmentProof } from './network.ts';
import type { NetworkContext } from './parts.ts';
import { deviceName, vlanSteps, type PlacedRole } from './plan.ts';
import { deviceOfRole, mapRole, readRoleMap, type RoleMap } from './role-map.ts';
import { answersForAll, nobodys } from './proxy-arp.ts';
import { doubtful, judgeSegment, knownMacs, provingAddresses, provingQuestions, type SegmentSeen } from './segments.ts';
import { runSteps, undoSteps } from './steps.ts';

/** What was asked and seen, and what had to be made for it. */
export interface Proving {
  placed: PlacedRole[];
  /** Devices as they are now, VLANs that were made for the questions included. */
  devices: Device[];
  proofs: SegmentProof[];
  probes: AddressProbe[];
  /** Removes VLANs that were made for the questions. */
  undo(): Promise<void>;
}

export interface ProvingOptions {
  /** Which roles; default all. */
  roles?: readonly string[];
  /** Another map than the one in force. */
  map?: RoleMap;
  segments: boolean;
  addresses: boolean;
  /** Ports that are switched off stay so. */
  asIs?: boolean;
}

/** A card that is switched on needs a few seconds to agree on a speed. */
const carrierWaitMs = 4000;

/** Asks for segments and service addresses, everything at once. Called under the lock. */
export async function prove(context: NetworkContext, options: ProvingOptions): Promise<Proving> {
  const { config, exec, log } = context;
  const roles = config.roles.filter(({ name }) => options.roles?.includes(name) ?? true);
  const map = options.map ?? readRoleMap(context.roleMap);
  let devices = await readDevices(exec);
  const mapped = roles.map((role) => ({ role, mapped: mapRole(role, config, map, devices) }));
  const placed = mapped.flatMap((each) => (each.mapped ? [{ role: each.role, mapped: each.mapped }] : []));
  if (!options.asIs) devices = await switchOn(context, placed, devices);
  const carrying = placed.filter((each) => portNow(each, devices)?.carrier === true);
  const made = vlanSteps(carrying, devices);
  await runSteps(exec, log, made);
  const undo = () => undoSteps(exec, log, made);
  try {
    if (made.length > 0) devices = await readDevices(exec);
    const answers = await askAll(context, carrying, devices, options);
    const proofs = options.segments
      ? mapped.map(({ role, mapped: found }) => {
          const device = found && placedDevice({ role, mapped: found }, devices);
          return judgeSegment(role, found, device, answers.segments.get(role.name) ?? unseen, knownMacs(role, context.peerState()));
        })
      : [];
    const probes = options.addresses
      ? mapped.flatMap(({ role, mapped: found }) => probesOf(role, found !== null, answers.addresses.get(role.name)))
      : [];
    await markProxies(context, carrying, devices, probes);
    return { placed, devices, proofs, probes, undo };
  } catch (error) {
    await undo();
    throw error;
  }
}

function portNow({ mapped }: PlacedRole, devices: readonly Device[]): Device | null {
  return devices.find(({ ifname }) => ifname === mapped.device.ifname) ?? null;
}

/** The device of the role, or its port where the VLAN could not be made because there is no carrier. */
function placedDevice(each: PlacedRole, devices: readonly Device[]): Device | null {
  const port = portNow(each, devices);
  if (!port?.carrier) return port;
  return deviceOfRole(port, each.role.vlan, devices);
}

/** A port without an address of the host's own may never have been switched on. */
async function switchOn(context: NetworkContext, placed: readonly PlacedRole[], devices: Device[]): Promise<Device[]> {
  const off = [...new Set(placed.filter(({ mapped }) => !mapped.device.isUp).map(({ mapped }) => mapped.device.ifname))];
  if (off.length === 0) return devices;
  for (const name of off) {
    context.log.info({ port: name }, 'a port with a role is switched on');
    await ip(context.exec, ['link', 'set', 'dev', name, 'up']);
  }
  const start = context.clock.monotonicMs();
  for (;;) {
    const now = await readDevices(context.exec);
    if (off.every((name) => now.find(({ ifname }) => ifname === name)?.carrier)) return now;
    if (context.clock.monotonicMs() - start > carrierWaitMs) return now;
    await sleep(context.clock, 100);
  }
}

const unseen: SegmentSeen = { answers: [], foreign: new Set(), returned: new Set() };

/** Asks every question at once; then those gateways, whose answer could come from any segment, in a way that tells. */
async function askAll(
  context: NetworkContext,
  carrying: readonly PlacedRole[],
  devices: readonly Device[],
  options: ProvingOptions,
): Promise<{ segments: Map<string, SegmentSeen>; addresses: Map<string, Answer[]> }> {
  const sets = carrying.map((each) => {
    const device = deviceName(each, devices);
    return {
      ...each,
      device,
      segment: options.segments ? provingQuestions(each.role, context.config, device, devices) : [],
      silent: options.addresses ? each.role.addresses.map(({ address }) => silently(address, device)) : [],
    };
  });
  const answers = await ask(
    context,
    sets.flatMap(({ segment, silent }) => [...segment, ...silent]),
    ownMacs(devices),
  );
  const segments = new Map<string, SegmentSeen>();
  const addresses = new Map<string, Answer[]>();
  for (const { role, device, segment, silent } of sets) {
    const mine = answers.splice(0, segment.length + silent.length);
    const proving = provingAddresses(role).length;
    const foreign = mine.slice(proving, segment.length).flatMap(({ mac }) => (mac === null ? [] : [mac]));
    const seen = { answers: mine.slice(0, Math.min(proving, segment.length)), foreign: new Set(foreign), returned: new Set<string>() };
    const doubts = doubtful(role, seen, knownMacs(role, context.peerState()));
    const returned = await Promise.all(doubts.map((text) => returns(context, device, text)));
    segments.set(role.name, { ...seen, returned: new Set(doubts.filter((_, i) => returned[i])) });
    addresses.set(role.name, mine.slice(segment.length));
  }
  return { segments, addresses };
}

/** Asks once more where somebody answered for a service address: perhaps it is a gateway that answers for everybody. */
async function markProxies(
  context: NetworkContext,
  carrying: readonly PlacedRole[],
  devices: readonly Device[],
  probes: readonly AddressProbe[],
): Promise<void> {
  const answered = probes.filter(({ answeredBy }) => answeredBy !== null);
  const known = [
    ...context.config.roles.flatMap(({ addresses, gateways, proof }) => [
      ...addresses.map(({ address }) => address),
      ...gateways,
      ...proof,
    ]),
    ...context.config.witnesses,
    ...devices.flatMap(({ addresses }) => addresses.map(({ address }) => address)),
  ];
  for (const probe of answered) {
    const placed = carrying.find(({ role }) => role.name === probe.role);
    const network = placed?.role.addresses.find(({ address }) => address.text === probe.address);
    if (!placed || !network || probe.answeredBy === null) continue;
    const device = deviceName(placed, devices);
    const gateways = provingQuestions(placed.role, context.config, device, devices).slice(0, provingAddresses(placed.role).length);
    const nobody = nobodys(network, known);
    if (nobody.length === 0) continue;
    const answers = await ask(context, [...gateways, ...nobody.map((address) => silently(address, device))], ownMacs(devices));
    const macs = answers.map(({ mac }) => mac);
    if (answersForAll(probe.answeredBy, macs.slice(0, gateways.length), macs.slice(gateways.length))) probe.isProxy = true;
  }
}

function silently(address: IpAddress, device: string): Question {
  return { address, device, source: null, waitMs: silenceMs };
}

export function ownMacs(devices: readonly Device[]): Set<string> {
  return new Set(devices.flatMap(({ mac, permanentMac }) => [mac, permanentMac]));
}

function probesOf(role: PlacedRole['role'], isMapped: boolean, answers: readonly Answer[] | undefined): AddressProbe[] {
  const noAnswers = isMapped ? 'its port has no carrier' : 'its role has no port here';
  return role.addresses.map(({ address }, i) => ({
    address: address.text,
    role: role.name,
    answeredBy: answers?.[i]?.mac ?? null,
    error: answers === undefined ? noAnswers : (answers[i]?.error ?? null),
  }));
}
