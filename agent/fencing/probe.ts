import type { LevelReading } from '../../protocol/control.ts';
import { sleep, type Clock } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';
import type { Fencing } from './fencing.ts';

/** A reading and how old it is by the monotonic clock. */
export interface ProbeReading extends LevelReading {
  ageMs: number;
}

export interface ProbeParts {
  fencing: Fencing;
  clock: Clock;
  log: Log;
  /** From the end of one round to the next, in milliseconds. Default five minutes. */
  everyMs?: number;
}

const everyMsDefault = 5 * 60_000;
/** A reading that was not renewed in this many rounds is not repeated (I18). */
const roundsMax = 2.5;

/** Reads the fence levels now and then, so that a BMC that stopped answering is known before it is needed. Changes nothing. */
export class FenceProbe {
  readonly #parts: ProbeParts;
  readonly #everyMs: number;
  readonly #last = new Map<number, { reading: LevelReading; atMs: number }>();
  readonly #stop = new AbortController();
  #running: Promise<void> | null = null;

  constructor(parts: ProbeParts) {
    this.#parts = parts;
    this.#everyMs = parts.everyMs ?? everyMsDefault;
  }

  /** Reads until `stop`, the first round at once. Rejects only for a fault of mailtwin itself. */
  run(): Promise<void> {
    if (this.#parts.fencing.levels.length === 0) return Promise.resolve();
    const running = this.#run();
    this.#running = running.catch(() => {});
    return running;
  }

  /** Ends a round that is under way; resolves when nothing runs any more. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** The last reading of each level that is not too old, in the order of the levels. */
  readings(): ProbeReading[] {
    const now = this.#parts.clock.monotonicMs();
    return [...this.#last.values()]
      .map(({ reading, atMs }) => ({ ...reading, ageMs: now - atMs }))
      .filter(({ ageMs }) => ageMs <= this.#everyMs * roundsMax)
      .sort((a, b) => a.level - b.level);
  }

  /** Takes a reading that was made elsewhere, by `mailtwin fence test`. */
  note(reading: LevelReading): void {
    const before = this.#last.get(reading.level)?.reading.error?.code;
    this.#last.set(reading.level, { reading, atMs: this.#parts.clock.monotonicMs() });
    const { error, name, level } = reading;
    if (error && error.code !== before) this.#parts.log.warn({ level, name, ...error }, 'a fence level cannot be used as it is');
    if (!error && before !== undefined) this.#parts.log.info({ level, name }, 'the fence level can be used again');
  }

  async #run(): Promise<void> {
    const { fencing, clock } = this.#parts;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      for await (const reading of fencing.test(signal)) if (!signal.aborted) this.note(reading);
      await sleep(clock, this.#everyMs, signal);
    }
  }
}
