import type { DirectoryId } from './directory-id.ts';

export { errnoCode } from './errno.ts';

/**
 * A path or file name as the kernel has it: bytes, carried one byte a character (latin1).
 *
 * Names on disk are bytes and need not be UTF-8. A byte string keeps every name exact, compares in byte order and
 * stays one byte a character in memory. Only what people read is decoded (`displayPath`).
 */
export type BytePath = string;

export type FileKind = 'file' | 'dir' | 'symlink' | 'other';

/**
 * What `lstat` and `fstat` tell. Times in nanoseconds since the Unix epoch, sizes in bytes.
 *
 * The kernel keeps seconds in 64 bits, so a modification time that somebody set may lie far outside of 64 bits of
 * nanoseconds; one beyond `mtimeNsMax` is given as that. Of the other times, which nobody sets, the low 64 bits are given:
 * they serve for being compared alone.
 */
export interface Stat {
  kind: FileKind;
  dev: bigint;
  ino: bigint;
  nlink: number;
  size: number;
  /** Permission bits, 0o7777. */
  mode: number;
  uid: number;
  gid: number;
  mtimeNs: bigint;
  ctimeNs: bigint;
  /** Birth time; 0 where the file system has none. */
  btimeNs: bigint;
}

/** The modification time furthest from 1970, either way, that is carried: seconds are exact numbers. */
export const mtimeNsMax = BigInt(Number.MAX_SAFE_INTEGER) * 1_000_000_000n;

export interface DirEntry {
  name: BytePath;
  kind: FileKind;
}

/** What `setMeta` sets. A field that is left out stays as it is. */
export interface MetaChange {
  mode?: number;
  uid?: number;
  gid?: number;
  mtimeNs?: bigint;
  xattrs?: Xattrs;
}

/** Extended attributes by name; only `user.*` and POSIX ACLs are read and written. */
export type Xattrs = ReadonlyMap<string, Buffer>;

/** A file as it was while it was open once. */
export interface FileRead {
  stat: Stat;
  data: Buffer;
  xattrs: Xattrs | null;
}

/** Bytes of the file system that holds a path. */
export interface Space {
  freeBytes: number;
  totalBytes: number;
  /** Free inodes; Infinity where the file system does not count them. */
  freeInodes: number;
}

/**
 * The file system, handed in.
 *
 * Calls are synchronous: for many small files that is several times faster than the thread pool, and callers work in
 * slices that yield. Only what may take long is asynchronous. No call follows a symbolic link in its last component.
 * Errors are Node's own (`code` is the errno name) with `path` set. "Missing" (ENOENT, ENOTDIR) is a value where the
 * signature says so, never an error.
 */
