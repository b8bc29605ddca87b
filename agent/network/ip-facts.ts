import { z } from 'zod';
import { OperatorError } from '../platform/errors.ts';
import type { Exec, ExecResult } from '../platform/exec.ts';
import { errnoCode } from '../platform/files.ts';
import { parseIp, type IpAddress, type IpPrefix } from '../platform/ip-address.ts';

/** What `ip` tells of one network device: a port, a VLAN on one, a bridge. */
export interface Device {
  ifname: string;
  index: number;
  /** The address in use. */
  mac: string;
  /** The one it was made with, where the kernel knows it; otherwise the one in use. */
  permanentMac: string;
  /** Switched on by the administrator. */
  isUp: boolean;
  carrier: boolean;
  /** `vlan`, `bond`, `bridge`, `veth` ...; null for hardware. */
  kind: string | null;
  isLoopback: boolean;
  isEthernet: boolean;
  /** The bond or bridge that it is a part of. */
  master: string | null;
  /** For a VLAN: the device below it, and its number. */
  vlan: { link: string; id: number } | null;
  /** Where the hardware sits, for example `0000:03:00.0`. */
  slot: string | null;
  alias: string | null;
  addresses: DeviceAddress[];
}

export interface DeviceAddress extends IpPrefix {
  scope: string;
  /** False while duplicate address detection runs, or when it found another host. */
  isUsable: boolean;
}

export interface Route {
  /** `default`, or a network or address as `ip` shows it. */
  to: string;
  via: IpAddress | null;
  device: string;
  /** The address that what takes this route comes from; null when the kernel chooses. It forgets it when that address goes. */
  source: IpAddress | null;
  /** The number or name of who made it, as `ip` shows it. */
  protocol: string;
  family: 4 | 6;
}

const deviceJson = z.looseObject({
  ifindex: z.number(),
  ifname: z.string(),
  flags: z.array(z.string()).default([]),
  link: z.string().optional(),
  master: z.string().optional(),
  link_type: z.string().default(''),
  address: z.string().default(''),
  permaddr: z.string().optional(),
  parentdev: z.string().optional(),
  ifalias: z.string().optional(),
  linkinfo: z
    .looseObject({ info_kind: z.string().optional(), info_data: z.looseObject({ id: z.number().optional() }).optional() })
    .optional(),
  addr_info: z
    .array(
      z.looseObject({
        local: z.string().optional(),
        prefixlen: z.number().optional(),
        scope: z.string().default(''),
        tentative: z.boolean().optional(),
        dadfailed: z.boolean().optional(),
      }),
    )
    .default([]),
});

const routeJson = z.looseObject({
  dst: z.string(),
  gateway: z.string().optional(),
  via: z.looseObject({ host: z.string() }).optional(),
  dev: z.string().optional(),
  prefsrc: z.string().optional(),
  protocol: z.string().default(''),
});

/** Reads the output of `ip -json -details address show`. */
export function parseDevices(json: string): Device[] {
  return listIn(json).flatMap((each) => {
    // Where a device vanished meanwhile, `ip` leaves an empty object.
    const found = deviceJson.safeParse(each);
    return found.success ? [deviceOf(found.data)] : [];
  });
}

