import { judgePeer } from './boot.ts';
import {
  adopt,
  answeredBeforeActive,
  down,
  fence,
  fencedBy,
  go,
  heardBeforeActive,
  heardInService,
  heardWhileDown,
  impossible,
  isPrimary,
  lowEpoch,
  no,
  notFenced,
  notQuiesced,
  notSettled,
  note,
  persist,
  refuseWhileStarting,
  say,
  settleAgain,
  silentBeforeActive,
  stay,
  stepDown,
  up,
  yes,
  yieldAsPrimary,
} from './role-cells.ts';
import type { Effect, NodeRole, Outcome, RoleTable } from './role-types.ts';

/** Rows of the role table: a node at its start, and a primary that is not on its way out. */

export const starting: RoleTable['starting'] = {
  boot(role, { stillActive, gated, unfinishedTakeover }) {
    if (role.role === 'fenced') {
      const why = `primary of an epoch before ${role.seenEpoch}, which is over`;
      return go(role, 'fenced', why, [
        ...down,
        { do: 'becomeFenced' },
        say('error', 'fenced', `this node was ${why}; it stays down`, 'run `mailtwin rejoin` here'),
      ]);
    }
    if (role.role === 'standby') return go(role, 'passive', 'standby', [...down, { do: 'becomeStandby' }]);
    if (role.seenEpoch > role.epoch) return fence(role, role.seenEpoch, `this node has heard of epoch ${role.seenEpoch}`);
    if (unfinishedTakeover)
      return go(role, 'takingOver', 'a takeover of this node was interrupted after its commit point', [
        ...down,
        say(
          'error',
          'takeover-unfinished',
          'a takeover of this node was interrupted: nothing serves',
          'run the takeover command here again; it goes on where it was',
        ),
      ]);
    if (!gated) return go(role, 'active', 'nothing is configured that could be active', [{ do: 'becomePrimary' }]);
    if (stillActive)
      return go(role, 'active', 'active since before the agent was restarted', [{ do: 'becomePrimary' }, { do: 'announce' }]);
    return go(role, 'settling', 'waiting for the word of the other node', [...down, { do: 'settle' }]);
  },
  // What a primary hears now fences it when it boots.
  peerSaid: (role, peer) => (role.role === 'primary' ? note(role, peer.epoch) : heardWhileDown(role, peer)),
  higherEpochSeen: (role, { epoch }) => (role.role === 'primary' ? note(role, epoch) : adopt(role, epoch)),
  peerSilentTooLong: impossible,
  addressAnswered: stay,
  quiesce: refuseWhileStarting,
  quiesceExpired: impossible,
  abort: refuseWhileStarting,
  stepDown: refuseWhileStarting,
  yieldTo: refuseWhileStarting,
  takeOver: refuseWhileStarting,
  activationDone: impossible,
  deactivated: impossible,
  effectFailed: impossible,
  rejoin: refuseWhileStarting,
  retry: impossible,
};

export const settling: RoleTable['settling'] = {
  boot: impossible,
  peerSaid: heardBeforeActive,
  higherEpochSeen: (role, event) => fencedBy(role, event),
  peerSilentTooLong: silentBeforeActive,
  addressAnswered: answeredBeforeActive,
  quiesce: notSettled,
  quiesceExpired: impossible,
  abort: notSettled,
  stepDown: notSettled,
  yieldTo: yieldAsPrimary,
  takeOver: isPrimary,
  activationDone: impossible,
  deactivated: impossible,
  // Services that do not stop, or addresses that do not go, at a start: somebody else may hold the service.
  effectFailed: (role, { effect, reason }) =>
    settleAgain(role, 'not-down', `${effect} failed: ${reason}`, 'stop the services and remove the service addresses by hand'),
  rejoin: notFenced,
  retry: stay,
};

export const held: RoleTable['held'] = {
  boot: impossible,
  // What made it stay down may still be so: it looks again first. Only what takes it out of the race counts at once.
  peerSaid: (role, peer) => (judgePeer(role, peer, peer.isPutBack) === 'outdated' ? heardBeforeActive(role, peer) : stay(role, peer)),
  higherEpochSeen: (role, event) => fencedBy(role, event),
  peerSilentTooLong: stay,
  addressAnswered: stay,
  quiesce: notSettled,
  quiesceExpired: impossible,
  abort: notSettled,
  stepDown: notSettled,
  yieldTo: yieldAsPrimary,
  takeOver: isPrimary,
  activationDone: stay,
  deactivated: impossible,
  effectFailed: (role, { effect, reason }) => ({
    next: role,
    effects: [say('error', 'not-down', `${effect} failed: ${reason}`), { do: 'retryLater' }],
  }),
  rejoin(role, { ask }) {
    const next: NodeRole = { ...role, state: 'passive', role: 'standby', because: 'rejoined', takeover: null, asker: null };
    return { next, effects: [persist(next), ...down, { do: 'becomeStandby' }, yes(ask, 'this node is a standby now')] };
  },
  retry: (role) => go(role, 'settling', role.because, [...down, { do: 'settle' }]),
};

