import fs from 'node:fs';
import { OperatorError } from '../platform/errors.ts';
import { baseName, errnoCode, parentPath, type BytePath, type Stat } from '../platform/files.ts';
import { realFiles } from '../platform/real-files.ts';
import { BarrierMarkers, markerPrefix } from './barrier-markers.ts';
import { DirectoryWatches, type DirectoryEvent } from './directory-watches.ts';
import { HintBatch, relativeTo, type RealRoot } from './root-paths.ts';
import { TreeWalks } from './tree-walks.ts';
import type { Watcher, WatchOptions } from './watcher.ts';

export interface ChokidarTuning {
  /** Directories beyond this are treated as if the kernel had refused them. Default: the kernel decides. */
  watchesMax?: number;
  /** Directories that cannot be watched are tried again this often; default 30 000. */
  retryMs?: number;
  /** Length of the kernel's inotify queue; default fs.inotify.max_queued_events. */
  queueEventsMax?: number;
}

interface Watched {
  identity: string | null;
  children: Set<BytePath>;
}

/** Tells whether a directory is still the same one, although inode numbers are used again; null when there is none. */
function identityOf(dir: BytePath): string | null {
  const stat = lstat(dir);
  return stat !== 'unreadable' && stat?.kind === 'dir' ? `${stat.dev}:${stat.ino}:${stat.btimeNs}` : null;
}

/** A path may be too long, or below a directory that this user must not search: no reason to end. */
function lstat(path: BytePath): Stat | null | 'unreadable' {
  try {
    return realFiles.lstat(path);
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return 'unreadable';
  }
}

function isDirectoryOrUnreadable(path: BytePath): boolean {
  const stat = lstat(path);
  return stat === 'unreadable' || stat?.kind === 'dir';
}

/** Beyond so many unwatched directories the whole root is named instead of each. */
const UNWATCHED_NAMED_MAX = 100;

/**
 * Watches every directory below the roots with chokidar. Needs no privilege; costs about 10 kB a directory.
 *
 * - Changes made by this process are reported too: inotify does not say who changed something.
 * - The kernel's queue may overflow while the process is busy, and Node does not tell. What can overflow is a queue
 *   with `max_queued_events` events in it, and those are all delivered in one go: when at least half as many come
 *   between two turns of the loop, everything is taken for lost. A barrier marker that is missing says the same.
 */
export class ChokidarWatcher implements Watcher {
  readonly kind = 'chokidar';
  readonly #options: WatchOptions;
  readonly #tuning: Required<ChokidarTuning>;
  readonly #markers: BarrierMarkers;
  readonly #watches: DirectoryWatches;
  readonly #walks: TreeWalks;
  readonly #batch = new HintBatch();
  readonly #directories = new Map<BytePath, Watched>();
  readonly #unwatched = new Map<BytePath, string>();
  readonly #stats = { events: 0, overflows: 0 };
  #roots: RealRoot[] = [];
  #barrierDir: BytePath = '';
  #barriers: { marker: string; walk: number }[] = [];
  #eventsThisTurn = 0;
  #turn: NodeJS.Immediate | null = null;
  #retry: NodeJS.Timeout | null = null;
  #started: Promise<void> | null = null;
  #resyncing = false;
  #stopped = false;

  constructor(options: WatchOptions, tuning: ChokidarTuning = {}) {
    this.#options = options;
    this.#tuning = { watchesMax: Infinity, retryMs: 30_000, queueEventsMax: kernelQueueEvents(), ...tuning };
    this.#markers = new BarrierMarkers(options.barrierDir, () => this.#overflowed('a barrier marker did not come back'));
    this.#watches = new DirectoryWatches((event) => this.#onEvent(event));
    this.#walks = new TreeWalks((dir) => this.#enter(dir));
  }

