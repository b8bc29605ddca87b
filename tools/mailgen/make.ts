import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { curName, NameMaker, randomFlags } from './filename.ts';
import { mailboxDir, subscriptionLine, type Flavour, type MailboxPath } from './layout.ts';
import { MessageMaker, realisticSizes, type MessageSizes } from './message.ts';
import { OwnedFiles, type Owner } from './owned-files.ts';
import { Random } from './random.ts';
import { formatUidList, type UidEntry } from './uidlist.ts';
import { folderPath, keywords } from './words.ts';

export interface StoreOptions {
  seed: string | number;
  /** Made when missing; must be empty. Each user gets a directory below it. */
  dir: string;
  /** Messages in the whole store. */
  messages: number;
  /** Default: one user for every 2,500 messages. */
  users?: number;
  /** Mailboxes of each user, INBOX among them. Default 25. */
  mailboxesPerUser?: number;
  /** Default `maildir++`. */
  flavour?: Flavour;
  sizes?: MessageSizes;
  /** Owner of everything made; default: the process's own. */
  owner?: Owner;
  /** Unix time of the newest message; default a fixed day, so that the seed alone decides. */
  nowSeconds?: number;
}

export interface StoreSummary {
  users: string[];
  mailboxes: number;
  /** Directories with the store's own and tmp, new, cur. */
  directories: number;
  messages: number;
  bytes: number;
}

export interface StoreProgress {
  messagesDone: number;
  messagesTotal: number;
  bytesDone: number;
}

const defaultNowSeconds = Date.UTC(2025, 0, 15) / 1000;
const dayLongSeconds = 86_400;
/** Between two reports of progress. */
const messagesPerStep = 250;

/** Makes a whole store; see `makeStoreSteps`. */
export function makeStore(options: StoreOptions): StoreSummary {
  const steps = makeStoreSteps(options);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/**
 * Makes a store of maildirs as Dovecot would have left it, without Dovecot's index files (Dovecot makes them at the
 * first look). Yields after some messages, so that the caller can show progress and breathe.
 *
 * @throws when `dir` is not empty, and errors of the file system.
 */
export function* makeStoreSteps(options: StoreOptions): Generator<StoreProgress, StoreSummary> {
  const random = new Random(options.seed);
  const flavour = options.flavour ?? 'maildir++';
  const userCount = options.users ?? Math.max(1, Math.round(options.messages / 2500));
  const mailboxCount = options.mailboxesPerUser ?? 25;
  const now = options.nowSeconds ?? defaultNowSeconds;
  const maker = new MessageMaker(random, options.sizes ?? realisticSizes);
  const names = new NameMaker(random, `gen${random.hex(4)}`);
  const files = new OwnedFiles(options.owner, false);

  files.mkdir(options.dir);
  if (readdirSync(options.dir).length > 0) throw new Error(`${options.dir} is not empty`);
  const summary: StoreSummary = { users: [], mailboxes: 0, directories: 1, messages: 0, bytes: 0 };
  const shares = shareOut(options.messages, userCount * mailboxCount, (i) => (i % mailboxCount === 0 ? 8 : 1));

  for (let u = 0; u < userCount; u++) {
    const user = `user${String(u + 1).padStart(4, '0')}`;
    const userDir = join(options.dir, user);
    summary.users.push(user);
    const firstValidity = now - 400 * dayLongSeconds + u * 1000;
    const subscribed: MailboxPath[] = [];
    for (let m = 0; m < mailboxCount; m++) {
      const path = m === 0 ? [] : folderPath(m - 1);
      const dir = mailboxDir(flavour, userDir, path);
      for (const sub of ['', 'tmp', 'new', 'cur']) files.mkdir(join(dir, sub));
      summary.mailboxes++;
      summary.directories += 4;
      if (flavour === 'maildir++' && path.length > 0) files.create(join(dir, 'maildirfolder'), '');
      if (path.length === 0 || random.chance(0.8)) subscribed.push(path);
      const keywordCount = random.chance(0.5) ? random.int(1, keywords.length) : 0;
      if (keywordCount > 0) files.create(join(dir, 'dovecot-keywords'), formatKeywords(keywordCount));

      const entries: UidEntry[] = [];
      const count = shares[u * mailboxCount + m] ?? 0;
      let uid = 0;
      for (let n = 0; n < count; n++) {
        // Gaps in the UIDs are messages that were expunged.
        uid += random.chance(0.15) ? random.int(2, 9) : 1;
        const seconds = Math.floor(now - 365 * dayLongSeconds * (1 - (n + random.unit()) / count));
        const message = maker.make(seconds, `${user}@example.org`);
        const base = names.next(seconds, message.bytes.length, message.virtualSize);
        const fresh = n >= count - 5 && random.chance(0.4);
        const name = fresh ? join('new', base) : join('cur', curName(base, randomFlags(random, keywordCount)));
        files.create(join(dir, name), message.bytes, seconds);
        entries.push({ uid, base });
        summary.messages++;
        summary.bytes += message.bytes.length;
        if (summary.messages % messagesPerStep === 0) {
          yield { messagesDone: summary.messages, messagesTotal: options.messages, bytesDone: summary.bytes };
        }
      }
      files.create(
        join(dir, 'dovecot-uidlist'),
        formatUidList({ uidValidity: firstValidity + m, uidNext: uid + 1, guid: random.hex(32), entries }),
      );
    }
    files.create(join(userDir, 'subscriptions'), `V\t2\n\n${subscribed.map((path) => `${subscriptionLine(path)}\n`).join('')}`);
    const validity = (firstValidity + mailboxCount - 1).toString(16).padStart(8, '0');
    files.create(join(userDir, 'dovecot-uidvalidity'), validity);
    files.create(join(userDir, `dovecot-uidvalidity.${validity}`), '');
  }
  return summary;
}

/** `dovecot-keywords` with the first `count` keywords. */
export function formatKeywords(count: number): string {
  return keywords
    .slice(0, count)
    .map((keyword, number) => `${number} ${keyword}\n`)
    .join('');
}

/** Splits `total` over `parts` by weight, to the last one. */
function shareOut(total: number, parts: number, weight: (part: number) => number): number[] {
  const weights = Array.from({ length: parts }, (_, i) => weight(i));
  const sum = weights.reduce((a, b) => a + b, 0);
  let seen = 0;
  let given = 0;
  return weights.map((w) => {
    seen += w;
    const upTo = Math.round((total * seen) / sum);
    const share = upTo - given;
    given = upTo;
    return share;
  });
}
