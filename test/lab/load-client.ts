import type { Random } from '../../tools/mailgen/random.ts';
import type { MessageMaker } from '../../tools/mailgen/message.ts';
import type { Endpoint } from './dovecot.ts';
import { ImapSession, messageIdOf, sha256, type Refusal } from './imap-session.ts';
import type { LoadRecord } from './load-record.ts';
import type { UserFolders } from './user-folders.ts';

export type ImapStep =
  | 'append'
  | 'look'
  | 'flag'
  | 'keyword'
  | 'copy'
  | 'move'
  | 'expunge'
  | 'create'
  | 'rename'
  | 'delete'
  | 'subscribe'
  | 'unsubscribe';

export const usualSteps: Readonly<Record<ImapStep, number>> = {
  append: 16,
  look: 10,
  flag: 22,
  keyword: 8,
  copy: 8,
  move: 8,
  expunge: 8,
  create: 3,
  rename: 2,
  delete: 1.5,
  subscribe: 2,
  unsubscribe: 1,
};

/** Mailboxes that every user has and nobody renames or deletes. */
export const fixedMailboxes = ['INBOX', 'Sent', 'Archive', 'Trash'];

const changeableFlags = ['\\Seen', '\\Answered', '\\Flagged', '\\Deleted', '\\Draft'];
const keywordPool = ['$Forwarded', '$MDNSent', 'NonJunk', '$label1', '$label2', 'todo', 'Projekt', 'k1', 'k2', 'k3'];
const foldersMax = 30;

/** One IMAP client that does seeded random work in the mailboxes of one user. */
export class LoadClient {
  readonly #endpoint: Endpoint;
  readonly #user: string;
  readonly #password: string;
  readonly #random: Random;
  readonly #maker: MessageMaker;
  readonly #record: LoadRecord;
  readonly #folders: UserFolders;
  readonly #weights: Readonly<Record<ImapStep, number>>;
  readonly #shared: readonly string[];
  #session: ImapSession | null = null;

  constructor(options: {
    endpoint: Endpoint;
    user: string;
    password: string;
    random: Random;
    maker: MessageMaker;
    record: LoadRecord;
    folders: UserFolders;
    weights: Readonly<Record<ImapStep, number>>;
    /** Mailboxes that other users change too. */
    shared: readonly string[];
  }) {
    this.#endpoint = options.endpoint;
    this.#user = options.user;
    this.#password = options.password;
    this.#random = options.random;
    this.#maker = options.maker;
    this.#record = options.record;
    this.#folders = options.folders;
    this.#weights = options.weights;
    this.#shared = options.shared;
  }

  /** Makes the mailboxes that every user has. */
  async prepare(): Promise<void> {
    for (const mailbox of [...fixedMailboxes.slice(1), ...this.#shared]) await (await this.#connected()).client.mailboxCreate(mailbox);
  }

  /** One step. Fair refusals are counted as races. @throws what a server must not answer. */
  async step(): Promise<void> {
    const session = await this.#connected();
    const kind = this.#random.weighted(this.#weights);
    const work = () => this.#do(kind, session);
    const refused = await (kind === 'rename' ? this.#folders.alone(work) : this.#folders.beside(work));
    if (refused === null) this.#record.count(kind);
    else this.#tolerate(kind, refused);
  }

  async close(): Promise<void> {
    await this.#session?.close();
    this.#session = null;
  }

  async #connected(): Promise<ImapSession> {
    if (this.#session === null || !this.#session.client.usable) {
      this.#session?.client.close();
      this.#session = await ImapSession.open(this.#endpoint, this.#user, this.#password);
    }
    return this.#session;
  }

  #tolerate(kind: ImapStep, refused: Refusal): void {
    const fair =
      refused.kind === 'gone'
        ? /deleted|renamed|inconsistent|mailbox/i.test(refused.text)
        : ['NONEXISTENT', 'TRYCREATE', 'ALREADYEXISTS', 'EXPUNGEISSUED', 'EMPTY', 'INUSE', 'CANNOT', 'SERVERBUG'].includes(refused.code) ||
          /doesn't exist|no longer exists|isn't|has children|deleted|subscribe|during deletion|already exists/i.test(refused.text);
    if (!fair) throw new Error(`${kind} for ${this.#user} refused: ${refused.kind} [${refused.code}] ${refused.text}`);
    this.#record.race(`${kind}:${refused.code || refused.kind}`);
  }

  #do(kind: ImapStep, session: ImapSession): Promise<Refusal | null> {
    switch (kind) {
      case 'append':
        return this.#append(session);
      case 'look':
        return this.#look(session);
      case 'flag':
      case 'keyword':
        return this.#flag(session, kind === 'flag' ? changeableFlags : keywordPool);
      case 'copy':
      case 'move':
        return this.#transfer(session, kind);
      case 'expunge':
        return this.#expunge(session);
      case 'create':
        return this.#create(session);
      case 'rename':
        return this.#rename(session);
      case 'delete':
        return this.#delete(session);
      case 'subscribe':
        return this.#simple(session, (client) => client.mailboxSubscribe(this.#anyMailbox()));
      case 'unsubscribe':
        return this.#simple(session, (client) => client.mailboxUnsubscribe(this.#random.pick([...this.#folders.paths, 'Trash'])));
    }
  }

