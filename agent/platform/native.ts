import koffi from 'koffi';

/**
 * Calls into the C library that Node does not have, or has only slower.
 *
 * A call that fails returns -1 (or null); `lastErrno` must be read at once, before any other call. Paths are NUL-ended
 * bytes or, when they hold nothing but ASCII, plain strings.
 */
const libc = koffi.load(null);

export type PathArg = string | Uint8Array;

/**
 * A byte path as a call takes it: koffi encodes strings as UTF-8, which is exact for ASCII only.
 *
 * @throws EINVAL when the path holds a NUL: C would silently stop there and touch another file.
 */
export function cPath(path: string): PathArg {
  if (/^[\x01-\x7f]*$/.test(path)) return path;
  if (path.includes('\0')) throw errnoError('EINVAL', 'path with a NUL byte', path);
  return Buffer.from(`${path}\0`, 'latin1');
}

export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_EMPTY_PATH = 0x1000;
export const STATX_BASIC_AND_BTIME = 0xfff;
export const MADV_DONTNEED = 4;

/** A call that takes one path, in the two shapes of `PathArg`: `PATH` in the signature stands for the path's type. */
function withPath(signature: string): (path: PathArg) => (...args: unknown[]) => number {
  const [text, bytes] = ['const char *', 'const void *'].map((type) => libc.func(signature.replace('PATH ', type)));
  return (path) => (typeof path === 'string' ? text : bytes) as unknown as (...args: unknown[]) => number;
}

const openatFor = withPath('int openat(int dirfd, PATH path, int flags, uint32_t mode)');

/** openat(2): the descriptor. */
export function openat(dirfd: number, path: PathArg, flags: number, mode: number): number {
  return openatFor(path)(dirfd, path, flags, mode);
}

/** open(2): the descriptor. */
export function open(path: PathArg, flags: number, mode: number): number {
  return openat(AT_FDCWD, path, flags, mode);
}

const openat2For = withPath('int64_t syscall(int64_t number, int dirfd, PATH path, void *how, size_t size)');
const openat2Number = 437;
const openHow = Buffer.alloc(24);

/** openat2(2), which C libraries have no function for: the descriptor. `resolve` as in linux/openat2.h. */
export function openat2(dirfd: number, path: PathArg, flags: number, resolve: number): number {
  openHow.writeUInt32LE(flags, 0);
  openHow.writeUInt32LE(resolve, 16);
  return Number(openat2For(path)(openat2Number, dirfd, path, openHow, openHow.length));
}

const mkdiratFor = withPath('int mkdirat(int dirfd, PATH path, uint32_t mode)');
const unlinkatFor = withPath('int unlinkat(int dirfd, PATH path, int flags)');
const fchownatFor = withPath('int fchownat(int dirfd, PATH path, uint32_t uid, uint32_t gid, int flags)');
const readlinkatFor = withPath('int64_t readlinkat(int dirfd, PATH path, void *into, size_t size)');

/** mkdirat(2). */
export function mkdirat(dirfd: number, path: PathArg, mode: number): number {
  return mkdiratFor(path)(dirfd, path, mode);
}

export const AT_REMOVEDIR = 0x200;

/** unlinkat(2). */
export function unlinkat(dirfd: number, path: PathArg, flags: number): number {
  return unlinkatFor(path)(dirfd, path, flags);
}

/** fchownat(2) of an open file, also of one that was opened with O_PATH. An owner or group of 0xffffffff stays as it is. */
export function chownOpen(fd: number, uid: number, gid: number): number {
  return fchownatFor('')(fd, '', uid, gid, AT_EMPTY_PATH);
}

/** fchmod(2); EBADF for a file that was opened with O_PATH. */
export const fchmod = libc.func('int fchmod(int fd, uint32_t mode)') as unknown as (fd: number, mode: number) => number;

const chmodText = libc.func('int chmod(const char *path, uint32_t mode)');

/** chmod(2). */
export function chmod(path: string, mode: number): number {
  return chmodText(path, mode) as number;
}

/** readlinkat(2): bytes of the target, cut without a word to the size of `into`. */
export function readlinkat(dirfd: number, path: PathArg, into: Uint8Array): number {
  return Number(readlinkatFor(path)(dirfd, path, into, into.length));
}

