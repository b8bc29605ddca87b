import { randomBytes } from 'node:crypto';
import type { Status } from '../../protocol/control.ts';
import type { MessageOf, Role } from '../../protocol/messages.ts';
import type { CertificateTold } from '../../protocol/certificate.ts';
import type { QueueReading } from '../../protocol/queue.ts';
import type { Releases } from '../../protocol/releases.ts';
import type { PeerWord } from '../../protocol/takeover.ts';
import type { Position } from '../../protocol/position.ts';
import type { Config } from '../config/config.ts';
import { loadHash64 } from '../delta/xxhash.ts';
import { HistoryKeeper } from '../history/keeper.ts';
import { Changes } from '../journal/changes.ts';
import { metaKey } from '../journal/keys.ts';
import { ReplicaIndex } from '../journal/replica-index.ts';
import { indexOf, noteIndexOf, ownDiskKey, turnRound } from '../journal/turn-round.ts';
import { ChannelClosed, type Channel } from '../link/channel.ts';
import type { Hello } from '../link/handshake.ts';
import { mailboxesBelow } from '../mailstore/mailbox-walk.ts';
import type { Meter } from '../observe/meter.ts';
import { sleep, systemClock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Kv } from '../platform/kv.ts';
import type { Log } from '../platform/log.ts';
import { DiskReader } from '../platform/disk-reader.ts';
import { errnoCode, joinPath, type Files } from '../platform/files.ts';
import { AbilityTalk } from '../replicate/ability-talk.ts';
import { forgetLastHeard } from '../replicate/last-heard.ts';
import { PeerView } from '../replicate/peer-view.ts';
import { Damage } from '../replicate/primary/damage.ts';
import { Grants } from '../replicate/primary/grants.ts';
import { DeletionGuard } from '../replicate/primary/guard.ts';
import { HeldPlaces } from '../replicate/primary/held-places.ts';
import { notCompared } from '../replicate/primary/not-compared.ts';
import { RelivedTime } from '../replicate/primary/relived-time.ts';
import { PrimaryRole } from '../replicate/primary/role.ts';
import { FileSystemHolds } from '../replicate/primary/file-system-holds.ts';
import { Unproven } from '../replicate/primary/unproven.ts';
import { FileSystems, RootAway, rootTrouble } from '../replicate/file-systems.ts';
import type { Root } from '../replicate/root.ts';
import { packPosition, readPosition, Receiver, type ReceiverParts } from '../replicate/standby/receiver.ts';
import { diskScrubReader } from '../replicate/scrub/reading.ts';
import type { ScrubSettings } from '../replicate/scrub/scrubber.ts';
import type { HeldDisk } from '../replicate/status.ts';
import { slowDisk } from '../replicate/slow-disk.ts';
import { StandbyRole } from '../replicate/standby/role.ts';
import { acceptOwnDisk } from '../replicate/standby/own-disk.ts';
import { checkForeign, noteForeign, type ForeignPolicy, type StartupParts } from '../replicate/standby/startup.ts';
import { keepWatching, type Watching } from './keep-watching.ts';
import { namesOf, ownAbilities } from './abilities.ts';
import { without } from './peer-asks.ts';
import { heartbeatOf, type Health } from './heartbeat.ts';
import { filesOf, hashSeed, makeRoots, stageRoots } from './parts.ts';

/** What a role is made of. */
export interface RoleParts {
  config: Config;
  log: Log;
  kv: Kv;
  meter: Meter;
  /** Durable role and epoch, and whether this node may hold the service: what the other one is told. */
  word: () => Pick<PeerWord, 'role' | 'epoch' | 'active'>;
  /** Mail that waits on this node; null when no queue is watched. */
  queue: () => QueueReading | null;
  /** The certificate that clients see, or would see; null when it is not known. */
  certificate: () => CertificateTold | null;
  /** Which releases this node runs; null before they were read. */
  releases: () => Releases | null;
  /** A part of it failed in a way that nobody foresaw: the role is left and entered again. */
  failed: (what: string) => (error: unknown) => void;
}

