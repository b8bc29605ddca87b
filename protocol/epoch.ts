import { limits } from './limits.ts';
import type { Message } from './messages.ts';

/** Every epoch that a message claims, of its sender or of what was sent. */
export function epochsIn(message: Message): number[] {
  switch (message.type) {
    case 'hello':
    case 'heartbeat':
      return [message.epoch, message.position.epoch];
    case 'batch':
      return [message.from.epoch];
    case 'commit':
      return [message.to.epoch];
    case 'ack':
    case 'rebase':
    case 'rebased':
      return [message.position.epoch];
    case 'takeoverAsk':
      return 'epoch' in message.ask ? [message.ask.epoch] : [];
    case 'takeoverAnswer':
      return [message.answer.word.epoch];
    default:
      return [];
  }
}

/**
 * The epoch of a message that no pair reaches from `mine`; null when there is none. Who is believed it makes every later
 * takeover impossible: epochs only rise, and they end somewhere.
 */
export function leapIn(message: Message, mine: number): number | null {
  return epochsIn(message).find((epoch) => epoch - mine > limits.epochLeapMax) ?? null;
}
