import assert from 'node:assert/strict';
import type { Role } from '../../protocol/messages.ts';
import type { DurableRole } from './role-store.ts';
import { roleTable } from './role-table.ts';
import type { Cell, EffectName, NodeRole, Outcome, RoleEvent, RoleEventName, RoleState } from './role-types.ts';

/**
 * The role of a node as a pure machine: events in, next state and effects out; same input, same output.
 *
 * - `initialRole(node, durable)`: before anything happened; the first event is `boot`.
 * - `transition(role, event)`: the next role and what to do, in order; a `persist` must be durable before the next effect.
 * - `claimsService(role)`: what `active` says to the peer. `isServing(role)`: what `active` says in status.
 * - `mayTakeAgain(role, durable, takeoverRuns)`: whether service addresses that others removed may be set again.
 *
 * role-table.ts has the whole table of states and events; role-keeper.ts carries effects out.
 */

/** The states in which each durable role may be. */
const rolesOf: Record<RoleState, readonly Role[]> = {
  starting: ['primary', 'standby', 'fenced'],
  settling: ['primary'],
  held: ['primary'],
  activating: ['primary'],
  active: ['primary'],
  quiesced: ['primary'],
  steppingDown: ['standby', 'fenced'],
  passive: ['standby'],
  takingOver: ['primary'],
  fenced: ['fenced'],
};

export function initialRole(node: string, durable: { role: Role; epoch: number; seenEpoch: number }): NodeRole {
  const { role, epoch, seenEpoch } = durable;
  return { node, state: 'starting', role, epoch, seenEpoch: Math.max(seenEpoch, epoch), because: 'starting', takeover: null, asker: null };
}

/** True while the node holds addresses, runs services, or may; false only when all of it is known to be down. */
export function claimsService({ state }: NodeRole): boolean {
  return state !== 'passive' && state !== 'fenced' && state !== 'settling' && state !== 'held';
}

/** True when clients are served here. */
export function isServing({ state }: NodeRole): boolean {
  return state === 'active';
}

/**
 * What others remove of the service addresses may be set again: this node serves, durably, and nothing is under way that
 * brings the addresses up or down by itself.
 */
export function mayTakeAgain(role: NodeRole, durable: Readonly<DurableRole>, takeoverRuns: boolean): boolean {
  const isDurable = durable.role === 'primary' && durable.epoch === role.epoch && role.seenEpoch === role.epoch;
  return isServing(role) && isDurable && !takeoverRuns;
}

/** @throws AssertionError when the machine itself is wrong: better a crash and a restart than two active nodes. */
export function transition(role: NodeRole, event: RoleEvent): Outcome {
  const cell = roleTable[role.state][event.is] as Cell<RoleEventName>;
  const outcome = cell(role, event);
  assertInvariants(role, event, outcome);
  return outcome;
}

const acts: ReadonlySet<EffectName> = new Set([
  'takeAddresses',
  'startServices',
  'releaseAddresses',
  'answer',
  'becomePrimary',
  'becomeStandby',
]);
const activates: ReadonlySet<EffectName> = new Set(['takeAddresses', 'startServices', 'announce', 'becomePrimary']);

/** Stays on in production (I3). */
function assertInvariants(before: NodeRole, event: RoleEvent, { next, effects }: Outcome): void {
  const what = `${before.state} + ${event.is} -> ${next.state}`;
  assert(next.epoch >= before.epoch && next.seenEpoch >= before.seenEpoch && next.seenEpoch >= next.epoch, `${what}: an epoch fell`);
  assert(rolesOf[next.state].includes(next.role), `${what}: a ${next.role} cannot be ${next.state}`);
  const changed = next.role !== before.role || next.epoch !== before.epoch || next.seenEpoch !== before.seenEpoch;
  const persistAt = effects.findIndex((effect) => effect.do === 'persist');
  if (changed) {
    const persist = effects[persistAt];
    assert(
      persist?.do === 'persist' && persist.role === next.role && persist.epoch === next.epoch && persist.seenEpoch === next.seenEpoch,
      `${what}: role or epoch change without being made durable`,
    );
    assert(!effects.slice(0, persistAt).some((effect) => acts.has(effect.do)), `${what}: acts before it is durable`);
  }
  if (next.role !== 'primary')
    assert(!effects.some((effect) => activates.has(effect.do)), `${what}: a ${next.role} does not activate anything`);
  if (before.role === 'standby' && next.role === 'primary')
    assert(
      event.is === 'takeOver' && event.proof.epoch === next.epoch && next.epoch > before.epoch && next.epoch >= before.seenEpoch,
      `${what}: activates without a takeover`,
    );
  if (before.role === 'fenced') {
    const left = next.role === 'standby' && event.is === 'rejoin';
    assert(next.role === 'fenced' || left, `${what}: a fenced node comes back by rejoin alone`);
  }
}