/** What `ip -json` printed. @throws OperatorError `ip-command` when it is no list: another program, or one that was ended in the midst. */
export function listIn(json: string): unknown[] {
  try {
    const list: unknown = JSON.parse(json.trim() === '' ? '[]' : json);
    if (Array.isArray(list)) return list;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new OperatorError(
    'ip-command',
    `what the program ip printed is no list in JSON: ${JSON.stringify(json.slice(0, 80))}`,
    'install the package iproute2 of this release, and look at what `ip -json address show` prints',
  );
}

function deviceOf(json: z.infer<typeof deviceJson>): Device {
  const id = json.linkinfo?.info_kind === 'vlan' ? json.linkinfo.info_data?.id : undefined;
  return {
    ifname: json.ifname,
    index: json.ifindex,
    mac: json.address,
    permanentMac: json.permaddr ?? json.address,
    isUp: json.flags.includes('UP'),
    carrier: json.flags.includes('LOWER_UP') && !json.flags.includes('NO-CARRIER'),
    kind: json.linkinfo?.info_kind ?? null,
    isLoopback: json.flags.includes('LOOPBACK'),
    isEthernet: json.link_type === 'ether',
    master: json.master ?? null,
    vlan: id !== undefined && json.link !== undefined ? { link: json.link, id } : null,
    slot: json.parentdev ?? null,
    alias: json.ifalias ?? null,
    addresses: json.addr_info.flatMap(({ local, prefixlen, scope, tentative, dadfailed }) => {
      const address = parseIp(local ?? '');
      return address ? [{ address, length: prefixlen ?? address.bytes.length * 8, scope, isUsable: !tentative && !dadfailed }] : [];
    }),
  };
}

/** Reads the output of `ip -json -4 route show` or `-6`. */
export function parseRoutes(json: string, family: 4 | 6): Route[] {
  return listIn(json).flatMap((each) => {
    const found = routeJson.safeParse(each);
    if (!found.success || found.data.dev === undefined) return [];
    const { dst, gateway, via, dev, prefsrc, protocol } = found.data;
    return [{ to: dst, via: parseIp(gateway ?? via?.host ?? ''), device: dev, source: parseIp(prefsrc ?? ''), protocol, family }];
  });
}

export async function readDevices(exec: Exec): Promise<Device[]> {
  return parseDevices((await ip(exec, ['-json', '-details', 'address', 'show'])).stdout);
}

export async function readRoutes(exec: Exec): Promise<Route[]> {
  const [v4, v6] = await Promise.all([ip(exec, ['-json', '-4', 'route', 'show']), ip(exec, ['-json', '-6', 'route', 'show'])]);
  return [...parseRoutes(v4.stdout, 4), ...parseRoutes(v6.stdout, 6)];
}

const neighbourJson = z.looseObject({ dst: z.string(), dev: z.string().default(''), lladdr: z.string().optional() });

/** Where the kernel's own traffic found the neighbours of a device: port by address. */
export async function readNeighbours(exec: Exec): Promise<{ address: string; device: string; mac: string }[]> {
  const { stdout } = await ip(exec, ['-json', 'neighbour', 'show']);
  return listIn(stdout).flatMap((each) => {
    const found = neighbourJson.safeParse(each);
    const address = found.success ? parseIp(found.data.dst) : null;
    const mac = found.success ? found.data.lladdr : undefined;
    return found.success && address && mac !== undefined ? [{ address: address.text, device: found.data.dev, mac }] : [];
  });
}

const ipMs = 5000;

/**
 * Runs `ip` of iproute2. `input` is what `-batch -` reads.
 *
 * @throws OperatorError `ip-command` when it fails or is not there.
 */
export async function ip(exec: Exec, args: readonly string[], input?: string): Promise<ExecResult> {
  let result: ExecResult;
  try {
    result = await exec('ip', args, { timeoutMs: ipMs, ...(input === undefined ? {} : { input }) });
  } catch (error) {
    const code = errnoCode(error);
    if (code === undefined) throw error;
    throw new OperatorError(
      'ip-command',
      `the program ip cannot be run: ${code}`,
      'install the package iproute2, and run the agent as root',
    );
  }
  if (result.code === 0) return result;
  const why = result.timedOut ? `no end within ${ipMs} ms` : result.stderr.trim().split('\n').join('; ') || `exit code ${result.code}`;
  throw new OperatorError(
    'ip-command',
    `ip ${args.join(' ')}: ${why}`,
    'run the command by hand to see why; the agent needs root (CAP_NET_ADMIN)',
  );
}
