import type { TLSSocket } from 'node:tls';
import { pairingLimits, pairingMessage, type PairingMessage, type PairingMessageOf } from '../../protocol/pairing.ts';
import type { Clock } from '../platform/clock.ts';
import type { ChannelEnd } from './channel.ts';

/** A pairing that ends early; `told` when the other side said so itself. */
export class PairingEnded extends Error {
  readonly end: ChannelEnd;
  readonly told: boolean;
  constructor(end: ChannelEnd, told = false) {
    super(end.detail);
    this.end = end;
    this.told = told;
  }
}

/** Lines of JSON over a TLS connection, strictly in turn, each bounded in size and time. */
export class PairingLines {
  readonly #socket: TLSSocket;
  readonly #clock: Clock;
  #buffer = '';
  #wake: (() => void) | null = null;
  #broken: string | null = null;

  constructor(socket: TLSSocket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      this.#buffer += text;
      if (this.#buffer.length > pairingLimits.lineBytesMax) {
        this.#buffer = '';
        this.#broken = 'the other side sent a line that is too long';
        socket.pause();
      }
      this.#wake?.();
    });
    socket.on('error', (error) => this.#break(error.message));
    socket.on('close', () => this.#break('the other side closed the connection'));
  }

  send(message: PairingMessage): void {
    this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  /**
   * The next message, which must be of this type.
   *
   * @throws PairingEnded when it is another one, is not valid, does not come in time, or the connection ends.
   */
  async next<T extends PairingMessage['type']>(type: T, timeoutMs: number = pairingLimits.stepMs): Promise<PairingMessageOf<T>> {
    const message = parse(await this.#line(timeoutMs));
    if (message.type === 'refuse')
      throw new PairingEnded({ code: message.code || 'bad-message', detail: message.detail.replace(/\p{Cc}/gu, ' ') }, true);
    if (message.type !== type)
      throw new PairingEnded({ code: 'bad-message', detail: `the other side sent ${message.type} where ${type} was due` });
    return message as PairingMessageOf<T>;
  }

  /** Says why, and closes. */
  refuse(end: ChannelEnd): void {
    this.#socket.resume();
    this.#socket.end(`${JSON.stringify({ type: 'refuse', code: end.code, detail: end.detail } satisfies PairingMessage)}\n`);
    const cut = this.#clock.after(1000, () => this.#socket.destroy());
    this.#socket.once('close', () => cut.cancel());
  }

  close(): void {
    this.#socket.end();
    const cut = this.#clock.after(1000, () => this.#socket.destroy());
    this.#socket.once('close', () => cut.cancel());
  }

  async #line(timeoutMs: number): Promise<string> {
    const deadlineMs = this.#clock.monotonicMs() + timeoutMs;
    for (;;) {
      const newline = this.#buffer.indexOf('\n');
      if (newline >= 0) {
        const line = this.#buffer.slice(0, newline);
        this.#buffer = this.#buffer.slice(newline + 1);
        return line;
      }
      if (this.#broken !== null) throw new PairingEnded({ code: 'broken-off', detail: this.#broken });
      const leftMs = deadlineMs - this.#clock.monotonicMs();
      if (leftMs <= 0)
        throw new PairingEnded({ code: 'timeout', detail: `the other side said nothing for ${Math.round(timeoutMs / 1000)} s` });
      await new Promise<void>((resolve) => {
        const timer = this.#clock.after(leftMs, resolve);
        this.#wake = () => {
          timer.cancel();
          resolve();
        };
      });
      this.#wake = null;
    }
  }

  #break(what: string): void {
    this.#broken ??= what;
    this.#wake?.();
  }
}

function parse(line: string): PairingMessage {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    value = null;
  }
  const result = pairingMessage.safeParse(value);
  if (!result.success) throw new PairingEnded({ code: 'bad-message', detail: 'the other side sent what is no message of pairing' });
  return result.data;
}
