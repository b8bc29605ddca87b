import { baseName, errnoCode, joinPath, parentPath, type BytePath } from '../../agent/platform/files.ts';
import { folds } from './folds.ts';
import { Plague } from './plague.ts';
import type { FsState } from './fs-state.ts';
import type { HostClock, SimClock } from './sim-clock.ts';
import type { SimFiles } from './sim-files.ts';
import { SimMounts } from './sim-mounts.ts';
import type { SimHost } from './sim-node.ts';
import type { SimRandom } from './sim-random.ts';
import type { World } from './world-options.ts';

/** An owner and an attribute that the standby refuses; see `refusesOf`. */
export const oddUid = 4_000_001;
export const oddXattr = 'user.refused';
export const hotPath = '/plain/hot';
const pathsStruckMax = 400;

type Side = 'a' | 'b';

interface Away {
  point: BytePath;
  /** What the standby had below the primary's mount point when it went, and the primary's disk has still. */
  kept: BytePath[];
  /** The standby's disk of that moment: a power cut makes another one of it. */
  copy: FsState;
}

/** The troubles of a world: disks that come and go, calls that fail, a state disk that is full. */
export class WorldTroubles {
  readonly #world: World;
  readonly #clock: SimClock;
  readonly #random: SimRandom;
  readonly #hosts: { a: SimHost; b: SimHost };
  readonly #look: (side: Side) => SimFiles;
  readonly #violate: (what: string) => void;
  /** The standby has acknowledged something: before, a power cut may take back that it ever saw its disks. */
  standbyKnowsDisks = false;
  readonly #away: { a: Away | null; b: Away | null } = { a: null, b: null };

