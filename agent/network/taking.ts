import { sameIp } from '../platform/ip-address.ts';
import { OperatorError } from '../platform/errors.ts';
import { errnoCode } from '../platform/files.ts';
import type { FrameKind, PacketPort } from '../platform/packet-socket.ts';
import { announcements, question } from './frames.ts';
import { readDevices, readRoutes, type Device } from './ip-facts.ts';
import type { AddressProbe, SegmentProof } from './network.ts';
import type { NetworkContext } from './parts.ts';
import { deviceName, releaseSteps, takeSteps } from './plan.ts';
import { prove } from './proving.ts';
import { runAll, runSteps } from './steps.ts';

/** Exit code of what a guard refused before anything was changed (protocol/control.ts). */
const refused = 3;
/** Exit code of what was taken back after it failed. */
const rolledBack = 4;

/** See NetworkControl.take; gives what proved the segments. Called under the lock. */
export async function take(context: NetworkContext, say: (text: string) => void): Promise<SegmentProof[]> {
  const { config, exec, log } = context;
  if (config.roles.length === 0) return [];
  // Read while the answers are awaited; whether it went well is looked at where the routes are used.
  const routes = readRoutes(exec);
  routes.catch(() => {});
  const proving = await prove(context, { segments: true, addresses: true });
  try {
    proving.proofs.forEach(refuseSegment);
    for (const probe of proving.probes) if (!(probe.isProxy && context.despiteProxy)) refuseAnswered(probe);
  } catch (error) {
    await proving.undo();
    throw error;
  }
  for (const { role, evidence } of proving.proofs) say(`${role}: ${evidence}`);
  const free = proving.probes.filter(({ answeredBy }) => answeredBy === null);
  if (free.length > 0) say(`nobody answers for ${free.map(({ address }) => address).join(', ')}`);
  for (const { address, answeredBy } of proving.probes)
    if (answeredBy !== null) say(`${answeredBy} answers for ${address} as it does for everybody (proxy ARP): passed over`);
  try {
    await runSteps(exec, log, takeSteps(config, proving.placed, proving.devices, await routes));
  } catch (error) {
    await proving.undo();
    if (!(error instanceof OperatorError)) throw error;
    throw new OperatorError(error.code, error.message, error.remedy, rolledBack);
  }
  const held = announceThere(
    context,
    proving.placed.flatMap((each) =>
      each.role.addresses.map(({ address }) => ({
        address: address.text,
        role: each.role.name,
        device: deviceName(each, proving.devices),
      })),
    ),
  );
  say(`${held.map(({ address }) => address).join(', ')} taken and announced`);
  return proving.proofs;
}

export function refuseSegment(proof: SegmentProof): void {
  if (proof.level !== 'fail' || proof.code === null) return;
  const remedies = {
    'nic-unmapped': `mailtwin nics shows the ports; mailtwin nics assign ${proof.role} PORT`,
    'no-carrier': 'plug the cable in, or assign the role to another port: mailtwin nics assign',
    'segment-unproven': `look whether cables are swapped (mailtwin nics identify); if the gateway itself is dead, or is a new one: mailtwin nics assign ${proof.role} ${proof.port ?? 'PORT'} --unproven`,
  };
  throw new OperatorError(proof.code, `role ${proof.role}: ${proof.evidence}`, remedies[proof.code], refused);
}

/** @throws OperatorError `address-taken` or `segment-unproven` when the probe does not say that the address is free. */
export function refuseAnswered({ address, role, answeredBy, error, isProxy }: AddressProbe): void {
  if (answeredBy !== null && isProxy)
    throw new OperatorError(
      'address-taken',
      `role ${role}: ${address} is answered by the gateway, ${answeredBy}, which answers for addresses that nobody has, too (proxy ARP)`,
      'turn proxy ARP off on the gateway; a failover after a proof of fencing goes on with `--override addresses-free`',
      refused,
    );
  if (answeredBy !== null)
    throw new OperatorError(
      'address-taken',
      `role ${role}: ${address} is answered by somebody else, ${answeredBy}`,
      'the other node still has it, or another host does: fence or stop that one first',
      refused,
    );
  if (error !== null)
    throw new OperatorError(
      'segment-unproven',
      `role ${role}: nobody could be asked for ${address}: ${error}`,
      'mailtwin nics shows the ports',
      refused,
    );
}

/**
 * See NetworkControl.release. Called under the lock.
 *
 * @throws OperatorError `ip-command` when something of ours still stands after all attempts.
 */
export async function release({ config, exec, log }: NetworkContext): Promise<void> {
  let last: OperatorError | null = null;
  // What vanishes between looking and removing, such as a route with its address, is looked at again.
  for (let attempt = 0; attempt < 3; attempt++) {
    const [devices, routes] = await Promise.all([readDevices(exec), readRoutes(exec)]);
    const commands = releaseSteps(config, devices, routes);
    if (commands.length === 0) return;
    last = (await runAll(exec, commands)) ?? last;
    if (last) log.debug({ code: last.code }, last.message);
  }
  if (releaseSteps(config, await readDevices(exec), await readRoutes(exec)).length === 0) return;
  throw (
    last ??
    new OperatorError(
      'ip-command',
      'service addresses come back as soon as they are removed',
      'look what else configures them on this host',
    )
  );
}

export interface HeldAddress {
  address: string;
  role: string;
  device: string;
}

/** Where each service address is now. */
export function heldAddresses({ config }: NetworkContext, devices: readonly Device[]): HeldAddress[] {
  return config.roles.flatMap((role) =>
    role.addresses.flatMap((own) =>
      devices
        .filter((device) => device.addresses.some(({ address }) => sameIp(address, own.address)))
        .map((device) => ({ address: own.address.text, role: role.name, device: device.ifname })),
    ),
  );
}

/**
 * Tells every segment once where the held service addresses are. Gateways are also asked in the addresses' names, because
 * some heed no announcement but learn from every question (RFC 826; RFC 4861, 7.2.3).
 */
export function announceHeld(context: NetworkContext, devices: readonly Device[]): HeldAddress[] {
  return announceThere(context, heldAddresses(context, devices));
}

/** As `announceHeld`, for some of them. */
export function announceThere(context: NetworkContext, held: HeldAddress[]): HeldAddress[] {
  const ports = new Map<string, PacketPort>();
  try {
    for (const { address, role: name, device } of held) {
      const role = context.config.roles.find((each) => each.name === name);
      const own = role?.addresses.find((each) => each.address.text === address)?.address;
      if (!role || !own) continue;
      const kind: FrameKind = own.family === 4 ? 'arp' : 'ndp';
      try {
        const port = ports.get(`${kind} ${device}`) ?? context.openPort(device, kind);
        ports.set(`${kind} ${device}`, port);
        for (const frame of announcements(port.mac, own)) port.send(frame);
        for (const gateway of role.gateways) if (gateway.family === own.family) port.send(question(port.mac, gateway, own));
      } catch (error) {
        // A port that went down right now: the next round announces again, and the alarm tells.
        if (errnoCode(error) === undefined) throw error;
        context.log.warn({ code: errnoCode(error), address, device }, 'an address cannot be announced');
      }
    }
  } finally {
    for (const port of ports.values()) port.close();
  }
  return held;
}
