import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { defaultExcludes } from '../../protocol/exclude.ts';
import { excluding } from '../../agent/mailstore/exclude.ts';
import { formatByName } from '../../agent/mailstore/format-by-name.ts';
import { readIndexLog } from '../../agent/mailstore/index-log.ts';
import { appendToLog, freshLog } from '../../agent/mailstore/index-log-write.ts';
import { nextUidRecord } from './index-log-records.ts';
import { raiseRoot } from '../../agent/mailstore/raise.ts';
import { survey } from '../../agent/mailstore/survey.ts';
import type { MailboxMarks } from '../../agent/mailstore/format.ts';
import { clearStaged } from '../../agent/mailstore/staged-files.ts';
import { realFiles } from '../../agent/platform/real-files.ts';

const fixtures = fileURLToPath(new URL('../fixtures/maildir/', import.meta.url));
const [fixture] = readdirSync(fixtures, { withFileTypes: true }).filter((entry) => entry.isDirectory());
const log = readFileSync(join(fixtures, fixture?.name ?? '', 'dovecot.index.log'));

let root: string;
let staging: string;
beforeEach(() => {
  const dir = mkdtempSync(join(tmpdir(), 'mailtwin-raise-'));
  root = join(dir, 'mail');
  staging = join(dir, 'stage');
  mkdirSync(root);
});
afterEach(() => rmSync(join(root, '..'), { recursive: true, force: true }));

function mailbox(path: string, files: Record<string, string | Buffer>): string {
  const dir = join(root, path);
  for (const name of ['cur', 'new', 'tmp']) mkdirSync(join(dir, name), { recursive: true });
  for (const [name, data] of Object.entries(files)) writeFileSync(join(dir, name), data, 'latin1');
  return dir;
}

const raise = (marks: (mailbox: string) => MailboxMarks | null = () => null) =>
  raiseRoot(realFiles, { name: 'mail', path: root, staging }, marks, () => ({ uids: 1000, modseqs: 2000 }), {
    nowSeconds: 1_800_000_000,
    breathe: async () => {},
  });

