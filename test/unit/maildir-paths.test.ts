import { describe, expect, it } from 'vitest';
import { formatByName } from '../../agent/mailstore/format-by-name.ts';
import type { FileKind } from '../../agent/platform/files.ts';
import { cpuSeconds } from '../lab/cpu-time.ts';

const format = formatByName('maildir');
const kinds: (FileKind | null)[] = ['file', 'dir', 'symlink', 'other', null];
const fact = (path: string, kind: FileKind | null = 'file') => format.classify(path, kind);
const leftOut = (paths: string[], kind: FileKind | null) => paths.filter((path) => fact(path, kind).ignored);

describe('messages', () => {
  it.each([
    ['cur/1700.M1P2.host,S=3:2,S', ''],
    ['new/1700.M1P2.host', ''],
    ['.Sent.2024/cur/1700.M1P2.host:2,', '.Sent.2024'],
    ['u@example.com/Maildir/.A/new/x', 'u@example.com/Maildir/.A'],
    ['mail/Work/Projects/cur/x:2,F', 'mail/Work/Projects'],
    ['public/.Shared/cur/x', 'public/.Shared'],
    ['.Old.lock/cur/x', '.Old.lock'],
    ['.Notes.tmp/cur/x', '.Notes.tmp'],
    ['.temp.Invoices/new/x', '.temp.Invoices'],
    ['tmp/Maildir/cur/x', 'tmp/Maildir'],
    ['vmail/tmp/cur/x', 'vmail/tmp'],
    ['vmail/new/cur/x', 'vmail/new'],
    ['.caf\xe9\n/cur/\xff\xfe:2,S', '.caf\xe9\n'],
  ])('%j belongs to mailbox %j', (path, mailbox) => {
    for (const kind of ['file', null] as const)
      expect(fact(path, kind)).toEqual({ ignored: false, class: 'message', mailbox, applyOrder: 20, immutable: true });
  });

  it('are never left out because of their name', () => {
    for (const name of [
      'a.lock',
      'a.lock:2,S',
      'x.tmp',
      'x.newlock',
      '.temp.1.2',
      'dovecot.index.cache',
      'dovecot-uidlist.lock:2,S',
      '.nfsx',
      'tmp',
      '..DOVECOT-T',
      'subscriptions.M1:2,',
    ])
      for (const dir of ['cur', '.A/new'])
        for (const kind of ['file', null] as const)
          expect({ name, ...fact(`${dir}/${name}`, kind) }).toMatchObject({ name, ignored: false, class: 'message' });
  });

  it('are not the directories and control files of a user called new', () => {
    expect(fact('vmail/new/Maildir', 'dir')).toMatchObject({ ignored: false, class: 'plain', immutable: false });
    expect(fact('vmail/new/dovecot-uidlist')).toMatchObject({ class: 'control', mailbox: 'vmail/new', immutable: false });
    expect(fact('vmail/new/dovecot-uidlist.lock').ignored).toBe(true);
    expect(fact('vmail/new/subscriptions')).toMatchObject({ class: 'control', mailbox: null });
  });
});

describe('what goes with a mailbox', () => {
  it.each([
    ['dovecot-keywords', 'control', 10],
    ['dovecot-uidlist', 'control', 30],
    ['courierimapuiddb', 'control', 30],
    ['courierpop3dsizelist', 'control', 30],
    ['dovecot.index.log.2', 'index', 40],
    ['dovecot.index.log', 'index', 41],
    ['dovecot.index', 'index', 42],
    ['dovecot.index.pvt.log', 'index', 41],
    ['dovecot.index.pvt', 'index', 42],
    ['dovecot.list.index', 'index', 42],
    ['dovecot.list.index.log', 'index', 41],
  ])('%s is %s with order %i, wherever it lies', (name, class_, applyOrder) => {
    for (const dir of ['', '.Sent', 'indexes/u@example.com/.Sent', 'control/u/INBOX', 'u/Maildir', 'tmp'])
      for (const kind of ['file', null] as const)
        expect(fact(dir === '' ? name : `${dir}/${name}`, kind)).toEqual({
          ignored: false,
          class: class_,
          mailbox: dir,
          applyOrder,
          immutable: false,
        });
  });

  it('is exactly what is read as one set, index first and uidlist last', () => {
    const names = [
      'dovecot.index',
      'dovecot.index.log',
      'dovecot.index.log.2',
      'dovecot-keywords',
      'courierpop3dsizelist',
      'dovecot-uidlist',
      'courierimapuiddb',
    ];
    const orders = names.map((name) => format.sealOrder(name) ?? NaN);
    expect(orders).toEqual(orders.toSorted((a, b) => a - b));
    for (const name of [
      ...names,
      'dovecot.index.cache',
      'dovecot-uidvalidity',
      'dovecot-acl',
      'subscriptions',
      'maildirsize',
      'x',
      'cur',
      'dovecot.mailbox.log',
      'dovecot.index.log.lock',
      'dovecot.indexes',
    ]) {
      const { mailbox, class: class_ } = fact(`box/${name}`);
      expect([name, mailbox !== null && class_ !== 'message']).toEqual([name, format.sealOrder(name) !== null]);
      if (mailbox !== null) expect(format.sealPrefixes.some((prefix) => name.startsWith(prefix))).toBe(true);
    }
  });
});

