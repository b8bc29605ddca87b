import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatByName } from '../../agent/mailstore/format-by-name.ts';
import { checkUidlist, namedMessages, raiseUidNext } from '../../agent/mailstore/uidlist.ts';

const header = '3 V1700000000 N1 G0123456789abcdef0123456789abcdef\n';
const lines = '1 :1700.M1P1.host,S=10,W=11\n2 W12 S11 :1700.M2P1.host\n7 G00 :a b\n';
const bytes = (text: string) => Buffer.from(text, 'latin1');
const all = (data: Buffer, from?: number) => [...namedMessages(data, from)];

describe('a uidlist that is whole', () => {
  it('of version 3 tells a next UID above a stale N', () => {
    expect(checkUidlist(bytes(header + lines))).toEqual({
      ok: true,
      length: header.length + lines.length,
      version: 3,
      uidValidity: 1700000000,
      uidNext: 8,
      messages: 3,
    });
    expect(checkUidlist(bytes(header.replace('N1', 'N900') + lines))).toMatchObject({ uidNext: 900 });
  });

  it('of version 1, as Courier writes it, names files with and without flags', () => {
    const data = bytes('1 1024 12\n3 1700.M1P1.host:2,S\n11 1700.M2P1.host\n');
    expect(checkUidlist(data)).toMatchObject({ ok: true, version: 1, uidValidity: 1024, uidNext: 12, messages: 2 });
    expect(all(data)).toEqual([
      { uid: 3, base: '1700.M1P1.host' },
      { uid: 11, base: '1700.M2P1.host' },
    ]);
  });

  it('names messages byte for byte, and goes on from where it was read to', () => {
    const data = bytes(`${header}${lines}8 :caf\xe9\xff\r\n`);
    expect(all(data).map(({ uid }) => uid)).toEqual([1, 2, 7, 8]);
    expect(all(data, header.length + lines.length)).toEqual([{ uid: 8, base: 'caf\xe9\xff\r' }]);
  });

  it('may have no messages, keys that nobody knows, and fields in any order', () => {
    expect(checkUidlist(bytes('3 N5 Xabc V7\n'))).toMatchObject({ ok: true, uidValidity: 7, uidNext: 5, messages: 0 });
  });
});

describe('a uidlist that is not whole', () => {
  it('ends at its last line end, wherever it was cut', () => {
    const whole = bytes(header + lines);
    for (let cut = header.length; cut <= whole.length; cut++) {
      const part = whole.subarray(0, cut);
      const facts = checkUidlist(part);
      expect(facts).toMatchObject({ ok: true, length: part.lastIndexOf(10) + 1 });
      expect(all(part).length).toBe(facts.ok ? facts.messages : -1);
    }
    for (let cut = 0; cut < header.length; cut++) expect(checkUidlist(whole.subarray(0, cut)).ok).toBe(false);
  });

  it.each([
    ['zeros at the end', `${header}${lines}\0\0\0\0\n`],
    ['zeros only', '\0\0\0\0\0\0\n'],
    ['a garbage line', `${header}1 :a\nxyz\n`],
    ['a UID twice', `${header}5 :a\n5 :b\n`],
    ['UIDs that fall', `${header}5 :a\n4 :b\n`],
    ['a UID that is not possible', `${header}4294967295 :a\n`],
    ['a huge number', `${header}99999999999999999999999 :a\n`],
    ['no name', `${header}5 :\n`],
    ['no colon', `${header}5 abc\n`],
    ['a slash in the name', `${header}5 :a/b\n`],
    ['a zero in the name', `${header}5 :a\0b\n`],
    ['an empty line', `${header}\n5 :a\n`],
    ['no UIDVALIDITY', '3 N1\n'],
    ['UIDVALIDITY 0', '3 V0 N1\n'],
    ['next UID 0', '3 V1 N0\n'],
    ['a header without version', 'V1 N1\n'],
    ['a version that nobody knows', '2 1 1\n'],
    ['half a GUID', '3 V1 N1 Gabc\n'],
    ['a UID of version 1 at or above its next UID', '1 1024 12\n12 a\n'],
    ['nothing', ''],
  ])('is refused with %s', (_what, text) => {
    expect(checkUidlist(bytes(text))).toMatchObject({ ok: false, reason: expect.stringMatching(/./) });
    expect(formatByName('maildir').marks({ uidlist: bytes(text) })).toBeNull();
  });

  it('never throws and never reads past its end', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (noise, withHeader) => {
        const data = Buffer.concat([bytes(withHeader ? header : ''), noise]);
        const facts = checkUidlist(data);
        if (facts.ok) expect(facts.length).toBeLessThanOrEqual(data.length);
        if (facts.ok) expect(all(data.subarray(0, facts.length)).length).toBe(facts.messages);
      }),
    );
  });
});

describe('raising the next UID', () => {
  it('changes nothing but N', () => {
    const raised = raiseUidNext(bytes(header + lines), 5000);
    expect(raised.toString('latin1')).toBe(header.replace('N1 ', 'N5000 ') + lines);
    expect(checkUidlist(raised)).toMatchObject({ ok: true, uidNext: 5000, uidValidity: 1700000000, messages: 3 });
    expect(raiseUidNext(bytes('1 1024 12\n3 a\n'), 77).toString('latin1')).toBe('1 1024 77\n3 a\n');
    expect(raiseUidNext(bytes('1 12 12\n3 a\n'), 77).toString('latin1')).toBe('1 12 77\n3 a\n');
  });

  it('never lowers it', () => {
    const data = bytes(header.replace('N1 ', 'N9000 '));
    expect(raiseUidNext(data, 5000).equals(data)).toBe(true);
    expect(raiseUidNext(data, 5000)).not.toBe(data);
  });

  it('refuses what is no UID and what is no uidlist', () => {
    for (const min of [0, -1, 1.5, NaN, 0xffffffff]) expect(() => raiseUidNext(bytes(header), min)).toThrow(RangeError);
    expect(() => raiseUidNext(bytes('garbage\n'), 5)).toThrow(/uidlist/);
  });
});

describe('marks of a mailbox', () => {
  it('come from the uidlist alone when there is no index', () => {
    expect(formatByName('maildir').marks({ uidlist: bytes(header + lines) })).toEqual({
      uidValidity: 1700000000,
      uidNext: 8,
      highestModseq: 1,
    });
  });

  it('are not told without any file', () => expect(formatByName('maildir').marks({})).toBeNull());
});

it('cuts the other text files at a line end', () => {
  const format = formatByName('maildir');
  expect(format.wholeLength('dovecot-keywords', bytes('0 $Label1\n1 foo'))).toEqual({ ok: true, length: 10 });
  expect(format.wholeLength('courierpop3dsizelist', bytes('/2 1 2\na 1'))).toEqual({ ok: true, length: 7 });
});