describe('raising the numbers of a root (I5)', () => {
  it('leaves what the root excludes alone: a snapshot holds old mailboxes that nobody can write', async () => {
    mailbox('anna', { 'dovecot-uidlist': '3 V77 N5\n4 :a\n' });
    const old = mailbox('.snapshots/1/anna', { 'dovecot-uidlist': '3 V77 N2\n1 :a\n' });
    const { excluded } = excluding(formatByName('maildir'), defaultExcludes.maildir);
    const reports = await raiseRoot(
      realFiles,
      { name: 'mail', path: root, staging, excluded },
      () => null,
      () => ({ uids: 1000, modseqs: 2000 }),
      { nowSeconds: 1_800_000_000, breathe: async () => {} },
    );
    expect(reports.map((each) => each.mailbox)).toEqual(['anna']);
    expect(readFileSync(join(old, 'dovecot-uidlist'), 'latin1')).toBe('3 V77 N2\n1 :a\n');
    expect([...survey(realFiles, root, excluded)].map((each) => each.mailbox)).toEqual(['anna']);
  });

  it('goes above the watermark and above what is here, with UIDVALIDITY, lines, owner and mode as they are', async () => {
    const anna = mailbox('anna', { 'dovecot-uidlist': '3 V77 N5 G00112233445566778899aabbccddeeff\n4 :a\n9 :b\n' });
    chmodSync(join(anna, 'dovecot-uidlist'), 0o640);
    mailbox('anna/.Sent', { 'dovecot-uidlist': '3 V78 N2\n1 :c\n' });
    const reports = await raise((path) => (path === 'anna/.Sent' ? { uidValidity: 78, uidNext: 50, highestModseq: 1 } : null));
    expect(readFileSync(join(anna, 'dovecot-uidlist'), 'latin1')).toBe('3 V77 N1010 G00112233445566778899aabbccddeeff\n4 :a\n9 :b\n');
    expect(statSync(join(anna, 'dovecot-uidlist')).mode & 0o777).toBe(0o640);
    expect(reports.map(({ mailbox: path, uidValidity, uidNext, skipped }) => [path, uidValidity, uidNext, skipped])).toEqual([
      ['anna', 77, { before: 10, after: 1010 }, null],
      ['anna/.Sent', 78, { before: 2, after: 1050 }, null],
    ]);
    expect(existsSync(staging)).toBe(true);
    await clearStaged(realFiles, staging, async () => {});
    expect(existsSync(staging)).toBe(false);
  });

  it('says when the watermark is of another UIDVALIDITY, and goes above what is here', async () => {
    mailbox('anna', { 'dovecot-uidlist': '3 V77 N5\n' });
    const [report] = await raise(() => ({ uidValidity: 90, uidNext: 5000, highestModseq: 1 }));
    expect(report).toMatchObject({ uidNext: { after: 1005 }, skipped: expect.stringContaining('90') });
  });

  it('raises the index log, also the one without an index, and starts one where clients have seen more than 1', async () => {
    const before = readIndexLog(log)!;
    const withLog = mailbox('anna', { 'dovecot-uidlist': `3 V${before.uidValidity || 7} N5\n`, 'dovecot.index.log': log });
    const without = mailbox('bert', { 'dovecot-uidlist': '3 V7 N5\n' });
    const never = mailbox('carla', { 'dovecot-uidlist': '3 V8 N5\n' });
    await raise((path) => (path === 'bert' ? { uidValidity: 7, uidNext: 5, highestModseq: 60 } : null));
    const after = readIndexLog(readFileSync(join(withLog, 'dovecot.index.log')))!;
    expect(after.highestModseq).toBe(before.highestModseq + 2000);
    expect({ ...after, highestModseq: 0, length: 0, uidNextAtLeast: 0 }).toEqual({
      ...before,
      highestModseq: 0,
      length: 0,
      uidNextAtLeast: 0,
    });
    expect(readIndexLog(readFileSync(join(without, 'dovecot.index.log')))?.highestModseq).toBe(2060);
    expect(existsSync(join(never, 'dovecot.index.log'))).toBe(false);
  });

  it('goes above the higher one of list and index', async () => {
    const dir = mailbox('anna', { 'dovecot-uidlist': '3 V7 N2\n1 :a\n' });
    writeFileSync(join(dir, 'dovecot.index.log'), Buffer.concat([appendToLog(freshLog(9, 5), 6)!, nextUidRecord(300)]));
    expect(await raise()).toMatchObject([{ uidNext: { before: 300, after: 1300 }, highestModseq: { before: 6, after: 2006 } }]);
  });

  it('raises the counter for new folders, in its file and in its name', async () => {
    const dir = mailbox('anna', { 'dovecot-uidlist': '3 V7 N2\n', 'dovecot-uidvalidity': '6b065737', 'dovecot-uidvalidity.6b065737': '' });
    await raise();
    expect(readFileSync(join(dir, 'dovecot-uidvalidity'), 'latin1')).toBe('6b065b1f');
    expect(readdirSync(dir).filter((name) => name.startsWith('dovecot-uidvalidity.'))).toEqual(['dovecot-uidvalidity.6b065b1f']);
  });

  it('raises that counter where a root holds control files alone', async () => {
    mkdirSync(join(root, 'anna/INBOX'), { recursive: true });
    writeFileSync(join(root, 'anna/INBOX/dovecot-uidlist'), '3 V7 N2\n');
    writeFileSync(join(root, 'anna/dovecot-uidvalidity'), '00000010');
    writeFileSync(join(root, 'anna/dovecot-uidvalidity.00000010'), '');
    expect((await raise()).map((each) => each.mailbox)).toEqual(['anna/INBOX']);
    expect(readFileSync(join(root, 'anna/dovecot-uidvalidity'), 'latin1')).toBe('000003f8');
  });

  it('finds users that are called as the places of messages are, and reports what has no list or a damaged one', async () => {
    mailbox('cur', { 'dovecot-uidlist': '3 V7 N2\n' });
    mkdirSync(join(root, 'new'));
    mailbox('never', {});
    mailbox('torn', { 'dovecot-uidlist': '3 V7 N2\nx' });
    mailbox('broken', { 'dovecot-uidlist': '3 V7 N2\nx\n' });
    const reports = new Map((await raise()).map((each) => [each.mailbox, each]));
    expect(reports.get('cur')?.uidNext?.after).toBe(1002);
    expect(reports.get('never')?.skipped).toContain('no uidlist');
    expect(reports.get('torn')?.uidNext?.after).toBe(1002);
    expect(reports.get('broken')?.skipped).toContain('cannot be read');
  });

  it('never goes near the end of the UIDs, and says so where few are left', async () => {
    mailbox('anna', { 'dovecot-uidlist': '3 V7 N4294960000\n' });
    mailbox('bert', { 'dovecot-uidlist': '3 V7 N4294967295\n' });
    const reports = new Map((await raise()).map((each) => [each.mailbox, each]));
    expect(reports.get('anna')).toMatchObject({ uidNext: { before: 4294960000, after: 4294960455 } });
    expect(reports.get('anna')?.skipped).toContain('few UIDs left');
    expect(reports.get('bert')).toMatchObject({ uidNext: null, skipped: 'the mailbox has no UIDs left' });
  });

  it('ends for no damaged file: a counter that is none, a mark that cannot be, a log that tells a wild number', async () => {
    const list = '3 V7 N20 G00112233445566778899aabbccddeeff\n19 :a\n';
    mailbox('counter', { 'dovecot-uidlist': list, 'dovecot-uidvalidity': 'x'.repeat(500), 'dovecot-uidvalidity.6b065737': '' });
    mailbox('mark', { 'dovecot-uidlist': list });
    const wild = Buffer.concat([appendToLog(freshLog(9, 5), 2 ** 44)!, nextUidRecord(4_000_000_000)]);
    const dir = mailbox('wild', { 'dovecot-uidlist': list, 'dovecot.index.log': wild });
    const reports = new Map(
      (await raise((path) => (path === 'mark' ? { uidValidity: 7, uidNext: 2 ** 32 - 1, highestModseq: 9 } : null))).map((each) => [
        each.mailbox,
        each,
      ]),
    );
    for (const name of ['counter', 'mark', 'wild']) expect(reports.get(name)?.uidNext).toEqual({ before: 20, after: 1020 });
    expect(reports.get('mark')?.skipped).toContain('4294967295');
    expect(readdirSync(join(root, 'counter'))).toContain('dovecot-uidvalidity.6b065b1f');
    // What clients may have seen in the log itself does not fall.
    expect(readIndexLog(readFileSync(join(dir, 'dovecot.index.log')))).toMatchObject({
      uidNextAtLeast: 4_000_000_000,
      highestModseq: 2 ** 44 + 2000,
    });
  });

  it("raises Courier's list", async () => {
    const dir = mailbox('anna', { courierimapuiddb: '1 77 12\n11 a\n' });
    expect(await raise()).toMatchObject([{ uidValidity: 77, uidNext: { before: 12, after: 1012 }, skipped: null }]);
    expect(readFileSync(join(dir, 'courierimapuiddb'), 'latin1')).toBe('1 77 1012\n11 a\n');
  });

  it('leaves every number as high when it ends in the middle and is done again', async () => {
    const list = (name: string) => readFileSync(join(root, name, 'dovecot-uidlist'), 'latin1');
    mailbox('anna', { 'dovecot-uidlist': '3 V7 N2\n' });
    mailbox('bert', { 'dovecot-uidlist': '3 V8 N2\n' });
    let renames = 0;
    const dying = { ...realFiles, rename: (from: string, to: string) => (renames++ < 1 ? realFiles.rename(from, to) : fail()) };
    const margin = () => ({ uids: 1000, modseqs: 1000 });
    const options = { nowSeconds: 1, breathe: async () => {} };
    await expect(raiseRoot(dying, { name: 'mail', path: root, staging }, () => null, margin, options)).rejects.toThrow('killed');
    await raise();
    for (const name of ['anna', 'bert']) expect(Number(/N([0-9]+)/.exec(list(name))?.[1])).toBeGreaterThanOrEqual(1002);
    await clearStaged(realFiles, staging, async () => {});
    expect(existsSync(staging)).toBe(false);
  });
});

