import { metaKey } from '../../journal/keys.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Kv, KvWrite } from '../../platform/kv.ts';
import { racyNs } from './context.ts';

const spanKey = metaKey('relived-time');
const seenKey = metaKey('wall-seen');
/** Less than this is within what a time must be old to be trusted. */
const toleranceMs = 5;
const longAgoNs = -(2n ** 63n);

interface Span {
  fromNs: bigint;
  toNs: bigint;
}

/**
 * Wall-clock time that passes a second time because the clock was set back, by a person, a time server or a leap second.
 *
 * What is written in it the second time can bear the very times, mtime and ctime alike, of what was read in it the first
 * time. So equal times of then prove nothing: such a file is read, until everything was compared after the clock has
 * passed the time. Kept over a restart; a clock that was set back while the agent was away is noticed by the last time seen.
 */
export class RelivedTime {
  readonly #kv: Kv;
  readonly #clock: Clock;
  #span: Span | null;
  /** Milliseconds that the wall clock was surely ahead of the monotonic one. */
  #aheadMs: number;
  #noticedAt: number;

  constructor(kv: Kv, clock: Clock) {
    this.#kv = kv;
    this.#clock = clock;
    this.#noticedAt = clock.monotonicMs();
    const wallMs = clock.wallMs();
    this.#aheadMs = wallMs - clock.monotonicMs();
    const span = kv.get(spanKey);
    this.#span = span ? { fromNs: span.readBigInt64BE(0), toNs: span.readBigInt64BE(8) } : null;
    const seenMs = kv.get(seenKey)?.readDoubleBE() ?? wallMs;
    // How far it was back in between nobody knows.
    if (seenMs > wallMs + toleranceMs) this.#add({ fromNs: longAgoNs, toNs: toNs(seenMs) + racyNs });
  }

  /** Whether this time, in nanoseconds, is one that passes or passed twice. */
  has(timeNs: bigint): boolean {
    this.#notice();
    return this.#span !== null && timeNs >= this.#span.fromNs && timeNs <= this.#span.toNs;
  }

  /** There was such a time, and the clock has passed all of it. */
  get isOver(): boolean {
    this.#notice();
    return this.#span !== null && toNs(this.#clock.wallMs()) > this.#span.toNs;
  }

  /** Everything was compared since it is over. */
  forget(): void {
    this.#span = null;
    this.#kv.commit([[spanKey, null]]);
  }

  /** Goes with every commit of what was read. */
  save(): KvWrite {
    const seen = Buffer.alloc(8);
    seen.writeDoubleBE(this.#clock.wallMs());
    return [seenKey, seen];
  }

  /** The wall clock is read between two readings of the other, so that a pause of this process is not taken for a step. */
  #notice(): void {
    const before = this.#clock.monotonicMs();
    const wallMs = this.#clock.wallMs();
    const after = this.#clock.monotonicMs();
    const [leastMs, mostMs] = [wallMs - after, wallMs + 1 - before];
    if (mostMs < this.#aheadMs - toleranceMs) {
      this.#add({ fromNs: toNs(this.#noticedAt + leastMs) - racyNs, toNs: toNs(after + this.#aheadMs) + racyNs });
      this.#aheadMs = leastMs;
    } else this.#aheadMs = Math.max(this.#aheadMs, leastMs);
    this.#noticedAt = before;
  }

  #add(span: Span): void {
    const old = this.#span ?? span;
    this.#span = { fromNs: span.fromNs < old.fromNs ? span.fromNs : old.fromNs, toNs: span.toNs > old.toNs ? span.toNs : old.toNs };
    const packed = Buffer.alloc(16);
    packed.writeBigInt64BE(this.#span.fromNs, 0);
    packed.writeBigInt64BE(this.#span.toNs, 8);
    this.#kv.commit([[spanKey, packed]]);
  }
}

function toNs(wallMs: number): bigint {
  return BigInt(Math.floor(wallMs)) * 1_000_000n;
}
