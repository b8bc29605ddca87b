import type { TLSSocket } from 'node:tls';
import type { WebSocket } from 'ws';
import { decode, encode } from '../../protocol/codec.ts';
import { limits } from '../../protocol/limits.ts';
import { laneOf, type Message } from '../../protocol/messages.ts';
import { ProtocolError } from '../../protocol/ops.ts';
import type { Clock, Timer } from '../platform/clock.ts';
import { ChannelClosed, type Channel, type ChannelEnd } from './channel.ts';
import { RateLimit } from './rate-limit.ts';
import { closedEnd, refuseAndClose, socketErrorEnd } from './socket-end.ts';

/** Bulk is given to the socket only while less than this waits there, so that a control message waits little. */
const socketBytesMax = 512 * 1024;
/** Control messages that a peer does not take may pile up to this; then it is taken for gone. */
const controlBytesMax = 16 * 1024 * 1024;
/** A peer that takes nothing of what waits for it for so long is taken for gone, whatever it says itself: on a slow line this is a frame. */
const stuckMs = 60_000;
/** Callers of sendBulk wait for one another; more than this is a fault of ours. */
const waitingMax = 1024;
/**
 * What arrived and was not consumed: control messages by their bytes, and each message, bulk as well, by what it takes besides.
 * A peer that has more to say is not what it should be.
 */
const unconsumedBytesMax = 16 * 1024 * 1024;
const messageBytes = 1024;
const grantBytes = limits.creditBytes / 4;

export interface PeerChannelOptions {
  clock: Clock;
  /** Bytes per second that bulk may use while `throttled`; null = no limit. */
  bulkAllowance: () => number | null;
}

/** A message that arrived, and what of the bounds it takes until it is consumed, in bytes. */
interface Arrived {
  message: Message;
  bulk: number;
  besides: number;
}

/** The channel over one WebSocket of the pinned peer, after the hello exchange. */
export class PeerChannel implements Channel {
  readonly ended: Promise<ChannelEnd>;
  readonly #ws: WebSocket;
  readonly #socket: TLSSocket;
  readonly #options: PeerChannelOptions;
  #resolveEnded: (end: ChannelEnd) => void = () => {};
  #end: ChannelEnd | null = null;
  #handler: ((message: Message, done: () => void) => void) | null = null;
  /** What arrived before there was a handler. */
  #early: Arrived[] = [];
  #waiting: { frame: Buffer; resolve: () => void; reject: (error: Error) => void }[] = [];
  /** Bulk bytes that may still be sent. */
  #credit: number = limits.creditBytes;
  /** Bulk bytes that arrived and were not granted again; those of them that were consumed. */
  #received = 0;
  #consumed = 0;
  /** What arrived and was not consumed, in bytes. */
  #unconsumed = 0;
  /** The batch that is arriving, and the size of its directory table. */
  #batch: { id: number; dirs: number } | null = null;
  #throttled = false;
  readonly #rate: RateLimit;
  #rateTimer: Timer | null = null;
  #silentTimer: Timer;
  #heardMs: number;
  /** When the socket last took all of a frame, or had none to take. */
  #takenMs: number;
  #bytesRead: number;

