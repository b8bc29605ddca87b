import { existsSync, lstatSync, readdirSync, readFileSync, renameSync, rmdirSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { mailboxDir, readMailboxes, subscriptionLine, type Flavour, type MailboxPath } from './layout.ts';
import { Mailbox } from './mailbox.ts';
import type { OwnedFiles } from './owned-files.ts';
import { formatUidList } from './uidlist.ts';

/** The mailboxes of one user, made, renamed and deleted the way Dovecot does it. */
export class Folders {
  readonly name: string;
  readonly #flavour: Flavour;
  readonly #dir: string;
  readonly #files: OwnedFiles;
  readonly #open = new Map<string, Mailbox>();
  #paths: MailboxPath[];

  constructor(flavour: Flavour, storeDir: string, user: string, files: OwnedFiles) {
    this.name = user;
    this.#flavour = flavour;
    this.#dir = join(storeDir, user);
    this.#files = files;
    this.#paths = readMailboxes(flavour, this.#dir);
  }

  /** All mailboxes, INBOX first. */
  get paths(): readonly MailboxPath[] {
    return this.#paths;
  }

  /** Mailboxes that can be renamed or deleted without taking subfolders along. */
  get leaves(): MailboxPath[] {
    return this.#paths.filter((path) => path.length > 0 && !this.#paths.some((other) => isBelow(other, path)));
  }

  has(path: MailboxPath): boolean {
    return this.#paths.some((other) => same(other, path));
  }

  /** A mailbox, read at the first use. */
  mailbox(path: MailboxPath): Mailbox {
    const key = path.join('\0');
    let mailbox = this.#open.get(key);
    if (mailbox === undefined) {
      mailbox = new Mailbox(mailboxDir(this.#flavour, this.#dir, path), path, this.#files);
      this.#open.set(key, mailbox);
    }
    return mailbox;
  }

  /** @returns the new directory. */
  create(path: MailboxPath, guid: string): string {
    const dir = mailboxDir(this.#flavour, this.#dir, path);
    for (const sub of ['', 'tmp', 'new', 'cur']) this.#files.mkdir(join(dir, sub));
    if (this.#flavour === 'maildir++') this.#files.create(join(dir, 'maildirfolder'), '');
    const list = { uidValidity: this.#nextUidValidity(), uidNext: 1, guid, entries: [] };
    this.#files.replace(join(dir, 'dovecot-uidlist'), join(dir, 'dovecot-uidlist.tmp'), formatUidList(list));
    this.#paths.push(path);
    return dir;
  }

  /** Renames a mailbox with everything below it; maildir++ renames each directory by itself. @returns the new directory. */
  rename(from: MailboxPath, to: MailboxPath): string {
    const moved = this.#paths.filter((path) => same(path, from) || isBelow(path, from));
    const newPath = (path: MailboxPath) => [...to, ...path.slice(from.length)];
    for (const path of this.#flavour === 'fs' ? [from] : moved) {
      renameSync(mailboxDir(this.#flavour, this.#dir, path), mailboxDir(this.#flavour, this.#dir, newPath(path)));
    }
    for (const path of moved) this.#open.delete(path.join('\0'));
    this.#paths = this.#paths.map((path) => (moved.includes(path) ? newPath(path) : path));
    return mailboxDir(this.#flavour, this.#dir, to);
  }

  /** Deletes a mailbox without subfolders: out of sight by one rename, then file by file. @returns the former directory. */
  delete(path: MailboxPath): string {
    const dir = mailboxDir(this.#flavour, this.#dir, path);
    const trash = join(this.#flavour === 'fs' ? dirname(dir) : this.#dir, '..DOVECOT-TRASHED');
    renameSync(dir, trash);
    removeTree(trash);
    this.#open.delete(path.join('\0'));
    this.#paths = this.#paths.filter((other) => !same(other, path));
    return dir;
  }

  /** Subscribes to a mailbox, or ends its subscription. @returns the file. */
  toggleSubscription(path: MailboxPath): string {
    const file = join(this.#dir, 'subscriptions');
    const line = subscriptionLine(path);
    const [head = 'V\t2', , ...lines] = existsSync(file) ? readFileSync(file, 'latin1').trimEnd().split('\n') : [];
    const kept = lines.includes(line) ? lines.filter((other) => other !== line) : [...lines, line];
    this.#files.replace(file, `${file}.lock`, `${[head, '', ...kept].join('\n')}\n`);
    return file;
  }

  /** The counter in `dovecot-uidvalidity` is patched in place, then the marker file takes its value as its name. */
  #nextUidValidity(): number {
    const file = join(this.#dir, 'dovecot-uidvalidity');
    const value = parseInt(readFileSync(file, 'latin1'), 16) + 1;
    const text = value.toString(16).padStart(8, '0');
    this.#files.patch(file, text);
    const marker = readdirSync(this.#dir).find((name) => /^dovecot-uidvalidity\.[0-9a-f]{8}$/.test(name));
    if (marker !== undefined) renameSync(join(this.#dir, marker), `${file}.${text}`);
    return value;
  }
}

function same(a: MailboxPath, b: MailboxPath): boolean {
  return a.length === b.length && a.every((part, i) => part === b[i]);
}

function isBelow(path: MailboxPath, parent: MailboxPath): boolean {
  return path.length > parent.length && parent.every((part, i) => part === path[i]);
}

function removeTree(dir: string): void {
  for (const name of readdirSync(dir).sort()) {
    const path = join(dir, name);
    if (lstatSync(path).isDirectory()) removeTree(path);
    else unlinkSync(path);
  }
  rmdirSync(dir);
}
