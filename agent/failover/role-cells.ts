import { decideAlone, judgePeer, putBackHeld } from './boot.ts';
import type { Cell, Effect, EventOf, NodeRole, Outcome, RoleEvent, RoleState } from './role-types.ts';

/** What several cells of the role table share. */

/** A cell that does for every event. */
export type AnyCell = (role: NodeRole, event: RoleEvent) => Outcome;
/** A cell that does for every event with somebody who waits for an answer. */
export type AskCell = (role: NodeRole, event: Extract<RoleEvent, { ask: number }>) => Outcome;

export const stay: AnyCell = (role) => ({ next: role, effects: [] });

/** An event that nothing can cause in this state: the fault is the agent's own. */
export const impossible: AnyCell = (role, event) => {
  throw new Error(`the role machine got ${event.is} while ${role.state}`);
};

export function go(role: NodeRole, state: RoleState, because: string, effects: Effect[], change: Partial<NodeRole> = {}): Outcome {
  return { next: { ...role, state, because, takeover: null, asker: null, ...change }, effects };
}

export function say(level: 'info' | 'warn' | 'error', code: string, text: string, remedy = ''): Effect {
  return { do: 'say', level, code, text, remedy };
}

export function yes(ask: number, text: string): Effect {
  return { do: 'answer', ask, ok: true, code: 'ok', text, remedy: '' };
}

export function no(ask: number, code: string, text: string, remedy: string): Effect {
  return { do: 'answer', ask, ok: false, code, text, remedy };
}

export function refuse(code: string, text: string, remedy: string): AskCell {
  return (role, { ask }) => ({ next: role, effects: [no(ask, code, text, remedy)] });
}

export const notPrimary = refuse('not-primary', 'this node is not the primary', 'see `mailtwin status` on both nodes');
export const isPrimary = refuse('is-primary', 'this node is the primary', 'run the command on the standby');
export const notSettled = refuse('not-active', 'this node is not active yet', 'see `mailtwin status` here for what it waits for');
export const notFenced = refuse('not-fenced', 'this node is not a fenced primary', 'nothing to rejoin: see `mailtwin status`');
export const isFenced = refuse(
  'fenced',
  'this node was primary of an epoch that is over and stays down',
  'run `mailtwin rejoin` here first; it salvages what only this node has',
);
export const notQuiesced = refuse(
  'not-quiesced',
  'this node is in service and not quiesced for this switchover',
  'run `mailtwin switchover` again',
);
export const busyDown = refuse('stepping-down', 'this node is stepping down and not done yet', 'ask again in a moment');
export const busyTaking = refuse('other-takeover', 'a takeover runs on this node', 'wait for its end: `mailtwin status`');

export const down: Effect[] = [{ do: 'stopServices' }, { do: 'releaseAddresses' }];
export const up: Effect[] = [{ do: 'takeAddresses' }, { do: 'startServices' }, { do: 'feed', event: { is: 'activationDone' } }];

export function persist(role: NodeRole): Effect {
  return { do: 'persist', role: role.role, epoch: role.epoch, seenEpoch: role.seenEpoch };
}

/** Down, durably first; `deactivated` comes when it is so. */
export function stepDown(
  role: NodeRole,
  into: 'standby' | 'fenced',
  epoch: number,
  because: string,
  told: Effect[],
  asker: number | null,
): Outcome {
  const next: NodeRole = {
    ...role,
    state: 'steppingDown',
    role: into,
    epoch,
    seenEpoch: Math.max(role.seenEpoch, epoch),
    because,
    takeover: null,
    asker,
  };
  // What a takeover has under way here must have come to its end before everything is brought down, or it would come up after.
  const own: Effect[] = role.state === 'takingOver' ? [{ do: 'stopTakeover', because }] : [];
  const stopTimer: Effect[] = role.state === 'quiesced' ? [{ do: 'stopQuiesceTimer' }] : [];
  return { next, effects: [...told, ...stopTimer, persist(next), ...own, ...down, { do: 'feed', event: { is: 'deactivated' } }] };
}

export function fence(role: NodeRole, epoch: number, because: string): Outcome {
  const told = say(
    'error',
    'fenced',
    `${because}; this node stops and stays down`,
    'run `mailtwin rejoin` here when the other node serves',
  );
  return stepDown(role, 'fenced', epoch, because, [told], null);
}

export function fencedBy(role: NodeRole, { epoch, from }: EventOf<'higherEpochSeen'>): Outcome {
  if (epoch <= role.epoch) return { next: role, effects: [] };
  return fence(role, epoch, `${from} is at epoch ${epoch}, this node was primary of epoch ${role.epoch}`);
}

