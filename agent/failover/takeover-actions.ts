import type { Operator, PeerWord, Plan, TakeoverLine } from '../../protocol/takeover.ts';
import type { HookPoint } from '../config/takeover-sections/takeover.ts';
import type { Clock } from '../platform/clock.ts';
import type { Kv } from '../platform/kv.ts';
import type { DurableRole } from './role-store.ts';
import type { Proof } from './role-types.ts';

/** What a takeover is handed: the actions behind its steps, who ordered it, and where it is told. */

export interface StepContext {
  plan: Plan;
  order: TakeoverOrder;
  /** A line for the person who watches. */
  say(text: string): void;
  signal: AbortSignal;
}

export interface TakeoverOrder {
  by: Operator;
  /** A person's word for the last fencing level. */
  manual: { node: string; by: string; evidence: string } | null;
  say(line: TakeoverLine): void;
  /** Fires when the person gives up; heeded before the commit point alone. */
  signal: AbortSignal;
}

/**
 * What a step came to: its evidence; where the plan's title says what was to be done and not what happened, a title that
 * does; or why there was nothing to do.
 */
export type Did = string | { title: string; evidence: string } | { skipped: string };

/** One method a step. Each gives its evidence in words, and may be called again after it succeeded, failed or was interrupted. */
export interface TakeoverActions {
  /** Facts of the peer against the plan. Changes nothing. */
  prepare(context: StepContext): Promise<string>;
  quiesce(context: StepContext): Promise<string>;
  /** Until nothing is open; keeps the quiesce alive meanwhile. */
  drain(context: StepContext): Promise<string>;
  compare(context: StepContext): Promise<string>;
  /** Resolves only with the peer's own word that it is standby of `plan.epoch` and down. */
  stepDown(context: StepContext): Promise<Proof>;
  /** Resolves only with a receipt for `plan.epoch`; `title` says who proved it. `lifeMs` is how long it holds from now on; it counts for half of `startAloneMs` at most. */
  fence(context: StepContext): Promise<{ proof: Proof; lifeMs: number; title?: string }>;
  /** Fails while the peer is heard or somebody answers for a service address. */
  confirmFenced(context: StepContext): Promise<Did>;
  /** `takeOver` to the role machine; resolves when the role is durable. */
  epoch(context: StepContext, proof: Proof): Promise<string>;
  apply(context: StepContext): Promise<string>;
  /** Idempotent, and again when the proof had to be made anew: the margin then covers the time in between (I5). */
  raise(context: StepContext): Promise<Did>;
  addresses(context: StepContext): Promise<Did>;
  /** Starts the services, then tells `activationDone` to the role machine. */
  services(context: StepContext): Promise<Did>;
  check(context: StepContext): Promise<Did>;
  /** Undoes `quiesce`: resolves when the peer serves again. */
  abort(context: StepContext): Promise<string>;
  /** What the peer says of itself now; null = no answer. */
  peerWord(context: StepContext): Promise<PeerWord | null>;
  /** Durable role of this node. */
  own(): DurableRole;
}

export interface RunnerParts {
  kv: Kv;
  clock: Clock;
  actions: TakeoverActions;
  /** @throws OperatorError when the hook fails. */
  hook(point: HookPoint, plan: Plan): Promise<void>;
  /** Durable in the audit log before it resolves. */
  audit(what: string, facts: Record<string, unknown>, by: Operator): Promise<void>;
  quiesceMaxMs: number;
  /** What a person has the mail server make anew after a takeover; null when nothing. */
  afterwards: string | null;
  /** `takeover.startAloneSeconds` of the pair: a fence receipt counts for half of it at most. */
  startAloneMs?: number;
}
