import { createHash } from 'node:crypto';
import { limits } from '../../protocol/limits.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { metaKey } from '../journal/keys.ts';
import type { ReplicaIndex } from '../journal/replica-index.ts';
import { sameDirectory, sameFileSystem, type DirectoryId } from '../platform/directory-id.ts';
import { OperatorError } from '../platform/errors.ts';
import { displayPath, errnoCode, joinPath, type BytePath, type Files } from '../platform/files.ts';
import { ifKnown } from './fault.ts';
import type { Kv } from '../platform/kv.ts';
import { absolute, type Root } from './root.ts';
import { TaggedInodes } from './tagged-inodes.ts';

/** With `root-` what is wrong with a root itself, with `mount-` with a file system that is mounted below it. */
export const fileSystemTroubles = ['root-missing', 'root-changed', 'root-unreadable', 'mount-missing', 'mount-changed'] as const;

/** What is wrong with the file systems of a root: with the root's own (`path` is empty), or with one that is mounted below it. */
export interface FileSystemTrouble {
  root: string;
  path: BytePath;
  code: (typeof fileSystemTroubles)[number];
  /** Without the place for those below a root; with it for a root. For people. */
  detail: string;
  remedy: string;
  /** Since when, monotonic milliseconds. */
  sinceMs: number;
}

/** What a look at the file systems found new since the look before it. */
export interface FileSystemNews {
  troubles: readonly FileSystemTrouble[];
  /** Places whose file system came for the first time, came back, or was accepted: all below has to be compared. */
  came: readonly { root: string; path: BytePath }[];
  /** Troubles that are new. */
  began: readonly FileSystemTrouble[];
  /** Some were unmounted and mounted again since the look before: they are among those that came. */
  remounted: boolean;
}

export interface FileSystemsParts {
  files: Files;
  kv: Kv;
  index: ReplicaIndex;
  roots: readonly Root[];
  monotonicMs: () => number;
  /** A mark to put on file systems that are seen for the first time; null where nothing may be written below a root. */
  newMark: (() => string) | null;
  /** Command by which a person accepts what stands at a place. */
  acceptCommand: (place: string) => string;
}

/** The top directory of a file system that belongs to a root. */
interface Top {
  id: DirectoryId;
  /** What a cheap look shows, to see whether it still stands there. */
  dev: bigint;
  ino: bigint;
  /** The mount as the last look saw it; null before the first one. */
  mount: string | null;
}

const markLength = 32;

/**
 * A root is all that lies below its path, on whatever file systems (I19). Which these are is remembered in the store, so that a
 * missing one is not taken for mail that was deleted, and another one in its place not for a store that was changed.
 */
export class FileSystems {
  readonly #p: FileSystemsParts;
  /** The files of the roots, with inode numbers that are each one's own whatever file system it lies on. */
  readonly files: Files;
  readonly #tagged: TaggedInodes;
  /** By root, then by path relative to it; the root itself is the empty path. */
  readonly #known = new Map<string, Map<BytePath, Top>>();
  #troubles: FileSystemTrouble[] = [];
  #isFirst = true;
  /** What a look found that nobody was told of. */
  #owed: FileSystemNews | null = null;
  #arrivals = 0;
  readonly #unmarkable = new Set<BytePath>();

  constructor(parts: FileSystemsParts) {
    this.#p = parts;
    for (const root of parts.roots) this.#known.set(root.name, this.#load(root.name));
    this.#tagged = new TaggedInodes(parts.files, (dev, dir) => this.#tagOf(dev, dir));
    this.files = this.#tagged.files;
  }

  /** Whether it was ever seen what lies at a root. */
  knows(root: string): boolean {
    return this.#tops(root).has('');
  }

  /** Whether no root at all is in its place, as the last look found it. */
  get allAway(): boolean {
    return this.#p.roots.every(({ name }) => this.#troubles.some(({ root, path }) => root === name && path === ''));
  }

  /** What the last look found. */
  get troubles(): readonly FileSystemTrouble[] {
    return this.#troubles;
  }

  /** The trouble of the root itself or of the file system that a path lies on, as the last look found it. */
  covering(root: string, path: BytePath): FileSystemTrouble | null {
    return this.#troubles.find((trouble) => trouble.root === root && isAtOrBelow(path, trouble.path)) ?? null;
  }

  /** Grows whenever a look finds a file system that came, or that was away since the look before. */
  get arrivals(): number {
    return this.#arrivals;
  }

