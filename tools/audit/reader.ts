import { createHash } from 'node:crypto';
import { ImapFlow } from 'imapflow';
import type { AuditEndpoint, Login } from './endpoint.ts';
import { readSubscriptions } from './lsub.ts';
import type { AccountSnapshot, ListedMailbox, MailboxSnapshot, MessageSnapshot } from './snapshot.ts';

export interface ReaderOptions {
  /** Takes any certificate: for a server that is reached under another name than it usually has. */
  insecure: boolean;
}

/** Reads one user's mail by IMAP and changes nothing: EXAMINE and BODY.PEEK only. */
export class MailReader {
  readonly #endpoint: AuditEndpoint;
  readonly #login: Login;
  readonly #options: ReaderOptions;
  #client: ImapFlow;

  /** @throws when the server cannot be reached or refuses the user. */
  static async open(endpoint: AuditEndpoint, login: Login, options: ReaderOptions): Promise<MailReader> {
    const reader = new MailReader(endpoint, login, options);
    await reader.#client.connect();
    return reader;
  }

  constructor(endpoint: AuditEndpoint, login: Login, options: ReaderOptions) {
    this.#endpoint = endpoint;
    this.#login = login;
    this.#options = options;
    this.#client = this.#newClient();
  }

  async account(): Promise<AccountSnapshot> {
    const mailboxes: ListedMailbox[] = (await this.#client.list()).map((each) => ({
      path: each.path,
      delimiter: each.delimiter,
      selectable: !each.flags.has('\\Noselect') && !each.flags.has('\\NonExistent'),
      // What imapflow only guesses from the name is not the server's word.
      specialUse: each.specialUseSource === 'extension' ? (each.specialUse ?? null) : null,
    }));
    return { mailboxes, subscriptions: await this.#subscriptions() };
  }

  /** @throws when the server does not open the mailbox. */
  async mailbox(path: string): Promise<MailboxSnapshot> {
    const opened = await this.#client.mailboxOpen(path, { readOnly: true });
    const hasModseq = opened.noModseq !== true && opened.highestModseq !== undefined;
    const messages: MessageSnapshot[] = [];
    if (opened.exists > 0) {
      const query = { uid: true, flags: true, internalDate: true, size: true, source: true };
      for await (const message of this.#client.fetch('1:*', query)) {
        const flags = [...(message.flags ?? [])].filter((flag) => flag !== '\\Recent').sort();
        const date = message.internalDate;
        messages.push({
          uid: message.uid,
          flags: flags.filter((flag) => flag.startsWith('\\')),
          keywords: flags.filter((flag) => !flag.startsWith('\\')),
          modseq: hasModseq && message.modseq !== undefined ? String(message.modseq) : null,
          internalDate: date instanceof Date ? date.toISOString() : (date ?? null),
          size: message.size ?? null,
          sha256: message.source ? createHash('sha256').update(message.source).digest('hex') : null,
        });
      }
    }
    return {
      uidValidity: String(opened.uidValidity),
      uidNext: opened.uidNext,
      highestModseq: hasModseq ? String(opened.highestModseq) : null,
      messages,
    };
  }

  /** Whether the server has ended the connection, as Dovecot does when it meets a damaged message. */
  get isCutOff(): boolean {
    return !this.#client.usable;
  }

  /** Logs in again. @throws like `open`. */
  async reopen(): Promise<void> {
    this.#client.close();
    this.#client = this.#newClient();
    await this.#client.connect();
  }

  async close(): Promise<void> {
    try {
      if (this.#client.usable) await this.#client.logout();
    } finally {
      this.#client.close();
    }
  }

  /** On a connection of its own, because the library gives the raw socket away only for good. */
  async #subscriptions(): Promise<string[]> {
    const client = this.#newClient();
    await client.connect();
    const { readSocket, writeSocket, socket } = client.unbind();
    try {
      return await readSubscriptions(readSocket, writeSocket);
    } finally {
      socket.destroy();
    }
  }

  #newClient(): ImapFlow {
    const { host, port, secure } = this.#endpoint;
    const client = new ImapFlow({
      host,
      port,
      secure,
      auth: { user: this.#login.user, pass: this.#login.password },
      ...(this.#options.insecure ? { tls: { rejectUnauthorized: false } } : {}),
      // The raw LSUB reads the socket as it is; and in one LAN packing costs more than it saves.
      disableCompression: true,
      disableAutoIdle: true,
      socketTimeout: 300_000,
      logger: false,
    });
    // The command under way fails too; without a listener the event would end the process.
    client.on('error', () => {});
    return client;
  }
}