  start(): Promise<void> {
    return (this.#started ??= this.#start());
  }

  async #start(): Promise<void> {
    this.#roots = this.#options.roots.map((root) => ({ name: root.name, realPath: realPathOf(root.name, root.path) }));
    this.#barrierDir = realPathOf('barrier', Buffer.from(this.#options.barrierDir, 'utf8').toString('latin1'));
    if (!this.#directories.has(this.#barrierDir)) {
      const error = this.#watches.add(this.#barrierDir);
      if (error !== null) throw unwatchable(this.#barrierDir, error);
    }
    for (const root of this.#roots) await this.#walks.run(root.realPath);
    this.#retry = setInterval(() => this.#tryUnwatched(), this.#tuning.retryMs);
    this.#retry.unref();
  }

  /** Watches one directory and gives the directories in it; first the watch, then the reading, so that nothing falls between. */
  #enter(dir: BytePath): BytePath[] {
    if (this.#stopped || !this.#directories.has(dir)) {
      if (this.#stopped || this.#rootsHolding(dir).length === 0) return [];
      const error = this.#watches.size >= this.#tuning.watchesMax ? limitError() : this.#watches.add(dir);
      if (error !== null) {
        this.#cannotWatch(dir, error);
        return [];
      }
      // Looked at after the watch stands: what comes to be there later brings an event.
      this.#directories.set(dir, { identity: identityOf(dir), children: new Set() });
      this.#directories.get(parentPath(dir))?.children.add(dir);
    }
    try {
      const entries = realFiles.readdir(dir) ?? [];
      this.#unwatched.delete(dir);
      return entries.filter((entry) => entry.kind === 'dir').map((entry) => `${dir === '/' ? '' : dir}/${entry.name}`);
    } catch (error) {
      this.#cannotWatch(dir, error);
      return [];
    }
  }

  #cannotWatch(dir: BytePath, error: unknown): void {
    const code = errnoCode(error);
    // Gone again: its removal is an event of the directory above.
    if (!this.#isRoot(dir) && (code === 'ENOENT' || code === 'ENOTDIR' || !isDirectoryOrUnreadable(dir))) return;
    const limit =
      code === 'ENOSPC'
        ? ' (fs.inotify.max_user_watches is used up)'
        : code === 'EMFILE'
          ? ' (fs.inotify.max_user_instances or the descriptors are used up)'
          : '';
    this.#unwatched.set(dir, `the directory cannot be watched: ${code ?? String(error)}${limit}`);
    this.#reportUnwatched(dir);
  }

  #reportUnwatched(dir: BytePath): void {
    const reason = this.#unwatched.get(dir) ?? 'the directory cannot be watched';
    for (const { root, path } of this.#rootsHolding(dir)) {
      this.#batch.add({ kind: 'lost', root, path: this.#unwatched.size > UNWATCHED_NAMED_MAX ? '' : path, reason });
    }
    this.#flushSoon();
  }

  #tryUnwatched(): void {
    // A copy: what cannot be watched again is put back meanwhile.
    for (const dir of Array.from(this.#unwatched.keys())) {
      this.#unwatched.delete(dir);
      if (isDirectoryOrUnreadable(dir)) this.#appeared(dir);
      else if (this.#isRoot(dir)) this.#cannotWatch(dir, new Error('the root is missing'));
    }
  }

  #onEvent({ kind, dir, name }: DirectoryEvent): void {
    this.#stats.events++;
    this.#eventsThisTurn++;
    this.#flushSoon();
    if (dir === this.#barrierDir && name?.startsWith(markerPrefix) === true) {
      if (kind === 'made') this.#barriers.push({ marker: name, walk: this.#walks.last });
      return;
    }
    if (name === null) return this.#appeared(dir);
    // The directory's own events carry its own name, as those of an entry of that name would.
    if (name === baseName(dir)) this.#onOwnEvent(dir, kind);
    const path = dir === '/' ? `/${name}` : `${dir}/${name}`;
    if (kind === 'made') {
      const identity = identityOf(path);
      // libuv calls every event of a directory a renaming, also that of its mode.
      if (identity !== null && this.#directories.get(path)?.identity === identity) return this.#hint('path', path);
      this.#forget(path);
      if (identity !== null) return this.#appeared(path);
    }
    this.#hint('path', path);
  }

  #onOwnEvent(dir: BytePath, kind: 'made' | 'changed'): void {
    this.#hint('path', dir);
    if (kind !== 'made' || !this.#isRoot(dir) || this.#directories.get(dir)?.identity === identityOf(dir)) return;
    this.#forget(dir);
    this.#cannotWatch(dir, new Error('the root was moved or removed'));
  }

  /** A directory is new, or has become doubtful: its tree is hinted at when all watches in it stand. */
  #appeared(dir: BytePath): void {
    if (this.#rootsHolding(dir).length === 0) return;
    if (this.#directories.has(dir)) this.#hint('tree', dir);
    void this.#walks.run(dir).then(() => {
      if (this.#directories.has(dir)) this.#hint('tree', dir);
      this.#flushSoon();
    });
  }

  #forget(dir: BytePath): void {
    const watched = this.#directories.get(dir);
    if (watched === undefined) return;
    this.#directories.delete(dir);
    this.#directories.get(parentPath(dir))?.children.delete(dir);
    for (const child of watched.children) this.#forget(child);
    if (dir !== this.#barrierDir) this.#watches.remove(dir);
  }

  #hint(kind: 'path' | 'tree', path: BytePath): void {
    for (const place of this.#rootsHolding(path)) this.#batch.add({ kind, ...place });
  }

  /** The roots that hold a path, without those that ignore it or a directory above it. */
  #rootsHolding(absolute: BytePath): { root: string; path: BytePath }[] {
    const places: { root: string; path: BytePath }[] = [];
    for (const root of this.#roots) {
      const path = relativeTo(root.realPath, absolute);
      if (path !== null && !this.#isIgnored(root.name, path)) places.push({ root: root.name, path });
    }
    return places;
  }

  #isIgnored(root: string, path: BytePath): boolean {
    if (path === '') return false;
    for (let end = path.indexOf('/'); end >= 0; end = path.indexOf('/', end + 1)) {
      if (this.#options.ignores(root, path.slice(0, end))) return true;
    }
    return this.#options.ignores(root, path);
  }

  #isRoot(dir: BytePath): boolean {
    return this.#roots.some((root) => root.realPath === dir);
  }

  /** Once a turn of the loop: hands over what came, then lets the barriers pass whose walks are done. */
  #flushSoon(): void {
    if (this.#turn !== null || this.#stopped) return;
    this.#turn = setImmediate(() => {
      this.#turn = null;
      if (this.#eventsThisTurn >= this.#tuning.queueEventsMax / 2) this.#overflowed('the kernel’s event queue may have overflowed');
      this.#eventsThisTurn = 0;
      const hints = this.#batch.take();
      if (hints.length > 0) this.#options.onHints(hints);
      const passed = this.#barriers.filter((barrier) => barrier.walk <= this.#walks.done);
      this.#barriers = this.#barriers.filter((barrier) => barrier.walk > this.#walks.done);
      for (const { marker } of passed) this.#markers.seen(marker);
    });
  }

