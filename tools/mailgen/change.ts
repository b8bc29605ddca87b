import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { NameMaker, splitName, toggleFlag } from './filename.ts';
import { Folders } from './folders.ts';
import type { Flavour } from './layout.ts';
import type { Mailbox, StoredMessage } from './mailbox.ts';
import { MessageMaker, realisticSizes, type MessageSizes } from './message.ts';
import { OwnedFiles, type Owner } from './owned-files.ts';
import { Random } from './random.ts';

export type ChangeKind =
  | 'deliver'
  | 'seen'
  | 'flag'
  | 'keyword'
  | 'copy'
  | 'move'
  | 'expunge'
  | 'folder-create'
  | 'folder-rename'
  | 'folder-delete'
  | 'subscribe';

/** What one step changed. */
export interface Change {
  kind: ChangeKind;
  /** Absolute path where the result lies; for what is gone, where it lay. */
  path: string;
  /** `performance.now()` just after the system call that made it so: for a delivery, the rename into new/. */
  atMs: number;
}

export type ChangeWeights = Readonly<Record<ChangeKind, number>>;

/** How often each kind comes: what a busy office does to its mail, with rare things a little more often. */
export const realisticWeights: ChangeWeights = {
  deliver: 40,
  seen: 16,
  flag: 18,
  keyword: 1,
  copy: 4,
  move: 9,
  expunge: 7,
  'folder-create': 1,
  'folder-rename': 0.7,
  'folder-delete': 0.7,
  subscribe: 1,
};

export interface ChangeOptions {
  seed: string | number;
  /** A store made by `makeStore`, with one directory a user. */
  dir: string;
  /** Default `maildir++`. */
  flavour?: Flavour;
  /** Writes reach the disk before the next step, as a careful server does it. Default false. */
  fsync?: boolean;
  weights?: Partial<ChangeWeights>;
  sizes?: MessageSizes;
  owner?: Owner;
  /** Unix time of deliveries; default: a fixed day, one second later at each, so that the seed alone decides. */
  nowSeconds?: () => number;
}

const defaultStartSeconds = Date.UTC(2025, 0, 16) / 1000;
/** A folder with more messages than this is not deleted: the store would run empty. */
const deletedMessagesMax = 100;
const foldersPerUserMax = 200;

/** Changes a store as its users and the mail server would, one step at a time. Nothing else may change the store meanwhile. */
export class ChangeLoop {
  readonly #random: Random;
  readonly #maker: MessageMaker;
  readonly #names: NameMaker;
  readonly #weights: ChangeWeights;
  readonly #users: Folders[];
  readonly #nowSeconds: () => number;
  #atMs = 0;

