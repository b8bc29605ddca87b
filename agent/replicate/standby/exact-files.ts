import { baseName, parentPath, type BytePath, type Files } from '../../platform/files.ts';
import { NameTaken } from '../one-name.ts';

/** So many names are remembered beside those of the directory that was read last, for this long: somebody else may change them. */
const namesMax = 200_000;
const keptMs = 1000;

interface Listed {
  names: Set<BytePath>;
  /** As what it counts: its names when it was read, and the directory itself. */
  counts: number;
  /** Monotonic milliseconds. */
  readMs: number;
}

/**
 * The files as they are below roots whose file system takes several names for one (`folds`): there, too, only the very name leads
 * to a file. What another name leads to is missing under this one for whoever looks, reads or removes, and keeps whoever wants to
 * make something there from it. Elsewhere, and outside of the roots, nothing is asked besides.
 */
export class ExactFiles {
  readonly files: Files;
  readonly #raw: Files;
  readonly #rootOf: (path: BytePath) => BytePath | null;
  readonly #nowMs: () => number;
  readonly #listed = new Map<BytePath, Listed>();
  #names = 0;

  /** `rootOf` gives the root (absolute) at or above a path when names may fall together there. */
  constructor(raw: Files, rootOf: (path: BytePath) => BytePath | null, nowMs: () => number) {
    this.#raw = raw;
    this.#rootOf = rootOf;
    this.#nowMs = nowMs;
    const here = (path: BytePath) => this.isNamed(path);
    this.files = {
      lstat: (path) => {
        const stat = raw.lstat(path);
        return stat && here(path) ? stat : null;
      },
      readdir: (path) => (here(path) ? raw.readdir(path) : null),
      list: (path) => (here(path) ? raw.list(path) : null),
      readFile: (path, limit) => (here(path) ? raw.readFile(path, limit) : null),
      openRead: (path) => (here(path) ? raw.openRead(path) : null),
      openSnapshot: (path) => (here(path) ? raw.openSnapshot(path) : null),
      hold: (path) => (here(path) ? raw.hold(path) : null),
      create: (path) => raw.create(this.#free(path)),
      fstat: (fd) => raw.fstat(fd),
      close: (fd) => raw.close(fd),
      read: (fd, into, offset, length, position) => raw.read(fd, into, offset, length, position),
      write: (fd, data, position) => raw.write(fd, data, position),
      truncate: (fd, size) => raw.truncate(fd, size),
      fdatasync: (fd) => raw.fdatasync(fd),
      copyFile: (from, to) => raw.copyFile(this.#there('copyFile', from), this.#free(to)),
      setMetaOpen: (fd, change) => raw.setMetaOpen(fd, change),
      xattrs: (path) => raw.xattrs(this.#there('xattrs', path)),
      xattrsOpen: (fd) => raw.xattrsOpen(fd),
      mkdir: (path, mode) => raw.mkdir(this.#free(path), mode),
      rmdir: (path) => {
        raw.rmdir(this.#there('rmdir', path));
        this.#gone(path);
      },
      unlink: (path) => {
        raw.unlink(this.#there('unlink', path));
        this.#gone(path);
      },
      rename: (from, to) => {
        raw.rename(this.#there('rename', from), this.#free(to));
        this.#moved(from, to);
      },
      renameNew: (from, to) => {
        if (!here(from)) return false;
        if (!raw.renameNew(from, to)) {
          this.#free(to);
          return false;
        }
        this.#moved(from, to);
        return true;
      },
      link: (existing, path) => raw.link(this.#there('link', existing), this.#free(path)),
      symlink: (target, path) => raw.symlink(target, this.#free(path)),
      readlink: (path) => raw.readlink(this.#there('readlink', path)),
      syncfs: (path) => raw.syncfs(path),
      space: (path) => raw.space(path),
      identity: (path) => raw.identity(path),
      mark: (path, value) => raw.mark(path, value),
      mountPoints: (dir) => raw.mountPoints(dir),
      mountId: (dir) => raw.mountId(dir),
      renameRegion: (dir) => raw.renameRegion(dir),
    };
  }

  /**
   * Whether a path (absolute) and all above it below the root are names as they are written. What is not there at all may be called so.
   *
   * @throws an errno error when a directory cannot be read.
   */
  isNamed(path: BytePath): boolean {
    const root = this.#rootOf(path);
    return root === null || this.#isNamedBelow(root, path);
  }

  #isNamedBelow(root: BytePath, path: BytePath): boolean {
    if (path.length <= root.length || path.endsWith('/.')) return true;
    // From the top down: a directory by another name is not read.
    return this.#isNamedBelow(root, parentPath(path)) && this.#lists(parentPath(path), baseName(path));
  }

  #lists(dir: BytePath, name: BytePath): boolean {
    const now = this.#nowMs();
    const known = this.#listed.get(dir);
    if (known?.names.has(name) && now - known.readMs < keptMs) return true;
    const names = new Set((this.#raw.readdir(dir) ?? []).map((entry) => entry.name));
    const counts = names.size + 1;
    this.#names += counts - (known?.counts ?? 0);
    if (this.#names > namesMax) {
      this.#listed.clear();
      this.#names = counts;
    }
    this.#listed.set(dir, { names, counts, readMs: now });
    return names.has(name);
  }

  /** @throws ENOENT when only another name leads there. */
  #there(operation: string, path: BytePath): BytePath {
    if (!this.isNamed(path)) throw Object.assign(new Error(`ENOENT: ${operation}`), { code: 'ENOENT', syscall: operation });
    return path;
  }

  /** @throws NameTaken when something else would be found under a name that is to be made. */
  #free(path: BytePath): BytePath {
    if (this.#rootOf(path) !== null && this.#raw.lstat(path) !== null && !this.isNamed(path)) throw new NameTaken(path);
    return path;
  }

  #gone(path: BytePath): void {
    this.#listed.get(parentPath(path))?.names.delete(baseName(path));
    this.#forget(path);
  }

  #moved(from: BytePath, to: BytePath): void {
    this.#gone(from);
    this.#listed.get(parentPath(to))?.names.add(baseName(to));
    this.#forget(to);
  }

  /** What is known of a directory, which is known of each one above what is known of one below it. */
  #forget(dir: BytePath): void {
    if (!this.#listed.has(dir)) return;
    for (const [each, { counts }] of [...this.#listed]) {
      if (each !== dir && !each.startsWith(`${dir}/`)) continue;
      this.#listed.delete(each);
      this.#names -= counts;
    }
  }
}
