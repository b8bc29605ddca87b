import type { Message } from '../../../protocol/messages.ts';
import type { SalvageAnswer, SalvageAsk } from '../../../protocol/salvage.ts';
import type { Channel } from '../../link/channel.ts';
import type { Clock } from '../../platform/clock.ts';
import { OperatorError } from '../../platform/errors.ts';

export interface SalvageLinkParts {
  clock: Clock;
  channel: () => Channel | null;
  /** What this node says to a question of the other one. */
  answer: (ask: SalvageAsk) => Promise<SalvageAnswer>;
  /** The connection on which the other one asked has ended. */
  ended: () => void;
}

/** Looking a content up in a large store takes a while. */
const answerMs = 120_000;

/** The conversation of a salvage on the pair's connection: one question at a time. */
export class SalvageLink {
  readonly #p: SalvageLinkParts;
  readonly #waiting = new Map<number, (answer: SalvageAnswer | null) => void>();
  #nextId = 1;
  #asking: Channel | null = null;
  #answering = false;

  constructor(parts: SalvageLinkParts) {
    this.#p = parts;
  }

  /** @throws OperatorError with what the other node refused, or when it does not answer. */
  async ask<A extends SalvageAnswer['answer']>(ask: SalvageAsk, wanted: A): Promise<Extract<SalvageAnswer, { answer: A }>> {
    const answer = await this.#ask(ask);
    if (answer === null)
      throw new OperatorError(
        'disconnected',
        'the active node does not answer',
        'see `mailtwin status`, then run the command again: it goes on',
      );
    if (answer.answer === 'refused') throw new OperatorError(answer.code, `the active node: ${answer.text}`, answer.remedy);
    if (answer.answer !== wanted) throw new Error(`the active node answered ${answer.answer} to ${ask.ask}`);
    return answer as Extract<SalvageAnswer, { answer: A }>;
  }

  #ask(ask: SalvageAsk): Promise<SalvageAnswer | null> {
    const channel = this.#p.channel();
    if (!channel) return Promise.resolve(null);
    const id = this.#nextId++;
    return new Promise((resolve) => {
      const settle = (answer: SalvageAnswer | null) => {
        timer.cancel();
        this.#waiting.delete(id);
        resolve(answer);
      };
      const timer = this.#p.clock.after(answerMs, () => settle(null));
      this.#waiting.set(id, settle);
      void channel.ended.then(() => settle(null));
      channel.sendBulk({ type: 'salvageAsk', id, ask }).catch(() => settle(null));
    });
  }

  /** Takes a message of the salvage; false when it is another one. */
  take(channel: Channel, message: Message): boolean {
    if (message.type === 'salvageAnswer') {
      this.#waiting.get(message.id)?.(message.answer);
      return true;
    }
    if (message.type !== 'salvageAsk') return false;
    if (this.#answering) {
      channel.close({ code: 'too-many-questions', detail: 'a question of a salvage came before the last one was answered' });
      return true;
    }
    if (this.#asking !== channel) {
      this.#asking = channel;
      void channel.ended.then(() => this.#p.ended());
    }
    this.#answering = true;
    const { id, ask } = message;
    this.#p
      .answer(ask)
      .then((answer) => channel.sendControl({ type: 'salvageAnswer', id, answer }))
      .catch((error: unknown) => channel.close({ code: 'answer-failed', detail: error instanceof Error ? error.message : String(error) }))
      .finally(() => (this.#answering = false));
    return true;
  }
}
