import { createHash } from 'node:crypto';
import { ImapFlow } from 'imapflow';
import type { Endpoint } from './dovecot.ts';

/** What the server said to a command that it refused, or why the connection ended. */
export interface Refusal {
  kind: 'no' | 'gone';
  code: string;
  text: string;
}

/** An IMAP connection for tests, with the server's refusals at hand: imapflow only logs some of them. */
export class ImapSession {
  readonly client: ImapFlow;
  #logged: unknown = null;

  /** @throws when the server cannot be reached or refuses the user. */
  static async open(endpoint: Endpoint, user: string, password: string): Promise<ImapSession> {
    const session = new ImapSession(endpoint, user, password);
    await session.client.connect();
    return session;
  }

  constructor(endpoint: Endpoint, user: string, password: string) {
    const note = (entry: { err?: unknown }) => {
      this.#logged = entry.err ?? this.#logged;
    };
    this.client = new ImapFlow({
      ...endpoint,
      secure: false,
      doSTARTTLS: false,
      disableCompression: true,
      disableAutoIdle: true,
      socketTimeout: 60_000,
      auth: { user, pass: password },
      logger: { debug() {}, info() {}, warn: note, error: note },
    });
    // The command under way fails too; without a listener the event would end the process.
    this.client.on('error', () => {});
  }

  /**
   * Runs a command, and gives its result or the server's refusal.
   *
   * @throws what is neither: a protocol error, a BAD answer, a fault of the test.
   */
  async attempt<T>(command: (client: ImapFlow) => Promise<T | false>): Promise<{ done: T } | { refused: Refusal }> {
    this.#logged = null;
    let failure: unknown;
    try {
      const result = await command(this.client);
      if (result !== false) return { done: result };
      failure = this.#logged;
    } catch (error) {
      failure = error;
    }
    const facts = (failure ?? {}) as Partial<Record<'responseStatus' | 'serverResponseCode' | 'responseText' | 'code' | 'message', string>>;
    if (facts.responseStatus === 'NO')
      return { refused: { kind: 'no', code: facts.serverResponseCode ?? '', text: facts.responseText ?? '' } };
    if (!this.client.usable) return { refused: { kind: 'gone', code: facts.code ?? '', text: this.client.byeReason ?? '' } };
    // imapflow gives false without a word when no message is in range.
    if (failure === null) return { refused: { kind: 'no', code: 'EMPTY', text: 'nothing in range' } };
    throw new Error(`${facts.responseStatus ?? facts.code ?? ''} ${facts.responseText ?? facts.message ?? 'failed'}`, { cause: failure });
  }

  async close(): Promise<void> {
    try {
      if (this.client.usable) await this.client.logout();
    } finally {
      this.client.close();
    }
  }
}

export function sha256(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

/** The Message-ID of a raw message or of its header; empty when it has none. */
export function messageIdOf(data: Buffer): string {
  const head = data.subarray(0, 64 * 1024).toString('latin1');
  return /^message-id:\s*(<[^>\r\n]*>)/im.exec(head)?.[1] ?? '';
}
