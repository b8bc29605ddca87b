import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { initialRole, mayTakeAgain, transition } from '../../agent/failover/role-machine.ts';
import {
  roleStates,
  type Effect,
  type EventOf,
  type NodeRole,
  type RoleEvent,
  type RoleEventName,
  type RoleState,
} from '../../agent/failover/role-types.ts';

const roleOf: Record<RoleState, NodeRole['role']> = {
  starting: 'primary',
  settling: 'primary',
  held: 'primary',
  activating: 'primary',
  active: 'primary',
  quiesced: 'primary',
  steppingDown: 'standby',
  passive: 'standby',
  takingOver: 'primary',
  fenced: 'fenced',
};

function at(state: RoleState, change: Partial<NodeRole> = {}): NodeRole {
  const takeover = state === 'quiesced' ? 't' : null;
  const asker = state === 'steppingDown' || state === 'quiesced' ? 9 : null;
  return { node: 'mail-b', state, role: roleOf[state], epoch: 5, seenEpoch: 5, because: '', takeover, asker, ...change };
}

const proof = { kind: 'receipt', id: 'r', epoch: 6, evidence: 'status read off' } as const;

/** The usual form of each event; what differs is tested by name below. */
const events: { [E in RoleEventName]: EventOf<E> } = {
  boot: { is: 'boot', stillActive: false, gated: true, unfinishedTakeover: false },
  peerSaid: { is: 'peerSaid', node: 'mail-a', role: 'standby', epoch: 5, active: false, isPutBack: false },
  peerSilentTooLong: { is: 'peerSilentTooLong', waitedMs: 60_000, startAloneMs: 60_000, answered: [], isolated: 'no', isPutBack: false },
  addressAnswered: { is: 'addressAnswered', address: '192.0.2.10', by: '02:00:00:00:00:01' },
  quiesce: { is: 'quiesce', ask: 1, takeover: 't', epoch: 6 },
  quiesceExpired: { is: 'quiesceExpired' },
  abort: { is: 'abort', ask: 1, takeover: 't' },
  stepDown: { is: 'stepDown', ask: 1, takeover: 't', epoch: 6 },
  yieldTo: { is: 'yieldTo', ask: 1, epoch: 6 },
  takeOver: { is: 'takeOver', ask: 1, takeover: 't', epoch: 6, proof },
  activationDone: { is: 'activationDone' },
  deactivated: { is: 'deactivated' },
  effectFailed: { is: 'effectFailed', effect: 'stopServices', reason: 'it hangs' },
  higherEpochSeen: { is: 'higherEpochSeen', epoch: 6, from: 'mail-a' },
  rejoin: { is: 'rejoin', ask: 1 },
  retry: { is: 'retry' },
};

/** One cell as text: next state, then the effects in order. `!` means that nothing can cause the event here. */
function cell(role: NodeRole, event: RoleEvent): string {
  try {
    const { next, effects } = transition(role, event);
    return [next.state, ...effects.map(name)].join(' ');
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('the role machine got')) return '!';
    throw error;
  }
}

function name(effect: Effect): string {
  if (effect.do === 'answer') return effect.ok ? 'yes' : `no:${effect.code}`;
  return effect.do === 'feed' ? effect.event.is : effect.do;
}

