import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatByName } from '../../agent/mailstore/format-by-name.ts';
import { readIndexHeader } from '../../agent/mailstore/index-header.ts';
import { decodeSize, readIndexLog } from '../../agent/mailstore/index-log.ts';

const format = formatByName('maildir');
const dir = fileURLToPath(new URL('../fixtures/maildir/', import.meta.url));
const load = (mailbox: string, name: string) =>
  existsSync(`${dir}${mailbox}/${name}`) ? readFileSync(`${dir}${mailbox}/${name}`) : undefined;

interface Expected {
  mailbox: string;
  uidValidity: number;
  uidNext: number;
  highestModseq: number;
  uids: number[];
}
const expected = JSON.parse(readFileSync(`${dir}expected.json`, 'utf8')) as Expected[];

function files(mailbox: string): { uidlist: Buffer; index: Buffer; log: Buffer; log2: Buffer } {
  const [uidlist, index, log, log2] = ['dovecot-uidlist', 'dovecot.index', 'dovecot.index.log', 'dovecot.index.log.2'].map((name) =>
    load(mailbox, name),
  );
  if (!uidlist || !index || !log || !log2) throw new Error(`the fixture ${mailbox} is not whole`);
  return { uidlist, index, log, log2 };
}

describe.each(expected)('the files of $mailbox that a Dovecot left', ({ mailbox, uids, ...marks }) => {
  it('tell what Dovecot tells', () => {
    expect(format.marks(files(mailbox))).toEqual(marks);
    // The list keeps lines of expunged messages until it is written anew.
    expect([...format.namedMessages(files(mailbox).uidlist)].map(({ uid }) => uid)).toEqual(expect.arrayContaining(uids));
  });

  it('tell it without the main index, which may be missing', () => {
    const { index: _index, ...rest } = files(mailbox);
    expect(format.marks(rest)).toEqual(marks);
  });

  it('are whole', () => {
    const { uidlist, index, log, log2 } = files(mailbox);
    for (const [name, data] of [
      ['dovecot-uidlist', uidlist],
      ['dovecot.index', index],
      ['dovecot.index.log', log],
      ['dovecot.index.log.2', log2],
    ] as const)
      expect(format.wholeLength(name, data)).toEqual({ ok: true, length: data.length });
  });

  it('belong together: the index was synced to within its log', () => {
    const { index, log, log2 } = files(mailbox);
    const header = readIndexHeader(index)!;
    const [newer, older] = [readIndexLog(log)!, readIndexLog(log2)!];
    expect(newer.indexId).toBe(header.indexId);
    expect(older.seq).toBe(newer.prevSeq);
    expect(older.length).toBe(newer.prevOffset);
    const synced = [newer, older].find(({ seq }) => seq === header.logSeq)!;
    expect(header.logHeadOffset).toBeLessThanOrEqual(synced.length);
    expect(header.uidValidity).toBe(marks.uidValidity);
    const data = synced === newer ? log : log2;
    expect(header.highestModseq).toBe(readIndexLog(data.subarray(0, header.logHeadOffset))?.highestModseq);
  });

  it('cut anywhere end at a whole record, and tell no more than before', () => {
    const { log2 } = files(mailbox);
    const ends = new Set<number>();
    let before = 0;
    for (let cut = log2.readUInt16LE(2); cut <= log2.length; cut++) {
      const facts = readIndexLog(log2.subarray(0, cut))!;
      expect(facts.length).toBeLessThanOrEqual(cut);
      expect(facts.highestModseq).toBeGreaterThanOrEqual(before);
      before = facts.highestModseq;
      ends.add(facts.length);
      const again = readIndexLog(log2.subarray(0, facts.length))!;
      expect(again).toEqual(facts);
    }
    expect(ends.size).toBeGreaterThan(10);
    expect(ends.has(log2.length)).toBe(true);
    for (let cut = 0; cut < log2.readUInt16LE(2); cut++) expect(readIndexLog(log2.subarray(0, cut))).toBeNull();
  });
});

const isExternal = 0x10000000;

function record(type: number, content: Buffer, finished = true): Buffer {
  const head = Buffer.alloc(8);
  const units = (8 + content.length) / 4;
  head.writeUInt32BE(finished ? (0x80808080 | (units & 0x7f) | ((units & 0x3f80) << 1) | ((units & 0x1fc000) << 2)) >>> 0 : units, 0);
  head.writeUInt32LE(type >>> 0, 4);
  return Buffer.concat([head, content]);
}

function words(...values: number[]): Buffer {
  const data = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => data.writeUInt32LE(value >>> 0, i * 4));
  return data;
}

const logHeader = (modseq: number, minor = 3) => Buffer.concat([Buffer.from([1, minor, 40, 0]), words(77, 1, 0, 0, 0, modseq, 0, 1, 0)]);
const modseqAfter = (...records: Buffer[]) => readIndexLog(Buffer.concat([logHeader(10), ...records]))?.highestModseq;

