import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openAtOnce, openByWalking } from '../../agent/platform/beneath.ts';
import { errnoCode, type Files } from '../../agent/platform/files.ts';
import { filesBelow, realFiles } from '../../agent/platform/real-files.ts';
import { exchange } from '../lab/exchange.ts';
import { setMeta } from '../lab/set-meta.ts';

/*
 * `top/root` is a place whose `dir` belongs to somebody who has put a link to `top/outside` in its stead. `outside` holds the
 * same names, and whoever gets there by a path through `dir` reads or changes it.
 */
let top: string;
const at = (name: string) => `${top}/root/${name}`;

const bases = [os.tmpdir(), '/dev/shm'].filter((dir) => fs.existsSync(dir));
const openers = { openAtOnce, openByWalking };
const secret = 'what is outside';

function makeTree(base: string): void {
  top = fs.mkdtempSync(path.join(base, 'mailtwin-beneath-'));
  for (const place of ['root/dir', 'outside']) {
    fs.mkdirSync(`${top}/${place}/sub/inner`, { recursive: true });
    fs.mkdirSync(`${top}/${place}/empty`);
    for (const file of ['file', 'other', 'sub/file'])
      fs.writeFileSync(`${top}/${place}/${file}`, place === 'outside' ? secret : 'inside', { mode: 0o600 });
    fs.symlinkSync('target', `${top}/${place}/link`);
  }
  for (const file of ['mine', 'mine2', 'mine3']) fs.writeFileSync(at(file), 'mine');
  fs.symlinkSync('../outside', at('lead'));
}

/** All that is outside: names, kinds, contents, owners, modes and times. */
function outside(): unknown[] {
  const see = (dir: string): unknown[] =>
    fs.readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
      const full = `${dir}/${entry.name}`;
      const { mode, uid, gid, mtimeNs, ctimeNs, nlink } = fs.lstatSync(full, { bigint: true });
      const own = [full, mode, uid, gid, mtimeNs, ctimeNs, nlink, entry.isFile() ? fs.readFileSync(full, 'latin1') : ''];
      return [own, ...(entry.isDirectory() ? see(full) : [])];
    });
  const { mtimeNs, ctimeNs, mode } = fs.statSync(`${top}/outside`, { bigint: true });
  return [mtimeNs, ctimeNs, mode, ...see(`${top}/outside`)];
}

type Call = (files: Files) => unknown;

/** Every call that takes a path, through the directory that was exchanged; a call that is not here does not compile. */
const calls: Record<
  Exclude<keyof Files, 'fstat' | 'read' | 'write' | 'truncate' | 'fdatasync' | 'close' | 'setMetaOpen' | 'xattrsOpen'>,
  Call[]
> = {
  lstat: [(files) => files.lstat(at('dir/file'))?.size, (files) => files.lstat(at('dir/sub/file'))?.size],
  readdir: [(files) => files.readdir(at('dir/sub'))],
  list: [(files) => [...(files.list(at('dir/sub')) ?? [])]],
  readFile: [(files) => files.readFile(at('dir/file'), 100)?.data.toString()],
  openRead: [(files) => readAndClose(files, files.openRead(at('dir/file')))],
  openSnapshot: [(files) => readAndClose(files, files.openSnapshot(at('dir/file')))],
  create: [(files) => files.close(files.create(at('dir/new')))],
  copyFile: [(files) => files.copyFile(at('dir/file'), at('copy')), (files) => files.copyFile(at('mine'), at('dir/new'))],
  hold: [
    (files) => holdAndClose(files, at('dir/file')),
    (files) => setMeta(files, at('dir/file'), { mode: 0o4755 }),
    (files) => setMeta(files, at('dir/file'), { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }),
    (files) => setMeta(files, at('dir/file'), { mtimeNs: 5n }),
    (files) => setMeta(files, at('dir/file'), { xattrs: new Map([['user.a', Buffer.from('a')]]) }),
  ],
  xattrs: [(files) => files.xattrs(at('dir/file'))],
  mkdir: [(files) => files.mkdir(at('dir/new'), 0o700)],
  rmdir: [(files) => files.rmdir(at('dir/empty'))],
  unlink: [(files) => files.unlink(at('dir/file'))],
  rename: [
    (files) => files.rename(at('mine'), at('dir/file')),
    (files) => files.rename(at('dir/file'), at('mine')),
    (files) => files.rename(at('dir/sub'), at('taken')),
  ],
  renameNew: [(files) => files.renameNew(at('mine'), at('dir/new')), (files) => files.renameNew(at('dir/file'), at('new'))],
  link: [(files) => files.link(at('mine'), at('dir/new')), (files) => files.link(at('dir/file'), at('new'))],
  symlink: [(files) => files.symlink('target', at('dir/new'))],
  readlink: [(files) => files.readlink(at('dir/link'))],
  syncfs: [(files) => files.syncfs(at('dir/sub'))],
  space: [(files) => files.space(at('dir/sub')).totalBytes],
  identity: [(files) => files.identity(at('dir/sub')), (files) => files.identity(at('dir'))],
  mark: [(files) => files.mark(at('dir/sub'), 'mark'), (files) => files.mark(at('dir'), 'mark')],
  // It asks which mounts there are, and goes nowhere.
  mountPoints: [],
  mountId: [(files) => files.mountId(at('dir/sub'))],
  renameRegion: [(files) => files.renameRegion(at('dir/sub'))],
};

