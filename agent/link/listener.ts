import { createServer as createHttpServer, type IncomingMessage } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { WebSocketServer } from 'ws';
import { limits } from '../../protocol/limits.ts';
import { pairingProtocol } from '../../protocol/pairing.ts';
import type { Config } from '../config/config.ts';
import type { Clock, Timer } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import { errnoCode } from '../platform/files.ts';
import type { Log } from '../platform/log.ts';
import type { Channel, ChannelEnd } from './channel.ts';
import { Doorkeeper, doorLimits } from './doorkeeper.ts';
import { makeHello, shakeHands, type Hello, type HelloFields } from './handshake.ts';
import { fingerprintOf, shortFingerprint, type Identity } from './identity.ts';
import { PeerChannel } from './peer-channel.ts';
import { judgeKey, readRefusal, refusalBody } from './pin-check.ts';
import type { PinnedPeer, Pins } from './pins.ts';
import { allowanceAt, minuteOfDay } from './rate-limit.ts';
import { peerSpki, remoteAddress, serverTls } from './tls.ts';
import { TurnedAway, type TurnedAwayReason } from './turned-away.ts';

/** What both ends of the link are given. */
export interface LinkOptions {
  config: Config;
  identity: Identity;
  pins: Pins;
  clock: Clock;
  log: Log;
  /** This node's part of the first message, asked at each connection. */
  hello: () => HelloFields;
  /** A connection stands: the key was the pinned one and the first messages agreed. Set the handler before returning. */
  onChannel: (channel: Channel, peerHello: Hello, address: string) => void;
  /** A connection was ended that was not the peer's, or not known to be. */
  onTurnedAway?: (reason: TurnedAwayReason) => void;
}

export interface Listener {
  /** The port it listens on; of interest when the configuration says 0. */
  readonly port: number;
  readonly state: 'listening' | 'connected' | 'stopped';
  /** Why the last connection ended or was refused. */
  readonly lastError: ChannelEnd | null;
  stop(): Promise<void>;
}

/** Connections at one time that have shown the pinned key, and such that pair: all of them have bounds in time. */
const peersMax = 16;
const pairingMax = 16;
/** Path of the upgrade, and where a standby that refuses this node's key tells so. */
export const linkPath = '/link';
export const refusedPath = '/refused';
export const refusalHeader = 'x-mailtwin-refusal';

/** How the bandwidth limit of a configuration is asked by a channel. */
export function bulkAllowance(config: Config, clock: Clock): () => number | null {
  return () => allowanceAt(config.limits.bandwidth, minuteOfDay(clock.wallMs()));
}

/**
 * Accepts the pair's connection (on the primary).
 *
 * A connection whose key is not the pinned one gets an answer that says why, and nothing that it sends is read (I13);
 * only pairing, which TLS itself announces (ALPN), is handed to `pairing`. A new connection of the peer replaces the old. Those that
 * have shown no key yet are bounded in number and time, and keep nobody out (doorkeeper.ts).
 *
 * @throws OperatorError `listen` when the address cannot be had.
 */
