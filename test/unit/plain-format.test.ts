import { describe, expect, it } from 'vitest';
import { formatByName } from '../../agent/mailstore/format-by-name.ts';
import { linkStaysInside } from '../../agent/mailstore/links.ts';
import { parseDovecotVersion, sameSeries, showServerVersion } from '../../agent/mailstore/server-version.ts';

describe('the plain format', () => {
  const format = formatByName('plain');

  it('groups nothing and leaves nothing out', () => {
    for (const path of ['cur/x', 'tmp/1700000000.M1', 'a.lock', 'dovecot-uidlist', 'mbox', '..DOVECOT-TRASHED/cur/x'])
      for (const kind of ['file', 'dir', null] as const)
        expect(format.classify(path, kind)).toEqual({ ignored: false, class: 'plain', mailbox: null, applyOrder: 0, immutable: false });
  });

  it('knows no locks, no set, no marks', () => {
    expect(format.locks('')).toEqual([]);
    expect(format.sealOrder('dovecot-uidlist')).toBeNull();
    expect(format.marks({ uidlist: Buffer.from('1 1 1\n') })).toBeNull();
    expect([...format.namedMessages(Buffer.from('1 1 2\n1 a\n'))]).toEqual([]);
    expect(format.wholeLength('mbox', Buffer.from('From a'))).toEqual({ ok: true, length: 6 });
    expect(format.baseOf('a:2,S')).toBe('a:2,S');
  });
});

describe('links (I11)', () => {
  it.each([
    ['.dovecot.sieve', 'sieve/main.sieve'],
    ['u/.dovecot.sieve', '../shared/main.sieve'],
    ['a/b/c', '../../x'],
    ['a', '.'],
    ['a/b', './/c/../d'],
    ['a/b', '..'],
  ])('%s -> %s stays inside', (link, target) => expect(linkStaysInside(link, target)).toBe(true));

  it.each([
    ['a', '/etc/passwd'],
    ['a', '..'],
    ['a/b', '../..'],
    ['a/b', '../../a/b'],
    ['a/b', 'c/../../../x'],
    ['a', ''],
    ['a', 'x\0y'],
  ])('%s -> %j does not', (link, target) => expect(linkStaysInside(link, target)).toBe(false));
});

describe('the server version', () => {
  it('is read from what dovecot prints', () => {
    expect(parseDovecotVersion('2.3.19.1 (9b53102964)\n')).toEqual({ server: 'dovecot', version: '2.3.19.1', numbers: [2, 3, 19, 1] });
    expect(parseDovecotVersion('2.4.1-4 (7d8c0e5759)')).toMatchObject({ version: '2.4.1' });
    for (const text of ['', 'command not found', 'x 2.3', '2', '2.3.19.1.1.1.1.1']) expect(parseDovecotVersion(text)).toBeNull();
  });

  it('compares by release series', () => {
    const [a, b, c] = ['2.3.19.1', '2.3.21', '2.4.1'].map((text) => parseDovecotVersion(text)!);
    expect(sameSeries(a!, b!)).toBe(true);
    expect(sameSeries(a!, c!)).toBe(false);
    expect(showServerVersion(a!)).toBe('dovecot 2.3.19.1');
  });
});