describe('the modification sequence', () => {
  it('rises with what a client can see', () => {
    expect(modseqAfter()).toBe(10);
    expect(modseqAfter(record(0x2, words(1, 0, 2, 0)))).toBe(11);
    expect(modseqAfter(record(0x400, words(0, 1, 1)))).toBe(11);
    expect(modseqAfter(record(0x4, words(1, 5, 0x08)))).toBe(11);
    expect(modseqAfter(record(0x4, words(1, 5, 0x010000)))).toBe(11);
    expect(modseqAfter(record(0xcd91 | isExternal, words(1, 5)))).toBe(11);
    expect(modseqAfter(record(0xed90 | isExternal, words(1, 0, 0, 0, 0)))).toBe(11);
    expect(modseqAfter(record(0x8000, words(1, 500, 0, 2, 7, 1)))).toBe(2 ** 32 + 7);
  });

  it('does not with what it cannot', () => {
    expect(modseqAfter(record(0xcd91, words(1, 5)))).toBe(10);
    expect(modseqAfter(record(0x4, words(1, 5, 0x80)))).toBe(10);
    expect(modseqAfter(record(0x8000, words(1, 5, 0)))).toBe(10);
    expect(modseqAfter(record(0x20, words(0)))).toBe(10);
    expect(readIndexLog(Buffer.concat([logHeader(10, 2), record(0x4, words(1, 5, 0x80))]))?.highestModseq).toBe(11);
  });

  it('begins where the log introduces it', () => {
    const intro = record(0x40, Buffer.concat([words(0xffffffff, 0, 16, 0, 6 << 16), Buffer.from('modseq\0\0')]));
    expect(readIndexLog(Buffer.concat([logHeader(0), record(0x2, words(1, 0)), intro, record(0x2, words(2, 0))]))).toMatchObject({
      highestModseq: 2,
      appended: [1, 2],
    });
    expect(readIndexLog(Buffer.concat([logHeader(0), record(0x2, words(1, 0))]))?.highestModseq).toBe(0);
  });
});

describe('a transaction', () => {
  const add = record(0x2, words(4, 0));

  it('counts only when its size is written', () => {
    const data = Buffer.concat([logHeader(10), add, record(0x2, words(5, 0), false)]);
    expect(readIndexLog(data)).toMatchObject({ length: 40 + add.length, appended: [4], highestModseq: 11, uidNextAtLeast: 5 });
  });

  it('of several records counts as a whole', () => {
    const boundary = record(0x80000 | isExternal, words(12 + 2 * add.length));
    const whole = Buffer.concat([logHeader(10), boundary, add, record(0x2, words(5, 0))]);
    expect(readIndexLog(whole)).toMatchObject({ length: whole.length, appended: [4, 5] });
    for (let cut = 40; cut < whole.length; cut++)
      expect(readIndexLog(whole.subarray(0, cut))).toMatchObject({ length: 40, appended: [], highestModseq: 10 });
  });

  it('may set UIDVALIDITY and reserve UIDs without adding one', () => {
    const header = Buffer.alloc(12);
    header.writeUInt16LE(24, 0);
    header.writeUInt16LE(8, 2);
    header.writeUInt32LE(1700000000, 4);
    header.writeUInt32LE(901, 8);
    const log = Buffer.concat([logHeader(10), record(0x20, header)]);
    expect(format.marks({ log })).toEqual({ uidValidity: 1700000000, uidNext: 901, highestModseq: 10 });
  });
});

describe('a file that is not whole', () => {
  it('is said to be so', () => {
    const { index, log } = files('INBOX');
    for (const cut of [0, 10, 119, 200, index.length - 1])
      expect(format.wholeLength('dovecot.index', index.subarray(0, cut)).ok).toBe(false);
    expect(format.wholeLength('dovecot.index', Buffer.alloc(500)).ok).toBe(false);
    expect(format.wholeLength('dovecot.index.log', Buffer.alloc(500)).ok).toBe(false);
    const corrupted = Buffer.from(log);
    corrupted.writeUInt32LE(0, 4);
    expect(format.wholeLength('dovecot.index.log', corrupted)).toMatchObject({ ok: false, reason: expect.stringContaining('corrupted') });
    expect(format.wholeLength('dovecot.index.log', Buffer.concat([logHeader(1), record(0x2, words(1))])).ok).toBe(false);
  });

  it('never makes the reader throw or read past its end', () => {
    const { index, log2, uidlist } = files('Sub');
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(3000), fc.nat(255)), { maxLength: 6 }), fc.nat(3000), (flips, cut) => {
        const damage = (data: Buffer) => {
          const copy = Buffer.from(data.subarray(0, Math.max(1, data.length - (cut % data.length))));
          for (const [at, value] of flips) copy[at % copy.length] = value;
          return copy;
        };
        const damaged = { index: damage(index), log: damage(log2), log2: damage(log2), uidlist: damage(uidlist) };
        for (const [name, data] of [
          ['dovecot.index', damaged.index],
          ['dovecot.index.log', damaged.log],
          ['dovecot-uidlist', damaged.uidlist],
        ] as const) {
          const whole = format.wholeLength(name, data);
          if (whole.ok) expect(whole.length).toBeLessThanOrEqual(data.length);
        }
        format.marks(damaged);
      }),
      { numRuns: 300 },
    );
  });
});

it('a size is four times seven bits, in units of four bytes', () => {
  expect(decodeSize(0x80808083)).toBe(12);
  expect(decodeSize(0x80808180)).toBe(512);
  expect(decodeSize(0x81808080)).toBe(2 ** 23);
  expect(decodeSize(0x00000003)).toBe(0);
});
