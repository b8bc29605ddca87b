import { parentPath, type BytePath, type Files, type Stat } from '../platform/files.ts';

/**
 * The files as a root sees them that lies on several file systems: inode numbers of one file system are not mistaken for those
 * of another, because each carries its file system's tag. So an equal number means the same file, wherever it is compared.
 *
 * `tagOf` is asked once for each device; 0 leaves the numbers as they are, null says that nothing tells just now.
 */
export class TaggedInodes {
  readonly files: Files;
  readonly #tagOf: (dev: bigint, dir: BytePath) => bigint | null;
  readonly #tags = new Map<bigint, bigint>();
  readonly #open = new Map<number, BytePath>();

  constructor(files: Files, tagOf: (dev: bigint, dir: BytePath) => bigint | null) {
    this.#tagOf = tagOf;
    const opened = (fd: number | null, path: BytePath): number | null => {
      if (fd !== null) this.#open.set(fd, path);
      return fd;
    };
    this.files = {
      lstat: (path) => {
        const stat = files.lstat(path);
        return stat && this.#tagged(stat, path);
      },
      readFile: (path, limit) => {
        const read = files.readFile(path, limit);
        return read && { ...read, stat: this.#tagged(read.stat, path) };
      },
      openRead: (path) => opened(files.openRead(path), path),
      openSnapshot: (path) => opened(files.openSnapshot(path), path),
      hold: (path) => opened(files.hold(path), path),
      create: (path) => {
        const fd = files.create(path);
        this.#open.set(fd, path);
        return fd;
      },
      fstat: (fd) => this.#tagged(files.fstat(fd), this.#open.get(fd) ?? ''),
      close: (fd) => {
        this.#open.delete(fd);
        files.close(fd);
      },
      readdir: (path) => files.readdir(path),
      list: (path) => files.list(path),
      read: (fd, into, offset, length, position) => files.read(fd, into, offset, length, position),
      write: (fd, data, position) => files.write(fd, data, position),
      truncate: (fd, size) => files.truncate(fd, size),
      fdatasync: (fd) => files.fdatasync(fd),
      copyFile: (from, to) => files.copyFile(from, to),
      setMetaOpen: (fd, change) => files.setMetaOpen(fd, change),
      xattrs: (path) => files.xattrs(path),
      xattrsOpen: (fd) => files.xattrsOpen(fd),
      mkdir: (path, mode) => files.mkdir(path, mode),
      rmdir: (path) => files.rmdir(path),
      unlink: (path) => files.unlink(path),
      rename: (from, to) => files.rename(from, to),
      renameNew: (from, to) => files.renameNew(from, to),
      link: (existing, path) => files.link(existing, path),
      symlink: (target, path) => files.symlink(target, path),
      readlink: (path) => files.readlink(path),
      syncfs: (path) => files.syncfs(path),
      space: (path) => files.space(path),
      identity: (path) => files.identity(path),
      mark: (path, value) => files.mark(path, value),
      mountPoints: (dir) => files.mountPoints(dir),
      mountId: (dir) => files.mountId(dir),
      renameRegion: (dir) => files.renameRegion(dir),
    };
  }

  /** Something was mounted or unmounted: device numbers may stand for other file systems now. */
  forget(): void {
    this.#tags.clear();
  }

  #tagged(stat: Stat, path: BytePath): Stat {
    let tag = this.#tags.get(stat.dev);
    if (tag === undefined) {
      const told = this.#tagOf(stat.dev, stat.kind === 'dir' ? path : parentPath(path));
      if (told !== null) this.#tags.set(stat.dev, told);
      tag = told ?? 0n;
    }
    return tag === 0n ? stat : { ...stat, ino: stat.ino ^ tag };
  }
}