function fail(): never {
  throw new Error('killed');
}

describe('a survey', () => {
  it('tells two copies apart by a flag, and equal ones not', () => {
    const dir = mailbox('anna', { 'dovecot-uidlist': '3 V7 N3\n1 :a\n2 :b\n' });
    for (const name of ['a:2,S', 'b:2,']) writeFileSync(join(dir, 'cur', name), name);
    const [before] = survey(realFiles, root);
    cpSync(dir, join(root, 'bert'), { recursive: true });
    const [, copy] = survey(realFiles, root);
    rmSync(join(dir, 'cur/b:2,'));
    writeFileSync(join(dir, 'cur/b:2,F'), 'b:2,');
    const [after] = survey(realFiles, root);
    expect(before).toMatchObject({ mailbox: 'anna', uidValidity: 7, uidNext: 3, messages: 2 });
    expect([copy?.digest === before?.digest, after?.digest === before?.digest]).toEqual([true, false]);
  });
});

describe('what is added to an index log', () => {
  it('is byte for byte what doveadm mailbox update of 2.3.19 adds', () => {
    const log0 = freshLog(1_795_577_654, 4);
    expect(appendToLog(log0, 6000)!.subarray(40).toString('hex')).toBe('8080808500800010000000007017000000000000');
    expect(readIndexLog(appendToLog(log0, 2 ** 40 + 3)!)?.highestModseq).toBe(2 ** 40 + 3);
  });

  it('takes the place of what a server did not finish writing', () => {
    const torn = Buffer.concat([freshLog(9, 4), Buffer.from('00000010', 'hex'), Buffer.alloc(9)]);
    expect(readIndexLog(appendToLog(torn, 70)!)).toMatchObject({ highestModseq: 70, length: 60 });
  });
});