/** What each cell of the table does, as it was decided; a state or an event without a line does not compile. */
const table: Record<RoleState, Record<RoleEventName, string>> = {
  starting: {
    boot: 'settling stopServices releaseAddresses settle',
    peerSaid: 'starting',
    peerSilentTooLong: '!',
    addressAnswered: 'starting',
    quiesce: 'starting no:starting',
    quiesceExpired: '!',
    abort: 'starting no:starting',
    stepDown: 'starting no:starting',
    yieldTo: 'starting no:starting',
    takeOver: 'starting no:starting',
    activationDone: '!',
    deactivated: '!',
    effectFailed: '!',
    higherEpochSeen: 'starting persist',
    rejoin: 'starting no:starting',
    retry: '!',
  },
  settling: {
    boot: '!',
    peerSaid: 'activating takeAddresses startServices activationDone',
    peerSilentTooLong: 'activating say takeAddresses startServices activationDone',
    addressAnswered: 'held say retryLater',
    quiesce: 'settling no:not-active',
    quiesceExpired: '!',
    abort: 'settling no:not-active',
    stepDown: 'settling no:not-active',
    yieldTo: 'steppingDown say persist stopServices releaseAddresses deactivated',
    takeOver: 'settling no:is-primary',
    activationDone: '!',
    deactivated: '!',
    effectFailed: 'held say retryLater',
    higherEpochSeen: 'steppingDown say persist stopServices releaseAddresses deactivated',
    rejoin: 'settling no:not-fenced',
    retry: 'settling',
  },
  held: {
    boot: '!',
    peerSaid: 'held',
    peerSilentTooLong: 'held',
    addressAnswered: 'held',
    quiesce: 'held no:not-active',
    quiesceExpired: '!',
    abort: 'held no:not-active',
    stepDown: 'held no:not-active',
    yieldTo: 'steppingDown say persist stopServices releaseAddresses deactivated',
    takeOver: 'held no:is-primary',
    activationDone: 'held',
    deactivated: '!',
    effectFailed: 'held say retryLater',
    higherEpochSeen: 'steppingDown say persist stopServices releaseAddresses deactivated',
    rejoin: 'passive persist stopServices releaseAddresses becomeStandby yes',
    retry: 'settling stopServices releaseAddresses settle',
  },
  activating: {
    boot: '!',
    peerSaid: 'activating',
    peerSilentTooLong: 'activating',
    addressAnswered: 'held stopServices releaseAddresses say retryLater',
    quiesce: 'activating no:not-active',
    quiesceExpired: 'activating',
    abort: 'activating yes',
    stepDown: 'activating no:not-quiesced',
    yieldTo: 'steppingDown say persist stopServices releaseAddresses deactivated',
    takeOver: 'activating no:is-primary',
    activationDone: 'active becomePrimary announce say',
    deactivated: '!',
    effectFailed: 'held stopServices releaseAddresses say retryLater',
    higherEpochSeen: 'steppingDown say persist stopServices releaseAddresses deactivated',
    rejoin: 'activating no:not-fenced',
    retry: 'activating',
  },
  active: {
    boot: '!',
    peerSaid: 'active',
    peerSilentTooLong: 'active',
    addressAnswered: 'active say announce',
    quiesce: 'quiesced startQuiesceTimer stopServices yes',
    quiesceExpired: 'active',
    abort: 'active yes',
    stepDown: 'active no:not-quiesced',
    yieldTo: 'steppingDown say persist stopServices releaseAddresses deactivated',
    takeOver: 'active no:is-primary',
    activationDone: 'active',
    deactivated: '!',
    effectFailed: 'active say',
    higherEpochSeen: 'steppingDown say persist stopServices releaseAddresses deactivated',
    rejoin: 'active no:not-fenced',
    retry: 'active',
  },
  quiesced: {
    boot: '!',
    peerSaid: 'quiesced',
    peerSilentTooLong: 'quiesced',
    addressAnswered: 'quiesced say announce',
    quiesce: 'quiesced startQuiesceTimer stopServices yes',
    quiesceExpired: 'activating stopQuiesceTimer say takeAddresses startServices activationDone',
    abort: 'activating stopQuiesceTimer say takeAddresses startServices activationDone',
    stepDown: 'steppingDown stopQuiesceTimer persist stopServices releaseAddresses deactivated',
    yieldTo: 'steppingDown say stopQuiesceTimer persist stopServices releaseAddresses deactivated',
    takeOver: 'quiesced no:is-primary',
    activationDone: '!',
    deactivated: '!',
    effectFailed: 'activating stopQuiesceTimer say no:not-quiesced takeAddresses startServices activationDone',
    higherEpochSeen: 'steppingDown say stopQuiesceTimer persist stopServices releaseAddresses deactivated',
    rejoin: 'quiesced no:not-fenced',
    retry: 'quiesced',
  },
  steppingDown: {
    boot: '!',
    peerSaid: 'steppingDown',
    peerSilentTooLong: 'steppingDown',
    addressAnswered: 'steppingDown',
    quiesce: 'steppingDown no:stepping-down',
    quiesceExpired: 'steppingDown',
    abort: 'steppingDown no:stepped-down',
    stepDown: 'steppingDown no:stepping-down',
    yieldTo: 'steppingDown no:stepping-down',
    takeOver: 'steppingDown no:stepping-down',
    activationDone: 'steppingDown stopServices releaseAddresses deactivated',
    deactivated: 'passive yes becomeStandby',
    effectFailed: 'steppingDown say retryLater',
    higherEpochSeen: 'steppingDown persist',
    rejoin: 'steppingDown no:stepping-down',
    retry: 'steppingDown stopServices releaseAddresses deactivated',
  },
  passive: {
    boot: '!',
    peerSaid: 'passive',
    peerSilentTooLong: 'passive',
    addressAnswered: 'passive',
    quiesce: 'passive no:not-primary',
    quiesceExpired: 'passive',
    abort: 'passive no:stepped-down',
    stepDown: 'passive no:not-primary',
    yieldTo: 'passive persist stopServices releaseAddresses yes',
    takeOver: 'takingOver persist yes',
    activationDone: 'passive stopServices releaseAddresses',
    deactivated: 'passive',
    effectFailed: 'passive say retryLater',
    higherEpochSeen: 'passive persist',
    rejoin: 'passive no:not-fenced',
    retry: 'passive stopServices releaseAddresses',
  },
  takingOver: {
    boot: '!',
    peerSaid: 'takingOver',
    peerSilentTooLong: 'takingOver',
    addressAnswered: 'takingOver say',
    quiesce: 'takingOver no:other-takeover',
    quiesceExpired: 'takingOver',
    abort: 'takingOver no:other-takeover',
    stepDown: 'takingOver no:other-takeover',
    yieldTo: 'steppingDown say persist stopTakeover stopServices releaseAddresses deactivated',
    takeOver: 'takingOver no:is-primary',
    activationDone: 'active becomePrimary announce say',
    deactivated: 'takingOver',
    effectFailed: 'takingOver say',
    higherEpochSeen: 'steppingDown say persist stopTakeover stopServices releaseAddresses deactivated',
    rejoin: 'takingOver no:other-takeover',
    retry: 'takingOver',
  },
  fenced: {
    boot: '!',
    peerSaid: 'fenced',
    peerSilentTooLong: 'fenced',
    addressAnswered: 'fenced',
    quiesce: 'fenced no:fenced',
    quiesceExpired: 'fenced',
    abort: 'fenced no:fenced',
    stepDown: 'fenced no:fenced',
    yieldTo: 'fenced persist stopServices releaseAddresses yes',
    takeOver: 'fenced no:fenced',
    activationDone: 'fenced stopServices releaseAddresses',
    deactivated: 'fenced',
    effectFailed: 'fenced say retryLater',
    higherEpochSeen: 'fenced persist',
    rejoin: 'passive persist becomeStandby yes',
    retry: 'fenced stopServices releaseAddresses',
  },
};

