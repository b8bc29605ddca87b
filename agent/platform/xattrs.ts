import { errnoError, lastErrno, pathOfOpen, xattrCalls } from './native.ts';
import type { Xattrs } from './files.ts';

/** Linux's own bound of a list and of a value (XATTR_LIST_MAX, XATTR_SIZE_MAX). */
const buffer = Buffer.allocUnsafeSlow(64 * 1024);

/** Where a mark of ours is: only root can set the first one, which nobody else sees. */
const markNames = ['trusted.mailtwin', 'user.mailtwin'];

/** Only what belongs to users and mail servers travels; `security.*` and `trusted.*` are this host's business. */
function isReplicable(name: string): boolean {
  return (
    (name.startsWith('user.') && !markNames.includes(name)) || name === 'system.posix_acl_access' || name === 'system.posix_acl_default'
  );
}

function names(listBytes: number): string[] {
  return buffer.toString('latin1', 0, listBytes).split('\0').filter(isReplicable);
}

/** A name as C has it: bytes, which need not be UTF-8. */
function cName(name: string): Buffer {
  return Buffer.from(`${name}\0`, 'latin1');
}

/** What makes a file system without attributes look like a file without them. */
function hasNone(code: string): boolean {
  return code === 'ENOTSUP' || code === 'EOPNOTSUPP' || code === 'ENODATA';
}

/** The calls for an open file: by its descriptor, or where it was opened with O_PATH by a path that leads to that very thing. */
function callsFor(fd: number): {
  listBytes: number;
  get: (name: Buffer) => number;
  set: (name: Buffer, value: Buffer) => number;
  remove: (name: Buffer) => number;
} {
  const { fget, flist, fset, fremove, get, list, set, remove } = xattrCalls;
  const listBytes = flist(fd, buffer, buffer.length) as number;
  if (listBytes >= 0 || lastErrno() !== 'EBADF')
    return {
      listBytes,
      get: (name) => fget(fd, name, buffer, buffer.length) as number,
      set: (name, value) => fset(fd, name, value, value.length, 0) as number,
      remove: (name) => fremove(fd, name) as number,
    };
  const path = pathOfOpen(fd);
  return {
    listBytes: list(path, buffer, buffer.length) as number,
    get: (name) => get(path, name, buffer, buffer.length) as number,
    set: (name, value) => set(path, name, value, value.length, 0) as number,
    remove: (name) => remove(path, name) as number,
  };
}

/**
 * Replicable attributes of an open file; null when there are none. `path` is what errors name.
 *
 * @throws an errno error.
 */
export function readXattrs(fd: number, path?: string): Xattrs | null {
  const { listBytes, get } = callsFor(fd);
  if (listBytes === 0) return null;
  if (listBytes < 0) {
    const code = lastErrno();
    if (hasNone(code)) return null;
    throw errnoError(code, 'listxattr', path);
  }
  const found = new Map<string, Buffer>();
  for (const name of names(listBytes)) {
    const size = get(cName(name));
    if (size >= 0) {
      found.set(name, Buffer.from(buffer.subarray(0, size)));
      continue;
    }
    const code = lastErrno();
    // Removed since it was listed.
    if (!hasNone(code)) throw errnoError(code, 'getxattr', path);
  }
  return found.size === 0 ? null : found;
}

/**
 * Makes `wanted` the whole set of replicable attributes of an open file.
 *
 * @throws an errno error; also when attributes are wanted on a file system that has none.
 */
export function writeXattrs(fd: number, wanted: Xattrs): void {
  const { listBytes, set, remove } = callsFor(fd);
  if (listBytes < 0) {
    const code = lastErrno();
    if (!hasNone(code) || wanted.size > 0) throw errnoError(code, 'listxattr');
  }
  for (const name of listBytes > 0 ? names(listBytes) : []) {
    if (wanted.has(name)) continue;
    if (remove(cName(name)) !== 0) {
      const code = lastErrno();
      if (!hasNone(code)) throw errnoError(code, 'removexattr');
    }
  }
  for (const [name, value] of wanted) if (set(cName(name), value) !== 0) throw errnoError(lastErrno(), `setxattr ${name}`);
}

/** Whether the file system of a path keeps ACLs; asking for one tells, whether or not there is one. */
export function keepsAcls(path: string): boolean {
  const bytes = Buffer.from(`${path}\0`, 'latin1');
  return (
    (xattrCalls.lget(bytes, cName('system.posix_acl_access'), buffer, buffer.length) as number) >= 0 ||
    !/^E(OP)?NOTSUPP?$/.test(lastErrno())
  );
}

/** Whether the file system of a path keeps attributes of users; asking for one that is not there tells. */
export function keepsXattrs(path: string): boolean {
  const bytes = Buffer.from(`${path}\0`, 'latin1');
  return (xattrCalls.lget(bytes, cName('user.mailtwin'), buffer, buffer.length) as number) >= 0 || !/^E(OP)?NOTSUPP?$/.test(lastErrno());
}

/** The mark on an open directory; null when there is none. */
export function readMark(fd: number): string | null {
  for (const name of markNames) {
    const size = xattrCalls.fget(fd, cName(name), buffer, buffer.length) as number;
    if (size >= 0) return buffer.toString('latin1', 0, size);
  }
  return null;
}

/** Puts a mark on an open directory; false when its file system takes none, or not from this process. */
export function writeMark(fd: number, mark: string): boolean {
  const value = Buffer.from(mark, 'latin1');
  return markNames.some((name) => xattrCalls.fset(fd, cName(name), value, value.length, 0) === 0);
}
