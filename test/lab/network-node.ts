import { toNetworkConfig, networkSection } from '../../agent/config/takeover-sections/network.ts';
import { makeNetwork } from '../../agent/network/make-network.ts';
import type { NetworkAlarm, NetworkControl } from '../../agent/network/network.ts';
import { systemClock, type Clock } from '../../agent/platform/clock.ts';
import { ethtool } from '../../agent/platform/ethtool.ts';
import { exec, type Exec } from '../../agent/platform/exec.ts';
import { silentLog, type Log } from '../../agent/platform/log.ts';
import type { ManagerReading } from '../../agent/platform/network-managers.ts';
import { openPacketPort } from '../../agent/platform/packet-socket.ts';
import { openRouteSocket, processName } from '../../agent/platform/route-socket.ts';
import type { NetworkState } from '../../protocol/network-state.ts';
import type { Network } from './namespaces.ts';

/** The network of one host of the lab, in this process: its programs and sockets are in the host's namespace. */
export interface NetworkNode {
  control: NetworkControl;
  /** Commands that changed something, in their order. */
  changes: string[];
  alarms: NetworkAlarm[];
  /** How many addresses and routes others removed, that were set again. */
  setAgain: { address: number; route: number };
  /** What the role map file would hold; null before anything was assigned. */
  map: { text: string | null };
  /** What the peer is made to have sent. */
  peer: { state: NetworkState | null };
}

const nobodyManages: ManagerReading = { run: async () => null, readText: () => null, list: () => [] };

export interface NetworkNodeOptions {
  /** Lines for `ip -batch` before which its work ends as if the kernel had refused them. */
  failing?: RegExp;
  /** What configures the host's ports; a namespace has no services of its own. */
  managers?: ManagerReading;
  processName?: (pid: number) => string | null;
  log?: Log;
  /** Default: the host's. */
  clock?: Clock;
}

/**
 * @param section the section `network` of the configuration, as YAML would give it.
 */
export function networkNode(network: Network, host: string, section: unknown, options: NetworkNodeOptions = {}): NetworkNode {
  const { failing } = options;
  const { namespace } = network.host(host);
  const changes: string[] = [];
  const alarms: NetworkAlarm[] = [];
  const setAgain = { address: 0, route: 0 };
  const map: { text: string | null } = { text: null };
  const peer: { state: NetworkState | null } = { state: null };
  const execThere: Exec = async (program, args, options) => {
    const lines = args.includes('-batch') ? String(options?.input).trimEnd().split('\n') : [];
    const bad = lines.findIndex((line) => failing?.test(line));
    if (bad >= 0 && !args.includes('-force')) {
      const before = lines.slice(0, bad).map((line) => `${line}\n`);
      await execThere(program, args, { ...options, input: before.join('') });
      return {
        code: 1,
        signal: null,
        timedOut: false,
        stdout: '',
        stderr: `RTNETLINK answers: Refused\nCommand failed -:${bad + 1}\n`,
        truncated: false,
      };
    }
    if (args.includes('-batch')) changes.push(...lines);
    else if (program === 'ip' && !args.includes('show') && !args.includes('get')) changes.push(args.join(' '));
    return exec('nsenter', [`--net=/run/netns/${namespace}`, '--', program, ...args], options);
  };
  const control = makeNetwork(section === null ? null : toNetworkConfig(networkSection.parse(section)), {
    node: host,
    exec: execThere,
    clock: options.clock ?? systemClock,
    log: options.log ?? silentLog,
    openPort: (ifname, kind) => network.within(host, () => openPacketPort(ifname, kind)),
    openRoutes: () => network.within(host, () => openRouteSocket()),
    processName: options.processName ?? processName,
    managers: options.managers ?? nobodyManages,
    ethtool: {
      facts: (ifname) => network.within(host, () => ethtool.facts(ifname)),
      blink: (ifname, seconds) => network.within(host, () => ethtool.blink(ifname, seconds)),
    },
    hardware: async () => new Map(),
    roleMap: { read: () => map.text, write: (text) => void (map.text = text) },
    peerState: () => peer.state,
    onAlarm: (alarm) => void alarms.push(alarm),
    onSetAgain: (what, count) => void (setAgain[what] += count),
  });
  return { control, changes, alarms, setAgain, map, peer };
}
