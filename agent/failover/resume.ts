import type { PeerWord, StepId } from '../../protocol/takeover.ts';
import type { DurableRole } from './role-store.ts';
import type { Proof } from './role-types.ts';
import { stateOf, type TakeoverJournal } from './takeover-journal.ts';

/**
 * What becomes of a takeover that was interrupted, pure (I14).
 *
 * - `decideResume(journal, facts)`: go on, roll back, or say what is missing to know.
 *
 * What counts is the durable role of this node, and of a switchover what the other one says of itself: the journal alone
 * cannot tell whether the last thing that it announced has happened.
 */

export interface ResumeFacts {
  own: DurableRole;
  /** What the other node says now; null = it does not answer. */
  peer: PeerWord | null;
}

export type ResumeDecision =
  /** Nothing is open. */
  | { is: 'none' }
  | { is: 'continue'; from: StepId; because: string; proof: Proof | null }
  | { is: 'roll-back'; because: string }
  /** It can neither go on nor be undone, and need not: something newer happened. */
  | { is: 'void'; because: string }
  | { is: 'in-doubt'; because: string; remedy: string };

export function decideResume(journal: TakeoverJournal | null, { own, peer }: ResumeFacts): ResumeDecision {
  if (journal === null || journal.phase === 'closed') return { is: 'none' };
  const { plan } = journal;
  if (own.role === 'fenced') return { is: 'void', because: `this node was fenced in epoch ${own.epoch}` };
  if (own.role === 'primary') {
    if (own.epoch !== plan.epoch)
      return { is: 'void', because: `this node is primary of epoch ${own.epoch}, the takeover was for ${plan.epoch}` };
    return {
      is: 'continue',
      from: firstUndone(journal),
      because: `this node is primary of epoch ${plan.epoch} already`,
      proof: journal.proof,
    };
  }
  if (own.epoch >= plan.epoch || own.seenEpoch > plan.epoch)
    return { is: 'void', because: `epoch ${Math.max(own.epoch, own.seenEpoch)} was heard of, the takeover was for ${plan.epoch}` };
  if (plan.kind === 'failover')
    return { is: 'roll-back', because: `it had not come to its commit point: this node is standby of epoch ${own.epoch}` };
  const stepDown = stateOf(journal, 'stepdown');
  if (stepDown === 'pending') return { is: 'roll-back', because: `${plan.target} was not asked to step down` };
  return peer === null
    ? {
        is: 'in-doubt',
        because: `${plan.target} was asked to step down and does not answer: it may be the standby now`,
        remedy: `bring ${plan.target} back and run \`mailtwin switchover\` again, or run \`mailtwin failover\``,
      }
    : afterStepDown(journal, peer);
}

function afterStepDown({ plan }: TakeoverJournal, peer: PeerWord): ResumeDecision {
  if (peer.epoch > plan.epoch || peer.role === 'fenced')
    return { is: 'void', because: `${plan.target} is ${peer.role} of epoch ${peer.epoch}` };
  if (peer.role === 'primary')
    return peer.epoch < plan.epoch
      ? { is: 'roll-back', because: `${plan.target} is still primary of epoch ${peer.epoch}` }
      : { is: 'void', because: `${plan.target} is primary of epoch ${peer.epoch}` };
  if (peer.epoch < plan.epoch) return { is: 'void', because: `${plan.target} is a standby, and not by this takeover` };
  if (peer.active)
    return {
      is: 'in-doubt',
      because: `${plan.target} is stepping down and not done`,
      remedy: `wait a moment, then run \`mailtwin switchover\` again`,
    };
  const evidence = `${peer.node} says that it is standby of epoch ${peer.epoch} and down`;
  return { is: 'continue', from: 'epoch', because: evidence, proof: { kind: 'stepped-down', epoch: plan.epoch, evidence } };
}

/**
 * Once the services were started the node comes up by itself, also after a restart: only the check remains. Before that
 * a restart takes down what was up, so the addresses are taken again.
 */

function firstUndone({ steps }: TakeoverJournal): StepId {
  const after = steps.slice(steps.findIndex(({ id }) => id === 'epoch') + 1);
  const isDone = (wanted: StepId) => after.some(({ id, state }) => id === wanted && state === 'done');
  if (isDone('services')) return 'check';
  return after.find(({ id, state }) => id === 'addresses' || state !== 'done')?.id ?? 'check';
}
