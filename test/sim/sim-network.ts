import { ChannelClosed, type Channel, type ChannelEnd } from '../../agent/link/channel.ts';
import { decode, encode } from '../../protocol/codec.ts';
import { limits } from '../../protocol/limits.ts';
import { laneOf, type Message } from '../../protocol/messages.ts';
import type { HostClock, SimClock } from './sim-clock.ts';
import type { SimRandom } from './sim-random.ts';

export interface SimNetworkOptions {
  /** Bounds of one way. */
  latencyMs?: readonly [number, number];
  bytesPerMs?: number;
  /** Bulk that sockets and routers take before it is on the line; what is sent later stands behind it. Default none. */
  bufferBytes?: number;
  /** An end that hears nothing notices the loss of the connection within this. */
  noticeMs?: readonly [number, number];
}

/** The LAN between two hosts: makes connections, and cuts them. */
export class SimNetwork {
  readonly clock: SimClock;
  readonly random: SimRandom;
  readonly latencyMs: readonly [number, number];
  readonly bytesPerMs: number;
  readonly bufferBytes: number;
  readonly noticeMs: readonly [number, number];
  /** Frames that the receiving end refused; a run without a hostile peer must leave this empty. */
  readonly protocolErrors: string[] = [];
  /** Every message as it arrives, for checks; may return another one, as a faulty peer would send it. */
  tap: (message: Message, from: string) => Message = (message) => message;
  bytesCarried = 0;
  /** The most that ever waited at one end (I12). */
  readonly most = { bulkWaiting: 0, controlWaiting: 0, unconsumed: 0, unconsumedBytes: 0 };
  readonly #open = new Set<SimEnd>();

  constructor(clock: SimClock, random: SimRandom, options: SimNetworkOptions = {}) {
    this.clock = clock;
    this.random = random;
    this.latencyMs = options.latencyMs ?? [0.1, 2];
    this.bytesPerMs = options.bytesPerMs ?? 100_000;
    this.bufferBytes = options.bufferBytes ?? 0;
    this.noticeMs = options.noticeMs ?? [0, limits.peerSilentMs];
  }

  /** An established connection; the two ends belong to processes with these clocks. */
  connect(a: { name: string; clock: HostClock }, b: { name: string; clock: HostClock }): [Channel, Channel] {
    const left = new SimEnd(this, a.name, a.clock);
    const right = new SimEnd(this, b.name, b.clock);
    left.peer = right;
    right.peer = left;
    this.#open.add(left).add(right);
    return [left, right];
  }

  get connections(): number {
    return this.#open.size / 2;
  }

  /** Cuts every connection now: what is under way is lost, and each end notices in its own time. */
  cut(): void {
    for (const end of this.#open) end.severed = true;
    for (const end of this.#open) this.#noticeLater(end);
    this.#open.clear();
  }

  /** A process is dead: its ends say nothing more, and its peers notice. */
  cutProcess(clock: HostClock): void {
    for (const end of this.#open) {
      if (end.host !== clock) continue;
      for (const one of [end, end.peer]) {
        one.severed = true;
        this.#open.delete(one);
      }
      this.#noticeLater(end.peer);
    }
  }

  /** For ends alone. */
  forget(end: SimEnd): void {
    this.#open.delete(end);
  }

  #noticeLater(end: SimEnd): void {
    this.clock.after(this.random.between(...this.noticeMs), () => end.finish({ code: 'lost', detail: 'the peer is silent' }));
  }
}

interface Waiting {
  frame: Buffer;
  handed: () => void;
  failed: (error: Error) => void;
}

/** One end of a connection. */
export class SimEnd implements Channel {
  readonly ended: Promise<ChannelEnd>;
  readonly host: HostClock;
  /** The simulated line has its own bandwidth; the background limit is the real link's affair. */
  throttled = false;
  peer!: SimEnd;
  /** Nothing is carried any more, in either direction. */
  severed = false;
  readonly #network: SimNetwork;
  readonly #name: string;
  #end: ChannelEnd | null = null;
  #resolveEnded!: (end: ChannelEnd) => void;
  #handler: ((message: Message, done: () => void) => void) | null = null;
  readonly #control: Buffer[] = [];
  readonly #bulk: Waiting[] = [];
  #credit: number = limits.creditBytes;
  #sending = false;
  #arrivesAt = 0;
  #unconsumed = 0;
  #unconsumedBytes = 0;
  /** What arrived before there was a handler. */
  readonly #early: (() => void)[] = [];
  /** Size of each open batch's directory table, as the reader of the wire has to know it. */
  readonly #dirs = new Map<number, number>();

