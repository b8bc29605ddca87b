import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { HistoryKeeper } from '../../agent/history/keeper.ts';
import type { Kv, KvWrite } from '../../agent/platform/kv.ts';
import { openLmdbKv } from '../../agent/platform/lmdb-kv.ts';
import { realFiles } from '../../agent/platform/real-files.ts';

const day = 86_400_000;
const minute = 60_000;
let dir: string;
let kv: Kv;

beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mailtwin-history-'));
  fs.mkdirSync(path.join(dir, 'store'));
  fs.mkdirSync(path.join(dir, 'kept'));
  kv = openLmdbKv(path.join(dir, 'store'));
});

afterEach(async () => {
  await kv.close();
  fs.rmSync(dir, { recursive: true, force: true });
});

/** Keeps a version as the standby does: the record in a commit, the file by its name. */
function keep(keeper: HistoryKeeper, at: string, atMs: number, options: { message?: boolean; bytes?: number } = {}): string | null {
  const writes: KvWrite[] = [];
  const what = { root: 'mail', path: at, atMs, files: 1, bytes: options.bytes ?? 10, foreign: false };
  const file = keeper.keep(what, options.message ?? true, writes);
  if (writes.length > 0) kv.commit(writes);
  if (file !== null) fs.writeFileSync(path.join(dir, 'kept', file), at);
  return file;
}

const kept = (keeper: HistoryKeeper) => [...keeper.versions()].map((version) => version.path);
const prune = (keeper: HistoryKeeper, nowMs: number) => keeper.prune(realFiles, () => [path.join(dir, 'kept')], nowMs);

it('keeps every version of a message for the window (I15)', () => {
  const keeper = new HistoryKeeper(kv, { days: 14, bytesMax: 1e9 });
  keep(keeper, 'cur/1', 0);
  keep(keeper, 'cur/1', 1);
  keep(keeper, 'cur/2\xff', 10 * day);
  expect(prune(keeper, 14 * day)).toBe(0);
  expect(kept(keeper)).toEqual(['cur/1', 'cur/1', 'cur/2\xff']);
  expect(prune(keeper, 14 * day + 2)).toBe(2);
  expect(kept(keeper)).toEqual(['cur/2\xff']);
  expect(fs.readdirSync(path.join(dir, 'kept'))).toHaveLength(1);
});

it('keeps nobody for a version that cannot be removed, and tries it again', () => {
  const keeper = new HistoryKeeper(kv, { days: 14, bytesMax: 1e9 });
  const immutable = keep(keeper, 'cur/1', 0);
  keep(keeper, 'cur/2', 1);
  keep(keeper, 'cur/3', 10 * day);
  const files = {
    ...realFiles,
    unlink: (file: string) => {
      if (file.endsWith(`/${immutable}`)) throw Object.assign(new Error('immutable'), { code: 'EPERM' });
      realFiles.unlink(file);
    },
  };
  expect(keeper.prune(files, () => [path.join(dir, 'kept')], 14 * day + 2)).toBe(1);
  expect(kept(keeper)).toEqual(['cur/1', 'cur/3']);
  expect(prune(keeper, 14 * day + 3)).toBe(1);
  expect(kept(keeper)).toEqual(['cur/3']);
});

it('goes on numbering after a restart, so that nothing that is kept is overwritten', () => {
  const first = keep(new HistoryKeeper(kv, { days: 14, bytesMax: 1e9 }), 'cur/1', 0);
  const second = keep(new HistoryKeeper(kv, { days: 14, bytesMax: 1e9 }), 'cur/2', 1);
  expect(second).not.toBe(first);
});

it('keeps one version in ten minutes of files that change with every delivery', () => {
  const keeper = new HistoryKeeper(kv, { days: 14, bytesMax: 1e9 });
  const times = [0, 1000, 599_999, 600_000];
  expect(times.map((atMs) => keep(keeper, 'dovecot-uidlist', atMs, { message: false }) !== null)).toEqual([true, false, false, true]);
});

