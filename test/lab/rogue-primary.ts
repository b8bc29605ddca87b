import { createServer as createHttpServer } from 'node:http';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { WebSocketServer, type WebSocket } from 'ws';
import { loadConfig } from '../../agent/config/load.ts';
import { makeHello, type Hello } from '../../agent/link/handshake.ts';
import { loadIdentity } from '../../agent/link/identity.ts';
import { pinFile } from '../../agent/link/pins.ts';
import { serverTls } from '../../agent/link/tls.ts';
import { decode, encode } from '../../protocol/codec.ts';
import type { Message, MessageOf, MessageType } from '../../protocol/messages.ts';
import type { Op } from '../../protocol/ops.ts';
import type { Position } from '../../protocol/position.ts';
import type { SmallNode } from './small-pair.ts';
import { waitFor } from './waiting.ts';

const patienceMs = 120_000;

/** One connection of the real standby to somebody who holds its primary's key. */
export class RogueConnection {
  readonly ws: WebSocket;
  readonly got: Message[] = [];
  closed = false;
  position: Position;
  #nextId = 1;

  constructor(ws: WebSocket, hello: Hello) {
    this.ws = ws;
    this.position = hello.position;
    ws.on('message', (data: Buffer) => this.got.push(decode(data, () => 10_000)));
    ws.on('close', () => (this.closed = true));
    ws.on('error', () => (this.closed = true));
  }

  send(message: Message): void {
    this.ws.send(encode(message));
  }

  nextId(): number {
    return this.#nextId++;
  }

  /** The first message of a type for which `fits` holds; null when the other side closed instead. */
  async answer<T extends MessageType>(type: T, fits: (message: MessageOf<T>) => boolean): Promise<MessageOf<T> | null> {
    const found = (): MessageOf<T> | undefined => {
      for (const each of this.got) {
        // The type decides of the rest.
        const message = each as unknown as MessageOf<T>;
        if (each.type === type && fits(message)) return message;
      }
      return undefined;
    };
    await waitFor(`an answer of type ${type}`, patienceMs, () => this.closed || found());
    return found() ?? null;
  }

  /** A whole batch on top of where the standby stands; what it said: `ack`, or the code of its rejection. */
  async batch(
    dirs: [root: string, path: string][],
    ops: Op[],
    change: { from?: Position; to?: Position; count?: number } = {},
  ): Promise<string | null> {
    const id = this.nextId();
    const { seq, checksum } = this.position;
    const to = change.to ?? { ...this.position, seq: seq + 1, checksum: `${checksum.slice(0, 8)}${(0xabc0_0000 + id).toString(16)}` };
    this.send({ type: 'batch', id, from: change.from ?? this.position });
    this.send({ type: 'ops', id, dirs, ops });
    this.send({ type: 'commit', id, ops: change.count ?? ops.length, to });
    await waitFor(
      'the end of a batch',
      patienceMs,
      () => this.closed || this.got.some((m) => (m.type === 'ack' || m.type === 'reject') && m.id === id),
    );
    const said = this.got.find((m) => (m.type === 'ack' || m.type === 'reject') && m.id === id);
    if (said?.type === 'ack') this.position = said.position;
    return said?.type === 'reject' ? said.code : (said?.type ?? null);
  }

  /** Resolves when all that was sent before is dealt with: false when the connection was ended for it. */
  async dealtWith(): Promise<boolean> {
    const id = 1_000_000 + this.nextId();
    this.send({ type: 'list', id, root: 'mail', dir: '', after: '' });
    return (await this.answer('listing', (each) => each.id === id)) !== null;
  }

  /** The code with which the other side ended it. */
  async refused(): Promise<string | null> {
    await waitFor('the other side to close', patienceMs, () => this.closed);
    const last = this.got.findLast((message) => message.type === 'refuse');
    return last?.type === 'refuse' ? last.code : null;
  }

  close(): void {
    this.ws.terminate();
  }
}

/** A program that listens where the primary did, with its key. The primary must not run. */
export class RoguePrimary {
  readonly #close: () => Promise<void>;
  readonly #arrived: RogueConnection[] = [];

  private constructor(primary: SmallNode) {
    const identity = loadIdentity(primary.state);
    const pin = pinFile(primary.state).read();
    if (!pin) throw new Error('the primary is not paired');
    const config = loadConfig(primary.configFile);
    const web = new WebSocketServer({ noServer: true, perMessageDeflate: false });
    const http = createHttpServer();
    const sockets = new Set<TLSSocket>();
    http.on('upgrade', (request, socket, head) =>
      web.handleUpgrade(request, socket, head, (ws) => {
        ws.once('message', (data: Buffer) => {
          const theirs = decode(data, () => 0);
          if (theirs.type !== 'hello') return ws.terminate();
          const { epoch, position } = theirs;
          const mine = makeHello(
            config,
            pin,
            {
              role: 'primary',
              epoch: Math.max(1, epoch),
              position,
              agentVersion: '0',
              serverVersion: null,
              boot: 'rogue',
              port: 0,
              active: true,
            },
            Date.now(),
          );
          const connection = new RogueConnection(ws, theirs);
          ws.send(encode(mine));
          this.#arrived.push(connection);
        });
      }),
    );
    const server = createTlsServer(serverTls(identity), (socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => {});
      http.emit('connection', socket);
    });
    server.on('tlsClientError', () => {});
    server.listen(primary.port, '127.0.0.1');
    this.#close = () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      });
  }

  static listen(primary: SmallNode): RoguePrimary {
    return new RoguePrimary(primary);
  }

  /** The next connection of the standby. */
  async next(): Promise<RogueConnection> {
    return waitFor('the standby to connect', patienceMs, () => this.#arrived.shift());
  }

  stop(): Promise<void> {
    return this.#close();
  }
}