function readAndClose(files: Files, fd: number | null): string | null {
  if (fd === null) return null;
  const into = Buffer.alloc(100);
  const got = files.read(fd, into, 0, 100, 0);
  files.close(fd);
  return into.toString('latin1', 0, got);
}

function holdAndClose(files: Files, path: string): number | null {
  const fd = files.hold(path);
  if (fd !== null) files.close(fd);
  return fd === null ? null : 0;
}

async function outcome(call: Call, files: Files): Promise<unknown> {
  try {
    return await call(files);
  } catch (error) {
    return errnoCode(error) ?? String(error);
  }
}

const everyCall = Object.entries(calls).flatMap(([name, list]) => list.map((call, i) => [`${name} ${i}`, call] as const));
/** Of a directory these tell that none is there. */
const tellByValue = /^(identity|mark|mountId|renameRegion) /;

describe.each(bases.flatMap((base) => Object.entries(openers).map(([how, open]) => [base, how, open] as const)))(
  'a directory that was exchanged for a link, below %s, %s (I11)',
  (base, _, open) => {
    let files: Files;
    beforeEach(() => {
      makeTree(base);
      const root = `${top}/root`;
      files = filesBelow(() => [root], open);
    });
    afterEach(() => fs.rmSync(top, { recursive: true, force: true }));

    it.each(everyCall)('leads %s nowhere', async (name, call) => {
      // Each of these works below the directory itself.
      expect(await outcome(call, files)).not.toBe('ELOOP');
      fs.rmSync(top, { recursive: true });
      makeTree(base);
      const root = `${top}/root`;
      const again = filesBelow(() => [root], open);
      exchange(at('dir'), at('lead'));
      const before = outside();
      const told = await outcome(call, again);
      if (tellByValue.test(name)) expect([null, false]).toContain(told);
      else expect(told).toBe('ELOOP');
      expect(outside()).toEqual(before);
    });

    it('is found out whichever part of the way it is, and not taken for one by its name', () => {
      files.mkdir(at('a'), 0o700);
      files.mkdir(at('a/b'), 0o700);
      files.close(files.create(at('a/b/c')));
      files.symlink('a', at('la'));
      files.symlink('b', at('a/lb'));
      for (const way of ['la/b/c', 'a/lb/c', 'la/lb/c']) expect(() => files.lstat(at(way))).toThrow(/ELOOP/);
      expect(files.lstat(at('a/b/c'))).not.toBeNull();
      // A place beside the root is the administrator's.
      fs.mkdirSync(`${top}/root2`);
      fs.symlinkSync('root2', `${top}/way`);
      files.close(files.create(`${top}/way/x`));
      expect(fs.existsSync(`${top}/root2/x`)).toBe(true);
    });

    it('refuses to go up', () => {
      expect(() => files.unlink(at('dir/../../outside/file'))).toThrow(/EXDEV/);
      expect(() => files.readFile(at('..'), 100)).toThrow(/EXDEV/);
    });
  },
);

