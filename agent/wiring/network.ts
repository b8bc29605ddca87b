import { readFileSync } from 'node:fs';
import type { NetworkState } from '../../protocol/network-state.ts';
import type { Config } from '../config/config.ts';
import { makeNetwork } from '../network/make-network.ts';
import type { NetworkAlarm, NetworkControl } from '../network/network.ts';
import { systemClock } from '../platform/clock.ts';
import { writeDurable } from '../platform/durable-file.ts';
import { ethtool } from '../platform/ethtool.ts';
import { exec } from '../platform/exec.ts';
import { errnoCode } from '../platform/files.ts';
import type { Log } from '../platform/log.ts';
import { hostManagers } from '../platform/host-managers.ts';
import { netHardware } from '../platform/net-hardware.ts';
import { openPacketPort } from '../platform/packet-socket.ts';
import { openRouteSocket, processName } from '../platform/route-socket.ts';

export interface NetworkWiring {
  log: Log;
  /** The peer's last network state; null when nothing is known. */
  peerState(): NetworkState | null;
  /** Called once for each alarm that is raised. */
  onAlarm?(alarm: NetworkAlarm): void;
  /** Something that was removed by others was set again. */
  onSetAgain?(what: 'address' | 'route', count: number): void;
}

/** The network of this host, by the configuration. */
export function networkOf(config: Config, wiring: NetworkWiring): NetworkControl {
  const mapFile = `${config.state}/network-roles.json`;
  return makeNetwork(config.network, {
    ...wiring,
    node: config.node,
    exec,
    clock: systemClock,
    openPort: openPacketPort,
    openRoutes: openRouteSocket,
    processName,
    managers: hostManagers,
    ethtool,
    hardware: netHardware,
    roleMap: {
      read() {
        try {
          return readFileSync(mapFile, 'utf8');
        } catch (error) {
          if (errnoCode(error) === 'ENOENT') return null;
          throw error;
        }
      },
      write: (text) => writeDurable(mapFile, text),
    },
  });
}