/** What a person is told of the file systems of the roots, and may decide about them. */
export interface RoleDisks {
  /** What is missing, or another one than before, here or as the other node tells. */
  troubles(): readonly HeldDisk[];
  /** What stands at these places (`root` or `root/path`) is right. Returns those where something was wrong. */
  accept(places: readonly string[]): string[];
}

/** A role at work, as the rest of the agent sees it. At most one of `primary` and `standby` is there. */
export interface RunningRole {
  readonly role: Role;
  /** The role cannot be entered now, and is tried again: the node only tells where it stands. */
  readonly waits: boolean;
  readonly roots: readonly Root[];
  readonly primary: PrimaryRole | null;
  readonly standby: StandbyRole | null;
  readonly peer: PeerView;
  readonly index: ReplicaIndex;
  /** The file systems of the roots. */
  readonly disks: RoleDisks;
  position(): Position;
  capture(): Status['capture'];
  /** What the standby's file systems cannot keep as the primary's do, as told with the last connection. */
  fileSystems(): Status['fileSystems'];
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
  const roots = makeRoots(parts.config);
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

async function finishBatch(parts: RoleParts): Promise<void> {
  const { receiver: made } = standbyParts(parts, makeRoots(parts.config));
  const receiver = new Receiver({ ...made, scrub: null });
  await receiver.recover();
  await receiver.finish();
}

/** What a standby works with, its roots staged. `rootFiles`: the files as they are where a file system of a root is missing, too. */
function standbyParts({ config, log, kv, meter }: RoleParts, roots: readonly Root[]): { receiver: ReceiverParts; rootFiles: Files } {
  const index = new ReplicaIndex(kv, { findByIdentity: false });
  const keeper = new HistoryKeeper(kv, { days: config.history.days, bytesMax: config.history.bytesMax });
  const rootFiles = filesOf(config, () => roots);
  const fileSystems = standing(fileSystemsOf(rootFiles, kv, index, roots, 'standby'));
  stageRoots(rootFiles, config, roots);
  const { files } = fileSystems;
  const { freeBytesMin } = config.limits;
  const scrub = scrubOf(config, files);
  return { receiver: { kv, files, fileSystems, clock: systemClock, log, meter, index, keeper, roots, freeBytesMin, scrub }, rootFiles };
}

function scrubOf({ scrub: { days, bytesPerSecondMax } }: Config, files: Files): ScrubSettings | null {
  return days === 0 ? null : { days, bytesPerSecondMax, reader: diskScrubReader(files, new DiskReader()) };
}

/** What lies below the roots, looked at once. Who is no standby writes nothing there, not even a mark. */
function fileSystemsOf(files: Files, kv: Kv, index: ReplicaIndex, roots: readonly Root[], role: 'primary' | 'standby' | null): FileSystems {
  const newMark = role === 'standby' ? () => randomBytes(8).toString('hex') : null;
  const acceptCommand = (place: string) => `run \`mailtwin accept-root ${place}\` on this node`;
  const fileSystems = new FileSystems({
    files,
    kv,
    index,
    roots,
    newMark,
    acceptCommand,
    monotonicMs: () => systemClock.monotonicMs(),
  });
  fileSystems.look();
  return fileSystems;
}

/** A person accepts what stands at a standby's places: its index is made to say what is there, and the primary compares it. */
function acceptOn(fileSystems: FileSystems, kv: Kv, places: readonly string[]): string[] {
  const accepted = fileSystems.accept(places);
  if (accepted.length > 0) kv.commit([[ownDiskKey, Buffer.from([1])]]);
  return accepted;
}

function rootsAccepted(places: readonly string[]): OperatorError {
  return new OperatorError(
    'roots-accepted',
    `${places.join(', ')} was accepted as it is; the standby looks at it from the beginning`,
    'nothing: it goes on by itself',
  );
}

/**
 * Nothing may be written below a root that is not in its place.
 *
 * @throws RootAway when it was there before and is waited for; OperatorError when it never was.
 */
function standing(fileSystems: FileSystems): FileSystems {
  const trouble = rootTrouble(fileSystems);
  if (!trouble) return fileSystems;
  if (fileSystems.knows(trouble.root)) throw new RootAway(trouble);
  throw new OperatorError(trouble.code, trouble.detail, trouble.remedy);
}

async function turn({ config, kv, log }: RoleParts, roots: readonly Root[], to: 'primary' | 'standby'): Promise<void> {
  const started = systemClock.monotonicMs();
  const { files } = fileSystemsOf(
    filesOf(config, () => roots),
    kv,
    new ReplicaIndex(kv, { findByIdentity: false }),
    roots,
    to,
  );
  await turnRound(
    {
      kv,
      clock: systemClock,
      roots: roots.map(({ name }) => name),
      identify(name, path) {
        const root = roots.find((r) => r.name === name);
        const stat = root ? files.lstat(`${root.path}/${path}`) : null;
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
  const rootFiles = filesOf(config, () => roots);
  const fileSystems = fileSystemsOf(rootFiles, kv, index, roots, 'primary');
  const trouble = rootTrouble(fileSystems);
  // A root that was never there is a mistake in the configuration; one that was there is waited for.
  if (trouble && !fileSystems.knows(trouble.root)) throw new OperatorError(trouble.code, trouble.detail, trouble.remedy);
  kv.commit([forgetLastHeard()]);
  const changes = new Changes(kv, systemClock.monotonicMs());
  const holds = new HeldPlaces();
  const fileSystemHolds = new FileSystemHolds({ fileSystems, holds, changes, clock: systemClock, log });
  const role: PrimaryRole = new PrimaryRole(
    {
      kv,
      files: fileSystems.files,
      clock: systemClock,
      log,
      meter,
      index,
      changes,
      unproven: new Unproven(kv, systemClock, log),
      damage: new Damage(kv, systemClock, log),
      holds,
      fileSystems,
      fileSystemHolds,
      relived: new RelivedTime(kv, systemClock),
      grants: new Grants(kv, systemClock),
      guard: new DeletionGuard({ share: config.limits.massDeleteShare, filesMin: config.limits.massDeleteFilesMin }),
      hash: await loadHash64(hashSeed(kv)),
      roots,
      settleMs: config.capture.settleMs,
      restMaxMs: config.capture.restMaxMs,
      scrub: scrubOf(config, fileSystems.files),
    },
    parts.word().epoch,
    () => {
      const left = notCompared(role);
      return beat(parts, roots, role.sender.position, {
        ...role.lag(),
        phase: role.sender.putBack.found ? 'put-back' : role.sender.phase,
        complete: role.sender.complete,
        appliedMs: null,
        loss: { ...role.loss(), filesTotal: role.count?.files ?? null },
        unproven: role.unproven.count,
        leftOut: left.count,
        warnings: [...(role.sender.held ? [role.sender.held.detail] : []), ...slowTexts(parts, 0), ...left.texts],
        doubts: role.ownDoubts(),
        ...role.laggingTold(),
        fileSystems: fileSystems.troubles,
        damaged: role.damage.count,
      });
    },
  );
  fileSystemHolds.look();
  const stopping = new AbortController();
  const watching = await keepWatching({
    config,
    log,
    roots,
    onHints: (hints) => role.hints(hints),
    // What is missing cannot be watched; when it comes the watcher is made anew.
    isAway: (name) => fileSystems.covering(name, '') !== null,
    mustStart: trouble === null,
    signal: stopping.signal,
    failed,
  });
  fileSystemHolds.onMoved((places) => watching.moved(places));
  role.watch((timeoutMs) => watching.barrier(timeoutMs));
  const talk = abilityTalk(parts, rootFiles, 'primary', roots);
  return {
    role: 'primary',
    waits: false,
    roots,
    primary: role,
    standby: null,
    peer: role.peer,
    index,
    disks: {
      troubles: () => [...fileSystems.troubles, ...holds.list().filter((place) => place.code === 'standby-mount')],
      accept: (places) => role.acceptRoots(places),
    },
    position: () => role.sender.position,
    capture: () => watching.capture(),
    fileSystems: () => talk.findings,
    fillTotal: () => role.count?.files ?? null,
    serve: (channel, hello, address) => void role.serve(talking(talk, channel, hello, failed), hello, address).catch(failed),
    idle: () => role.sender.idle(),
    start() {
      role.start();
      role.run(stopping.signal, config.capture.rescanHours).catch(failed);
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
  const { config, log, kv } = parts;
  const failed = parts.failed('the standby');
  const made = standbyParts(parts, roots);
  const { rootFiles } = made;
  const { index, fileSystems, files } = made.receiver;
  const role: StandbyRole = new StandbyRole(made.receiver, () =>
    beat(parts, roots, role.receiver.position, {
      changes: 0,
      bytes: 0,
      ms: 0,
      phase: 'streaming',
      complete: false,
      loss: null,
      appliedMs: role.receiver.lastAppliedWallMs,
      unproven: role.foreign().length,
      leftOut: 0,
      warnings: [
        ...slowTexts(parts, role.receiver.syncingMs),
        ...role
          .foreign()
          .slice(0, 5)
          .map(({ path, what }) => `${path}: ${what}`),
      ],
      doubts: [],
      laggingCount: 0,
      lagging: [],
      fileSystems: role.fileSystems,
      damaged: role.receiver.damaged.length,
    }),
  );
  await role.start();
  const mounted = (root: string, path: string) => fileSystems.leadsToMount(root, path);
  const startup = { files, kv, clock: systemClock, index, roots, mounted };
  const isOwnDisk = kv.get(ownDiskKey) !== undefined;
  // What was foreign in an earlier life as a standby is this node's own store by now.
  if (isOwnDisk) role.receiver.foreign.forget(role.receiver.foreign.mark());
  const { adopted, movedAside } = isOwnDisk
    ? { adopted: await acceptOwnDisk(startup), movedAside: 0 }
    : await foreignFiles(startup, foreign, role.receiver);
  // They belong to indexes that the other node's are about to replace.
  if (isOwnDisk) dropCaches(rootFiles, roots, log);
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
  role.onMoved((came) => watching?.moved(came));
  const began = watchFilled().catch(failed);
  const talk = abilityTalk(parts, rootFiles, 'standby', roots);
  return {
    role: 'standby',
    waits: false,
    roots,
    primary: null,
    standby: role,
    peer: role.peer,
    index,
    disks: {
      troubles: () => fileSystems.troubles,
      accept(places) {
        const accepted = acceptOn(fileSystems, kv, places);
        // What is there now is looked at from the beginning.
        if (accepted.length > 0) failed(rootsAccepted(accepted));
        return accepted;
      },
    },
    position: () => role.receiver.position,
    capture: () => watching?.capture() ?? noCapture,
    fileSystems: () => talk.findings,
    fillTotal: () => null,
    serve: (channel, hello, address) => void role.serve(talking(talk, channel, hello, failed), hello, address).catch(failed),
    idle: () => role.idle(),
    start: () => void role.run(stopping.signal).catch(failed),
    async stop() {
      stopping.abort();
      await began;
      await watching?.stop();
      role.receiver.leave();
      await role.idle();
    },
  };
}

/**
 * A standby that never had anything of a primary refuses to start on files: they may be the only copy of that mail. One
 * that has a position of its primary holds a copy: a mail server that came up before the agent is no reason to stay away.
 */
async function foreignFiles(
  startup: StartupParts,
  policy: ForeignPolicy,
  { position, foreign }: Receiver,
): Promise<{ adopted: number; movedAside: number }> {
  if (policy !== 'refuse' || position.epoch === 0) return checkForeign(startup, policy);
  await noteForeign(startup, (path, what) => foreign.note(path, what));
  return { adopted: 0, movedAside: 0 };
}

/** Dovecot's caches are derived and not replicated: one that does not fit its index is taken for corruption. */
function dropCaches(files: Files, roots: readonly Root[], log: Log): void {
  // A cache that stays is a line in the mail server's log, and no reason not to be a standby.
  const left = (error: unknown) => {
    if (errnoCode(error) === undefined) throw error;
    log.warn({ error }, 'a cache of an index of this disk could not be removed');
  };
  for (const { path, format } of roots)
    for (const { dir, names } of mailboxesBelow(files, path, { unreadable: left, excluded: format.excluded }))
      try {
        if (names.has(cacheName)) files.unlink(joinPath(dir, cacheName));
      } catch (error) {
        left(error);
      }
}

/** A node that was replaced: it listens, tells where it stands, and changes nothing. */
function enterFenced(parts: RoleParts, roots: readonly Root[], wasPrimary: boolean): RunningRole {
  return standsAside(parts, 'fenced', roots, wasPrimary, () => [], null);
}

function slowTexts({ kv, config }: RoleParts, syncingMs: number): string[] {
  const slow = slowDisk(kv, config.state, syncingMs);
  return slow ? [slow.text] : [];
}

/** A role that could not be entered, or failed: until it is entered again the node stands aside, and says why. */
export function waitingRole(parts: RoleParts, role: Role, warnings: () => readonly string[]): RunningRole {
  const roots = makeRoots(parts.config);
  const fileSystems =
    role === 'standby'
      ? fileSystemsOf(
          filesOf(parts.config, () => roots),
          parts.kv,
          new ReplicaIndex(parts.kv, { findByIdentity: false }),
          roots,
          null,
        )
      : null;
  return { ...standsAside(parts, role, roots, role === 'primary', warnings, fileSystems), waits: true };
}

function standsAside(
  parts: RoleParts,
  role: Role,
  roots: readonly Root[],
  wasPrimary: boolean,
  warnings: () => readonly string[],
  fileSystems: FileSystems | null,
): RunningRole {
  const index = new ReplicaIndex(parts.kv, { findByIdentity: wasPrimary });
  const position = () => readPosition(parts.kv, metaKey(wasPrimary ? 'sent-position' : 'position'));
  const phase = role === 'fenced' ? 'fenced' : 'waiting';
  const peer = new PeerView(systemClock, () =>
    beat(parts, roots, position(), {
      changes: 0,
      bytes: 0,
      ms: 0,
      phase,
      complete: false,
      appliedMs: null,
      loss: null,
      unproven: 0,
      leftOut: 0,
      warnings: [...warnings()].slice(0, 5),
      doubts: [],
      laggingCount: 0,
      lagging: [],
      fileSystems: fileSystems?.look().troubles ?? [],
      damaged: 0,
    }),
  );
  return {
    role,
    waits: false,
    roots,
    primary: null,
    standby: null,
    peer,
    index,
    disks: {
      troubles: () => fileSystems?.troubles ?? [],
      accept: (places) => (fileSystems ? acceptOn(fileSystems, parts.kv, places) : []),
    },
    position,
    capture: () => noCapture,
    fileSystems: () => [],
    fillTotal: () => null,
    serve: (channel, hello, address) => meet(peer, channel, hello, address),
    idle: async () => {},
    start: () => {},
    stop: async () => {},
  };
}

function abilityTalk({ config, log }: RoleParts, files: Files, role: 'primary' | 'standby', roots: readonly Root[]): AbilityTalk {
  return new AbilityTalk({ role, node: config.node, log, own: () => ownAbilities(files, roots, role), namesOf });
}

/** A connection on which the two also tell each other what their file systems can do. */
function talking(talk: AbilityTalk, channel: Channel, hello: Hello, failed: (error: unknown) => void): Channel {
  const quietly = (error: unknown) => {
    if (!(error instanceof ChannelClosed)) failed(error);
  };
  talk.connected(channel).catch(quietly);
  return without(channel, (message) => {
    if (message.type !== 'abilities') return false;
    talk.take(channel, message, hello.node).catch(quietly);
    return true;
  });
}

/** A connection on which nothing is replicated: the two only tell each other where they stand. */
export function meet(peer: PeerView, channel: Channel, hello: Hello, address: string): void {
  peer.attach(channel, hello, address);
  channel.onMessage((message, done) => {
    peer.take(message);
    done();
  });
}

function beat(
  parts: RoleParts,
  roots: readonly Root[],
  position: Position,
  health: Omit<Health, 'active' | 'queue' | 'certificate' | 'releases'>,
): MessageOf<'heartbeat'> {
  const { role, epoch, active } = parts.word();
  const { trouble } = parts.kv;
  const warnings = trouble
    ? [`${trouble.code}: ${trouble.detail}`, ...health.warnings.filter((text) => text !== trouble.detail)]
    : health.warnings;
  const files = filesOf(parts.config, () => roots);
  return heartbeatOf(role, epoch, files, roots, position, {
    ...health,
    warnings,
    active,
    queue: parts.queue(),
    certificate: parts.certificate(),
    releases: parts.releases(),
  });
}