const putBackSaid = { ...events.peerSaid, isPutBack: true };

describe('a primary whose store was put back to an older state (I21)', () => {
  it('does not go into service when the other node, which has more, agrees', () => {
    expect(cell(at('settling'), putBackSaid)).toBe('held say retryLater');
  });

  it('does not start alone when the other node falls silent after it was asked', () => {
    expect(cell(at('settling'), { ...events.peerSilentTooLong, isPutBack: true })).toBe('held say retryLater');
  });

  it('goes on serving when it is in service already: whoever took the disk away under it has to be told, not the users', () => {
    expect(cell(at('active'), putBackSaid)).toBe('active');
  });

  it('steps down for the other node, and is fenced by a higher epoch', () => {
    expect(cell(at('held'), events.yieldTo)).toBe('steppingDown say persist stopServices releaseAddresses deactivated');
    expect(cell(at('settling'), { ...putBackSaid, epoch: 6 })).toBe('steppingDown say persist stopServices releaseAddresses deactivated');
  });

  it('goes into service once a person has decided for its state', () => {
    const { next } = transition(at('settling'), putBackSaid);
    const again = transition(next, events.retry).next;
    expect(cell(again, events.peerSaid)).toBe('activating takeAddresses startServices activationDone');
  });
});

describe('the table of roles', () => {
  const cells = roleStates.flatMap((state) => (Object.keys(events) as RoleEventName[]).map((event) => [state, event] as const));

  it.each(cells)('%s + %s', (state, event) => {
    expect(cell(at(state), events[event])).toBe(table[state][event]);
  });
});

