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
  /**
   * 16 hex digits: the number of the grant under which the batch was sent (8), which rises and is durable on the primary
   * before anything is sent under it, and a digest that chains over all batches (8).
   */
  checksum: string;
}

/** Digits of the checksum that are the grant's number. */
const grantDigits = 8;
export const grantMax = 2 ** (4 * grantDigits) - 1;

/** The number of the grant under which the batch of a position was sent. Means something only within one epoch. */
export function grantOf({ checksum }: Position): number {
  return Number.parseInt(checksum.slice(0, grantDigits), 16);
}

/** The checksum of a batch that is sent under a grant; `chain` is hexadecimal and covers all batches before it. */
export function checksumOf(grant: number, chain: string): string {
  return grant.toString(16).padStart(grantDigits, '0') + chain.slice(0, 16 - grantDigits);
}

/** The position of a replica that holds nothing. */
export const emptyPosition: Position = { epoch: 0, seq: 0, checksum: '0000000000000000' };

export function samePosition(a: Position, b: Position): boolean {
  return a.epoch === b.epoch && a.seq === b.seq && a.checksum === b.checksum;
}

export function showPosition(position: Position): string {
  return `${position.epoch}:${position.seq}:${position.checksum}`;
}
