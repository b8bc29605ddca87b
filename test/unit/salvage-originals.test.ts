import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, it } from 'vitest';
import { HistoryKeeper } from '../../agent/history/keeper.ts';
import { maildirFormat } from '../../agent/mailstore/maildir.ts';
import { systemClock } from '../../agent/platform/clock.ts';
import type { Kv } from '../../agent/platform/kv.ts';
import { openLmdbKv } from '../../agent/platform/lmdb-kv.ts';
import type { Files } from '../../agent/platform/files.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import { dropGone, hasOriginal, noteOriginals, putAway } from '../../agent/replicate/salvage/originals.ts';

const dirs: string[] = [];
const stores: Kv[] = [];
afterAll(async () => {
  for (const kv of stores) await kv.close();
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true });
});

const original = (base: string, copy: string) => ({ root: 'mail', mailbox: 'user', base, copy: { mailbox: 'user', base: copy } });
let dir = '';
let parts: Parameters<typeof putAway>[0];
const messages = () => readdirSync(join(dir, 'mail/user/cur')).toSorted();

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'mailtwin-originals-'));
  dirs.push(dir);
  for (const part of ['mail/user/cur', 'mail/user/new', 'store', 'history']) mkdirSync(join(dir, part), { recursive: true });
  for (const name of ['1.first:2,S', '1.S1.mailtwin:2,FS', '2.first:2,', '3.S3.mailtwin:2,'])
    writeFileSync(join(dir, 'mail/user/cur', name), name);
  const kv = openLmdbKv(join(dir, 'store'));
  stores.push(kv);
  parts = {
    kv,
    files: realFiles,
    clock: systemClock,
    roots: [{ name: 'mail', path: join(dir, 'mail'), staging: '', format: maildirFormat }],
    keeper: new HistoryKeeper(kv, { days: 30, bytesMax: 1_000_000 }),
    history: () => join(dir, 'history'),
  };
  // Here twice; only the first; only the copy, whose first name is gone.
  await noteOriginals(kv, [
    original('1.first', '1.S1.mailtwin'),
    original('2.first', '2.S2.mailtwin'),
    original('3.first', '3.S3.mailtwin'),
  ]);
});

it('of two names of a message the first goes to history, and of one name none (I15, I16)', async () => {
  expect(await putAway(parts)).toEqual({ away: 1, left: [] });
  expect(messages()).toEqual(['1.S1.mailtwin:2,FS', '2.first:2,', '3.S3.mailtwin:2,']);
  expect([...parts.keeper.versions()].map(({ path, file }) => [path, file])).toEqual([['user/cur/1.first:2,S', '1']]);
  expect(readdirSync(join(dir, 'history'))).toEqual(['1']);
  // What is still here under its first name is known to whoever brings the copy.
  expect(['1.S1', '2.S2', '3.S3'].map((name) => hasOriginal(parts.kv, 'mail', 'user', `${name}.mailtwin`))).toEqual([false, true, false]);
  expect(await putAway(parts)).toEqual({ away: 0, left: [] });
});

it('the name that the mailbox’s own list gives a number stays, so that no client finds that number without a message (I5)', async () => {
  const list = (...names: string[]) =>
    writeFileSync(
      join(dir, 'mail/user/dovecot-uidlist'),
      `3 V1 N10 G0123456789abcdef0123456789abcdef\n${names.map((name, i) => `${i + 1} :${name}\n`).join('')}`,
    );
  list('1.first');
  expect(await putAway(parts)).toEqual({ away: 1, left: [] });
  expect(messages()).toEqual(['1.first:2,S', '2.first:2,', '3.S3.mailtwin:2,']);
  expect(hasOriginal(parts.kv, 'mail', 'user', '1.S1.mailtwin')).toBe(true);
  // The list of the other node has come: the same as without one.
  writeFileSync(join(dir, 'mail/user/cur/1.S1.mailtwin:2,FS'), 'again');
  list('1.S1.mailtwin');
  expect(await putAway(parts)).toEqual({ away: 1, left: [] });
  expect(messages()).toEqual(['1.S1.mailtwin:2,FS', '2.first:2,', '3.S3.mailtwin:2,']);
});

it('what cannot be moved is named and stays, and the rest goes on', async () => {
  const history = () => join(dir, 'nowhere');
  const path = join(dir, 'mail/user/cur/1.first:2,S');
  expect(await putAway({ ...parts, history })).toEqual({ away: 0, left: [{ path, why: expect.stringContaining('ENOENT') }] });
  expect(messages()).toContain('1.first:2,S');
  expect(await putAway(parts)).toEqual({ away: 1, left: [] });
});

it('nothing is forgotten of a mailbox that cannot be read', async () => {
  const readdir = () => {
    throw Object.assign(new Error('EIO: the disk'), { code: 'EIO', errno: -5 });
  };
  const files = Object.assign(Object.create(realFiles) as Files, { readdir });
  await dropGone({ ...parts, files });
  expect(await putAway({ ...parts, files })).toEqual({ away: 0, left: [] });
  expect(hasOriginal(parts.kv, 'mail', 'user', '2.S2.mailtwin')).toBe(true);
});
