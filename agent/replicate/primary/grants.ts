import { grantMax } from '../../../protocol/position.ts';
import { metaKey } from '../../journal/keys.ts';
import { packNumber, readNumber } from '../../journal/replica-index.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Kv, KvWrite } from '../../platform/kv.ts';

export const grantKey = metaKey('sent-grant');
/** Batches of so long a time share a grant: under load one flush a second, after a rest one before the first batch. */
const grantMs = 1000;

/**
 * Numbers under which this primary sends, each durable before anything is sent under it (I21).
 *
 * A crash may take the acknowledgement of batches away, never the grant that they were sent under. So a standby whose
 * position bears a higher grant than this store knows has batches that this store never sent: the store was put back to
 * an older state. What was sent within the same grant as the older state, one second at most, cannot be told apart from
 * batches whose acknowledgement was lost.
 */
export class Grants {
  readonly #kv: Kv;
  readonly #clock: Clock;
  #last: number | null;
  #takenMs = -Infinity;
  #taking: Promise<number> | null = null;

  constructor(kv: Kv, clock: Clock) {
    this.#kv = kv;
    this.#clock = clock;
    this.#last = readNumber(kv.get(grantKey));
  }

  /** The highest number that was ever taken here; null when this store never sent anything under one. */
  get last(): number | null {
    return this.#last;
  }

  /** The grant to send under now. Resolves when it is durable. */
  take(): Promise<number> {
    const { last } = this;
    if (last !== null && this.#taking === null && this.#clock.monotonicMs() - this.#takenMs < grantMs) return Promise.resolve(last);
    return (this.#taking ??= this.#takeNext().finally(() => (this.#taking = null)));
  }

  async #takeNext(): Promise<number> {
    const next = (this.#last ?? 0) + 1;
    if (next > grantMax) throw new Error('no grant is left');
    this.#last = next;
    this.#kv.commit([[grantKey, packNumber(next)]]);
    await this.#kv.flushed();
    this.#takenMs = this.#clock.monotonicMs();
    return next;
  }

  /** What to write so that a position of the standby counts as sent by this store. In force at once; the caller commits. */
  raiseTo(grant: number): KvWrite {
    this.#last = Math.max(this.#last ?? 0, grant);
    this.#takenMs = -Infinity;
    return [grantKey, packNumber(this.#last)];
  }
}
