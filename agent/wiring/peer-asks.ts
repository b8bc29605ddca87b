import type { Message } from '../../protocol/messages.ts';
import type { PutBackAnswer, PutBackAsk } from '../../protocol/put-back.ts';
import type { SalvageAnswer, SalvageAsk } from '../../protocol/salvage.ts';
import type { TakeoverAnswer, TakeoverAsk } from '../../protocol/takeover.ts';
import type { Channel } from '../link/channel.ts';
import type { Clock } from '../platform/clock.ts';

/** The messages of one kind of conversation, and how they are told apart from all others. */
export interface Wording<Ask, Answer> {
  /** For people: whose questions these are. */
  name: string;
  /** What this node sends; `bulk` waits for its turn when a question carries mail. */
  sendAsk(channel: Channel, id: number, ask: Ask): Promise<void> | void;
  sendAnswer(channel: Channel, id: number, answer: Answer): void;
  askIn(message: Message): { id: number; ask: Ask } | null;
  answerIn(message: Message): { id: number; answer: Answer } | null;
  /** More questions at one time than the other side may have are a fault of its own. */
  atOnceMax: number;
}

export const takeoverWording: Wording<TakeoverAsk, TakeoverAnswer> = {
  name: 'takeover',
  sendAsk: (channel, id, ask) => channel.sendControl({ type: 'takeoverAsk', id, ask }),
  sendAnswer: (channel, id, answer) => channel.sendControl({ type: 'takeoverAnswer', id, answer }),
  askIn: (message) => (message.type === 'takeoverAsk' ? message : null),
  answerIn: (message) => (message.type === 'takeoverAnswer' ? message : null),
  atOnceMax: 8,
};

/** A salvage asks one question after the other. */
export const salvageWording: Wording<SalvageAsk, SalvageAnswer> = {
  name: 'salvage',
  sendAsk: (channel, id, ask) => channel.sendBulk({ type: 'salvageAsk', id, ask }),
  sendAnswer: (channel, id, answer) => channel.sendControl({ type: 'salvageAnswer', id, answer }),
  askIn: (message) => (message.type === 'salvageAsk' ? message : null),
  answerIn: (message) => (message.type === 'salvageAnswer' ? message : null),
  atOnceMax: 1,
};

/** A primary that was put back asks one question after the other. */
export const putBackWording: Wording<PutBackAsk, PutBackAnswer> = {
  name: 'store that was put back',
  sendAsk: (channel, id, ask) => channel.sendControl({ type: 'putBackAsk', id, ask }),
  sendAnswer: (channel, id, answer) => channel.sendControl({ type: 'putBackAnswer', id, answer }),
  askIn: (message) => (message.type === 'putBackAsk' ? message : null),
  answerIn: (message) => (message.type === 'putBackAnswer' ? message : null),
  atOnceMax: 1,
};

export interface PeerAsksParts<Ask, Answer> {
  clock: Clock;
  wording: Wording<Ask, Answer>;
  /** The connection that stands. */
  channel: () => Channel | null;
  /** What this node says to the other one's ask. */
  answer: (ask: Ask) => Promise<Answer>;
  /** A connection on which the other one asked has ended. */
  ended?: () => void;
}

/** Questions and answers on the pair's connection. */
export class PeerAsks<Ask, Answer> {
  readonly #p: PeerAsksParts<Ask, Answer>;
  readonly #waiting = new Map<number, (answer: Answer | null) => void>();
  #nextId = 1;
  #answering = 0;
  #asking: Channel | null = null;

  constructor(parts: PeerAsksParts<Ask, Answer>) {
    this.#p = parts;
  }

  /** The peer's answer; null when there is no connection, it ends, or nothing comes within `timeoutMs`. */
  ask(ask: Ask, timeoutMs: number): Promise<Answer | null> {
    const { channel: standing, clock, wording } = this.#p;
    const channel = standing();
    if (!channel) return Promise.resolve(null);
    const id = this.#nextId++;
    return new Promise((resolve) => {
      const settle = (answer: Answer | null) => {
        timer.cancel();
        this.#waiting.delete(id);
        resolve(answer);
      };
      const timer = clock.after(timeoutMs, () => settle(null));
      this.#waiting.set(id, settle);
      void channel.ended.then(() => settle(null));
      void Promise.resolve(wording.sendAsk(channel, id, ask)).catch(() => settle(null));
    });
  }

  /** Takes a message of this conversation; false when it is another one. */
  take(channel: Channel, message: Message): boolean {
    const { wording, answer, ended } = this.#p;
    const answered = wording.answerIn(message);
    if (answered) {
      this.#waiting.get(answered.id)?.(answered.answer);
      return true;
    }
    const asked = wording.askIn(message);
    if (!asked) return false;
    if (this.#answering >= wording.atOnceMax) {
      const detail = `more than ${wording.atOnceMax} questions of a ${wording.name} wait for an answer`;
      channel.close({ code: 'too-many-questions', detail });
      return true;
    }
    if (this.#asking !== channel) {
      this.#asking = channel;
      if (ended) void channel.ended.then(ended);
    }
    this.#answering++;
    answer(asked.ask)
      .then((said) => wording.sendAnswer(channel, asked.id, said))
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
