import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { compareAccounts, compareMailboxes } from '../../tools/audit/compare.ts';
import { parseEndpoint, parseUsers } from '../../tools/audit/endpoint.ts';
import { parseLsub, readSubscriptions } from '../../tools/audit/lsub.ts';
import { showDifference, type AccountSnapshot, type MailboxSnapshot, type MessageSnapshot } from '../../tools/audit/snapshot.ts';

function message(uid: number, change: Partial<MessageSnapshot> = {}): MessageSnapshot {
  const base = {
    uid,
    flags: ['\\Seen'],
    keywords: ['todo'],
    modseq: '7',
    internalDate: '2025-01-01T00:00:00.000Z',
    size: 10,
    sha256: 'aa',
  };
  return { ...base, ...change };
}

function mailbox(change: Partial<MailboxSnapshot> = {}): MailboxSnapshot {
  return { uidValidity: '5', uidNext: 4, highestModseq: '9', messages: [message(1), message(3)], ...change };
}

function account(change: Partial<AccountSnapshot> = {}): AccountSnapshot {
  const listed = { path: 'INBOX', delimiter: '/', selectable: true, specialUse: null };
  return { mailboxes: [listed, { ...listed, path: 'Sent', specialUse: '\\Sent' }], subscriptions: ['INBOX', 'gone'], ...change };
}

describe('comparing a mailbox', () => {
  it('finds nothing in equal ones', () => {
    expect(compareMailboxes('u', 'INBOX', mailbox(), mailbox())).toEqual([]);
  });

  it.each<[string, Partial<MailboxSnapshot>, string, string]>([
    ['UIDVALIDITY', { uidValidity: '6' }, '5', '6'],
    ['UIDNEXT', { uidNext: 5 }, '4', '5'],
    ['HIGHESTMODSEQ', { highestModseq: '10' }, '9', '10'],
    ['HIGHESTMODSEQ', { highestModseq: null }, '9', 'none'],
  ])('finds another %s', (property, change, a, b) => {
    expect(compareMailboxes('u', 'INBOX', mailbox(), mailbox(change))).toEqual([
      { user: 'u', mailbox: 'INBOX', uid: null, property, a, b },
    ]);
  });

  it.each<[string, Partial<MessageSnapshot>, string, string]>([
    ['flags', { flags: [] }, '\\Seen', 'none'],
    ['flags', { flags: ['\\Flagged', '\\Seen'] }, '\\Seen', '\\Flagged \\Seen'],
    ['keywords', { keywords: ['unknown-0'] }, 'todo', 'unknown-0'],
    ['MODSEQ', { modseq: '8' }, '7', '8'],
    ['INTERNALDATE', { internalDate: '2025-01-01T00:00:01.000Z' }, '2025-01-01T00:00:00.000Z', '2025-01-01T00:00:01.000Z'],
    ['RFC822.SIZE', { size: 11 }, '10', '11'],
    ['body', { sha256: 'bb' }, 'aa', 'bb'],
  ])('finds other %s of a message', (property, change, a, b) => {
    const other = mailbox({ messages: [message(1), message(3, change)] });
    expect(compareMailboxes('u', 'INBOX', mailbox(), other)).toEqual([{ user: 'u', mailbox: 'INBOX', uid: 3, property, a, b }]);
  });

  it('finds messages that only one side has', () => {
    const other = mailbox({ messages: [message(2), message(3)] });
    expect(compareMailboxes('u', 'INBOX', mailbox(), other)).toEqual([
      { user: 'u', mailbox: 'INBOX', uid: 1, property: 'message', a: 'it', b: 'none' },
      { user: 'u', mailbox: 'INBOX', uid: 2, property: 'message', a: 'none', b: 'it' },
    ]);
  });

  it('compares nothing when a server names a UID twice', () => {
    expect(() => compareMailboxes('u', 'INBOX', mailbox({ messages: [message(1), message(1)] }), mailbox())).toThrow('twice');
  });
});

