import type { GuardName, GuardResult } from '../../protocol/takeover.ts';
import type { GuardFacts, Reading } from './guard-facts.ts';

/** What one guard says; guards.ts adds its name and whether it may be overridden. */
export type Finding = Pick<GuardResult, 'level' | 'summary' | 'evidence' | 'remedy'> & {
  /** This very finding cannot be overridden, although the guard can. */
  isFinal?: true;
};

export interface Guard {
  /** A guard that may never be overridden protects from two active nodes, or cannot be passed by wanting. */
  overridable: boolean;
  switchover: boolean;
  failover: boolean;
  judge(facts: GuardFacts): Finding;
}

export type Guards = Record<GuardName, Guard>;

export function pass(summary: string, evidence = ''): Finding {
  return { level: 'pass', summary, evidence, remedy: '' };
}

export function warn(summary: string, evidence: string, remedy: string): Finding {
  return { level: 'warn', summary, evidence, remedy };
}

export function fail(summary: string, evidence: string, remedy: string): Finding {
  return { level: 'fail', summary, evidence, remedy };
}

/** Seconds in which a reading of this node's own state holds. */
export const freshMs = 30_000;
/** A heartbeat holds this long. */
export const heartbeatMs = 15_000;

/** What is not known is never a pass: `level` says how bad it is. */
export function notKnown(level: 'warn' | 'fail', what: string, read: Reading<unknown>, remedy: string): Finding {
  const evidence = 'why' in read ? read.why : `the last reading is too old: ${read.age}`;
  return { level, summary: `${what} is not known`, evidence, remedy };
}

/** The first items of a list, and how many more there are. */
export function some(items: readonly string[], most = 5): string {
  const shown = items.slice(0, most).join('; ');
  return items.length > most ? `${shown}; and ${items.length - most} more` : shown;
}
