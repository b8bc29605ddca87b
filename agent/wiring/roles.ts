import { randomBytes } from 'node:crypto';
import type { Status } from '../../protocol/control.ts';
import type { MessageOf, Role } from '../../protocol/messages.ts';
import type { PeerWord } from '../../protocol/takeover.ts';
import type { Position } from '../../protocol/position.ts';
import type { Config } from '../config/config.ts';
import { loadHash64 } from '../delta/xxhash.ts';
import { HistoryKeeper } from '../history/keeper.ts';
import { Changes } from '../journal/changes.ts';
import { metaKey } from '../journal/keys.ts';
import { ReplicaIndex } from '../journal/replica-index.ts';
import { indexOf, noteIndexOf, ownDiskKey, turnRound } from '../journal/turn-round.ts';
import type { Channel } from '../link/channel.ts';
import type { Hello } from '../link/handshake.ts';
import { mailboxesBelow } from '../mailstore/mailbox-walk.ts';
import type { Meter } from '../observe/meter.ts';
import { sleep, systemClock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Kv } from '../platform/kv.ts';
import type { Log } from '../platform/log.ts';
import { errnoCode, joinPath } from '../platform/files.ts';
import { realFiles } from '../platform/real-files.ts';
import { PeerView } from '../replicate/peer-view.ts';
import { countFiles } from '../replicate/primary/count.ts';
import { DeletionGuard } from '../replicate/primary/guard.ts';
import { RelivedTime } from '../replicate/primary/relived-time.ts';
import { PrimaryRole } from '../replicate/primary/role.ts';
import { checkRoots } from '../replicate/primary/root-check.ts';
import { Unproven } from '../replicate/primary/unproven.ts';
import type { Root } from '../replicate/root.ts';
import { packPosition, readPosition, Receiver } from '../replicate/standby/receiver.ts';
import { StandbyRole } from '../replicate/standby/role.ts';
import { acceptOwnDisk } from '../replicate/standby/own-disk.ts';
import { checkForeign, type ForeignPolicy } from '../replicate/standby/startup.ts';
import { keepWatching, type Watching } from './keep-watching.ts';
import { heartbeatOf, type Health } from './heartbeat.ts';
import { hashSeed, makeRoots } from './parts.ts';

/** What a role is made of. */
export interface RoleParts {
  config: Config;
  log: Log;
  kv: Kv;
  meter: Meter;
  /** Durable role and epoch, and whether this node may hold the service: what the other one is told. */
  word: () => Pick<PeerWord, 'role' | 'epoch' | 'active'>;
  /** A part of it failed in a way that nobody foresaw. */
  failed: (what: string) => (error: unknown) => void;
}

/** A role at work, as the rest of the agent sees it. At most one of `primary` and `standby` is there. */
export interface RunningRole {
  readonly role: Role;
  readonly roots: readonly Root[];
  readonly primary: PrimaryRole | null;
  readonly standby: StandbyRole | null;
  readonly peer: PeerView;
  readonly index: ReplicaIndex;
  position(): Position;
  capture(): Status['capture'];
  fillTotal(): number | null;
  /** Takes a connection with a peer in the other role. */
  serve(channel: Channel, hello: Hello, address: string): void;
  /** Resolves when what the last connection brought is in place. */
  idle(): Promise<void>;
  /** Begins the work in the background. */
  start(): void;
  /** Ends it; connections have ended before. */
  stop(): Promise<void>;
}

/** How often a standby that is being filled looks whether it is. */
const filledPollMs = 500;
const cacheName = 'dovecot.index.cache';
const noCapture: Status['capture'] = { watcher: 'none', watches: 0, overflows: 0 };

/**
 * Makes this node what its durable role says. Leaving a role undoes everything; what it knew is in the store.
 *
 * @throws OperatorError when the role cannot be entered as the node is configured; nothing is left running then.
 */
export async function enterRole(parts: RoleParts, role: Role, foreign: ForeignPolicy): Promise<RunningRole> {
  const roots = makeRoots(parts.config, role);
  if (role !== 'fenced') noteIndexOf(parts.kv, role);
  const index = indexOf(parts.kv) ?? 'primary';
  // A takeover that was killed may have left a batch that is durable and not in place: its list goes with the turn.
  if (role === 'primary' && index === 'standby') await finishBatch(parts);
  // A fenced node's index stays as it is: it tells what the other one was known to have.
  if (role !== 'fenced' && index !== role) await turn(parts, roots, role);
  if (role === 'primary') return enterPrimary(parts, roots);
  if (role === 'standby') return enterStandby(parts, roots, foreign);
  return enterFenced(parts, roots, index === 'primary');
}

