import { samePosition, showPosition, type Position } from '../../../protocol/position.ts';
import { metaKey } from '../../journal/keys.ts';
import { readNumber } from '../../journal/replica-index.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Kv, KvWrite } from '../../platform/kv.ts';
import { readPosition } from '../standby/receiver.ts';
import { grantKey } from './grants.ts';
import { judgeStands } from './standby-stands.ts';
import type { Surplus } from './surplus.ts';

/** That this store was put back to an older state, as it is kept until a person has decided. */
export interface PutBackFound {
  /** Where the standby is; null when the numbers of the mailboxes told it. */
  peer: Position | null;
  /** Mailboxes whose numbers fell, for people; null when positions told it. */
  fallen: string | null;
  /** Wall clock, milliseconds. */
  foundMs: number;
}

const key = metaKey('put-back');
/** The last batch that was acknowledged. */
export const sentPositionKey = metaKey('sent-position');

/**
 * Whether this primary's store is an older state than the one that its standby has batches of (I21). Durable, because
 * such a store does not serve on its own when the standby falls silent after it was asked.
 */
export class PutBack {
  readonly #kv: Kv;
  readonly #clock: Clock;
  #found: PutBackFound | null;
  /** What the standby has more; null until it was compared. */
  surplus: Surplus | null = null;

  constructor(kv: Kv, clock: Clock) {
    this.#kv = kv;
    this.#clock = clock;
    const stored = kv.get(key);
    this.#found = stored ? (JSON.parse(stored.toString()) as PutBackFound) : null;
  }

  get found(): PutBackFound | null {
    return this.#found;
  }

  /** The standby is at a position that this store never made. False when that was known. */
  find(peer: Position): boolean {
    if (this.#found?.peer && samePosition(this.#found.peer, peer)) return false;
    this.#keep(peer, this.#found?.fallen ?? null);
    return true;
  }

  /** The numbers of mailboxes are lower than they were: the volume with the mail was put back. */
  findByNumbers(fallen: string): void {
    this.#keep(this.#found?.peer ?? null, fallen);
  }

  #keep(peer: Position | null, fallen: string | null): void {
    this.#found = { peer, fallen, foundMs: Math.floor(this.#clock.wallMs()) };
    this.surplus = null;
    this.#kv.commit([[key, Buffer.from(JSON.stringify(this.#found))]]);
  }

  /** It is over. In force at once; the caller commits. */
  end(): KvWrite {
    this.#found = null;
    this.surplus = null;
    return [key, null];
  }
}

/** The same for a primary that cannot work as one yet: its store alone tells whether it is an older state. */
export function meetByStore(kv: Kv, clock: Clock, epoch: number, peer: Position): void {
  const putBack = new PutBack(kv, clock);
  const durable = readPosition(kv, sentPositionKey);
  const stands = judgeStands({ peer, epoch, durable, inFlight: [], lastGrant: readNumber(kv.get(grantKey)) });
  if (stands === 'ours-put-back') putBack.find(peer);
  else if (putBack.found?.peer) kv.commit([putBack.end()]);
}

/** What is wrong, for people. */
export function putBackText({ peer, fallen }: PutBackFound, surplus: Surplus | null, own: Position): string {
  const more = surplus === null ? 'what the standby has more is being counted' : `the standby has ${surplusText(surplus)}`;
  const why = peer
    ? `the standby is at ${showPosition(peer)}, which was never sent from this store (${showPosition(own)})`
    : `mailboxes have lower numbers than they had: ${fallen}`;
  return `the store of this node is an older state: ${why}; ${more}; nothing is sent until a person has decided`;
}

function surplusText({ mailboxes, messages, files, seconds }: Surplus): string {
  const n = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`;
  const parts = [
    ...(messages > 0 || files === 0
      ? [`${n(messages, 'message')} more in ${n(mailboxes, 'mailbox').replace('mailboxs', 'mailboxes')}`]
      : []),
    ...(files > 0 ? [`${n(files, 'other file')} more`] : []),
  ].join(' and ');
  return seconds === null ? parts : `${parts}, and what came in the last ${seconds} s before its newest change`;
}

export const putBackRemedy =
  'run `mailtwin failover` on the standby to go on with what it has, or `mailtwin keep-this-store` here to go on with this state; the newer mail of the standby then stays in its history';
