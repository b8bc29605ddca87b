import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { tables } from '../../agent/journal/keys.ts';
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
const prune = (keeper: HistoryKeeper, nowMs: number) =>
  keeper.prune(
    realFiles,
    () => [path.join(dir, 'kept')],
    nowMs,
    async () => {},
  );

it('keeps every version of a message for the window (I15)', async () => {
  const keeper = new HistoryKeeper(kv, { days: 14, bytesMax: 1e9 });
  keep(keeper, 'cur/1', 0);
  keep(keeper, 'cur/1', 1);
  keep(keeper, 'cur/2\xff', 10 * day);
  expect(await prune(keeper, 14 * day)).toBe(0);
  expect(kept(keeper)).toEqual(['cur/1', 'cur/1', 'cur/2\xff']);
  expect(await prune(keeper, 14 * day + 2)).toBe(2);
  expect(kept(keeper)).toEqual(['cur/2\xff']);
  expect(fs.readdirSync(path.join(dir, 'kept'))).toHaveLength(1);
});

it('keeps nobody for a version that cannot be removed, and tries it again', async () => {
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
  expect(
    await keeper.prune(
      files,
      () => [path.join(dir, 'kept')],
      14 * day + 2,
      async () => {},
    ),
  ).toBe(1);
  expect(kept(keeper)).toEqual(['cur/1', 'cur/3']);
  expect(await prune(keeper, 14 * day + 3)).toBe(1);
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

it('lets the oldest go when all of it is larger than allowed', async () => {
  const keeper = new HistoryKeeper(kv, { days: 14, bytesMax: 250 });
  for (let i = 0; i < 4; i++) keep(keeper, `cur/${i}`, i, { bytes: 100 });
  expect(await prune(keeper, 10)).toBe(2);
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
    expect(await prune(keeper, day + 3 * minute)).toBe(4);
    expect(kept(keeper).sort()).toEqual(Array.from({ length: 10 }, (_, n) => `u1/cur/${n}`));
    expect(keeper.full).toEqual({ bytes: 100, bytesMax: 50, untilMs: 15 * day });
    // Also after a restart.
    const restarted = new HistoryKeeper(kv, { days: 14, bytesMax: 50 });
    expect(await prune(restarted, day + 4 * minute)).toBe(0);
    expect(restarted.full).not.toBeNull();
    expect(await prune(restarted, 15 * day + minute)).toBe(10);
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

it('marks what is undone, over a restart and until it is over, and keeps it for its whole time (I21)', async () => {
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
  await prune(restarted, day);
  expect(kept(restarted)).toEqual(['cur/1', 'cur/2', 'dovecot-uidlist', 'dovecot-uidlist']);
  expect(restarted.endUndo()).toEqual([]);
});

describe('a history of very many versions (I24)', () => {
  /** Records of the history that were read. */
  let looked = 0;
  const counting = (): Kv => ({
    get: (key) => kv.get(key),
    *range(start, end, options) {
      for (const entry of kv.range(start, end, options)) {
        if (entry[0][0] === tables.history) looked++;
        yield entry;
      }
    },
    commit: (writes) => kv.commit(writes),
    flushed: () => kv.flushed(),
    trouble: null,
    isBehind: false,
    writingMs: 0,
    close: async () => {},
  });
  const versions = 3000;
  const fill = (keeper: HistoryKeeper, place: string, from: number, bytes = 10): void => {
    const writes: KvWrite[] = [];
    for (let i = 0; i < versions; i++)
      keeper.keep({ root: 'mail', path: `${place}/${from + i}`, atMs: from + i, files: 1, bytes, foreign: false }, true, writes);
    kv.commit(writes);
  };

  beforeEach(() => (looked = 0));

  it('is counted once; then a pruning looks at what has come, and at what is due', async () => {
    const keeper = new HistoryKeeper(counting(), { days: 14, bytesMax: 1e9 });
    fill(keeper, 'cur', 0);
    expect(await prune(keeper, day)).toBe(0);
    expect(looked).toBeLessThan(versions + 200);
    for (const nowMs of [day + minute, day + 2 * minute]) {
      looked = 0;
      keep(keeper, 'cur/new', nowMs);
      expect(await prune(keeper, nowMs)).toBe(0);
      expect(looked).toBeLessThan(100);
    }
    looked = 0;
    expect(await prune(keeper, 14 * day + 100)).toBe(100);
    expect(looked).toBeLessThan(400);
  });

  it('is not looked through each time for what must stay although there is no room', async () => {
    const keeper = new HistoryKeeper(counting(), { days: 14, bytesMax: 1000 });
    await keeper.protect('mail', 'u1', 0, minute, 0, async () => {});
    fill(keeper, 'u1', 0);
    keep(keeper, 'u2/1', day);
    expect(await prune(keeper, day)).toBe(1);
    expect(keeper.full).toEqual({ bytes: 10 * versions, bytesMax: 1000, untilMs: 14 * day });
    looked = 0;
    keep(keeper, 'u2/2', day + 1);
    expect(await prune(keeper, day + minute)).toBe(1);
    expect(looked).toBeLessThan(200);
    expect(keeper.full).not.toBeNull();
    // Its time comes all the same.
    expect(await prune(keeper, 15 * day)).toBe(versions);
    expect([keeper.full, kept(keeper)]).toEqual([null, []]);
  });

  it('gives way between a few versions, and between a few files of a tree; whoever ends it finds it begun and goes on', async () => {
    const keeper = new HistoryKeeper(kv, { days: 14, bytesMax: 1e9 });
    const tree = keep(keeper, 'gone', 0) ?? '';
    const at = path.join(dir, 'kept', tree);
    fs.rmSync(at);
    for (const sub of ['a', 'b/c']) {
      fs.mkdirSync(path.join(at, sub), { recursive: true });
      for (let i = 0; i < 400; i++) fs.writeFileSync(path.join(at, sub, `${i}`), '');
    }
    const names = (): number => (fs.existsSync(at) ? fs.readdirSync(at, { recursive: true }).length : 0);
    let most = 0;
    let before = names();
    let pauses = 0;
    const stop = new Error('the role is left');
    const ended = keeper.prune(
      realFiles,
      () => [path.join(dir, 'kept')],
      15 * day,
      async () => {
        const now = names();
        most = Math.max(most, before - now);
        before = now;
        if (++pauses === 20) throw stop;
      },
    );
    await expect(ended).rejects.toBe(stop);
    expect(most).toBeLessThan(50);
    expect(before).toBeGreaterThan(100);
    // As after a kill: the record is there as long as anything of the tree is.
    expect(kept(keeper)).toEqual(['gone']);
    expect(await prune(new HistoryKeeper(kv, { days: 14, bytesMax: 1e9 }), 15 * day)).toBe(1);
    expect([names(), kept(keeper)]).toEqual([0, []]);
  });

  it('keeps what is protected while a tree before it is removed', async () => {
    const keeper = new HistoryKeeper(kv, { days: 14, bytesMax: 15 });
    const tree = keep(keeper, 'tree', 0) ?? '';
    fs.rmSync(path.join(dir, 'kept', tree));
    fs.mkdirSync(path.join(dir, 'kept', tree));
    for (let i = 0; i < 100; i++) fs.writeFileSync(path.join(dir, 'kept', tree, `${i}`), '');
    for (let i = 0; i < 3; i++) keep(keeper, `u1/${i}`, day + i);
    let isProtected = false;
    await keeper.prune(
      realFiles,
      () => [path.join(dir, 'kept')],
      2 * day,
      async () => {
        if (isProtected || fs.readdirSync(path.join(dir, 'kept', tree)).length > 90) return;
        isProtected = true;
        await keeper.protect('mail', 'u1', 3 * day, minute, 2 * day, async () => {});
      },
    );
    expect(isProtected).toBe(true);
    expect(kept(keeper)).toEqual(['u1/0', 'u1/1', 'u1/2']);
  });
});
