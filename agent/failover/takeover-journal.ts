import type { Operator, Plan, StepId, StepState, TakeoverReport } from '../../protocol/takeover.ts';
import { metaKey } from '../journal/keys.ts';
import type { Kv } from '../platform/kv.ts';
import type { DurableRole } from './role-store.ts';
import type { Proof } from './role-types.ts';

/**
 * The takeover that runs on this node, or ran last, in the agent's store: each step before and after it ran (I14).
 *
 * - `readJournal(kv)`, `writeJournal(kv, journal)`: durable when the promise resolves.
 * - `newJournal(plan, by, wallMs)`.
 * - `isUnfinished(journal, own)`: this node became primary and its services were never started; for `boot`.
 * - `burnedEpoch(kv)`: the epoch that the last takeover may have given away; for `makePlan`.
 */

export interface StepRecord {
  id: StepId;
  state: StepState;
  /** Wall clock, milliseconds. */
  startedMs: number | null;
  /** How long the last try took, on the monotonic clock (I17). */
  ms: number | null;
  evidence: string;
  /** It is done in the sense of the plan, because there was nothing to do. */
  skipped?: boolean;
}

export interface TakeoverJournal {
  journal: 1;
  plan: Plan;
  by: Operator;
  startedMs: number;
  steps: StepRecord[];
  proof: Proof | null;
  /** `closed`: nothing is left to continue or to roll back. */
  phase: 'running' | 'rolling-back' | 'closed';
  /** What was reported last; null while it never was. */
  report: TakeoverReport | null;
}

const key = metaKey('takeover');

export function readJournal(kv: Kv): TakeoverJournal | null {
  const value = kv.get(key);
  return value ? (JSON.parse(value.toString('utf8')) as TakeoverJournal) : null;
}

export async function writeJournal(kv: Kv, journal: TakeoverJournal): Promise<void> {
  kv.commit([[key, Buffer.from(JSON.stringify(journal), 'utf8')]]);
  await kv.flushed();
}

export function newJournal(plan: Plan, by: Operator, wallMs: number): TakeoverJournal {
  const steps = plan.steps.map(({ id }): StepRecord => ({ id, state: 'pending', startedMs: null, ms: null, evidence: '' }));
  return { journal: 1, plan, by, startedMs: wallMs, steps, proof: null, phase: 'running', report: null };
}

export function stateOf(journal: TakeoverJournal, id: StepId): StepState | null {
  return journal.steps.find((step) => step.id === id)?.state ?? null;
}

export function isUnfinished(journal: TakeoverJournal | null, own: DurableRole): boolean {
  if (journal === null || journal.phase === 'closed') return false;
  return own.role === 'primary' && own.epoch === journal.plan.epoch && stateOf(journal, 'services') !== 'done';
}

export function burnedEpoch(kv: Kv): number {
  return readJournal(kv)?.plan.epoch ?? 0;
}
