import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BarrierMarkers } from '../../agent/capture/barrier-markers.ts';
import type { Hint, Watcher, WatchOptions } from '../../agent/capture/watcher.ts';
import type { Config } from '../../agent/config/config.ts';
import { keepWatching, type Watching } from '../../agent/wiring/keep-watching.ts';
import { silentLog } from '../../agent/platform/log.ts';
import type { Root } from '../../agent/replicate/root.ts';

let state: string;
beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), 'mailtwin-watching-'));
});
afterEach(() => rmSync(state, { recursive: true, force: true }));

/** A watcher that answers its barriers when the test says so. */
class HeldWatcher implements Watcher {
  readonly kind = 'fanotify';
  readonly markers: BarrierMarkers;
  readonly options: WatchOptions;
  /** Barriers that were asked for. */
  asked = 0;
  isStopped = false;
  /** What it saw and has not told yet; what its barrier brings out. */
  untold: Hint[] = [];

  constructor(options: WatchOptions) {
    this.options = options;
    this.markers = new BarrierMarkers(options.barrierDir);
  }

  start = async () => {};
  stats = () => ({ watches: 1, events: 0, overflows: 0 });

  barrier(timeoutMs: number): Promise<void> {
    this.asked++;
    return this.markers.wait(timeoutMs);
  }

  /** Comes to every barrier that was asked for, telling all that it saw. */
  answer(): void {
    this.options.onHints(this.untold.splice(0));
    this.markers.seen(`${this.markers.prefix}${this.asked - 1}`);
  }

  async stop(): Promise<void> {
    this.isStopped = true;
    this.markers.end();
  }
}

async function watching(told: () => void = () => {}, roots: readonly string[] = [], away: ReadonlySet<string> = new Set()) {
  const watchers: HeldWatcher[] = [];
  const hints: Hint[] = [];
  const stopping = new AbortController();
  const kept = await keepWatching({
    config: { state, capture: { watcher: 'auto' } } as unknown as Config,
    log: silentLog,
    roots: roots.map((name) => ({ name, path: `/${name}` }) as unknown as Root),
    isAway: (name) => away.has(name),
    onHints: (some) => {
      hints.push(...some);
      told();
    },
    mustStart: true,
    signal: stopping.signal,
    failed: (error) => {
      throw error;
    },
    choose: async (_setting, options) => {
      const watcher = new HeldWatcher(options);
      watchers.push(watcher);
      return watcher;
    },
  });
  const until = async (condition: () => boolean) => {
    while (!condition()) await pause(1);
  };
  return { watchers, hints, kept, until, stopping };
}

describe('a barrier while file systems come and go', () => {
  it('asks the watcher that takes the place of the one that was asked', async () => {
    const { watchers, hints, kept, until } = await watching();
    let isAnswered = false;
    const answer = kept.barrier(60_000).then(() => (isAnswered = true));
    await until(() => watchers[0]?.asked === 1);
    kept.moved([{ root: 'mail', path: 'disk' }]);
    await until(() => watchers[0]?.asked === 2);
    watchers[0]?.answer();
    await until(() => watchers[1]?.asked === 1);
    expect(watchers[0]?.isStopped).toBe(true);
    // What is on the disk is compared before anybody is told that all was seen.
    expect(hints).toEqual([{ kind: 'tree', root: 'mail', path: 'disk' }]);
    expect(isAnswered).toBe(false);
    watchers[1]?.markers.seen(`${watchers[1].markers.prefix}0`);
    await answer;
  });

  it('asks the old watcher for all that it saw before it ends', async () => {
    const { watchers, hints, kept, until } = await watching(() => {}, ['mail']);
    const old = watchers[0];
    // Changed before the new one watched there.
    old?.untold.push({ kind: 'path', root: 'mail', path: 'cur/1:2,S' });
    kept.moved([{ root: 'mail', path: 'disk' }]);
    await until(() => old?.asked === 1);
    expect([watchers.length, old?.isStopped]).toEqual([2, false]);
    old?.answer();
    await until(() => old?.isStopped === true && hints.length === 2);
    expect(hints).toEqual([
      { kind: 'path', root: 'mail', path: 'cur/1:2,S' },
      { kind: 'tree', root: 'mail', path: 'disk' },
    ]);
  });

  it('takes everything for lost when the old watcher does not tell what it saw', async () => {
    const { watchers, hints, kept, until } = await watching(() => {}, ['mail', 'files']);
    kept.moved([{ root: 'mail', path: 'disk' }]);
    await until(() => watchers[0]?.asked === 1);
    watchers[0]?.markers.end();
    await until(() => hints.length === 3);
    expect(hints.map(({ kind, root, path }) => [kind, root, path])).toEqual([
      ['lost', 'mail', ''],
      ['lost', 'files', ''],
      ['tree', 'mail', 'disk'],
    ]);
    expect(watchers[0]?.isStopped).toBe(true);
  });

  it('ends with its role while an old watcher does not answer', async () => {
    const { watchers, kept, until, stopping } = await watching(() => {}, ['mail']);
    kept.moved([{ root: 'mail', path: 'disk' }]);
    await until(() => watchers[0]?.asked === 1);
    stopping.abort();
    await kept.stop();
    expect(watchers.map(({ isStopped }) => isStopped)).toEqual([true, true]);
  });

  it('follows what is found to have come by looking at what came before', async () => {
    let kept: Watching | null = null;
    let isFirst = true;
    const world = await watching(() => {
      if (isFirst) void Promise.resolve().then(() => kept?.moved([{ root: 'mail', path: 'second' }]));
      isFirst = false;
    });
    kept = world.kept;
    kept.moved([{ root: 'mail', path: 'first' }]);
    for (const which of [0, 1]) {
      await world.until(() => world.watchers[which]?.asked === 1);
      world.watchers[which]?.answer();
    }
    await world.until(() => world.hints.length === 2);
    expect(world.watchers).toHaveLength(3);
  });

  it('still says that a watcher does not answer', async () => {
    const { kept } = await watching();
    await expect(kept.barrier(30)).rejects.toThrow('did not come to its barrier within');
  });
});

describe('barrier markers of two watchers of one process', () => {
  it('say nothing to each other', async () => {
    const [older, newer] = [new BarrierMarkers(state), new BarrierMarkers(state)];
    let isAnswered = false;
    const answer = newer.wait(60_000).then(() => (isAnswered = true));
    // The older one has made some already, and its events come to the newer one as well.
    newer.seen(`${older.prefix}7`);
    await pause(0);
    expect(isAnswered).toBe(false);
    // Nor is its own marker taken for one that came before.
    newer.seen(`${newer.prefix}0`);
    await answer;
  });
});

describe('a root that is not in its place', () => {
  it('is not watched, while the others are; when it comes it is', async () => {
    const away = new Set(['mail']);
    const { watchers, kept, until } = await watching(() => {}, ['mail', 'home'], away);
    const watched = () => watchers.at(-1)?.options.roots.map(({ name }) => name);
    expect(watched()).toEqual(['home']);
    away.delete('mail');
    kept.moved([{ root: 'mail', path: '' }]);
    await until(() => watchers[0]?.asked === 1);
    watchers[0]?.answer();
    await until(() => watchers[0]?.isStopped === true);
    expect(watched()).toEqual(['mail', 'home']);
    await kept.stop();
  });
});