  constructor(ws: WebSocket, socket: TLSSocket, options: PeerChannelOptions) {
    this.#ws = ws;
    this.#socket = socket;
    this.#options = options;
    this.ended = new Promise((resolve) => (this.#resolveEnded = resolve));
    const now = options.clock.monotonicMs();
    this.#rate = new RateLimit(now);
    this.#heardMs = this.#takenMs = now;
    this.#bytesRead = socket.bytesRead;
    this.#silentTimer = options.clock.after(limits.peerSilentMs / 4, () => void this.#checkSilence());
    ws.on('message', (data: Buffer, isBinary: boolean) => this.#receive(data, isBinary));
    ws.on('error', (error) => this.#finish(socketErrorEnd(error)));
    ws.on('close', (code, reason) => this.#finish(closedEnd(code, reason)));
    ws.pause();
  }

  get throttled(): boolean {
    return this.#throttled;
  }

  set throttled(value: boolean) {
    this.#throttled = value;
    this.#pump();
  }

  sendControl(message: Message): void {
    if (laneOf(message) !== 'control') throw new Error(`${message.type} is not a control message`);
    if (this.#end) return;
    this.#sendFrame(encode(message));
    if (this.#ws.bufferedAmount > controlBytesMax) this.close({ code: 'stuck', detail: 'the other side takes no messages' });
  }

  sendBulk(message: Message): Promise<void> {
    if (laneOf(message) !== 'bulk') throw new Error(`${message.type} is not a bulk message`);
    if (this.#end) return Promise.reject(new ChannelClosed(this.#end));
    if (this.#waiting.length >= waitingMax) throw new Error('bulk messages are sent without waiting for the earlier ones');
    const frame = encode(message);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ frame, resolve, reject });
      this.#pump();
    });
  }

  onMessage(handler: (message: Message, done: () => void) => void): void {
    if (this.#handler) throw new Error('a channel has one handler');
    this.#handler = handler;
    for (const arrived of this.#early.splice(0)) this.#deliver(handler, arrived);
    this.#ws.resume();
  }

  close(end: ChannelEnd): void {
    if (this.#end) return;
    refuseAndClose(this.#ws, end, this.#options.clock);
    this.#finish(end);
  }

  /** Gives bulk frames to the socket while credit, the socket's buffer and the rate limit allow it. */
  #pump(): void {
    for (let next = this.#waiting[0]; next && !this.#end; next = this.#waiting[0]) {
      if (next.frame.length > this.#credit || this.#ws.bufferedAmount >= socketBytesMax || this.#mustWait(next.frame.length)) return;
      this.#waiting.shift();
      this.#credit -= next.frame.length;
      this.#sendFrame(next.frame);
      next.resolve();
    }
  }

  #mustWait(bytes: number): boolean {
    const allowance = this.#throttled ? this.#options.bulkAllowance() : null;
    if (allowance === null) return false;
    const waitMs = this.#rate.take(bytes, allowance, this.#options.clock.monotonicMs());
    // The allowance may change with the time of day: look again at least every second.
    if (waitMs > 0) {
      this.#rateTimer ??= this.#options.clock.after(Math.min(Math.ceil(waitMs), 1000), () => {
        this.#rateTimer = null;
        this.#pump();
      });
    }
    return waitMs > 0;
  }

  #sendFrame(frame: Buffer): void {
    this.#ws.send(frame, { binary: true }, (error) => {
      if (error) return this.#finish(socketErrorEnd(error));
      this.#takenMs = this.#options.clock.monotonicMs();
      this.#pump();
    });
  }

  #receive(data: Buffer, isBinary: boolean): void {
    if (this.#end) return;
    this.#heardMs = this.#options.clock.monotonicMs();
    try {
      if (!isBinary) throw new ProtocolError('a frame of text');
      this.#accept(
        decode(data, (batch) => (this.#batch?.id === batch ? this.#batch.dirs : 0)),
        data.length,
      );
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.close({ code: error.code, detail: error.message });
    }
  }

  #accept(message: Message, bytes: number): void {
    if (message.type === 'credit') {
      this.#credit += message.bytes;
      if (this.#credit > limits.creditBytes) throw new ProtocolError('more credit granted than was used');
      return this.#pump();
    }
    if (message.type === 'refuse') {
      this.#finish({ code: message.code, detail: `the other side ended the connection: ${message.detail}` });
      return this.#ws.close(1000);
    }
    if (message.type === 'hello') throw new ProtocolError('a second hello');
    this.#countDirs(message);
    const bulk = laneOf(message) === 'bulk' ? bytes : 0;
    this.#received += bulk;
    if (this.#received > limits.creditBytes) throw new ProtocolError('more bulk bytes sent than were granted');
    const besides = messageBytes + (bulk > 0 ? 0 : bytes);
    this.#unconsumed += besides;
    if (this.#unconsumed > unconsumedBytesMax)
      return this.close({ code: 'flood', detail: 'the other side sends more messages than are dealt with' });
    if (this.#handler) this.#deliver(this.#handler, { message, bulk, besides });
    else this.#early.push({ message, bulk, besides });
  }

  /** Keeps what decode needs to check an op's directory numbers. Batches follow one another; a new one ends one that was given up. */
  #countDirs(message: Message): void {
    if (message.type === 'batch') this.#batch = { id: message.id, dirs: 0 };
    else if (message.type === 'ops') {
      if (this.#batch?.id !== message.id) throw new ProtocolError('ops of a batch that was not begun');
      this.#batch.dirs += message.dirs.length;
    }
  }

  #deliver(handler: (message: Message, done: () => void) => void, { message, bulk, besides }: Arrived): void {
    let open = true;
    handler(message, () => {
      if (!open) return;
      open = false;
      this.#unconsumed -= besides;
      this.#consumed += bulk;
      if (this.#consumed < grantBytes || this.#end) return;
      const grant = this.#consumed;
      this.#consumed = 0;
      this.#received -= grant;
      this.sendControl({ type: 'credit', bytes: grant });
    });
  }

  /**
   * Any byte from the peer counts as life: a large frame on a slow line is not silence. When this process itself stood
   * still, what arrived meanwhile is read first.
   */
  async #checkSilence(): Promise<void> {
    const { clock } = this.#options;
    await clock.yield();
    if (this.#end) return;
    const now = clock.monotonicMs();
    if (this.#socket.bytesRead !== this.#bytesRead) {
      this.#bytesRead = this.#socket.bytesRead;
      this.#heardMs = now;
    }
    const silentMs = now - this.#heardMs;
    if (silentMs >= limits.peerSilentMs)
      return this.close({ code: 'silent', detail: `nothing was heard for ${(silentMs / 1000).toFixed(1)} s` });
    if (this.#ws.bufferedAmount === 0) this.#takenMs = now;
    if (now - this.#takenMs >= stuckMs)
      return this.close({ code: 'stuck', detail: `the other side has taken nothing for ${stuckMs / 1000} s` });
    // Looking more often than the limit keeps the moment of the last byte exact to a quarter of it.
    this.#silentTimer = clock.after(Math.min(limits.peerSilentMs / 4, limits.peerSilentMs - silentMs), () => void this.#checkSilence());
  }

  #finish(end: ChannelEnd): void {
    if (this.#end) return;
    this.#end = end;
    this.#silentTimer.cancel();
    this.#rateTimer?.cancel();
    const closed = new ChannelClosed(end);
    for (const { reject } of this.#waiting.splice(0)) reject(closed);
    this.#early.length = 0;
    // A paused socket would never tell that it closed.
    this.#ws.resume();
    this.#resolveEnded(end);
  }
}
