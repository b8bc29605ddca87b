import type { Dovecot } from '../../lab/dovecot.ts';
import { runLoad } from '../../lab/imap-load.ts';
import type { LoadRecord } from '../../lab/load-record.ts';

const foreverSeconds = 24 * 3600;

/** IMAP and LMTP work on one user's mail that stops when his disk goes, and begins again with it. */
export class UserLoad {
  readonly user: string;
  readonly #dovecot: Dovecot;
  readonly #record: LoadRecord;
  readonly #seed: string;
  #rounds = 0;
  #over: AbortController | null = null;
  #work: Promise<unknown> = Promise.resolve();
  /** What ended the work although nobody took anything away. */
  failure: string | null = null;

  constructor(options: { user: string; dovecot: Dovecot; record: LoadRecord; seed: string }) {
    this.user = options.user;
    this.#dovecot = options.dovecot;
    this.#record = options.record;
    this.#seed = options.seed;
  }

  start(): void {
    if (this.#over !== null) return;
    const over = (this.#over = new AbortController());
    this.#work = runLoad({
      dovecot: this.#dovecot,
      seed: `${this.#seed}/${this.user}/${this.#rounds++}`,
      seconds: foreverSeconds,
      users: [this.user],
      imapClients: 1,
      lmtpClients: 1,
      pauseMs: 120,
      record: this.#record,
      signal: over.signal,
    }).catch((error: unknown) => {
      if (!over.signal.aborted) this.failure = error instanceof Error ? error.message : String(error);
    });
  }

  /** Resolves when no client works any more and the server has let go of the user's files. */
  async stop(): Promise<void> {
    this.#over?.abort();
    this.#over = null;
    await this.#work;
    await this.#dovecot.doveadm(['kick', this.user], { mayFail: true });
  }
}