  constructor(network: SimNetwork, name: string, host: HostClock) {
    this.#network = network;
    this.#name = name;
    this.host = host;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  sendControl(message: Message): void {
    if (laneOf(message) !== 'control') throw new Error(`${message.type} is not a control message`);
    if (this.#end || this.host.dead) return;
    this.#control.push(encode(message));
    this.#pump();
    this.#network.most.controlWaiting = Math.max(this.#network.most.controlWaiting, this.#control.length);
  }

  sendBulk(message: Message): Promise<void> {
    if (laneOf(message) !== 'bulk') throw new Error(`${message.type} is not a bulk message`);
    if (this.#end) return Promise.reject(new ChannelClosed(this.#end));
    const frame = encode(message);
    return new Promise((handed, failed) => {
      this.#bulk.push({ frame, handed, failed });
      this.#pump();
      if (this.#bulk.reduce((sum, waiting) => sum + waiting.frame.length, 0) <= this.#network.bufferBytes) handed();
      this.#network.most.bulkWaiting = Math.max(this.#network.most.bulkWaiting, this.#bulk.length);
    });
  }

  onMessage(handler: (message: Message, done: () => void) => void): void {
    this.#handler = handler;
    for (const deliver of this.#early.splice(0)) deliver();
  }

  close(end: ChannelEnd): void {
    if (this.#end || this.host.dead) return;
    const { peer, severed } = this;
    this.finish(end);
    this.#network.forget(peer);
    if (!severed) this.#carry(0, () => peer.finish(end));
  }

  /** The end has come, by whatever way. */
  finish(end: ChannelEnd): void {
    if (this.#end) return;
    this.#end = end;
    this.#network.forget(this);
    if (this.host.dead) return;
    const error = new ChannelClosed(end);
    for (const { failed } of this.#bulk.splice(0)) failed(error);
    this.#control.length = 0;
    this.#resolveEnded(end);
  }

  /** Gives the next message to the socket: control first, bulk as far as the credit goes. */
  #pump(): void {
    if (this.#sending || this.#end || this.host.dead) return;
    const control = this.#control.shift();
    if (control) return this.#transmit(control);
    const next = this.#bulk[0];
    // A frame larger than what is left may go as long as anything is left, so that no frame can be stuck for ever.
    if (!next || this.#credit <= 0) return;
    this.#bulk.shift();
    this.#credit -= next.frame.length;
    this.#transmit(next.frame);
    next.handed();
  }

  #transmit(frame: Buffer): void {
    this.#sending = true;
    const busyMs = frame.length / this.#network.bytesPerMs;
    this.#network.bytesCarried += frame.length;
    this.#carry(busyMs, () => this.peer.#receive(frame));
    this.#network.clock.after(busyMs, () => {
      this.#sending = false;
      this.#pump();
    });
  }

  /** In order, with a latency of its own each. What is under way when the line is cut never arrives. */
  #carry(busyMs: number, arrive: () => void): void {
    const { clock, random, latencyMs } = this.#network;
    this.#arrivesAt = Math.max(this.#arrivesAt, clock.now + busyMs + random.between(...latencyMs));
    clock.at(this.#arrivesAt, () => {
      if (!this.severed) arrive();
    });
  }

  #receive(frame: Buffer): void {
    if (this.#end || this.host.dead) return;
    let message: Message;
    try {
      message = this.#network.tap(
        decode(frame, (batch) => this.#dirs.get(batch) ?? 0),
        this.peer.#name,
      );
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      this.#network.protocolErrors.push(detail);
      return this.close({ code: 'bad-message', detail });
    }
    if (message.type === 'ops') this.#dirs.set(message.id, (this.#dirs.get(message.id) ?? 0) + message.dirs.length);
    if (message.type === 'commit') this.#dirs.delete(message.id);
    let isDone = false;
    const bytes = laneOf(message) === 'bulk' ? frame.length : 0;
    const { most } = this.#network;
    most.unconsumed = Math.max(most.unconsumed, ++this.#unconsumed);
    most.unconsumedBytes = Math.max(most.unconsumedBytes, (this.#unconsumedBytes += bytes));
    const done = (): void => {
      this.#unconsumed--;
      this.#unconsumedBytes -= bytes;
      if (isDone) throw new Error(`a ${message.type} message was consumed twice`);
      isDone = true;
      if (bytes > 0 && !this.#end && !this.host.dead) this.#carry(0, () => this.peer.#granted(bytes));
    };
    const deliver = (): void => {
      if (!this.#end && !this.host.dead) this.#handler?.(message, done);
    };
    if (this.#handler) deliver();
    else this.#early.push(deliver);
  }

  #granted(bytes: number): void {
    this.#credit += bytes;
    this.#pump();
  }
}
