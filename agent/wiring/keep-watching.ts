import { mkdir } from 'node:fs/promises';
import type { Status } from '../../protocol/control.ts';
import { chooseWatcher } from '../capture/choose-watcher.ts';
import type { Hint, Watcher } from '../capture/watcher.ts';
import type { Config } from '../config/config.ts';
import { sleep, systemClock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Log } from '../platform/log.ts';
import type { Root } from '../replicate/root.ts';

const retryMs = 5000;
/** A watcher that gives its place to another one has so long to tell what it saw before. */
const handOverMs = 30_000;
const noCapture: Status['capture'] = { watcher: 'none', watches: 0, overflows: 0 };

export interface WatchingOptions {
  config: Config;
  log: Log;
  roots: readonly Root[];
  /** A root that is not in its place cannot be watched; when it comes, `moved` says so. The others are. */
  isAway?(root: string): boolean;
  /** Takes hints; those of a time without a watcher are `lost` for every root. */
  onHints(hints: readonly Hint[]): void;
  /** A watcher has begun to watch. */
  onBegun?(kind: Watcher['kind']): void;
  /** False: a watcher that cannot be started is tried again and again, instead of ending the agent. */
  mustStart: boolean;
  signal: AbortSignal;
  failed(error: unknown): void;
  /** Starts a watcher; `chooseWatcher` unless a test puts its own there. */
  choose?: typeof chooseWatcher;
}

export interface Watching {
  capture(): Status['capture'];
  /** Resolves when every change made before the call was given as a hint. @throws when that cannot be told in time. */
  barrier(timeoutMs: number): Promise<void>;
  /** File systems came or went at these places: another watcher begins, which sees them as they are now, and then the old one ends. */
  moved(places: readonly { root: string; path: string }[]): void;
  stop(): Promise<void>;
}

/**
 * Keeps a watcher on the roots while a role lasts; whatever happened while none stood is found by comparing (I10).
 *
 * @throws OperatorError when it `mustStart` and cannot.
 */
export async function keepWatching(options: WatchingOptions): Promise<Watching> {
  const { config, log, roots, signal, choose = chooseWatcher } = options;
  const onHints = (hints: readonly Hint[]) => options.onHints(hints);
  const failed = (error: unknown) => options.failed(error);
  const barrierDir = `${config.state}/barrier`;
  await mkdir(barrierDir, { recursive: true, mode: 0o700 });
  let watcher: Watcher | null = null;
  let renewing = false;
  /** Places where file systems came or went, until a watcher that began after that stands. */
  const pending: { root: string; path: string }[] = [];
  let following: Promise<void> | null = null;
  /** All barriers that wait for a watcher look again at the same time. */
  let pause: Promise<void> | null = null;
  const begin = async (): Promise<void> => {
    const there = roots.filter(({ name }) => !options.isAway?.(name));
    const begun = await choose(
      config.capture.watcher,
      {
        roots: there.length > 0 ? there : roots,
        barrierDir,
        ignores: (name, path) => roots.find((root) => root.name === name)?.format.classify(path, null).ignored ?? true,
        onHints,
        onFailure: (error) => {
          log.error({ error: error.message }, 'the watcher failed; starting it anew');
          beginAnew(`the watcher failed: ${error.message}`, retryMs).catch(failed);
        },
      },
      log,
    );
    // The role may have been left meanwhile.
    if (signal.aborted) return begun.stop();
    watcher = begun;
    options.onBegun?.(begun.kind);
  };
  const beginAnew = async (reason: string, afterMs: number): Promise<void> => {
    if (renewing) return;
    renewing = true;
    const old = watcher;
    watcher = null;
    const doubt = () => onHints(roots.map((root) => ({ kind: 'lost', root: root.name, path: '', reason })));
    doubt();
    await old?.stop();
    for (let waitMs = afterMs; ; waitMs = retryMs) {
      if (waitMs > 0) await sleep(systemClock, waitMs, signal);
      if (signal.aborted) return;
      try {
        await begin();
        break;
      } catch (error) {
        sayWhy(log, error);
      }
    }
    renewing = false;
    doubt();
    followOn();
  };
  /**
   * What changed before another watcher stood, this one alone has seen, and may not have told yet: it is asked for all of it
   * before it ends. When it does not answer, everything is in doubt.
   */
  const handOver = async (old: Watcher): Promise<void> => {
    const end = () => void old.stop();
    signal.addEventListener('abort', end);
    try {
      await old.barrier(handOverMs);
    } catch (error) {
      if (signal.aborted) return;
      const reason = `a watcher did not tell what it saw: ${error instanceof Error ? error.message : String(error)}`;
      onHints(roots.map((root) => ({ kind: 'lost', root: root.name, path: '', reason })));
    } finally {
      signal.removeEventListener('abort', end);
      await old.stop();
    }
  };
  /** Two watchers stand for a moment: nothing that happens elsewhere is lost, and a hint that comes twice costs a look. */
  const follow = async (): Promise<void> => {
    while (pending.length > 0 && !signal.aborted && !renewing) {
      const places = pending.splice(0);
      const old = watcher;
      try {
        await begin();
      } catch (error) {
        sayWhy(log, error);
        return beginAnew('what is mounted below a root changed, and no watcher can be started', retryMs);
      }
      if (old && watcher !== old) await handOver(old);
      onHints(places.map(({ root, path }) => ({ kind: 'tree', root, path })));
    }
  };
  const followOn = (): void => {
    if (pending.length === 0 || renewing || signal.aborted) return;
    following ??= follow()
      .catch(failed)
      .finally(() => {
        following = null;
        // Its last hints may have led somebody to more.
        followOn();
      });
  };
  try {
    await begin();
  } catch (error) {
    if (options.mustStart) throw error;
    sayWhy(log, error);
    beginAnew('nobody watched', retryMs).catch(failed);
  }
  return {
    capture: () =>
      watcher ? { watcher: watcher.kind, watches: watcher.stats().watches, overflows: watcher.stats().overflows } : noCapture,
    async barrier(timeoutMs) {
      const deadline = systemClock.monotonicMs() + timeoutMs;
      for (;;) {
        // While it is started anew it is waited for; so is one that shall see what was mounted.
        while (!watcher || following || pending.length > 0) {
          if (systemClock.monotonicMs() >= deadline || signal.aborted) throw new Error('the watcher does not run');
          await (pause ??= sleep(systemClock, 20, signal).finally(() => (pause = null)));
        }
        const asked: Watcher = watcher;
        try {
          await asked.barrier(Math.max(1, deadline - systemClock.monotonicMs()));
          // A file system that came or went meanwhile is hinted at first.
          if (asked === watcher && !following) return;
        } catch (error) {
          // Another one took its place before it could answer: that one is asked.
          if (asked === watcher && !following) throw error;
        }
      }
    },
    moved(places) {
      pending.push(...places);
      followOn();
    },
    stop: async () => {
      await following;
      await watcher?.stop();
    },
  };
}

/** @throws what no operator can mend. */
function sayWhy(log: Log, error: unknown): void {
  if (!(error instanceof OperatorError)) throw error;
  log.error({ code: error.code }, `the watcher cannot be started: ${error.message}`);
}
