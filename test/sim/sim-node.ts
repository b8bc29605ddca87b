import { emptyPosition } from '../../protocol/position.ts';
import type { MessageOf, Role } from '../../protocol/messages.ts';
import { loadHash64, type Hash64 } from '../../agent/delta/xxhash.ts';
import { HistoryKeeper } from '../../agent/history/keeper.ts';
import { Changes } from '../../agent/journal/changes.ts';
import { ReplicaIndex } from '../../agent/journal/replica-index.ts';
import { excluding } from '../../agent/mailstore/exclude.ts';
import { silentMeter } from '../../agent/observe/meter.ts';
import type { Kv } from '../../agent/platform/kv.ts';
import type { Log } from '../../agent/platform/log.ts';
import { Damage } from '../../agent/replicate/primary/damage.ts';
import { Grants } from '../../agent/replicate/primary/grants.ts';
import { DeletionGuard, type GuardLimits } from '../../agent/replicate/primary/guard.ts';
import { HeldPlaces } from '../../agent/replicate/primary/held-places.ts';
import { RelivedTime } from '../../agent/replicate/primary/relived-time.ts';
import { PrimaryRole } from '../../agent/replicate/primary/role.ts';
import { Unproven } from '../../agent/replicate/primary/unproven.ts';
import { FileSystems, RootAway, toldOf } from '../../agent/replicate/file-systems.ts';
import { FileSystemHolds } from '../../agent/replicate/primary/file-system-holds.ts';
import type { Root } from '../../agent/replicate/root.ts';
import { filesReader } from '../../agent/replicate/scrub/reading.ts';
import type { ScrubSettings } from '../../agent/replicate/scrub/scrubber.ts';
import { chooseStaging, stagingPlaces, withoutOwnNames } from '../../agent/replicate/staging.ts';
import { StandbyRole } from '../../agent/replicate/standby/role.ts';
import type { Breakage } from './history-options.ts';
import type { HostClock } from './sim-clock.ts';
import type { SimDisk } from './sim-disk.ts';
import type { SimFiles } from './sim-files.ts';
import { simFormat } from './sim-format.ts';
import type { SimKvStore } from './sim-kv.ts';
import type { SimRandom } from './sim-random.ts';
import { SimWatcher } from './sim-watcher.ts';

/** What a node keeps while its processes come and go. */
export interface SimHost {
  name: string;
  disk: SimDisk;
  store: SimKvStore;
  roots: readonly { name: string; path: string; format: 'maildir' | 'plain' }[];
  /** Patterns of what is left out of every root; none when absent. */
  exclude?: readonly string[];
}

/** One agent process: the real roles on a simulated outside. */
export interface SimProcess {
  clock: HostClock;
  files: SimFiles;
  kv: Kv;
  index: ReplicaIndex;
  primary: PrimaryRole | null;
  standby: StandbyRole | null;
  /** Resolves when it may be connected: what a crash may have lost is in place. */
  ready: Promise<void>;
  hello(): MessageOf<'hello'>;
  errors: unknown[];
}

/** Below these an agent follows no link. */
function placesOf({ name, roots }: SimHost): string[] {
  return [...roots.map(({ path }) => path), ...roots.flatMap((root) => stagingPlaces(root, `/state-${name}`, null))];
}

export const simHash: Hash64 = await loadHash64(0x1234_5678_9abc_def0n);
const firstEpoch = 1;
/** Each file system that a standby sees for the first time gets another mark. */
let marks = 0;

export interface ProcessOptions {
  watcherRandom: SimRandom;
  overflowShare: number;
  /** Of the primary's hints; the watcher's own bounds when not given. */
  delayMs?: readonly [number, number];
  log: Log;
  /** Of the primary's guard against mass deletion; nothing is held when not given. */
  guard?: GuardLimits;
  breakage?: Breakage;
  /** How content is read again; it is not when not given. */
  scrub?: Omit<ScrubSettings, 'reader'>;
  /** Of a primary; 1 when not given. */
  epoch?: number;
  /** Called with what a standby sees of its disk, before it has called anything. */
  onFiles?: (files: SimFiles) => void;
}

function helloOf(
  host: SimHost,
  role: Role,
  process: { clock: HostClock },
  position: () => MessageOf<'hello'>['position'],
): MessageOf<'hello'> {
  return {
    type: 'hello',
    oldest: 1,
    newest: 1,
    pair: 'sim',
    node: host.name,
    role,
    epoch: firstEpoch,
    position: position(),
    agentVersion: '0',
    serverVersion: null,
    roots: [],
    wallMs: Math.floor(process.clock.wallMs()),
    boot: '0',
    port: 0,
    active: role === 'primary',
  };
}

function heartbeatOf(role: Role, clock: HostClock, phase: string, complete = false): MessageOf<'heartbeat'> {
  return {
    type: 'heartbeat',
    wallMs: Math.floor(clock.wallMs()),
    role,
    epoch: firstEpoch,
    position: emptyPosition,
    lagChanges: 0,
    lagBytes: 0,
    lagMs: 0,
    phase,
    complete,
    lossMailboxes: null,
    lossMessages: null,
    lossBytes: null,
    filesTotal: null,
    appliedMs: 0,
    active: role === 'primary',
    space: [],
    unproven: 0,
    leftOut: 0,
    warnings: [],
    doubts: [],
    laggingCount: 0,
    lagging: [],
    fileSystems: [],
    queue: null,
    certificate: null,
    releases: null,
    damaged: 0,
  };
}

