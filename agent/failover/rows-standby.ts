import {
  adopt,
  busyDown,
  busyTaking,
  down,
  fencedBy,
  go,
  heardInService,
  heardWhileDown,
  impossible,
  isFenced,
  lowEpoch,
  no,
  notFenced,
  notPrimary,
  persist,
  refuse,
  say,
  stay,
  yes,
  yieldAsPrimary,
  yieldWhileDown,
} from './role-cells.ts';
import type { Cell, Effect, NodeRole, RoleTable } from './role-types.ts';

/** Rows of the role table: a node that steps down, a standby, one that takes over, and one that is fenced. */

const downAgain: Cell<'activationDone'> = (role) => ({
  next: role,
  effects: role.state === 'steppingDown' ? [...down, { do: 'feed', event: { is: 'deactivated' } }] : down,
});

export const steppingDown: RoleTable['steppingDown'] = {
  boot: impossible,
  peerSaid: heardWhileDown,
  higherEpochSeen: (role, { epoch }) => adopt(role, epoch),
  peerSilentTooLong: stay,
  addressAnswered: stay,
  quiesce: busyDown,
  quiesceExpired: stay,
  abort: refuse(
    'stepped-down',
    'this node has stepped down already',
    'run `mailtwin switchover` on the other node again; it goes on from there',
  ),
  stepDown: busyDown,
  yieldTo: busyDown,
  takeOver: busyDown,
  // Whatever came up must not have.
  activationDone: downAgain,
  deactivated(role) {
    const told: Effect[] = role.asker === null ? [] : [yes(role.asker, `this node is ${role.role} of epoch ${role.epoch} and down`)];
    return role.role === 'fenced'
      ? go(role, 'fenced', role.because, [...told, { do: 'becomeFenced' }])
      : go(role, 'passive', role.because, [...told, { do: 'becomeStandby' }]);
  },
  effectFailed: (role, { effect, reason }) => ({
    next: role,
    effects: [
      say(
        'error',
        'not-down',
        `this node must go down, but ${effect} failed: ${reason}`,
        'stop the services and remove the service addresses by hand, or cut its power',
      ),
      { do: 'retryLater' },
    ],
  }),
  rejoin: busyDown,
  retry: (role) => ({ next: role, effects: [...down, { do: 'feed', event: { is: 'deactivated' } }] }),
};

export const passive: RoleTable['passive'] = {
  boot: impossible,
  peerSaid: heardWhileDown,
  higherEpochSeen: (role, { epoch }) => adopt(role, epoch),
  peerSilentTooLong: stay,
  addressAnswered: stay,
  quiesce: notPrimary,
  quiesceExpired: stay,
  abort: refuse('stepped-down', 'this node is a standby', 'nothing to put back: see `mailtwin status` on both nodes'),
  stepDown(role, { ask, epoch }) {
    // The answer may have been lost: it still holds.
    const holds = role.epoch === epoch;
    return {
      next: role,
      effects: [
        ...(holds
          ? [...down, yes(ask, `this node is standby of epoch ${epoch} and down`)]
          : [no(ask, 'not-primary', 'this node is a standby', 'see `mailtwin status` on both nodes')]),
      ],
    };
  },
  yieldTo: yieldWhileDown,
  takeOver(role, { ask, takeover, epoch, proof }) {
    if (proof.epoch !== epoch)
      return { next: role, effects: [no(ask, 'wrong-proof', `the proof is for epoch ${proof.epoch}, not ${epoch}`, 'plan again')] };
    // An epoch that was heard of may be the one that the other node stepped down to, or was fenced to, for this takeover.
    // Had somebody been primary of it, this node's own epoch would have risen to it.
    if (epoch <= role.epoch || epoch < role.seenEpoch) return { next: role, effects: [lowEpoch(ask, role)] };
    const next: NodeRole = {
      ...role,
      state: 'takingOver',
      role: 'primary',
      epoch,
      seenEpoch: epoch,
      because: `takes over (${takeover}): ${proof.evidence}`,
      takeover: null,
      asker: null,
    };
    return { next, effects: [persist(next), yes(ask, `this node is primary of epoch ${epoch}`)] };
  },
  activationDone: downAgain,
  deactivated: stay,
  effectFailed: (role, { effect, reason }) => ({
    next: role,
    effects: [
      say(
        'error',
        'not-down',
        `this node is a standby, but ${effect} failed: ${reason}`,
        'stop the services and remove the service addresses by hand',
      ),
      { do: 'retryLater' },
    ],
  }),
  rejoin: notFenced,
  retry: (role) => ({ next: role, effects: down }),
};

export const takingOver: RoleTable['takingOver'] = {
  boot: impossible,
  peerSaid: heardInService,
  higherEpochSeen: (role, event) => fencedBy(role, event),
  peerSilentTooLong: stay,
  addressAnswered: (role, { address, by }) => ({
    next: role,
    effects: [say('error', 'address-answered', `${by} answers for the service address ${address}`, 'find out who holds the address')],
  }),
  quiesce: busyTaking,
  quiesceExpired: stay,
  abort: busyTaking,
  stepDown: busyTaking,
  yieldTo: yieldAsPrimary,
  takeOver: (role, { ask, epoch }) => ({
    next: role,
    effects: [
      epoch === role.epoch
        ? yes(ask, `this node is primary of epoch ${epoch}`)
        : no(ask, 'is-primary', `this node takes over in epoch ${role.epoch}`, 'run the takeover command again; it goes on where it was'),
    ],
  }),
  activationDone: (role) =>
    go(role, 'active', role.because, [
      { do: 'becomePrimary' },
      { do: 'announce' },
      say('info', 'active', `this node serves: ${role.because}`),
    ]),
  deactivated: stay,
  effectFailed: (role, { effect, reason }) => ({
    next: role,
    effects: [say('error', 'effect-failed', `${effect} failed: ${reason}`, 'run the takeover command again')],
  }),
  rejoin: busyTaking,
  retry: stay,
};

export const fenced: RoleTable['fenced'] = {
  boot: impossible,
  peerSaid: heardWhileDown,
  higherEpochSeen: (role, { epoch }) => adopt(role, epoch),
  peerSilentTooLong: stay,
  addressAnswered: stay,
  quiesce: isFenced,
  quiesceExpired: stay,
  abort: isFenced,
  stepDown: isFenced,
  yieldTo: yieldWhileDown,
  takeOver: isFenced,
  activationDone: downAgain,
  deactivated: stay,
  effectFailed: (role, { effect, reason }) => ({
    next: role,
    effects: [
      say(
        'error',
        'not-down',
        `this node is fenced, but ${effect} failed: ${reason}`,
        'stop the services and remove the service addresses by hand, or cut its power',
      ),
      { do: 'retryLater' },
    ],
  }),
  rejoin(role, { ask }) {
    const next: NodeRole = { ...role, state: 'passive', role: 'standby', because: 'rejoined', takeover: null, asker: null };
    return { next, effects: [persist(next), { do: 'becomeStandby' }, yes(ask, 'this node is a standby now')] };
  },
  retry: (role) => ({ next: role, effects: down }),
};