  /** @throws when `dir` holds no user's maildir. */
  constructor(options: ChangeOptions) {
    this.#random = new Random(options.seed);
    this.#maker = new MessageMaker(this.#random, options.sizes ?? realisticSizes);
    this.#names = new NameMaker(this.#random, `chg${this.#random.hex(4)}`);
    const none = Object.fromEntries(Object.keys(realisticWeights).map((kind) => [kind, 0])) as Record<ChangeKind, number>;
    this.#weights = options.weights ? { ...none, ...options.weights } : realisticWeights;
    const files = new OwnedFiles(options.owner, options.fsync ?? false);
    this.#users = readdirSync(options.dir)
      .sort()
      .filter((name) => existsSync(join(options.dir, name, 'cur')))
      .map((name) => new Folders(options.flavour ?? 'maildir++', options.dir, name, files));
    if (this.#users.length === 0) throw new Error(`${options.dir} holds no maildir of a user`);
    let seconds = defaultStartSeconds;
    this.#nowSeconds = options.nowSeconds ?? (() => seconds++);
  }

  /** Makes one change. A kind for which there is nothing to do (an empty mailbox, say) becomes a delivery. */
  changeOnce(): Change {
    const kind = this.#random.weighted(this.#weights);
    const user = this.#random.pick(this.#users);
    const done = this.#try(kind, user);
    return done === null ? { kind: 'deliver', path: this.#deliver(user), atMs: this.#atMs } : { kind, path: done, atMs: this.#atMs };
  }

  #try(kind: ChangeKind, user: Folders): string | null {
    this.#atMs = 0;
    const path = this.#do(kind, user);
    if (this.#atMs === 0) this.#atMs = performance.now();
    return path;
  }

  #do(kind: ChangeKind, user: Folders): string | null {
    switch (kind) {
      case 'deliver':
        return this.#deliver(user);
      case 'seen':
      case 'flag':
      case 'keyword':
        return this.#flag(kind, user);
      case 'copy':
      case 'move':
        return this.#transfer(kind, user);
      case 'expunge':
        return this.#expunge(user);
      case 'folder-create':
        return this.#createFolder(user);
      case 'folder-rename':
        return this.#renameFolder(user);
      case 'folder-delete':
        return this.#deleteFolder(user);
      case 'subscribe':
        return user.toggleSubscription(this.#random.pick(user.paths));
    }
  }

  #deliver(user: Folders): string {
    const mailbox = user.mailbox(this.#random.chance(0.8) ? [] : this.#random.pick(user.paths));
    const seconds = this.#nowSeconds();
    const made = this.#maker.make(seconds, `${user.name}@example.org`);
    const base = this.#freshName(mailbox, seconds, made.bytes.length, made.virtualSize);
    const message = mailbox.deliver(base, made.bytes, seconds, () => {
      this.#atMs = performance.now();
    });
    return mailbox.file(message);
  }

  #flag(kind: 'seen' | 'flag' | 'keyword', user: Folders): string | null {
    const mailbox = this.#someMailbox(user, (message) => kind !== 'seen' || message.sub === 'new');
    if (mailbox === null) return null;
    const message = this.#random.pick(mailbox.messages.filter((each) => kind !== 'seen' || each.sub === 'new'));
    if (kind === 'seen') mailbox.setFlags(message, 'S');
    else if (kind === 'flag') mailbox.setFlags(message, toggleFlag(this.#random, message.flags, mailbox.keywordCount));
    else if (!mailbox.canAddKeyword) return null;
    else mailbox.setFlags(message, message.flags + mailbox.addKeyword());
    return mailbox.file(message);
  }

  #transfer(kind: 'copy' | 'move', user: Folders): string | null {
    const source = this.#someMailbox(user);
    if (source === null) return null;
    const targets = user.paths.filter((path) => user.mailbox(path) !== source);
    if (targets.length === 0) return null;
    const target = user.mailbox(this.#random.pick(targets));
    const message = this.#random.pick(source.messages);
    const { seconds, size, virtualSize } = readName(message.base);
    const base = this.#freshName(target, seconds, size, virtualSize);
    // A letter names another keyword in another mailbox, so only system flags travel.
    const flags = message.flags.replace(/[a-z]/g, '');
    const copy: StoredMessage = { sub: 'cur', base, flags };
    target.link(source.file(message), copy);
    if (kind === 'move') source.expunge([message]);
    return target.file(copy);
  }

  #expunge(user: Folders): string | null {
    const mailbox = this.#someMailbox(user);
    if (mailbox === null) return null;
    const count = Math.min(mailbox.messages.length, this.#random.int(1, 4));
    const first = this.#random.int(0, mailbox.messages.length - count);
    const chosen = mailbox.messages.slice(first, first + count);
    const path = mailbox.file(chosen[0] as StoredMessage);
    mailbox.expunge(chosen);
    return path;
  }

  #createFolder(user: Folders): string | null {
    if (user.paths.length >= foldersPerUserMax) return null;
    return user.create(this.#freshFolder(user), this.#random.hex(32));
  }

  #renameFolder(user: Folders): string | null {
    const candidates = user.paths.filter((path) => path.length > 0);
    if (candidates.length === 0) return null;
    const from = this.#random.pick(candidates);
    const to = this.#freshFolder(user);
    const intoItself = from.every((part, i) => part === to[i]);
    return intoItself ? null : user.rename(from, to);
  }

  #deleteFolder(user: Folders): string | null {
    const candidates = user.leaves.filter((path) => user.mailbox(path).messages.length <= deletedMessagesMax);
    return candidates.length === 0 ? null : user.delete(this.#random.pick(candidates));
  }

  #freshFolder(user: Folders): string[] {
    const parent = this.#random.chance(0.3) ? this.#random.pick(user.paths) : [];
    for (;;) {
      const path = [...parent.slice(0, 3), `Work ${this.#random.hex(6)}`];
      if (!user.has(path)) return path;
    }
  }

  /** A mailbox of the user with a fitting message; null when a few tries find none. */
  #someMailbox(user: Folders, fits: (message: StoredMessage) => boolean = () => true): Mailbox | null {
    for (let tries = 0; tries < 4; tries++) {
      const mailbox = user.mailbox(this.#random.chance(0.5) ? [] : this.#random.pick(user.paths));
      if (mailbox.messages.some(fits)) return mailbox;
    }
    return null;
  }

  #freshName(mailbox: Mailbox, seconds: number, size: number, virtualSize: number): string {
    for (;;) {
      // Another run with the same seed may have left the same names.
      const base = this.#names.next(seconds, size, virtualSize);
      if (!mailbox.hasName(base)) return base;
    }
  }
}

function readName(name: string): { seconds: number; size: number; virtualSize: number } {
  const { base } = splitName(name);
  const number = (pattern: RegExp) => Number(pattern.exec(base)?.[1] ?? 0);
  return { seconds: number(/^(\d+)\./), size: number(/,S=(\d+)/), virtualSize: number(/,W=(\d+)/) };
}

/**
 * Changes at a steady rate.
 *
 * @param rate changes per second; after a pause of the caller what was missed is made up for.
 * @param seconds how long; ends earlier when `signal` aborts.
 */
export async function* changesAtRate(loop: ChangeLoop, rate: number, seconds: number, signal?: AbortSignal): AsyncGenerator<Change, void> {
  const start = performance.now();
  const total = Math.round(rate * seconds);
  for (let done = 0; done < total; done++) {
    const waitMs = start + (done * 1000) / rate - performance.now();
    if (waitMs > 1 || done % 64 === 0) await pause(Math.max(0, waitMs));
    if (signal?.aborted) return;
    yield loop.changeOnce();
  }
}