/** Starts the primary's agent: store, index, watcher, then a scan of what changed while it was away. */
export function startPrimary(host: SimHost, clock: HostClock, options: ProcessOptions): SimProcess {
  const files = host.disk.open(clock, placesOf(host));
  const kv = host.store.open(clock);
  const errors: unknown[] = [];
  const formatOf = options.breakage?.primaryFormat ?? ((format) => format);
  const roots: Root[] = host.roots.map(({ name, path, format }) => ({
    name,
    path,
    format: formatOf(withoutOwnNames(excluding(simFormat(format), host.exclude ?? []))),
    staging: '',
  }));
  const index = new ReplicaIndex(kv, { findByIdentity: true });
  const fileSystems = new FileSystems({
    files,
    kv,
    index,
    roots,
    newMark: null,
    acceptCommand: (place) => `accept ${place}`,
    monotonicMs: () => clock.monotonicMs(),
  });
  fileSystems.look();
  const changes = new Changes(kv, clock.monotonicMs());
  const holds = new HeldPlaces();
  const parts = {
    kv,
    files: fileSystems.files,
    clock,
    log: options.log,
    meter: silentMeter,
    index,
    changes,
    unproven: new Unproven(kv, clock, options.log),
    damage: new Damage(kv, clock, options.log),
    holds,
    fileSystems,
    fileSystemHolds: new FileSystemHolds({ fileSystems, holds, changes, clock, log: options.log }),
    relived: new RelivedTime(kv, clock),
    grants: new Grants(kv, clock),
    guard: new DeletionGuard(options.guard ?? { share: 1, filesMin: 100_000 }),
    hash: simHash,
    roots,
    settleMs: 3,
    restMaxMs: 1000,
    scrub: options.scrub ? { ...options.scrub, reader: filesReader(fileSystems.files, clock) } : null,
  };
  const primary: PrimaryRole = new PrimaryRole(parts, options.epoch ?? firstEpoch, () => ({
    ...heartbeatOf('primary', clock, primary.sender.phase, primary.sender.complete),
    lagChanges: primary.lag().changes,
  }));
  const watcher = new SimWatcher(
    host.disk,
    files,
    clock,
    options.watcherRandom,
    {
      roots,
      barrierDir: '/barrier',
      ignores: (name, path) => roots.find((root) => root.name === name)?.format.classify(path, null).ignored ?? true,
      onHints: (hints) => primary.hints(hints),
      onFailure: (error) => errors.push(error),
    },
    { overflowShare: options.overflowShare, ...(options.delayMs ? { delayMs: options.delayMs } : {}) },
  );
  parts.fileSystemHolds.look();
  void watcher.start();
  parts.fileSystemHolds.onMoved((places) => {
    watcher.seeMounts();
    primary.hints(places.map(({ root, path }) => ({ kind: 'tree', root, path })));
  });
  primary.watch((timeoutMs) => watcher.barrier(timeoutMs));
  primary.start();
  primary.run(new AbortController().signal, 0).catch((error: unknown) => errors.push(error));
  const process: SimProcess = {
    clock,
    files,
    kv,
    index: parts.index,
    primary,
    standby: null,
    ready: Promise.resolve(),
    errors,
    hello: () => helloOf(host, 'primary', process, () => primary.sender.position),
  };
  return process;
}

/** Starts the standby's agent: does again what a crash may have lost. */
export function startStandby(host: SimHost, clock: HostClock, options: ProcessOptions): SimProcess {
  const files = host.disk.open(clock, placesOf(host));
  options.onFiles?.(files);
  const store = host.store.open(clock);
  const kv = options.breakage?.standbyKv?.(store) ?? store;
  const errors: unknown[] = [];
  const roots: Root[] = host.roots.map(({ name, path, format }) => ({
    name,
    path,
    format: withoutOwnNames(excluding(simFormat(format), host.exclude ?? [])),
    staging: '',
  }));
  const index = new ReplicaIndex(kv, { findByIdentity: false });
  const fileSystems = new FileSystems({
    files,
    kv,
    index,
    roots,
    newMark: () => String(++marks),
    monotonicMs: () => clock.monotonicMs(),
    acceptCommand: (place) => `accept ${place}`,
  });
  const away = fileSystems.look().troubles.find(({ path }) => path === '');
  if (away) throw new RootAway(away);
  for (const root of roots) root.staging = chooseStaging(files, root, `/state-${host.name}`, null);
  const parts = {
    kv,
    files: fileSystems.files,
    fileSystems,
    clock,
    log: options.log,
    meter: silentMeter,
    index,
    keeper: new HistoryKeeper(kv, { days: 14, bytesMax: 1e12 }),
    roots,
    freeBytesMin: 0,
    scrub: options.scrub ? { ...options.scrub, reader: filesReader(fileSystems.files, clock) } : null,
  };
  const standby = new StandbyRole(parts, () => ({
    ...heartbeatOf('standby', clock, 'streaming'),
    fileSystems: toldOf(fileSystems.troubles),
  }));
  const ready = standby.start();
  const watcher = new SimWatcher(
    host.disk,
    files,
    clock,
    options.watcherRandom,
    {
      roots,
      barrierDir: '/barrier',
      ignores: (name, path) => roots.find((root) => root.name === name)?.format.classify(path, null).ignored ?? true,
      onHints: (hints) => standby.hints(hints),
      onFailure: (error) => errors.push(error),
    },
    // The harder case: every change of its own comes back as a hint, and must not look like somebody else's (I2).
    { overflowShare: options.overflowShare, hearsItself: true },
  );
  void ready.then(
    () => watcher.start().then(() => standby.watched('chokidar')),
    () => {},
  );
  standby.onMoved(() => watcher.seeMounts());
  standby.run(new AbortController().signal).catch((error: unknown) => errors.push(error));
  const process: SimProcess = {
    clock,
    files,
    kv,
    index: parts.index,
    primary: null,
    standby,
    ready,
    errors,
    hello: () => helloOf(host, 'standby', process, () => standby.receiver.position),
  };
  return process;
}
