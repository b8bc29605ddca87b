import { existsSync, openSync, closeSync, readdirSync, readFileSync, renameSync, unlinkSync, linkSync } from 'node:fs';
import { join } from 'node:path';
import { curName, keywordLetter, splitName } from './filename.ts';
import type { MailboxPath } from './layout.ts';
import type { OwnedFiles } from './owned-files.ts';
import { formatUidEntry, formatUidList, parseUidList, type UidList } from './uidlist.ts';
import { keywords } from './words.ts';

/** A message of a mailbox: where it lies and what its name says. */
export interface StoredMessage {
  sub: 'new' | 'cur';
  base: string;
  flags: string;
}

/**
 * One maildir, changed the way Dovecot changes it. Its content is read once; nothing else may change it meanwhile.
 */
export class Mailbox {
  readonly path: MailboxPath;
  readonly dir: string;
  readonly #files: OwnedFiles;
  readonly #list: UidList;
  readonly messages: StoredMessage[] = [];
  keywordCount: number;

  /** @throws when the directory is not a maildir with a uidlist. */
  constructor(dir: string, path: MailboxPath, files: OwnedFiles) {
    this.dir = dir;
    this.path = path;
    this.#files = files;
    this.#list = parseUidList(readFileSync(join(dir, 'dovecot-uidlist'), 'latin1'));
    for (const sub of ['new', 'cur'] as const) {
      for (const name of readdirSync(join(dir, sub)).sort()) this.messages.push({ sub, ...splitName(name) });
    }
    const keywordFile = join(dir, 'dovecot-keywords');
    this.keywordCount = existsSync(keywordFile) ? readFileSync(keywordFile, 'latin1').split('\n').length - 1 : 0;
  }

  file(message: StoredMessage): string {
    return join(this.dir, message.sub, message.sub === 'new' ? message.base : curName(message.base, message.flags));
  }

  /** A delivery: written in tmp/, then under the lock renamed into new/ and numbered. `renamed` is called in between. */
  deliver(base: string, data: Buffer, seconds: number, renamed: () => void): StoredMessage {
    const staged = join(this.dir, 'tmp', base);
    this.#files.create(staged, data, seconds);
    const message: StoredMessage = { sub: 'new', base, flags: '' };
    this.#locked(() => {
      renameSync(staged, this.file(message));
      renamed();
      this.#number(message);
    });
    return message;
  }

  /** A copy of another mailbox's message, as a hard link. */
  link(source: string, message: StoredMessage): void {
    this.#locked(() => {
      linkSync(source, this.file(message));
      this.#number(message);
    });
  }

  /** A rename: new flags, or the first look that moves a message from new/ to cur/. */
  setFlags(message: StoredMessage, flags: string): void {
    const before = this.file(message);
    message.sub = 'cur';
    message.flags = flags;
    renameSync(before, this.file(message));
  }

  /** Makes the next keyword of the vocabulary known to this mailbox, and gives its letter. */
  addKeyword(): string {
    const lines = keywords.slice(0, this.keywordCount + 1).map((keyword, number) => `${number} ${keyword}\n`);
    this.#files.replace(join(this.dir, 'dovecot-keywords'), join(this.dir, 'dovecot-keywords.lock'), lines.join(''));
    return keywordLetter(this.keywordCount++);
  }

  get canAddKeyword(): boolean {
    return this.keywordCount < keywords.length;
  }

  /** Expunges: the files go, then the uidlist is written anew. */
  expunge(messages: readonly StoredMessage[]): void {
    const gone = new Set(messages);
    const bases = new Set(messages.map((message) => message.base));
    this.#locked(() => {
      for (const message of messages) unlinkSync(this.file(message));
      const kept = this.messages.filter((message) => !gone.has(message));
      this.messages.splice(0, this.messages.length, ...kept);
      this.#list.entries = this.#list.entries.filter((entry) => !bases.has(entry.base));
      this.#files.replace(this.#uidListFile, `${this.#uidListFile}.tmp`, formatUidList(this.#list));
    });
  }

  hasName(base: string): boolean {
    return this.messages.some((message) => message.base === base);
  }

  get #uidListFile(): string {
    return join(this.dir, 'dovecot-uidlist');
  }

  #number(message: StoredMessage): void {
    const entry = { uid: this.#list.uidNext++, base: message.base };
    this.#list.entries.push(entry);
    this.messages.push(message);
    this.#files.append(this.#uidListFile, `${formatUidEntry(entry)}\n`);
  }

  #locked(work: () => void): void {
    const lock = `${this.#uidListFile}.lock`;
    closeSync(openSync(lock, 'wx', 0o600));
    try {
      work();
    } finally {
      unlinkSync(lock);
    }
  }
}