export async function startListener(
  options: LinkOptions & {
    pairing?: (socket: TLSSocket, address: string) => void;
    /** Addresses where the peer was met, beside those of the configuration and of the pin. */
    learned?: () => readonly { host: string }[];
  },
): Promise<Listener> {
  const { config, identity, pins, clock, log } = options;
  let current: { channel: PeerChannel; pin: PinnedPeer; tls: TLSSocket } | null = null;
  let state: Listener['state'] = 'listening';
  let lastError: ChannelEnd | null = null;
  /** Open sockets, with the timer that cuts those that do not get on. */
  const sockets = new Map<TLSSocket, Timer>();
  const readPin = (): PinnedPeer | null | ChannelEnd => {
    try {
      return pins.read();
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      return { code: error.code, detail: error.message };
    }
  };

  const turnedAway = new TurnedAway(clock, log, (reason) => options.onTurnedAway?.(reason));
  const refuse = (end: ChannelEnd, facts: object, from?: { reason: TurnedAwayReason; address: string }) => {
    // A stranger who knocks again and again gets one line.
    const repeated = lastError?.code === end.code && lastError.detail === end.detail;
    lastError = end;
    const line = { facts: { code: end.code, ...facts }, text: `connection refused: ${end.detail}` };
    if (repeated) log.debug(line.facts, line.text);
    else if (!from) log.warn(line.facts, line.text);
    if (from) turnedAway.note(from.reason, from.address, repeated ? null : line);
  };

  const web = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: limits.frameBytesMax,
    skipUTF8Validation: true,
    clientTracking: false,
  });
  const http = createHttpServer({ maxHeaderSize: 8192, keepAlive: false });
  http.on('request', (request: IncomingMessage, response) => {
    const told = request.headers[refusalHeader];
    if (request.url === refusedPath && typeof told === 'string') {
      const reason = readRefusal(Buffer.from(told, 'base64').toString('utf8'));
      if (reason)
        refuse(
          { code: reason.code, detail: `the other side refused this node: ${reason.detail}` },
          { mine: shortFingerprint(identity.fingerprint) },
        );
    }
    response.writeHead(404, { connection: 'close' }).end();
  });
  http.on('upgrade', (request, socket, head) => {
    if (request.url !== linkPath) return void socket.destroy();
    web.handleUpgrade(request, socket, head, (ws) => {
      const tls = socket as TLSSocket;
      const address = remoteAddress(tls);
      sockets.get(tls)?.cancel();
      // The pin may have changed between the handshake and the upgrade.
      const pin = readPin();
      if (pin === null || 'code' in pin || judgeKey(pin, peerSpki(tls), address)) return ws.terminate();
      shakeHands(ws, makeHello(config, pin, options.hello(), clock.wallMs()), clock, (result) => {
        if ('end' in result) return refuse(result.end, { address });
        if (state === 'stopped') return ws.terminate();
        const channel = new PeerChannel(ws, tls, { clock, bulkAllowance: bulkAllowance(config, clock) });
        const old = current;
        current = { channel, pin, tls };
        state = 'connected';
        lastError = null;
        old?.channel.close({ code: 'replaced', detail: `a newer connection of ${result.hello.node} from ${address} took its place` });
        void channel.ended.then((end) => {
          log.info({ address, code: end.code }, `connection of ${pin.node} ended: ${end.detail}`);
          if (current?.channel !== channel) return;
          current = null;
          lastError = end;
          if (state === 'connected') state = 'listening';
        });
        log.info(
          { address, peer: result.hello.node, mine: shortFingerprint(identity.fingerprint), theirs: shortFingerprint(pin.fingerprint) },
          `${result.hello.node} connected`,
        );
        options.onChannel(channel, result.hello, address);
      });
    });
  });

  /** Who has not shown the pinned key yet, by address and port. */
  const strangers = new Map<string, { socket: Socket; late: Timer }>();
  const door = new Doorkeeper(() => {
    const pin = readPin();
    const pinned = pin === null || 'code' in pin ? [] : pin.addresses;
    return new Set([...config.peer.addresses, ...pinned, ...(options.learned?.() ?? [])].map(({ host }) => host));
  });
  const isKnown = (key: string) => {
    strangers.get(key)?.late.cancel();
    strangers.delete(key);
    door.leave(key);
  };
  const turnAway = (key: string, reason: TurnedAwayReason) => {
    const stranger = strangers.get(key);
    isKnown(key);
    if (!stranger) return;
    turnedAway.note(reason, hostAddress(stranger.socket));
    stranger.socket.destroy();
  };
  /** Those that have shown the pinned key. */
  const peers = new Set<TLSSocket>();
  let pairing = 0;

  const server = createTlsServer(serverTls(identity));
  server.on('connection', (socket: Socket) => {
    const key = endOf(socket);
    socket.on('close', () => isKnown(key));
    strangers.set(key, { socket, late: clock.after(doorLimits.strangerMs, () => turnAway(key, 'late')) });
    const goes = door.enter({ key, address: hostAddress(socket) });
    if (goes !== null) turnAway(goes, 'crowded');
  });
  server.on('secureConnection', (socket) => {
    const late = clock.after(limits.handshakeMs, () => socket.destroy());
    sockets.set(socket, late);
    const key = endOf(socket);
    socket.on('close', () => {
      late.cancel();
      sockets.delete(socket);
      peers.delete(socket);
      isKnown(key);
    });
    socket.on('error', (error) => log.debug({ error: error.message }, 'a socket failed'));
    socket.setNoDelay(true);
    const address = remoteAddress(socket);
    if (socket.alpnProtocol === pairingProtocol && options.pairing) {
      // A person takes part in pairing; it has bounds of its own.
      late.cancel();
      if (pairing >= pairingMax) return turnAway(key, 'crowded');
      isKnown(key);
      pairing++;
      socket.on('close', () => pairing--);
      return options.pairing(socket, address);
    }
    const spki = peerSpki(socket);
    const pin = readPin();
    const wrong = pin !== null && 'code' in pin ? pin : judgeKey(pin, spki, address);
    if (wrong) {
      // The port changes with every attempt and must not make a new line each time.
      refuse(
        { ...wrong, detail: wrong.detail.replaceAll(address, socket.remoteAddress ?? address) },
        { mine: shortFingerprint(identity.fingerprint), theirs: spki ? shortFingerprint(fingerprintOf(spki)) : 'none' },
        { reason: 'key', address: hostAddress(socket) },
      );
      return answerUnread(socket, wrong, clock);
    }
    isKnown(key);
    peers.add(socket);
    if (peers.size > peersMax) [...peers].find((each) => each !== current?.tls)?.destroy();
    http.emit('connection', socket);
  });
  server.on('tlsClientError', (error, socket) => {
    // It went by itself, or was turned away, which has been counted.
    if (errnoCode(error) === 'ECONNRESET') return void socket.destroy();
    const address = hostAddress(socket);
    refuse({ code: 'tls', detail: `TLS with ${address} failed: ${error.message}` }, {}, { reason: 'tls', address });
    socket.destroy();
  });

  pins.onWrite((peer) => {
    if (current && !current.pin.spki.equals(peer.spki))
      current.channel.close({ code: 'unpaired', detail: `this node was paired with another one (${peer.node})` });
  });

  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(config, error)));
    server.listen(config.listen.port, config.listen.host, () => resolve());
  });
  server.on('error', (error) => log.error({ error: error.message }, 'the listening socket failed'));

  return {
    port: (server.address() as AddressInfo).port,
    get state() {
      return state;
    },
    get lastError() {
      return lastError;
    },
    async stop() {
      if (state === 'stopped') return;
      state = 'stopped';
      turnedAway.stop();
      for (const { socket } of strangers.values()) socket.destroy();
      current?.channel.close({ code: 'stopping', detail: `${config.node} is being stopped` });
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // A moment for the peer to take the reason; then nothing is waited for.
      const cut = clock.after(500, () => [...sockets.keys()].forEach((socket) => socket.destroy()));
      await closed;
      cut.cancel();
      web.close();
    },
  };
}

