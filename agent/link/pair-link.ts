import type { TLSSocket } from 'node:tls';
import { sleep } from '../platform/clock.ts';
import type { Channel, ChannelEnd } from './channel.ts';
import { startConnector, type Address } from './connector.ts';
import type { Hello } from './handshake.ts';
import { startListener, type LinkOptions } from './listener.ts';

export interface PairLinkOptions extends LinkOptions {
  random: () => number;
  /** Awaited before this node calls: what the last connection brought must be in place. */
  ready: () => Promise<void>;
  /** A node that calls at once; the other one waits to be called, and calls only when nobody does. */
  calls: () => boolean;
  pairing: ((socket: TLSSocket, address: string) => void) | null;
  /** Addresses where the peer was met. */
  learned: () => readonly Address[];
  /** The peer was met at an address where it can be called. */
  met: (address: Address) => void;
}

export interface PairLink {
  /** The port that this node listens on. */
  readonly port: number;
  /** The connection that stands. */
  readonly channel: Channel | null;
  /** Why there is no connection, or why the last one ended. */
  readonly lastError: ChannelEnd | null;
  /** Ends the connection that stands: what this node said of itself is no longer true. A new one says what is. */
  renew(end: ChannelEnd): void;
  stop(): Promise<void>;
}

/** How long a node that waits to be called waits before it calls by itself. */
const patienceMs = 3000;
const lookMs = 100;

/**
 * The connection of the pair, whoever opened it. Both nodes listen, because a takeover turns them round; the standby
 * calls. When it does not, the other one calls in its stead: a primary that came back must learn that it was replaced.
 *
 * One connection stands at a time; a newer one takes the place of the older one.
 */
export async function startPairLink(options: PairLinkOptions): Promise<PairLink> {
  const { clock } = options;
  let current: Channel | null = null;
  let lostAt = clock.monotonicMs();
  const onChannel = (channel: Channel, hello: Hello, address: string, called: boolean): void => {
    const old = current;
    current = channel;
    old?.close({ code: 'replaced', detail: `a newer connection with ${hello.node} took its place` });
    if (!called && hello.port > 0) {
      const host = hostOf(address);
      if (host !== null) options.met({ host, port: hello.port });
    }
    void channel.ended.then(() => {
      if (current !== channel) return;
      current = null;
      lostAt = clock.monotonicMs();
    });
    options.onChannel(channel, hello, address);
  };
  const { pairing, ...rest } = options;
  const listener = await startListener({
    ...rest,
    onChannel: (channel, hello, address) => onChannel(channel, hello, address, false),
    learned: options.learned,
    ...(pairing ? { pairing } : {}),
  });
  const connector = startConnector({
    ...rest,
    onChannel: (channel, hello, address) => onChannel(channel, hello, address, true),
    async turn(signal) {
      while (!signal.aborted) {
        const patient = options.calls() ? 0 : patienceMs;
        if (current === null && clock.monotonicMs() - lostAt >= patient) return;
        await sleep(clock, lookMs, signal);
      }
    },
  });
  return {
    port: listener.port,
    get channel() {
      return current;
    },
    get lastError() {
      // The side that should have made the connection knows why there is none.
      return options.calls() ? (connector.lastError ?? listener.lastError) : listener.lastError;
    },
    renew(end) {
      current?.close(end);
    },
    async stop() {
      await Promise.all([connector.stop(), listener.stop()]);
    },
  };
}

/** `192.0.2.1:1234` or `[2001:db8::1]:1234` without the port. */
function hostOf(address: string): string | null {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):\d+$/.exec(address);
  return match?.[1] ?? match?.[2] ?? null;
}
