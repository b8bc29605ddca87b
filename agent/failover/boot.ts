import type { PeerWord } from '../../protocol/takeover.ts';
import type { Role } from '../../protocol/messages.ts';

/**
 * The rules of a node's start, pure: what it may do before anything of it is active (I3).
 *
 * - `judgePeer(own, peer)`: what the word of the other node means for a primary that is not active yet.
 * - `decideAlone(facts)`: whether a primary whose peer stays silent may start, waits, or stays down.
 */

export interface OwnClaim {
  node: string;
  role: Role;
  epoch: number;
}

/**
 * - `agrees`: this node may become active.
 * - `outdated`: the peer knows a higher epoch, or holds the service in the same one: this node is fenced.
 * - `wait`: the peer is not down yet and will be, or it has not heard of this node's epoch; it says so soon.
 * - `rival`: both are primary of one epoch and neither is active: a person decides.
 * - `put-back`: the peer has what this node's store never sent, so the store is an older state: a person decides (I21).
 */
export type PeerJudgement = 'agrees' | 'outdated' | 'wait' | 'rival' | 'put-back';

/** `isPutBack`: this node's store is known to be an older state than the peer's copy of it. */
export function judgePeer(own: OwnClaim, peer: Omit<PeerWord, 'state'>, isPutBack: boolean): PeerJudgement {
  if (peer.epoch > own.epoch) return 'outdated';
  if (peer.role !== 'primary') return peer.active ? 'wait' : isPutBack ? 'put-back' : 'agrees';
  // A primary of a lower epoch is fenced as soon as it hears of this one.
  if (peer.epoch < own.epoch) return 'wait';
  return peer.active ? 'outdated' : 'rival';
}

/** What somebody answers for a service address. */
export interface AnsweredAddress {
  address: string;
  /** MAC address, or whatever tells who it is. */
  by: string;
  /** It is the gateway, which answers for addresses that nobody has as well. */
  isProxy?: boolean;
}

export interface AloneFacts {
  /** Since this node began to listen, on the monotonic clock (I17). */
  waitedMs: number;
  /** `takeover.startAloneSeconds`. */
  startAloneMs: number;
  /** Service addresses that somebody else answers for; null = the probe could not be made. */
  answered: readonly AnsweredAddress[] | null;
  /** `yes`: gateways or witnesses are configured and none of them answers. */
  isolated: 'yes' | 'no' | 'unknown';
  /** This node's store is known to be an older state than the peer's copy of it, since the peer was last heard. */
  isPutBack: boolean;
}

/** What an operator reads of a store that was put back to an older state. */
export const putBackHeld = {
  code: 'put-back',
  because: 'the other node has mail that this node sent before its store was put back to an older state; this node does not serve',
  remedy:
    'see `mailtwin status` for what the standby has more; then run `mailtwin failover` on the standby, or `mailtwin keep-this-store` here',
} as const;

export type AloneDecision =
  | { is: 'wait'; forMs: number }
  | { is: 'start'; because: string }
  | { is: 'stay-down'; code: string; because: string; remedy: string };

/**
 * A primary whose peer is silent. It starts alone after a waiting time, unless somebody answers for its addresses, or
 * it hears nobody at all: a node that is cut off cannot know who else is active.
 */
export function decideAlone(facts: AloneFacts): AloneDecision {
  const { waitedMs, startAloneMs, answered, isolated, isPutBack } = facts;
  if (waitedMs < startAloneMs) return { is: 'wait', forMs: startAloneMs - waitedMs };
  if (answered === null)
    return {
      is: 'stay-down',
      code: 'probe-failed',
      because: 'the peer is silent, and whether somebody answers for the service addresses could not be found out',
      remedy: 'see why the probe fails (`mailtwin nics`), or let the other node be heard',
    };
  if (isPutBack) return { is: 'stay-down', ...putBackHeld };
  const [first] = answered;
  if (first)
    return {
      is: 'stay-down',
      code: 'address-answered',
      because: `the peer is silent, and ${first.by} answers for the service address ${first.address}${answered.length > 1 ? ` and ${answered.length - 1} more` : ''}`,
      remedy: 'find out who holds the address; if the other node has taken over, run `mailtwin rejoin` here',
    };
  if (isolated === 'yes')
    return {
      is: 'stay-down',
      code: 'isolated',
      because: 'the peer is silent, and so is every gateway and witness: this node is cut off, not its peer dead',
      remedy: 'mend the network of this node; it starts by itself when a gateway or witness answers',
    };
  return {
    is: 'start',
    because: `the peer has been silent for ${Math.round(waitedMs / 1000)} s and nobody answers for the service addresses`,
  };
}
