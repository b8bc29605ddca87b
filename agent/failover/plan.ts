import type { GuardName, GuardResult, Plan, PlanBasis, PlanStep, PredictedLoss, StepId, TakeoverKind } from '../../protocol/takeover.ts';
import { digestOf } from './canonical-json.ts';
import { refusals } from './guards.ts';

/**
 * What a takeover is going to do, made before anything changes (I14). Pure.
 *
 * - `makePlan(parts)`: the plan, with its digest.
 * - `checkBasis(plan, now)`: why the plan may not run any more; null when it may.
 * - `stepsOf(kind, node, target)`: the ordered steps with their rollback points.
 */

/** A plan that nobody ran for so long says little about now. */
export const planLifeMs = 15 * 60_000;

export interface PlanParts {
  id: string;
  kind: TakeoverKind;
  node: string;
  target: string;
  wallMs: number;
  guards: readonly GuardResult[];
  overrides: readonly GuardName[];
  predictedLoss: PredictedLoss;
  basis: PlanBasis;
  /** Epochs that an earlier, interrupted takeover of this node may have given away; the plan takes a higher one. */
  epochBurned: number;
}

export function makePlan(parts: PlanParts): Plan {
  const { id, kind, node, target, wallMs, guards, overrides, predictedLoss, basis, epochBurned } = parts;
  const plan: Omit<Plan, 'digest'> = {
    plan: 1,
    id,
    kind,
    node,
    target,
    epoch: Math.max(basis.epoch, basis.seenEpoch, basis.peerEpoch ?? 0, epochBurned) + 1,
    createdAt: new Date(wallMs).toISOString(),
    expiresAt: new Date(wallMs + planLifeMs).toISOString(),
    guards: [...guards],
    overrides: [...new Set(overrides)].sort(),
    predictedLoss,
    steps: stepsOf(kind, node, target),
    basis,
  };
  return { ...plan, digest: planDigest(plan) };
}

export function planDigest(plan: Omit<Plan, 'digest'> | Plan): string {
  return digestOf({ ...plan, digest: undefined });
}

interface StepText {
  title: (node: string, target: string) => string;
  /** `peer`: it changes the other node. */
  on: 'here' | 'peer';
  rollback: PlanStep['rollback'];
  pointOfNoReturn?: true;
}

const switchoverSteps: [StepId, StepText][] = [
  ['prepare', { title: (_, target) => `ask ${target} for its state and compare it with the plan`, on: 'peer', rollback: 'none' }],
  ['quiesce', { title: (_, target) => `stop the mail services on ${target}`, on: 'peer', rollback: 'undo' }],
  ['drain', { title: (node) => `wait until the last change is durable on ${node}`, on: 'here', rollback: 'none' }],
  ['compare', { title: () => 'compare the positions of both nodes', on: 'here', rollback: 'none' }],
  [
    'stepdown',
    {
      title: (_, target) => `remove the service addresses from ${target} and make it the standby`,
      on: 'peer',
      rollback: 'none',
      pointOfNoReturn: true,
    },
  ],
  ['epoch', { title: (node) => `make ${node} the primary of the new epoch`, on: 'here', rollback: 'forward' }],
  ['addresses', { title: (node) => `bring the service addresses up on ${node} and announce them`, on: 'here', rollback: 'forward' }],
  ['services', { title: (node) => `start the mail services on ${node}`, on: 'here', rollback: 'forward' }],
  ['check', { title: () => 'log in by IMAP and read a mailbox', on: 'here', rollback: 'forward' }],
];

const failoverSteps: [StepId, StepText][] = [
  ['fence', { title: (_, target) => `make sure that ${target} is off`, on: 'peer', rollback: 'none' }],
  [
    'confirm-fenced',
    {
      title: (_, target) => `make sure that ${target} is silent and nobody answers for the service addresses`,
      on: 'here',
      rollback: 'none',
    },
  ],
  ['epoch', { title: (node) => `make ${node} the primary of the new epoch`, on: 'here', rollback: 'none', pointOfNoReturn: true }],
  ['apply', { title: () => 'finish what was received and is not in place', on: 'here', rollback: 'forward' }],
  [
    'raise',
    {
      title: (_, target) => `raise UIDNEXT and HIGHESTMODSEQ of every mailbox above what ${target} can have issued`,
      on: 'here',
      rollback: 'forward',
    },
  ],
  ['addresses', { title: (node) => `bring the service addresses up on ${node} and announce them`, on: 'here', rollback: 'forward' }],
  ['services', { title: (node) => `start the mail services on ${node}`, on: 'here', rollback: 'forward' }],
  ['check', { title: () => 'log in by IMAP and read a mailbox', on: 'here', rollback: 'forward' }],
];

export function stepsOf(kind: TakeoverKind, node: string, target: string): PlanStep[] {
  const steps = kind === 'switchover' ? switchoverSteps : failoverSteps;
  return steps.map(([id, { title, on, rollback, pointOfNoReturn }]) => ({
    id,
    title: title(node, target),
    where: on === 'here' ? node : target,
    rollback,
    ...(pointOfNoReturn ? { pointOfNoReturn } : {}),
  }));
}

export interface PlanNow {
  wallMs: number;
  node: string;
  basis: PlanBasis;
  /** The guards as they are now. */
  guards: readonly GuardResult[];
}

/** Every reason why the plan is stale; null when it may run. */
export function checkBasis(plan: Plan, now: PlanNow): string[] | null {
  const reasons: string[] = [];
  if (planDigest(plan) !== plan.digest) reasons.push('the file was changed after the plan was made: its digest does not fit');
  if (plan.node !== now.node) reasons.push(`the plan is for ${plan.node}, this node is ${now.node}`);
  if (now.wallMs > Date.parse(plan.expiresAt)) reasons.push(`the plan expired at ${plan.expiresAt}`);
  reasons.push(...moved(plan, now.basis));
  const before = new Map(plan.guards.map((result) => [result.guard, result.level]));
  for (const { guard, why } of refusals(now.guards, plan.overrides))
    reasons.push(`guard ${guard} ${before.get(guard) === 'fail' ? 'fails' : 'fails now and did not'}: ${why}`);
  return reasons.length === 0 ? null : reasons;
}

type Comparable = string | number | null | undefined;

function moved({ kind, basis: then, epoch }: Plan, now: PlanBasis): string[] {
  const said: string[] = [];
  const compare = (what: string, a: Comparable, b: Comparable) => {
    if (a !== b) said.push(`${what} was ${String(a ?? 'not known')}, and is ${String(b ?? 'not known')}`);
  };
  compare('the role of this node', then.role, now.role);
  compare('the epoch of this node', then.epoch, now.epoch);
  compare('the configuration', then.configDigest.slice(0, 12), now.configDigest.slice(0, 12));
  if (now.seenEpoch >= epoch) said.push(`epoch ${now.seenEpoch} was heard of, the plan takes ${epoch}`);
  // While the primary takes mail the position always moves; in a switchover the drain sees to it.
  if (kind === 'failover') compare('the position of this copy', then.position, now.position);
  compare('the connection to the peer', show(then.peerConnected), show(now.peerConnected));
  if (now.peerRole !== null) compare('the role of the peer', then.peerRole, now.peerRole);
  if (now.peerEpoch !== null) compare('the epoch of the peer', then.peerEpoch, now.peerEpoch);
  compare('who answers for the service addresses', then.addressesAnswered?.join(', '), now.addressesAnswered?.join(', '));
  return said;
}

function show(connected: boolean): string {
  return connected ? 'up' : 'down';
}
