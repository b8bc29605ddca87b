import type { SalvageAnswer, SalvageAsk } from '../../../protocol/salvage.ts';
import { OperatorError } from '../../platform/errors.ts';
import type { PeerAsks } from '../peer-asks.ts';

export type SalvageAsks = PeerAsks<SalvageAsk, SalvageAnswer>;

/** Looking a content up in a large store takes a while. */
const answerMs = 120_000;

/**
 * Asks the active node.
 *
 * @throws OperatorError with what it refused, or when it does not answer.
 */
export async function askActive<A extends SalvageAnswer['answer']>(
  asks: SalvageAsks,
  ask: SalvageAsk,
  wanted: A,
): Promise<Extract<SalvageAnswer, { answer: A }>> {
  const answer = await asks.ask(ask, answerMs);
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
