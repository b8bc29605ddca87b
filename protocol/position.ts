/**
 * Where a replica stands: the batch that was applied last.
 *
 * `checksum` chains over all batches, so that a peer that diverged is noticed and not taken for one that is behind.
 */
export interface Position {
  /** The epoch under which the batch was sent. */
  epoch: number;
  /** Highest journal sequence number that the batch settles. */
  seq: number;
  /** 16 hex digits. */
  checksum: string;
}

/** The position of a replica that holds nothing. */
export const emptyPosition: Position = { epoch: 0, seq: 0, checksum: '0000000000000000' };

export function samePosition(a: Position, b: Position): boolean {
  return a.epoch === b.epoch && a.seq === b.seq && a.checksum === b.checksum;
}

export function showPosition(position: Position): string {
  return `${position.epoch}:${position.seq}:${position.checksum}`;
}
