import { networkStateSchema, type NetworkState } from '../../protocol/network-state.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { metaKey } from '../journal/keys.ts';
import type { Identity } from '../link/identity.ts';
import type { NetworkControl } from '../network/network.ts';
import type { Meter } from '../observe/meter.ts';
import { systemClock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import { exec } from '../platform/exec.ts';
import type { Kv } from '../platform/kv.ts';
import type { Log } from '../platform/log.ts';
import { realProcesses } from '../platform/processes.ts';
import { realFiles } from '../platform/real-files.ts';
import { imapLogin } from '../services/imap-login.ts';
import { createServices, type Services } from '../services/services.ts';
import { makeFencing, type FenceParts } from './fence.ts';
import { networkOf } from './network.ts';
import { copiedInbox } from './served-copy.ts';

/** What a takeover does to the two hosts: network, mail services, and the other node's power. */
export interface Appliance {
  readonly network: NetworkControl;
  readonly services: Services;
  readonly fence: FenceParts;
  /** Something is configured that is active on one node alone. */
  readonly gated: boolean;
  /** What the peer last told of its network; null before it did. */
  peerNetwork(): NetworkState | null;
  keepPeerNetwork(state: NetworkState): void;
}

const peerNetworkKey = metaKey('peer-network');

export function servicesOf(config: Config, log: Log): Services {
  let told = '';
  return createServices({
    config: config.services,
    exec,
    files: realFiles,
    clock: systemClock,
    log,
    processes: realProcesses,
    copied: copiedInbox(config, realFiles, exec),
    login: imapLogin(realFiles, (config.services?.imap ?? null) !== null),
    reread() {
      try {
        return loadConfig(config.file).services;
      } catch (error) {
        if (!(error instanceof OperatorError)) throw error;
        // It is asked again with each judging of a takeover.
        if (told !== error.message)
          log.warn({ code: error.code, remedy: error.remedy }, `the configuration is not read anew: ${error.message}`);
        told = error.message;
        return null;
      }
    },
  });
}

export function makeAppliance(config: Config, identity: Identity, kv: Kv, services: Services, meter: Meter, log: Log): Appliance {
  let peer = readPeerNetwork(kv);
  const network = networkOf(config, {
    log,
    peerState: () => peer,
    onAlarm: ({ code, text, remedy }) => log.error({ code, remedy }, text),
    onSetAgain: (what, count) => meter.setAgain(what, count),
  });
  return {
    network,
    services,
    fence: makeFencing(config, identity, log),
    gated: network.configured || services.configured,
    peerNetwork: () => peer,
    keepPeerNetwork(state) {
      if (JSON.stringify({ ...state, at: '' }) !== JSON.stringify(peer && { ...peer, at: '' }))
        kv.commit([[peerNetworkKey, Buffer.from(JSON.stringify(state))]]);
      peer = state;
    },
  };
}

/** What an older release wrote in another form is as good as nothing. */
function readPeerNetwork(kv: Kv): NetworkState | null {
  const stored = kv.get(peerNetworkKey);
  return stored ? (networkStateSchema.safeParse(JSON.parse(stored.toString())).data ?? null) : null;
}