const statxText = libc.func('int statx(int dirfd, const char *path, int flags, uint32_t mask, void *into)');
const statxBytes = libc.func('int statx(int dirfd, const void *path, int flags, uint32_t mask, void *into)');

/** statx(2). `into` holds at least 256 bytes. */
export function statx(dirfd: number, path: PathArg, flags: number, mask: number, into: Uint8Array): number {
  return (typeof path === 'string' ? statxText : statxBytes)(dirfd, path, flags, mask, into) as number;
}

const utimensatText = libc.func('int utimensat(int dirfd, const char *path, const void *times, int flags)');
const utimensatBytes = libc.func('int utimensat(int dirfd, const void *path, const void *times, int flags)');

/** utimensat(2). `times` are two timespecs. */
export function utimensat(dirfd: number, path: PathArg, times: Uint8Array, flags: number): number {
  return (typeof path === 'string' ? utimensatText : utimensatBytes)(dirfd, path, times, flags) as number;
}

/** futimens(3). */
export const futimens = libc.func('int futimens(int fd, const void *times)') as unknown as (fd: number, times: Uint8Array) => number;

/** getxattr(2) and its kin; names, and paths but for those of `/proc`, as NUL-ended bytes. */
export const xattrCalls = {
  lget: libc.func('int64_t lgetxattr(const void *path, const void *name, void *value, size_t size)'),
  get: libc.func('int64_t getxattr(const char *path, const void *name, void *value, size_t size)'),
  list: libc.func('int64_t listxattr(const char *path, void *list, size_t size)'),
  set: libc.func('int setxattr(const char *path, const void *name, const void *value, size_t size, int flags)'),
  remove: libc.func('int removexattr(const char *path, const void *name)'),
  fget: libc.func('int64_t fgetxattr(int fd, const void *name, void *value, size_t size)'),
  flist: libc.func('int64_t flistxattr(int fd, void *list, size_t size)'),
  fset: libc.func('int fsetxattr(int fd, const void *name, const void *value, size_t size, int flags)'),
  fremove: libc.func('int fremovexattr(int fd, const void *name)'),
};

const renameat2Text = libc.func('int renameat2(int fromDir, const char *from, int toDir, const char *to, uint32_t flags)');
const renameat2Bytes = libc.func('int renameat2(int fromDir, const void *from, int toDir, const void *to, uint32_t flags)');
const linkatBytes = libc.func('int linkat(int fromDir, const void *existing, int toDir, const void *path, int flags)');
const symlinkatBytes = libc.func('int symlinkat(const void *target, int dirfd, const void *path)');

/** The same as NUL-ended bytes. */
export function pathBytes(path: PathArg): Uint8Array {
  return typeof path === 'string' ? Buffer.from(`${path}\0`) : path;
}

/** renameat2(2); with `replace` false and a taken name it fails with EEXIST. */
export function renameat2(fromDir: number, from: PathArg, toDir: number, to: PathArg, replace: boolean): number {
  const flags = replace ? 0 : 1;
  if (typeof from === 'string' && typeof to === 'string') return renameat2Text(fromDir, from, toDir, to, flags) as number;
  return renameat2Bytes(fromDir, pathBytes(from), toDir, pathBytes(to), flags) as number;
}

/** linkat(2) that follows no link. */
export function linkat(fromDir: number, existing: PathArg, toDir: number, path: PathArg): number {
  return linkatBytes(fromDir, pathBytes(existing), toDir, pathBytes(path), 0) as number;
}

/** symlinkat(2). */
export function symlinkat(target: PathArg, dirfd: number, path: PathArg): number {
  return symlinkatBytes(pathBytes(target), dirfd, pathBytes(path)) as number;
}

/**
 * What an open file is, as a path: it leads to that very thing, whatever became of its name. For one that was opened with O_PATH, which calls by
 * descriptor refuse (open(2)); a symbolic link that was opened so is not followed.
 */
export function pathOfOpen(fd: number): string {
  return `/proc/self/fd/${fd}`;
}

/** A name in an open directory as one path, for calls that take no directory; the last component is theirs to follow or not. */
export function pathOf(dirfd: number, name: PathArg): PathArg {
  if (dirfd === AT_FDCWD) return name;
  const dir = `/proc/self/fd/${dirfd}/`;
  return typeof name === 'string' ? dir + name : Buffer.concat([Buffer.from(dir), name]);
}