  /** Which directories are new is not known any more: all watches are made anew, and what changed meanwhile is in doubt again. */
  #overflowed(reason: string): void {
    this.#stats.overflows++;
    for (const root of this.#roots) this.#batch.add({ kind: 'lost', root: root.name, path: '', reason });
    this.#flushSoon();
    if (this.#resyncing) return;
    this.#resyncing = true;
    for (const root of this.#roots) this.#forget(root.realPath);
    const walks = this.#roots.map((root) => this.#walks.run(root.realPath));
    void Promise.all(walks).then(() => {
      this.#resyncing = false;
      for (const root of this.#roots) this.#batch.add({ kind: 'lost', root: root.name, path: '', reason });
      this.#flushSoon();
    });
  }

  barrier(timeoutMs: number): Promise<void> {
    return this.#markers.wait(timeoutMs);
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#markers.end();
    if (this.#retry !== null) clearInterval(this.#retry);
    if (this.#turn !== null) clearImmediate(this.#turn);
    await this.#watches.close();
  }

  stats(): { watches: number; events: number; overflows: number } {
    return { watches: this.#watches.size, ...this.#stats };
  }
}

function realPathOf(name: string, path: BytePath): BytePath {
  try {
    return fs.realpathSync.native(Buffer.from(path, 'latin1'), 'latin1');
  } catch (error) {
    throw new OperatorError(
      'root-missing',
      `root ${name} cannot be reached: ${String(error)}`,
      'Create or mount the directory, or correct its path in the configuration.',
    );
  }
}

function unwatchable(dir: BytePath, error: unknown): OperatorError {
  return new OperatorError(
    'watch-refused',
    `the agent's own directory ${dir} cannot be watched: ${String(error)}`,
    'Raise fs.inotify.max_user_watches and fs.inotify.max_user_instances.',
  );
}

function limitError(): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error('ENOSPC: no more watches');
  error.code = 'ENOSPC';
  return error;
}

function kernelQueueEvents(): number {
  try {
    return Number.parseInt(fs.readFileSync('/proc/sys/fs/inotify/max_queued_events', 'latin1'), 10) || 16384;
  } catch {
    return 16384;
  }
}
