import { guardNames, type GuardName, type GuardResult } from '../../protocol/takeover.ts';
import type { GuardFacts } from './guard-facts.ts';
import type { Guards } from './guard-result.ts';
import * as here from './guards-here.ts';
import * as peer from './guards-peer.ts';

/**
 * The guards of a takeover, pure: facts in, results out (I14).
 *
 * - `judgeAll(facts)`: every guard that belongs to the kind, in the order of `guardNames`.
 * - `refusals(results, overrides)`: what forbids the takeover; empty when it may go on.
 * - `guards`: the table itself.
 */
export const guards: Guards = {
  role: here.role,
  'other-takeover': here.otherTakeover,
  'local-health': here.localHealth,
  'initial-fill': here.initialFill,
  unproven: peer.unproven,
  'foreign-writes': here.foreignWrites,
  'damaged-files': here.damagedFiles,
  'last-verify': here.lastVerify,
  'predicted-loss': peer.predictedLoss,
  'peer-state': peer.peerState,
  isolation: here.isolation,
  'fence-path': peer.fencePath,
  'agent-version': peer.agentVersion,
  'mail-server-version': peer.mailServerVersion,
  'disk-space': here.diskSpace,
  'nic-roles': here.nicRoles,
  'addresses-free': peer.addressesFree,
  'mail-config': here.mailConfig,
  'mail-units': here.mailUnits,
  'clock-skew': peer.clockSkew,
  replication: peer.replication,
};

export function judgeAll(facts: GuardFacts): GuardResult[] {
  return guardNames
    .filter((name) => guards[name][facts.kind])
    .map((name) => {
      const { isFinal, ...finding } = guards[name].judge(facts);
      return { guard: name, ...cut(finding), overridable: guards[name].overridable && isFinal !== true };
    });
}

/** Evidence comes from outside and may be long. */
function cut<T extends { summary: string; evidence: string; remedy: string }>(finding: T): T {
  return {
    ...finding,
    summary: finding.summary.slice(0, 1000),
    evidence: finding.evidence.slice(0, 2000),
    remedy: finding.remedy.slice(0, 1000),
  };
}

export interface Refusal {
  guard: GuardName;
  why: string;
  remedy: string;
}

/** An override counts for the guard that it names, and for none that may not be overridden. */
export function refusals(results: readonly GuardResult[], overrides: readonly GuardName[]): Refusal[] {
  const failing = results.filter(({ guard, level, overridable }) => level === 'fail' && !(overridable && overrides.includes(guard)));
  // What is offered must help: beside a check that cannot be overridden no override does, least of all against a primary that is heard.
  const isFinal = failing.some(({ overridable }) => !overridable);
  return failing.map(({ guard, summary, evidence, remedy, overridable }) => {
    const way = !overridable ? '; this check cannot be overridden' : isFinal ? '' : `; or \`--override ${guard}\` if you know better`;
    return { guard, why: `${summary}${evidence === '' ? '' : ` (${evidence})`}`, remedy: `${remedy}${way}` };
  });
}
