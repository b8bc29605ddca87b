import { AssertionError } from 'node:assert';
import { Backoff } from '../platform/backoff.ts';
import { sleep, type Clock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Log } from '../platform/log.ts';

/** What people are told of a part that does not work. */
export interface PartTrouble {
  level: 'warn' | 'error';
  code: string;
  text: string;
  remedy: string;
}

export interface SupervisorParts {
  clock: Clock;
  log: Log;
  /** What cannot be mended in this process: it must end. */
  fatal: (what: string, error: unknown) => void;
}

/** A part that began again and has run for this long works. */
const worksAfterMs = 10_000;
/** How often it is looked whether what a part waits for has come, in milliseconds. */
const waitsEveryMs = 1000;

/**
 * Starts long-lived parts, and starts one that failed again, with backoff: one part's fault costs that part alone. The
 * process ends only for what cannot be mended in it: a broken assertion about roles (I3), a damaged store.
 */
export class Supervisor {
  readonly #p: SupervisorParts;
  readonly #stopping = new AbortController();
  readonly #backoffs = new Map<string, Backoff>();
  readonly #troubles = new Map<string, PartTrouble>();
  /** Stacks that were logged already: a part that fails in one way again and again fills no log. */
  readonly #logged = new Map<string, string>();

  constructor(parts: SupervisorParts) {
    this.#p = parts;
  }

  /** Aborts when the agent stops. */
  get signal(): AbortSignal {
    return this.#stopping.signal;
  }

  /** What does not work now, for status. */
  get troubles(): readonly PartTrouble[] {
    return [...this.#troubles.values()];
  }

  /**
   * Runs a part until it ends by itself, `signal` aborts or the agent stops. When it fails it is begun again.
   *
   * @returns a promise that never rejects.
   */
  async keep(what: string, run: (signal: AbortSignal) => Promise<unknown>, signal?: AbortSignal): Promise<void> {
    const { clock } = this.#p;
    const over = signal ? AbortSignal.any([signal, this.signal]) : this.signal;
    while (!over.aborted) {
      const works = clock.after(worksAfterMs, () => this.works(what));
      try {
        await run(over);
        works.cancel();
        this.works(what);
        return;
      } catch (error) {
        works.cancel();
        if (over.aborted) return;
        const waitMs = this.failed(what, error);
        if (waitMs === null) return;
        await sleep(clock, waitMs, over);
      }
    }
  }

  /**
   * A part failed. Logs it, shows it in status until `works`, and says how long to wait before it is begun again, in
   * milliseconds; null when the process ends instead.
   */
  failed(what: string, error: unknown): number | null {
    const { clock, log, fatal } = this.#p;
    if (isFatal(error)) {
      fatal(what, error);
      return null;
    }
    const backoff = this.#backoffs.get(what) ?? new Backoff();
    this.#backoffs.set(what, backoff);
    const waitMs = backoff.failed(clock.monotonicMs());
    const reason = error instanceof Error ? error.message : String(error);
    const isNew = this.#logged.get(what) !== reason;
    this.#logged.set(what, reason);
    const operator = error instanceof OperatorError ? error : null;
    const stack = isNew && operator === null && error instanceof Error ? error.stack : undefined;
    log.error(
      { ...(operator && { code: operator.code }), error: stack ?? reason, againSeconds: waitMs / 1000 },
      `${what} failed; it is started again`,
    );
    this.#troubles.set(what, troubleOf(what, reason, operator));
    return waitMs;
  }

  /** A part waits for something outside of this process, which a person may have to bring. Said once, and shown until `works`. */
  waits(what: string, error: OperatorError): number {
    if (this.#logged.get(what) !== error.message)
      this.#p.log.error({ code: error.code, remedy: error.remedy }, `${what} waits: ${error.message}`);
    this.#logged.set(what, error.message);
    this.#troubles.set(what, troubleOf(what, error.message, error));
    return waitsEveryMs;
  }

  /** A part works (again). */
  works(what: string): void {
    if (this.#troubles.delete(what)) this.#p.log.info({}, `${what} works again`);
    this.#logged.delete(what);
  }

  stop(): void {
    this.#stopping.abort();
  }
}

function troubleOf(what: string, reason: string, operator: OperatorError | null): PartTrouble {
  if (operator) return { level: 'error', code: operator.code, text: operator.message, remedy: operator.remedy };
  return {
    level: 'error',
    code: 'part-failed',
    text: `${what} failed and is started again: ${reason}`,
    remedy: 'The log of the agent has the details (`journalctl -u mailtwin`). When it does not pass, send a `mailtwin support-bundle`.',
  };
}

/** What no new beginning of a part mends. */
export function isFatal(error: unknown): boolean {
  return error instanceof AssertionError || (error instanceof OperatorError && error.code === 'store-damaged');
}
