/** What the servers call the files beside the messages, and the order in which they are read and put into place. */

/** A file that goes with its mailbox's commit group. */
export interface GroupFile {
  class: 'control' | 'index';
  /** The index is read before what it was derived from, so that it cannot be newer; the uidlist is read last. */
  readOrder: number;
  /** And put into place after it: keywords before messages that use their letters (20), messages before the uidlist. */
  applyOrder: number;
}

export const applyOrders = {
  alone: 0,
  uidValidityCounter: 5,
  keywords: 10,
  message: 20,
  uidlist: 30,
  subscriptions: 32,
  log2: 40,
  log: 41,
  index: 42,
} as const;

// When both servers' lists lie in one directory, Dovecot's is read first: a Courier that moved away left its own behind.
const control = new Map<string, GroupFile>([
  ['dovecot-keywords', { class: 'control', readOrder: 80, applyOrder: applyOrders.keywords }],
  ['courierpop3dsizelist', { class: 'control', readOrder: 85, applyOrder: applyOrders.uidlist }],
  ['dovecot-uidlist', { class: 'control', readOrder: 90, applyOrder: applyOrders.uidlist }],
  ['courierimapuiddb', { class: 'control', readOrder: 91, applyOrder: applyOrders.uidlist }],
]);

/*
 * The main index is read before its log: a log only grows, so what the index was synced to is in it. The older log is
 * read last, because a rotation in between then shows one log twice and not a gap. They are applied the other way round.
 */
const indexParts = {
  index: { class: 'index', readOrder: 10, applyOrder: applyOrders.index },
  other: { class: 'index', readOrder: 9, applyOrder: applyOrders.index },
  log: { class: 'index', readOrder: 11, applyOrder: applyOrders.log },
  log2: { class: 'index', readOrder: 12, applyOrder: applyOrders.log2 },
} satisfies Record<string, GroupFile>;

const indexPrefixes = ['dovecot.index', 'dovecot.list.index', 'dovecot.map.index'];

export const sealPrefixes: readonly string[] = ['dovecot', 'courier'];

/** Which part of which index family a name is; `cache` and `transient` are not replicated; null when of none. */
export function indexPart(name: string): 'index' | 'log' | 'log2' | 'other' | 'cache' | 'transient' | null {
  if (!name.startsWith('dovecot.')) return null;
  const prefix = indexPrefixes.find((candidate) => name.startsWith(candidate));
  if (prefix === undefined) return null;
  let suffix = name.slice(prefix.length);
  // The private index of a shared mailbox.
  if (suffix.startsWith('.pvt')) suffix = suffix.slice(4);
  if (suffix === '') return 'index';
  if (suffix === '.log') return 'log';
  if (suffix === '.log.2') return 'log2';
  if (suffix.startsWith('.cache')) return 'cache';
  if (suffix.includes('.lock') || suffix.includes('.newlock') || suffix.endsWith('.tmp')) return 'transient';
  return suffix.startsWith('.') ? 'other' : null;
}

/** The file's place in its mailbox's commit group; null when it has none. */
export function groupFile(name: string): GroupFile | null {
  const first = name.charCodeAt(0);
  if (first !== 0x64 && first !== 0x63) return null;
  const known = control.get(name);
  if (known) return known;
  const part = indexPart(name);
  return part === null || part === 'cache' || part === 'transient' ? null : indexParts[part];
}

export function sealOrder(name: string): number | null {
  return groupFile(name)?.readOrder ?? null;
}

/** Files of a user or a namespace that name or number mailboxes, and go alone; null for any other name. */
export function listFileOrder(name: string): number | null {
  // A counter that is ahead is harmless; one that is behind gives a new folder a UIDVALIDITY that an older one had.
  if (name.startsWith('dovecot-uidvalidity') && (name.length === 19 || name[19] === '.')) return applyOrders.uidValidityCounter;
  if (name === 'subscriptions' || name === 'courierimapsubscribed' || name === '.subscriptions') return applyOrders.subscriptions;
  return null;
}
