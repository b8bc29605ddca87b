import { mkdirSync } from 'node:fs';
import type { Status } from '../../protocol/control.ts';
import { chooseWatcher } from '../capture/choose-watcher.ts';
import type { Hint, Watcher } from '../capture/watcher.ts';
import type { Config } from '../config/config.ts';
import { sleep, systemClock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Log } from '../platform/log.ts';
import type { Root } from '../replicate/root.ts';

const retryMs = 5000;
const noCapture: Status['capture'] = { watcher: 'none', watches: 0, overflows: 0 };

export interface WatchingOptions {
  config: Config;
  log: Log;
  roots: readonly Root[];
  /** Takes hints; those of a time without a watcher are `lost` for every root. */
  onHints(hints: readonly Hint[]): void;
  /** A watcher has begun to watch. */
  onBegun?(kind: Watcher['kind']): void;
  /** False: a watcher that cannot be started is tried again and again, instead of ending the agent. */
  mustStart: boolean;
  signal: AbortSignal;
  failed(error: unknown): void;
}

export interface Watching {
  capture(): Status['capture'];
  /** Resolves when every change made before the call was given as a hint. @throws when that cannot be told in time. */
  barrier(timeoutMs: number): Promise<void>;
  /** Ends the watcher and starts another one: its watches may have ended with what they stood on. */
  anew(reason: string): void;
  stop(): Promise<void>;
}

/**
 * Keeps a watcher on the roots while a role lasts; whatever happened while none stood is found by comparing (I10).
 *
 * @throws OperatorError when it `mustStart` and cannot.
 */
export async function keepWatching(options: WatchingOptions): Promise<Watching> {
  const { config, log, roots, signal } = options;
  const onHints = (hints: readonly Hint[]) => options.onHints(hints);
  const failed = (error: unknown) => options.failed(error);
  const barrierDir = `${config.state}/barrier`;
  mkdirSync(barrierDir, { recursive: true, mode: 0o700 });
  let watcher: Watcher | null = null;
  let renewing = false;
  const begin = async (): Promise<void> => {
    const begun = await chooseWatcher(
      config.capture.watcher,
      {
        roots,
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
      // While it is started anew it is waited for.
      while (!watcher) {
        if (systemClock.monotonicMs() >= deadline || signal.aborted) throw new Error('the watcher does not run');
        await sleep(systemClock, 20, signal);
      }
      await watcher.barrier(Math.max(1, deadline - systemClock.monotonicMs()));
    },
    anew: (reason) => void beginAnew(reason, 0).catch(failed),
    stop: async () => watcher?.stop(),
  };
}

/** @throws what no operator can mend. */
function sayWhy(log: Log, error: unknown): void {
  if (!(error instanceof OperatorError)) throw error;
  log.error({ code: error.code }, `the watcher cannot be started: ${error.message}`);
}
