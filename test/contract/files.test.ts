import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openAtOnce, openByWalking } from '../../agent/platform/beneath.ts';
import { errnoCode, type BytePath } from '../../agent/platform/files.ts';
import { filesBelow, realFiles } from '../../agent/platform/real-files.ts';
import { setMeta } from '../lab/set-meta.ts';

const bases = [os.tmpdir(), '/dev/shm'].filter((dir) => fs.existsSync(dir));
const hardNames = [
  'plain',
  'with space',
  'new\nline',
  '\xff\xfe\x80 not utf-8',
  Buffer.from('Grüße', 'utf8').toString('latin1'),
  'x'.repeat(255),
  '\xe9'.repeat(255),
  '\x01\x7f',
];

const codeOf = (act: () => unknown): string | undefined => {
  try {
    act();
  } catch (error) {
    return errnoCode(error) ?? String(error);
  }
  return 'no error';
};

let dir: BytePath;
const ways = [
  ['by path', realFiles],
  ['by descriptor', filesBelow(() => [dir], openAtOnce)],
  ['by descriptor on an old kernel', filesBelow(() => [dir], openByWalking)],
] as const;

describe.each(bases.flatMap((base) => ways.map(([how, files]) => [base, how, files] as const)))('files below %s %s', (base, _, files) => {
  const at = (name: BytePath) => `${dir}/${name}`;

  beforeEach(() => {
    dir = fs.mkdtempSync(path.join(base, 'mailtwin-files-'));
  });
  afterEach(() => fs.rmSync(dir, { recursive: true, force: true }));

  function write(name: BytePath, content: string): void {
    const fd = files.create(at(name));
    files.write(fd, Buffer.from(content), 0);
    files.close(fd);
  }

  it('carries names as bytes through every call', () => {
    for (const name of hardNames) {
      write(name, 'content');
      expect(files.lstat(at(name))?.size).toBe(7);
      expect(files.readFile(at(name), 100)?.data.toString()).toBe('content');
      setMeta(files, at(name), { mode: 0o640, mtimeNs: 5n });
      expect(files.lstat(at(name))).toMatchObject({ mode: 0o640, mtimeNs: 5n });
      expect(files.xattrs(at(name))).toBeNull();
      files.mkdir(at('d'), 0o700);
      files.rename(at(name), at(`d/${name}`));
      expect(files.readdir(at('d'))).toEqual([{ name, kind: 'file' }]);
      files.link(at(`d/${name}`), at(name));
      files.symlink(name, at('link'));
      expect(files.readlink(at('link'))).toBe(name);
      files.copyFile(at(name), at('copy'));
      expect(files.readFile(at('copy'), 100)?.data.toString()).toBe('content');
      for (const gone of ['link', 'copy', `d/${name}`, name]) files.unlink(at(gone));
      files.rmdir(at('d'));
    }
    expect(files.readdir(dir)).toEqual([]);
  });

  it('renames to a free name only, and says whether it did', () => {
    for (const name of hardNames) {
      write('from', 'new');
      write(name, 'old');
      expect(files.renameNew(at('from'), at(name))).toBe(false);
      expect(files.readFile(at(name), 100)?.data.toString()).toBe('old');
      files.unlink(at(name));
      expect(files.renameNew(at('from'), at(name))).toBe(true);
      expect(files.readFile(at(name), 100)?.data.toString()).toBe('new');
      expect(files.renameNew(at('from'), at('to'))).toBe(false);
      files.unlink(at(name));
    }
    expect(files.readdir(dir)).toEqual([]);
  });

  it('tells what Node tells, to the nanosecond', () => {
    write('f', 'hello');
    setMeta(files, at('f'), { mtimeNs: 1_234_567_890_123_456_789n, mode: 0o4755 });
    for (const name of ['f', '']) {
      const mine = files.lstat(at(name));
      const node = fs.lstatSync(at(name), { bigint: true });
      expect(mine).toEqual({
        kind: name === '' ? 'dir' : 'file',
        dev: node.dev,
        ino: node.ino,
        nlink: Number(node.nlink),
        size: Number(node.size),
        mode: Number(node.mode) & 0o7777,
        uid: Number(node.uid),
        gid: Number(node.gid),
        mtimeNs: node.mtimeNs,
        ctimeNs: node.ctimeNs,
        btimeNs: node.birthtimeNs,
      });
    }
    expect(files.lstat(at('f'))?.mtimeNs).toBe(1_234_567_890_123_456_789n);
    setMeta(files, at('f'), { mtimeNs: -1n });
    // tmpfs and ext4 keep times before 1970; the last nanosecond of 1969 must not become one of 1970.
    expect(files.lstat(at('f'))?.mtimeNs).toBe(-1n);
  });

  it('says missing by a value', () => {
    write('f', '');
    for (const missing of ['none', 'f/below', 'none/below']) {
      expect(files.lstat(at(missing))).toBeNull();
      expect(files.readdir(at(missing))).toBeNull();
      expect(files.list(at(missing))).toBeNull();
      expect(files.readFile(at(missing), 10)).toBeNull();
      expect(files.openRead(at(missing))).toBeNull();
    }
    expect(files.readdir(at('f'))).toBeNull();
    expect(codeOf(() => files.unlink(at('none')))).toBe('ENOENT');
    expect(codeOf(() => setMeta(files, at('none'), { mode: 0o600 }))).toBe('ENOENT');
    expect(codeOf(() => setMeta(files, at('none'), { mtimeNs: 1n }))).toBe('ENOENT');
    expect(codeOf(() => files.copyFile(at('none'), at('x')))).toBe('ENOENT');
  });

  it('lists a large directory in portions, the same as at once, and keeps nothing open afterwards', async () => {
    const count = () => fs.readdirSync('/proc/self/fd').length;
    await Promise.resolve();
    const before = count();
    for (let i = 0; i < 1000; i++) write(`f${i}\xff`, '');
    files.mkdir(at('d'), 0o700);
    files.symlink('d', at('link'));
    const portions = [...(files.list(dir) ?? [])];
    expect(Math.max(...portions.map(({ length }) => length))).toBeLessThan(300);
    const order = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
    expect(portions.flat().toSorted(order)).toEqual(files.readdir(dir)?.toSorted(order));
    for (const portion of files.list(dir) ?? []) if (portion.length > 0) break;
    await Promise.resolve();
    expect(count()).toBe(before);
  });

  it('never goes through a symbolic link at the end of a path, and never waits for a fifo', () => {
    write('target', 'secret');
    setMeta(files, at('target'), { mode: 0o600, mtimeNs: 7n });
    files.mkdir(at('dir'), 0o755);
    files.symlink('target', at('link'));
    files.symlink('dir', at('dirlink'));
    execFileSync('mkfifo', [at('fifo')]);
    for (const name of ['link', 'dirlink', 'fifo', 'dir']) {
      expect(files.openRead(at(name))).toBeNull();
      expect(files.readFile(at(name), 100)).toBeNull();
    }
    expect(files.readdir(at('dirlink'))).toBeNull();
    expect(files.list(at('dirlink'))).toBeNull();
    expect(codeOf(() => files.create(at('link')))).toBe('EEXIST');
    setMeta(files, at('link'), { mode: 0o777, mtimeNs: 9n });
    expect(files.lstat(at('target'))).toMatchObject({ mode: 0o600, mtimeNs: 7n });
    expect(files.lstat(at('link'))).toMatchObject({ kind: 'symlink', mtimeNs: 9n });
    expect(new Map(files.readdir(dir)?.map((e) => [e.name, e.kind]))).toEqual(
      new Map([
        ['target', 'file'],
        ['dir', 'dir'],
        ['link', 'symlink'],
        ['dirlink', 'symlink'],
        ['fifo', 'other'],
      ]),
    );
  });

  it('sets what is held, of any kind, whatever has its name by then', () => {
    write('file', '');
    files.mkdir(at('dir'), 0o755);
    files.symlink('other', at('link'));
    files.symlink('nowhere', at('dangling'));
    execFileSync('mkfifo', [at('fifo')]);
    write('other', '');
    setMeta(files, at('other'), { mode: 0o600, mtimeNs: 7n });
    const other = files.lstat(at('other'));
    const root = process.getuid?.() === 0;
    for (const name of ['file', 'dir', 'link', 'dangling', 'fifo']) {
      const fd = files.hold(at(name));
      if (fd === null) throw new Error(name);
      files.rename(at(name), at('away'));
      files.rename(at('other'), at(name));
      files.setMetaOpen(fd, { mode: 0o640, mtimeNs: 9n, ...(root ? { uid: 1234, gid: 99 } : {}), xattrs: new Map() });
      if (name === 'file' || name === 'dir') {
        files.setMetaOpen(fd, { xattrs: new Map([['user.a', Buffer.from('a')]]) });
        expect(files.xattrsOpen(fd)?.get('user.a')?.toString()).toBe('a');
      }
      expect(files.fstat(fd)).toMatchObject({ mtimeNs: 9n, ...(root ? { uid: 1234, gid: 99 } : {}) });
      expect(files.fstat(fd).mode).toBe(name === 'link' || name === 'dangling' ? 0o777 : 0o640);
      files.close(fd);
      const now = files.lstat(at(name));
      expect({ ...now, ctimeNs: 0n }, name).toEqual({ ...other, ctimeNs: 0n });
      expect(files.xattrs(at(name))).toBeNull();
      files.rename(at(name), at('other'));
      files.rename(at('away'), at(name));
    }
    expect(files.hold(at('none'))).toBeNull();
  });

  it('refuses a NUL instead of touching another file', () => {
    write('f', '');
    for (const act of [
      () => files.lstat(at('f\0x')),
      () => files.openRead(at('f\0x')),
      () => files.unlink(at('f\0x')),
      () => setMeta(files, at('f\0x'), { mtimeNs: 0n }),
    ]) {
      expect(codeOf(act)).toMatch(/EINVAL|ERR_INVALID_ARG_VALUE/);
    }
    expect(files.lstat(at('f'))).not.toBeNull();
  });

  it('reads and writes at positions, and refuses what is over the limit', () => {
    const fd = files.create(at('f'));
    files.write(fd, Buffer.from('world'), 6);
    files.write(fd, Buffer.from('hello '), 0);
    const into = Buffer.alloc(20, '.');
    expect(files.read(fd, into, 2, 5, 6)).toBe(5);
    expect(into.toString()).toBe(`..world${'.'.repeat(13)}`);
    expect(files.read(fd, into, 0, 5, 100)).toBe(0);
    expect(files.fstat(fd)).toMatchObject({ size: 11, mode: 0o600, kind: 'file' });
    files.setMetaOpen(fd, { mode: 0o644, mtimeNs: 12_000_000_001n });
    expect(files.fstat(fd)).toMatchObject({ mode: 0o644, mtimeNs: 12_000_000_001n });
    files.close(fd);
    expect(files.readFile(at('f'), 11)?.data.toString()).toBe('hello world');
    expect(codeOf(() => files.readFile(at('f'), 10))).toBe('E2BIG');
    expect(codeOf(() => files.create(at('f')))).toBe('EEXIST');
  });

  it('copies large files whole, to a new name only', () => {
    const content = Buffer.alloc(5_000_001, 'abcdefg');
    fs.writeFileSync(at('f'), content, { mode: 0o644 });
    files.copyFile(at('f'), at('g'));
    expect(files.readFile(at('g'), 1e7)?.data.equals(content)).toBe(true);
    expect(files.lstat(at('g'))?.mode).toBe(0o600);
    expect(codeOf(() => files.copyFile(at('f'), at('g')))).toBe('EEXIST');
  });

  it('makes directories with exactly the mode that was asked for', () => {
    for (const mode of [0o777, 0o700, 0o2775, 0o1777]) {
      files.mkdir(at('d'), mode);
      expect(files.lstat(at('d'))?.mode).toBe(mode);
      files.rmdir(at('d'));
    }
  });

  it('keeps extended attributes and ACLs, exactly those that are given', ({ skip }) => {
    write('f', '');
    try {
      setMeta(files, at('f'), { xattrs: new Map([['user.a', Buffer.from([0, 1, 255])]]) });
    } catch (error) {
      if (errnoCode(error) === 'ENOTSUP') skip(`${base} has no user attributes`);
      throw error;
    }
    expect(files.xattrs(at('f'))).toEqual(new Map([['user.a', Buffer.from([0, 1, 255])]]));
    setMeta(files, at('f'), {
      mode: 0o600,
      mtimeNs: 3n,
      xattrs: new Map([
        ['user.b', Buffer.alloc(0)],
        ['user.c', Buffer.from('c')],
      ]),
    });
    expect(files.xattrs(at('f'))).toEqual(
      new Map([
        ['user.b', Buffer.alloc(0)],
        ['user.c', Buffer.from('c')],
      ]),
    );
    expect(files.lstat(at('f'))).toMatchObject({ mode: 0o600, mtimeNs: 3n });
    const fd = files.openRead(at('f')) as number;
    files.setMetaOpen(fd, { xattrs: new Map() });
    files.close(fd);
    expect(files.xattrs(at('f'))).toBeNull();
    // Version 2, then tag, permissions and id of each entry (linux/posix_acl_xattr.h): owner rw, user 1234 r, group none, mask r, others none.
    const entry = (tag: number, permissions: number, id = 0xffff_ffff) => {
      const bytes = Buffer.alloc(8);
      bytes.writeUInt16LE(tag, 0);
      bytes.writeUInt16LE(permissions, 2);
      bytes.writeUInt32LE(id, 4);
      return bytes;
    };
    const acl = Buffer.concat([Buffer.from([2, 0, 0, 0]), entry(1, 6), entry(2, 4, 1234), entry(4, 0), entry(0x10, 4), entry(0x20, 0)]);
    setMeta(files, at('f'), { mode: 0o640, xattrs: new Map([['system.posix_acl_access', acl]]) });
    expect(files.xattrs(at('f'))).toEqual(new Map([['system.posix_acl_access', acl]]));
  });

  it('sets an owner when it may, and is content without privilege when the owner is right', () => {
    write('f', '');
    const uid = process.getuid?.() ?? 0;
    setMeta(files, at('f'), { uid, gid: process.getgid?.() ?? 0 });
    if (uid !== 0) return expect(codeOf(() => setMeta(files, at('f'), { uid: uid + 1 }))).toBe('EPERM');
    setMeta(files, at('f'), { uid: 1234, gid: 5678, mode: 0o6755 });
    expect(files.lstat(at('f'))).toMatchObject({ uid: 1234, gid: 5678, mode: 0o6755 });
    setMeta(files, at('f'), { gid: 99 });
    expect(files.lstat(at('f'))).toMatchObject({ uid: 1234, gid: 99 });
    fs.chmodSync(dir, 0o755);
    process.seteuid?.(4321);
    try {
      expect(codeOf(() => setMeta(files, at('f'), { uid: 1234, gid: 99 }))).toBe('no error');
      expect(codeOf(() => setMeta(files, at('f'), { uid: 1235 }))).toBe('EPERM');
    } finally {
      process.seteuid?.(0);
    }
  });

  it('syncs and tells the space', async () => {
    write('f', 'x');
    await files.syncfs(dir);
    await files.syncfs(at('f'));
    const space = files.space(dir);
    expect(space.totalBytes).toBeGreaterThan(space.freeBytes);
    expect(space.freeInodes).toBeGreaterThan(0);
  });

  it('leaves no descriptor open', async () => {
    const count = () => fs.readdirSync('/proc/self/fd').length;
    write('f', 'x');
    files.symlink('f', at('l'));
    execFileSync('mkfifo', [at('fifo')]);
    await Promise.resolve();
    const before = count();
    for (const name of ['f', 'l', 'fifo', 'none', '']) {
      codeOf(() => files.readFile(at(name), 0));
      files.readdir(at(name));
      codeOf(() => setMeta(files, at(name), { mode: 0o700 }));
      codeOf(() => files.copyFile(at(name), at('f')));
    }
    await Promise.resolve();
    expect(count()).toBe(before);
  });
});