describe('at boot', () => {
  const boot = events.boot;

  it('brings nothing up before the role is settled (I3)', () => {
    for (const role of ['primary', 'standby', 'fenced'] as const) {
      const { effects } = transition(initialRole('mail-b', { role, epoch: 5, seenEpoch: 5 }), boot);
      expect(effects.map(name)).not.toContain('takeAddresses');
      expect(effects.map(name).slice(0, 2)).toEqual(['stopServices', 'releaseAddresses']);
    }
  });

  it('leaves a standby passive and a fenced node fenced (I3)', () => {
    expect(cell(at('starting', { role: 'standby' }), boot)).toBe('passive stopServices releaseAddresses becomeStandby');
    expect(cell(at('starting', { role: 'fenced' }), boot)).toBe('fenced stopServices releaseAddresses becomeFenced say');
  });

  it('fences a primary that has heard of a higher epoch before it went down (I3)', () => {
    expect(cell(at('starting', { seenEpoch: 6 }), boot)).toBe('steppingDown say persist stopServices releaseAddresses deactivated');
  });

  it('goes on serving when only the agent was restarted', () => {
    expect(cell(at('starting'), { ...boot, stillActive: true })).toBe('active becomePrimary announce');
  });

  it('does not wait where nothing is configured that could be active', () => {
    expect(cell(at('starting'), { ...boot, gated: false })).toBe('active becomePrimary');
  });

  it('stays down with an interrupted takeover until the command runs again (I14)', () => {
    expect(cell(at('starting'), { ...boot, unfinishedTakeover: true, stillActive: true })).toBe(
      'takingOver stopServices releaseAddresses say',
    );
  });
});

describe('a primary that is not active yet', () => {
  const said = (change: Partial<EventOf<'peerSaid'>>) => cell(at('settling'), { ...events.peerSaid, ...change });

  it('is fenced by a peer of a higher epoch, and by one that serves in the same (I3)', () => {
    const fenced = 'steppingDown say persist stopServices releaseAddresses deactivated';
    expect(said({ role: 'primary', epoch: 6 })).toBe(fenced);
    expect(said({ role: 'standby', epoch: 6 })).toBe(fenced);
    expect(said({ role: 'primary', active: true })).toBe(fenced);
  });

  it('waits while the peer is not down, or has not heard of it', () => {
    expect(said({ active: true })).toBe('settling');
    expect(said({ role: 'primary', epoch: 4, active: true })).toBe('settling');
  });

  it('stays down when the peer claims the same and neither serves', () => {
    expect(said({ role: 'primary' })).toBe('held say retryLater');
  });

  const silent = (change: Partial<EventOf<'peerSilentTooLong'>>) => cell(at('settling'), { ...events.peerSilentTooLong, ...change });

  it('stays down when somebody answers for its address, when that is not known, and when it is cut off (I3)', () => {
    expect(silent({ answered: [{ address: '192.0.2.10', by: '02:00:00:00:00:01' }] })).toBe('held say retryLater');
    expect(silent({ answered: null })).toBe('held say retryLater');
    expect(silent({ isolated: 'yes' })).toBe('held say retryLater');
    expect(silent({ isolated: 'unknown' })).toBe(table.settling.peerSilentTooLong);
  });

  it('waits for its time', () => {
    expect(silent({ waitedMs: 59_999 })).toBe('settling settle');
  });
});