  constructor(parts: {
    world: World;
    clock: SimClock;
    random: SimRandom;
    hosts: { a: SimHost; b: SimHost };
    look: (side: Side) => SimFiles;
    violate: (what: string) => void;
  }) {
    this.#world = parts.world;
    this.#clock = parts.clock;
    this.#random = parts.random;
    this.#hosts = parts.hosts;
    this.#look = parts.look;
    this.#violate = parts.violate;
    if (parts.world.errno) for (const host of [parts.hosts.a, parts.hosts.b]) host.disk.plague = new Plague(this.#random.fork(host.name));
  }

  /** Makes and mounts the disks; the roots' directories are there. */
  setUp(): void {
    const { a, b } = this.#world.mounts;
    for (const side of ['a', 'b'] as const) {
      // A disk of the standby below its root is one on the primary too: else nobody could keep it from being moved there.
      const point = side === 'a' ? (a ?? (b === '/mail' || b === '/plain' ? null : b)) : b;
      if (point === null) continue;
      const files = this.#look(side);
      if (!files.lstat(SimMounts.home)) files.mkdir(SimMounts.home, 0o755);
      if (!files.lstat(point)) files.mkdir(point, 0o755);
      files.mkdir(SimMounts.top('disk'), 0o755);
      this.#hosts[side].disk.mounts.mount(point, 'disk');
      files.syncNow();
    }
  }

  kinds(): string[] {
    const { errno, mounts, stateFull, hot, refusals, folding } = this.#world;
    return [
      ...(errno ? ['errno-a', 'errno-a', 'errno-b', 'errno-b'] : []),
      ...(mounts.a === null ? [] : ['umount-a', 'umount-a', 'umount-a-at']),
      ...(mounts.b === null ? [] : ['umount-b', 'umount-b', 'umount-b-at']),
      ...(stateFull ? ['state-full-a', 'state-full-b'] : []),
      ...(hot || refusals || folding ? ['letter'] : []),
    ];
  }

  /** What it was, for a log; null when it is none of these kinds. */
  suffer(kind: string): string | null {
    const side: Side = kind.endsWith('-a') ? 'a' : 'b';
    switch (kind) {
      case 'errno-a':
      case 'errno-b':
        return this.#strike(side);
      case 'umount-a':
      case 'umount-b':
        this.#umount(side);
        return kind;
      case 'state-full-a':
      case 'state-full-b': {
        const { store } = this.#hosts[side];
        store.full = true;
        this.#clock.after(this.#random.between(10, 2000), () => {
          store.full = false;
        });
        return kind;
      }
      default:
        return null;
    }
  }

  /** Nothing is wrong with this host's files and store as a whole: what is, is wrong with single paths. */
  isSound(side: Side): boolean {
    const { disk, store } = this.#hosts[side];
    return !this.isAway(side) && !store.full && disk.capacityBytes === Infinity && (disk.plague?.isOver(this.#clock.now) ?? true);
  }

  /** A disk of this host is not where it belongs. */
  isAway(side: Side): boolean {
    return this.#away[side] !== null;
  }

  /** A mounted disk, for a look at what a `wait` has confirmed. */
  bringBack(side: Side): void {
    const away = this.#away[side];
    const { mounts } = this.#hosts[side].disk;
    if (!away) return;
    if (side === 'b') this.#checkBelow(away.point);
    else this.#checkKept(away);
    // Whoever works there may have moved the empty directory away.
    const files = this.#look(side);
    const there = files.lstat(away.point);
    if (there && there.kind !== 'dir') files.unlink(away.point);
    if (there?.kind !== 'dir') files.mkdir(away.point, 0o755);
    mounts.mount(away.point, 'disk');
    this.#away[side] = null;
  }

  /** Everything is as it should be from here on, except for what can never be. */
  end(): void {
    for (const side of ['a', 'b'] as const) {
      this.#hosts[side].disk.plague?.end();
      this.#hosts[side].store.full = false;
      this.bringBack(side);
    }
  }

  /** Whether calls of this host's agent have been made to fail, so that an error that came up may be one of those. */
  hasPlague(side: Side): boolean {
    return (this.#hosts[side].disk.plague?.met ?? 0) > 0;
  }

  /**
   * Whether a path may be in doubt or differ for ever: what the standby cannot have, but not what lies below it, and what
   * falls together with another name there, with all below it.
   */
  mayDiffer(root: BytePath, path: BytePath): boolean {
    const { refusals } = this.#world;
    const left = this.#look('a');
    const full = joinPath(root, path);
    const stat = left.lstat(full);
    if (refusals && stat && (stat.uid === oddUid || (stat.kind !== 'symlink' && left.xattrs(full)?.has(oddXattr)))) return true;
    return this.isTwinAway(root, path);
  }

  /** Whether the standby has another name of the primary that falls together with this one, or with one above it. */
  isTwinAway(root: BytePath, path: BytePath): boolean {
    const { folding } = this.#world;
    if (folding === null) return false;
    const { fold } = folds[folding];
    const namesOf = (side: Side, dir: BytePath) => (this.#look(side).readdir(joinPath(root, dir)) ?? []).map(({ name }) => name);
    for (let at = path; at !== ''; at = parentPath(at)) {
      const name = baseName(at);
      const there = namesOf('b', parentPath(at));
      const twins = namesOf('a', parentPath(at)).filter((each) => each !== name && fold(each) === fold(name));
      if (!there.includes(name) && twins.some((each) => there.includes(each))) return true;
    }
    return false;
  }

  /** The topmost ones of all of these. */
  twinsAway(root: BytePath): BytePath[] {
    if (this.#world.folding === null) return [];
    const away: BytePath[] = [];
    const walk = (dir: BytePath): void => {
      for (const { name, kind } of this.#look('a').readdir(joinPath(root, dir)) ?? []) {
        const path = joinPath(dir, name);
        if (this.isTwinAway(root, path)) away.push(path);
        else if (kind === 'dir') walk(path);
      }
    };
    walk('');
    return away;
  }

  #strike(side: Side): string {
    const { disk, roots } = this.#hosts[side];
    const files = this.#look(side);
    const paths: BytePath[] = [];
    const walk = (dir: BytePath): void => {
      for (const { name, kind } of files.readdir(dir) ?? []) {
        if (paths.length >= pathsStruckMax) return;
        paths.push(`${dir}/${name}`);
        if (kind === 'dir') walk(`${dir}/${name}`);
      }
    };
    for (const { path } of roots) walk(path);
    return (
      disk.plague?.strike(
        paths,
        roots.map(({ path }) => path),
        this.#clock.now,
      ) ?? ''
    );
  }

  #umount(side: Side): void {
    const point = this.#world.mounts[side];
    if (point === null || this.#away[side] || (side === 'b' && !this.standbyKnowsDisks)) return;
    const kept: BytePath[] = [];
    if (side === 'a') {
      const [left, right] = [this.#look('a'), this.#look('b')];
      const walk = (dir: BytePath): void => {
        for (const { name, kind } of right.readdir(dir) ?? []) {
          const path = `${dir}/${name}`;
          if (kind === 'dir') walk(path);
          else if (left.lstat(path)?.kind === kind) kept.push(path);
        }
      };
      walk(point);
    }
    this.#hosts[side].disk.mounts.umount(point);
    this.#away[side] = { point, kept, copy: this.#hosts.b.disk.state };
    this.#clock.after(this.#random.between(20, 3000), () => this.bringBack(side));
  }

  /** Nothing is taken away on the standby because a disk of the primary is missing (I19). */
  #checkKept({ point, kept, copy }: Away): void {
    // With the standby's own disk away nothing can be said, nor when its power was cut: what was put into place is put there again later.
    if (this.#away.b || this.#hosts.b.disk.state !== copy) return;
    const files = this.#look('b');
    const gone = kept.filter((path) => files.lstat(path) === null);
    if (gone.length > 0)
      this.#violate(`I19: ${gone.length} of ${kept.length} files below ${point} were removed while it was not mounted: ${gone[0]}`);
  }

  /** Nothing is put where a disk of the standby is missing (I19). */
  #checkBelow(point: BytePath): void {
    const there = this.#look('b').readdir(point) ?? [];
    if (there.length > 0)
      this.#violate(`I19: ${there.length} names were made below ${point} while nothing was mounted there: ${there[0]?.name}`);
  }
}

/** Works on what no mail server would: owners and attributes that are refused over there, names that differ in case alone. */
export function oddWork(files: SimFiles, random: SimRandom, world: World, paths: readonly BytePath[]): void {
  const path = paths.length > 0 ? random.pick(paths) : null;
  if (path === null) return;
  try {
    if (world.refusals && random.chance(0.5)) {
      if (random.chance(0.5)) files.setMeta(path, { uid: random.chance(0.5) ? oddUid : 5000 });
      else files.setMeta(path, { xattrs: random.chance(0.5) ? new Map([[oddXattr, random.bytes(4)]]) : new Map() });
    } else if (world.folding) oddNames(files, random, folds[world.folding].twin, path);
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
  }
}

/** Makes what falls together with another name, takes it away, and gives things the other name. */
function oddNames(files: SimFiles, random: SimRandom, twinOf: (name: string) => string, path: BytePath): void {
  const twin = joinPath(parentPath(path), twinOf(baseName(path)));
  if (twin === path) return files.writeFile(joinPath(parentPath(path), `caf\xc3\xa9 ${random.int(5)}`), random.bytes(100));
  const kind = files.lstat(twin)?.kind;
  switch (random.int(8)) {
    case 0:
    case 1:
      if (kind !== 'dir') files.writeFile(twin, random.bytes(random.int(500)));
      return;
    case 2:
      if (files.lstat(path)?.kind === 'file') files.link(path, twin);
      return;
    case 3:
    case 4:
      if (kind === 'file') files.unlink(twin);
      return;
    case 5:
      files.mkdir(twin, 0o755);
      return files.writeFile(joinPath(twin, 'inside'), random.bytes(random.int(500)));
    default:
      if (kind === undefined || random.chance(0.2)) files.rename(path, twin);
  }
}

/** A file that is written in place all the time, in parts. */
export class HotFile {
  readonly #files: SimFiles;
  readonly #clock: HostClock;
  readonly #random: SimRandom;
  #stopping = false;

  constructor(files: SimFiles, clock: HostClock, random: SimRandom) {
    this.#files = files;
    this.#clock = clock;
    this.#random = random;
    files.writeFile(hotPath, random.bytes(random.pick([20_000, 200_000, 600_000])));
    this.#next();
  }

  stop(): void {
    this.#stopping = true;
  }

  #next(): void {
    this.#clock.after(this.#random.between(4, 16), () => {
      if (this.#stopping) return;
      const { size } = this.#files.lstat(hotPath) ?? { size: 0 };
      if (size > 8) this.#files.overwrite(hotPath, this.#random.bytes(8), this.#random.int(size - 8));
      this.#next();
    });
  }
}