/** A node that is no primary notes what it hears of. */
export function note(role: NodeRole, seenEpoch: number): Outcome {
  if (seenEpoch <= role.seenEpoch) return { next: role, effects: [] };
  const next = { ...role, seenEpoch };
  return { next, effects: [persist(next)] };
}

/** A node that is no primary hears of an epoch that somebody is primary of: it is never its own to take. */
export function adopt(role: NodeRole, epoch: number): Outcome {
  if (epoch <= role.epoch) return { next: role, effects: [] };
  const next = { ...role, epoch, seenEpoch: Math.max(role.seenEpoch, epoch) };
  return { next, effects: [persist(next)] };
}

export const heardWhileDown: Cell<'peerSaid'> = (role, peer) =>
  peer.role === 'primary' ? adopt(role, peer.epoch) : note(role, peer.epoch);

export function settleAgain(role: NodeRole, code: string, because: string, remedy: string): Outcome {
  return go(role, 'held', because, [say('error', code, because, remedy), { do: 'retryLater' }]);
}

/** A primary that is not active yet hears the peer. */
export const heardBeforeActive: Cell<'peerSaid'> = (role, peer) => {
  switch (judgePeer(role, peer, peer.isPutBack)) {
    case 'outdated':
      return fence(role, Math.max(role.epoch, peer.epoch), `${peer.node} is ${peer.role} of epoch ${peer.epoch}`);
    case 'agrees':
      return go(role, 'activating', `${peer.node} agrees: it is ${peer.role} of epoch ${peer.epoch}`, up);
    case 'wait':
      return { next: { ...role, because: `waiting for ${peer.node}, which is not down yet` }, effects: [] };
    case 'put-back':
      return settleAgain(role, putBackHeld.code, putBackHeld.because, putBackHeld.remedy);
    case 'rival':
      return settleAgain(
        role,
        'rival',
        `${peer.node} is primary of the same epoch ${peer.epoch}, and neither is active`,
        'decide which node has the newer mail and run `mailtwin rejoin` on the other',
      );
  }
};

export const silentBeforeActive: Cell<'peerSilentTooLong'> = (role, event) => {
  const decision = decideAlone(event);
  switch (decision.is) {
    case 'wait':
      return { next: role, effects: [{ do: 'settle' }] };
    case 'start':
      return go(role, 'activating', decision.because, [say('warn', 'starts-alone', decision.because), ...up]);
    case 'stay-down':
      return settleAgain(role, decision.code, decision.because, decision.remedy);
  }
};

export const answeredBeforeActive: Cell<'addressAnswered'> = (role, { address, by }) =>
  settleAgain(role, 'address-answered', `${by} answers for the service address ${address}`, 'find out who holds the address');

/** A primary in service hears the peer. */
export const heardInService: Cell<'peerSaid'> = (role, peer) => {
  if (peer.epoch > role.epoch) return fencedBy(role, { is: 'higherEpochSeen', epoch: peer.epoch, from: peer.node });
  // Only a fencing that lied to both lets this happen. Which of them stays is of no weight, but one must go.
  const both = peer.role === 'primary' && peer.epoch === role.epoch && peer.active;
  if (!both || role.node < peer.node) return { next: role, effects: [] };
  return fence(role, role.epoch, `${peer.node} is active in the same epoch ${peer.epoch}`);
};

/** Cooperative fencing of a primary: what it has and the other has not stays here for salvage. */
export const yieldAsPrimary: Cell<'yieldTo'> = (role, { ask, epoch }) => {
  if (epoch <= role.seenEpoch) return { next: role, effects: [lowEpoch(ask, role)] };
  const because = `the other node takes over in epoch ${epoch}`;
  const told = say('warn', 'yielded', `${because}; this node steps down`, 'run `mailtwin rejoin` here when the other node serves');
  return stepDown(role, 'fenced', epoch, because, [told], ask);
};

export function lowEpoch(ask: number, role: NodeRole): Effect {
  return no(ask, 'old-epoch', `this node has heard of epoch ${role.seenEpoch}`, 'plan again: the epoch must be a higher one');
}

export const yieldWhileDown: Cell<'yieldTo'> = (role, { ask, epoch }) => {
  if (epoch < role.epoch) return { next: role, effects: [lowEpoch(ask, role)] };
  const { next, effects } = note(role, epoch);
  // It is made sure of once more: the other node counts on it.
  return { next, effects: [...effects, ...down, yes(ask, `this node is ${role.role} and down`)] };
};

export const refuseWhileStarting: AskCell = refuse('starting', 'the agent is starting', 'ask again in a moment');
