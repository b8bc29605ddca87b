import type { NetworkState } from '../../protocol/network-state.ts';
import type { NetworkConfig } from '../config/takeover-sections/network.ts';
import { OperatorError } from '../platform/errors.ts';
import { sameIp, whyNoHost } from '../platform/ip-address.ts';
import { Alarms } from './alarms.ts';
import { announceUntil } from './announcing.ts';
import { assign, swap } from './assigning.ts';
import { blink, identify } from './identifying.ts';
import { readDevices, readRoutes } from './ip-facts.ts';
import type { NetworkControl, SegmentProof } from './network.ts';
import { makeLock, type NetworkContext, type NetworkParts } from './parts.ts';
import { releaseSteps, takeSteps, vlanSteps } from './plan.ts';
import { prove } from './proving.ts';
import { reachAll } from './reaching.ts';
import { readPorts, readState, roleFacts } from './reading.ts';
import { mapRole, readRoleMap } from './role-map.ts';
import { heldAddresses, release, take } from './taking.ts';

/** The network of this node. Without a section `network` there are no roles: everything is there and does nothing. */
export function makeNetwork(config: NetworkConfig | null, parts: NetworkParts): NetworkControl {
  const context: NetworkContext = {
    ...parts,
    config: config ?? { roles: [], witnesses: [] },
    locked: makeLock(),
    oneLight: makeLock(),
    despiteProxy: false,
  };
  const { exec, locked } = context;
  const alarms = new Alarms(context);
  const gatewayMacs = new Map<string, string>();
  let isTaken = false;
  let last: NetworkState | null = null;

  const noted = (proofs: SegmentProof[]): SegmentProof[] => {
    const proven = proofs.filter(({ level }) => level === 'pass');
    for (const { address, answeredBy } of proven.flatMap(({ asked }) => asked))
      if (answeredBy !== null) gatewayMacs.set(address, answeredBy);
    return proofs;
  };
  const proveAll = () =>
    locked(async () => {
      const proving = await prove(context, { segments: true, addresses: false });
      await proving.undo();
      return noted(proving.proofs);
    });
  const configured = <T>(work: () => Promise<T>): Promise<T> => {
    if (config !== null) return work();
    throw new OperatorError(
      'no-network',
      'the configuration has no section `network`',
      'add `network:` with its roles and start the agent again',
    );
  };

  return {
    configured: config !== null,
    farAddresses: farAddresses(context.config),
    addresses: context.config.roles.flatMap(({ addresses }) => addresses.map(({ address }) => address.text)),
    ports: () => readPorts(context),
    roles: async () => roleFacts(context, await proveAll()),
    probe: () =>
      locked(async () => {
        const proving = await prove(context, { segments: false, addresses: true });
        await proving.undo();
        return proving.probes;
      }),
    proveSegments: proveAll,
    take: (say, options = {}) =>
      locked(async () => {
        context.despiteProxy ||= options.despiteProxy === true;
        noted(await take(context, say));
        isTaken = true;
      }),
    release: () => {
      // At once: a round of announcements that waits for the lock must not take again what is released.
      isTaken = false;
      return locked(() => release(context));
    },
    held: async () => [...new Set(heldAddresses(context, await readDevices(exec)).map(({ address }) => address))],
    announce: (may, signal) => {
      // Also where an agent that was restarted in service could not take all of them: what is missing is tried again.
      if (!signal.aborted) isTaken = true;
      return announceUntil(context, alarms, () => isTaken, may, signal);
    },
    alarms: () => alarms.all,
    reach: (addresses) => reachAll(context, addresses),
    state: () => last,
    refresh: async () => (last = await readState(context, gatewayMacs)),
    plan: async () => {
      const devices = await readDevices(exec);
      const routes = await readRoutes(exec);
      const map = readRoleMap(context.roleMap);
      const placed = context.config.roles.flatMap((role) => {
        const mapped = mapRole(role, context.config, map, devices);
        return mapped ? [{ role, mapped }] : [];
      });
      return {
        take: [...vlanSteps(placed, devices), ...takeSteps(context.config, placed, devices, routes)].map(({ run }) => run),
        release: releaseSteps(context.config, devices, routes),
      };
    },
    assign: (role, port, options) =>
      configured(() => locked(async () => noted([await assign(context, role, port, options)])[0] as SegmentProof)),
    swap: (first, second, options) => configured(() => locked(async () => noted(await swap(context, first, second, options)))),
    identify: (signal) => identify(context, signal),
    blink: (port, seconds, signal) => blink(context, port, seconds, signal),
  };
}

function farAddresses(config: NetworkConfig): string[] {
  const all = [...config.roles.flatMap(({ gateways }) => gateways), ...config.witnesses];
  // A link-local gateway is the same everywhere and tells nothing without its port; the proof of the segment asks it.
  return all
    .filter((each, i) => all.findIndex((other) => sameIp(each, other)) === i && whyNoHost(each) !== 'a link-local address')
    .map(({ text }) => text);
}