describe('a takeover', () => {
  const take = (role: NodeRole, change: Partial<EventOf<'takeOver'>>) => cell(role, { ...events.takeOver, ...change });

  it('needs an epoch above every one that somebody was primary of (I3)', () => {
    const heard = transition(at('passive'), { ...events.peerSaid, role: 'primary', epoch: 6 }).next;
    expect(take(heard, {})).toBe('passive no:old-epoch');
    expect(take(transition(at('passive'), events.higherEpochSeen).next, {})).toBe('passive no:old-epoch');
    expect(take(at('passive', { seenEpoch: 7 }), {})).toBe('passive no:old-epoch');
    expect(take(at('passive'), { epoch: 5, proof: { ...proof, epoch: 5 } })).toBe('passive no:old-epoch');
    expect(take(heard, { epoch: 7, proof: { ...proof, epoch: 7 } })).toBe('takingOver persist yes');
  });

  it.each(['standby', 'fenced'] as const)('takes the epoch that the other node went down to, and tells of: %s', (role) => {
    const heard = transition(at('passive'), { ...events.peerSaid, role, epoch: 6 }).next;
    expect(take(heard, {})).toBe('takingOver persist yes');
    expect(take(heard, { proof: { kind: 'stepped-down', epoch: 6, evidence: '' } })).toBe('takingOver persist yes');
  });

  it('takes no proof for another epoch (I3)', () => {
    expect(take(at('passive'), { proof: { ...proof, epoch: 5 } })).toBe('passive no:wrong-proof');
  });

  it('is answered again when it was done already', () => {
    expect(take(at('takingOver', { epoch: 6, seenEpoch: 6 }), {})).toBe('takingOver yes');
  });
});

describe('a switchover on the primary', () => {
  it('is for one coordinator only', () => {
    expect(cell(at('quiesced'), { ...events.quiesce, takeover: 'other' })).toBe('quiesced no:other-takeover');
    expect(cell(at('quiesced'), { ...events.stepDown, takeover: 'other' })).toBe('quiesced no:other-takeover');
    expect(cell(at('quiesced'), { ...events.abort, takeover: 'other' })).toBe('quiesced no:other-takeover');
  });

  it('takes no epoch that it has heard of (I3)', () => {
    expect(cell(at('active'), { ...events.quiesce, epoch: 5 })).toBe('active no:old-epoch');
    expect(cell(at('quiesced', { seenEpoch: 6 }), events.stepDown)).toBe('quiesced no:old-epoch');
    expect(cell(at('active'), { ...events.yieldTo, epoch: 5 })).toBe('active no:old-epoch');
  });

  it('answers a step-down again whose answer was lost', () => {
    expect(cell(at('passive', { epoch: 6, seenEpoch: 6 }), events.stepDown)).toBe('passive stopServices releaseAddresses yes');
  });

  it('answers an abort when it serves again, or could not', () => {
    const back = transition(at('quiesced'), events.abort).next;
    expect(cell(back, events.activationDone)).toBe('active becomePrimary announce yes say');
    expect(cell(back, events.effectFailed)).toBe('held no:activation-failed stopServices releaseAddresses say retryLater');
  });

  it('steps down into fenced when it yields to a failover, for its lost tail stays with it (I16)', () => {
    const { next } = transition(at('active'), events.yieldTo);
    expect(next.role).toBe('fenced');
    expect(cell(next, events.deactivated)).toBe('fenced yes becomeFenced');
  });
});

