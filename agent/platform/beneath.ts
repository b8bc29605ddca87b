import fs from 'node:fs';
import { errnoCode, parentPath, baseName, type BytePath } from './files.ts';
import * as native from './native.ts';

const { O_RDONLY, O_NOFOLLOW, O_DIRECTORY } = fs.constants;
/** Not in Node's constants, because libuv sets it by itself. */
const O_CLOEXEC = 0o2000000;
const O_PATH = 0o10000000;
/** linux/openat2.h */
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_NO_SYMLINKS = 0x04;
const noLinks = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
/** How often a rename elsewhere may disturb the kernel's walk (openat2(2), EAGAIN). */
const triesMax = 100;

/** Within one piece of work many calls follow each other in one or two directories. */
const heldMax = 16;

/** What a call of the system does its work on: a name in an open directory. */
type Act<T> = (dir: number, name: native.PathArg) => T;

/**
 * Opens the directory that holds a path, so that the call itself goes by descriptor and name (openat(2) and its kin): what
 * happens to the path meanwhile leads it nowhere else.
 *
 * Below the places that are told, and at them, no symbolic link is followed: who owns a directory there could put one in its
 * place at any moment (I11). The links on the way to a place are the administrator's, and are resolved once. A path elsewhere
 * is the administrator's as a whole and is used as it is.
 *
 * Directories are held until the code that runs has ended, which is before anything else of this process runs: no disk is
 * kept busy while nothing is done.
 */
export class Beneath {
  readonly #placesNow: () => readonly BytePath[];
  readonly #open: OpenWithoutLinks;
  readonly #places = new Map<BytePath, BytePath>();
  /** Descriptors of directories by their paths, in the order of their last use. */
  readonly #held = new Map<BytePath, number>();

  constructor(places: () => readonly BytePath[], open: OpenWithoutLinks = openWithoutLinks) {
    this.#placesNow = places;
    this.#open = open;
  }

