import { parseIp, sameIp, type IpAddress } from '../platform/ip-address.ts';
import { ask, gatewayMs } from './asking.ts';
import { readDevices, type Device } from './ip-facts.ts';
import type { Reach } from './network.ts';
import type { NetworkContext } from './parts.ts';
import { ping } from './pinging.ts';
import { ownMacs } from './proving.ts';

const routeMs = 5000;

/** See NetworkControl.reach. Different addresses are asked at the same time. */
export async function reachAll(context: NetworkContext, addresses: readonly string[]): Promise<Reach[]> {
  const devices = await readDevices(context.exec);
  return Promise.all(addresses.map((text) => reachOne(context, devices, text)));
}

async function reachOne(context: NetworkContext, devices: readonly Device[], text: string): Promise<Reach> {
  const address = parseIp(text);
  if (address === null) return { address: text, reachable: false, evidence: `${text} is not an address` };
  const answer = (reachable: boolean, evidence: string): Reach => ({ address: text, reachable, evidence });
  const own = devices.find((device) => device.addresses.some((each) => sameIp(each.address, address)));
  // An address that answers from this very host says nothing about the rest of the world.
  if (own) return answer(false, `${text} is an address of this host, on ${own.ifname}`);
  const way = await routeTo(context, address);
  if (way === null) return answer(false, `no route to ${text}`);
  if (way.via === null) {
    const [seen] = await ask(context, [{ address, device: way.device, source: way.source, waitMs: gatewayMs }], ownMacs(devices));
    if (seen?.mac) return answer(true, `${text} answers on ${way.device} from ${seen.mac}`);
    return answer(false, `no answer from ${text} on ${way.device}${seen?.error ? `: ${seen.error}` : ''}`);
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
  const [route] = JSON.parse(result.stdout) as {
    dev?: string;
    gateway?: string;
    via?: { host?: string };
    prefsrc?: string;
    type?: string;
  }[];
  if (route?.dev === undefined || route.type === 'unreachable') return null;
  return { device: route.dev, via: route.gateway ?? route.via?.host ?? null, source: parseIp(route.prefsrc ?? '') };
}