async function finishBatch({ config, log, kv, meter }: RoleParts): Promise<void> {
  const roots = makeRoots(config, 'standby');
  const index = new ReplicaIndex(kv, { findByIdentity: false });
  const keeper = new HistoryKeeper(kv, { days: config.history.days, bytesMax: config.history.bytesMax });
  const freeBytesMin = config.limits.freeBytesMin;
  await new Receiver({ kv, files: realFiles, clock: systemClock, log, meter, index, keeper, roots, freeBytesMin }).recover();
}

async function turn({ kv, log }: RoleParts, roots: readonly Root[], to: 'primary' | 'standby'): Promise<void> {
  const started = systemClock.monotonicMs();
  await turnRound(
    {
      kv,
      clock: systemClock,
      roots: roots.map(({ name }) => name),
      identify(name, path) {
        const root = roots.find((r) => r.name === name);
        const stat = root ? realFiles.lstat(`${root.path}/${path}`) : null;
        return stat?.kind === 'dir' ? { ino: stat.ino, btimeNs: stat.btimeNs } : null;
      },
    },
    to,
  );
  log.info({ ms: Math.round(systemClock.monotonicMs() - started) }, `the index is a ${to}'s now`);
}

async function enterPrimary(parts: RoleParts, roots: readonly Root[]): Promise<RunningRole> {
  const { config, log, kv, meter } = parts;
  const failed = parts.failed('the primary');
  const index = new ReplicaIndex(kv, { findByIdentity: true });
  const trouble = checkRoots(roots, realFiles, kv, index);
  if (trouble && trouble.code !== 'root-changed') throw new OperatorError(trouble.code, trouble.detail, trouble.remedy);
  const role: PrimaryRole = new PrimaryRole(
    {
      kv,
      files: realFiles,
      clock: systemClock,
      log,
      meter,
      index,
      changes: new Changes(kv, systemClock.monotonicMs()),
      unproven: new Unproven(kv),
      relived: new RelivedTime(kv, systemClock),
      guard: new DeletionGuard({ share: config.limits.massDeleteShare, filesMin: config.limits.massDeleteFilesMin }),
      hash: await loadHash64(hashSeed(kv)),
      roots,
      settleMs: config.capture.settleMs,
      restMaxMs: config.capture.restMaxMs,
    },
    parts.word().epoch,
    () =>
      beat(parts, roots, role.sender.position, {
        ...role.lag(),
        phase: role.sender.phase,
        unproven: role.unproven.count,
        warnings: role.sender.held ? [role.sender.held.detail] : [],
      }),
  );
  const stopping = new AbortController();
  const watching = await keepWatching({
    config,
    log,
    roots,
    onHints: (hints) => role.hints(hints),
    mustStart: true,
    signal: stopping.signal,
    failed,
  });
  role.sender.onRootsBack(() => watching.anew('the root was away'));
  role.watch((timeoutMs) => watching.barrier(timeoutMs));
  let total: number | null = null;
  return {
    role: 'primary',
    roots,
    primary: role,
    standby: null,
    peer: role.peer,
    index,
    position: () => role.sender.position,
    capture: () => watching.capture(),
    fillTotal: () => total,
    serve: (channel, hello, address) => void role.serve(channel, hello, address).catch(failed),
    idle: () => role.sender.idle(),
    start() {
      role.start();
      role.run(stopping.signal, config.capture.rescanHours).catch(failed);
      if (!role.sender.filled) countFiles(realFiles, systemClock, roots, stopping.signal).then((files) => (total = files), failed);
    },
    async stop() {
      stopping.abort();
      await watching.stop();
      await role.sender.idle();
      role.save();
    },
  };
}

