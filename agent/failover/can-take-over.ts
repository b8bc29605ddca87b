import type { CanTakeOver } from '../../protocol/control.ts';
import type { GuardResult, TakeoverKind } from '../../protocol/takeover.ts';
import type { GuardFacts } from './guard-facts.ts';
import { judgeAll } from './guards.ts';

/**
 * The one answer to "can this node take over now?", from the guards themselves; status, page, notices and metrics say it.
 * Pure.
 *
 * - `judgeStanding(facts)`: the guards that count, for facts of a switchover as long as the primary serves, else of a failover.
 * - `canTakeOver(kind, results, at)`: the answer.
 * - `replacedCannot(at)`: the answer of a node that was replaced.
 */

/** As long as the primary lives a switchover is the way; what would make it off if it died must answer all the same. */
export function judgeStanding(facts: GuardFacts): GuardResult[] {
  const results = judgeAll(facts);
  if (facts.kind === 'failover') return results;
  return [...results, ...judgeAll({ ...facts, kind: 'failover' }).filter(({ guard }) => guard === 'fence-path')];
}

export function canTakeOver(kind: TakeoverKind, results: readonly GuardResult[], at: string): CanTakeOver {
  const failing = results.filter(({ level }) => level === 'fail');
  const [first] = failing;
  const reasons = failing.map(({ guard, summary, evidence, remedy }) => ({ guard, text: summary, evidence, remedy }));
  if (!first) {
    const how =
      kind === 'switchover' ? 'by `mailtwin switchover`' : 'by `mailtwin failover`: `mailtwin failover --dry-run` shows the checklist';
    return { can: true, text: `yes, ${how}`, reasons, at };
  }
  const more = failing.length === 1 ? '' : `, and ${failing.length - 1} more`;
  return { can: false, text: `no: ${first.summary}${more}`, reasons, at };
}

export function replacedCannot(at: string): CanTakeOver {
  const remedy = 'run `mailtwin rejoin` on this node';
  const text = 'this node was replaced';
  return { can: false, text: `no: ${text}`, reasons: [{ guard: 'role', text, evidence: '', remedy }], at };
}
