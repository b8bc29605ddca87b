import { sleep } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import { errnoCode } from '../platform/files.ts';
import { findPort } from './assigning.ts';
import { ip, readDevices, type Device } from './ip-facts.ts';
import type { PortEvent } from './network.ts';
import type { NetworkContext } from './parts.ts';
import { isPort } from './role-map.ts';
import { rolesByPort } from './reading.ts';

/** A person pulls a cable: a look four times a second misses none, and costs a few milliseconds each. */
const lookEveryMs = 250;
/** The light blinks in pieces, so that it ends soon after the signal. */
const blinkPieceSeconds = 2;

/**
 * See NetworkControl.identify. A port that is switched off sees no cable; those are on while this runs, without any
 * address of the configuration's, and off again afterwards.
 */
export async function* identify(context: NetworkContext, signal: AbortSignal): AsyncGenerator<PortEvent> {
  const { exec, clock, log } = context;
  const first = await readDevices(exec);
  const off = first.filter((device) => isPort(device) && !device.isUp).map(({ ifname }) => ifname);
  try {
    for (const name of off) await ip(exec, ['link', 'set', 'dev', name, 'up']);
    // A card that was just switched on finds its link within seconds: that is no cable that somebody plugged.
    let settling = new Map(off.map((name) => [name, clock.monotonicMs() + 5000]));
    let before = carriers(first);
    while (!signal.aborted) {
      await sleep(clock, lookEveryMs, signal);
      if (signal.aborted) return;
      const devices = await readDevices(exec);
      const now = carriers(devices);
      const roles = rolesByPort(context, devices);
      settling = new Map([...settling].filter(([, until]) => clock.monotonicMs() < until));
      for (const device of devices) {
        const had = before.get(device.ifname);
        const has = now.get(device.ifname);
        if (had === undefined || has === undefined || had === has) continue;
        if (has && settling.delete(device.ifname)) continue;
        yield eventOf(device, has, roles.get(device.ifname) ?? []);
      }
      before = now;
    }
  } finally {
    for (const name of off) {
      await ip(exec, ['link', 'set', 'dev', name, 'down']).catch((error: unknown) => {
        // The port may have been pulled out altogether.
        if (!(error instanceof OperatorError)) throw error;
        log.warn({ port: name }, error.message);
      });
    }
  }
}

function carriers(devices: readonly Device[]): Map<string, boolean> {
  return new Map(devices.filter(isPort).map(({ ifname, carrier }) => [ifname, carrier]));
}

function eventOf(device: Device, has: boolean, roles: string[]): PortEvent {
  return { ifname: device.ifname, mac: device.permanentMac, slot: device.slot, roles, what: has ? 'plugged' : 'pulled' };
}

/** See NetworkControl.blink. */
export async function blink(
  { exec, clock, ethtool, oneLight }: NetworkContext,
  named: string,
  seconds: number,
  signal: AbortSignal,
): Promise<void> {
  const { ifname } = findPort(named, await readDevices(exec));
  const until = clock.monotonicMs() + seconds * 1000;
  while (!signal.aborted && clock.monotonicMs() < until) {
    try {
      await oneLight(() => ethtool.blink(ifname, blinkPieceSeconds));
    } catch (error) {
      if (errnoCode(error) === undefined) throw error;
      throw new OperatorError(
        'no-light',
        `the driver of ${ifname} cannot blink its light, or another program lets one blink right now`,
        'end a running ethtool -p; otherwise pull a cable and watch: mailtwin nics identify',
      );
    }
  }
}