/** Answers 403 with the reason without reading anything of what the other side sends. */
function answerUnread(socket: TLSSocket, end: ChannelEnd, clock: Clock): void {
  const body = refusalBody(end);
  // What comes in is thrown away, so that closing does not reset the connection before the answer was read.
  socket.resume();
  socket.end(
    `HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
  const cut = clock.after(2000, () => socket.destroy());
  socket.once('close', () => cut.cancel());
}

/** The other end of a connection, by which the kernel tells it from all others that are open. */
function endOf(socket: Socket): string {
  return `${socket.remoteAddress ?? ''} ${socket.remotePort ?? 0}`;
}

/** Its address alone; one of IPv4 as such where the listening socket takes both. */
function hostAddress(socket: Socket): string {
  return (socket.remoteAddress ?? 'unknown').replace(/^::ffff:(?=[\d.]+$)/, '');
}

function listenError(config: Config, error: NodeJS.ErrnoException): OperatorError {
  const where = `${config.listen.host}:${config.listen.port}`;
  const remedy =
    error.code === 'EADDRINUSE'
      ? 'Another program, or another mailtwin, has this port: stop it, or change `listen`.'
      : 'Correct `listen` in the configuration: it names an address of this host and a port that this user may use.';
  return new OperatorError('listen', `cannot listen on ${where}: ${error.message}`, remedy);
}
