import { z } from 'zod';
import { networkLimits } from '../../../protocol/network-state.ts';
import { inNetwork, parseIp, parsePrefix, sameIp, whyNoHost, type IpAddress, type IpPrefix } from '../../platform/ip-address.ts';
import type { Problem } from '../places.ts';
import { list, section, shown, truth } from '../schema-parts.ts';

/** The section `network` after reading and checking: what moves with the active role, and how its places are recognised. */
export interface NetworkConfig {
  roles: NetworkRoleConfig[];
  /** Addresses that answer as long as this node is not the isolated one. */
  witnesses: IpAddress[];
}

export interface NetworkRoleConfig {
  name: string;
  /** Service addresses with the prefix of their network; they move with the active role. */
  addresses: IpPrefix[];
  /** 0 = untagged. */
  vlan: number;
  gateways: IpAddress[];
  routes: { to: IpPrefix; via: IpAddress }[];
  /** While the node is active, this role's gateways are the host's default routes. */
  isDefault: boolean;
  /** Further addresses whose answer proves the segment, beside the gateways. */
  proof: IpAddress[];
}

function parsed<T>(parse: (text: string) => T | null, write: string) {
  return z.string({ error: (issue) => `${shown(issue.input)} is not ${write}` }).transform((text, context): T => {
    const value = parse(text);
    if (value !== null) return value;
    context.addIssue({ code: 'custom', message: `${shown(text)} is not ${write}` });
    return z.NEVER;
  });
}

const address = parsed(parseIp, 'an address, for example 192.0.2.1 or 2001:db8::1');
const serviceAddress = parsed(parsePrefix, 'an address with its prefix length, for example 192.0.2.10/24 or 2001:db8::10/64').refine(
  (prefix) => whyNoHost(prefix.address) === null,
  {
    error: (issue) =>
      `${shown((issue.input as IpPrefix).address.text)} is ${whyNoHost((issue.input as IpPrefix).address)}, which cannot move`,
  },
);
const route = z.strictObject(
  {
    to: parsed(parsePrefix, 'a network, for example 198.51.100.0/24').meta({
      form: 'a network, for example 198.51.100.0/24',
      description: 'Where the route leads.',
    }),
    via: address.meta({ form: 'an address', description: 'The router of the segment that leads there.' }),
  },
  section,
);

const vlan = z
  .number({ error: (issue) => `${shown(issue.input)} is not a VLAN number from 0 (untagged) to 4094` })
  .refine((n) => Number.isInteger(n) && n >= 0 && n <= 4094, {
    error: (issue) => `${shown(issue.input)} is not a VLAN number from 0 (untagged) to 4094`,
  });

const role = z.strictObject({
  name: z
    .string({ error: (issue) => `${shown(issue.input)} is not a name` })
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,30}$/, {
      error: (issue) => `${shown(issue.input)} is not a name of letters, digits, '.', '_' and '-' with at most 31 characters`,
    })
    .meta({
      form: 'a name of at most 31 characters',
      description: 'What the segment is for, such as `lan` or `dmz`; the same names on both nodes.',
    }),
  addresses: z
    .array(serviceAddress, list('a list of addresses'))
    .min(1, 'a role has at least one address')
    .max(networkLimits.addressesPerRoleMax, `a role has at most ${networkLimits.addressesPerRoleMax} addresses`)
    .meta({
      form: 'a list of addresses with prefix length, IPv4 or IPv6',
      description:
        'Service addresses, which move with the active role. When something removes them from the active node, or its routes, that is told, and they are set again within a second.',
    }),
  vlan: vlan.default(0).meta({
    form: 'a VLAN number from 0 to 4094',
    description: 'VLAN on the port of the role; 0 = untagged.',
  }),
  gateways: z
    .array(address, list('a list of addresses'))
    .max(networkLimits.gatewaysPerRoleMax, `at most ${networkLimits.gatewaysPerRoleMax} gateways`)
    .default([])
    .meta({
      form: 'a list of addresses',
      description: 'Gateways of the segment. A service address goes only to a port on which one of them answers.',
    }),
  routes: z
    .array(route, list('a list of routes, each with to and via'))
    .max(networkLimits.routesPerRoleMax, `at most ${networkLimits.routesPerRoleMax} routes`)
    .default([])
    .meta({ form: 'a list of `{ to, via }`', description: 'Further routes while this node is active.' }),
  default: truth.default(false).meta({
    description: 'With `true` the first gateway of each family is the default route while this node is active.',
  }),
  proof: z.array(address, list('a list of addresses')).max(8, 'at most 8 addresses').default([]).meta({
    form: 'a list of at most 8 addresses',
    description: 'Other hosts of the segment whose answer proves it as well.',
  }),
});

