import fs from 'node:fs';
import type { BytePath, DirEntry, FileKind, FileRead, Files, MetaChange, Space, Stat, Xattrs } from './files.ts';
import { errnoCode, mtimeNsMax } from './files.ts';
import * as native from './native.ts';
import { identity, mark, mountId, mountPoints, renameRegion } from './real-mounts.ts';
import { readXattrs, readXattrsOpen, writeXattrs } from './xattrs.ts';

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_DIRECTORY, S_IFMT, S_IFREG, S_IFDIR, S_IFLNK } = fs.constants;
/** Not in Node's constants, because libuv sets it by itself. */
const O_CLOEXEC = 0o2000000;
const O_PATH = 0o10000000;
const O_TMPFILE = 0o20000000 | O_DIRECTORY;

/** struct statx, read through views of one buffer: calls are synchronous, so that one is enough. */
const statxBuffer = Buffer.alloc(256);
const u16 = new Uint16Array(statxBuffer.buffer, statxBuffer.byteOffset, 128);
const u32 = new Uint32Array(statxBuffer.buffer, statxBuffer.byteOffset, 64);
const u64 = new BigUint64Array(statxBuffer.buffer, statxBuffer.byteOffset, 32);
const i64 = new BigInt64Array(statxBuffer.buffer, statxBuffer.byteOffset, 32);
const STATX_BTIME = 0x800;

/** Node takes strings as UTF-8, which is exact for ASCII only. */
function nodePath(path: BytePath): string | Buffer {
  return /^[\x00-\x7f]*$/.test(path) ? path : Buffer.from(path, 'latin1');
}

function kindOfMode(mode: number): FileKind {
  const type = mode & S_IFMT;
  return type === S_IFREG ? 'file' : type === S_IFDIR ? 'dir' : type === S_IFLNK ? 'symlink' : 'other';
}

let lastMajor = -1;
let lastMinor = -1;
let lastDev = 0n;

/** glibc's makedev, kept for the one or two file systems in use. */
function deviceNumber(major: number, minor: number): bigint {
  if (major !== lastMajor || minor !== lastMinor) {
    const [hi, lo] = [BigInt(major), BigInt(minor)];
    lastDev = ((hi & 0xfffff000n) << 32n) | ((hi & 0xfffn) << 8n) | ((lo & 0xffffff00n) << 12n) | (lo & 0xffn);
    [lastMajor, lastMinor] = [major, minor];
  }
  return lastDev;
}

function nanoseconds(offset: number): bigint {
  return (i64[offset >> 3] as bigint) * 1_000_000_000n + BigInt(u32[(offset >> 2) + 2] as number);
}

function modificationTime(offset: number): bigint {
  const timeNs = nanoseconds(offset);
  return timeNs > mtimeNsMax ? mtimeNsMax : timeNs < -mtimeNsMax ? -mtimeNsMax : timeNs;
}

/** A damaged file system may give any number for a time that nobody can set. */
function identityTime(offset: number): bigint {
  return BigInt.asIntN(64, nanoseconds(offset));
}

/** Field offsets: linux/stat.h, struct statx. */
function statFromBuffer(): Stat {
  const mode = u16[14] as number;
  return {
    kind: kindOfMode(mode),
    dev: deviceNumber(u32[34] as number, u32[35] as number),
    ino: u64[4] as bigint,
    nlink: u32[4] as number,
    size: Number(u64[5]),
    mode: mode & 0o7777,
    uid: u32[5] as number,
    gid: u32[6] as number,
    mtimeNs: modificationTime(112),
    ctimeNs: identityTime(96),
    btimeNs: (u32[0] as number) & STATX_BTIME ? identityTime(80) : 0n,
  };
}

function lstat(path: BytePath): Stat | null {
  if (native.statx(native.AT_FDCWD, native.cPath(path), native.AT_SYMLINK_NOFOLLOW, native.STATX_BASIC_AND_BTIME, statxBuffer) === 0)
    return statFromBuffer();
  const code = native.lastErrno();
  if (isMissing(code)) return null;
  throw native.errnoError(code, 'lstat', path);
}

function isMissing(code: string | undefined): boolean {
  return code === 'ENOENT' || code === 'ENOTDIR';
}

