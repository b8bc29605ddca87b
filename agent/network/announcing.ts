import { sleep } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import { parseIp } from '../platform/ip-address.ts';
import { ask, silenceMs, type Question } from './asking.ts';
import { readDevices, readRoutes } from './ip-facts.ts';
import type { NetworkAlarm } from './network.ts';
import type { NetworkContext } from './parts.ts';
import { takeSteps } from './plan.ts';
import { ownMacs } from './proving.ts';
import { mapRole, readRoleMap } from './role-map.ts';
import { announceHeld, take } from './taking.ts';

const fastRounds = 10;
const fastMs = 1000;
const slowMs = 60_000;

/** Alarms that stand, by code and address. */
export class Alarms {
  readonly #standing = new Map<string, NetworkAlarm>();
  readonly #context: NetworkContext;

  constructor(context: NetworkContext) {
    this.#context = context;
  }

  get all(): NetworkAlarm[] {
    return [...this.#standing.values()];
  }

  /** Tells of it once, until it was cleared. */
  raise(alarm: Omit<NetworkAlarm, 'at'>): void {
    const key = `${alarm.code} ${alarm.address}`;
    const before = this.#standing.get(key);
    if (before?.text === alarm.text) return;
    const raised = { ...alarm, at: before?.at ?? new Date(this.#context.clock.wallMs()).toISOString() };
    this.#standing.set(key, raised);
    this.#context.log.error({ code: alarm.code, role: alarm.role, address: alarm.address }, alarm.text);
    this.#context.onAlarm?.(raised);
  }

  /** Takes alarms of this kind away from all addresses but these. */
  keepOnly(code: NetworkAlarm['code'], addresses: ReadonlySet<string>): void {
    for (const [key, alarm] of this.#standing) if (alarm.code === code && !addresses.has(alarm.address)) this.#standing.delete(key);
  }
}

/** See NetworkControl.announce. `isTaken` says whether this node has the addresses, at any moment. */
export async function announceUntil(context: NetworkContext, alarms: Alarms, isTaken: () => boolean, signal: AbortSignal): Promise<void> {
  for (let round = 0; !signal.aborted; round++) {
    const isOver = () => signal.aborted || !isTaken();
    if (isTaken()) await oneRound(context, alarms, isOver);
    await sleep(context.clock, round < fastRounds ? fastMs : slowMs, signal);
  }
  for (const code of ['address-conflict', 'address-missing'] as const) alarms.keepOnly(code, new Set());
}

async function oneRound(context: NetworkContext, alarms: Alarms, isOver: () => boolean): Promise<void> {
  try {
    await context.locked(async () => {
      if (!isOver()) await takeMissing(context, alarms);
    });
    if (isOver()) return;
    const devices = await readDevices(context.exec);
    const held = announceHeld(context, devices);
    await lookForOthers(context, alarms, held, ownMacs(devices), isOver);
  } catch (error) {
    // `ip` failed once: the next round tries again, for as long as this node is active.
    if (!(error instanceof OperatorError)) throw error;
    context.log.error({ code: error.code }, `announcing: ${error.message}`);
  }
}

/** Addresses go when somebody restarts the host's networking. They are taken again, with all that is asked before. */
async function takeMissing(context: NetworkContext, alarms: Alarms): Promise<void> {
  const { config, exec, roleMap } = context;
  const devices = await readDevices(exec);
  const map = readRoleMap(roleMap);
  const missing = config.roles.flatMap((role) =>
    role.addresses
      .filter(({ address }) => !devices.some((device) => device.addresses.some((each) => each.address.bytes.equals(address.bytes))))
      .map(({ address }) => ({ role, address })),
  );
  alarms.keepOnly('address-missing', new Set(missing.map(({ address }) => address.text)));
  const raise = (why: string) => {
    for (const { role, address } of missing)
      alarms.raise({
        code: 'address-missing',
        role: role.name,
        address: address.text,
        text: `service address ${address.text} is gone from this node${why}`,
        remedy: 'look who configures the network of this host, and at mailtwin nics',
      });
  };
  const placed = config.roles.flatMap((role) => {
    const mapped = mapRole(role, config, map, devices);
    return mapped ? [{ role, mapped }] : [];
  });
  const isOff = placed.find(({ mapped }) => !mapped.device.isUp);
  if (missing.length === 0 && takeSteps(config, placed, devices, await readRoutes(exec)).length === 0) return;
  // Who switches a port of the active node off means it.
  if (isOff) return raise(`: port ${isOff.mapped.device.ifname} was switched off`);
  try {
    await take(context, (text) => context.log.info({}, `taking again: ${text}`));
    if (missing.length > 0)
      context.log.warn({ addresses: missing.map(({ address }) => address.text) }, 'service addresses were gone and were taken again');
    alarms.keepOnly('address-missing', new Set());
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    if (missing.length > 0) raise(` and cannot be taken again: ${error.message}`);
    else context.log.warn({ code: error.code }, `routes cannot be set again: ${error.message}`);
  }
}

async function lookForOthers(
  context: NetworkContext,
  alarms: Alarms,
  held: readonly { address: string; role: string; device: string }[],
  own: ReadonlySet<string>,
  isOver: () => boolean,
): Promise<void> {
  const questions = held.flatMap(({ address, device }): Question[] => {
    const parsed = parseIp(address);
    return parsed ? [{ address: parsed, device, source: null, waitMs: silenceMs }] : [];
  });
  const answers = await ask(context, questions, own);
  if (isOver()) return;
  const conflicts = held.flatMap((each, i) => {
    const mac = answers[i]?.mac ?? null;
    return mac === null ? [] : [{ ...each, mac }];
  });
  alarms.keepOnly('address-conflict', new Set(conflicts.map(({ address }) => address)));
  for (const { address, role, device, mac } of conflicts)
    alarms.raise({
      code: 'address-conflict',
      role,
      address,
      text: `${mac} answers for service address ${address} of this node as well, seen on ${device}`,
      remedy: 'find that host (it may be the old primary) and take the address from it, or switch it off',
    });
  // Clients may have believed the other one meanwhile.
  if (conflicts.length > 0) announceHeld(context, await readDevices(context.exec));
}
