import { grantOf, samePosition, type Position } from '../../../protocol/position.ts';

/** What the primary knows when a standby says where it stands. */
export interface StandsFacts {
  /** Where the standby says that it is. */
  peer: Position;
  /** Epoch of this primary. */
  epoch: number;
  /** The last batch that was acknowledged. */
  durable: Position;
  /** Batches that were sent on the last connection, and not acknowledged on it. */
  inFlight: readonly Position[];
  /** `Grants.last`. */
  lastGrant: number | null;
}

/**
 * - `known`: where a batch of ours ended that this process remembers.
 * - `new`: it has no position that a primary made: it is new, or adopted files.
 * - `unacknowledged`: at a batch that may have been sent from here before a crash.
 * - `ours-put-back`: it has batches that this store never sent: this store is an older state (I21).
 * - `theirs-put-back`: it had more, and acknowledged it: the standby is an older state.
 * - `other-primary`: where the primary of an earlier epoch left it.
 */
export type Stands = 'known' | 'new' | 'unacknowledged' | 'ours-put-back' | 'theirs-put-back' | 'other-primary';

/** Where the standby stands, as far as positions tell it. Pure. */
export function judgeStands({ peer, epoch, durable, inFlight, lastGrant }: StandsFacts): Stands {
  if (samePosition(peer, durable) || inFlight.some((position) => samePosition(position, peer))) return 'known';
  if (peer.epoch === 0) return 'new';
  if (peer.epoch > epoch) return 'ours-put-back';
  if (peer.epoch < epoch) return durable.epoch === epoch ? 'theirs-put-back' : 'other-primary';
  // Nothing was ever sent under this epoch from here, as far as this store knows.
  if (durable.epoch > 0 && durable.epoch < epoch && lastGrant === null) return 'ours-put-back';
  // A store of a release before grants, or one that was lost with all that it knew.
  if (lastGrant === null) return 'unacknowledged';
  const isOlder = durable.epoch === epoch && (peer.seq < durable.seq || (peer.seq === durable.seq && grantOf(peer) < grantOf(durable)));
  if (isOlder) return 'theirs-put-back';
  return grantOf(peer) > lastGrant ? 'ours-put-back' : 'unacknowledged';
}
