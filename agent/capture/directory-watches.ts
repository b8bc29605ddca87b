import fs from 'node:fs';
import { FSWatcher } from 'chokidar';
import type { BytePath } from '../platform/files.ts';
import { errnoError } from '../platform/native.ts';

/** `made`: the name was made, removed or renamed. `name` null: which one cannot be told. */
export type DirectoryEvent = { kind: 'made' | 'changed'; dir: BytePath; name: BytePath | null };

/**
 * chokidar as the keeper of watches on directories, each added by name.
 *
 * What chokidar does by itself at every event, reading the directory with an lstat for each entry, takes seconds in a
 * mailbox of 100,000 messages and is not used: directories are read by the one who adds them. The members used here
 * are part of chokidar's published types; the contract tests hold what they do.
 *
 * Not persistent, because chokidar shares persistent watches by path among all its watchers of a process: one that begins after a
 * disk was mounted anew would listen to the directory of the old one.
 */
class HeldDirectories extends FSWatcher {
  #error: unknown = null;

  constructor() {
    super({ persistent: false, ignoreInitial: true, followSymlinks: false });
    this.on('error', (error) => (this.#error = error));
  }

  /** The error of the watch, or null when it stands. */
  hold(dir: string): unknown {
    this.#error = null;
    const release = this._nodeFsHandler._watchWithNodeFs(dir, () => {});
    // chokidar notes every child of every directory here, which nothing of this use reads.
    this._watched.clear();
    if (release !== undefined) this._addPathCloser(dir, release);
    // chokidar keeps to itself that a path is missing.
    else return this.#error ?? errnoError('ENOENT', 'watch', dir);
    return null;
  }

  release(dir: string): void {
    this._closeFile(dir);
  }
}

/**
 * Watches on single directories, by byte path.
 *
 * chokidar speaks UTF-8; a directory whose path is not UTF-8 is watched by Node directly. All watches of a process
 * share one inotify queue, so that the order of events is the order of the changes.
 */
export class DirectoryWatches {
  readonly #held = new HeldDirectories();
  /** Byte path by the path that chokidar knows. */
  readonly #byText = new Map<string, BytePath>();
  readonly #byBytes = new Map<BytePath, fs.FSWatcher>();
  readonly #onEvent: (event: DirectoryEvent) => void;

  constructor(onEvent: (event: DirectoryEvent) => void) {
    this.#onEvent = onEvent;
    this.#held.on('raw', (kind: string, name: string | null, details: unknown) => {
      const dir = this.#byText.get((details as { watchedPath: string }).watchedPath);
      if (dir !== undefined) onEvent({ kind: kind === 'rename' ? 'made' : 'changed', dir, name: bytesOfName(name) });
    });
  }

  get size(): number {
    return this.#byText.size + this.#byBytes.size;
  }

  /** Watches a directory; the error when that cannot be done (`code` ENOSPC, EMFILE, EACCES, ENOENT ...), else null. */
  add(dir: BytePath): unknown {
    const bytes = Buffer.from(dir, 'latin1');
    const text = bytes.toString('utf8');
    if (!Buffer.from(text, 'utf8').equals(bytes)) return this.#addByBytes(dir, bytes);
    const error = this.#held.hold(text);
    if (error === null) this.#byText.set(text, dir);
    return error;
  }

  #addByBytes(dir: BytePath, bytes: Buffer): unknown {
    try {
      const watcher = fs.watch(bytes, { encoding: 'buffer' }, (kind, name) => {
        this.#onEvent({ kind: kind === 'rename' ? 'made' : 'changed', dir, name: name === null ? null : name.toString('latin1') });
      });
      watcher.on('error', () => {});
      this.#byBytes.set(dir, watcher);
      return null;
    } catch (error) {
      return error;
    }
  }

  remove(dir: BytePath): void {
    const watcher = this.#byBytes.get(dir);
    if (watcher !== undefined) {
      watcher.close();
      this.#byBytes.delete(dir);
      return;
    }
    const text = Buffer.from(dir, 'latin1').toString('utf8');
    this.#held.release(text);
    this.#byText.delete(text);
  }

  async close(): Promise<void> {
    for (const watcher of this.#byBytes.values()) watcher.close();
    this.#byBytes.clear();
    this.#byText.clear();
    await this.#held.close();
  }
}

/** Null when the name was not UTF-8: the bytes are lost then. */
function bytesOfName(name: string | null): BytePath | null {
  if (name === null || name.includes('\ufffd')) return null;
  return /^[\x00-\x7f]*$/.test(name) ? name : Buffer.from(name, 'utf8').toString('latin1');
}
