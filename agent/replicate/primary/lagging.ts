import type { BytePath } from '../../platform/files.ts';

/** A file whose content does not reach the standby for the time being, while everything beside it does. */
export interface LaggingFile {
  root: string;
  path: BytePath;
  /** Monotonic milliseconds of the oldest change of it that the standby does not have. */
  sinceMs: number;
  /** Why, for people. */
  reason: string;
}

/** A try that failed. */
export interface FailedTry extends LaggingFile {
  /** Of the file that was tried; absent when it is not known. */
  ino?: bigint;
}

interface Trouble extends FailedTry {
  tries: number;
  retryAtMs: number;
  /** How long the last try took. */
  tookMs: number;
  /** When it was last said to have changed, since the last try began; null when it was not. */
  touchedMs: number | null;
}

/** Why a file lags for which the standby has no room, as a whole: everything smaller goes on beside it. */
export const noRoomReason = 'the standby has no room for it';

const filesMax = 10_000;
const firstPauseMs = 250;
const pauseMsMax = 60_000;
/** A file that follows again within this time was no trouble worth telling. */
const tellMs = 5000;
/** What has changed and then not for this long may hold still now. */
const quietMs = 1000;

/**
 * Files that would not hold still, or could not be brought over, each alone: when they are tried again, and what people are
 * told of them. Not durable: their changes are, and a start tries anew.
 */
export class Lagging {
  readonly #files = new Map<string, Trouble>();

  /** A try has failed; gives the monotonic time of the next one. A try that took long is not repeated at once. */
  failed(file: FailedTry, nowMs: number, tookMs: number, pauseMsMin = 0): number {
    const key = keyOf(file.root, file.path);
    const known = this.#files.get(key);
    const tries = (known?.tries ?? 0) + 1;
    const pauseMs = Math.min(pauseMsMax, Math.max(pauseMsMin, firstPauseMs * 2 ** Math.min(tries - 1, 10), 2 * tookMs));
    const retryAtMs = nowMs + pauseMs;
    if (known || this.#files.size < filesMax)
      this.#files.set(key, {
        ...file,
        sinceMs: Math.min(known?.sinceMs ?? Infinity, file.sinceMs),
        tries,
        retryAtMs,
        tookMs,
        // A change that was told during the try is why it failed.
        touchedMs: (known?.touchedMs ?? -Infinity) >= nowMs - tookMs ? (known?.touchedMs ?? null) : null,
      });
    return retryAtMs;
  }

  /** The standby gets it now as it is. */
  rested(root: string, path: BytePath): void {
    this.#files.delete(keyOf(root, path));
  }

  /** The standby gets it as it was; meanwhile it has changed again, and it is not looked at before this time. */
  follows(file: FailedTry, nowMs: number, retryAtMs: number): void {
    const key = keyOf(file.root, file.path);
    const known = this.#files.get(key);
    if (known || this.#files.size < filesMax)
      this.#files.set(key, { ...file, tries: known?.tries ?? 1, retryAtMs, tookMs: retryAtMs - nowMs, touchedMs: null });
  }

  /** It was said to have changed. */
  touched(root: string, path: BytePath, nowMs: number): void {
    const file = this.#files.get(keyOf(root, path));
    if (file) file.touchedMs = nowMs;
  }

  /** Whether what stands there is not the file that was tried. */
  isAnother(root: string, path: BytePath, ino: bigint): boolean {
    const file = this.#files.get(keyOf(root, path));
    return file?.ino !== undefined && file.ino !== ino;
  }

  /** Why it waits is over: the next try is due. */
  tryNow(root: string, path: BytePath, nowMs: number): void {
    const file = this.#files.get(keyOf(root, path));
    if (file) file.retryAtMs = Math.min(file.retryAtMs, nowMs);
  }

  /** Takes the files that have changed since their last try, and then rested for twice as long as it took: their next try is due. */
  takeQuiet(nowMs: number): LaggingFile[] {
    const quiet = [...this.#files.values()].filter(
      ({ touchedMs, tookMs, retryAtMs }) => touchedMs !== null && retryAtMs > nowMs && nowMs - touchedMs >= Math.max(quietMs, 2 * tookMs),
    );
    for (const file of quiet) {
      file.touchedMs = null;
      file.retryAtMs = nowMs;
    }
    return quiet;
  }

  /** Tries in a row that failed. */
  tries(root: string, path: BytePath): number {
    return this.#files.get(keyOf(root, path))?.tries ?? 0;
  }

  retryAtMs(root: string, path: BytePath): number {
    return this.#files.get(keyOf(root, path))?.retryAtMs ?? 0;
  }

  /** Forgets files that are gone, or that the standby has as they are. */
  prune(isSettled: (root: string, path: BytePath) => boolean): void {
    for (const [key, { root, path }] of this.#files) if (isSettled(root, path)) this.#files.delete(key);
  }

  /** What lags behind long enough to be told, oldest first. */
  list(nowMs: number): LaggingFile[] {
    return [...this.#files.values()].filter(({ sinceMs }) => nowMs - sinceMs >= tellMs).sort((a, b) => a.sinceMs - b.sinceMs);
  }

  /** Files for which the standby has no room, oldest first. */
  withoutRoom(): LaggingFile[] {
    return [...this.#files.values()].filter(({ reason }) => reason === noRoomReason).sort((a, b) => a.sinceMs - b.sinceMs);
  }

  has(root: string, path: BytePath, nowMs: number): boolean {
    const file = this.#files.get(keyOf(root, path));
    return file !== undefined && nowMs - file.sinceMs >= tellMs;
  }
}

function keyOf(root: string, path: BytePath): string {
  return `${root}\0${path}`;
}