  /** Paths of file systems mounted below a root that were there at the last look, outer ones first. */
  mounted(root: string): BytePath[] {
    return [...this.#tops(root).keys()].filter((path) => path !== '' && !this.covering(root, path)).toSorted();
  }

  /** Whether a directory is a mount point, or leads to one. */
  leadsToMount(root: string, path: BytePath): boolean {
    return this.mounted(root).some((point) => isAtOrBelow(point, path));
  }

  /** Looks at every file system of every root. Costs some calls for each; the files themselves are not looked at. */
  look(): FileSystemNews {
    const before = new Map(this.#troubles.map((trouble) => [keyOf(trouble), trouble]));
    const came: { root: string; path: BytePath }[] = [];
    const troubles: FileSystemTrouble[] = [];
    const remounted: { root: string; path: BytePath }[] = [];
    for (const root of this.#p.roots) {
      const found = this.#lookAt(root);
      for (const trouble of found.troubles) troubles.push({ ...trouble, sinceMs: before.get(keyOf(trouble))?.sinceMs ?? trouble.sinceMs });
      if (!this.#isFirst) came.push(...found.learned.map((path) => ({ root: root.name, path })));
      remounted.push(...found.remounted.map((path) => ({ root: root.name, path })));
    }
    const now = new Set(troubles.map(keyOf));
    for (const [key, { root, path }] of before) {
      const stillThere = troubles.some((trouble) => trouble.root === root && isAtOrBelow(path, trouble.path));
      if (!now.has(key) && !stillThere) came.push({ root, path });
    }
    // Between two looks it was away, and may have been changed where nobody watched; or something was written into its place.
    came.push(...remounted.filter(({ root, path }) => !came.some((place) => place.root === root && place.path === path)));
    if (came.length > 0) this.#arrivals++;
    const began = troubles.filter((trouble) => before.get(keyOf(trouble))?.code !== trouble.code);
    if (this.#isFirst || came.length > 0 || began.length > 0) this.#tagged.forget();
    this.#troubles = troubles;
    this.#isFirst = false;
    const owed = this.#owed;
    this.#owed = null;
    if (owed === null) return { troubles, came, began, remounted: remounted.length > 0 };
    return { troubles, came: [...owed.came, ...came], began: [...owed.began, ...began], remounted: owed.remounted || remounted.length > 0 };
  }

  /**
   * Whether the file systems that a path lies on, and those below it, stand where the last look saw them. Cheap; asked right
   * before something is taken for gone. When they do not, `look` says what is wrong.
   */
  stand(rootName: string, path: BytePath): boolean {
    return this.#stand(rootName, (at) => isAtOrBelow(path, at) || isAtOrBelow(at, path));
  }

  /** The same for what a path itself lies on, whatever becomes of the disks below it. */
  bear(rootName: string, path: BytePath): boolean {
    return this.#stand(rootName, (at) => isAtOrBelow(path, at));
  }

  #stand(rootName: string, concerns: (at: BytePath) => boolean): boolean {
    const root = this.#root(rootName);
    if (!root) return false;
    for (const [at, top] of this.#tops(rootName)) {
      if (!concerns(at)) continue;
      const stat = lstatOrNull(this.#p.files, `${absolute(root, at)}/.`);
      if (stat?.kind !== 'dir' || stat.ino !== top.ino || stat.dev !== top.dev) return false;
      if (mountOrNull(this.#p.files, absolute(root, at)) !== top.mount) return false;
    }
    return !this.#troubles.some((trouble) => trouble.root === rootName && concerns(trouble.path));
  }

  /** Whether a path lies at or below a place inside its root that has a file system of its own, mounted now or not. */
  mayBeHidden(root: string, path: BytePath): boolean {
    for (const top of this.#tops(root).keys()) if (top !== '' && isAtOrBelow(path, top)) return true;
    return false;
  }

  /**
   * A person says that what stands at these places (`root` or `root/path`) is right, or that a file system that is missing
   * does not come back. Returns the places where something was wrong; `look` then finds them in order.
   */
  accept(places: readonly string[]): string[] {
    // Whoever looks next has to hear of this, too.
    this.#owed = this.look();
    const accepted: string[] = [];
    for (const trouble of this.#troubles) {
      const place = placeName(trouble);
      const root = this.#root(trouble.root);
      if (!root || !places.includes(place)) continue;
      const tops = this.#tops(trouble.root);
      if (trouble.code === 'root-missing' || trouble.code === 'root-unreadable') continue;
      if (trouble.code === 'mount-missing') tops.delete(trouble.path);
      else if (!this.#learn(root, trouble.path)) continue;
      this.#save(trouble.root);
      accepted.push(place);
    }
    return accepted;
  }

  /** A root's own file system has no tag, so that its numbers are as the kernel gives them; null when nothing tells. */
  #tagOf(dev: bigint, dir: BytePath): bigint | null {
    for (const tops of this.#known.values()) if (tops.get('')?.dev === dev) return 0n;
    const id = this.#p.files.identity(dir);
    if (id === null) return null;
    if (this.#p.roots.some((root) => this.#isOnRoot(root, id))) return 0n;
    // Longer than a restart of the host, as far as the file system has a name.
    return createHash('sha256')
      .update(id.fs === '' ? id.device : id.fs)
      .digest()
      .readBigUInt64LE(0);
  }

  /** Whether a directory lies on a root's own file system, which the last look may not have seen: an error can hide the root alone. */
  #isOnRoot({ name, path }: Root, id: DirectoryId): boolean {
    const known = this.#tops(name).get('')?.id;
    const now = ifKnown(() => this.#p.files.identity(path));
    if (now === undefined) return known !== undefined && sameFileSystem(known, id);
    return now !== null && (known === undefined || sameDirectory(known, now)) && now.device === id.device;
  }

  #root(name: string): Root | undefined {
    return this.#p.roots.find((root) => root.name === name);
  }

  #tops(root: string): Map<BytePath, Top> {
    return this.#known.get(root) ?? new Map<BytePath, Top>();
  }

  #lookAt(root: Root): { troubles: FileSystemTrouble[]; learned: BytePath[]; remounted: BytePath[] } {
    const tops = this.#tops(root.name);
    const isNew = tops.size === 0;
    const before = new Map([...tops].map(([path, { mount }]) => [path, mount]));
    const own = this.#lookAtRoot(root, tops.get('')?.id);
    if (own) return { troubles: [own], learned: [], remounted: [] };
    const learned: BytePath[] = [];
    if (isNew && this.#learn(root, '')) learned.push('');
    const points = ifKnown(() => this.#mountPoints(root));
    if (!points) return { troubles: [this.#mountsUnknown(root)], learned, remounted: [] };
    const troubles: FileSystemTrouble[] = [];
    for (const path of [...tops.keys()].toSorted()) {
      if (path === '' || troubles.some((trouble) => isAtOrBelow(path, trouble.path))) continue;
      const trouble = this.#lookAtMount(root, path, points.includes(path));
      if (trouble) troubles.push(trouble);
    }
    for (const path of points) {
      if (tops.has(path) || troubles.some((trouble) => isAtOrBelow(path, trouble.path))) continue;
      if (!isNew && this.#holdsFiles(root.name, path))
        troubles.push(
          this.#mountTrouble(root.name, path, 'mount-changed', 'a file system was mounted over a directory that was replicated'),
        );
      else if (this.#learn(root, path)) learned.push(path);
    }
    if (learned.length > 0) this.#save(root.name);
    const remounted = [...tops].flatMap(([path, { mount }]) => {
      const known = before.get(path) ?? null;
      return known !== null && mount !== null && known !== mount ? [path] : [];
    });
    return { troubles, learned, remounted };
  }

  #lookAtRoot({ name, path }: Root, known: DirectoryId | undefined): FileSystemTrouble | null {
    const where = displayPath(path);
    const trouble = (code: FileSystemTrouble['code'], detail: string, remedy: string) => ({
      root: name,
      path: '',
      code,
      detail,
      remedy,
      sinceMs: this.#p.monotonicMs(),
    });
    let id: DirectoryId | null;
    try {
      id = this.#p.files.identity(path);
      if (known && id && sameDirectory(known, id)) {
        this.#stands(name, '', id, `${path}/.`);
        return null;
      }
      if (id && known)
        return trouble(
          'root-changed',
          `${where} is another directory than the one that was replicated as root ${name}${isEmpty(this.#p.files, path) ? ', and it is empty' : ''}`,
          `mount the right file system at ${where}; replication then goes on by itself. If the store was put there anew on purpose, ${this.#p.acceptCommand(name)}`,
        );
    } catch (error) {
      const code = errnoCode(error);
      if (code === undefined) throw error;
      return trouble('root-unreadable', `root ${name} at ${where} cannot be read (${code})`, `let the agent read ${where}`);
    }
    if (id) return null;
    if (lstatOrNull(this.#p.files, path)?.kind === 'symlink')
      return trouble(
        'root-changed',
        `a symbolic link stands where root ${name} was: ${where}`,
        'if it was put there on purpose, restart the agent: links that lead to a root are followed at its start alone',
      );
    return trouble('root-missing', `root ${name} is not there: ${where}`, `mount or restore ${where}; replication goes on by itself`);
  }

  /** What is below the root may be hidden, or bare: nothing can be said of it. */
  #mountsUnknown({ name, path }: Root): FileSystemTrouble {
    const where = displayPath(path);
    const detail = `nobody knows what is mounted below ${where}: the system does not tell`;
    const remedy = 'look at the open files and the memory of this host; replication goes on by itself';
    return { root: name, path: '', code: 'root-unreadable', detail, remedy, sinceMs: this.#p.monotonicMs() };
  }

  #lookAtMount(root: Root, path: BytePath, isMounted: boolean): FileSystemTrouble | null {
    const known = this.#tops(root.name).get(path);
    try {
      const where = absolute(root, path);
      const id = this.#p.files.identity(where);
      if (id && known && sameDirectory(known.id, id)) {
        this.#stands(root.name, path, id, `${where}/.`);
        return null;
      }
    } catch (error) {
      const code = errnoCode(error);
      if (code === undefined) throw error;
      return this.#mountTrouble(root.name, path, 'mount-missing', `the file system that is mounted here cannot be read (${code})`);
    }
    return isMounted
      ? this.#mountTrouble(root.name, path, 'mount-changed', 'another file system is mounted here than the one that was replicated')
      : this.#mountTrouble(root.name, path, 'mount-missing', 'the file system that belongs here is not mounted');
  }

  #mountTrouble(root: string, path: BytePath, code: 'mount-missing' | 'mount-changed', detail: string): FileSystemTrouble {
    const place = placeName({ root, path });
    const remedy =
      code === 'mount-missing'
        ? `mount it; what is below then goes on by itself. If it does not come back, ${this.#p.acceptCommand(place)}`
        : `mount the right one. If this one is right, ${this.#p.acceptCommand(place)}`;
    return { root, path, code, detail, remedy, sinceMs: this.#p.monotonicMs() };
  }

  /** Keeps up with device numbers, which may be others after a restart of the host. */
  #stands(root: string, path: BytePath, id: DirectoryId, at: BytePath): void {
    const top = this.#tops(root).get(path);
    const stat = lstatOrNull(this.#p.files, at);
    if (!top || !stat) return;
    const seen = { dev: stat.dev, ino: stat.ino, mount: mountOrNull(this.#p.files, at) ?? top.mount };
    if (top.dev !== stat.dev) this.#tagged.forget();
    if (top.id.mark === null && this.#mark(at)) {
      this.#tops(root).set(path, { id: { ...id, mark: this.#p.files.identity(at)?.mark ?? null }, ...seen });
      return this.#save(root);
    }
    const isSame = top.id.device === id.device && top.id.fs === id.fs && top.id.btimeNs === id.btimeNs;
    this.#tops(root).set(path, { id: isSame ? top.id : { ...id, mark: top.id.mark }, ...seen });
    if (!isSame) this.#save(root);
  }

  /** Takes what stands at a place for what belongs there. False when nothing does. */
  #learn(root: Root, path: BytePath): boolean {
    const { files, newMark } = this.#p;
    const where = absolute(root, path);
    try {
      let id = files.identity(where);
      if (id && id.mark === null && this.#mark(where)) id = files.identity(where);
      const stat = id && files.lstat(`${where}/.`);
      if (!id || !stat) return false;
      // A primary writes no mark, and one that it finds belongs to an earlier life of the node.
      const seen = { dev: stat.dev, ino: stat.ino, mount: mountOrNull(files, where) };
      this.#tops(root.name).set(path, { id: newMark ? id : { ...id, mark: null }, ...seen });
      this.#save(root.name);
      return true;
    } catch (error) {
      if (errnoCode(error) === undefined) throw error;
      return false;
    }
  }

  /** A file system that refuses a mark once is not asked again while the process lives. */
  #mark(where: BytePath): boolean {
    const { files, newMark } = this.#p;
    if (!newMark || this.#unmarkable.has(where)) return false;
    try {
      if (files.mark(where, newMark().slice(0, markLength))) return true;
    } catch (error) {
      if (errnoCode(error) === undefined) throw error;
    }
    this.#unmarkable.add(where);
    return false;
  }

  /** Places that are never replicated may come and go. */
  #mountPoints(root: Root): BytePath[] {
    return this.#p.files.mountPoints(root.path).filter((path) => {
      for (let end = path.indexOf('/'); end >= 0; end = path.indexOf('/', end + 1))
        if (root.format.classify(path.slice(0, end), 'dir').ignored) return false;
      return !root.format.classify(path, 'dir').ignored;
    });
  }

  #holdsFiles(root: string, path: BytePath): boolean {
    const { index } = this.#p;
    const below = (dir: number): boolean => {
      for (const [, entry] of index.entries(dir)) if (entry.kind !== 'dir' || below(entry.dir)) return true;
      return false;
    };
    const dir = index.dirAt(root, path);
    return dir !== null && below(dir);
  }

  #load(root: string): Map<BytePath, Top> {
    const stored = this.#p.kv.get(keyOfRoot(root));
    const top = (id: DirectoryId): Top => ({ id, dev: -1n, ino: -1n, mount: null });
    if (stored) return new Map((JSON.parse(stored.toString()) as [BytePath, DirectoryId][]).map(([path, id]) => [path, top(id)]));
    return new Map(this.#ofOldRelease(root).map((id) => ['', top(id)]));
  }

  /** Release 0.1.0 kept inode number and birth time of the root alone. */
  #ofOldRelease(root: string): DirectoryId[] {
    const [ino, btimeNs] =
      this.#p.kv
        .get(metaKey(`root-ino:${root}`))
        ?.toString()
        .split(':') ?? [];
    const path = this.#root(root)?.path;
    if (ino === undefined || btimeNs === undefined || path === undefined) return [];
    try {
      const now = this.#p.files.identity(path);
      return [{ type: now?.type ?? '', fs: '', device: now?.device ?? '', ino, btimeNs, mark: null }];
    } catch (error) {
      if (errnoCode(error) === undefined) throw error;
      return [{ type: '', fs: '', device: '', ino, btimeNs, mark: null }];
    }
  }

  #save(root: string): void {
    const list = [...this.#tops(root)].map(([path, { id }]) => [path, id]);
    this.#p.kv.commit([[keyOfRoot(root), Buffer.from(JSON.stringify(list))]]);
  }
}

/** What the other node is told: in full as far as it fits, and else that the root as a whole is not to be sent. */
export function toldOf(troubles: readonly FileSystemTrouble[]): MessageOf<'heartbeat'>['fileSystems'] {
  const whole = troubles.length > limits.fileSystemsToldMax;
  const told = whole ? troubles.filter((trouble, i) => troubles.findIndex(({ root }) => root === trouble.root) === i) : troubles;
  return told
    .slice(0, limits.fileSystemsToldMax)
    .map(({ root, path, code, detail }) => [root, whole ? '' : path, code, detail.slice(0, 1000)]);
}

/** A root is not in its place, or another one is there: what was here before is waited for. */
export class RootAway extends OperatorError {
  constructor({ code, detail, remedy }: { code: string; detail: string; remedy: string }) {
    super(code, detail, remedy);
  }
}

/** What is wrong with a root itself; null when all are in their places. */
export function rootTrouble(fileSystems: FileSystems): FileSystemTrouble | null {
  return fileSystems.troubles.find(({ path }) => path === '') ?? null;
}

/** A place as people name it: the root, or a path below it. */
export function placeName({ root, path }: { root: string; path: BytePath }): string {
  return displayPath(joinPath(root, path));
}

function keyOfRoot(root: string): Buffer {
  return metaKey(`file-systems:${root}`);
}

function keyOf({ root, path }: FileSystemTrouble): string {
  return `${root}\0${path}`;
}

export function isAtOrBelow(path: BytePath, place: BytePath): boolean {
  return place === '' || path === place || path.startsWith(`${place}/`);
}

function isEmpty(files: Files, path: BytePath): boolean {
  return (files.readdir(`${path}/.`) ?? []).length === 0;
}

function mountOrNull(files: Files, path: BytePath): string | null {
  try {
    return files.mountId(path);
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return null;
  }
}

function lstatOrNull(files: Files, path: BytePath) {
  try {
    return files.lstat(path);
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return null;
  }
}