it('of two that serve in one epoch, one goes (I3)', () => {
  const other = { ...events.peerSaid, role: 'primary', active: true } as const;
  expect(cell(at('active'), { ...other, node: 'mail-a' })).toBe('steppingDown say persist stopServices releaseAddresses deactivated');
  expect(cell(at('active'), { ...other, node: 'mail-c' })).toBe('active');
});

describe('whatever happens', () => {
  const epoch = fc.integer({ min: 0, max: 9 });
  const flag = fc.boolean();
  const ask = fc.constant(1);
  const takeover = fc.constantFrom('t', 'u');
  const anyProof = fc.record({ kind: fc.constant('stepped-down' as const), epoch, evidence: fc.constant('') });
  const anyEvent: fc.Arbitrary<RoleEvent> = fc.oneof(
    fc.record({
      is: fc.constant('peerSaid' as const),
      node: fc.constantFrom('mail-a', 'mail-c'),
      role: fc.constantFrom('primary', 'standby', 'fenced'),
      epoch,
      active: flag,
      isPutBack: flag,
    }),
    fc.record({ is: fc.constant('quiesce' as const), ask, takeover, epoch }),
    fc.record({ is: fc.constant('abort' as const), ask, takeover }),
    fc.record({ is: fc.constant('stepDown' as const), ask, takeover, epoch }),
    fc.record({ is: fc.constant('yieldTo' as const), ask, epoch }),
    fc.record({ is: fc.constant('takeOver' as const), ask, takeover, epoch, proof: anyProof }),
    fc.record({ is: fc.constant('higherEpochSeen' as const), epoch, from: fc.constant('mail-a') }),
    fc.constantFrom(...Object.values(events)),
  );

  it('epochs only rise, the machine never breaks its own rules, and a fenced node comes back by rejoin alone (I3)', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('primary' as const, 'standby' as const, 'fenced' as const),
        fc.array(anyEvent, { maxLength: 40 }),
        (role, happened) => {
          let now = transition(initialRole('mail-b', { role, epoch: 5, seenEpoch: 5 }), events.boot).next;
          for (const event of happened) {
            let next: NodeRole;
            try {
              ({ next } = transition(now, event));
            } catch (error) {
              if (error instanceof Error && error.message.startsWith('the role machine got')) continue;
              throw error;
            }
            if (next.epoch < now.epoch || next.seenEpoch < now.seenEpoch) return false;
            if (now.role === 'fenced' && next.role !== 'fenced' && event.is !== 'rejoin') return false;
            if (now.role === 'standby' && next.role === 'primary' && event.is !== 'takeOver') return false;
            now = next;
          }
          return true;
        },
      ),
      { numRuns: 3000 },
    );
  });
});

describe('what others removed of the service addresses', () => {
  const durable = { role: 'primary', epoch: 5, seenEpoch: 5 } as const;

  it('is set again in service alone', () => {
    expect(roleStates.filter((state) => mayTakeAgain(at(state), { ...durable, role: roleOf[state] }, false))).toEqual(['active']);
  });

  it('is not set again when the durable state says something else, or a takeover is under way', () => {
    expect(mayTakeAgain(at('active'), { ...durable, role: 'standby' }, false)).toBe(false);
    expect(mayTakeAgain(at('active'), { ...durable, role: 'fenced' }, false)).toBe(false);
    expect(mayTakeAgain(at('active'), { ...durable, epoch: 4 }, false)).toBe(false);
    expect(mayTakeAgain(at('active', { seenEpoch: 6 }), durable, false)).toBe(false);
    expect(mayTakeAgain(at('active'), durable, true)).toBe(false);
  });
});
