import { sleep, type Clock } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';

type Close = () => Promise<void> | void;

/**
 * How long each part of the end may take, in milliseconds. Together less than the ten seconds of I23: what is not done by
 * then is left, which costs nothing that was acknowledged, because the agent may be killed at every moment.
 */
const boundsMs = { starting: 1500, first: 2500, second: 3500, last: 1000 };

/** What is to be closed when the agent ends: first all that speaks with others, then the role, last the store. */
export class Closing {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #first: Close[] = [];
  readonly #second: Close[] = [];
  readonly #last: Close[] = [];

  constructor(clock: Clock, log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  first(close: Close): void {
    this.#first.push(close);
  }

  second(close: Close): void {
    this.#second.push(close);
  }

  last(close: Close): void {
    this.#last.push(close);
  }

  /** Ends everything, within the bounds; `starting` is a start that is under way. Never rejects. */
  async close(starting: Promise<void> | null): Promise<void> {
    const started = await this.#within(boundsMs.starting, 'the start', [() => starting?.catch(() => {})]);
    const quiet = await this.#within(boundsMs.first, 'connections', this.#first.splice(0));
    const left = await this.#within(boundsMs.second, 'the work of the role', this.#second.splice(0));
    // Somebody may still use the store; it takes no harm from being left open.
    if (started && quiet && left) await this.#within(boundsMs.last, 'the store', this.#last.splice(0));
  }

  /** False when the time was over before all were closed. */
  async #within(ms: number, what: string, closers: readonly (() => Promise<void> | void | undefined)[]): Promise<boolean> {
    const late = new AbortController();
    const closing = Promise.all(
      closers.map(async (close) => {
        try {
          await close();
        } catch (error) {
          this.#log.error({ error: error instanceof Error ? error.message : String(error) }, 'while stopping');
        }
      }),
    ).then(() => true);
    const inTime = await Promise.race([closing, sleep(this.#clock, ms, late.signal).then(() => false)]);
    late.abort();
    if (!inTime) this.#log.warn({ seconds: ms / 1000 }, `${what} did not end in time and is left as it is`);
    return inTime;
  }
}
