import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { chooseWatcher } from '../../agent/capture/choose-watcher.ts';
import { ChokidarWatcher } from '../../agent/capture/chokidar-watcher.ts';
import { FanotifyWatcher } from '../../agent/capture/fanotify-watcher.ts';
import type { Watcher, WatchOptions } from '../../agent/capture/watcher.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { WatcherBench, Writer } from './watcher-bench.ts';
import type { Step } from './watcher-writer.ts';

/** Why fanotify cannot be tried here; null when it can. On CI it must run. */
async function fanotifyRefusal(): Promise<string | null> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mailtwin-probe-'));
  const watcher = new FanotifyWatcher({
    roots: [{ name: 'probe', path: dir }],
    barrierDir: dir,
    ignores: () => false,
    onHints() {},
    onFailure() {},
  });
  try {
    await watcher.start();
    return null;
  } catch (error) {
    if (process.env['CI'] === 'true' || !(error instanceof OperatorError)) throw error;
    return error.message;
  } finally {
    await watcher.stop();
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

const writer = new Writer();
afterAll(() => writer.end());

const refusal = await fanotifyRefusal();
const bases = [os.tmpdir(), '/dev/shm'].filter((base) => fs.existsSync(base));
/** For what needs many files and not a certain file system. */
const quick = bases.at(-1) ?? os.tmpdir();
const kinds: { kind: string; make: (options: WatchOptions) => Watcher }[] = [
  { kind: 'chokidar', make: (options) => new ChokidarWatcher(options) },
  { kind: 'fanotify', make: (options) => new FanotifyWatcher(options) },
];
const cases = kinds.flatMap((kind) => bases.map((base) => ({ ...kind, base })));

describe.each(cases)('$kind on $base', ({ kind, make, base }) => {
  let bench: WatcherBench;

  beforeEach(async ({ skip }) => {
    if (kind === 'fanotify' && refusal !== null) skip(refusal);
    bench = new WatcherBench(base, writer);
    fs.mkdirSync(bench.at('box/new'), { recursive: true });
    fs.mkdirSync(bench.at('box/cur'));
    fs.mkdirSync(bench.at('box/tmp'));
    fs.writeFileSync(bench.at('box/cur/old'), 'old');
    await bench.start(make);
  });
  afterEach(async () => {
    await bench?.end();
  });

  it('tells of every kind of change', async () => {
    const at = (name: string) => bench.at(name);
    await bench.after(['write', at('box/new/a')]);
    bench.expectCovered('box/new/a');
    await bench.after(['append', at('box/new/a')]);
    bench.expectCovered('box/new/a');
    await bench.after(['rename', at('box/new/a'), at('box/new/b')]);
    bench.expectCovered('box/new/a', 'box/new/b');
    await bench.after(['rename', at('box/new/b'), at('box/cur/b:2,S')]);
    bench.expectCovered('box/new/b', 'box/cur/b:2,S');
    await bench.after(['link', at('box/cur/old'), at('box/cur/linked')]);
    bench.expectCovered('box/cur/linked');
    await bench.after(['chmod', at('box/cur/old'), 0o600]);
    bench.expectCovered('box/cur/old');
    await bench.after(['utimes', at('box/cur/linked'), 5]);
    bench.expectCovered('box/cur/linked');
    await bench.after(['symlink', 'old', at('box/cur/sym')]);
    bench.expectCovered('box/cur/sym');
    await bench.after(['unlink', at('box/cur/sym')]);
    bench.expectCovered('box/cur/sym');
    await bench.after(['chmod', at('box'), 0o700]);
    bench.expectCovered('box');
    await bench.after(['chmod', bench.root, 0o700]);
    bench.expectCovered('');
  });

  it('uses path hints for files and says nothing when nothing happens', async () => {
    await bench.after(['write', bench.at('box/new/a')]);
    for (const hint of bench.hints) expect(hint).toEqual({ kind: 'path', root: 'mail', path: 'box/new/a' });
    expect(bench.hints.length).toBeGreaterThan(0);
    expect(await bench.after()).toEqual([]);
    expect(bench.watcher.stats()).toMatchObject({ overflows: 0 });
  });

  it('covers directories made with content at once, and what happens in them later', async () => {
    await bench.after(['mkdir', bench.at('a/b/c/d')], ['write', bench.at('a/b/c/d/f')], ['write', bench.at('a/b/g')]);
    bench.expectCovered('a', 'a/b/c/d/f', 'a/b/g');
    expect(bench.hints).toContainEqual({ kind: 'tree', root: 'mail', path: 'a' });
    await bench.after(['append', bench.at('a/b/c/d/f')], ['mkdir', bench.at('a/b/x')], ['write', bench.at('a/b/x/y')]);
    bench.expectCovered('a/b/c/d/f', 'a/b/x/y');
  });

  it('follows renamed directories', async () => {
    await bench.after(['mkdir', bench.at('one/sub')], ['write', bench.at('one/sub/f')]);
    await bench.after(['append', bench.at('one/sub/f')]);
    await bench.after(['rename', bench.at('one'), bench.at('two')]);
    bench.expectCovered('one', 'two/sub/f');
    await bench.after(['append', bench.at('two/sub/f')]);
    bench.expectCovered('two/sub/f');
    await bench.after(['rename', bench.at('two/sub'), bench.at('box/sub')], ['write', bench.at('box/sub/g')]);
    bench.expectCovered('two/sub', 'box/sub/f', 'box/sub/g');
    await bench.after(['append', bench.at('box/sub/g')]);
    bench.expectCovered('box/sub/g');
  });

  it('follows directories that leave the root and come back', async () => {
    await bench.after(['rename', bench.at('box'), `${bench.dir}/outside`], ['write', `${bench.dir}/outside/new/while-away`]);
    bench.expectCovered('box');
    expect(await bench.after(['write', `${bench.dir}/outside/new/unseen`])).toEqual([]);
    await bench.after(['rename', `${bench.dir}/outside`, bench.at('back')]);
    bench.expectCovered('back/new/unseen');
    await bench.after(['write', bench.at('back/new/again')]);
    bench.expectCovered('back/new/again');
  });

  it('follows a directory that is removed and made again', async () => {
    await bench.after(['remove', bench.at('box')]);
    bench.expectCovered('box');
    for (let i = 0; i < 5; i++) {
      await bench.after(
        ['mkdir', bench.at('box/new')],
        ['write', bench.at('box/new/f')],
        ['remove', bench.at('box')],
        ['mkdir', bench.at('box/new')],
      );
      bench.expectCovered('box/new');
      await bench.after(['write', bench.at('box/new/g')]);
      bench.expectCovered('box/new/g');
      await bench.after(['remove', bench.at('box')]);
    }
    expect(bench.watcher.stats().watches).toBeLessThanOrEqual(3);
  });

  it('says nothing about names that are ignored, nor about what is below them', async () => {
    const hints = await bench.after(
      ['write', bench.at('box/tmp/f')],
      ['write', bench.at('box/x.lock')],
      ['mkdir', bench.at('box/tmp/d/e')],
      ['write', bench.at('box/tmp/d/e/f')],
      ['unlink', bench.at('box/x.lock')],
      ['rename', bench.at('box/tmp/f'), bench.at('box/new/f')],
    );
    expect(new Set(hints.map((hint) => hint.path))).toEqual(new Set(['box/new/f']));
  });

  it('carries hard names', async () => {
    const names = ['new\nline', 'x'.repeat(255), Buffer.from('Grüße', 'utf8').toString('latin1'), '\xff\xfe not utf-8', '\xe9'.repeat(255)];
    for (const name of names) {
      await bench.after(['write', bench.at(`box/new/${name}`)]);
      bench.expectCovered(`box/new/${name}`);
      await bench.after(['mkdir', bench.at(`${name}/sub`)]);
      bench.expectCovered(`${name}/sub`);
      await bench.after(['write', bench.at(`${name}/sub/${name}`)]);
      bench.expectCovered(`${name}/sub/${name}`);
      await bench.after(['append', bench.at(`${name}/sub/${name}`)]);
      bench.expectCovered(`${name}/sub/${name}`);
      await bench.after(
        ['rename', bench.at(name), bench.at(`${name.slice(0, 3)}-moved`)],
        ['write', bench.at(`${name.slice(0, 3)}-moved/sub/late`)],
      );
      bench.expectCovered(name, `${name.slice(0, 3)}-moved/sub/late`);
    }
  });

  it('keeps up with a burst, and a barrier comes after all of it', async () => {
    // Fewer where each file costs a journal entry on the disk.
    const count = base === quick ? 5000 : 1000;
    await bench.after(['many', bench.at('box/new'), count]);
    const paths = new Set(bench.hints.map((hint) => hint.path));
    for (let i = 0; i < count; i++) if (!paths.has(`box/new/${i}`)) bench.expectCovered(`box/new/${i}`);
    await bench.after(...Array.from({ length: 300 }, (_, i) => ['mkdir', bench.at(`d${i}/cur`)] as Step));
    bench.expectCovered(...Array.from({ length: 300 }, (_, i) => `d${i}/cur`));
    await bench.after(...Array.from({ length: 300 }, (_, i) => ['write', bench.at(`d${i}/cur/m`)] as Step));
    bench.expectCovered(...Array.from({ length: 300 }, (_, i) => `d${i}/cur/m`));
    await bench.after(...Array.from({ length: 300 }, (_, i) => ['remove', bench.at(`d${i}`)] as Step));
    bench.expectCovered(...Array.from({ length: 300 }, (_, i) => `d${i}`));
  });

  it('orders concurrent barriers and hints', async () => {
    for (let i = 0; i < 20; i++) {
      bench.hints.length = 0;
      await bench.writer.do(['write', bench.at(`box/new/${i}`)], ['mkdir', bench.at(`dir${i}`)]);
      await Promise.all([bench.watcher.barrier(30_000), bench.watcher.barrier(30_000)]);
      bench.expectCovered(`box/new/${i}`, `dir${i}`);
    }
    expect(fs.readdirSync(`${bench.dir}/barrier`)).toEqual([]);
  });

  it('I10: says that everything is in doubt when the root is moved away', async () => {
    await bench.after(['rename', bench.root, `${bench.dir}/moved`]);
    expect(bench.hints).toContainEqual(expect.objectContaining({ kind: 'lost', root: 'mail', path: '' }));
  });

  it('reports the names below a root that is given by a symbolic link', async () => {
    await bench.watcher.stop();
    fs.symlinkSync(bench.root, `${bench.dir}/link`);
    await bench.start((options) => make({ ...options, roots: [{ name: 'mail', path: `${bench.dir}/link` }] }));
    await bench.after(['write', bench.at('box/new/a')]);
    bench.expectCovered('box/new/a');
  });

  it('tells each root its own name when one lies in the other', async () => {
    await bench.watcher.stop();
    await bench.start((options) => make({ ...options, roots: [...options.roots, { name: 'inner', path: bench.at('box') }] }));
    await bench.after(['write', bench.at('box/new/a')]);
    expect(bench.hints).toContainEqual({ kind: 'path', root: 'mail', path: 'box/new/a' });
    expect(bench.hints).toContainEqual({ kind: 'path', root: 'inner', path: 'new/a' });
  });

  it('refuses a root that is missing', async () => {
    const watcher = make({ ...bench.options(), roots: [{ name: 'mail', path: `${bench.dir}/none` }] });
    await expect(watcher.start()).rejects.toMatchObject({ code: 'root-missing' });
    await watcher.stop();
  });

  it('stops at once, and ends a barrier that waits', async () => {
    const began = performance.now();
    const barrier = bench.watcher.barrier(60_000).catch((error: Error) => error.message);
    await bench.watcher.stop();
    await barrier;
    expect(performance.now() - began).toBeLessThan(30_000);
    await bench.writer.do(['write', bench.at('box/new/late')]);
    await expect(bench.watcher.barrier(100)).rejects.toThrow();
  });
});

describe('chokidar alone', () => {
  let bench: WatcherBench;
  beforeEach(() => {
    bench = new WatcherBench(quick, writer);
  });
  afterEach(() => bench.end());

  it('I10: names directories that cannot be watched, and takes them in when there is room', async () => {
    for (let i = 0; i < 5; i++) fs.mkdirSync(bench.at(`d${i}`));
    const tuning = { watchesMax: 4, retryMs: 50 };
    bench.watcher = new ChokidarWatcher(bench.options(), tuning);
    await bench.watcher.start();
    await expect.poll(() => bench.hints.filter((hint) => hint.kind === 'lost').length).toBeGreaterThanOrEqual(3);
    const lost = new Set(bench.hints.filter((hint) => hint.kind === 'lost').map((hint) => hint.path));
    expect(lost.size).toBe(3);
    expect(bench.hints.find((hint) => hint.kind === 'lost')).toMatchObject({ reason: expect.stringContaining('max_user_watches') });
    const kept = [0, 1, 2, 3, 4].map((i) => `d${i}`).filter((name) => !lost.has(name));
    bench.hints.length = 0;
    await bench.writer.do(...kept.map((name) => ['rmdir', bench.at(name)] as Step));
    await expect.poll(() => bench.hints.filter((hint) => hint.kind === 'tree').length).toBe(2);
  });

  it('I10: takes everything for lost when the queue overflowed while the process was busy', async () => {
    fs.mkdirSync(bench.at('box'));
    await bench.start((options) => new ChokidarWatcher(options));
    const writing = bench.writer.do(
      ['mkdir', bench.at('before')],
      ['churn', bench.at('box'), 12_000],
      ['remove', bench.at('box')],
      ['mkdir', bench.at('box')],
      ['mkdir', bench.at('new/dir')],
      ['write', bench.at('done')],
    );
    const sleeping = new Int32Array(new SharedArrayBuffer(4));
    while (!fs.existsSync(bench.at('done'))) Atomics.wait(sleeping, 0, 0, 20);
    await writing;
    await bench.watcher.barrier(30_000);
    await expect.poll(() => bench.hints.filter((hint) => hint.kind === 'lost').length).toBeGreaterThanOrEqual(2);
    expect(bench.watcher.stats().overflows).toBeGreaterThan(0);
    // Directories whose making was dropped are watched afterwards.
    await bench.after(['write', bench.at('box/f')]);
    expect(bench.hints).toContainEqual({ kind: 'path', root: 'mail', path: 'box/f' });
    await bench.after(['write', bench.at('new/dir/f')]);
    expect(bench.hints).toContainEqual({ kind: 'path', root: 'mail', path: 'new/dir/f' });
  });
});

describe('fanotify alone', () => {
  let bench: WatcherBench;
  let watcher: FanotifyWatcher;
  beforeEach(async ({ skip }) => {
    if (refusal !== null) skip(refusal);
    bench = new WatcherBench(quick, writer);
    await bench.start((options) => (watcher = new FanotifyWatcher(options)));
  });
  afterEach(async () => {
    await bench?.end();
  });

  it('does not report what this process does itself', async () => {
    fs.writeFileSync(bench.at('own'), '');
    fs.mkdirSync(bench.at('dir'));
    fs.renameSync(bench.at('own'), bench.at('dir/own'));
    expect(await bench.after()).toEqual([]);
    // A directory that this process renamed is found under its new name by what others do in it.
    await bench.after(['write', bench.at('dir/f')]);
    bench.expectCovered('dir/f');
    fs.renameSync(bench.at('dir'), bench.at('moved'));
    await bench.after(['append', bench.at('moved/f')]);
    bench.expectCovered('moved/f');
  });

  it('I10: tells when the kernel’s queue overflowed', async () => {
    watcher.pause(true);
    await bench.writer.do(['churn', bench.root, 25_000]);
    expect(bench.hints).toEqual([]);
    watcher.pause(false);
    await bench.watcher.barrier(30_000);
    expect(bench.hints).toContainEqual(expect.objectContaining({ kind: 'lost', root: 'mail', path: '' }));
    expect(watcher.stats().overflows).toBeGreaterThan(0);
    await bench.after(['write', bench.at('after')]);
    bench.expectCovered('after');
  });
});

describe('choosing', () => {
  let bench: WatcherBench;
  beforeEach(() => {
    bench = new WatcherBench(os.tmpdir(), writer);
  });
  afterEach(() => bench.end());

  it('takes fanotify where it runs, chokidar when told', async () => {
    bench.watcher = await chooseWatcher('auto', bench.options(), silentLog);
    expect(bench.watcher.kind).toBe(refusal === null ? 'fanotify' : 'chokidar');
    await bench.watcher.stop();
    bench.watcher = await chooseWatcher('chokidar', bench.options(), silentLog);
    expect(bench.watcher.kind).toBe('chokidar');
  });

  it('says what fanotify lacks', async () => {
    const proc = { ...bench.options(), roots: [{ name: 'proc', path: '/proc' }] };
    await expect(chooseWatcher('fanotify', proc, silentLog)).rejects.toMatchObject({
      code: 'fanotify-unavailable',
      message: expect.stringContaining('cannot be used: '),
    });
  });
});