export interface Files {
  lstat(path: BytePath): Stat | null;
  /** Entries in no particular order, without `.` and `..`; null when the directory is missing. */
  readdir(path: BytePath): DirEntry[] | null;
  /**
   * The same in portions, each read when it is asked for: of a directory with a million names no call takes long. The caller goes
   * through all of it at once, or leaves the loop. What comes or goes meanwhile may be among it or not.
   */
  list(path: BytePath): Iterable<DirEntry[]> | null;
  /** Whole content, stat and attributes of one open file; null when missing or not a regular file. Error E2BIG above `limit` bytes. */
  readFile(path: BytePath, limit: number): FileRead | null;
  /** Opens a regular file for reading; null when missing or not a regular file. */
  openRead(path: BytePath): number | null;
  /**
   * Opens a copy of a regular file as it is at one moment, whoever writes to it: a clone that shares its blocks and has no
   * name. Null where the file system has no such copies, or the file is missing.
   */
  openSnapshot(path: BytePath): number | null;
  /**
   * Holds what has a name, of any kind and without opening it (O_PATH): the descriptor stays that very thing, whatever becomes of the name.
   * For `fstat`, `setMetaOpen`, `xattrsOpen` and `close`; null when missing. `holding` is the way to use it.
   */
  hold(path: BytePath): number | null;
  /** Makes a new file, mode 0600, for writing and reading; error EEXIST when there is one. */
  create(path: BytePath): number;
  fstat(fd: number): Stat;
  /** Reads up to `length` bytes at `position`; returns how many (0 at the end). */
  read(fd: number, into: Buffer, offset: number, length: number, position: number): number;
  /** Writes all of `data` at `position`. */
  write(fd: number, data: Buffer, position: number): void;
  /** Gives an open file this size; what is added is a hole and reads as zeros. */
  truncate(fd: number, size: number): void;
  /** Resolves when the content written so far to an open file is on stable storage. Its name is another matter. */
  fdatasync(fd: number): Promise<void>;
  close(fd: number): void;
  /** Copies content of a regular file to a new file (reflink where the file system can), mode 0600. */
  copyFile(from: BytePath, to: BytePath): void;
  /**
   * Sets owner, then mode, then extended attributes, then mtime, in this order (each may undo a later one), of what is open or held. There
   * is no such call for a name: what has it may be another thing from one moment to the next, and be given to somebody. A link has no mode.
   */
  setMetaOpen(fd: number, change: MetaChange): void;
  /** Replicable extended attributes; null when there are none or the file system has none. */
  xattrs(path: BytePath): Xattrs | null;
  /** The same of what is open or held. */
  xattrsOpen(fd: number): Xattrs | null;
  /** In a directory of somebody else with mode 0700 alone: another one is set after it was made, of what then has the name. */
  mkdir(path: BytePath, mode: number): void;
  rmdir(path: BytePath): void;
  unlink(path: BytePath): void;
  /** Replaces an existing target. */
  rename(from: BytePath, to: BytePath): void;
  /** Renames to a name that is free; false when it is taken, or something on either way is missing: then nothing was done. */
  renameNew(from: BytePath, to: BytePath): boolean;
  link(existing: BytePath, path: BytePath): void;
  symlink(target: BytePath, path: BytePath): void;
  readlink(path: BytePath): BytePath;
  /** Resolves when everything written so far to the file system that holds `path` is on stable storage. */
  syncfs(path: BytePath): Promise<void>;
  space(path: BytePath): Space;
  /** What tells a directory and its file system from others; null when there is no directory. Follows a symbolic link. */
  identity(path: BytePath): DirectoryId | null;
  /** Puts a mark on a directory, durable at once, which `identity` tells and no other call; false when the file system takes none. */
  mark(path: BytePath, value: string): boolean;
  /** Mount points strictly below a directory (a symbolic link to one is followed), relative to it; outer ones before those inside them. */
  mountPoints(dir: BytePath): BytePath[];
  /**
   * Names the mount that a directory lies on; the same disk that is mounted anew has another name, also at the same place. Null
   * when there is no directory.
   *
   * Linux before 6.8 gives the name of a mount to another one when nothing uses the old one any more, as a watcher's descriptor does.
   */
  mountId(dir: BytePath): string | null;
  /**
   * Two directories with the same value can rename and link between them: same mount, same subvolume, same project quota.
   * It holds as long as nothing is mounted or unmounted. Null when there is no directory.
   */
  renameRegion(dir: BytePath): string | null;
}

/**
 * Works on what has a name at this moment, whatever becomes of the name meanwhile: looks at it, and acts on nothing else.
 *
 * @returns null when nothing has the name.
 */
export function holding<T>(files: Pick<Files, 'hold' | 'fstat' | 'close'>, path: BytePath, work: (fd: number, stat: Stat) => T): T | null {
  const fd = files.hold(path);
  if (fd === null) return null;
  try {
    return work(fd, files.fstat(fd));
  } finally {
    files.close(fd);
  }
}

/** For people: decodes a byte path as UTF-8, showing bytes that are not UTF-8 and control characters as \xHH. */
export function displayPath(path: BytePath): string {
  const bytes = Buffer.from(path, 'latin1');
  const text = bytes.toString('utf8');
  const safe = Buffer.from(text, 'utf8').equals(bytes) ? text : path;
  const isText = safe === text;
  return safe.replace(
    isText ? /[\u0000-\u001f\u007f]/g : /[\u0000-\u001f\u007f-\u00ff]/g,
    (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** Joins a directory and a name; an empty directory is the root itself. */
export function joinPath(dir: BytePath, name: BytePath): BytePath {
  return dir === '' ? name : name === '' ? dir : `${dir}/${name}`;
}

/** The parent of a relative path; '' for a path with one component. */
export function parentPath(path: BytePath): BytePath {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? '' : path.slice(0, slash);
}

/** The last component of a path. */
export function baseName(path: BytePath): BytePath {
  return path.slice(path.lastIndexOf('/') + 1);
}
