import type { Clock, Timer } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';
import { doorLimits } from './doorkeeper.ts';

/** Why a connection was ended before it was the peer's. */
export type TurnedAwayReason = keyof typeof words;

const words = {
  late: `showed no key within ${doorLimits.strangerMs / 1000} s`,
  crowded: 'gave way to a newer one, because too many waited',
  key: 'showed another key than the pinned one, or none was pinned',
  tls: 'failed at TLS',
} as const;

const everyMs = 60_000;
/** So many are told one by one, then only their number. */
const linesMax = 10;

/** Counts what was turned away and tells the log: a flood is a few lines in a minute, not a thousand. */
export class TurnedAway {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #count: (reason: TurnedAwayReason) => void;
  #lines = 0;
  readonly #more = new Map<TurnedAwayReason, { count: number; from: string }>();
  #timer: Timer | null = null;

  /** @param count counts one for the metrics. */
  constructor(clock: Clock, log: Log, count: (reason: TurnedAwayReason) => void) {
    this.#clock = clock;
    this.#log = log;
    this.#count = count;
  }

  /** @param said what to say of this one, with facts for the log; in general words when left out, null when the log has been told. */
  note(reason: TurnedAwayReason, address: string, said?: { text: string; facts: object } | null): void {
    this.#count(reason);
    if (said === null) return;
    this.#timer ??= this.#clock.after(everyMs, () => this.#minute());
    if (this.#lines < linesMax) {
      this.#lines++;
      this.#log.warn({ reason, address, ...said?.facts }, said?.text ?? `a connection from ${address} ${words[reason]}`);
      return;
    }
    const before = this.#more.get(reason);
    this.#more.set(reason, { count: (before?.count ?? 0) + 1, from: address });
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #minute(): void {
    this.#timer = null;
    this.#lines = 0;
    for (const [reason, { count, from }] of this.#more)
      this.#log.warn(
        { reason, count, address: from },
        `${count} more connections within a minute, the last from ${from}: each ${words[reason]}`,
      );
    this.#more.clear();
  }
}
