import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decode, encode } from '../../protocol/codec.ts';
import { limits } from '../../protocol/limits.ts';
import { modseqGap, uidGap } from '../../agent/mailstore/borne-out.ts';
import type { MailboxMarks } from '../../agent/mailstore/format.ts';
import { formatByName } from '../../agent/mailstore/format-by-name.ts';
import { readIndexHeader } from '../../agent/mailstore/index-header.ts';
import { appendToLog } from '../../agent/mailstore/index-log-write.ts';
import { readIndexLog } from '../../agent/mailstore/index-log.ts';
import { checkUidlist, namedMessages, raiseUidNext } from '../../agent/mailstore/uidlist.ts';
import { readKeywords } from '../../agent/replicate/salvage/keywords.ts';
import { markWrites, readMarks } from '../../agent/replicate/standby/marks.ts';
import { cpuSeconds } from '../lab/cpu-time.ts';
import { SimClock } from '../sim/sim-clock.ts';
import { SimKvStore } from '../sim/sim-kv.ts';

const format = formatByName('maildir');
const dir = fileURLToPath(new URL('../fixtures/maildir/', import.meta.url));
const parts = { uidlist: 'dovecot-uidlist', index: 'dovecot.index', log: 'dovecot.index.log', log2: 'dovecot.index.log.2' } as const;
type Part = keyof typeof parts;
type Mailbox = Record<Part, Buffer>;
const partNames = Object.keys(parts) as Part[];

/** What a Dovecot left of each of its mailboxes. */
const mailboxes = readdirSync(dir, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => ({
    name,
    files: Object.fromEntries(partNames.map((part) => [part, readFileSync(join(dir, name, parts[part]))])) as Mailbox,
  }));

const kv = new SimKvStore(() => 0).open(new SimClock().host(0));
const sent = new Set<string>();

/** The mark goes over the wire as it is, and the standby keeps it. Once for each: this is the slow part. */
function send({ uidValidity, uidNext, highestModseq }: MailboxMarks): void {
  const mark = [uidValidity, uidNext, highestModseq] as const;
  if (sent.has(mark.join())) return;
  sent.add(mark.join());
  const told = decode(encode({ type: 'watermarks', items: [['mail', 'INBOX', ...mark]] }), () => 0);
  if (told.type !== 'watermarks') throw new Error('another message arrived');
  kv.commit(markWrites(kv, told.items, 0));
  const kept = readMarks(kv)[0];
  if (told.items[0]?.join() !== `mail,INBOX,${mark.join()}` || (kept?.uidNext ?? 0) < uidNext)
    throw new Error(`${mark.join()} was not kept`);
}

/** Nothing here may throw, and what is told must fit the wire and the standby's store. */
function readAll(files: Partial<Mailbox>): MailboxMarks | null {
  for (const part of partNames) {
    const data = files[part];
    const whole = data ? format.wholeLength(parts[part], data) : null;
    if (data && whole?.ok && whole.length > data.length) throw new Error(`${part}: ${whole.length} of ${data.length} bytes are whole`);
  }
  for (const { uid } of files.uidlist ? namedMessages(files.uidlist) : [])
    if (!(uid >= 1 && uid < limits.uidMax)) throw new Error(`UID ${uid} is named`);
  const removals = format.removals(files);
  removals?.has(1);
  removals?.has(limits.uidMax);
  const marks = format.marks(files);
  if (marks) send(marks);
  return marks;
}

/** A takeover must be able to raise whatever is there. */
function raiseAll(files: Mailbox, marks: MailboxMarks | null): void {
  const list = checkUidlist(files.uidlist);
  if (list.ok && list.uidNext < limits.uidMax - 1000) {
    const raised = raiseUidNext(files.uidlist.subarray(0, list.length), list.uidNext + 1000);
    const again = checkUidlist(raised);
    if (!again.ok || again.uidNext !== list.uidNext + 1000) throw new Error(`the list tells ${JSON.stringify(again)} after raising`);
  }
  const before = readIndexLog(files.log);
  const to = (marks?.highestModseq ?? 1) + 1000;
  const raised = appendToLog(files.log, to);
  if (!raised) return;
  const after = readIndexLog(raised);
  const least = Math.max(before?.highestModseq ?? 1, to);
  if (!after || after.highestModseq < least) throw new Error(`the log tells ${after?.highestModseq} after raising to ${least}`);
}

