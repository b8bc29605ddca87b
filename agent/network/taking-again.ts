import { Backoff } from '../platform/backoff.ts';
import { OperatorError } from '../platform/errors.ts';
import { sameIp, type IpPrefix } from '../platform/ip-address.ts';
import { managersOf } from '../platform/network-managers.ts';
import type { Alarms } from './alarms.ts';
import { Flapping } from './flapping.ts';
import { readDevices, readRoutes, type Device } from './ip-facts.ts';
import type { NetworkContext } from './parts.ts';
import { deviceName, isInPlace, takeSteps, type PlacedRole } from './plan.ts';
import { prove } from './proving.ts';
import { Removers } from './removers.ts';
import { mapRole, readRoleMap, type Assignment, type RoleMap } from './role-map.ts';
import type { NetworkChange } from './rtnetlink.ts';
import { runAll } from './steps.ts';
import { announceThere, refuseAnswered, refuseSegment } from './taking.ts';

/** A service address that is not in its place, and where that is. */
interface Lack {
  placed: PlacedRole;
  own: IpPrefix;
}

/**
 * Service addresses and routes go when somebody restarts the host's networking, or removes them. They are taken again, each role
 * for itself, with all that is asked before.
 *
 * - `look()`: sets what is missing; how long until it wants to look again in milliseconds, null when nothing is open.
 * - `note(changes)`: what the kernel told since the last look, for saying who it was.
 */
export class TakingAgain {
  readonly #context: NetworkContext;
  readonly #alarms: Alarms;
  readonly #may: () => boolean;
  readonly #flapping = new Flapping();
  readonly #refused = new Backoff({ firstMs: 1000, mostMs: 30_000, forgetMs: 60_000 });
  /** Ports of roles that were found by their addresses: these may be among what was removed. */
  readonly #ports = new Map<string, Assignment>();
  readonly #removers: Removers;
  /** The last look set routes. */
  #routesWereSet = false;
  /** Somebody removed something since it was last set. */
  #wasRemoved = false;

  /** `may` says at any moment whether this node may have the addresses. */
  constructor(context: NetworkContext, alarms: Alarms, may: () => boolean) {
    this.#context = context;
    this.#alarms = alarms;
    this.#may = may;
    this.#removers = new Removers(context.config, (pid) => context.processName(pid));
  }

