import fs from 'node:fs';
import type { Worker } from 'node:worker_threads';
import { OperatorError } from '../platform/errors.ts';
import { errnoCode, type BytePath } from '../platform/files.ts';
import { realFiles } from '../platform/real-files.ts';
import { startThread } from '../platform/thread.ts';
import { BarrierMarkers, markerPrefix } from './barrier-markers.ts';
import { FAN } from './fanotify-events.ts';
import type { Reading } from './fanotify-hints.ts';
import { directoryHandle, eventfd, fanotifyInit, fanotifyMark, pathOfHandle, wake } from './fanotify-native.ts';
import { FLOW, type FanotifyWorkerData } from './fanotify-worker.ts';
import type { RealRoot } from './root-paths.ts';
import type { Hint, WatchedRoot, Watcher, WatchOptions } from './watcher.ts';

const EVENTS = FAN.CREATE | FAN.DELETE | FAN.RENAME | FAN.MODIFY | FAN.CLOSE_WRITE | FAN.ATTRIB | FAN.ONDIR;
const FSID_BYTES = 8;

/**
 * Watches whole file systems with one mark each (Linux 5.17 or later; needs CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH).
 *
 * The cost does not depend on the size of the trees, and there is no moment in which a new directory is not watched.
 * A file system that is mounted below a root after the start is not seen.
 */