function fstat(fd: number): Stat {
  if (native.statx(fd, '', native.AT_EMPTY_PATH, native.STATX_BASIC_AND_BTIME, statxBuffer) === 0) return statFromBuffer();
  throw native.errnoError(native.lastErrno(), 'fstat');
}

/** Opens for reading and looks; the caller closes. O_NONBLOCK keeps a fifo from holding the whole agent up. */
function openRegular(path: BytePath): { fd: number; stat: Stat } | null {
  const fd = native.open(native.cPath(path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
  if (fd < 0) {
    const code = native.lastErrno();
    // ELOOP: a symbolic link. ENXIO, ENODEV: a socket, or a device that is not there.
    if (isMissing(code) || code === 'ELOOP' || code === 'ENXIO' || code === 'ENODEV') return null;
    throw native.errnoError(code, 'open', path);
  }
  try {
    const stat = fstat(fd);
    if (stat.kind === 'file') return { fd, stat };
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
  fs.closeSync(fd);
  return null;
}

/** Fills `into` from `position` as far as the file goes. */
function readFully(fd: number, into: Buffer, position: number): number {
  let done = 0;
  while (done < into.length) {
    const n = fs.readSync(fd, into, done, into.length - done, position + done);
    if (n === 0) break;
    done += n;
  }
  return done;
}

/** The clone lies in the file's own directory, where it needs no name and so tells no watcher of itself. */
function openSnapshot(path: BytePath): number | null {
  const source = openRegular(path);
  if (source === null) return null;
  try {
    const dir = path.slice(0, path.lastIndexOf('/') + 1) || '.';
    const clone = native.open(native.cPath(dir), O_TMPFILE | O_RDWR | O_CLOEXEC, 0o600);
    if (clone < 0) return null;
    if (native.ficlone(clone, source.fd) === 0) return clone;
    fs.closeSync(clone);
    return null;
  } finally {
    fs.closeSync(source.fd);
  }
}

/** Small files share blocks: a block of its own for each would cost the collector more than reading it. */
const slabBytes = 512 * 1024;
const slabFileBytesMax = 64 * 1024;
let slab = Buffer.alloc(0);
let slabUsed = 0;

function allocate(size: number): Buffer {
  if (size > slabFileBytesMax) return Buffer.allocUnsafeSlow(size);
  if (slab.length - slabUsed < size) {
    slab = Buffer.allocUnsafeSlow(slabBytes);
    slabUsed = 0;
  }
  const part = slab.subarray(slabUsed, slabUsed + size);
  slabUsed += size;
  return part;
}

function readFile(path: BytePath, limit: number): FileRead | null {
  const opened = openRegular(path);
  if (opened === null) return null;
  const { fd, stat } = opened;
  try {
    if (stat.size > limit) throw native.errnoError('E2BIG', 'readFile', path);
    const data = allocate(stat.size);
    const length = stat.size === 0 ? 0 : readFully(fd, data, 0);
    return { stat, data: length === data.length ? data : data.subarray(0, length), xattrs: readXattrsOpen(fd, path, native.cPath(path)) };
  } finally {
    fs.closeSync(fd);
  }
}

function readdir(path: BytePath): DirEntry[] | null {
  // Opened by itself, because readdir would follow a symbolic link.
  const fd = native.open(native.cPath(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd < 0) {
    const code = native.lastErrno();
    if (isMissing(code) || code === 'ELOOP') return null;
    throw native.errnoError(code, 'readdir', path);
  }
  try {
    return listOpenDirectory(`/proc/self/fd/${fd}`);
  } finally {
    fs.closeSync(fd);
  }
}

function listOpenDirectory(procPath: string): DirEntry[] {
  let dirents: fs.Dirent[];
  try {
    dirents = fs.readdirSync(procPath, { encoding: 'latin1', withFileTypes: true });
  } catch (error) {
    // Where the file system tells no types, Node looks each entry up, wrongly for bytes that are not ASCII and failing for one that just went.
    if (!isMissing(errnoCode(error))) throw error;
    return fs.readdirSync(procPath, { encoding: 'latin1' }).flatMap((name) => {
      const stat = lstat(`${procPath}/${name}`);
      return stat === null ? [] : [{ name, kind: stat.kind }];
    });
  }
  const entries = new Array<DirEntry>(dirents.length);
  for (let i = 0; i < dirents.length; i++) {
    const d = dirents[i] as fs.Dirent;
    entries[i] = { name: d.name, kind: d.isFile() ? 'file' : d.isDirectory() ? 'dir' : d.isSymbolicLink() ? 'symlink' : 'other' };
  }
  return entries;
}

function create(path: BytePath): number {
  const fd = native.open(native.cPath(path), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600);
  if (fd < 0) throw native.errnoError(native.lastErrno(), 'open', path);
  return fd;
}

function write(fd: number, data: Buffer, position: number): void {
  let done = 0;
  while (done < data.length) done += fs.writeSync(fd, data, done, data.length - done, position + done);
}

/** Bytes handed to one copy call: large enough to be cheap, small enough for a 32-bit count. */
const COPY_BYTES = 1 << 30;

function copyFile(from: BytePath, to: BytePath): void {
  const source = openRegular(from);
  if (source === null) throw native.errnoError('ENOENT', 'copyFile', from);
  try {
    const target = create(to);
    try {
      copyOpen(source.fd, target);
    } catch (error) {
      fs.unlinkSync(nodePath(to));
      throw error;
    } finally {
      fs.closeSync(target);
    }
  } finally {
    fs.closeSync(source.fd);
  }
}

function copyOpen(from: number, to: number): void {
  let position = 0;
  for (;;) {
    const n = native.copyFileRange(from, to, COPY_BYTES);
    if (n < 0) {
      const code = native.lastErrno();
      if (code === 'EINTR') continue;
      if (code === 'EXDEV' || code === 'EINVAL' || code === 'ENOSYS' || code === 'EOPNOTSUPP' || code === 'ENOTSUP') break;
      throw native.errnoError(code, 'copy_file_range');
    }
    if (n === 0) return;
    position += n;
  }
  const block = Buffer.allocUnsafe(256 * 1024);
  for (;;) {
    const n = readFully(from, block, position);
    if (n === 0) return;
    write(to, block.subarray(0, n), position);
    position += n;
  }
}

/** Two timespecs: the access time stays as it is (UTIME_OMIT). */
const times = new BigInt64Array(4);
times[1] = (1n << 30n) - 2n;

function fillTimes(mtimeNs: bigint): Uint8Array {
  let seconds = mtimeNs / 1_000_000_000n;
  let rest = mtimeNs % 1_000_000_000n;
  if (rest < 0n) {
    seconds -= 1n;
    rest += 1_000_000_000n;
  }
  times[2] = seconds;
  times[3] = rest;
  return timesBytes;
}
const timesBytes = new Uint8Array(times.buffer);

/** Without privilege an owner cannot be set, which is no fault when it is already the wanted one. */
function chown(act: () => void, look: () => Stat | null, change: MetaChange): void {
  try {
    act();
  } catch (error) {
    if (errnoCode(error) !== 'EPERM') throw error;
    const stat = look();
    if (stat === null || (change.uid !== undefined && stat.uid !== change.uid) || (change.gid !== undefined && stat.gid !== change.gid))
      throw error;
  }
}

/** -1 leaves an owner or group as it is; Node wants it unsigned. */
const KEEP = 0xffff_ffff;

function setMeta(path: BytePath, change: MetaChange): void {
  const { uid = KEEP, gid = KEEP } = change;
  if (uid !== KEEP || gid !== KEEP)
    chown(
      () => fs.lchownSync(nodePath(path), uid, gid),
      () => lstat(path),
      change,
    );
  if (change.mode !== undefined) chmodNoFollow(path, change.mode);
  if (change.xattrs !== undefined) writeXattrs({ path, cPath: Buffer.from(`${path}\0`, 'latin1') }, change.xattrs);
  if (change.mtimeNs === undefined) return;
  if (native.utimensat(native.AT_FDCWD, native.cPath(path), fillTimes(change.mtimeNs), native.AT_SYMLINK_NOFOLLOW) !== 0) {
    throw native.errnoError(native.lastErrno(), 'utimensat', path);
  }
}

/** chmod(2) follows symbolic links; the descriptor of an O_PATH open names the very inode. A symbolic link's own mode cannot be set and means nothing. */
function chmodNoFollow(path: BytePath, mode: number): void {
  const fd = native.open(native.cPath(path), O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd < 0) throw native.errnoError(native.lastErrno(), 'chmod', path);
  try {
    if (fstat(fd).kind !== 'symlink') fs.chmodSync(`/proc/self/fd/${fd}`, mode);
  } finally {
    fs.closeSync(fd);
  }
}

function setMetaOpen(fd: number, change: MetaChange): void {
  const { uid = KEEP, gid = KEEP } = change;
  if (uid !== KEEP || gid !== KEEP)
    chown(
      () => fs.fchownSync(fd, uid, gid),
      () => fstat(fd),
      change,
    );
  if (change.mode !== undefined) fs.fchmodSync(fd, change.mode);
  if (change.xattrs !== undefined) writeXattrs({ fd }, change.xattrs);
  if (change.mtimeNs !== undefined && native.futimens(fd, fillTimes(change.mtimeNs)) !== 0)
    throw native.errnoError(native.lastErrno(), 'futimens');
}

function xattrs(path: BytePath): Xattrs | null {
  return readXattrs(path, native.cPath(path));
}

function renameNew(from: BytePath, to: BytePath): boolean {
  if (native.renameNoReplace(native.cPath(from), native.cPath(to)) === 0) return true;
  const code = native.lastErrno();
  if (code === 'EEXIST' || code === 'ENOENT') return false;
  // The file system does not know the flag.
  if (code !== 'EINVAL' && code !== 'ENOSYS') throw native.errnoError(code, 'rename', from);
  if (lstat(to) !== null || lstat(from) === null) return false;
  fs.renameSync(nodePath(from), nodePath(to));
  return true;
}

/** Bits that the process would take away from a new directory's mode. */
const umask = Number.parseInt(/^Umask:\s*([0-7]+)/m.exec(fs.readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '022', 8);

function mkdir(path: BytePath, mode: number): void {
  fs.mkdirSync(nodePath(path), mode);
  // Setuid, setgid and sticky bits are not mkdir's to set, and the umask must not decide what a replica looks like.
  if ((mode & umask) !== 0 || (mode & 0o7000) !== 0) chmodNoFollow(path, mode);
}

async function syncfs(path: BytePath): Promise<void> {
  const fd = native.open(native.cPath(path), O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
  if (fd < 0) throw native.errnoError(native.lastErrno(), 'syncfs', path);
  try {
    await native.syncfs(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function space(path: BytePath): Space {
  const s = fs.statfsSync(nodePath(path), { bigint: true });
  return {
    freeBytes: Number(s.bavail * s.bsize),
    totalBytes: Number(s.blocks * s.bsize),
    freeInodes: s.files === 0n ? Infinity : Number(s.ffree),
  };
}

/** The files of this host. `syncfs` and `space` follow a symbolic link: they only ask which file system it is. */
export const realFiles: Files = {
  lstat,
  readdir,
  readFile,
  openRead: (path) => openRegular(path)?.fd ?? null,
  openSnapshot,
  create,
  fstat,
  read: (fd, into, offset, length, position) => fs.readSync(fd, into, offset, length, position),
  write,
  truncate: (fd, size) => fs.ftruncateSync(fd, size),
  fdatasync: (fd) => new Promise((resolve, reject) => fs.fdatasync(fd, (error) => (error ? reject(error) : resolve()))),
  close: (fd) => fs.closeSync(fd),
  copyFile,
  setMeta,
  setMetaOpen,
  xattrs,
  mkdir,
  rmdir: (path) => fs.rmdirSync(nodePath(path)),
  unlink: (path) => fs.unlinkSync(nodePath(path)),
  rename: (from, to) => fs.renameSync(nodePath(from), nodePath(to)),
  renameNew,
  link: (existing, path) => fs.linkSync(nodePath(existing), nodePath(path)),
  symlink: (target, path) => fs.symlinkSync(nodePath(target), nodePath(path)),
  readlink: (path) => fs.readlinkSync(nodePath(path), 'latin1'),
  syncfs,
  space,
  identity,
  mark,
  mountPoints,
  mountId,
  renameRegion,
};