/** Where each bit has a meaning of its own; behind it every third is enough, which over the bytes is each of the eight. */
const headerBits = 128 * 8;

describe.each(mailboxes)('the files of $name, damaged', ({ files }) => {
  const marks = format.marks(files);
  if (!marks) throw new Error('the fixture tells nothing');

  it.each(partNames)('by any one bit of the %s: nothing throws, and no mark rises far', (part) => {
    let [tried, told] = [0, 0];
    for (let bit = 0; bit < files[part].length * 8; bit += bit < headerBits ? 1 : 3) {
      tried++;
      const data = Buffer.from(files[part]);
      data[bit >>> 3] = (data[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
      const damaged = { ...files, [part]: data };
      const now = readAll(damaged);
      // The uidlist is what the server itself goes by: when it says another number, that is what it will give.
      if (now && part !== 'uidlist') {
        told++;
        const [uids, modseqs] = [now.uidNext - marks.uidNext, now.highestModseq - marks.highestModseq];
        if (uids < 0 || uids > uidGap || modseqs > modseqGap) throw new Error(`bit ${bit}: ${JSON.stringify(now)}`);
      }
      if (bit % 7 === 0) raiseAll(damaged, now);
    }
    if (part !== 'uidlist') expect(told).toBe(tried);
  });

  it.each(partNames)('by a cut of the %s anywhere: nothing throws, and no mark rises', (part) => {
    for (let cut = 0; cut < files[part].length; cut++) {
      const damaged = { ...files, [part]: files[part].subarray(0, cut) };
      const now = readAll(damaged);
      if (now && (now.uidNext > marks.uidNext || now.highestModseq > marks.highestModseq))
        throw new Error(`cut ${cut}: ${JSON.stringify(now)}`);
      raiseAll(damaged, now);
    }
  });

  it('in several places and files at once: nothing throws', () => {
    const damage = fc.record({
      flips: fc.array(fc.tuple(fc.nat(1 << 16), fc.nat(255)), { maxLength: 8 }),
      cut: fc.option(fc.nat(1 << 16), { nil: null }),
      words: fc.array(fc.tuple(fc.nat(1 << 14), fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff)), { maxLength: 3 }),
    });
    const apply = (data: Buffer, { flips, cut, words }: { flips: [number, number][]; cut: number | null; words: [number, number][] }) => {
      const copy = Buffer.from(cut === null ? data : data.subarray(0, cut % (data.length + 1)));
      for (const [at, value] of copy.length === 0 ? [] : flips) copy[at % copy.length] = value;
      for (const [at, word] of copy.length < 4 ? [] : words) copy.writeUInt32LE(word, Math.min((at * 4) % copy.length, copy.length - 4));
      return copy;
    };
    fc.assert(
      fc.property(fc.tuple(damage, damage, damage, damage), (each) => {
        const damaged = Object.fromEntries(partNames.map((part, i) => [part, apply(files[part], each[i] ?? each[0])])) as Mailbox;
        raiseAll(damaged, readAll(damaged));
        for (const part of partNames) readAll({ [part]: damaged[part] });
      }),
      { numRuns: 500 },
    );
  });
});

function words(...given: (number | number[])[]): Buffer {
  const values = given.flat();
  const data = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => data.writeUInt32LE(value >>> 0, i * 4));
  return data;
}

function record(type: number, content: Buffer): Buffer {
  const head = Buffer.alloc(8);
  const units = (8 + content.length) / 4;
  const coded = (units & 0x7f) | ((units & 0x3f80) << 1) | ((units & 0x1fc000) << 2) | ((units & 0xfe00000) << 3);
  head.writeUInt32BE((0x80808080 | coded) >>> 0, 0);
  head.writeUInt32LE(type >>> 0, 4);
  return Buffer.concat([head, content]);
}

const logHeader = (modseq: number) =>
  Buffer.concat([Buffer.from([1, 3, 40, 0]), words(77, 1, 0, 0, 0, modseq % 2 ** 32, Math.floor(modseq / 2 ** 32), 1, 0)]);
const add = (...uids: number[]) => record(0x2, words(...uids.flatMap((uid) => [uid, 0])));
/** A transaction of so many bytes, this record included. */
const boundary = (bytes: number) => record(0x10080000, words(bytes));
const uidlist = Buffer.from('3 V77 N20 G0123456789abcdef0123456789abcdef\n19 :a\n', 'latin1');

