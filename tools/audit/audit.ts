import { compareAccounts, compareMailboxes } from './compare.ts';
import type { AuditEndpoint, Login } from './endpoint.ts';
import { MailReader, type ReaderOptions } from './reader.ts';
import type { AccountSnapshot, Difference, MailboxSnapshot } from './snapshot.ts';

export interface AuditOptions extends Partial<ReaderOptions> {
  a: AuditEndpoint;
  b: AuditEndpoint;
  /** Who to log in as on both servers, or on each with a password of its own. */
  users: readonly { a: Login; b: Login }[];
}

/** How much was compared. */
export interface AuditTotals {
  users: number;
  mailboxes: number;
  messages: number;
  differences: number;
}

/**
 * Compares all mailboxes of the users on two servers, mailbox by mailbox, and yields each difference as it is found.
 *
 * @throws AuditFailure when a server cannot be reached, refuses a login, or a connection breaks.
 */
export async function* audit(options: AuditOptions): AsyncGenerator<Difference, AuditTotals> {
  const totals: AuditTotals = { users: 0, mailboxes: 0, messages: 0, differences: 0 };
  const insecure = { insecure: options.insecure ?? false };
  for (const login of options.users) {
    const opened: MailReader[] = [];
    try {
      const open = async (name: 'a' | 'b') => {
        const reader = await named(name, login[name].user, MailReader.open(options[name], login[name], insecure));
        opened.push(reader);
        return reader;
      };
      const [a, b] = await both(open('a'), open('b'));
      for await (const difference of compareUser(login.a.user, a, b, totals)) {
        totals.differences++;
        yield difference;
      }
      totals.users++;
    } finally {
      await Promise.allSettled(opened.map((reader) => reader.close()));
    }
  }
  return totals;
}

/** A server could not be read. */
export class AuditFailure extends Error {}

async function* compareUser(user: string, a: MailReader, b: MailReader, totals: AuditTotals): AsyncGenerator<Difference> {
  const [left, right] = await both(named('a', user, a.account()), named('b', user, b.account()));
  const [realLeft, realRight] = await both(dropPhantoms('a', user, a, left, right), dropPhantoms('b', user, b, right, left));
  yield* compareAccounts(user, realLeft, realRight);
  const paths = (account: typeof left) => account.mailboxes.filter((each) => each.selectable).map((each) => each.path);
  const inB = new Set(paths(right));
  for (const path of paths(left).filter((each) => inB.has(each))) {
    const [lookA, lookB] = await both(read('a', user, a, path), read('b', user, b, path));
    const [mailA, mailB] = [lookA.found, lookB.found];
    if (mailA === missing && mailB === missing) continue;
    totals.mailboxes++;
    const [openA, openB] = [showOpening(lookA), showOpening(lookB)];
    if (openA !== openB) yield { user, mailbox: path, uid: null, property: 'open', a: openA, b: openB };
    if (typeof mailA === 'string' || typeof mailB === 'string') continue;
    totals.messages += mailA.messages.length;
    yield* compareMailboxes(user, path, mailA, mailB);
  }
}

/** What came of opening and reading a mailbox. */
interface Look {
  /** Its content, `missing`, or the server's words when it would not give it. */
  found: MailboxSnapshot | string;
  /** The server ended the connection over it the first time. */
  hungUp: boolean;
}

const missing = 'none';
const readTriesMax = 3;

function showOpening({ found, hungUp }: Look): string {
  const end = typeof found === 'string' ? found : 'it';
  return hungUp ? `hung up, then ${end}` : end;
}

/**
 * Leaves out what a server lists but does not have. Dovecot's list index may name a mailbox that another client has just
 * renamed or deleted, until the directory changes again; only a look tells. Names that both list are opened anyway.
 */
async function dropPhantoms(
  name: 'a' | 'b',
  user: string,
  reader: MailReader,
  own: AccountSnapshot,
  other: AccountSnapshot,
): Promise<AccountSnapshot> {
  const inOther = new Set(other.mailboxes.map((each) => each.path));
  const phantoms = new Set<string>();
  for (const { path, selectable } of own.mailboxes) {
    if (selectable && !inOther.has(path) && (await read(name, user, reader, path)).found === missing) phantoms.add(path);
  }
  return { ...own, mailboxes: own.mailboxes.filter((each) => !phantoms.has(each.path)) };
}

/**
 * Reads a mailbox. Dovecot hangs up when it meets a message that is damaged or gone, and mends its index; so
 * another try shows the rest, and the other mailboxes can still be compared.
 */
async function read(name: 'a' | 'b', user: string, reader: MailReader, path: string): Promise<Look> {
  for (let tries = 1; ; tries++) {
    const hungUp = tries > 1;
    try {
      return { found: await reader.mailbox(path), hungUp };
    } catch (error) {
      const refusal = error as { responseStatus?: string; responseText?: string; serverResponseCode?: string };
      // Dovecot 2.3 answers SELECT without the response code of RFC 5530.
      const isMissing = refusal.serverResponseCode === 'NONEXISTENT' || /does(n't| not) exist/i.test(refusal.responseText ?? '');
      if (refusal.responseStatus === 'NO') return { found: isMissing ? missing : `refused: ${refusal.responseText ?? ''}`, hungUp };
      if (!reader.isCutOff) throw failure(name, user, error);
      await named(name, user, reader.reopen());
      if (tries === readTriesMax) return { found: 'nothing', hungUp: true };
    }
  }
}

/** Waits for both, also when one fails, so that nothing runs on unseen. */
async function both<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  const [left, right] = await Promise.allSettled([a, b]);
  if (left.status === 'rejected') throw left.reason;
  if (right.status === 'rejected') throw right.reason;
  return [left.value, right.value];
}

async function named<T>(name: 'a' | 'b', user: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw failure(name, user, error);
  }
}

function failure(name: 'a' | 'b', user: string, error: unknown): AuditFailure {
  const facts = error as { responseText?: string; code?: string; message?: string };
  return new AuditFailure(`server ${name}, user ${user}: ${facts.responseText ?? facts.message ?? facts.code ?? String(error)}`, {
    cause: error,
  });
}
