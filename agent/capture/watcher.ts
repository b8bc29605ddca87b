import type { BytePath } from '../platform/files.ts';

/** A root as the watcher sees it. */
export interface WatchedRoot {
  name: string;
  /** Absolute path. */
  path: BytePath;
}

/**
 * Says that something below a root may have changed. Cheap and possibly wrong: what changed is decided by looking.
 *
 * - `path`: this one name was made, changed, renamed from or to, or removed. For a directory that appeared, `tree`
 *   is used instead, because what was put into it before the watch stood is not reported.
 * - `tree`: anything at or below this path may have changed.
 * - `lost`: hints were lost (queue overflow, a directory that cannot be watched, watcher died and was restarted):
 *   everything at or below the path is in doubt (I10). `reason` is for people.
 */
export type Hint =
  | { kind: 'path'; root: string; path: BytePath }
  | { kind: 'tree'; root: string; path: BytePath }
  | { kind: 'lost'; root: string; path: BytePath; reason: string };

/** What a watcher needs to know which names never matter. Paths are relative to their root. */
export interface WatchOptions {
  roots: readonly WatchedRoot[];
  /** A directory of the agent's own (in its state directory) for barrier markers. Absolute path. */
  barrierDir: string;
  /** True for names that are never replicated (tmp/, lock files): no hint is made for them, nothing below is watched. */
  ignores(root: string, path: BytePath): boolean;
  /** Called with hints in the order of the events. */
  onHints(hints: Hint[]): void;
  /** Called when the watcher can go on no more (it has stopped itself). */
  onFailure(error: Error): void;
}

/**
 * A source of hints. Both implementations (chokidar, fanotify) keep the same contract tests.
 *
 * A change made after `start` resolved leads to a hint that covers it, or to a `lost` hint; never to silence (I10).
 * Changes made by this process itself are not reported by fanotify; inotify, and so chokidar, cannot tell them apart.
 */
export interface Watcher {
  readonly kind: 'chokidar' | 'fanotify';
  /** Resolves when the watch stands; a second call waits for the first. */
  start(): Promise<void>;
  /**
   * Resolves when every change made before the call has been handed to `onHints`.
   *
   * @throws when that cannot be told within `timeoutMs`.
   */
  barrier(timeoutMs: number): Promise<void>;
  stop(): Promise<void>;
  /** For status and metrics. */
  stats(): { watches: number; events: number; overflows: number };
}
