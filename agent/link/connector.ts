import { connect as tlsConnect, type TLSSocket } from 'node:tls';
import { WebSocket } from 'ws';
import { limits } from '../../protocol/limits.ts';
import { sleep } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import { backoffMs } from './backoff.ts';
import type { ChannelEnd } from './channel.ts';
import { makeHello, shakeHands, type Hello } from './handshake.ts';
import { fingerprintOf, shortFingerprint } from './identity.ts';
import { bulkAllowance, linkPath, refusalHeader, refusedPath, type LinkOptions } from './listener.ts';
import { PeerChannel } from './peer-channel.ts';
import { judgeKey, readRefusal, refusalBody } from './pin-check.ts';
import type { PinnedPeer } from './pins.ts';
import { clientTls, peerSpki } from './tls.ts';

export interface Address {
  host: string;
  port: number;
}

export interface Connector {
  readonly state: 'unpaired' | 'connecting' | 'connected' | 'waiting' | 'stopped';
  /** Why there is no connection, or why the last one ended. */
  readonly lastError: ChannelEnd | null;
  stop(): Promise<void>;
}

export interface ConnectorOptions extends LinkOptions {
  /** From 0 to 1, for the jitter. */
  random: () => number;
  /** Awaited before each attempt: what the last connection brought must be in place before a hello says where this node stands. */
  ready?: () => Promise<void>;
  /** Awaited before each attempt, after `ready`: until it is this node's turn to call. */
  turn?: (signal: AbortSignal) => Promise<void>;
  /** Addresses where the peer was met, beside those of the configuration and of pairing. */
  learned?: () => readonly Address[];
}

/** How often an unpaired node looks whether it was paired meanwhile. */
const unpairedPollMs = 500;
/** A connection that held for this long was a good one: the next attempt follows soon. */
const heldMs = 5000;

/**
 * Keeps a connection to the peer, for ever: every known address in order, then a pause that grows.
 */
export function startConnector(options: ConnectorOptions): Connector {
  const { config, pins, clock, log } = options;
  const stopping = new AbortController();
  let state: Connector['state'] = 'connecting';
  let lastError: ChannelEnd | null = null;
  let channel: PeerChannel | null = null;

  const failed = (end: ChannelEnd) => {
    const repeated = lastError?.code === end.code && lastError.detail === end.detail;
    lastError = end;
    log[repeated ? 'debug' : 'warn']({ code: end.code }, `no connection to the peer: ${end.detail}`);
  };

  /** Tries each address; returns how long the connection held, 0 when there was none. */
  const round = async (pin: PinnedPeer): Promise<number> => {
    const failures: { end: ChannelEnd; address: string }[] = [];
    for (const target of addressesOf(config.peer.addresses, pin, options.learned?.() ?? [])) {
      if (stopping.signal.aborted) return 0;
      const address = showAddress(target);
      const outcome = await openLink(options, pin, target, stopping.signal);
      if ('end' in outcome) {
        failures.push({ end: outcome.end, address });
        continue;
      }
      channel = outcome.channel;
      state = 'connected';
      lastError = null;
      const sinceMs = clock.monotonicMs();
      log.info(
        {
          address,
          peer: outcome.hello.node,
          mine: shortFingerprint(options.identity.fingerprint),
          theirs: shortFingerprint(pin.fingerprint),
        },
        `connected to ${outcome.hello.node}`,
      );
      const end = await channel.ended;
      channel = null;
      lastError = end;
      log.info({ address, code: end.code }, `connection to ${pin.node} ended: ${end.detail}`);
      return Math.max(1, clock.monotonicMs() - sinceMs);
    }
    // A reason that a person must act on says more than an address that does not answer.
    const first = failures.find(({ end }) => end.code !== 'unreachable') ?? failures[0];
    if (first)
      failed({
        code: first.end.code,
        detail: failures.map(({ end, address }) => (end.detail.includes(address) ? end.detail : `${address}: ${end.detail}`)).join('; '),
      });
    else failed({ code: 'no-address', detail: `no address of ${pin.node} is known; put one into \`peer.addresses\`` });
    return 0;
  };

  const run = async (): Promise<void> => {
    let failures = 0;
    while (!stopping.signal.aborted) {
      const pin = readPin();
      if (pin === null) {
        await sleep(clock, unpairedPollMs, stopping.signal);
        continue;
      }
      state = 'connecting';
      await options.ready?.();
      await options.turn?.(stopping.signal);
      if (stopping.signal.aborted) return;
      const heldForMs = await round(pin);
      if (stopping.signal.aborted) return;
      failures = heldForMs >= heldMs ? 0 : failures + 1;
      state = 'waiting';
      await sleep(clock, backoffMs(failures - 1, options.random()), stopping.signal);
    }
  };

  const readPin = (): PinnedPeer | null => {
    try {
      const pin = pins.read();
      if (pin === null) state = 'unpaired';
      return pin;
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      failed({ code: error.code, detail: error.message });
      state = 'unpaired';
      return null;
    }
  };

  const running = run();
  return {
    get state() {
      return state;
    },
    get lastError() {
      return lastError;
    },
    async stop() {
      stopping.abort();
      channel?.close({ code: 'stopping', detail: `${config.node} is being stopped` });
      await running;
      state = 'stopped';
    },
  };
}

