import type { Message, MessageOf, Role } from '../../protocol/messages.ts';
import { limits } from '../../protocol/limits.ts';
import type { Channel } from '../link/channel.ts';
import type { Clock, Timer } from '../platform/clock.ts';

type Heartbeat = MessageOf<'heartbeat'>;
type Hello = MessageOf<'hello'>;

/** What this node last heard of the other. A reading says when it was made; nobody shows it for longer than it holds (I18). */
export interface PeerReading {
  node: string;
  role: Role;
  epoch: number;
  /** It holds the service addresses and runs the mail services. */
  active: boolean;
  agentVersion: string;
  serverVersion: string | null;
  address: string;
  clockSkewMs: number;
  heardWallMs: number;
  heardMonotonicMs: number;
  heartbeat: Heartbeat | null;
}

/** Sends heartbeats on the connection that stands, and keeps what the peer says. */
export class PeerView {
  readonly #clock: Clock;
  readonly #heartbeat: () => Heartbeat;
  #reading: PeerReading | null = null;
  #channel: Channel | null = null;
  #timer: Timer | null = null;
  #onHeard: ((word: { node: string; role: Role; epoch: number; active: boolean }) => void) | null = null;

  constructor(clock: Clock, heartbeat: () => Heartbeat) {
    this.#clock = clock;
    this.#heartbeat = heartbeat;
  }

  get connected(): boolean {
    return this.#channel !== null;
  }

  get reading(): PeerReading | null {
    return this.#reading;
  }

  /** Calls `fn` with every word of the peer: its first message and each heartbeat. */
  onHeard(fn: (word: { node: string; role: Role; epoch: number; active: boolean }) => void): void {
    this.#onHeard = fn;
  }

  /** A connection stands until `channel.ended`. */
  attach(channel: Channel, hello: Hello, address: string): void {
    const { monotonicMs, wallMs } = { monotonicMs: this.#clock.monotonicMs(), wallMs: this.#clock.wallMs() };
    this.#channel = channel;
    this.#reading = {
      node: hello.node,
      role: hello.role,
      epoch: hello.epoch,
      active: hello.active,
      agentVersion: hello.agentVersion,
      serverVersion: hello.serverVersion,
      address,
      clockSkewMs: hello.wallMs - wallMs,
      heardWallMs: wallMs,
      heardMonotonicMs: monotonicMs,
      heartbeat: null,
    };
    this.#timer?.cancel();
    this.#beat(channel);
    this.#onHeard?.({ node: hello.node, role: hello.role, epoch: hello.epoch, active: hello.active });
    void channel.ended.then(() => {
      if (this.#channel !== channel) return;
      this.#channel = null;
      this.#timer?.cancel();
    });
  }

  /** Takes a heartbeat; true when the message was one. */
  take(message: Message): boolean {
    if (message.type !== 'heartbeat' || !this.#reading) return false;
    const wallMs = this.#clock.wallMs();
    this.#reading = {
      ...this.#reading,
      role: message.role,
      epoch: message.epoch,
      active: message.active,
      clockSkewMs: message.wallMs - wallMs,
      heardWallMs: wallMs,
      heardMonotonicMs: this.#clock.monotonicMs(),
      heartbeat: message,
    };
    this.#onHeard?.({ node: this.#reading.node, role: message.role, epoch: message.epoch, active: message.active });
    return true;
  }

  #beat(channel: Channel): void {
    if (this.#channel !== channel) return;
    channel.sendControl(this.#heartbeat());
    this.#timer = this.#clock.after(limits.heartbeatIntervalMs, () => this.#beat(channel));
  }
}
