import { afterEach, beforeEach, expect, it } from 'vitest';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { HistoryKeeper } from '../../agent/history/keeper.ts';
import type { Kv, KvWrite } from '../../agent/platform/kv.ts';
import { openLmdbKv } from '../../agent/platform/lmdb-kv.ts';
import { realFiles } from '../../agent/platform/real-files.ts';

const day = 86_400_000;
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
const prune = (keeper: HistoryKeeper, nowMs: number) => keeper.prune(realFiles, () => path.join(dir, 'kept'), nowMs);

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