  /**
   * Calls `act` with the directory of a path and its last component.
   *
   * @throws ELOOP when a symbolic link is on the way; ENOENT, ENOTDIR and others of openat2(2).
   */
  use<T>(path: BytePath, operation: string, act: Act<T>): T {
    const real = this.#realOf(path, operation);
    if (real === null) return act(native.AT_FDCWD, native.cPath(path));
    return act(this.#hold(parentPath(real) || '/', operation, path), native.cPath(baseName(real) || '.'));
  }

  /**
   * Opens a directory itself for reading; the caller closes.
   *
   * @throws ELOOP, ENOENT, ENOTDIR and others.
   */
  openDirectory(path: BytePath, operation: string): number {
    const flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    const real = this.#realOf(path, operation);
    if (real !== null) return naming(path, operation, () => this.#open(real, flags));
    const fd = native.open(native.cPath(path), flags, 0);
    if (fd < 0) throw native.errnoError(native.lastErrno(), operation, path);
    return fd;
  }

  /** Something was renamed or removed: a directory that is held is found under this path no more. */
  moved(path: BytePath): void {
    if (this.#held.size === 0) return;
    const real = this.#realOf(path, 'rename');
    if (real === null) return;
    for (const [held, fd] of this.#held) {
      if (held !== real && !held.startsWith(`${real}/`)) continue;
      this.#held.delete(held);
      fs.closeSync(fd);
    }
  }

  /** A path at or below a place as it is without links; null for a path elsewhere. */
  #realOf(path: BytePath, operation: string): BytePath | null {
    for (const place of this.#placesNow()) {
      if (!path.startsWith(place) || (path.length > place.length && path[place.length] !== '/')) continue;
      if (hasDotDot(path)) {
        // Only where the text of a link would lead is asked so.
        if (operation === 'lstat') return null;
        throw native.errnoError('EXDEV', operation, path);
      }
      return this.#realPlace(place, path.length > place.length ? operation : null) + path.slice(place.length);
    }
    return null;
  }

  /** `below` is what is to be done below the place, which must be there for it; null for the place itself. */
  #realPlace(place: BytePath, below: string | null): BytePath {
    const known = this.#places.get(place);
    if (known !== undefined) return known;
    const real = realPath(place);
    if (real !== null) {
      this.#places.set(place, real);
      return real;
    }
    if (below !== null) throw native.errnoError('ENOENT', below, place);
    const parent = realPath(parentPath(place) || '/');
    return parent === null ? place : `${parent === '/' ? '' : parent}/${baseName(place)}`;
  }

  #hold(dir: BytePath, operation: string, path: BytePath): number {
    let fd = this.#held.get(dir);
    if (fd === undefined) {
      fd = naming(path, operation, () => this.#open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC));
      if (this.#held.size === 0) queueMicrotask(() => this.#letGo());
      const [oldest] = this.#held;
      if (oldest && this.#held.size >= heldMax) {
        this.#held.delete(oldest[0]);
        fs.closeSync(oldest[1]);
      }
    } else this.#held.delete(dir);
    this.#held.set(dir, fd);
    return fd;
  }

  #letGo(): void {
    for (const fd of this.#held.values()) fs.closeSync(fd);
    this.#held.clear();
  }
}

/** An error of opening the way names the path that was asked for. */
function naming<T>(path: BytePath, operation: string, open: () => T): T {
  try {
    return open();
  } catch (error) {
    throw native.errnoError(errnoCode(error) ?? String(error), operation, path);
  }
}

function hasDotDot(path: BytePath): boolean {
  return path.includes('/..') && path.split('/').includes('..');
}

/** Null when nothing is there. */
function realPath(path: BytePath): BytePath | null {
  try {
    return fs.realpathSync.native(Buffer.from(path, 'latin1'), 'latin1');
  } catch (error) {
    const code = errnoCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  }
}

/**
 * Opens an absolute path of which no component may be a symbolic link.
 *
 * @throws ELOOP when one is.
 */
export type OpenWithoutLinks = (path: BytePath, flags: number) => number;

/** Kernels before 5.6 have no openat2, and container engines of that time refuse it. */
let hasOpenat2: boolean | null = null;

const openWithoutLinks: OpenWithoutLinks = (path, flags) => {
  hasOpenat2 ??= isOpenat2There();
  return hasOpenat2 ? openAtOnce(path, flags) : openByWalking(path, flags);
};

function isOpenat2There(): boolean {
  const fd = native.openat2(native.AT_FDCWD, '/', O_PATH | O_DIRECTORY | O_CLOEXEC, noLinks);
  if (fd >= 0) fs.closeSync(fd);
  return fd >= 0;
}

/** The kernel looks that no link is on the way. */
export const openAtOnce: OpenWithoutLinks = (path, flags) => {
  const cPath = native.cPath(path);
  for (let tries = 1; ; tries++) {
    const fd = native.openat2(native.AT_FDCWD, cPath, flags, noLinks);
    if (fd >= 0) return fd;
    const code = native.lastErrno();
    // A rename elsewhere may disturb the kernel's walk.
    if (code !== 'EAGAIN' || tries >= triesMax) throw native.errnoError(code, 'openat2', path);
  }
};

/** The same without openat2: each component is opened in the directory before it, and must be no link. */
export const openByWalking: OpenWithoutLinks = (path, flags) => {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  const onTheWay = O_PATH | O_DIRECTORY | O_CLOEXEC;
  let dir = native.open('/', parts.length === 0 ? flags : onTheWay, 0);
  if (dir < 0) throw native.errnoError(native.lastErrno(), 'open', '/');
  for (const [i, part] of parts.entries()) {
    const above = dir;
    try {
      dir = openNext(above, part, i === parts.length - 1 ? flags : onTheWay);
    } finally {
      fs.closeSync(above);
    }
  }
  return dir;
};

function openNext(dir: number, name: BytePath, flags: number): number {
  const cName = native.cPath(name);
  const fd = native.openat(dir, cName, flags | O_NOFOLLOW, 0);
  if (fd >= 0) return fd;
  const code = native.lastErrno();
  // Asked for a directory the kernel only says that a link is none.
  const isLink = code === 'ENOTDIR' && native.readlinkat(dir, cName, Buffer.alloc(1)) >= 0;
  throw native.errnoError(isLink ? 'ELOOP' : code, 'open', name);
}
