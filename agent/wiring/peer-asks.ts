import type { Message } from '../../protocol/messages.ts';
import type { TakeoverAnswer, TakeoverAsk } from '../../protocol/takeover.ts';
import type { Channel } from '../link/channel.ts';
import type { Clock } from '../platform/clock.ts';

export interface PeerAsksParts {
  clock: Clock;
  /** The connection that stands. */
  channel: () => Channel | null;
  /** What this node says to the other one's ask. */
  answer: (ask: TakeoverAsk) => Promise<TakeoverAnswer>;
}

/** More questions at one time than a coordinator has are a fault of its own. */
const answeringMax = 8;

/** Questions and answers of a takeover on the pair's connection. */
export class PeerAsks {
  readonly #p: PeerAsksParts;
  readonly #waiting = new Map<number, (answer: TakeoverAnswer | null) => void>();
  #nextId = 1;
  #answering = 0;

  constructor(parts: PeerAsksParts) {
    this.#p = parts;
  }

  /** The peer's answer; null when there is no connection, it ends, or nothing comes within `timeoutMs`. */
  ask(ask: TakeoverAsk, timeoutMs: number): Promise<TakeoverAnswer | null> {
    const channel = this.#p.channel();
    if (!channel) return Promise.resolve(null);
    const id = this.#nextId++;
    return new Promise((resolve) => {
      const settle = (answer: TakeoverAnswer | null) => {
        timer.cancel();
        this.#waiting.delete(id);
        resolve(answer);
      };
      const timer = this.#p.clock.after(timeoutMs, () => settle(null));
      this.#waiting.set(id, settle);
      void channel.ended.then(() => settle(null));
      channel.sendControl({ type: 'takeoverAsk', id, ask });
    });
  }

  /** Takes a message of the takeover; false when it is another one. */
  take(channel: Channel, message: Message): boolean {
    if (message.type === 'takeoverAnswer') {
      this.#waiting.get(message.id)?.(message.answer);
      return true;
    }
    if (message.type !== 'takeoverAsk') return false;
    if (this.#answering >= answeringMax) {
      channel.close({ code: 'too-many-questions', detail: `more than ${answeringMax} questions of a takeover wait for an answer` });
      return true;
    }
    this.#answering++;
    const { id, ask } = message;
    this.#p
      .answer(ask)
      .then((answer) => channel.sendControl({ type: 'takeoverAnswer', id, answer }))
      .catch((error: unknown) => channel.close({ code: 'answer-failed', detail: error instanceof Error ? error.message : String(error) }))
      .finally(() => this.#answering--);
    return true;
  }

  /** Whether an answer is still to be given. */
  get answering(): boolean {
    return this.#answering > 0;
  }
}

/** The same connection without the messages that somebody else takes. */
export function without(channel: Channel, takes: (message: Message) => boolean): Channel {
  return {
    sendControl: (message) => channel.sendControl(message),
    sendBulk: (message) => channel.sendBulk(message),
    onMessage(handler) {
      channel.onMessage((message, done) => {
        if (takes(message)) done();
        else handler(message, done);
      });
    },
    get throttled() {
      return channel.throttled;
    },
    set throttled(value) {
      channel.throttled = value;
    },
    ended: channel.ended,
    close: (end) => channel.close(end),
  };
}
