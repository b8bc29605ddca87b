import type { AccountSnapshot, Difference, ListedMailbox, MailboxSnapshot, MessageSnapshot, Property } from './snapshot.ts';

const present = 'it';
const absent = 'none';

/** Compares mailbox lists and subscriptions. */
export function compareAccounts(user: string, a: AccountSnapshot, b: AccountSnapshot): Difference[] {
  const found: Difference[] = [];
  const listedA = byKey(a.mailboxes, (each) => each.path);
  const listedB = byKey(b.mailboxes, (each) => each.path);
  for (const path of sortedKeys(listedA, listedB)) {
    const left = listedA.get(path);
    const right = listedB.get(path);
    if (left === undefined || right === undefined) found.push(presence(user, path, null, 'mailbox', left, right));
    else found.push(...compareListed(user, left, right));
  }
  const subscribedA = new Map(a.subscriptions.map((name) => [name, name]));
  const subscribedB = new Map(b.subscriptions.map((name) => [name, name]));
  for (const name of sortedKeys(subscribedA, subscribedB)) {
    if (subscribedA.has(name) !== subscribedB.has(name)) {
      found.push(presence(user, name, null, 'subscription', subscribedA.get(name), subscribedB.get(name)));
    }
  }
  return found;
}

function compareListed(user: string, a: ListedMailbox, b: ListedMailbox): Difference[] {
  return differing(user, a.path, null, [
    ['delimiter', a.delimiter, b.delimiter],
    ['selectable', String(a.selectable), String(b.selectable)],
    ['special-use', a.specialUse, b.specialUse],
  ]);
}

/** Compares everything of one mailbox. */
export function compareMailboxes(user: string, mailbox: string, a: MailboxSnapshot, b: MailboxSnapshot): Difference[] {
  const found = differing(user, mailbox, null, [
    ['UIDVALIDITY', a.uidValidity, b.uidValidity],
    ['UIDNEXT', String(a.uidNext), String(b.uidNext)],
    ['HIGHESTMODSEQ', a.highestModseq, b.highestModseq],
  ]);
  const inA = byKey(a.messages, (message) => message.uid);
  const inB = byKey(b.messages, (message) => message.uid);
  for (const uid of [...new Set([...inA.keys(), ...inB.keys()])].sort((x, y) => x - y)) {
    const left = inA.get(uid);
    const right = inB.get(uid);
    if (left === undefined || right === undefined) found.push(presence(user, mailbox, uid, 'message', left, right));
    else found.push(...compareMessages(user, mailbox, left, right));
  }
  return found;
}

function compareMessages(user: string, mailbox: string, a: MessageSnapshot, b: MessageSnapshot): Difference[] {
  const list = (items: readonly string[]) => (items.length === 0 ? null : items.join(' '));
  return differing(user, mailbox, a.uid, [
    ['flags', list(a.flags), list(b.flags)],
    ['keywords', list(a.keywords), list(b.keywords)],
    ['MODSEQ', a.modseq, b.modseq],
    ['INTERNALDATE', a.internalDate, b.internalDate],
    ['RFC822.SIZE', a.size === null ? null : String(a.size), b.size === null ? null : String(b.size)],
    ['body', a.sha256, b.sha256],
  ]);
}

function differing(
  user: string,
  mailbox: string,
  uid: number | null,
  values: readonly (readonly [Property, string | null, string | null])[],
): Difference[] {
  return values.filter(([, a, b]) => a !== b).map(([property, a, b]) => ({ user, mailbox, uid, property, a: a ?? absent, b: b ?? absent }));
}

function presence(user: string, mailbox: string, uid: number | null, property: Property, a: unknown, b: unknown): Difference {
  const show = (value: unknown) => (value === undefined ? absent : present);
  return { user, mailbox, uid, property, a: show(a), b: show(b) };
}

/** @throws when the server names one thing twice: then nothing it says can be compared. */
function byKey<T, K>(items: readonly T[], key: (item: T) => K): Map<K, T> {
  const map = new Map(items.map((item) => [key(item), item]));
  if (map.size !== items.length) throw new Error(`the server lists something twice: ${items.length} entries, ${map.size} names`);
  return map;
}

function sortedKeys(a: ReadonlyMap<string, unknown>, b: ReadonlyMap<string, unknown>): string[] {
  return [...new Set([...a.keys(), ...b.keys()])].sort();
}
