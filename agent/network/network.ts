import type { NetworkState } from '../../protocol/network-state.ts';
import type { NetworkAlarm, PortEvent, PortFact, RoleFact, SegmentProof } from '../../protocol/nics.ts';

export type { NetworkAlarm, PortEvent, PortFact, RoleFact, SegmentProof } from '../../protocol/nics.ts';

/** Who answers for a service address. */
export interface AddressProbe {
  address: string;
  role: string;
  /** Address of the port that answered; null when nobody did. Answers of this host itself do not count. */
  answeredBy: string | null;
  /** Why it could not be asked; null when it was. */
  error: string | null;
  /** It was the segment's gateway, which answers for addresses that nobody has as well (proxy ARP): it tells nothing. */
  isProxy?: true;
}

export interface Reach {
  address: string;
  reachable: boolean;
  evidence: string;
}

/** Commands that `take` and `release` would run now, each as the arguments of `ip`. */
export interface NetworkPlan {
  take: string[][];
  release: string[][];
}

/**
 * The service addresses of this node: where they belong, whether they may go there, taking and releasing them.
 *
 * Nothing happens by itself: the takeover calls. Only `take`, `release`, `assign` and `swap` change anything that
 * lasts; questions may switch a mapped port on, and make a VLAN's device for as long as they take.
 */
export interface NetworkControl {
  /** False when the configuration has no section `network`: then there is nothing to take and nothing to refuse. */
  readonly configured: boolean;
  ports(): Promise<PortFact[]>;
  roles(): Promise<RoleFact[]>;
  /** Asks for every service address, half a second. */
  probe(): Promise<AddressProbe[]>;
  /** Asks the gateways of every role; at once when they answer, a second when one does not. */
  proveSegments(): Promise<SegmentProof[]>;
  /**
   * Brings all service addresses and routes to this node and announces them once; what is there already stays.
   * When it throws, everything is as before. `despiteProxy`: also where the gateway answers for an address as it does for
   * everybody's (`AddressProbe.isProxy`); from then on for as long as this process runs.
   *
   * @throws OperatorError `nic-unmapped`, `no-carrier`, `segment-unproven`, `address-taken` (exit code 3), `ip-command`.
   */
  take(say: (text: string) => void, options?: { despiteProxy?: boolean }): Promise<void>;
  /** Removes service addresses, also those that somebody else put here, and our routes and VLAN devices. May be repeated. @throws OperatorError `ip-command`. */
  release(): Promise<void>;
  /** Service addresses that are on this host now. */
  held(): Promise<string[]>;
  /**
   * Announces what is held until the signal fires: every second for ten seconds, then once a minute. Each time it looks
   * whether somebody else answers, raises the alarm, and announces again. What others remove, addresses and routes, is taken
   * again at once, with all that `take` asks before, as long as `may` says yes.
   */
  announce(may: () => boolean, signal: AbortSignal): Promise<void>;
  /** Service addresses of all roles, as configured. */
  readonly addresses: readonly string[];
  /** Alarms that stand now. */
  alarms(): NetworkAlarm[];
  /** Whether these addresses answer: by ARP or neighbour discovery on the same segment and, for gateways, on their role's port; by ping beyond. */
  reach(addresses: readonly string[]): Promise<Reach[]>;
  /** The gateways of all roles and the witnesses: who tells that this node is not the isolated one. */
  readonly farAddresses: readonly string[];
  /** The last reading, null before the first. */
  state(): NetworkState | null;
  /** Reads the state anew; for the peer. */
  refresh(): Promise<NetworkState>;
  plan(): Promise<NetworkPlan>;
  /**
   * Maps a role to a port, named by its name, permanent address or slot. Where this node holds the role's addresses, they move.
   *
   * @throws OperatorError `no-such-role`, `no-such-port`, `port-in-use`, and those of the proof unless `unproven`.
   */
  assign(role: string, port: string, options: { unproven: boolean }): Promise<SegmentProof>;
  /** Exchanges the ports of two roles. @throws like `assign`. */
  swap(first: string, second: string, options: { unproven: boolean }): Promise<SegmentProof[]>;
  /** Tells which cable is pulled or plugged until the signal fires. Ports that are switched off are on meanwhile. */
  identify(signal: AbortSignal): AsyncIterable<PortEvent>;
  /** Blinks a port's light until the signal fires, at most for the time. @throws OperatorError `no-such-port`, `no-light`. */
  blink(port: string, seconds: number, signal: AbortSignal): Promise<void>;
}