/** The same for Node, which takes strings and bytes without a NUL. */
export function nodePath(path: PathArg): string | Buffer {
  return typeof path === 'string' ? path : Buffer.from(path.buffer, path.byteOffset, path.length - 1);
}

const copyFileRangeFunc = libc.func(
  'int64_t copy_file_range(int from, void *fromOffset, int to, void *toOffset, size_t length, uint32_t flags)',
);

/** copy_file_range(2) at the descriptors' own positions: bytes copied, sharing blocks where the file system can. */
export function copyFileRange(from: number, to: number, length: number): number {
  return copyFileRangeFunc(from, null, to, null, length, 0) as number;
}

const ficloneFunc = libc.func('int ioctl(int fd, unsigned long request, int source)');

/** ioctl_ficlone(2): 0 when `target` now shares the blocks of `source`. */
export function ficlone(target: number, source: number): number {
  const FICLONE = 0x4004_9409;
  return ficloneFunc(target, FICLONE, source) as number;
}

const syncfsFunc = libc.func('int syncfs(int fd)');

/** syncfs(2) on a thread of its own, so that the loop goes on. Rejects with an errno error. */
export function syncfs(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    syncfsFunc.async(fd, (error: Error | null, result: number) => {
      // errno belongs to the thread that made the call and is out of reach here. EIO and ENOSPC mean the same to a caller: not durable.
      if (error) reject(error);
      else if (result !== 0) reject(errnoError('EIO', 'syncfs'));
      else resolve();
    });
  });
}

const madviseFunc = libc.func('int madvise(uintptr_t address, size_t length, int advice)');

/** madvise(2) on an address range of this process. */
export function madvise(address: bigint, length: number, advice: number): number {
  return madviseFunc(address, length, advice) as number;
}

const mmapFunc = libc.func('intptr_t mmap(intptr_t address, size_t length, int protection, int flags, int fd, int64_t offset)');
const munmapFunc = libc.func('int munmap(uintptr_t address, size_t length)');

/** Whether mmap(2) gives this process a shared, read-only map of `length` bytes of a file. The map is taken back. */
export function canMap(fd: number, length: number): boolean {
  const protRead = 1;
  const mapShared = 1;
  // koffi gives an address of up to 2^53 as a number, and -1 for MAP_FAILED.
  const address = mmapFunc(0, length, protRead, mapShared, fd, 0) as number | bigint;
  if (BigInt(address) === -1n) return false;
  munmapFunc(address, length);
  return true;
}

const nameByErrno = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));

/** The errno name of the last call that failed. */
export function lastErrno(): string {
  const number = koffi.errno();
  return nameByErrno.get(number) ?? `errno ${number}`;
}

/** An error in the form of Node's own. */
export function errnoError(code: string, syscall: string, path?: string): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error(`${code}: ${syscall}${path === undefined ? '' : ` '${path}'`}`);
  error.code = code;
  error.syscall = syscall;
  if (path !== undefined) error.path = path;
  return error;
}

const fallocateFunc = libc.func('int posix_fallocate(int fd, int64_t offset, int64_t length)');

/** posix_fallocate(3): gives a file blocks of its own from its beginning. False when the disk has not so many. */
export function allocate(fd: number, length: number): boolean {
  return fallocateFunc(fd, 0, length) === 0;
}

const fallocateKeepFunc = libc.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)');

/** fallocate(2) with FALLOC_FL_KEEP_SIZE: gives a range of a file blocks, also behind its end. */
export function allocateAhead(fd: number, offset: number, length: number): 'allocated' | 'full' | 'unsupported' {
  const keepSize = 1;
  if (fallocateKeepFunc(fd, keepSize, offset, length) === 0) return 'allocated';
  const code = lastErrno();
  return code === 'EOPNOTSUPP' || code === 'ENOTSUP' || code === 'ENOSYS' ? 'unsupported' : 'full';
}

const exitFunc = libc.func('void _exit(int status)');

/**
 * _exit(2): the process ends now. `process.exit` waits for the thread pool, and a thread that is stuck in a call to a
 * dead disk would keep it for ever.
 */