async function enterStandby(parts: RoleParts, roots: readonly Root[], foreign: ForeignPolicy): Promise<RunningRole> {
  const { config, log, kv, meter } = parts;
  const failed = parts.failed('the standby');
  const index = new ReplicaIndex(kv, { findByIdentity: false });
  const keeper = new HistoryKeeper(kv, { days: config.history.days, bytesMax: config.history.bytesMax });
  const role: StandbyRole = new StandbyRole(
    { kv, files: realFiles, clock: systemClock, log, meter, index, keeper, roots, freeBytesMin: config.limits.freeBytesMin },
    () =>
      beat(parts, roots, role.receiver.position, {
        changes: 0,
        bytes: 0,
        ms: 0,
        phase: 'streaming',
        unproven: role.foreign().length,
        warnings: role
          .foreign()
          .slice(0, 5)
          .map(({ path, what }) => `${path}: ${what}`),
      }),
  );
  await role.start();
  const startup = { files: realFiles, kv, clock: systemClock, index, roots };
  const isOwnDisk = kv.get(ownDiskKey) !== undefined;
  // What was foreign in an earlier life as a standby is this node's own store by now.
  if (isOwnDisk) role.receiver.foreign.forget(role.receiver.foreign.mark());
  const { adopted, movedAside } = isOwnDisk
    ? { adopted: await acceptOwnDisk(startup), movedAside: 0 }
    : await checkForeign(startup, foreign);
  // They belong to indexes that the other node's are about to replace.
  if (isOwnDisk) dropCaches(roots, log);
  if (adopted > 0) {
    // A position that no primary made: the next connection begins with a comparison.
    kv.commit([[metaKey('position'), packPosition({ epoch: 0, seq: 0, checksum: randomBytes(8).toString('hex') })]]);
    log.info({ adopted }, 'what was there was adopted; the primary compares it and sends what differs');
    role.receiver.reload();
  }
  kv.commit([[ownDiskKey, null]]);
  if (movedAside > 0) log.info({ movedAside }, 'files that were there were moved aside');
  const stopping = new AbortController();
  // Nobody but the receiver writes here (I2): whoever does all the same is seen.
  let watching: Watching | null = null;
  const watchFilled = async (): Promise<void> => {
    // A fill would give the watcher nothing but this agent's own work to tell apart. What is written meanwhile is found
    // by the comparison with which the watch begins, and nobody takes over before that.
    while (!role.filled && !stopping.signal.aborted) await sleep(systemClock, filledPollMs, stopping.signal);
    if (stopping.signal.aborted) return;
    watching = await keepWatching({
      config,
      log,
      roots,
      onHints: (hints) => role.hints(hints),
      onBegun: (kind) => role.watched(kind),
      mustStart: false,
      signal: stopping.signal,
      failed,
    });
  };
  const began = watchFilled().catch(failed);
  return {
    role: 'standby',
    roots,
    primary: null,
    standby: role,
    peer: role.peer,
    index,
    position: () => role.receiver.position,
    capture: () => watching?.capture() ?? noCapture,
    fillTotal: () => null,
    serve: (channel, hello, address) => void role.serve(channel, hello, address).catch(failed),
    idle: () => role.idle(),
    start: () => void role.run(stopping.signal).catch(failed),
    async stop() {
      stopping.abort();
      await began;
      await watching?.stop();
      await role.idle();
    },
  };
}

/** Dovecot's caches are derived and not replicated: one that does not fit its index is taken for corruption. */
function dropCaches(roots: readonly Root[], log: Log): void {
  // A cache that stays is a line in the mail server's log, and no reason not to be a standby.
  const left = (error: unknown) => {
    if (errnoCode(error) === undefined) throw error;
    log.warn({ error }, 'a cache of an index of this disk could not be removed');
  };
  for (const { path } of roots)
    for (const { dir, names } of mailboxesBelow(realFiles, path, { unreadable: left }))
      try {
        if (names.has(cacheName)) realFiles.unlink(joinPath(dir, cacheName));
      } catch (error) {
        left(error);
      }
}

/** A node that was replaced: it listens, tells where it stands, and changes nothing. */
function enterFenced(parts: RoleParts, roots: readonly Root[], wasPrimary: boolean): RunningRole {
  const index = new ReplicaIndex(parts.kv, { findByIdentity: wasPrimary });
  const position = () => readPosition(parts.kv, metaKey(wasPrimary ? 'sent-position' : 'position'));
  const health = { changes: 0, bytes: 0, ms: 0, phase: 'fenced', unproven: 0, warnings: [] };
  const peer = new PeerView(systemClock, () => beat(parts, roots, position(), health));
  return {
    role: 'fenced',
    roots,
    primary: null,
    standby: null,
    peer,
    index,
    position,
    capture: () => noCapture,
    fillTotal: () => null,
    serve: (channel, hello, address) => meet(peer, channel, hello, address),
    idle: async () => {},
    start: () => {},
    stop: async () => {},
  };
}

/** A connection on which nothing is replicated: the two only tell each other where they stand. */
export function meet(peer: PeerView, channel: Channel, hello: Hello, address: string): void {
  peer.attach(channel, hello, address);
  channel.onMessage((message, done) => {
    peer.take(message);
    done();
  });
}

function beat(parts: RoleParts, roots: readonly Root[], position: Position, health: Omit<Health, 'active'>): MessageOf<'heartbeat'> {
  const { role, epoch, active } = parts.word();
  return heartbeatOf(role, epoch, realFiles, roots, position, { ...health, active });
}
