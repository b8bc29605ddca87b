import type { NetworkState } from '../../protocol/network-state.ts';
import type { NetworkConfig } from '../config/takeover-sections/network.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ethtool } from '../platform/ethtool.ts';
import type { Exec } from '../platform/exec.ts';
import type { Log } from '../platform/log.ts';
import type { HardwareFact } from '../platform/net-hardware.ts';
import type { ManagerReading } from '../platform/network-managers.ts';
import type { OpenPacketPort } from '../platform/packet-socket.ts';
import type { OpenRouteSocket } from '../platform/route-socket.ts';
import type { NetworkAlarm } from './network.ts';
import type { RoleMapStore } from './role-map.ts';

/** What the network room needs of the world; handed in. */
export interface NetworkParts {
  /** Name of this node. */
  node: string;
  exec: Exec;
  clock: Clock;
  log: Log;
  openPort: OpenPacketPort;
  openRoutes: OpenRouteSocket;
  /** What a process is called; null when it has ended. */
  processName(pid: number): string | null;
  /** With which the services are looked at that configure this host's ports. */
  managers: ManagerReading;
  ethtool: Ethtool;
  /** By name of the port; empty where nothing is known. */
  hardware(): Promise<ReadonlyMap<string, HardwareFact>>;
  roleMap: RoleMapStore;
  /** The peer's last network state; null when nothing is known. */
  peerState(): NetworkState | null;
  /** Called once when an alarm is raised; `alarms()` has those that stand. */
  onAlarm?(alarm: NetworkAlarm): void;
  /** Something that was removed by others was set again. */
  onSetAgain?(what: 'address' | 'route', count: number): void;
}

/** What the files of this room share. */
export interface NetworkContext extends NetworkParts {
  config: NetworkConfig;
  /** A person has decided that the answers of a gateway that answers for everybody keep no address away. */
  despiteProxy: boolean;
  /** Runs what changes devices and addresses one after the other, so that nothing sees the other's half-made VLAN. */
  locked: <T>(work: () => Promise<T>) => Promise<T>;
  /** The kernel lets one light of the machine blink at a time, and refuses a second one (EBUSY): they take turns. */
  oneLight: <T>(work: () => Promise<T>) => Promise<T>;
}

/** A queue of one. */
export function makeLock(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const next = last.then(work, work);
    last = next.catch(() => {});
    return next;
  };
}