describe('numbers out of range', () => {
  it.each([
    ['a UID that is not possible', Buffer.concat([logHeader(5), add(0xffffffff)])],
    ['a modification sequence that no server reaches', logHeader(2 ** 48)],
    ['one that no number holds', Buffer.concat([Buffer.from([1, 3, 40, 0]), words(77, 1, 0, 0, 0, 0xffffffff, 0xffffffff, 1, 0)])],
    ['one that is set so', Buffer.concat([logHeader(5), record(0x8000, words(1, 0xffffffff, 0xffffffff))])],
    // What is added behind the inner one would never be read: readers stop at a transaction that is not whole.
    ['a transaction that ends in another one', Buffer.concat([logHeader(5), boundary(44), boundary(12), Buffer.alloc(20)])],
    ['a record smaller than its own head', Buffer.concat([logHeader(5), Buffer.from('80808081', 'hex'), words(2)])],
  ])('in a log, such as %s, tell nothing', (_what, log) => {
    expect(format.wholeLength('dovecot.index.log', log).ok).toBe(false);
    expect(format.marks({ uidlist, log })).toEqual({ uidValidity: 77, uidNext: 20, highestModseq: 1 });
    expect(readAll({ uidlist, log })).not.toBeNull();
  });

  it('in an index tell nothing: record sizes, counts and modification sequences', () => {
    const { index } = mailboxes[0]?.files ?? {};
    if (!index) throw new Error('no fixture');
    const changed = (at: number, value: number) => {
      const copy = Buffer.from(index);
      copy.writeUInt32LE(value >>> 0, at);
      return copy;
    };
    for (const damaged of [changed(8, 0), changed(8, 4), changed(8, 0xffffffff), changed(32, 0xffffffff), changed(4, 0xffffffff)])
      expect(readIndexHeader(damaged)).toBeNull();
    expect(format.marks({ uidlist, index: changed(28, 0xffffffff) })?.uidNext).toBeLessThan(1000);
  });

  it('are believed when a second file bears them out, as after a takeover that skipped many', () => {
    const far = 3_000_000_000;
    const high = Buffer.from(`3 V77 N${far} G0123456789abcdef0123456789abcdef\n`, 'latin1');
    expect(format.marks({ uidlist: high, log: Buffer.concat([logHeader(5), add(7)]) })?.uidNext).toBe(far);
    const log = Buffer.concat([logHeader(2 ** 40), add(far)]);
    expect(format.marks({ uidlist, log })).toMatchObject({ uidNext: 20, highestModseq: 1 });
    expect(format.marks({ uidlist, log, log2: Buffer.concat([logHeader(2 ** 40 - 9), add(far - 9)]) })).toEqual({
      uidValidity: 77,
      uidNext: far + 1,
      highestModseq: 2 ** 40 + 1,
    });
  });
});

describe('large files of noise', () => {
  it('are read once through', () => {
    const noise = Buffer.alloc(4_000_000);
    for (let i = 0; i < noise.length; i++) noise[i] = (i * 2654435761) >>> 13;
    const spaces = Buffer.from(`3 V7 N2\n${'5 '.repeat(2_000_000)}`, 'latin1');
    expect(
      cpuSeconds(() => {
        readAll({ uidlist: noise, index: noise, log: noise, log2: noise });
        readAll({ uidlist: spaces });
        readAll({ uidlist: Buffer.concat([Buffer.alloc(4_000_000, 0x20), Buffer.from('\n')]) });
        readAll({ uidlist: Buffer.from(`1${' '.repeat(4_000_000)}\n`) });
        readAll({ log: Buffer.concat([logHeader(5), noise]) });
        readKeywords(noise);
        readKeywords(spaces);
      }),
    ).toBeLessThan(5);
  });

  it('that tell of very many removals are searched, not walked, for each message', () => {
    const removed = record(0xcd91 | 0x10000000, words(Array.from({ length: 100_000 }, (_, i) => [i * 3 + 1, i * 3 + 1]).flat()));
    const removals = format.removals({ log: Buffer.concat([logHeader(5), removed]) });
    let count = 0;
    expect(
      cpuSeconds(() => {
        for (let uid = 1; uid <= 300_000; uid++) if (removals?.has(uid)) count++;
      }),
    ).toBeLessThan(2);
    expect(count).toBe(100_000);
  });
});