describe('comparing an account', () => {
  it('finds nothing in equal ones, in whatever order they are listed', () => {
    const { mailboxes, subscriptions } = account();
    expect(compareAccounts('u', account(), { mailboxes: mailboxes.toReversed(), subscriptions: subscriptions.toReversed() })).toEqual([]);
  });

  it.each<[string, string, Partial<AccountSnapshot['mailboxes'][number]>, string, string]>([
    ['special-use', 'Sent', { specialUse: null }, '\\Sent', 'none'],
    ['selectable', 'Sent', { selectable: false }, 'true', 'false'],
    ['delimiter', 'Sent', { delimiter: '.' }, '/', '.'],
  ])('finds another %s', (property, path, change, a, b) => {
    const mailboxes = account().mailboxes.map((each) => (each.path === path ? { ...each, ...change } : each));
    expect(compareAccounts('u', account(), account({ mailboxes }))).toEqual([{ user: 'u', mailbox: path, uid: null, property, a, b }]);
  });

  it('finds a mailbox and a subscription that only one side has', () => {
    const less = account({ mailboxes: account().mailboxes.slice(0, 1), subscriptions: ['INBOX'] });
    expect(compareAccounts('u', account(), less)).toEqual([
      { user: 'u', mailbox: 'Sent', uid: null, property: 'mailbox', a: 'it', b: 'none' },
      { user: 'u', mailbox: 'gone', uid: null, property: 'subscription', a: 'it', b: 'none' },
    ]);
  });
});

it('shows a difference as one line, whatever the mailbox is called', () => {
  const line = showDifference({ user: 'u', mailbox: 'a\nb', uid: 3, property: 'flags', a: '\\Seen', b: 'none' });
  expect(line).toBe('u "a\\nb" uid 3: flags: a has \\Seen, b has none');
});

describe('reading subscriptions', () => {
  it('takes atoms, quoted strings and literals', () => {
    const answer =
      '* LSUB () "/" b\r\n* LSUB (\\HasNoChildren) "/" "a \\"q\\""\r\n* LSUB () NIL {3}\r\nc d\r\n* LSUB () "\\\\" e\r\nAUDIT1 OK done\r\n';
    expect(parseLsub(answer)).toEqual(['a "q"', 'b', 'c d', 'e']);
  });

  it('says what a refusal was, and takes an answer in pieces', async () => {
    const output = new PassThrough();
    const refused = new PassThrough();
    const refusal = readSubscriptions(refused, output);
    refused.write('AUDIT1 NO not today\r\n');
    await expect(refusal).rejects.toThrow('NO not today');
    const pieces = new PassThrough();
    const names = readSubscriptions(pieces, output);
    for (const piece of ['* LSUB () "/" INB', 'OX\r\nAUDIT', '1 OK\r\n']) pieces.write(piece);
    expect(await names).toEqual(['INBOX']);
    const cut = new PassThrough();
    const ended = readSubscriptions(cut, output);
    cut.destroy();
    await expect(ended).rejects.toThrow('connection ended');
  });
});

describe('reading arguments', () => {
  it('takes imap and imaps with encoded logins', () => {
    expect(parseEndpoint('imap://an%40na:p%3Aw@10.0.0.1:1143')).toEqual({
      host: '10.0.0.1',
      port: 1143,
      secure: false,
      user: 'an@na',
      password: 'p:w',
    });
    expect(parseEndpoint('imaps://u:p@[::1]/')).toMatchObject({ host: '::1', port: 993, secure: true });
    expect(parseEndpoint('imap://u:p@h')).toMatchObject({ port: 143 });
  });

  it.each(['http://u:p@h', 'nonsense', 'imap://', 'imap://u:p@h/INBOX'])('refuses %s without repeating the password', (text) => {
    expect(() => parseEndpoint(text)).toThrow(/^(?!.*:p@)/);
  });

  it('takes users with and without a password', () => {
    expect(parseUsers('# staff\nanna\n\nbert:x:y\r\n')).toEqual([
      { user: 'anna', password: null },
      { user: 'bert', password: 'x:y' },
    ]);
  });
});
