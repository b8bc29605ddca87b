import fs from 'node:fs';
import { Beneath, type OpenWithoutLinks } from './beneath.ts';
import { errnoCode, type BytePath, type DirEntry, type Files, type Stat } from './files.ts';
import * as native from './native.ts';
import { allocate, copyOpen, readFully, writeFully } from './open-files.ts';
import { identity, mark, mountId, mountPoints, renameRegion } from './real-mounts.ts';
import { chmodOpen, setMetaOpen } from './set-meta.ts';
import { fstat, lstatAt } from './stat.ts';
import { readXattrs } from './xattrs.ts';

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_DIRECTORY } = fs.constants;
/** Not in Node's constants, because libuv sets it by itself. */
const O_CLOEXEC = 0o2000000;
const O_PATH = 0o10000000;
const O_TMPFILE = 0o20000000 | O_DIRECTORY;

function isMissing(code: string | undefined): boolean {
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** What is missing is a value. */
function orNull<T>(look: () => T | null): T | null {
  try {
    return look();
  } catch (error) {
    if (isMissing(errnoCode(error))) return null;
    throw error;
  }
}

function listOpenDirectory(fd: number): DirEntry[] {
  const procPath = `/proc/self/fd/${fd}`;
  let dirents: fs.Dirent[];
  try {
    dirents = fs.readdirSync(procPath, { encoding: 'latin1', withFileTypes: true });
  } catch (error) {
    // Where the file system tells no types, Node looks each entry up, wrongly for bytes that are not ASCII and failing for one that just went.
    if (!isMissing(errnoCode(error))) throw error;
    return fs.readdirSync(procPath, { encoding: 'latin1' }).flatMap((name) => {
      const stat = lstatAt(fd, native.cPath(name));
      return stat === null ? [] : [{ name, kind: stat.kind }];
    });
  }
  const entries = new Array<DirEntry>(dirents.length);
  for (let i = 0; i < dirents.length; i++) entries[i] = entryOf(dirents[i] as fs.Dirent);
  return entries;
}

function entryOf(dirent: fs.Dirent): DirEntry {
  const kind = dirent.isFile() ? 'file' : dirent.isDirectory() ? 'dir' : dirent.isSymbolicLink() ? 'symlink' : 'other';
  return { name: dirent.name, kind };
}

/** Names that are read at a time. */
const portionMax = 256;

/** `fd` is closed with the first portion: the listing has a descriptor of its own. */
function* portionsOf(fd: number): Generator<DirEntry[]> {
  let dir: fs.Dir;
  try {
    dir = fs.opendirSync(`/proc/self/fd/${fd}`, { encoding: 'latin1' as BufferEncoding, bufferSize: portionMax });
  } finally {
    fs.closeSync(fd);
  }
  try {
    for (let portion: DirEntry[] = []; ; portion = []) {
      let dirent: fs.Dirent | null = null;
      while (portion.length < portionMax && (dirent = dir.readSync())) portion.push(entryOf(dirent));
      // As readdir gives them, as far as a portion goes: what is done with them is the same from one time to the next.
      if (portion.length > 0) yield portion.sort((a, b) => (a.name < b.name ? -1 : 1));
      if (dirent === null) return;
    }
  } finally {
    dir.closeSync();
  }
}

/** Bits that the process would take away from a new directory's mode. */
const umask = Number.parseInt(/^Umask:\s*([0-7]+)/m.exec(fs.readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '022', 8);

/** The longest target of a link (PATH_MAX). */
const target = Buffer.alloc(4096);

/**
 * The files of this host. Below `places` (absolute paths), and at them, no symbolic link is followed but those that the path of
 * a place itself goes through: a call there fails with ELOOP.
 */
export function filesBelow(places: () => readonly BytePath[], open?: OpenWithoutLinks): Files {
  const beneath = new Beneath(places, open);

  /** Calls the system, which answers with a negative number when it fails. */
  function call(path: BytePath, operation: string, act: (dir: number, name: native.PathArg) => number): number {
    return beneath.use(path, operation, (dir, name) => {
      const result = act(dir, name);
      if (result < 0) throw native.errnoError(native.lastErrno(), operation, path);
      return result;
    });
  }

  /** The same with two names. */
  function call2(
    from: BytePath,
    to: BytePath,
    operation: string,
    act: (fromDir: number, from: native.PathArg, toDir: number, to: native.PathArg) => number,
  ): number {
    return call(from, operation, (fromDir, fromName) =>
      beneath.use(to, operation, (toDir, toName) => act(fromDir, fromName, toDir, toName)),
    );
  }

  function lstat(path: BytePath): Stat | null {
    return orNull(() =>
      beneath.use(path, 'lstat', (dir, name) => {
        const stat = lstatAt(dir, name);
        if (stat !== null) return stat;
        const code = native.lastErrno();
        if (isMissing(code)) return null;
        throw native.errnoError(code, 'lstat', path);
      }),
    );
  }

  /** Opens for reading and looks; the caller closes. O_NONBLOCK keeps a fifo from holding the whole agent up. */
  function openRegular(path: BytePath): { fd: number; stat: Stat } | null {
    const fd = orNull(() =>
      beneath.use(path, 'open', (dir, name) => {
        const opened = native.openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
        if (opened >= 0) return opened;
        const code = native.lastErrno();
        // ELOOP: a symbolic link. ENXIO, ENODEV: a socket, or a device that is not there.
        if (isMissing(code) || code === 'ELOOP' || code === 'ENXIO' || code === 'ENODEV') return null;
        throw native.errnoError(code, 'open', path);
      }),
    );
    if (fd === null) return null;
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

  /** Null when there is no directory. Opened by itself, because readdir would follow a symbolic link. */
  function openDirectory(path: BytePath, operation: string): number | null {
    return orNull(() =>
      beneath.use(path, operation, (dir, name) => {
        const opened = native.openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (opened >= 0) return opened;
        const code = native.lastErrno();
        if (isMissing(code) || code === 'ELOOP') return null;
        throw native.errnoError(code, operation, path);
      }),
    );
  }

  function hold(path: BytePath): number | null {
    return orNull(() => call(path, 'hold', (dir, name) => native.openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0)));
  }

  function create(path: BytePath): number {
    return call(path, 'open', (dir, name) => native.openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600));
  }

  function unlink(path: BytePath): void {
    call(path, 'unlink', (dir, name) => native.unlinkat(dir, name, 0));
  }

  function rename(from: BytePath, to: BytePath): void {
    call2(from, to, 'rename', (...names) => native.renameat2(...names, true));
    beneath.moved(from);
    beneath.moved(to);
  }

  return {
    lstat,
    readdir(path) {
      const fd = openDirectory(path, 'readdir');
      if (fd === null) return null;
      try {
        return listOpenDirectory(fd);
      } finally {
        fs.closeSync(fd);
      }
    },
    list(path) {
      const fd = openDirectory(path, 'readdir');
      return fd === null ? null : portionsOf(fd);
    },
    readFile(path, limit) {
      const opened = openRegular(path);
      if (opened === null) return null;
      const { fd, stat } = opened;
      try {
        if (stat.size > limit) throw native.errnoError('E2BIG', 'readFile', path);
        const data = allocate(stat.size);
        const length = stat.size === 0 ? 0 : readFully(fd, data, 0);
        return { stat, data: length === data.length ? data : data.subarray(0, length), xattrs: readXattrs(fd, path) };
      } finally {
        fs.closeSync(fd);
      }
    },
    openRead: (path) => openRegular(path)?.fd ?? null,
    openSnapshot(path) {
      const source = openRegular(path);
      if (source === null) return null;
      try {
        // In the file's own directory, where it needs no name and so tells no watcher of itself.
        const here = path.slice(0, path.lastIndexOf('/') + 1) || './';
        const clone = beneath.use(`${here}.`, 'open', (dir, name) => native.openat(dir, name, O_TMPFILE | O_RDWR | O_CLOEXEC, 0o600));
        if (clone < 0) return null;
        if (native.ficlone(clone, source.fd) === 0) return clone;
        fs.closeSync(clone);
        return null;
      } finally {
        fs.closeSync(source.fd);
      }
    },
    hold,
    create,
    fstat,
    read: (fd, into, offset, length, position) => fs.readSync(fd, into, offset, length, position),
    write: writeFully,
    truncate: (fd, size) => fs.ftruncateSync(fd, size),
    fdatasync: (fd) => new Promise((resolve, reject) => fs.fdatasync(fd, (error) => (error ? reject(error) : resolve()))),
    close: (fd) => fs.closeSync(fd),
    copyFile(from, to) {
      const source = openRegular(from);
      if (source === null) throw native.errnoError('ENOENT', 'copyFile', from);
      try {
        const copy = create(to);
        try {
          copyOpen(source.fd, copy);
        } catch (error) {
          unlink(to);
          throw error;
        } finally {
          fs.closeSync(copy);
        }
      } finally {
        fs.closeSync(source.fd);
      }
    },
    setMetaOpen,
    xattrs(path) {
      const fd = hold(path);
      if (fd === null) throw native.errnoError('ENOENT', 'xattrs', path);
      try {
        return readXattrs(fd, path);
      } finally {
        fs.closeSync(fd);
      }
    },
    xattrsOpen: (fd) => readXattrs(fd),
    mkdir(path, mode) {
      call(path, 'mkdir', (dir, name) => native.mkdirat(dir, name, mode));
      // Setuid, setgid and sticky bits are not mkdir's to set, and the umask must not decide what a replica looks like.
      if ((mode & umask) === 0 && (mode & 0o7000) === 0) return;
      const fd = hold(path);
      if (fd === null) throw native.errnoError('ENOENT', 'mkdir', path);
      try {
        chmodOpen(fd, mode);
      } finally {
        fs.closeSync(fd);
      }
    },
    rmdir(path) {
      call(path, 'rmdir', (dir, name) => native.unlinkat(dir, name, native.AT_REMOVEDIR));
      beneath.moved(path);
    },
    unlink,
    rename,
    renameNew(from, to) {
      try {
        call2(from, to, 'rename', (...names) => native.renameat2(...names, false));
      } catch (error) {
        const code = errnoCode(error);
        if (code === 'EEXIST' || code === 'ENOENT') return false;
        // The file system does not know the flag.
        if (code !== 'EINVAL' && code !== 'ENOSYS') throw error;
        if (lstat(to) !== null || lstat(from) === null) return false;
        rename(from, to);
        return true;
      }
      beneath.moved(from);
      return true;
    },
    link(existing, path) {
      call2(existing, path, 'link', native.linkat);
    },
    symlink(text, path) {
      call(path, 'symlink', (dir, name) => native.symlinkat(native.cPath(text), dir, name));
    },
    readlink: (path) =>
      target.toString(
        'latin1',
        0,
        call(path, 'readlink', (dir, name) => native.readlinkat(dir, name, target)),
      ),
    async syncfs(path) {
      const fd = beneath.use(path, 'syncfs', (dir, name) => native.openat(dir, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0));
      if (fd < 0) throw native.errnoError(native.lastErrno(), 'syncfs', path);
      try {
        await native.syncfs(fd);
      } finally {
        fs.closeSync(fd);
      }
    },
    space(path) {
      const s = beneath.use(path, 'space', (dir, name) => fs.statfsSync(native.nodePath(native.pathOf(dir, name)), { bigint: true }));
      return {
        freeBytes: Number(s.bavail * s.bsize),
        totalBytes: Number(s.blocks * s.bsize),
        freeInodes: s.files === 0n ? Infinity : Number(s.ffree),
      };
    },
    identity: (path) => identity(beneath, path),
    mark: (path, value) => mark(beneath, path, value),
    mountPoints,
    mountId: (dir) => mountId(beneath, dir),
    renameRegion: (dir) => renameRegion(beneath, dir),
  };
}

/** The files of this host where all paths are the administrator's. What a root holds is not. */
export const realFiles: Files = filesBelow(() => []);
