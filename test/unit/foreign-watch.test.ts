import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Hint } from '../../agent/capture/watcher.ts';
import { ReplicaIndex } from '../../agent/journal/replica-index.ts';
import { formatByName } from '../../agent/mailstore/format-by-name.ts';
import { systemClock } from '../../agent/platform/clock.ts';
import type { Kv } from '../../agent/platform/kv.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { openLmdbKv } from '../../agent/platform/lmdb-kv.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import type { Root } from '../../agent/replicate/root.ts';
import { ForeignRecord } from '../../agent/replicate/standby/foreign-record.ts';
import { ForeignWatch } from '../../agent/replicate/standby/foreign-watch.ts';
import { checkForeign } from '../../agent/replicate/standby/startup.ts';

import { waitFor } from '../lab/waiting.ts';

let dir: string;
let kv: Kv;
let root: Root;
let index: ReplicaIndex;

beforeEach(async () => {
  dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'mailtwin-foreign-')));
  for (const name of ['mail', 'mail/sub', 'staging', 'staging/stage', 'staging/history', 'store']) fs.mkdirSync(path.join(dir, name));
  for (const name of ['one', 'two', 'sub/three']) fs.writeFileSync(path.join(dir, 'mail', name), name);
  kv = openLmdbKv(path.join(dir, 'store'));
  root = { name: 'mail', path: `${dir}/mail`, format: formatByName('plain'), staging: `${dir}/staging` };
  index = new ReplicaIndex(kv, { findByIdentity: false });
  await checkForeign({ files: realFiles, kv, clock: systemClock, index, roots: [root] }, 'adopt');
});

afterEach(async () => {
  await kv.close();
  fs.rmSync(dir, { recursive: true, force: true });
});

const at = (name: string) => path.join(dir, 'mail', name);
const record = () => new ForeignRecord(kv, silentLog);

/** Gives hints to a watch that runs until it has dealt with them, and tells what it noted. */
async function seen(
  hints: Hint[] | 'all',
  options: { underWay?: (path: string) => boolean; foreign?: boolean; to?: ForeignRecord } = {},
): Promise<string[]> {
  const { underWay = () => false, foreign = true, to = record() } = options;
  const watch = new ForeignWatch({
    files: realFiles,
    clock: systemClock,
    log: silentLog,
    index,
    roots: [root],
    record: to,
    mayDiffer: underWay,
    isAway: () => false,
    isAwayNow: () => false,
    arrivals: () => 0,
    hintsAreForeign: () => foreign,
  });
  const stop = new AbortController();
  const running = watch.run(stop.signal);
  if (hints === 'all') watch.compareAll();
  else watch.hints(hints);
  await waitFor('the looks', 30_000, () => watch.open === 0);
  stop.abort();
  await running;
  return to
    .list()
    .map(({ path: noted, what }) => `${noted.slice(dir.length + 6)}: ${what}`)
    .toSorted();
}

const hint = (name: string, kind: 'path' | 'tree' = 'path'): Hint => ({ kind, root: 'mail', path: name });

describe('a write of somebody else below a standby’s root (I2)', () => {
  it('is told from what belongs there by the index alone', async () => {
    expect(await seen([hint('one'), hint('sub'), hint('sub/three'), hint('never'), hint('sub', 'tree')])).toEqual([]);
    fs.appendFileSync(at('one'), '!');
    fs.rmSync(at('two'));
    fs.writeFileSync(at('sub/new'), 'x');
    fs.chmodSync(at('sub'), 0o700);
    expect(await seen(['one', 'two', 'sub/new', 'sub'].map((name) => hint(name)))).toEqual([
      'one: has 4 bytes, not 3',
      'sub/new: is not in the index',
      'sub: has another owner or mode',
      'two: is missing',
    ]);
  });

  it('is found by its content when it hides behind the old size and time, unless the hint may be the agent’s own', async () => {
    const { atime, mtime } = fs.statSync(at('one'));
    fs.writeFileSync(at('one'), 'eno');
    fs.utimesSync(at('one'), atime, mtime);
    const stat = fs.statSync(at('one'), { bigint: true });
    // Adopted with whole microseconds or not: the index must agree with what utimes can set.
    const known = index.at('mail', 'one');
    if (!known) throw new Error('not adopted');
    const layer = index.begin();
    index.put(layer, 'mail', known.dir, known.name, { ...known.entry, mtimeNs: stat.mtimeNs });
    kv.commit(index.writesOf(layer));
    index.settle(layer);
    expect(await seen([hint('one')], { foreign: false })).toEqual([]);
    expect(await seen([hint('one')])).toEqual(['one: has other content']);
  });

  it('is looked for everywhere at the start and after lost hints, one name for a tree', async () => {
    fs.mkdirSync(at('tree/deep'), { recursive: true });
    fs.writeFileSync(at('tree/deep/file'), 'x');
    fs.rmSync(at('sub'), { recursive: true });
    const lost: Hint = { kind: 'lost', root: 'mail', path: '', reason: 'overflow' };
    expect(await seen([lost])).toEqual(['sub: is missing', 'tree: is not in the index']);
    expect(await seen('all')).toEqual(['sub: is missing', 'tree: is not in the index']);
  });

  it('is nothing that a batch under way explains', async () => {
    fs.writeFileSync(at('new'), 'x');
    let under = true;
    const noted = seen([hint('new')], { underWay: (place) => under && place === at('new') });
    setTimeout(() => {
      fs.rmSync(at('new'));
      under = false;
    }, 600);
    expect(await noted).toEqual([]);
  });

  it('says that the root is gone, not each file', async () => {
    fs.renameSync(at(''), path.join(dir, 'elsewhere'));
    expect(await seen('all')).toEqual([': the root is missing']);
  });
});

describe('the record of foreign writes (I2)', () => {
  it('outlives a restart, and is forgotten only by a comparison that began after the write', () => {
    const first = record();
    first.note('/r/one', 'is missing');
    const second = record();
    expect(second.list()).toEqual([{ path: '/r/one', what: 'is missing' }]);
    const mark = second.mark();
    second.note('/r/two', 'is missing');
    second.note('/r/three', 'is missing');
    second.forget(mark, ['/r/three']);
    expect(second.list().map((each) => each.path)).toEqual(['/r/two']);
    expect(record().count).toBe(1);
    second.note('/r/two', 'is missing');
    second.forget(mark + 1);
    expect(second.count).toBe(1);
    second.forget(second.mark());
    expect(record().count).toBe(0);
  });

  it('names a bounded number of places and counts the others (I12)', () => {
    const full = record();
    for (let i = 0; i < 250; i++) full.note(`/r/${i}`, 'is missing');
    expect([full.list().length, full.count]).toEqual([100, 250]);
    const mark = full.mark();
    full.note('/r/late', 'is missing');
    full.forget(mark);
    expect(full.count).toBeGreaterThan(0);
    expect(record().count).toBeGreaterThan(100);
    full.forget(full.mark());
    expect(record().count).toBe(0);
  });
});
