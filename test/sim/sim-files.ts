import {
  errnoCode,
  type BytePath,
  type DirEntry,
  type Files,
  type MetaChange,
  type Space,
  type Stat,
  type Xattrs,
} from '../../agent/platform/files.ts';
import type { FsState } from './fs-state.ts';
import type { Inode } from './fs-tree.ts';
import type { HostClock } from './sim-clock.ts';
import type { SimDisk } from './sim-disk.ts';

/** The kernel stamps files with the time of its last timer tick. */
const tickMs = 4;
const linkDepthMax = 40;

function failure(code: string, operation: string, path: BytePath): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${operation} '${path}'`), { code, syscall: operation, path });
}

interface Found {
  dir: Inode;
  name: string;
  inode: Inode | undefined;
}

/** The file system as one simulated process has it: the `Files` of the agent, and what a mail server needs besides. */
export class SimFiles implements Files {
  readonly #disk: SimDisk;
  readonly #clock: HostClock;
  #state: FsState;
  #fds = new Map<number, Inode>();
  #nextFd = 3;
  #operations = 0;
  #interrupt: { at: number; act: () => void } | null = null;

  constructor(disk: SimDisk, state: FsState, clock: HostClock) {
    this.#disk = disk;
    this.#state = state;
    this.#clock = clock;
  }

  /** How many operations this process has asked for. */
  get operations(): number {
    return this.#operations;
  }

  get openFiles(): number {
    return this.#fds.size;
  }

  /** Calls `act` just before the operation after `count` more ones: a kill or power cut in the middle of things. */
  interruptAfter(count: number, act: () => void): void {
    this.#interrupt = { at: this.#operations + count + 1, act };
  }

  /** For the disk alone: the process is dead and goes on with a copy, its descriptors too. */
  detach(copy: FsState): void {
    for (const [fd, inode] of this.#fds) {
      inode.openCount--;
      this.#state.release(inode);
      const own = copy.inodes.get(inode.id) ?? { ...inode, data: Buffer.from(inode.data), openCount: 0, nlink: 0 };
      own.openCount++;
      this.#fds.set(fd, own);
    }
    this.#state = copy;
  }

  lstat(path: BytePath): Stat | null {
    this.#begin('lstat', path);
    const inode = this.#look('lstat', path);
    return inode ? this.#statOf(inode) : null;
  }

  readdir(path: BytePath): DirEntry[] | null {
    this.#begin('readdir', path);
    const inode = this.#look('readdir', path);
    if (inode?.kind !== 'dir') return null;
    // Hash order of a kind, so that nobody relies on one.
    const entries = [...inode.entries].map(([name, child]) => ({ name, kind: child.kind, at: (child.id * 0x9e37_79b1) >>> 0 }));
    return entries.sort((a, b) => a.at - b.at).map(({ name, kind }) => ({ name, kind }));
  }

  readFile(path: BytePath, limit: number): { stat: Stat; data: Buffer; xattrs: Xattrs | null } | null {
    this.#begin('readFile', path);
    const inode = this.#look('readFile', path);
    if (inode?.kind !== 'file') return null;
    if (inode.size > limit) throw failure('E2BIG', 'readFile', path);
    const xattrs = inode.xattrs.size === 0 ? null : new Map(inode.xattrs);
    return { stat: this.#statOf(inode), data: Buffer.from(inode.data.subarray(0, inode.size)), xattrs };
  }

  openRead(path: BytePath): number | null {
    this.#begin('openRead', path);
    const inode = this.#look('openRead', path);
    return inode?.kind === 'file' ? this.#open(inode) : null;
  }

  create(path: BytePath): number {
    this.#begin('create', path);
    return this.#open(this.#make('create', path, 'file', 0o600, ''));
  }

  fstat(fd: number): Stat {
    this.#begin('fstat', '');
    return this.#statOf(this.#byFd('fstat', fd));
  }

  read(fd: number, into: Buffer, offset: number, length: number, position: number): number {
    this.#begin('read', '');
    const inode = this.#byFd('read', fd);
    return inode.data.copy(into, offset, Math.min(position, inode.size), Math.min(position + length, inode.size));
  }

  write(fd: number, data: Buffer, position: number): void {
    this.#begin('write', '');
    this.#writeTo('write', '', this.#byFd('write', fd), data, position);
  }

  close(fd: number): void {
    const inode = this.#byFd('close', fd);
    this.#fds.delete(fd);
    inode.openCount--;
    this.#state.release(inode);
  }

  copyFile(from: BytePath, to: BytePath): void {
    this.#begin('copyFile', to);
    const source = this.#look('copyFile', from);
    if (source?.kind !== 'file') throw failure('ENOENT', 'copyFile', from);
    const target = this.#make('copyFile', to, 'file', 0o600, '');
    try {
      this.#writeTo('copyFile', to, target, source.data.subarray(0, source.size), 0);
    } catch (error) {
      this.#remove('copyFile', to, false);
      throw error;
    }
  }

  setMeta(path: BytePath, change: MetaChange): void {
    this.#begin('setMeta', path);
    this.#setMeta(this.#need('setMeta', path), change);
    this.#tell('path', path);
  }

  setMetaOpen(fd: number, change: MetaChange): void {
    this.#begin('setMetaOpen', '');
    this.#setMeta(this.#byFd('setMetaOpen', fd), change);
  }

  xattrs(path: BytePath): Xattrs | null {
    this.#begin('xattrs', path);
    const { xattrs } = this.#need('xattrs', path);
    return xattrs.size === 0 ? null : new Map(xattrs);
  }

  mkdir(path: BytePath, mode: number): void {
    this.#begin('mkdir', path);
    this.#make('mkdir', path, 'dir', mode, '');
  }

  rmdir(path: BytePath): void {
    this.#begin('rmdir', path);
    this.#remove('rmdir', path, true);
  }

  unlink(path: BytePath): void {
    this.#begin('unlink', path);
    this.#remove('unlink', path, false);
  }

  renameNew(from: BytePath, to: BytePath): boolean {
    try {
      if (this.#locate('rename', from).inode && this.#locate('rename', to).inode) return false;
      this.rename(from, to);
      return true;
    } catch (error) {
      if (errnoCode(error) === 'ENOENT') return false;
      throw error;
    }
  }

  rename(from: BytePath, to: BytePath): void {
    this.#begin('rename', to);
    const source = this.#locate('rename', from);
    const target = this.#locate('rename', to);
    const inode = source.inode;
    checkLength('rename', source.name, from);
    if (!inode) throw failure('ENOENT', 'rename', from);
    checkLength('rename', target.name, to);
    if (inode === target.inode) return;
    if (inode.kind === 'dir' && isBelow(inode, target.dir)) throw failure('EINVAL', 'rename', to);
    if (target.inode) {
      if (inode.kind === 'dir' && target.inode.kind !== 'dir') throw failure('ENOTDIR', 'rename', to);
      if (inode.kind !== 'dir' && target.inode.kind === 'dir') throw failure('EISDIR', 'rename', to);
      if (target.inode.entries.size > 0) throw failure('ENOTEMPTY', 'rename', to);
    }
    this.#state.changeNames([
      { dir: source.dir, name: source.name, child: null },
      { dir: target.dir, name: target.name, child: inode },
    ]);
    if (target.inode) this.#unname(target.inode, target.dir);
    if (inode.kind === 'dir') {
      source.dir.nlink--;
      target.dir.nlink++;
    }
    this.#stamp(inode, false);
    this.#stamp(source.dir, true);
    this.#stamp(target.dir, true);
    this.#tell('path', from);
    this.#tell(inode.kind === 'dir' ? 'tree' : 'path', to);
  }

  link(existing: BytePath, path: BytePath): void {
    this.#begin('link', path);
    const inode = this.#need('link', existing);
    const { dir, name, inode: there } = this.#find('link', path);
    if (there) throw failure('EEXIST', 'link', path);
    if (inode.kind === 'dir') throw failure('EPERM', 'link', existing);
    this.#state.changeNames([{ dir, name, child: inode }]);
    inode.nlink++;
    this.#stamp(inode, false);
    this.#stamp(dir, true);
    this.#tell('path', path);
  }

  symlink(target: BytePath, path: BytePath): void {
    this.#begin('symlink', path);
    this.#make('symlink', path, 'symlink', 0o777, target);
  }

  readlink(path: BytePath): BytePath {
    this.#begin('readlink', path);
    const inode = this.#need('readlink', path);
    if (inode.kind !== 'symlink') throw failure('EINVAL', 'readlink', path);
    return inode.target;
  }

  async syncfs(path: BytePath): Promise<void> {
    this.#begin('syncfs', path);
    if (!this.#look('syncfs', path)) throw failure('ENOENT', 'syncfs', path);
    const complete = this.#state.beginSync();
    const state = this.#state;
    return new Promise((resolve) => {
      // The kernel finishes what it has begun, whether or not the process lives to hear of it.
      this.#clock.afterOnHost(this.#disk.drawSyncMs(), () => {
        if (this.#disk.state === state) complete();
        if (!this.#clock.dead) resolve();
      });
    });
  }

  space(path: BytePath): Space {
    this.#begin('space', path);
    const total = Math.min(this.#disk.capacityBytes, Number.MAX_SAFE_INTEGER);
    return { freeBytes: Math.max(0, total - this.#state.usedBytes), totalBytes: total, freeInodes: Infinity };
  }

  /** Makes a file, or empties the one that is there, and writes it. */
  writeFile(path: BytePath, data: Buffer | string): void {
    this.#begin('writeFile', path);
    const inode = this.#look('writeFile', path) ?? this.#make('writeFile', path, 'file', 0o600, '');
    this.#state.truncate(inode, 0);
    this.#stamp(inode, true);
    this.#tell('path', path);
    this.#writeTo('writeFile', path, inode, Buffer.from(data), 0);
  }

  append(path: BytePath, data: Buffer | string): void {
    this.#begin('append', path);
    const inode = this.#need('append', path);
    this.#writeTo('append', path, inode, Buffer.from(data), inode.size);
  }

  overwrite(path: BytePath, data: Buffer | string, position: number): void {
    this.#begin('overwrite', path);
    this.#writeTo('overwrite', path, this.#need('overwrite', path), Buffer.from(data), position);
  }

  truncate(path: BytePath, size: number): void {
    this.#begin('truncate', path);
    const inode = this.#need('truncate', path);
    this.#state.truncate(inode, size);
    this.#stamp(inode, true);
    this.#tell('path', path);
  }

  /** Makes everything durable at once, as an fsync of a journaling file system does for what came before it. */
  syncNow(): void {
    this.#state.beginSync()();
  }

  #begin(operation: string, path: BytePath): void {
    this.#operations++;
    if (this.#interrupt && this.#operations >= this.#interrupt.at) {
      const { act } = this.#interrupt;
      this.#interrupt = null;
      act();
    }
    if (!this.#disk.isAlive(this)) return;
    const code = this.#disk.faultFor(operation, path);
    if (code) throw failure(code, operation, path);
  }

  #nowNs(): bigint {
    return BigInt(Math.floor(this.#clock.wallMs() / tickMs) * tickMs) * 1_000_000n + 123_457n;
  }

  #stamp(inode: Inode, content: boolean): void {
    inode.ctimeNs = this.#nowNs();
    if (content) inode.mtimeNs = inode.ctimeNs;
    this.#state.touch(inode);
  }

  #tell(kind: 'path' | 'tree', path: BytePath): void {
    if (!this.#disk.isAlive(this)) return;
    for (const listener of this.#disk.listeners) listener({ kind, path, by: this });
  }

  #statOf(inode: Inode): Stat {
    const { kind, ino, nlink, size, mode, uid, gid, mtimeNs, ctimeNs, btimeNs } = inode;
    return { kind, dev: this.#disk.device, ino: BigInt(ino), nlink, size, mode, uid, gid, mtimeNs, ctimeNs, btimeNs };
  }

  #open(inode: Inode): number {
    inode.openCount++;
    this.#fds.set(this.#nextFd, inode);
    return this.#nextFd++;
  }

  #byFd(operation: string, fd: number): Inode {
    const inode = this.#fds.get(fd);
    if (!inode) throw failure('EBADF', operation, String(fd));
    return inode;
  }

  #find(operation: string, path: BytePath): Found {
    const found = this.#locate(operation, path);
    checkLength(operation, found.name, path);
    return found;
  }

  /** Finds the last component's directory; throws ENOENT, ENOTDIR or ELOOP. */
  #locate(operation: string, path: BytePath): Found {
    const parts = path.split('/').filter((part) => part !== '' && part !== '.');
    const trail = [this.#state.root];
    const name = parts.pop();
    if (name === undefined) return { dir: this.#state.root, name: '', inode: this.#state.root };
    let links = 0;
    while (parts.length > 0) {
      const part = parts.shift()!;
      if (part === '..') {
        if (trail.length > 1) trail.pop();
        continue;
      }
      const next = trail.at(-1)!.entries.get(part);
      if (!next) throw failure('ENOENT', operation, path);
      if (next.kind === 'symlink') {
        if (++links > linkDepthMax) throw failure('ELOOP', operation, path);
        if (next.target.startsWith('/')) trail.length = 1;
        parts.unshift(...next.target.split('/').filter((p) => p !== '' && p !== '.'));
      } else if (next.kind === 'dir') {
        trail.push(next);
      } else {
        throw failure('ENOTDIR', operation, path);
      }
    }
    const dir = trail.at(-1)!;
    return { dir, name, inode: dir.entries.get(name) };
  }

  #look(operation: string, path: BytePath): Inode | undefined {
    try {
      return this.#find(operation, path).inode;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      // As the real files do: a link that leads nowhere is no file to open, but an error to look at.
      if (code === 'ENOENT' || code === 'ENOTDIR' || (code === 'ELOOP' && operation !== 'lstat')) return undefined;
      throw error;
    }
  }

  #need(operation: string, path: BytePath): Inode {
    const { inode } = this.#find(operation, path);
    if (!inode) throw failure('ENOENT', operation, path);
    return inode;
  }

  #make(operation: string, path: BytePath, kind: 'file' | 'dir' | 'symlink', mode: number, target: BytePath): Inode {
    const { dir, name, inode: there } = this.#find(operation, path);
    if (there) throw failure('EEXIST', operation, path);
    const inode = this.#state.newInode(kind, mode, this.#nowNs(), target);
    this.#state.changeNames([{ dir, name, child: inode }]);
    inode.nlink = kind === 'dir' ? 2 : 1;
    if (kind === 'dir') dir.nlink++;
    this.#stamp(dir, true);
    this.#tell(kind === 'dir' ? 'tree' : 'path', path);
    return inode;
  }

  #remove(operation: string, path: BytePath, isDir: boolean): void {
    const { dir, name, inode } = this.#find(operation, path);
    if (!inode) throw failure('ENOENT', operation, path);
    if (isDir && inode.kind !== 'dir') throw failure('ENOTDIR', operation, path);
    if (!isDir && inode.kind === 'dir') throw failure('EISDIR', operation, path);
    if (inode.entries.size > 0) throw failure('ENOTEMPTY', operation, path);
    this.#state.changeNames([{ dir, name, child: null }]);
    this.#unname(inode, dir);
    this.#stamp(dir, true);
    this.#tell('path', path);
  }

  #unname(inode: Inode, dir: Inode): void {
    inode.nlink -= inode.kind === 'dir' ? 2 : 1;
    if (inode.kind === 'dir') dir.nlink--;
    else this.#stamp(inode, false);
    this.#state.release(inode);
  }

  #writeTo(operation: string, path: BytePath, inode: Inode, data: Buffer, position: number): void {
    if (data.length === 0) return;
    const growth = Math.max(0, position + data.length - inode.size);
    if (growth > 0 && this.#state.usedBytes + growth > this.#disk.capacityBytes) throw failure('ENOSPC', operation, path);
    this.#state.write(inode, data, position);
    this.#stamp(inode, true);
    if (path !== '') this.#tell('path', path);
  }

  #setMeta(inode: Inode, change: MetaChange): void {
    this.#stamp(inode, false);
    if (change.uid !== undefined) inode.uid = change.uid;
    if (change.gid !== undefined) inode.gid = change.gid;
    if (change.mode !== undefined && inode.kind !== 'symlink') inode.mode = change.mode;
    if (change.xattrs !== undefined) inode.xattrs = new Map(change.xattrs);
    if (change.mtimeNs !== undefined) inode.mtimeNs = change.mtimeNs;
  }
}

function checkLength(operation: string, name: string, path: BytePath): void {
  if (name.length > 255) throw failure('ENAMETOOLONG', operation, path);
}

function isBelow(top: Inode, dir: Inode): boolean {
  if (top === dir) return true;
  for (const child of top.entries.values()) if (child.kind === 'dir' && isBelow(child, dir)) return true;
  return false;
}