export const activating: RoleTable['activating'] = {
  boot: impossible,
  peerSaid: heardInService,
  higherEpochSeen: (role, event) => fencedBy(role, event),
  peerSilentTooLong: stay,
  addressAnswered: (role, { address, by }) => {
    const because = `${by} answers for the service address ${address}`;
    return go(role, 'held', because, [
      ...down,
      say('error', 'address-answered', because, 'find out who holds the address'),
      { do: 'retryLater' },
    ]);
  },
  quiesce: notSettled,
  quiesceExpired: stay,
  abort: (role, { ask }) => ({ next: role, effects: [yes(ask, 'this node is going back into service')] }),
  stepDown: notQuiesced,
  yieldTo: yieldAsPrimary,
  takeOver: isPrimary,
  activationDone: (role) =>
    go(role, 'active', role.because, [
      { do: 'becomePrimary' },
      { do: 'announce' },
      ...(role.asker === null ? [] : [yes(role.asker, 'this node is in service')]),
      say('info', 'active', `this node serves: ${role.because}`),
    ]),
  deactivated: impossible,
  effectFailed: (role, { effect, reason }) =>
    go(role, 'held', `${effect} failed: ${reason}`, [
      ...(role.asker === null ? [] : [no(role.asker, 'activation-failed', `${effect} failed: ${reason}`, 'see the log of that node')]),
      ...down,
      say(
        'error',
        'activation-failed',
        `this node could not go into service: ${effect} failed: ${reason}`,
        'mend what is named; it is tried again by itself',
      ),
      { do: 'retryLater' },
    ]),
  rejoin: notFenced,
  retry: stay,
};

export const active: RoleTable['active'] = {
  boot: impossible,
  peerSaid: heardInService,
  higherEpochSeen: (role, event) => fencedBy(role, event),
  peerSilentTooLong: stay,
  addressAnswered: (role, { address, by }) => ({
    next: role,
    effects: [
      say('error', 'address-conflict', `${by} answers for the service address ${address}`, 'find that host and take the address from it'),
      { do: 'announce' },
    ],
  }),
  quiesce(role, { ask, takeover, epoch }) {
    if (epoch <= role.seenEpoch) return { next: role, effects: [lowEpoch(ask, role)] };
    return go(
      role,
      'quiesced',
      `quiesced for switchover ${takeover}`,
      [{ do: 'startQuiesceTimer' }, { do: 'stopServices' }, yes(ask, 'services are stopped')],
      { takeover, asker: ask },
    );
  },
  quiesceExpired: stay,
  abort: (role, { ask }) => ({ next: role, effects: [yes(ask, 'this node is in service')] }),
  stepDown: notQuiesced,
  yieldTo: yieldAsPrimary,
  takeOver: isPrimary,
  activationDone: stay,
  deactivated: impossible,
  effectFailed: (role, { effect, reason }) => ({
    next: role,
    effects: [say('error', 'effect-failed', `${effect} failed: ${reason}`, 'see the log of the agent')],
  }),
  rejoin: notFenced,
  retry: stay,
};

/** `asker` is answered when this node serves again, or could not. */
function backIntoService(role: NodeRole, because: string, first: Effect[], asker: number | null = null): Outcome {
  const effects: Effect[] = [{ do: 'stopQuiesceTimer' }, say('warn', 'switchover-given-up', because), ...first, ...up];
  return go(role, 'activating', because, effects, { asker });
}

export const quiesced: RoleTable['quiesced'] = {
  boot: impossible,
  peerSaid: heardInService,
  higherEpochSeen: (role, event) => fencedBy(role, event),
  peerSilentTooLong: stay,
  addressAnswered: active.addressAnswered,
  quiesce(role, { ask, takeover }) {
    if (takeover !== role.takeover)
      return {
        next: role,
        effects: [no(ask, 'other-takeover', `this node is quiesced for switchover ${role.takeover}`, 'wait for its end')],
      };
    // Doing it again is how the coordinator says that it lives, and an answer that was lost is given again.
    return { next: role, effects: [{ do: 'startQuiesceTimer' }, { do: 'stopServices' }, yes(ask, 'services are stopped')] };
  },
  quiesceExpired: (role) => backIntoService(role, 'nothing more was heard of the switchover', []),
  abort(role, { ask, takeover }) {
    if (takeover !== role.takeover)
      return {
        next: role,
        effects: [no(ask, 'other-takeover', `this node is quiesced for switchover ${role.takeover}`, 'wait for its end')],
      };
    return backIntoService(role, 'the switchover was given up', [], ask);
  },
  stepDown(role, { ask, takeover, epoch }) {
    if (takeover !== role.takeover)
      return {
        next: role,
        effects: [no(ask, 'other-takeover', `this node is quiesced for switchover ${role.takeover}`, 'wait for its end')],
      };
    if (epoch <= role.seenEpoch) return { next: role, effects: [lowEpoch(ask, role)] };
    return stepDown(role, 'standby', epoch, `stepped down for switchover ${takeover}`, [], ask);
  },
  yieldTo: yieldAsPrimary,
  takeOver: isPrimary,
  activationDone: impossible,
  deactivated: impossible,
  effectFailed: (role, { effect, reason }) =>
    backIntoService(
      role,
      `${effect} failed: ${reason}`,
      role.asker === null ? [] : [no(role.asker, 'not-quiesced', `${effect} failed: ${reason}`, 'see the log of that node')],
    ),
  rejoin: notFenced,
  retry: stay,
};