export class FanotifyWatcher implements Watcher {
  readonly kind = 'fanotify';
  readonly #options: WatchOptions;
  readonly #markers: BarrierMarkers;
  readonly #flow = new Int32Array(new SharedArrayBuffer(FLOW.cells * 4));
  readonly #fds: number[] = [];
  readonly #stats = { watches: 0, events: 0, overflows: 0 };
  #worker: Worker | null = null;
  #started: Promise<void> | null = null;
  #stopFd = -1;
  #stopping = false;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#markers = new BarrierMarkers(options.barrierDir);
  }

  /** @throws OperatorError `fanotify-unavailable` that says what is missing. */
  start(): Promise<void> {
    return (this.#started ??= this.#start());
  }

  async #start(): Promise<void> {
    try {
      await this.#startWorker(this.#prepare());
    } catch (error) {
      await this.stop();
      throw error instanceof OperatorError ? error : unavailable(error);
    }
  }

  #prepare(): FanotifyWorkerData {
    const { roots, barrierDir } = this.#options;
    const fanotifyFd = this.#keep(fanotifyInit(FAN.CLOEXEC | FAN.NONBLOCK | FAN.REPORT_DIR_FID | FAN.REPORT_NAME));
    const realRoots = roots.map((root) => ({ name: root.name, realPath: realPath(root) }));
    const mounts: { fsid: string; fd: number }[] = [];
    for (const directory of mountsOf(realRoots)) {
      fanotifyMark(fanotifyFd, FAN.MARK_ADD | FAN.MARK_FILESYSTEM, EVENTS, directory);
      const fd = this.#keep(fs.openSync(Buffer.from(directory, 'latin1'), fs.constants.O_RDONLY | fs.constants.O_DIRECTORY));
      const handle = directoryHandle(directory);
      // Asked once now, so that a missing capability shows here and not as a stream of lost hints.
      if (pathOfHandle(fd, handle) === null) throw new Error(`${directory} cannot be found by its handle`);
      mounts.push({ fsid: handle.slice(0, FSID_BYTES), fd });
    }
    this.#stats.watches = mounts.length;
    const barrierPath = Buffer.from(barrierDir, 'utf8').toString('latin1');
    fanotifyMark(fanotifyFd, FAN.MARK_ADD, FAN.CREATE, barrierPath);
    this.#stopFd = this.#keep(eventfd());
    return {
      fanotifyFd,
      stopFd: this.#stopFd,
      roots: realRoots,
      mounts,
      barrierDir: directoryHandle(barrierPath),
      pid: process.pid,
      flow: this.#flow,
    };
  }

  #keep(fd: number): number {
    this.#fds.push(fd);
    return fd;
  }

  async #startWorker(workerData: FanotifyWorkerData): Promise<void> {
    // Descriptors of handles are opened by the C library, which Node's own account of descriptors would take for a mistake.
    const worker = startThread(import.meta.url, 'fanotify-worker', { workerData, trackUnmanagedFds: false });
    this.#worker = worker;
    worker.on('message', (reading: Reading) => this.#consume(reading));
    await new Promise<void>((resolve, reject) => {
      worker.once('online', resolve);
      worker.once('error', reject);
    });
    worker.on('error', (error) => this.#fail(error));
    worker.on('exit', (code) => this.#fail(new Error(`the thread of the fanotify watcher ended (${code})`)));
  }

  #consume(reading: Reading): void {
    Atomics.add(this.#flow, FLOW.consumed, 1);
    Atomics.notify(this.#flow, FLOW.consumed);
    this.#stats.events += reading.events;
    this.#stats.overflows += reading.overflows;
    if (this.#stopping) return;
    const hints = reading.hints.filter((hint) => !this.#isIgnored(hint));
    if (hints.length > 0) this.#options.onHints(hints);
    for (const marker of reading.markers) if (marker.startsWith(markerPrefix)) this.#markers.seen(marker);
  }

  /** A name is also ignored when a directory above it is. */
  #isIgnored(hint: Hint): boolean {
    if (hint.kind === 'lost' || hint.path === '') return false;
    for (let end = hint.path.indexOf('/'); end >= 0; end = hint.path.indexOf('/', end + 1)) {
      if (this.#options.ignores(hint.root, hint.path.slice(0, end))) return true;
    }
    return this.#options.ignores(hint.root, hint.path);
  }

  #fail(error: Error): void {
    if (this.#stopping || this.#worker === null) return;
    void this.stop().then(() => this.#options.onFailure(error));
  }

  barrier(timeoutMs: number): Promise<void> {
    return this.#markers.wait(timeoutMs);
  }

  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#markers.end();
    const worker = this.#worker;
    if (worker !== null) {
      const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
      Atomics.store(this.#flow, FLOW.stopping, 1);
      Atomics.add(this.#flow, FLOW.consumed, 1);
      Atomics.notify(this.#flow, FLOW.consumed);
      wake(this.#stopFd);
      if (worker.threadId !== -1) await ended;
    }
    for (const fd of this.#fds.splice(0)) fs.closeSync(fd);
  }

  /** Holds the thread, so that events stay in the kernel's queue: how a test makes it overflow. */
  pause(paused: boolean): void {
    Atomics.store(this.#flow, FLOW.paused, paused ? 1 : 0);
    if (paused) return;
    // A changed cell, because the thread may be just about to wait on the old value.
    Atomics.add(this.#flow, FLOW.posted, 1);
    Atomics.add(this.#flow, FLOW.consumed, 1);
    Atomics.notify(this.#flow, FLOW.consumed);
  }

  stats(): { watches: number; events: number; overflows: number } {
    return { ...this.#stats };
  }
}

function realPath(root: WatchedRoot): BytePath {
  try {
    return fs.realpathSync.native(Buffer.from(root.path, 'latin1'), 'latin1');
  } catch (error) {
    throw new OperatorError(
      'root-missing',
      `root ${root.name} cannot be reached: ${String(error)}`,
      'Create or mount the directory, or correct its path in the configuration.',
    );
  }
}

/** Every root and every mount point below one: each is a mark, and the place from which handles of that file system are looked up. */
function mountsOf(roots: readonly RealRoot[]): Set<BytePath> {
  const below = (path: BytePath) => realFiles.mountPoints(path).map((point) => (path === '/' ? `/${point}` : `${path}/${point}`));
  return new Set(roots.flatMap(({ realPath: path }) => [path, ...below(path)]));
}

const missing: Record<string, string> = {
  'fanotify_init EPERM': 'the process lacks CAP_SYS_ADMIN',
  'fanotify_init EINVAL': 'the kernel is older than 5.17',
  'fanotify_init ENOSYS': 'the kernel was built without fanotify',
  'fanotify_init EMFILE': 'fs.fanotify.max_user_groups is used up',
  'fanotify_mark EPERM': 'the process lacks CAP_SYS_ADMIN',
  'fanotify_mark EINVAL': 'the kernel is older than 5.17 and has no FAN_RENAME',
  'fanotify_mark ENODEV': 'the file system has no identity (fsid)',
  'fanotify_mark EXDEV': 'the file system has more than one identity (btrfs subvolume)',
  'fanotify_mark EOPNOTSUPP': 'the file system gives no file handles',
  'fanotify_mark ENOTSUP': 'the file system gives no file handles',
  'name_to_handle_at EOPNOTSUPP': 'the file system gives no file handles',
  'name_to_handle_at ENOTSUP': 'the file system gives no file handles',
  'open_by_handle_at EPERM': 'the process lacks CAP_DAC_READ_SEARCH',
};

function unavailable(error: unknown): OperatorError {
  const syscall = error instanceof Error ? (error as NodeJS.ErrnoException).syscall : undefined;
  const reason = missing[`${syscall} ${errnoCode(error)}`] ?? (error instanceof Error ? error.message : String(error));
  return new OperatorError(
    'fanotify-unavailable',
    `fanotify cannot be used: ${reason}`,
    'Give the agent CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH on Linux 5.17 or later, or set capture.watcher to auto or chokidar.',
  );
}
