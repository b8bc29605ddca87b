import type { Message, MessageOf, Role } from '../../protocol/messages.ts';
import { limits } from '../../protocol/limits.ts';
import type { Channel } from '../link/channel.ts';
import type { Clock, Timer } from '../platform/clock.ts';
import type { LastHeard } from './last-heard.ts';

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
  /** What its configuration leaves out, by root; null until it said so on this connection. */
  excludes: MessageOf<'excludes'>['roots'] | null;
}

/** Sends heartbeats on the connection that stands, and keeps what the peer says. */
export class PeerView {
  readonly #clock: Clock;
  readonly #heartbeat: () => Heartbeat;
  readonly #lastHeard: LastHeard | null;
  #reading: PeerReading | null;
  #channel: Channel | null = null;
  #timer: Timer | null = null;
  #onHeard: ((word: { node: string; role: Role; epoch: number; active: boolean }) => void) | null = null;

  /** `lastHeard`: where what the peer says is kept over a restart. */
  constructor(clock: Clock, heartbeat: () => Heartbeat, lastHeard: LastHeard | null = null) {
    this.#clock = clock;
    this.#heartbeat = heartbeat;
    this.#lastHeard = lastHeard;
    this.#reading = lastHeard?.read() ?? null;
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
    const before = this.#reading;
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
      excludes: null,
    };
    this.#timer?.cancel();
    this.#beat(channel);
    this.#onHeard?.({ node: hello.node, role: hello.role, epoch: hello.epoch, active: hello.active });
    void channel.ended.then(() => {
      if (this.#channel !== channel) return;
      this.#channel = null;
      this.#timer?.cancel();
      this.#keepLast(before);
    });
  }

  /** A connection that ended before its first heartbeat told nothing new of what the peer had under way. */
  #keepLast(before: PeerReading | null): void {
    const last = this.#reading;
    if (!last) return;
    const heartbeat = last.heartbeat ?? (before?.role === last.role && before.epoch === last.epoch ? before.heartbeat : null);
    this.#reading = { ...last, heartbeat };
    this.#lastHeard?.end(this.#reading);
  }

  /** Sends on the connection that stands, if one does. */
  send(send: (channel: Channel) => void): void {
    if (this.#channel) send(this.#channel);
  }

  /** Takes a heartbeat or what the peer leaves out; true when the message was one. */
  take(message: Message): boolean {
    if (message.type === 'excludes') {
      if (this.#reading) this.#reading = { ...this.#reading, excludes: message.roots };
      return true;
    }
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
    this.#lastHeard?.note(this.#reading);
    this.#onHeard?.({ node: this.#reading.node, role: message.role, epoch: message.epoch, active: message.active });
    return true;
  }

  /** Sends a heartbeat now: something changed that the peer must know before anything else. */
  tell(): void {
    const channel = this.#channel;
    if (!channel) return;
    this.#timer?.cancel();
    this.#beat(channel);
  }

  #beat(channel: Channel): void {
    if (this.#channel !== channel) return;
    channel.sendControl(this.#heartbeat());
    this.#timer = this.#clock.after(limits.heartbeatIntervalMs, () => this.#beat(channel));
  }
}
