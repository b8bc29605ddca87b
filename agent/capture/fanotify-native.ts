import fs from 'node:fs';
import koffi from 'koffi';
import type { BytePath } from '../platform/files.ts';
import { errnoError, lastErrno, statfs } from '../platform/native.ts';

const libc = koffi.load(null);
const fanotifyInitFunc = libc.func('int fanotify_init(uint32_t flags, uint32_t eventFlags)');
const fanotifyMarkFunc = libc.func('int fanotify_mark(int fd, uint32_t flags, uint64_t mask, int dirfd, const void *path)');
const openByHandleFunc = libc.func('int open_by_handle_at(int mountFd, void *handle, int flags)');
const nameToHandleFunc = libc.func('int name_to_handle_at(int dirfd, const void *path, void *handle, void *mountId, int flags)');
const eventfdFunc = libc.func('int eventfd(uint32_t initial, int flags)');
const pollFunc = libc.func('int poll(void *fds, uint64_t count, int timeoutMs)');

const AT_FDCWD = -100;
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;
const MAX_HANDLE_BYTES = 128;

function cBytes(path: BytePath): Buffer {
  return Buffer.from(`${path}\0`, 'latin1');
}

/** fanotify_init(2): the descriptor. */
export function fanotifyInit(flags: number): number {
  const fd = fanotifyInitFunc(flags, 0) as number;
  if (fd < 0) throw errnoError(lastErrno(), 'fanotify_init');
  return fd;
}

/** fanotify_mark(2). */
export function fanotifyMark(fd: number, flags: number, mask: number, path: BytePath): void {
  if (fanotifyMarkFunc(fd, flags, mask, AT_FDCWD, cBytes(path)) !== 0) throw errnoError(lastErrno(), 'fanotify_mark', path);
}

/** The identity of a directory in the form of the events: file system id (statfs), then struct file_handle. */
export function directoryHandle(path: BytePath): string {
  const stat = Buffer.alloc(256);
  if (statfs(cBytes(path), stat) !== 0) throw errnoError(lastErrno(), 'statfs', path);
  const handle = Buffer.alloc(8 + MAX_HANDLE_BYTES);
  handle.writeUInt32LE(MAX_HANDLE_BYTES, 0);
  if (nameToHandleFunc(AT_FDCWD, cBytes(path), handle, Buffer.alloc(8), 0) !== 0) throw errnoError(lastErrno(), 'name_to_handle_at', path);
  // struct statfs: seven fields of 8 bytes, then f_fsid.
  return stat.toString('latin1', 56, 64) + handle.toString('latin1', 0, 8 + handle.readUInt32LE(0));
}

/**
 * Where the directory of a handle is now, seen from the mount of `mountFd`; null when it is gone.
 *
 * @throws an errno error.
 */
export function pathOfHandle(mountFd: number, dir: string): BytePath | null {
  const fd = openByHandleFunc(mountFd, Buffer.from(dir.slice(8), 'latin1'), O_PATH | O_CLOEXEC) as number;
  if (fd < 0) {
    const code = lastErrno();
    if (code === 'ESTALE' || code === 'ENOENT') return null;
    throw errnoError(code, 'open_by_handle_at');
  }
  try {
    const path = fs.readlinkSync(`/proc/self/fd/${fd}`, 'latin1');
    return path.endsWith(' (deleted)') && fs.fstatSync(fd).nlink === 0 ? null : path;
  } finally {
    fs.closeSync(fd);
  }
}

/** eventfd(2), by which one thread wakes another out of `waitReadable`. */
export function eventfd(): number {
  const fd = eventfdFunc(0, O_CLOEXEC) as number;
  if (fd < 0) throw errnoError(lastErrno(), 'eventfd');
  return fd;
}

/** Ends every wait on this eventfd, now and later. */
export function wake(fd: number): void {
  const one = Buffer.alloc(8);
  one.writeBigUInt64LE(1n, 0);
  fs.writeSync(fd, one);
}

const POLLIN = 1;

/** Blocks the thread until one of the two is readable; true when it is the first. */
export function waitReadable(first: number, second: number): boolean {
  const fds = Buffer.alloc(16);
  for (;;) {
    fds.writeInt32LE(first, 0);
    fds.writeInt32LE(POLLIN, 4);
    fds.writeInt32LE(second, 8);
    fds.writeInt32LE(POLLIN, 12);
    if ((pollFunc(fds, 2, -1) as number) >= 0) return fds.readInt16LE(14) === 0;
    const code = lastErrno();
    if (code !== 'EINTR') throw errnoError(code, 'poll');
  }
}