export const networkSection = z.strictObject(
  {
    roles: z
      .array(role, list('a list of roles, each with name and addresses'))
      .min(1, 'at least one role is needed')
      .max(networkLimits.rolesMax, `at most ${networkLimits.rolesMax} roles`),
    witnesses: z.array(address, list('a list of addresses')).max(8, 'at most 8 witnesses').default([]).meta({
      form: 'a list of at most 8 addresses',
      description: 'Addresses that answer as long as this node is not the one that is cut off.',
    }),
  },
  section,
);

export type NetworkForm = z.output<typeof networkSection>;

/** The keys of each part, for "did you mean". */
export const networkKeys: Record<string, string[]> = {
  network: Object.keys(networkSection.shape),
  'network.roles': Object.keys(role.shape),
  'network.roles.routes': Object.keys(route.shape),
};

export function toNetworkConfig(form: NetworkForm): NetworkConfig {
  return {
    roles: form.roles.map(({ default: isDefault, ...rest }) => ({ ...rest, isDefault })),
    witnesses: form.witnesses,
  };
}

/** What single values cannot tell: names and addresses that stand twice, gateways that the role cannot reach, two defaults of one family. */
export function checkNetwork(form: NetworkForm): Problem[] {
  const problems: Problem[] = [];
  const seen: { address: IpAddress; role: string }[] = [];
  const defaults = new Map<number, string>();
  form.roles.forEach((each, i) => {
    const at = (...keys: (string | number)[]): (string | number)[] => ['network', 'roles', i, ...keys];
    const complain = (path: (string | number)[], what: string, remedy: string) => void problems.push({ path, what, remedy });
    if (form.roles.slice(0, i).some((other) => other.name === each.name))
      complain(at('name'), `the name "${each.name}" is used twice`, 'Give each role a name of its own; the same names on both nodes.');
    each.addresses.forEach(({ address: own }, n) => {
      const other = seen.find((known) => sameIp(known.address, own));
      if (other) complain(at('addresses', n), `${own.text} stands in role "${other.role}" already`, 'Name each address once.');
      seen.push({ address: own, role: each.name });
    });
    const isReachable = (to: IpAddress) => each.addresses.some((own) => inNetwork(to, own) && !sameIp(to, own.address));
    // An IPv6 router usually goes by its link-local address, which every port can reach.
    const isLinkLocal = (to: IpAddress) => to.family === 6 && whyNoHost(to) === 'a link-local address';
    each.gateways.forEach((to, n) => {
      if (!isReachable(to) && !isLinkLocal(to))
        complain(
          at('gateways', n),
          `${to.text} is in no network of the role's addresses`,
          'Correct the gateway, or the prefix length of an address.',
        );
    });
    each.proof.forEach((to, n) => {
      if (!isReachable(to) && !isLinkLocal(to))
        complain(at('proof', n), `${to.text} is in no network of the role's addresses`, 'Name a host of the same segment.');
    });
    each.routes.forEach(({ to, via }, n) => {
      if (to.address.family !== via.family)
        complain(
          at('routes', n),
          `${to.address.text} and ${via.text} are not of the same family`,
          'Route IPv4 over IPv4 and IPv6 over IPv6.',
        );
      else if (!isReachable(via) && !isLinkLocal(via))
        complain(at('routes', n), `${via.text} is in no network of the role's addresses`, 'Correct the route.');
    });
    if (!each.default) return;
    if (each.gateways.length === 0)
      complain(at('default'), 'the role has no gateways to be the default', 'Add `gateways:`, or remove `default: true`.');
    for (const family of new Set(each.gateways.map((to) => to.family))) {
      const other = defaults.get(family);
      if (other !== undefined)
        complain(at('default'), `role "${other}" has the default gateway of IPv${family} already`, 'Only one role can be the default.');
      defaults.set(family, each.name);
    }
  });
  return problems;
}
