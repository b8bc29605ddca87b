import { errnoError, lastErrno, llistxattr, pathBytes, xattrCalls, type PathArg } from './native.ts';
import type { Xattrs } from './files.ts';

/** Linux's own bound of a list and of a value (XATTR_LIST_MAX, XATTR_SIZE_MAX). */
const buffer = Buffer.allocUnsafeSlow(64 * 1024);

/** Where attributes are set: a path as a call takes it (links are not followed) and as errors name it, or an open file. */
export type XattrTarget = { path: string; cPath: PathArg } | { fd: number };

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

/**
 * Replicable attributes; null when there are none.
 *
 * @throws an errno error, ENOENT included.
 */
export function readXattrs(of: XattrTarget): Xattrs | null {
  const path = 'fd' in of ? undefined : of.path;
  const listBytes = listOf(of);
  if (listBytes === 0) return null;
  if (listBytes < 0) {
    const code = lastErrno();
    if (hasNone(code)) return null;
    throw errnoError(code, 'llistxattr', path);
  }
  const found = new Map<string, Buffer>();
  const get = 'fd' in of ? xattrCalls.fget.bind(null, of.fd) : xattrCalls.lget.bind(null, pathBytes(of.cPath));
  for (const name of names(listBytes)) {
    const size = get(cName(name), buffer, buffer.length) as number;
    if (size >= 0) {
      found.set(name, Buffer.from(buffer.subarray(0, size)));
      continue;
    }
    const code = lastErrno();
    // Removed since it was listed.
    if (!hasNone(code)) throw errnoError(code, 'lgetxattr', path);
  }
  return found.size === 0 ? null : found;
}

function listOf(of: XattrTarget): number {
  return 'fd' in of ? (xattrCalls.flist(of.fd, buffer, buffer.length) as number) : llistxattr(of.cPath, buffer);
}

/**
 * Makes `wanted` the whole set of replicable attributes.
 *
 * @throws an errno error; also when attributes are wanted on a file system that has none.
 */
export function writeXattrs(target: XattrTarget, wanted: Xattrs): void {
  const path = 'fd' in target ? undefined : target.path;
  const listBytes = listOf(target);
  if (listBytes < 0) {
    const code = lastErrno();
    if (!hasNone(code) || wanted.size > 0) throw errnoError(code, 'listxattr', path);
  }
  for (const name of listBytes > 0 ? names(listBytes) : []) {
    if (wanted.has(name)) continue;
    const result = 'fd' in target ? xattrCalls.fremove(target.fd, cName(name)) : xattrCalls.lremove(pathBytes(target.cPath), cName(name));
    if (result !== 0) {
      const code = lastErrno();
      if (!hasNone(code)) throw errnoError(code, 'removexattr', path);
    }
  }
  for (const [name, value] of wanted) {
    const result =
      'fd' in target
        ? xattrCalls.fset(target.fd, cName(name), value, value.length, 0)
        : xattrCalls.lset(pathBytes(target.cPath), cName(name), value, value.length, 0);
    if (result !== 0) throw errnoError(lastErrno(), `setxattr ${name}`, path);
  }
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
