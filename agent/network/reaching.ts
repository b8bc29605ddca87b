import { parseIp, sameIp, type IpAddress } from '../platform/ip-address.ts';
import { ask, gatewayMs } from './asking.ts';
import { listIn, readDevices, type Device } from './ip-facts.ts';
import type { Reach } from './network.ts';
import type { NetworkContext } from './parts.ts';
import { ping } from './pinging.ts';
import { ownMacs, prove } from './proving.ts';
import { mapRole, readRoleMap } from './role-map.ts';
import { provingAddresses } from './segments.ts';

const routeMs = 5000;

/** See NetworkControl.reach. Different addresses are asked at the same time. */
export async function reachAll(context: NetworkContext, addresses: readonly string[]): Promise<Reach[]> {
  const devices = await readDevices(context.exec);
  const tried = await Promise.all(addresses.map((text) => reachOne(context, devices, text)));
  const silent = tried.filter(({ reachable, wasAsked }) => !reachable && !wasAsked).map(({ address }) => address);
  const answers = silent.length === 0 ? new Map<string, string>() : await askRoles(context, devices, silent);
  return tried.map(({ address, reachable, evidence }) => {
    const found = answers.get(address);
    return found === undefined ? { address, reachable, evidence } : { address, reachable: true, evidence: found };
  });
}

/**
 * A node that is not active often has no address on the segment of a role, and on a VLAN not even a device: no route
 * leads to the role's gateway then, but it answers on the role's port all the same. Ports that are off stay so.
 *
 * @returns evidence by address, of those that answer.
 */
async function askRoles(context: NetworkContext, devices: readonly Device[], addresses: readonly string[]): Promise<Map<string, string>> {
  const { config, roleMap, locked } = context;
  const map = readRoleMap(roleMap);
  const roles = config.roles.filter(
    (role) =>
      mapRole(role, config, map, devices)?.device.isUp === true && provingAddresses(role).some(({ text }) => addresses.includes(text)),
  );
  if (roles.length === 0) return new Map();
  const proofs = await locked(async () => {
    const proving = await prove(context, { roles: roles.map(({ name }) => name), segments: true, addresses: false });
    await proving.undo();
    return proving.proofs;
  });
  return new Map(
    proofs.flatMap(({ role, port, asked }) => {
      const vlan = roles.find(({ name }) => name === role)?.vlan ?? 0;
      const where = `${port}${vlan === 0 ? '' : `, VLAN ${vlan},`}`;
      return asked.flatMap(({ address, answeredBy }): [string, string][] =>
        answeredBy === null ? [] : [[address, `${address} answers on ${where} from ${answeredBy}`]],
      );
    }),
  );
}

/** `wasAsked`: on its own segment, so that there is nobody else to ask. */
async function reachOne(context: NetworkContext, devices: readonly Device[], text: string): Promise<Reach & { wasAsked: boolean }> {
  const address = parseIp(text);
  const answer = (reachable: boolean, evidence: string, wasAsked = false) => ({ address: text, reachable, evidence, wasAsked });
  if (address === null) return answer(false, `${text} is not an address`, true);
  const own = devices.find((device) => device.addresses.some((each) => sameIp(each.address, address)));
  // An address that answers from this very host says nothing about the rest of the world.
  if (own) return answer(false, `${text} is an address of this host, on ${own.ifname}`, true);
  const way = await routeTo(context, address);
  if (way === null) return answer(false, `no route to ${text}`);
  if (way.via === null) {
    const [seen] = await ask(context, [{ address, device: way.device, source: way.source, waitMs: gatewayMs }], ownMacs(devices));
    if (seen?.mac) return answer(true, `${text} answers on ${way.device} from ${seen.mac}`, true);
    return answer(false, `no answer from ${text} on ${way.device}${seen?.error ? `: ${seen.error}` : ''}`, true);
  }
  const result = await ping(context, ['-c', '2', '-i', '0.3', text]);
  if (result === null)
    return answer(false, `${text} is not on a segment of this host, and there is no ping to ask it with (package iputils-ping)`);
  return result ? answer(true, `${text} answers to ping, by ${way.via}`) : answer(false, `no answer to ping from ${text}, by ${way.via}`);
}

async function routeTo(
  context: NetworkContext,
  address: IpAddress,
): Promise<{ device: string; via: string | null; source: IpAddress | null } | null> {
  const result = await context.exec('ip', ['-json', `-${address.family}`, 'route', 'get', address.text], { timeoutMs: routeMs });
  if (result.code !== 0) return null;
  const [route] = listIn(result.stdout) as ({
    dev?: string;
    gateway?: string;
    via?: { host?: string };
    prefsrc?: string;
    type?: string;
  } | null)[];
  if (route?.dev === undefined || route.type === 'unreachable') return null;
  return { device: route.dev, via: route.gateway ?? route.via?.host ?? null, source: parseIp(route.prefsrc ?? '') };
}
