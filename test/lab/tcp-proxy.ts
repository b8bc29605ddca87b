import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** From the client to the server, or back. */
export type Direction = 'up' | 'down';

/**
 * A TCP proxy on loopback that can misbehave: cut, refuse, stall either direction, delay and throttle.
 */
export class TcpProxy {
  readonly port: number;
  /** Added to every byte's way. */
  delayMs = 0;
  /** Of each direction of each connection; null = as fast as it goes. */
  bytesPerSecond: number | null = null;
  /** New connections are closed at once. */
  refusing = false;
  /** Bytes that passed, by direction. */
  readonly passed: Record<Direction, number> = { up: 0, down: 0 };
  /** Connections that were accepted so far. */
  accepted = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #stalled: Record<Direction, boolean> = { up: false, down: false };
  #wake: (() => void)[] = [];

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
  }

  static async start(target: { host?: string; port: number }): Promise<TcpProxy> {
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', () => resolve()));
    const proxy = new TcpProxy(server);
    server.on('connection', (client) => proxy.#serve(client, target));
    return proxy;
  }

  /** Connections open now, counted on the client's side. */
  get open(): number {
    return this.#sockets.size / 2;
  }

  /** Ends every connection as a pulled cable that somebody noticed: with a reset. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Holds every byte, as a cable does that nobody noticed. */
  stall(...directions: Direction[]): void {
    for (const direction of directions.length > 0 ? directions : (['up', 'down'] as const)) this.#stalled[direction] = true;
  }

  resume(): void {
    this.#stalled.up = this.#stalled.down = false;
    for (const wake of this.#wake.splice(0)) wake();
  }

  async stop(): Promise<void> {
    this.refusing = true;
    this.cut();
    this.resume();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #serve(client: Socket, target: { host?: string; port: number }): void {
    if (this.refusing) return void client.resetAndDestroy();
    this.accepted++;
    const upstream = connect({ host: target.host ?? '127.0.0.1', port: target.port, allowHalfOpen: true });
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    void this.#pass(client, upstream, 'up');
    void this.#pass(upstream, client, 'down');
  }

  async #pass(from: Socket, to: Socket, direction: Direction): Promise<void> {
    let last = Promise.resolve();
    try {
      for await (const part of from as AsyncIterable<Buffer>) {
        // Small pieces make a throttled line smooth.
        for (let at = 0; at < part.length; at += 16_384) {
          const piece = part.subarray(at, at + 16_384);
          while (this.#stalled[direction]) await new Promise<void>((resolve) => this.#wake.push(resolve));
          if (this.bytesPerSecond !== null) await pause((piece.length / this.bytesPerSecond) * 1000);
          const due = performance.now() + this.delayMs;
          const before = last;
          last = (async () => {
            await before;
            if (due > performance.now()) await pause(due - performance.now());
            this.passed[direction] += piece.length;
            if (!to.destroyed && !to.write(piece))
              await new Promise<void>((resolve) => void (to.once('drain', resolve), to.once('close', resolve)));
          })();
          if (this.delayMs === 0) await last;
        }
      }
      await last;
      to.end();
    } catch {
      to.destroy();
    }
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
