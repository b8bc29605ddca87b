import { errnoCode } from '../platform/files.ts';
import type { NetworkContext } from './parts.ts';

const waitSeconds = 1;
const timeoutMs = 5000;

/** Whether a host answers to ping (iputils); null when there is no such program. */
export async function ping({ exec }: NetworkContext, args: readonly string[]): Promise<boolean | null> {
  try {
    return (await exec('ping', ['-n', '-q', '-W', String(waitSeconds), ...args], { timeoutMs })).code === 0;
  } catch (error) {
    if (errnoCode(error) === 'ENOENT') return null;
    throw error;
  }
}

/**
 * Whether an answer comes back through the very device that the question left by. A router on the wrong segment sends
 * its answer to the network that this host's address belongs to, and that is not where the device is plugged in. False
 * also where this host has no address of that network yet.
 */
export async function returns(context: NetworkContext, device: string, address: string): Promise<boolean> {
  return (await ping(context, ['-c', '1', '-I', device, address])) === true;
}
