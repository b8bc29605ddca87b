import type { Role } from '../../protocol/messages.ts';
import type { AnsweredAddress } from './boot.ts';

/** Words of the role machine: states, events, effects, and the form of its table. role-machine.ts runs it. */

export const roleStates = [
  /** Nothing was decided yet; only `boot` leads on. */
  'starting',
  /** A primary that has started: nothing is active until the peer agrees or stays silent for long. */
  'settling',
  /** A primary that stays down and says why; it looks again. */
  'held',
  /** Takes its addresses and starts the services. */
  'activating',
  'active',
  /** Services stopped for a switchover, which may still be given up. */
  'quiesced',
  /** Durably no primary any more, and not yet known to be down. */
  'steppingDown',
  /** Standby. */
  'passive',
  /** Durably primary of a new epoch; the takeover's steps are still under way, or were interrupted. */
  'takingOver',
  /** Was primary of an epoch that is over. Stays down until `mailtwin rejoin`. */
  'fenced',
] as const;
export type RoleState = (typeof roleStates)[number];

export interface NodeRole {
  node: string;
  state: RoleState;
  /** Durable, with `epoch` and `seenEpoch`. */
  role: Role;
  /** The epoch of this node's role. Never falls. */
  epoch: number;
  /** Highest epoch that this node has heard of; at least `epoch`. */
  seenEpoch: number;
  /** Why it is as it is, for people. */
  because: string;
  /** The switchover that this node is quiesced for. */
  takeover: string | null;
  /** Who waits for the answer that comes when this node is down. */
  asker: number | null;
}

/** How the other node was proven not to be active. */
export type Proof =
  /** It said, durably, that it is no primary any more at this epoch, and not active. */
  | { kind: 'stepped-down'; epoch: number; evidence: string }
  /** Fencing proved it off. */
  | { kind: 'receipt'; id: string; epoch: number; evidence: string };

/** `ask` numbers the one who waits for an answer; role-keeper.ts gives it. */
export type RoleEvent =
  /** `stillActive`: the agent was restarted on a host that is active, since before, without a break. `gated`: the configuration has services or addresses. */
  | { is: 'boot'; stillActive: boolean; gated: boolean; unfinishedTakeover: boolean }
  /** `isPutBack`: its position says that this node's store is an older state of itself (I21). */
  | { is: 'peerSaid'; node: string; role: Role; epoch: number; active: boolean; isPutBack: boolean }
  | {
      is: 'peerSilentTooLong';
      waitedMs: number;
      startAloneMs: number;
      answered: readonly AnsweredAddress[] | null;
      isolated: 'yes' | 'no' | 'unknown';
      isPutBack: boolean;
    }
  /** Somebody else answers for a service address. */
  | { is: 'addressAnswered'; address: string; by: string }
  | { is: 'quiesce'; ask: number; takeover: string; epoch: number }
  /** Nothing was heard of the switchover for `takeover.quiesceMaxSeconds`. */
  | { is: 'quiesceExpired' }
  | { is: 'abort'; ask: number; takeover: string }
  | { is: 'stepDown'; ask: number; takeover: string; epoch: number }
  /** Cooperative fencing: the other node takes over without what is not there yet. */
  | { is: 'yieldTo'; ask: number; epoch: number }
  | { is: 'takeOver'; ask: number; takeover: string; epoch: number; proof: Proof }
  | { is: 'activationDone' }
  /** Services are stopped and addresses gone. */
  | { is: 'deactivated' }
  | { is: 'effectFailed'; effect: EffectName; reason: string }
  | { is: 'higherEpochSeen'; epoch: number; from: string }
  /** A person brings this node back as a standby, after salvage. */
  | { is: 'rejoin'; ask: number }
  /** The time that `retryLater` asked for is over. */
  | { is: 'retry' };
export type RoleEventName = RoleEvent['is'];
export type EventOf<E extends RoleEventName> = Extract<RoleEvent, { is: E }>;

export type Effect =
  /** Durable before anything that follows. */
  | { do: 'persist'; role: Role; epoch: number; seenEpoch: number }
  | { do: 'stopServices' }
  | { do: 'releaseAddresses' }
  | { do: 'takeAddresses' }
  | { do: 'startServices' }
  | { do: 'announce' }
  /** Begin to wait for the peer; feed `peerSilentTooLong` when it stays silent. */
  | { do: 'settle' }
  /** Begin, or begin anew, the time after which `quiesceExpired` comes. */
  | { do: 'startQuiesceTimer' }
  | { do: 'stopQuiesceTimer' }
  /** What runs of a takeover on this node must not go on. */
  | { do: 'stopTakeover'; because: string }
  | { do: 'becomePrimary' }
  | { do: 'becomeStandby' }
  | { do: 'becomeFenced' }
  | { do: 'retryLater' }
  | { do: 'answer'; ask: number; ok: boolean; code: string; text: string; remedy: string }
  | { do: 'say'; level: 'info' | 'warn' | 'error'; code: string; text: string; remedy: string }
  /** Everything before it succeeded. */
  | { do: 'feed'; event: EventOf<'activationDone'> | EventOf<'deactivated'> };
export type EffectName = Effect['do'];

export interface Outcome {
  next: NodeRole;
  effects: Effect[];
}

export type Cell<E extends RoleEventName> = (role: NodeRole, event: EventOf<E>) => Outcome;
/** A missing cell does not compile. */
export type RoleTable = { [S in RoleState]: { [E in RoleEventName]: Cell<E> } };