it('lets the oldest go when all of it is larger than allowed', () => {
  const keeper = new HistoryKeeper(kv, { days: 14, bytesMax: 250 });
  for (let i = 0; i < 4; i++) keep(keeper, `cur/${i}`, i, { bytes: 100 });
  expect(prune(keeper, 10)).toBe(2);
  expect(kept(keeper)).toEqual(['cur/2', 'cur/3']);
});

it('keeps nothing when told to', () => {
  expect(keep(new HistoryKeeper(kv, { days: 0, bytesMax: 1e9 }), 'cur/1', 0)).toBeNull();
});

describe('a mass deletion in the history', () => {
  const pause = async () => {};

  it('stays for its whole time, what went before it was held, too, and says that there is no room', async () => {
    const keeper = new HistoryKeeper(kv, { days: 14, bytesMax: 50 });
    keep(keeper, 'u1/cur/old', 0);
    for (let n = 0; n < 5; n++) keep(keeper, `u1/cur/${n}`, day + n);
    keep(keeper, 'u2/cur/1', day + 10);
    await keeper.protect('mail', 'u1', 10 * minute, minute, day + 20, pause);
    for (let n = 5; n < 10; n++) keep(keeper, `u1/cur/${n}`, day + 30 + n);
    keep(keeper, 'u1/cur/late', day + 2 * minute);
    keep(keeper, 'u11/cur/1', day + 40);
    expect(prune(keeper, day + 3 * minute)).toBe(4);
    expect(kept(keeper).sort()).toEqual(Array.from({ length: 10 }, (_, n) => `u1/cur/${n}`));
    expect(keeper.full).toEqual({ bytes: 100, bytesMax: 50, untilMs: 15 * day });
    // Also after a restart.
    const restarted = new HistoryKeeper(kv, { days: 14, bytesMax: 50 });
    expect(prune(restarted, day + 4 * minute)).toBe(0);
    expect(restarted.full).not.toBeNull();
    expect(prune(restarted, 15 * day + minute)).toBe(10);
    expect(restarted.full).toBeNull();
  });

  it('is told again without a walk through everything, and ends its time', async () => {
    const keeper = new HistoryKeeper(kv, { days: 14, bytesMax: 50 });
    await keeper.protect('mail', 'u1', 0, minute, 0, pause);
    keep(keeper, 'u1/cur/1', 1);
    await keeper.protect('mail', 'u1', 0, minute, minute - 1, pause);
    await keeper.protect('mail', 'u1', 0, 0, minute - 1, pause);
    keep(keeper, 'u1/cur/2', minute + 1);
    keep(keeper, 'u1/cur/3', 2 * minute);
    expect([...keeper.versions()].map(({ massDeleted }) => massDeleted)).toEqual([true, true, false]);
  });
});

it('marks what is undone, over a restart and until it is over, and keeps it for its whole time (I21)', () => {
  const limits = { days: 14, bytesMax: 15 };
  const keeper = new HistoryKeeper(kv, limits);
  keep(keeper, 'cur/before', 0);
  kv.commit(keeper.beginUndo());
  keep(keeper, 'cur/1', 1);
  const restarted = new HistoryKeeper(kv, limits);
  keep(restarted, 'cur/2', 2);
  // Every version of what changes often, too.
  expect([3, 4].map((atMs) => keep(restarted, 'dovecot-uidlist', atMs, { message: false }))).not.toContain(null);
  kv.commit(restarted.endUndo());
  keep(restarted, 'cur/after', 5);
  expect([...restarted.versions()].filter(({ undone }) => undone).map(({ path: at }) => at)).toEqual([
    'cur/1',
    'cur/2',
    'dovecot-uidlist',
    'dovecot-uidlist',
  ]);
  prune(restarted, day);
  expect(kept(restarted)).toEqual(['cur/1', 'cur/2', 'dovecot-uidlist', 'dovecot-uidlist']);
  expect(restarted.endUndo()).toEqual([]);
});
