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
import type { DirectoryId } from '../../agent/platform/directory-id.ts';
import type { FsState } from './fs-state.ts';
import type { Inode } from './fs-tree.ts';
import type { HostClock } from './sim-clock.ts';
import type { SimDisk } from './sim-disk.ts';

/** The kernel stamps files with the time of its last timer tick. */
const tickMs = 4;
const linkDepthMax = 40;
const markName = 'trusted.mailtwin';

/** A link is on the way to a path of an agent, where none may be. */
class LinkOnTheWay extends Error {
  readonly code = 'ELOOP';
}

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
  readonly #isAgent: boolean;
  readonly #below: readonly BytePath[];
  #fds = new Map<number, Inode>();
  readonly #pathOfFd = new Map<number, BytePath>();
  /** Those that hold something without opening it: no content is to be had by them. */
  readonly #held = new Set<number>();
  #nextFd = 3;
  #operations = 0;
  #interrupt: { at: number; act: () => void } | null = null;

  constructor(disk: SimDisk, state: FsState, clock: HostClock, agentBelow: readonly BytePath[] | null = null) {
    this.#isAgent = agentBelow !== null;
    this.#below = agentBelow ?? [];
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

  list(path: BytePath): Iterable<DirEntry[]> | null {
    const entries = this.readdir(path);
    return entries && portions(entries);
  }

  readFile(path: BytePath, limit: number): { stat: Stat; data: Buffer; xattrs: Xattrs | null } | null {
    this.#begin('readFile', path);
    const inode = this.#look('readFile', path);
    if (inode?.kind !== 'file') return null;
    if (inode.size > limit) throw failure('E2BIG', 'readFile', path);
    const xattrs = replicable(inode.xattrs);
    return { stat: this.#statOf(inode), data: Buffer.from(inode.data.subarray(0, inode.size)), xattrs };
  }

  /** The disk flips one bit of a file, at a share (0 to 1) of its length. */
  flip(path: BytePath, at = 0.5): void {
    const inode = this.#look('flip', path);
    if (inode?.kind !== 'file' || inode.size === 0) throw failure('ENOENT', 'flip', path);
    this.#state.flip(inode, Math.min(inode.size - 1, Math.floor(inode.size * at)));
  }

  openRead(path: BytePath): number | null {
    this.#begin('openRead', path);
    const inode = this.#look('openRead', path);
    return inode?.kind === 'file' ? this.#open(inode, path) : null;
  }

  openSnapshot(path: BytePath): number | null {
    this.#begin('openSnapshot', path);
    const source = this.#disk.makesSnapshots ? this.#look('openSnapshot', path) : undefined;
    if (source?.kind !== 'file') return null;
    const clone = this.#state.newInode('file', 0o600, this.#nowNs(), '');
    this.#state.write(clone, source.data.subarray(0, source.size), 0);
    return this.#open(clone, path);
  }

  hold(path: BytePath): number | null {
    this.#begin('hold', path);
    const inode = this.#look('hold', path);
    if (!inode) return null;
    const fd = this.#open(inode, path);
    this.#held.add(fd);
    return fd;
  }

  create(path: BytePath): number {
    this.#begin('create', path);
    return this.#open(this.#make('create', path, 'file', 0o600, ''), path);
  }

  fstat(fd: number): Stat {
    this.#begin('fstat', this.#pathOfFd.get(fd) ?? '');
    return this.#statOf(this.#byFd('fstat', fd));
  }

  read(fd: number, into: Buffer, offset: number, length: number, position: number): number {
    this.#begin('read', this.#pathOfFd.get(fd) ?? '');
    const inode = this.#opened('read', fd);
    return inode.data.copy(into, offset, Math.min(position, inode.size), Math.min(position + length, inode.size));
  }

  write(fd: number, data: Buffer, position: number): void {
    this.#begin('write', this.#pathOfFd.get(fd) ?? '');
    this.#writeTo('write', '', this.#opened('write', fd), data, position);
  }

  truncate(fd: number, size: number): void;
  truncate(path: BytePath, size: number): void;
  truncate(file: number | BytePath, size: number): void {
    const path = typeof file === 'string' ? file : '';
    this.#begin('truncate', typeof file === 'string' ? file : (this.#pathOfFd.get(file) ?? ''));
    const inode = typeof file === 'string' ? this.#need('truncate', file) : this.#opened('truncate', file);
    this.#state.truncate(inode, size);
    this.#stamp(inode, true);
    if (path !== '') this.#tell('path', path);
  }

  /** Takes its time and keeps nothing: whoever relies on it alone is found out by the next power cut. */
  async fdatasync(fd: number): Promise<void> {
    this.#begin('fdatasync', this.#pathOfFd.get(fd) ?? '');
    this.#byFd('fdatasync', fd);
    return new Promise((resolve) => {
      this.#clock.after(this.#disk.drawSyncMs(), resolve);
    });
  }

  close(fd: number): void {
    const inode = this.#byFd('close', fd);
    this.#fds.delete(fd);
    this.#held.delete(fd);
    this.#pathOfFd.delete(fd);
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

  /** For who works in a store: agents set what they hold. */
  setMeta(path: BytePath, change: MetaChange): void {
    this.#begin('setMeta', path);
    this.#setMeta(this.#need('setMeta', path), change, path);
    this.#tell('path', path);
  }

  setMetaOpen(fd: number, change: MetaChange): void {
    this.#begin('setMetaOpen', this.#pathOfFd.get(fd) ?? '');
    this.#setMeta(this.#byFd('setMetaOpen', fd), change, this.#pathOfFd.get(fd) ?? '');
    if (this.#held.has(fd)) this.#tell('path', this.#pathOfFd.get(fd) ?? '');
  }

  xattrs(path: BytePath): Xattrs | null {
    this.#begin('xattrs', path);
    return replicable(this.#need('xattrs', path).xattrs);
  }

  xattrsOpen(fd: number): Xattrs | null {
    this.#begin('xattrsOpen', this.#pathOfFd.get(fd) ?? '');
    return replicable(this.#byFd('xattrsOpen', fd).xattrs);
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
    this.#checkMounts('rename', from, to);
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
    // An agent opens both directories before anything else.
    if (this.#isAgent) for (const each of [existing, path]) this.#locate('link', each);
    const inode = this.#need('link', existing);
    const { dir, name, inode: there } = this.#find('link', path);
    if (there) throw failure('EEXIST', 'link', path);
    if (this.#disk.mounts.pointOf(existing) !== this.#disk.mounts.pointOf(path)) throw failure('EXDEV', 'link', path);
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

  identity(path: BytePath): DirectoryId | null {
    this.#begin('identity', path);
    const inode = this.#look('identity', `${path}/.`);
    if (inode?.kind !== 'dir') return null;
    const { mounts, birthTimes, device } = this.#disk;
    return {
      type: 'sim',
      fs: `uuid:${mounts.volumeOf(inode) ?? 'first'}`,
      device: `0:${mounts.deviceOf(inode, device)}`,
      ino: String(mounts.inoOf(inode)),
      btimeNs: birthTimes ? String(inode.btimeNs) : '0',
      mark: inode.xattrs.get(markName)?.toString() ?? null,
    };
  }

  /** Which file a path is and how often it was touched in any way, however coarse the times are; null when there is none. */
  touchesOf(path: BytePath): string | null {
    const inode = this.#look('lstat', path);
    return inode ? `${inode.id}:${inode.version}` : null;
  }

  mark(path: BytePath, value: string): boolean {
    this.#begin('mark', path);
    const inode = this.#look('mark', path);
    if (!inode) return false;
    inode.xattrs = new Map([...inode.xattrs, [markName, Buffer.from(value)]]);
    this.#stamp(inode, false);
    this.#state.beginSync()();
    return true;
  }

  mountPoints(dir: BytePath): BytePath[] {
    this.#begin('mountPoints', dir);
    const below = this.#disk.mounts.points.filter((point) => point.startsWith(`${dir}/`));
    return below.filter((point) => this.#look('mountPoints', point)?.kind === 'dir').map((point) => point.slice(dir.length + 1));
  }

  renameRegion(dir: BytePath): string | null {
    return this.mountId(dir);
  }

  mountId(dir: BytePath): string | null {
    this.#begin('mountId', dir);
    if (this.#look('mountId', `${dir}/.`)?.kind !== 'dir') return null;
    const { mounts } = this.#disk;
    return String(mounts.mountId(mounts.pointOf(dir)));
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

  /** Bytes of a file's blocks that hold something; the others are holes. */
  writtenBytes(path: BytePath): number {
    return this.#state.blocksBytes(this.#need('writtenBytes', path));
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
    const code =
      this.#disk.faultFor(operation, path) ??
      (this.#isAgent ? this.#disk.plague?.codeFor(operation, path, this.#clock.monotonicMs()) : null);
    if (code) throw failure(code, operation, path);
  }

  #nowNs(): bigint {
    return BigInt(Math.floor(this.#clock.wallMs() / tickMs) * tickMs) * 1_000_000n + 123_457n;
  }

  #stamp(inode: Inode, content: boolean): void {
    inode.ctimeNs = this.#kept(this.#nowNs());
    if (content) inode.mtimeNs = this.#kept(inode.ctimeNs);
    this.#state.touch(inode);
  }

  /** A time as the file system keeps it: cut, also before 1970. */
  #kept(ns: bigint): bigint {
    const unit = this.#disk.timesNs;
    return unit === 1n ? ns : ns - (((ns % unit) + unit) % unit);
  }

  /** What a directory calls this name, and what has it. */
  #entry(dir: Inode, name: string): { name: string; inode: Inode | undefined } {
    const inode = dir.entries.get(name);
    const { fold } = this.#disk;
    if (inode || fold === null) return { name, inode };
    const wanted = fold(name);
    for (const [known, other] of dir.entries) if (fold(known) === wanted) return { name: known, inode: other };
    return { name, inode: undefined };
  }

  #tell(kind: 'path' | 'tree', path: BytePath): void {
    if (!this.#disk.isAlive(this)) return;
    for (const listener of this.#disk.listeners) listener({ kind, path, by: this });
  }

  #statOf(inode: Inode): Stat {
    const { kind, nlink, size, mode, uid, gid, mtimeNs, ctimeNs } = inode;
    const { mounts, birthTimes, device } = this.#disk;
    const btimeNs = birthTimes ? inode.btimeNs : 0n;
    return { kind, dev: mounts.deviceOf(inode, device), ino: mounts.inoOf(inode), nlink, size, mode, uid, gid, mtimeNs, ctimeNs, btimeNs };
  }

  #open(inode: Inode, path: BytePath): number {
    inode.openCount++;
    this.#pathOfFd.set(this.#nextFd, path);
    this.#fds.set(this.#nextFd, inode);
    return this.#nextFd++;
  }

  #byFd(operation: string, fd: number): Inode {
    const inode = this.#fds.get(fd);
    if (!inode) throw failure('EBADF', operation, String(fd));
    return inode;
  }

  #opened(operation: string, fd: number): Inode {
    if (this.#held.has(fd)) throw failure('EBADF', operation, String(fd));
    return this.#byFd(operation, fd);
  }

  #find(operation: string, path: BytePath): Found {
    const found = this.#locate(operation, path);
    checkLength(operation, found.name, path);
    return found;
  }

  /** How many components of a path are a place below which no link is followed; null for a path elsewhere. */
  #depthOfPlace(operation: string, path: BytePath): number | null {
    const place = this.#below.find((each) => path === each || path.startsWith(`${each}/`));
    if (place === undefined) return null;
    if (!path.split('/').includes('..')) return place.split('/').length - 1;
    if (operation === 'lstat') return null;
    throw failure('EXDEV', operation, path);
  }

  /** Finds the last component's directory; throws ENOENT, ENOTDIR or ELOOP. */
  #locate(operation: string, path: BytePath): Found {
    const depth = this.#depthOfPlace(operation, path);
    const parts = this.#disk.mounts
      .translate(path.replace(/\/\.$/, ''))
      .split('/')
      .filter((part) => part !== '' && part !== '.');
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
      const next = this.#entry(trail.at(-1)!, part).inode;
      if (!next) throw failure('ENOENT', operation, path);
      if (next.kind === 'symlink') {
        if (depth !== null && trail.length > depth) throw new LinkOnTheWay(`ELOOP: ${operation} '${path}'`);
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
    const found = { dir, ...this.#entry(dir, name) };
    if (depth !== null && trail.length > depth && path.endsWith('/.') && found.inode?.kind === 'symlink')
      throw new LinkOnTheWay(`ELOOP: ${operation} '${path}'`);
    return found;
  }

  #look(operation: string, path: BytePath): Inode | undefined {
    try {
      return this.#find(operation, path).inode;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (error instanceof LinkOnTheWay) {
        if (['identity', 'mountId', 'mark', 'mountPoints'].includes(operation)) return undefined;
        throw error;
      }
      // As the real files do: a link that leads nowhere is no file to open, but an error to look at.
      if (code === 'ENOENT' || code === 'ENOTDIR' || (code === 'ELOOP' && operation !== 'lstat' && operation !== 'hold')) return undefined;
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
    this.#disk.mounts.born(inode, dir, path);
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
    if (this.#disk.mounts.has(path)) throw failure('EBUSY', operation, path);
    if (inode.entries.size > 0) throw failure('ENOTEMPTY', operation, path);
    this.#state.changeNames([{ dir, name, child: null }]);
    this.#unname(inode, dir);
    this.#stamp(dir, true);
    this.#tell('path', path);
  }

  /** A mount point stays where it is, and nothing is renamed from one file system to another. */
  #checkMounts(operation: string, from: BytePath, to: BytePath): void {
    const { mounts } = this.#disk;
    if (mounts.has(from) || mounts.has(to)) throw failure('EBUSY', operation, to);
    if (mounts.pointOf(from) !== mounts.pointOf(to)) throw failure('EXDEV', operation, to);
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

  #setMeta(inode: Inode, change: MetaChange, path: BytePath): void {
    const refusal = this.#isAgent && this.#disk.isAlive(this) ? this.#disk.refusalOf(change) : null;
    if (refusal !== null) throw failure(refusal, 'setMeta', path);
    const allow = (what: 'owner' | 'mode' | 'xattrs' | 'time') => {
      const code = this.#disk.isAlive(this) ? this.#disk.refuses?.({ what, change }) : null;
      if (code) throw failure(code, what, path);
    };
    this.#stamp(inode, false);
    const { uid = inode.uid, gid = inode.gid } = change;
    if (uid !== inode.uid || gid !== inode.gid) allow('owner');
    [inode.uid, inode.gid] = [uid, gid];
    if (change.mode !== undefined && inode.kind !== 'symlink') {
      allow('mode');
      inode.mode = change.mode;
    }
    if (change.xattrs !== undefined) {
      if (change.xattrs.size > 0) allow('xattrs');
      const mark = inode.xattrs.get(markName);
      inode.xattrs = new Map([...change.xattrs, ...(mark ? [[markName, mark] as const] : [])]);
    }
    if (change.mtimeNs !== undefined) {
      allow('time');
      inode.mtimeNs = this.#kept(change.mtimeNs);
    }
  }
}

/** A mark of the agent is this host's business. */
function replicable(all: Xattrs): Xattrs | null {
  const xattrs = new Map([...all].filter(([name]) => name !== markName));
  return xattrs.size === 0 ? null : xattrs;
}

function checkLength(operation: string, name: string, path: BytePath): void {
  if (name.length > 255) throw failure('ENAMETOOLONG', operation, path);
}

function isBelow(top: Inode, dir: Inode): boolean {
  if (top === dir) return true;
  for (const child of top.entries.values()) if (child.kind === 'dir' && isBelow(child, dir)) return true;
  return false;
}

/** Few at a time, so that whoever takes the first portion for all of it is found out. */
function* portions(entries: DirEntry[]): Generator<DirEntry[]> {
  for (let at = 0; at < entries.length; at += 3) yield entries.slice(at, at + 3);
}
