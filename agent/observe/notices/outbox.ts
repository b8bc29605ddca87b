import { sleep, type Clock } from '../../platform/clock.ts';
import type { Log } from '../../platform/log.ts';
import type { Digest } from './digest.ts';
import type { Notice } from './notice.ts';

/** One thing to deliver: some notices together, or a digest. */
export type Letter =
  | { kind: 'notices'; node: string; notices: Notice[]; leftOut: number }
  | { kind: 'digest'; node: string; at: string; digest: Digest }
  | { kind: 'test'; node: string; at: string };

/** One way to a person. `send` resolves when the other side has taken the letter. */
export interface Way {
  name: 'smtp' | 'webhook';
  send(letter: Letter, signal: AbortSignal): Promise<void>;
}

/** A text that survives a restart. */
export interface Drawer {
  read(): string | null;
  write(text: string): void;
}

interface Stored {
  notices: Notice[];
  digest: { at: string; digest: Digest } | null;
  /** Notices that did not fit; the next letter says so. */
  leftOut: number;
}

/** Bounds (I12). The oldest notice gives way when there is no room: the newest says how things are. */
export const outboxLimits = { noticesMax: 200, perLetterMax: 40 } as const;

/** What belongs together goes together. */
const gatherMs = 5000;
/** Some letters go at once; after them one in this time, so that a storm is one letter a minute. */
const burstMax = 5;
const refillMs = 60_000;
const retryFirstMs = 15_000;
const retryMaxMs = 3_600_000;
const sendMs = 60_000;

/** What is still to be delivered on one way: kept durably, sent in order, tried again with growing pauses. */
export class Outbox {
  readonly #way: Way;
  readonly #node: string;
  readonly #drawer: Drawer;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #stop = new AbortController();
  #stored: Stored;
  #wake: (() => void) | null = null;
  #running: Promise<void> | null = null;
  /** Why the last try failed; null after a success. */
  lastError: string | null = null;

  constructor(parts: { way: Way; node: string; drawer: Drawer; clock: Clock; log: Log }) {
    this.#way = parts.way;
    this.#node = parts.node;
    this.#drawer = parts.drawer;
    this.#clock = parts.clock;
    this.#log = parts.log;
    const kept = parts.drawer.read();
    this.#stored = kept === null ? { notices: [], digest: null, leftOut: 0 } : (JSON.parse(kept) as Stored);
  }

  get name(): Way['name'] {
    return this.#way.name;
  }

  get waiting(): number {
    return this.#stored.notices.length + (this.#stored.digest ? 1 : 0);
  }

  add(notices: readonly Notice[]): void {
    if (notices.length === 0) return;
    const all = [...this.#stored.notices, ...notices];
    const over = Math.max(0, all.length - outboxLimits.noticesMax);
    this.#keep({ ...this.#stored, notices: all.slice(over), leftOut: this.#stored.leftOut + over });
  }

  /** A digest that was not delivered yet gives way to the newer one. */
  addDigest(at: string, digest: Digest): void {
    this.#keep({ ...this.#stored, digest: { at, digest } });
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#wake?.();
    await this.#running;
  }

  #keep(stored: Stored): void {
    this.#stored = stored;
    this.#drawer.write(JSON.stringify(stored));
    this.#wake?.();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    let failures = 0;
    let letters = burstMax;
    let countedMs = this.#clock.monotonicMs();
    while (!signal.aborted) {
      if (this.waiting === 0) {
        await new Promise<void>((resolve) => (this.#wake = resolve));
        this.#wake = null;
        continue;
      }
      if (failures === 0) await sleep(this.#clock, gatherMs, signal);
      if (signal.aborted) return;
      const now = this.#clock.monotonicMs();
      letters = Math.min(burstMax, letters + (now - countedMs) / refillMs);
      countedMs = now;
      if (letters < 1) {
        await sleep(this.#clock, (1 - letters) * refillMs, signal);
        continue;
      }
      if (await this.#sendNext(signal)) {
        letters--;
        failures = 0;
      } else await sleep(this.#clock, Math.min(retryMaxMs, retryFirstMs * 2 ** failures++), signal);
    }
  }

  async #sendNext(signal: AbortSignal): Promise<boolean> {
    const { notices, digest, leftOut } = this.#stored;
    const batch = notices.slice(0, outboxLimits.perLetterMax);
    const letter: Letter | null =
      batch.length > 0
        ? { kind: 'notices', node: this.#node, notices: batch, leftOut }
        : digest && { kind: 'digest', node: this.#node, at: digest.at, digest: digest.digest };
    if (!letter) return true;
    try {
      await deliver(this.#way, letter, this.#clock, signal);
    } catch (error) {
      if (signal.aborted) return false;
      const text = error instanceof Error ? error.message : String(error);
      if (text !== this.lastError)
        this.#log.warn({ way: this.#way.name, reason: text, waiting: this.waiting }, 'a notice could not be delivered; it is tried again');
      this.lastError = text;
      return false;
    }
    if (this.lastError !== null) this.#log.info({ way: this.#way.name }, 'notices are delivered again');
    this.lastError = null;
    // What came in meanwhile stands behind what was sent, unless the oldest gave way; then it is found by itself.
    const gone = new Set(batch);
    if (batch.length > 0)
      this.#keep({
        ...this.#stored,
        notices: this.#stored.notices.filter((each) => !gone.has(each)),
        leftOut: Math.max(0, this.#stored.leftOut - leftOut),
      });
    else if (this.#stored.digest === digest) this.#keep({ ...this.#stored, digest: null });
    this.#log.info({ way: this.#way.name, notices: batch.length }, 'a letter was delivered');
    return true;
  }
}

/** Sends one letter within a bound of time. */
export async function deliver(way: Way, letter: Letter, clock: Clock, signal: AbortSignal, timeoutMs = sendMs): Promise<void> {
  const late = new AbortController();
  const timer = clock.after(timeoutMs, () => late.abort());
  const both = AbortSignal.any([signal, late.signal]);
  try {
    await Promise.race([
      way.send(letter, both),
      new Promise<never>((_, reject) => {
        both.addEventListener('abort', () => reject(new Error(`no answer within ${timeoutMs / 1000} s`)), { once: true });
      }),
    ]);
  } finally {
    timer.cancel();
  }
}