export function exitNow(exitCode: number): never {
  exitFunc(exitCode);
  throw new Error('_exit returned');
}

const getsockoptFunc = libc.func('int getsockopt(int fd, int level, int name, void *value, void *length)');

/** getsockopt(2) with SO_PEERCRED: fills `into` with pid, uid and gid of who connected. False when the socket has no such thing. */
export function peerOf(fd: number, into: Uint8Array): boolean {
  const [SOL_SOCKET, SO_PEERCRED] = [1, 17];
  const length = Buffer.alloc(4);
  length.writeUInt32LE(into.length);
  return getsockoptFunc(fd, SOL_SOCKET, SO_PEERCRED, into, length) === 0 && length.readUInt32LE() === into.length;
}

const flockFunc = libc.func('int flock(int fd, int operation)');

/** flock(2) for writing, without waiting: false when somebody else has it. It ends with the descriptor or the process. */
export function tryLock(fd: number): boolean {
  if (flockFunc(fd, 2 | 4) === 0) return true;
  const code = lastErrno();
  if (code === 'EWOULDBLOCK' || code === 'EAGAIN') return false;
  throw errnoError(code, 'flock');
}

const statfsFunc = libc.func('int statfs(const void *path, void *into)');

/** statfs(2). `into` holds at least 256 bytes. */
export function statfs(path: PathArg, into: Uint8Array): number {
  return statfsFunc(typeof path === 'string' ? Buffer.from(`${path}\0`) : path, into) as number;
}

const ioctlFunc = libc.func('int ioctl(int fd, unsigned long request, void *argument)');

/** ioctl(2) whose argument is a block of memory. */
export function ioctl(fd: number, request: number, argument: Uint8Array): number {
  return ioctlFunc(fd, request, argument) as number;
}

/** The flag of a file or directory that has it overwritten in place (chattr +C): whether it stands, or sets it where that is possible. */
export function noCopyOnWrite(fd: number, what: 'is' | 'set'): boolean {
  const [getFlags, setFlags, noCow] = [0x80086601, 0x40086602, 0x0080_0000];
  const flags = Buffer.alloc(8);
  if (ioctl(fd, getFlags, flags) !== 0) return false;
  if (what === 'is') return (flags.readUInt32LE(0) & noCow) !== 0;
  flags.writeUInt32LE((flags.readUInt32LE(0) | noCow) >>> 0, 0);
  return ioctl(fd, setFlags, flags) === 0;
}

const fadviseFunc = libc.func('int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)');

/** posix_fadvise(2) with POSIX_FADV_DONTNEED: what the page cache has of a file, and need not write, goes from it. */
export function dropFromCache(fd: number): void {
  const dontNeed = 4;
  fadviseFunc(fd, 0, 0, dontNeed);
}

/** Where a buffer lies in memory. */
export function addressOf(memory: Uint8Array): bigint {
  return koffi.address(memory);
}

const syscallFunc = libc.func('int64_t syscall(int64_t number, int64_t a, int64_t b, int64_t c)');
const setpriorityFunc = libc.func('int setpriority(int which, uint32_t who, int priority)');
/** ioprio_set(2) has no function in the C library. */
const ioprioSet: Partial<Record<NodeJS.Architecture, number>> = { x64: 251, arm64: 30, riscv64: 30 };

/** Lets everybody else go before the calling thread: idle class for its reads, lowest priority for its work. As far as it may. */
export function giveWay(): void {
  const [process_, self, idleClass] = [1, 0, 3 << 13];
  const number = ioprioSet[process.arch];
  if (number !== undefined) syscallFunc(number, process_, self, idleClass);
  setpriorityFunc(0, self, 19);
}

const pollFunc = libc.func('int poll(void *fds, uint64_t count, int timeoutMs)');

/** Whether something out of the ordinary waits on a descriptor (POLLERR or POLLPRI), without waiting. */
export function hasException(fd: number): boolean {
  const exceptions = 2 | 8;
  const fds = Buffer.alloc(8);
  fds.writeInt32LE(fd, 0);
  fds.writeInt16LE(exceptions, 4);
  return (pollFunc(fds, 1, 0) as number) > 0 && (fds.readInt16LE(6) & exceptions) !== 0;
}
