/** What `mailtwin nics` and its kin show: ports, network roles and whether they fit. */

/** A port of this host, for people and for the peer. */
export interface PortFact {
  ifname: string;
  /** The permanent one where the port has one, otherwise the one in use. */
  mac: string;
  driver: string | null;
  /** For example `0000:03:00.0`. */
  slot: string | null;
  /** `hardware`, or what kind of virtual device it is: `bond`, `bridge`, `veth` ... */
  kind: string;
  isUp: boolean;
  carrier: boolean;
  speedMbits: number | null;
  /** True when the host gets the port's address by DHCP; null when that cannot be told. */
  dhcp: boolean | null;
  /** The bond or bridge that it is a part of. */
  partOf: string | null;
  addresses: string[];
  /** Roles that are mapped to it on this node. */
  roles: string[];
}

/** Whether a role's port is plugged into the role's segment. */
export interface SegmentProof {
  role: string;
  /** Null when the role has no port here. */
  port: string | null;
  /** How the port was found: assigned, by its slot, or by the only address of the role's network. */
  mappedBy: 'assigned' | 'slot' | 'address' | null;
  carrier: boolean;
  /** Gateways and other addresses that were asked. */
  asked: { address: string; answeredBy: string | null; error: string | null }[];
  /** `fail`: no service address goes there. `warn`: carrier alone speaks for it, or the operator. */
  level: 'pass' | 'warn' | 'fail';
  /** Why it is not `pass`: `nic-unmapped`, `no-carrier`, `segment-unproven`; null otherwise. */
  code: 'nic-unmapped' | 'no-carrier' | 'segment-unproven' | null;
  evidence: string;
}

/** Something that a person must know while this node holds the addresses. */
export interface NetworkAlarm {
  code: 'address-conflict' | 'address-missing' | 'address-flapping';
  role: string;
  address: string;
  text: string;
  remedy: string;
  /** ISO 8601. */
  at: string;
}

export interface RoleFact {
  name: string;
  vlan: number;
  addresses: string[];
  held: string[];
  proof: SegmentProof;
  /** Port of the role on the peer, by the peer's last state; null when it has none or nothing is known. */
  peerPort: { ifname: string; mac: string; carrier: boolean } | null;
}

export interface PortEvent {
  ifname: string;
  mac: string;
  slot: string | null;
  roles: string[];
  what: 'pulled' | 'plugged';
}

/** `mailtwin nics --json`. */
export interface NicsReport {
  node: string;
  /** ISO 8601. */
  at: string;
  ports: PortFact[];
  roles: RoleFact[];
  alarms: NetworkAlarm[];
}
