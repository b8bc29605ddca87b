import { OperatorError } from '../platform/errors.ts';
import type { Log } from '../platform/log.ts';
import { ChokidarWatcher } from './chokidar-watcher.ts';
import { FanotifyWatcher } from './fanotify-watcher.ts';
import type { Watcher, WatchOptions } from './watcher.ts';

/**
 * The watcher of the configuration, started. `auto` takes fanotify where it can run and says in the log why not.
 *
 * @throws OperatorError `fanotify-unavailable` when fanotify was asked for by name and cannot run; `root-missing`.
 */
export async function chooseWatcher(setting: 'auto' | 'chokidar' | 'fanotify', options: WatchOptions, log: Log): Promise<Watcher> {
  if (setting !== 'chokidar') {
    const watcher = new FanotifyWatcher(options);
    try {
      await watcher.start();
      log.info({ watcher: watcher.kind }, 'watching whole file systems with fanotify');
      return watcher;
    } catch (error) {
      if (setting === 'fanotify' || !(error instanceof OperatorError) || error.code !== 'fanotify-unavailable') throw error;
      log.info({ watcher: 'chokidar', reason: error.message }, 'fanotify cannot run here; watching each directory with chokidar');
    }
  }
  const watcher = new ChokidarWatcher(options);
  await watcher.start();
  log.info({ watcher: watcher.kind, watches: watcher.stats().watches }, 'watching each directory with chokidar');
  return watcher;
}