  note(changes: readonly NetworkChange[]): void {
    if (this.#removers.note(changes, this.#routesWereSet)) this.#wasRemoved = true;
    this.#routesWereSet = false;
  }

  look(): Promise<number | null> {
    return this.#context.locked(async () => (this.#may() ? this.#lookNow() : notNowMs));
  }

  async #lookNow(): Promise<number | null> {
    const { config, exec, clock } = this.#context;
    const [devices, routes] = await Promise.all([readDevices(exec), readRoutes(exec)]);
    const map = this.#mapNow(devices);
    const placed = config.roles.flatMap((role) => {
      const mapped = mapRole(role, config, map, devices);
      return mapped ? [{ role, mapped }] : [];
    });
    this.#keepMissing(devices);
    const nowMs = clock.monotonicMs();
    if (placed.length === config.roles.length && takeSteps(config, placed, devices, routes).length === 0) {
      this.#removers.forget();
      if (!this.#flapping.isFlapping(nowMs)) this.#alarms.keepOnly('address-flapping', new Set());
      return null;
    }
    const pauseMs = this.#flapping.pauseMs(nowMs);
    if (pauseMs > 0) return pauseMs;
    return this.#set(devices, map, placed);
  }

  /** Sets what may be set now. */
  async #set(devices: readonly Device[], map: RoleMap, placed: readonly PlacedRole[]): Promise<number | null> {
    const { config, exec, clock, log } = this.#context;
    const startMs = clock.monotonicMs();
    const reasons = new Map<string, string>();
    for (const role of config.roles)
      if (!placed.some((each) => each.role === role)) reasons.set(role.name, ` and cannot be taken again: role ${role.name} has no port`);
    // Who switches a port of the active node off means it.
    for (const { role, mapped } of placed)
      if (!mapped.device.isUp) reasons.set(role.name, `: port ${mapped.device.ifname} was switched off`);
    const lacks = placed.flatMap((each): Lack[] =>
      reasons.has(each.role.name)
        ? []
        : each.role.addresses.filter((own) => !isInPlace(own, deviceName(each, devices), devices)).map((own) => ({ placed: each, own })),
    );
    const asked = await this.#ask(lacks, map, reasons);
    const free = placed.filter(({ role }) => !reasons.has(role.name));
    if (!this.#may()) {
      await asked.undo();
      return notNowMs;
    }
    // The half second of asking is long: what is there now counts.
    const [there, routes] = await Promise.all([readDevices(exec), readRoutes(exec)]);
    const commands = takeSteps(config, free, there, routes).map(({ run }) => run);
    const failed = commands.length === 0 ? null : await runAll(exec, commands);
    const now = commands.length === 0 ? there : await readDevices(exec);
    const tried = lacks.filter(({ placed: each }) => free.includes(each));
    const set = tried.filter(({ placed: each, own }) => isInPlace(own, deviceName(each, now), now));
    announceThere(
      this.#context,
      set.map(({ placed: each, own }) => ({ address: own.address.text, role: each.role.name, device: deviceName(each, now) })),
    );
    if (failed) log.error({ code: failed.code }, `taking again: ${failed.message}`);
    this.#routesWereSet = routesIn(commands) > 0;
    // What fails changes something as well, and is not done over and over.
    if (commands.length > 0) this.#flapping.setAgain(clock.monotonicMs());
    const isSet = set.length > 0 || (commands.length > 0 && !failed);
    // Who removes an address in the same moment lets its routes fail, and it is not there any more when it is looked for.
    const isFight = isSet || (commands.length > 0 && this.#wasRemoved);
    this.#wasRemoved = false;
    const isFlapping = isFight && this.#flapping.isFlapping(clock.monotonicMs());
    const by = isSet || isFlapping ? this.#removers.take() : [];
    if (isSet) this.#tell(set, routesIn(commands), by, clock.monotonicMs() - startMs);
    if (isFlapping) await this.#tellFlapping(tried, free, by);
    this.#raiseMissing(now, reasons, failed);
    return reasons.size > 0 || failed ? this.#refused.failed(clock.monotonicMs()) : 0;
  }

  /** Asks the segments of all roles that lack addresses; why a role may not have them goes to `reasons`. */
  async #ask(lacks: readonly Lack[], map: RoleMap, reasons: Map<string, string>): Promise<{ undo: () => Promise<void> }> {
    if (lacks.length === 0) return { undo: async () => {} };
    const roles = [...new Set(lacks.map(({ placed }) => placed.role.name))];
    const proving = await prove(this.#context, { segments: true, addresses: true, roles, map, asIs: true });
    const refusal = (check: () => void): string | null => {
      try {
        check();
        return null;
      } catch (error) {
        if (!(error instanceof OperatorError)) throw error;
        return ` and cannot be taken again: ${error.message}`;
      }
    };
    for (const name of roles) {
      const proof = proving.proofs.find(({ role }) => role === name);
      const probes = proving.probes.filter(({ role, address }) => role === name && lacks.some(({ own }) => own.address.text === address));
      const why = refusal(() => {
        if (proof) refuseSegment(proof);
        for (const probe of probes) if (!(probe.isProxy && this.#context.despiteProxy)) refuseAnswered(probe);
      });
      if (why !== null) reasons.set(name, why);
    }
    if (roles.every((name) => reasons.has(name))) await proving.undo();
    return proving;
  }

  #tell(set: readonly Lack[], routes: number, by: readonly string[], tookMs: number): void {
    const { log } = this.#context;
    const addresses = set.map(({ own }) => own.address.text);
    const what = addresses.length > 0 ? 'service addresses were gone and were taken again' : 'routes were gone and were set again';
    log.warn({ addresses, routes, by, ms: Math.round(tookMs) }, what);
    if (addresses.length > 0) this.#context.onSetAgain?.('address', addresses.length);
    if (routes > 0) this.#context.onSetAgain?.('route', routes);
  }

  /** Who it is, as far as that can be known, and what is to be done. */
  async #tellFlapping(tried: readonly Lack[], free: readonly PlacedRole[], by: readonly string[]): Promise<void> {
    const { clock, managers } = this.#context;
    const ports = [...new Set((tried.length > 0 ? tried.map(({ placed }) => placed) : free).map(({ mapped }) => mapped.device.ifname))];
    const managed = (await managersOf(ports, managers)).filter(({ keeps }) => !keeps);
    const pauseSeconds = Math.round(this.#flapping.pauseMs(clock.monotonicMs()) / 1000);
    const whose = by.length === 0 ? '' : ` by ${by.join(', ')}`;
    const also = managed.map(({ manager, port }) => `; ${manager} manages ${port}`).join('');
    const times = `set again ${this.#flapping.count} times, the next time after ${pauseSeconds} s${also}`;
    const remedy = [
      'find who configures the network of this host, and let it leave the ports of the network roles alone',
      ...managed.map((each) => `${each.manager}: ${each.remedy}`),
    ].join('; ');
    for (const { placed, own } of tried)
      this.#alarms.raise({
        code: 'address-flapping',
        role: placed.role.name,
        address: own.address.text,
        text: `service address ${own.address.text} is removed again and again${whose}: ${times}`,
        remedy,
      });
    // Routes go with the address that they lead from, and a look may come when that alone is back: one fight, one alarm.
    const ofAddresses = this.#alarms.all.flatMap(({ code, address }) =>
      code === 'address-flapping' && address !== allRoutes ? [address] : [],
    );
    if (ofAddresses.length > 0) this.#alarms.keepOnly('address-flapping', new Set(ofAddresses));
    else
      this.#alarms.raise({
        code: 'address-flapping',
        role: free[0]?.role.name ?? '',
        address: allRoutes,
        text: `the routes of this node are removed again and again${whose}: ${times}`,
        remedy,
      });
  }

  /** Alarms of addresses that are back end. */
  #keepMissing(devices: readonly Device[]): void {
    const missing = missingOf(this.#context, devices).map(({ address }) => address);
    this.#alarms.keepOnly('address-missing', new Set(missing));
  }

  #raiseMissing(devices: readonly Device[], reasons: ReadonlyMap<string, string>, failed: OperatorError | null): void {
    this.#keepMissing(devices);
    for (const { role, address } of missingOf(this.#context, devices)) {
      const why = reasons.get(role) ?? (failed ? ` and cannot be taken again: ${failed.message}` : null);
      // Gone again in this moment: the next look follows at once.
      if (why === null) continue;
      this.#alarms.raise({
        code: 'address-missing',
        role,
        address,
        text: `service address ${address} is gone from this node${why}`,
        remedy: 'look who configures the network of this host, and at mailtwin nics',
      });
    }
  }

  /** The map in force. A role without an assignment keeps the port on which it was last. */
  #mapNow(devices: readonly Device[]): RoleMap {
    const { config, roleMap, clock } = this.#context;
    const map = readRoleMap(roleMap);
    for (const role of config.roles) {
      if (map[role.name] !== undefined) continue;
      const device = mapRole(role, config, map, devices)?.device;
      const known = this.#ports.get(role.name);
      if (device) {
        const { permanentMac, slot, ifname } = device;
        this.#ports.set(role.name, { permanentMac, slot, ifname, unproven: false, at: new Date(clock.wallMs()).toISOString() });
      } else if (known) map[role.name] = known;
    }
    return map;
  }
}

/** What the alarm about routes bears in place of an address. */
const allRoutes = 'routes';

/** While this node may not have the addresses it looks this often whether it may. */
const notNowMs = 1000;

function missingOf({ config }: NetworkContext, devices: readonly Device[]): { role: string; address: string }[] {
  return config.roles.flatMap((role) =>
    role.addresses
      .filter(({ address }) => !devices.some((device) => device.addresses.some((each) => sameIp(each.address, address))))
      .map(({ address }) => ({ role: role.name, address: address.text })),
  );
}

function routesIn(commands: readonly string[][]): number {
  return commands.filter((words) => words[1] === 'route' && words[2] !== 'flush').length;
}