describe('what is replicated by itself', () => {
  it.each(['subscriptions', 'courierimapsubscribed', 'dovecot-uidvalidity', 'dovecot-uidvalidity.66a1b2c3'])('%s is control', (name) =>
    expect(fact(`u/Maildir/${name}`)).toMatchObject({ ignored: false, class: 'control', mailbox: null }),
  );

  it.each([
    '.dovecot.sieve',
    '.dovecot.svbin',
    '.dovecot.lda-dupes',
    'dovecot.mailbox.log',
    'maildirsize',
    'maildirfolder',
    'dovecot-acl',
    'dovecot-acl-list',
    'sieve/a.sieve',
    'sieve/tmp/a.sieve',
    'sieve/my.lockout.sieve',
    'courierimapkeywords/:list',
    'courierimapkeywords/1700.M1',
    'attachments/ab/cd',
    'dovecot.indexes',
    'courierimapacl',
  ])('%s is plain', (name) => {
    for (const kind of ['file', null] as const)
      expect(fact(`u/${name}`, kind)).toMatchObject({ ignored: false, class: 'plain', mailbox: null });
  });

  it('the UIDVALIDITY counter comes before the folders that took a value from it', () => {
    expect(fact('dovecot-uidvalidity').applyOrder).toBeLessThan(fact('dovecot-uidlist').applyOrder);
  });
});

describe('what is left out', () => {
  it.each([
    'dovecot-uidlist.lock',
    'dovecot-uidlist.lockmail-a.123.4f',
    'dovecot-uidlist.tmp',
    'dovecot-keywords.lock',
    'mailboxes.lock',
    'mailboxes.lockhost.1.2',
    'dovecot.index.log.newlock',
    'dovecot.index.cache',
    'dovecot.index.cache.lock',
    'dovecot.list.index.log.lock',
    'dovecot.index.tmp',
    'subscriptions.lock',
    '.temp.host.1.ab',
    '.nfs000000000123456700000001',
    '.dovecot.lda-dupes.lock',
    'a.lock',
    'a.tmp',
  ])('%s', (name) => expect(fact(`u/Maildir/${name}`)).toMatchObject({ ignored: true }));

  it.each([
    '.Sub/tmp/1700000000.M1P2.host',
    'tmp/1700000000.M1P2.host',
    'tmp/_aB.x.host',
    'tmp/courier.lock',
    'a/..DOVECOT-TRASHED/cur/x',
    '..DOVECOT-TrasH',
    'u/..DOVECOT-TRASHED',
    'cur/.nfs000000000123456700000001',
  ])('%s', (path) => expect(fact(path)).toMatchObject({ ignored: true }));

  it('but no directory, except a folder that is being deleted', () => {
    const names = [
      '.Old.lock',
      'a.tmp',
      '.temp.x',
      'tmp',
      '.nfs000000000123456700000001',
      'dovecot-uidlist.lock',
      'mailboxes.lock',
      'new',
      'courier.lockers.example',
    ];
    expect(
      leftOut(
        names.flatMap((name) => [`u/${name}`, `u/tmp/${name}`]),
        'dir',
      ),
    ).toEqual([]);
  });

  it('and no name that is gone, unless no folder, user or domain is called so', () => {
    expect(
      leftOut(
        ['.Old.lock', 'a.tmp', '.temp.x', 'tmp', 'courier.lockers.example', 'maildir.lock', 'tmp/.Sub', 'tmp/anna', 'tmp/12.smith'],
        null,
      ),
    ).toEqual([]);
    const transient = [
      'dovecot-uidlist.lock',
      'dovecot.index.log.newlock',
      'tmp/1700000000.M1P2.host',
      '.A/tmp/1700000000.M1P2.host',
      'dovecot.index.cache',
    ];
    expect(leftOut(transient, null)).toEqual(transient);
  });

  it('and no home of a user called tmp', () => {
    expect(
      leftOut(
        ['.dovecot.sieve', 'subscriptions', 'dovecot-uidvalidity', 'dovecot-acl', 'maildirsize', 'dovecot-uidlist'].map(
          (name) => `vmail/tmp/${name}`,
        ),
        'file',
      ),
    ).toEqual([]);
  });
});

it('tells the same mailbox for a file and for its name when it is gone', () => {
  for (const path of ['cur/x', '.A/cur/x.lock', 'dovecot-uidlist', '.A/dovecot.index', 'subscriptions', 'a/b'])
    expect(fact(path, null).mailbox).toBe(fact(path, 'file').mailbox);
});

it('gives the same answers in any order of asking', () => {
  const paths = [
    'cur/x',
    'x',
    'curx/cur/x',
    'cur',
    'new',
    '.A/cur/a',
    '.A/a',
    '.AB/cur/a',
    'u/tmp/y',
    'u/tmp',
    'dovecot-uidlist',
    '.A/dovecot-uidlist',
  ];
  const alone = new Map(paths.map((path) => [path, kinds.map((kind) => ({ ...fact(path, kind) }))]));
  for (const first of paths)
    for (const second of paths) {
      fact(first);
      expect(kinds.map((kind) => fact(second, kind))).toEqual(alone.get(second));
    }
});

it('judges a million names in seconds', () => {
  const paths = Array.from({ length: 1000 }, (_, i) => `example.com/user${i % 10}/Maildir/.F${i % 40}/cur/1700${i}.M${i}P1.host,S=12:2,S`);
  let messages = 0;
  const seconds = cpuSeconds(() => {
    for (let round = 0; round < 1000; round++) for (const path of paths) if (format.classify(path, 'file').immutable) messages++;
  });
  expect(messages).toBe(1_000_000);
  // Three or more are judged in a second; the bound only catches another order of magnitude.
  expect(seconds).toBeLessThan(5);
});
