import type { NetworkConfig } from '../config/takeover-sections/network.ts';
import { sleep } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import { errnoCode } from '../platform/files.ts';
import type { RouteSocket } from '../platform/route-socket.ts';
import type { NetworkContext } from './parts.ts';
import { routeProtocol } from './plan.ts';
import { parseChanges, type NetworkChange } from './rtnetlink.ts';
import type { TakingAgain } from './taking-again.ts';

/**
 * How often the kernel's messages are read. It is also what gathers the many that one command causes; a thread that
 * waits in the call would be woken sooner, and costs 5 MB.
 */
const readEveryMs = 100;
/** After a failure of `ip` or of the socket. */
const againMs = 1000;

/**
 * Looks whether service addresses and routes are in their place as soon as the kernel tells of a change that may concern them, and
 * when an earlier look wants another one. Until the signal fires.
 */
export async function watchChanges(context: NetworkContext, takingAgain: TakingAgain, signal: AbortSignal): Promise<void> {
  const { clock } = context;
  let socket: RouteSocket | null = null;
  /** What happened while nobody listened is found by looking. */
  let dueMs = clock.monotonicMs();
  let toldWhy = '';
  while (!signal.aborted) {
    try {
      socket ??= context.openRoutes();
      const changes = readChanges(socket);
      const concerning = changes === 'lost' || changes.filter((change) => concerns(change, context.config));
      if (concerning !== true) takingAgain.note(concerning);
      if (concerning === true || concerning.length > 0 || clock.monotonicMs() >= dueMs) {
        const waitMs = await takingAgain.look();
        dueMs = waitMs === null ? Number.POSITIVE_INFINITY : clock.monotonicMs() + waitMs;
      }
    } catch (error) {
      const code = error instanceof OperatorError ? error.code : errnoCode(error);
      if (code === undefined) throw error;
      const text = error instanceof Error ? error.message : String(error);
      if (text !== toldWhy) context.log.error({ code }, `watching the service addresses: ${text}`);
      toldWhy = text;
      if (!(error instanceof OperatorError)) {
        socket?.close();
        socket = null;
      }
      dueMs = clock.monotonicMs() + againMs;
      await sleep(clock, againMs, signal);
    }
    await sleep(clock, readEveryMs, signal);
  }
  socket?.close();
}

function readChanges(socket: RouteSocket): NetworkChange[] | 'lost' {
  const changes: NetworkChange[] = [];
  let isLost = false;
  for (let datagram = socket.receive(); datagram !== null; datagram = socket.receive()) {
    if (datagram === 'lost') isLost = true;
    else changes.push(...parseChanges(datagram));
  }
  return isLost ? 'lost' : changes;
}

/**
 * Whether a change may take something of ours away. Routes that go with their link or their source address, and IPv4
 * routes that another one replaced, go without a word of their own.
 */
export function concerns(change: NetworkChange, config: NetworkConfig): boolean {
  switch (change.what) {
    case 'link':
      return true;
    case 'address': {
      const { address, gone } = change;
      return gone || config.roles.some(({ addresses }) => addresses.some((own) => address?.equals(own.address.bytes)));
    }
    case 'route': {
      if (String(change.protocol) === routeProtocol) return change.gone;
      if (!change.replaces) return false;
      const { to, length } = change;
      if (to === null) return config.roles.some(({ isDefault }) => isDefault);
      return config.roles.some(({ routes }) => routes.some((own) => own.to.length === length && own.to.address.bytes.equals(to)));
    }
  }
}