describe('a place', () => {
  beforeEach(() => makeTree(os.tmpdir()));
  afterEach(() => fs.rmSync(top, { recursive: true, force: true }));

  it('may be reached by links, which are the administrator’s, and is where they led when it was first there', () => {
    fs.symlinkSync('missing', `${top}/by`);
    const files = filesBelow(() => [`${top}/by`]);
    expect(files.lstat(`${top}/by/file`)).toBeNull();
    expect(() => files.close(files.create(`${top}/by/file`))).toThrow(/ENOENT/);
    fs.mkdirSync(`${top}/missing`);
    files.close(files.create(`${top}/by/file`));
    expect(fs.existsSync(`${top}/missing/file`)).toBe(true);
    fs.unlinkSync(`${top}/by`);
    fs.symlinkSync('outside', `${top}/by`);
    expect(files.readFile(`${top}/by/file`, 100)?.data.toString()).toBe('');
  });

  it('can be made where its parent is reached by a link', () => {
    fs.symlinkSync('root', `${top}/by`);
    const files = filesBelow(() => [`${top}/by/staging`]);
    files.mkdir(`${top}/by/staging`, 0o700);
    files.mkdir(`${top}/by/staging/stage`, 0o700);
    expect(fs.existsSync(at('staging/stage'))).toBe(true);
  });

  it('that was moved away and is another directory now is found by its path again', async () => {
    const root = `${top}/root`;
    const files = filesBelow(() => [root]);
    expect(files.lstat(at('dir/file'))).not.toBeNull();
    files.rename(at('dir'), at('away'));
    files.mkdir(at('dir'), 0o700);
    expect(files.lstat(at('dir/file'))).toBeNull();
    expect(files.lstat(at('away/file'))).not.toBeNull();
    await Promise.resolve();
    fs.renameSync(root, `${top}/old`);
    fs.mkdirSync(`${root}/away`, { recursive: true });
    expect(files.lstat(at('away/file'))).toBeNull();
  });

  it('keeps no directory open when the code that used it has ended, however many there were', async () => {
    const root = `${top}/root`;
    const files = filesBelow(() => [root]);
    const count = () => fs.readdirSync('/proc/self/fd').length;
    await Promise.resolve();
    const before = count();
    for (let i = 0; i < 300; i++) {
      files.mkdir(at(`d${i}`), 0o700);
      files.close(files.create(at(`d${i}/file`)));
      files.rename(at(`d${i}/file`), at(`d${i >> 1}/moved${i}`));
    }
    expect(count() - before).toBeLessThan(20);
    await Promise.resolve();
    expect(count()).toBe(before);
  });
});

const exchangesMax = 50_000_000;
const roundsMin = 200;

/** Calls all of them again and again while another process exchanges the directory for the link, until it is enough. */
async function race(files: Files, isEnough: (told: ReadonlySet<string>) => boolean): Promise<Set<string>> {
  const script = path.join(import.meta.dirname, '../lab/exchanger.ts');
  const owners = fs.openSync(at('dir'), 'r');
  const child = spawn(process.execPath, ['--import', 'tsx', script, at('dir'), at('lead'), String(exchangesMax)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const seen = new Set<string>();
  const ended = once(child, 'close');
  try {
    await once(child.stdout, 'data');
    for (let round = 0; round < roundsMin || !isEnough(seen); round++) {
      expect(child.exitCode).toBeNull();
      for (const [, call] of everyCall) seen.add(JSON.stringify((await outcome(call, files)) ?? null));
      refill(`/proc/self/fd/${owners}`);
      await new Promise((resolve) => void setImmediate(resolve));
    }
  } finally {
    child.kill('SIGKILL');
    await ended;
    fs.closeSync(owners);
  }
  return seen;
}

/** What the calls have used up is made again, by its owner. */
function refill(dir: string): void {
  for (const file of ['mine', 'mine2', 'mine3']) fs.writeFileSync(at(file), 'mine');
  for (const made of [at('copy'), at('new'), at('taken'), `${dir}/new`]) fs.rmSync(made, { recursive: true, force: true });
  for (const made of [`${dir}/sub`, `${dir}/empty`]) fs.mkdirSync(made, { recursive: true });
  for (const file of ['file', 'sub/file']) fs.writeFileSync(`${dir}/${file}`, 'inside');
}

describe('while somebody exchanges a directory for a link without pause', () => {
  beforeEach(() => makeTree(fs.existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir()));
  afterEach(() => fs.rmSync(top, { recursive: true, force: true }));

  // Both are met: the directory and the link.
  const both = ['"ELOOP"', '"inside"'];

  it.each(Object.entries(openers))('nothing outside is read or changed, %s (I11)', async (_, open) => {
    const root = `${top}/root`;
    const before = outside();
    const seen = await race(
      filesBelow(() => [root], open),
      (told) => both.every((each) => told.has(each)),
    );
    expect(outside()).toEqual(before);
    expect([...seen].filter((told) => told.includes(secret))).toEqual([]);
  });

  it('whoever goes by the path gets outside, and this is seen', async () => {
    const before = outside();
    const isChanged = () => !isDeepStrictEqual(outside(), before);
    await race(realFiles, isChanged);
    expect(isChanged()).toBe(true);
  });
});
