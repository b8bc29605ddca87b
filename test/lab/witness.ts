import { setTimeout as pause } from 'node:timers/promises';
import type { Endpoint } from './dovecot.ts';
import { ImapSession } from './imap-session.ts';
import { LmtpClient } from './lmtp-client.ts';

/**
 * Mail and its readers at one address, for as long as it takes: what was accepted, and what clients saw. Whoever serves
 * there, a (UIDVALIDITY, UID) that was seen once names that message for ever (I5), and what was accepted is there once (I16).
 */
export class Witness {
  readonly users: readonly string[];
  readonly #host: string;
  readonly #password: string;
  readonly #pauseMs: number;
  readonly #stop = new AbortController();
  #work: Promise<void>[] = [];
  readonly #open = new Set<() => void>();
  #sent = 0;
  /** Message-IDs that a server took responsibility for, by user. */
  readonly accepted = new Map<string, string>();
  /** What each number was seen to name. */
  readonly #named = new Map<string, string>();
  readonly problems: string[] = [];
  /** When a login last succeeded, monotonic milliseconds. */
  lastLoginMs = 0;
  /** Number of the newest letter that a client saw, as `sent` counts them. */
  newestSeen = 0;

  /** @param options `pauseMs` lies between two letters, and between two looks: the load. Default 15. */
  constructor(options: { host: string; password: string; users: readonly string[]; pauseMs?: number }) {
    this.#host = options.host;
    this.#password = options.password;
    this.users = options.users;
    this.#pauseMs = options.pauseMs ?? 15;
  }

  get seen(): number {
    return this.#named.size;
  }

  /** How many letters were handed in so far, accepted or not. */
  get sent(): number {
    return this.#sent;
  }

  start(): void {
    this.#work = [this.#forever(() => this.#deliver()), this.#forever(() => this.#append()), this.#forever(() => this.#look())];
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#work);
  }

  /** Ends all connections: the host at their other end may be dead, and then nobody ends them. */
  hangUp(): void {
    for (const end of this.#open) end();
  }

  /** Work on a connection that `hangUp` can end. */
  async #during<T>(end: () => void, work: () => Promise<T>): Promise<T> {
    this.#open.add(end);
    try {
      return await work();
    } finally {
      this.#open.delete(end);
      end();
    }
  }

  async #session(user: string, work: (session: ImapSession) => Promise<void>): Promise<void> {
    const session = new ImapSession(this.#imap, user, this.#password);
    await this.#during(
      () => session.client.close(),
      async () => {
        await session.client.connect();
        await work(session);
      },
    );
  }

  /** Goes on whatever happens: servers come and go. */
  async #forever(step: () => Promise<void>): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await step().catch(() => {});
      await pause(this.#pauseMs);
    }
  }

  get #imap(): Endpoint {
    return { host: this.#host, port: 143 };
  }

  #next(): { user: string; id: string; message: Buffer } {
    const id = `${++this.#sent}@lab`;
    const user = this.users[this.#sent % this.users.length] ?? '';
    return { user, id, message: Buffer.from(`Message-ID: <${id}>\r\nSubject: ${id}\r\n\r\ntext of ${id}\r\n`) };
  }

  async #deliver(): Promise<void> {
    const client = await LmtpClient.open({ host: this.#host, port: 24 });
    await this.#during(
      () => client.abandon(),
      async () => {
        while (!this.#stop.signal.aborted) {
          const { user, id, message } = this.#next();
          const [answer] = await client.deliver('sender@lab', [user], message);
          if (answer?.accepted) this.accepted.set(id, user);
          await pause(this.#pauseMs);
        }
      },
    );
  }

  async #append(): Promise<void> {
    const user = this.users[0] ?? '';
    await this.#session(user, async (session) => {
      await session.attempt((client) => client.mailboxCreate('Sent'));
      while (!this.#stop.signal.aborted) {
        const { id, message } = this.#next();
        const result = await session.attempt((client) => client.append('Sent', message, ['\\Seen']));
        if ('done' in result) this.accepted.set(id, user);
        else if (result.refused.kind === 'gone') return;
        await pause(this.#pauseMs * 4);
      }
    });
  }

  async #look(): Promise<void> {
    for (const user of this.users)
      await this.#session(user, async (session) => {
        this.lastLoginMs = performance.now();
        for (let i = 0; i < 3 && !this.#stop.signal.aborted; i++)
          for (const mailbox of ['INBOX', 'Sent']) {
            await this.#read(session, user, mailbox, false);
            await pause(this.#pauseMs);
          }
      });
  }

  /** Message-IDs of a mailbox, as often as they are there. */
  async #read(session: ImapSession, user: string, mailbox: string, mustBe: boolean): Promise<string[]> {
    const opened = await session.attempt((client) => client.mailboxOpen(mailbox));
    if (!('done' in opened)) return [];
    const { uidValidity, exists } = opened.done;
    const ids: string[] = [];
    if (exists === 0) return ids;
    for await (const { uid, envelope } of session.client.fetch('1:*', { uid: true, envelope: true })) {
      const id = (envelope?.messageId ?? '?').replaceAll(/[<>]/g, '');
      const number = `${user}/${mailbox} UIDVALIDITY ${uidValidity} UID ${uid}`;
      const before = this.#named.get(number);
      if (before !== undefined && before !== id) this.problems.push(`${number} named ${before}, and now ${id} (I5)`);
      this.#named.set(number, id);
      ids.push(id);
      const letter = Number.parseInt(id, 10);
      if (letter > this.newestSeen) this.newestSeen = letter;
    }
    if (mustBe && ids.length !== exists) this.problems.push(`${user}/${mailbox} says that it holds ${exists} and shows ${ids.length}`);
    return ids;
  }

  /** Everything that was ever accepted is there, once. Nothing may be under way. */
  async check(): Promise<void> {
    const found = new Map<string, number>();
    for (const user of this.users) {
      await this.#session(user, async (session) => {
        for (const mailbox of ['INBOX', 'Sent'])
          for (const id of await this.#read(session, user, mailbox, true)) found.set(id, (found.get(id) ?? 0) + 1);
      });
    }
    for (const [id, user] of this.accepted) {
      const count = found.get(id) ?? 0;
      if (count !== 1) this.problems.push(`${id} of ${user} was accepted and is there ${count} times (I16)`);
    }
  }
}