  async #append(session: ImapSession): Promise<Refusal | null> {
    const mailbox = this.#anyMailbox();
    const seconds = 1_700_000_000 + this.#random.int(0, 30_000_000);
    const made = this.#maker.make(seconds, `${this.#user}@example.org`);
    const { messageId } = made;
    const content = Buffer.from(made.bytes.toString('latin1').replace(/\n/g, '\r\n'), 'latin1');
    const flags = [...changeableFlags, ...keywordPool].filter(() => this.#random.chance(0.15));
    if (!fixedMailboxes.includes(mailbox)) this.#record.doubt(this.#user, messageId);
    const result = await session.attempt((client) => client.append(mailbox, content, flags, new Date(seconds * 1000)));
    if ('refused' in result) return result.refused;
    this.#record.acknowledge({ user: this.#user, mailbox, messageId, via: 'append', atMs: performance.now() });
    const { uid, uidValidity } = result.done;
    if (uid !== undefined && uidValidity !== undefined) {
      this.#record.sight({ user: this.#user, mailbox, uidValidity, uid, messageId, sha256: sha256(content) });
    }
    return null;
  }

  async #look(session: ImapSession): Promise<Refusal | null> {
    const chosen = await this.#choose(session, 8);
    if ('refused' in chosen) return chosen.refused;
    const result = await session.attempt((client) => client.fetchAll(chosen.uids.join(','), { uid: true, source: true }, { uid: true }));
    if ('refused' in result) return result.refused;
    for (const { uid, source } of result.done) {
      if (source) this.#record.sight({ user: this.#user, ...chosen.at, uid, messageId: messageIdOf(source), sha256: sha256(source) });
    }
    return null;
  }

  async #flag(session: ImapSession, from: readonly string[]): Promise<Refusal | null> {
    const chosen = await this.#choose(session, 5);
    if ('refused' in chosen) return chosen.refused;
    const flags = [this.#random.pick(from)];
    const uids = chosen.uids.join(',');
    const how = this.#random.int(0, 4);
    return this.#simple(session, (client) => {
      if (how === 0) return client.messageFlagsSet(uids, flags, { uid: true });
      return how === 1 ? client.messageFlagsRemove(uids, flags, { uid: true }) : client.messageFlagsAdd(uids, flags, { uid: true });
    });
  }

  async #transfer(session: ImapSession, kind: 'copy' | 'move'): Promise<Refusal | null> {
    const chosen = await this.#choose(session, 3);
    if ('refused' in chosen) return chosen.refused;
    const target = this.#anyMailbox();
    if (target === chosen.at.mailbox) return null;
    if (kind === 'move') await this.#doubt(session, chosen.uids);
    const uids = chosen.uids.join(',');
    const result = await session.attempt((client) =>
      kind === 'copy' ? client.messageCopy(uids, target, { uid: true }) : client.messageMove(uids, target, { uid: true }),
    );
    if ('refused' in result) return result.refused;
    const { uidMap, uidValidity } = result.done;
    for (const [from, uid] of uidMap ?? []) {
      const known = this.#record.find({ user: this.#user, ...chosen.at, uid: from });
      if (known !== undefined && uidValidity !== undefined) this.#record.sight({ ...known, mailbox: target, uidValidity, uid });
    }
    return null;
  }

  async #expunge(session: ImapSession): Promise<Refusal | null> {
    const chosen = await this.#choose(session, 3);
    if ('refused' in chosen) return chosen.refused;
    await this.#doubt(session, chosen.uids);
    return this.#simple(session, (client) => client.messageDelete(chosen.uids.join(','), { uid: true }));
  }

  async #create(session: ImapSession): Promise<Refusal | null> {
    if (this.#folders.paths.size >= foldersMax) return this.#delete(session);
    const parent = this.#random.chance(0.4) ? `${this.#random.pick([...this.#folders.paths, 'Archive'])}/` : '';
    if (parent.split('/').length > 4) return null;
    const path = `${parent}${this.#random.pick(['Kunden', 'Work', 'Büro', '日本', 'A & B'])} ${this.#random.hex(4)}`;
    const refused = await this.#simple(session, (client) => client.mailboxCreate(path));
    if (refused === null) this.#folders.paths.add(path);
    return refused;
  }

  async #rename(session: ImapSession): Promise<Refusal | null> {
    if (this.#folders.paths.size === 0) return null;
    const from = this.#random.pick([...this.#folders.paths]);
    const to = `Moved ${this.#random.hex(5)}`;
    const refused = await this.#simple(session, (client) => client.mailboxRename(from, to));
    if (refused !== null && refused.kind === 'no') this.#folders.paths.delete(from);
    if (refused !== null) return refused;
    const moved = [...this.#folders.paths].filter((path) => path === from || path.startsWith(`${from}/`));
    for (const path of moved) {
      this.#folders.paths.delete(path);
      this.#folders.paths.add(to + path.slice(from.length));
    }
    return null;
  }

  async #delete(session: ImapSession): Promise<Refusal | null> {
    if (this.#folders.paths.size === 0) return null;
    const path = this.#random.pick([...this.#folders.paths]);
    const refused = await this.#simple(session, (client) => client.mailboxDelete(path));
    // Gone, or not there: either way nobody needs to try it again.
    this.#folders.paths.delete(path);
    return refused;
  }

  async #simple(session: ImapSession, command: Parameters<typeof session.attempt<unknown>>[0]): Promise<Refusal | null> {
    const result = await session.attempt(command);
    return 'refused' in result ? result.refused : null;
  }

  /** Says of these messages that they may be gone soon; asks for their Message-IDs first. */
  async #doubt(session: ImapSession, uids: readonly number[]): Promise<void> {
    const result = await session.attempt((client) =>
      client.fetchAll(uids.join(','), { uid: true, headers: ['message-id'] }, { uid: true }),
    );
    if ('refused' in result) return;
    for (const { headers } of result.done) if (headers) this.#record.doubt(this.#user, messageIdOf(headers));
  }

  /** Some messages of a mailbox, which is selected then. */
  async #choose(
    session: ImapSession,
    upTo: number,
  ): Promise<{ uids: number[]; at: { mailbox: string; uidValidity: bigint } } | { refused: Refusal }> {
    const stay = session.client.mailbox !== false && this.#random.chance(0.6);
    if (!stay) {
      const path = this.#anyMailbox();
      const opened = await session.attempt((client) => client.mailboxOpen(path));
      if ('refused' in opened) return opened;
    }
    const found = await session.attempt(async (client) => (await client.search({ all: true }, { uid: true })) ?? false);
    if ('refused' in found) return found;
    const { mailbox } = session.client;
    const empty: Refusal = { kind: 'no', code: 'EMPTY', text: 'no message' };
    if (mailbox === false || found.done.length === 0) return { refused: empty };
    const uids = new Set<number>();
    for (let i = this.#random.int(1, upTo); i > 0; i--) uids.add(this.#random.pick(found.done));
    return { uids: [...uids].sort((a, b) => a - b), at: { mailbox: mailbox.path, uidValidity: mailbox.uidValidity } };
  }

  #anyMailbox(): string {
    if (this.#random.chance(0.4)) return 'INBOX';
    return this.#random.pick([...fixedMailboxes, ...this.#shared, ...this.#folders.paths]);
  }
}