/** Those of the configuration first, then where pairing found the peer, then where it was met since. */
function addressesOf(configured: readonly Address[], pin: PinnedPeer, learned: readonly Address[]): Address[] {
  const all = [...configured, ...pin.addresses, ...learned];
  return all.filter((address, i) => all.findIndex((other) => other.host === address.host && other.port === address.port) === i);
}

function showAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** One attempt at one address: TCP, TLS, the peer's key, WebSocket, first messages. Bounded by `handshakeMs` each for TLS and the rest. */
function openLink(
  options: LinkOptions,
  pin: PinnedPeer,
  target: Address,
  signal: AbortSignal,
): Promise<{ channel: PeerChannel; hello: Hello } | { end: ChannelEnd }> {
  const { config, identity, clock } = options;
  const address = showAddress(target);
  return new Promise((resolve) => {
    const socket = tlsConnect(clientTls(identity, 'link', target));
    let settled = false;
    const settle = (result: { channel: PeerChannel; hello: Hello } | { end: ChannelEnd }) => {
      if (settled) return;
      settled = true;
      timer.cancel();
      signal.removeEventListener('abort', onAbort);
      resolve(result);
    };
    const fail = (code: string, detail: string) => {
      if (settled) return;
      settle({ end: { code, detail } });
      // Lets a last message leave; a socket that cannot end by itself is cut.
      socket.end();
      const cut = clock.after(500, () => socket.destroy());
      socket.once('close', () => cut.cancel());
    };
    const onAbort = () => {
      settle({ end: { code: 'stopping', detail: 'this node is being stopped' } });
      socket.destroy();
    };
    const timer = clock.after(limits.handshakeMs, () => {
      fail('unreachable', `${address} did not answer within ${limits.handshakeMs / 1000} s`);
      socket.destroy();
    });
    signal.addEventListener('abort', onAbort);
    let secure = false;
    socket.on('error', (error) => fail(secure ? 'connection-lost' : 'unreachable', `${address}: ${error.message}`));
    socket.on('close', () => fail('connection-lost', `${address} closed the connection`));
    socket.once('secureConnect', () => {
      secure = true;
      if (settled) return;
      socket.setNoDelay(true);
      const spki = peerSpki(socket);
      const wrong = judgeKey(pin, spki, address);
      if (wrong) {
        tellRefusal(socket, judgeKey(pin, spki, 'the node that listens')?.detail ?? wrong.detail);
        options.log.debug(
          { mine: shortFingerprint(identity.fingerprint), theirs: spki ? shortFingerprint(fingerprintOf(spki)) : 'none' },
          'keys',
        );
        return fail(wrong.code, wrong.detail);
      }
      const ws = new WebSocket(`ws://${address}${linkPath}`, {
        createConnection: () => socket,
        perMessageDeflate: false,
        maxPayload: limits.frameBytesMax,
        skipUTF8Validation: true,
        followRedirects: false,
      });
      ws.on('unexpected-response', (_request, response) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (part: string) => (body = (body + part).slice(0, 8192)));
        response.on('close', () => {
          const told = readRefusal(body);
          fail(
            told?.code ?? 'refused',
            `${address} refused this node: ${told?.detail ?? `HTTP ${response.statusCode ?? 0}`} (this node's key is ${shortFingerprint(identity.fingerprint)})`,
          );
          ws.terminate();
        });
      });
      const onError = (error: Error) => fail('connection-lost', `${address}: ${error.message}`);
      ws.on('error', onError);
      ws.on('open', () => {
        ws.off('error', onError);
        shakeHands(ws, makeHello(config, pin, options.hello(), clock.wallMs()), clock, (result) => {
          if ('end' in result) return fail(result.end.code, result.end.detail);
          if (settled) return ws.terminate();
          const channel = new PeerChannel(ws, socket, { clock, bulkAllowance: bulkAllowance(config, clock) });
          settle({ channel, hello: result.hello });
          options.onChannel(channel, result.hello, address);
        });
      });
    });
  });
}

/** Tells the node behind a key that is not the pinned one why it was refused. What it gets is no secret: its own key and the pinned one's fingerprint. */
function tellRefusal(socket: TLSSocket, detail: string): void {
  const text = Buffer.from(refusalBody({ code: 'wrong-key', detail })).toString('base64');
  socket.write(`GET ${refusedPath} HTTP/1.1\r\nHost: mailtwin\r\n${refusalHeader}: ${text}\r\nConnection: close\r\n\r\n`);
}
