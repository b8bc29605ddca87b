import { z } from 'zod';

/**
 * What a node's network really is: its ports, and for each network role the addresses, VLAN, gateways and routes that
 * stand there now. Each node sends it to the other one continuously, so that it is known when the node is dead.
 */

/** Bounds of a network state (I12). Sizes in bytes. */
export const networkLimits = {
  /** A whole state as JSON. */
  stateBytesMax: 16 * 1024,
  rolesMax: 16,
  portsMax: 64,
  addressesPerRoleMax: 32,
  gatewaysPerRoleMax: 8,
  routesPerRoleMax: 64,
  /** Addresses of one port that are told; more are left out. */
  addressesPerPortMax: 32,
} as const;

const text = z.string().max(128);
/** `192.0.2.1` or `2001:db8::1`. */
const address = z.string().max(45);
/** An address or a network with its prefix length. */
const prefix = z.string().max(49);
const mac = z.string().regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/);

const port = z.strictObject({
  ifname: text,
  /** The permanent one where the port has one, otherwise the one in use. */
  mac,
  driver: text.nullable(),
  /** For example `0000:03:00.0`. */
  slot: text.nullable(),
  carrier: z.boolean(),
  /** Megabits per second. */
  speedMbits: z.number().int().min(0).nullable(),
  addresses: z.array(prefix).max(networkLimits.addressesPerPortMax),
});

const role = z.strictObject({
  name: text,
  /** 0 = untagged. */
  vlan: z.number().int().min(0).max(4094),
  /** Name of the mapped port; null when the role has none. */
  port: text.nullable(),
  /** All addresses of the port (of its VLAN) that others can reach, service addresses included. */
  addresses: z.array(prefix).max(networkLimits.addressesPerPortMax),
  /** Which of the role's service addresses are there. */
  held: z.array(address).max(networkLimits.addressesPerRoleMax),
  /** The role's gateways and the default gateways that are set through the port, and who answers for them; null = nobody, or not asked yet. */
  gateways: z.array(z.strictObject({ address, mac: mac.nullable() })).max(networkLimits.gatewaysPerRoleMax),
  routes: z.array(z.strictObject({ to: prefix, via: address.nullable() })).max(networkLimits.routesPerRoleMax),
});

export const networkStateSchema = z
  .strictObject({
    version: z.literal(1),
    node: text,
    /** ISO 8601. */
    at: z.string().max(32),
    ports: z.array(port).max(networkLimits.portsMax),
    roles: z.array(role).max(networkLimits.rolesMax),
  })
  .refine((state) => Buffer.byteLength(JSON.stringify(state)) <= networkLimits.stateBytesMax, {
    error: `a network state has at most ${networkLimits.stateBytesMax} bytes`,
  });

export type NetworkState = z.infer<typeof networkStateSchema>;
export type NetworkStatePort = NetworkState['ports'][number];
export type NetworkStateRole = NetworkState['roles'][number];

/**
 * A state within its bounds: what is too much is left out, ports without a role first.
 *
 * @throws when it does not fit even so, which a checked configuration rules out.
 */
export function boundState(state: NetworkState): NetworkState {
  const used = new Set(state.roles.map(({ port: name }) => name));
  const ports = [...state.ports].sort((a, b) => Number(used.has(b.ifname)) - Number(used.has(a.ifname))).slice(0, networkLimits.portsMax);
  for (let kept = ports.length; ; kept = Math.floor(kept / 2)) {
    const bounded = networkStateSchema.safeParse({
      ...state,
      ports: ports.slice(0, kept),
      roles: state.roles.map((each) => ({
        ...each,
        addresses: each.addresses.slice(0, kept === 0 ? 0 : networkLimits.addressesPerPortMax),
        routes: each.routes.slice(0, kept === 0 ? 0 : networkLimits.routesPerRoleMax),
      })),
    });
    if (bounded.success) return bounded.data;
    if (kept === 0) throw bounded.error;
  }
}
