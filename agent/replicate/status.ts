import type { LastVerify, Phase, Status } from '../../protocol/control.ts';
import type { MessageOf, Role } from '../../protocol/messages.ts';
import type { QueueReading } from '../../protocol/queue.ts';
import { showPosition } from '../../protocol/position.ts';
import { lacks } from '../../protocol/shortfall.ts';
import type { Config } from '../config/config.ts';
import { metaKey } from '../journal/keys.ts';
import type { ReplicaIndex } from '../journal/replica-index.ts';
import type { Clock } from '../platform/clock.ts';
import { displayPath, errnoCode, type Files } from '../platform/files.ts';
import type { Kv } from '../platform/kv.ts';
import type { PeerReading, PeerView } from './peer-view.ts';
import { noRoomReason } from './primary/lagging.ts';
import { isUnexpected, leftOutTexts, showLeftOut } from './primary/left-out.ts';
import type { HeldPlace } from './primary/held-places.ts';
import type { PrimaryRole } from './primary/role.ts';
import type { Root } from './root.ts';
import { slowDisk } from './slow-disk.ts';
import type { StandbyRole } from './standby/role.ts';
import { damageWarnings, scrubState } from './scrub/status.ts';
import { verdictOf } from './verdict.ts';

/** A place that waits for a disk. */
export type HeldDisk = Pick<HeldPlace, 'root' | 'path' | 'detail' | 'remedy' | 'sinceMs'> & { code: string };

/** What status is made of. At most one of the roles is there. */
export interface StatusParts {
  config: Config;
  role: Role;
  epoch: number;
  agentVersion: string;
  clock: Clock;
  files: Files;
  kv: Kv;
  index: ReplicaIndex;
  roots: readonly Root[];
  primary: PrimaryRole | null;
  standby: StandbyRole | null;
  peer: PeerView;
  /** Whether this node holds the service addresses and runs the mail services now. */
  active: () => boolean;
  /** Lasting conditions of the role that people must know of. */
  notices: () => readonly { code: string; text: string; remedy: string }[];
  capture: () => Status['capture'];
  /** What is wrong with the file systems of the roots. */
  disks: () => readonly HeldDisk[];
  fileSystems: () => Status['fileSystems'];
  appliance: () => Status['appliance'];
  canTakeOver: () => Status['canTakeOver'];
  mailServer: string | null;
  /** Mail that waits on this node; null when no queue is watched. */
  queue: () => QueueReading | null;
  certificates: () => Status['certificates'];
  pair: () => { pair: string; node: string } | null;
  linkError: () => string | null;
  fillTotal: () => number | null;
}

const verifyKey = metaKey('last-verify');
/** A heartbeat older than this says nothing about now (I18). */
const readingMsMax = 15_000;
const skewWarnMs = 5000;
const unprovenShownMax = 200;
const laggingShownMax = 200;
/** A file may lag for this long before people are told without asking. */
const laggingWarnSeconds = 300;

export function readLastVerify(kv: Kv): Status['lastVerify'] {
  const value = kv.get(verifyKey);
  // Releases before 0.2 did not count what was left out.
  return value ? { leftOut: 0, ...(JSON.parse(value.toString()) as Partial<LastVerify> & Omit<LastVerify, 'leftOut'>) } : null;
}

export function saveLastVerify(kv: Kv, verify: NonNullable<Status['lastVerify']>): void {
  kv.commit([[verifyKey, Buffer.from(JSON.stringify(verify))]]);
}

/** Puts together what `mailtwin status`, the metrics and the health checks show. */
export function buildStatus(p: StatusParts): Status {
  const now = p.clock.monotonicMs();
  const { peer } = p;
  const { reading } = peer;
  const fresh = reading && now - reading.heardMonotonicMs < readingMsMax ? reading : null;
  const replication = p.primary ? primaryReplication(p, p.primary) : standbyReplication(p, fresh);
  const roots = p.roots.map((root) => {
    const { files, bytes } = p.index.totals(root.name);
    return {
      name: root.name,
      path: displayPath(root.path),
      format: root.format.name,
      files,
      bytes,
      freeBytes: freeBytes(p.files, root.path),
      missing: p.disks().filter((disk) => disk.root === root.name).length,
    };
  });
  const status: Omit<Status, 'verdict'> = {
    node: p.config.node,
    pair: p.pair()?.pair ?? null,
    role: p.role,
    active: p.active(),
    epoch: p.epoch,
    at: new Date(p.clock.wallMs()).toISOString(),
    agentVersion: p.agentVersion,
    peer: peerStatus(p, reading, fresh),
    replication,
    possibleLoss: possibleLoss(p, fresh),
    roots,
    capture: p.capture(),
    fileSystems: p.fileSystems(),
    leftOut: leftOutOf(p),
    appliance: p.appliance(),
    canTakeOver: p.canTakeOver(),
    mailServer: p.mailServer,
    queues: queuesOf(p, reading),
    certificates: p.certificates(),
    scrub: scrubState(p, reading),
    state: { path: p.config.state, freeBytes: freeBytes(p.files, p.config.state) },
    lastVerify: readLastVerify(p.kv),
    warnings: [],
  };
  status.warnings = warningsOf(p, status, fresh);
  return { ...status, verdict: verdictOf(status) };
}

/** Of this node now, and of the other one as it last said: what lies on its disk stays there when it dies. */
function queuesOf(p: StatusParts, reading: PeerReading | null): Status['queues'] {
  const own = p.queue();
  const theirs = reading?.heartbeat?.queue ?? null;
  return [
    ...(own === null ? [] : [queueStatus(p.config.node, own)]),
    ...(theirs === null || reading === null ? [] : [queueStatus(reading.node, theirs)]),
  ];
}

function queueStatus(node: string, { mta, messages, more, oldestMs, readMs, why }: QueueReading): Status['queues'][number] {
  return { node, mta, messages, more, oldestAt: oldestMs === null ? null : isoOf(oldestMs), at: isoOf(readMs), why };
}

function peerStatus(p: StatusParts, reading: PeerReading | null, fresh: PeerReading | null): Status['peer'] {
  const certificate = reading?.heartbeat?.certificate ?? null;
  return {
    node: reading?.node ?? p.pair()?.node ?? null,
    connected: p.peer.connected,
    lastHeardAt: reading ? new Date(reading.heardWallMs).toISOString() : null,
    role: fresh?.role ?? null,
    epoch: fresh?.epoch ?? null,
    address: reading?.address ?? null,
    agentVersion: reading?.agentVersion ?? null,
    mailServer: reading?.serverVersion ?? null,
    clockSkewSeconds: fresh ? Math.round(fresh.clockSkewMs) / 1000 : null,
    lastError: p.linkError(),
    certificate: certificate && { names: certificate.names, endsAt: isoOf(certificate.endsMs) },
  };
}

function primaryReplication(p: StatusParts, primary: PrimaryRole): Status['replication'] {
  const lag = primary.lag();
  const { sender } = primary;
  const durableAt = sender.lastDurableWallMs;
  const lagging = sender.lagging.list(p.clock.monotonicMs());
  const doubts = primaryDoubts(p, primary);
  return {
    phase: p.pair() === null ? 'unpaired' : sender.phase,
    head: `${p.epoch}:${headOf(primary)}`,
    durable: showPosition(sender.durable),
    lagSeconds: lag.ms / 1000,
    lagChanges: lag.changes,
    lagBytes: lag.bytes,
    unproven: doubts.map(({ root, path, reason }) => ({ root, path, reason })),
    doubts,
    doubtCount: primary.unproven.count,
    doubtsOfAttributes: primary.unproven.ofAttributes,
    fill: sender.filled ? null : fillOf(p),
    held: sender.held && { code: sender.held.code, detail: sender.held.detail },
    heldPlaces: primary.holds.list().map((place) => heldPlaceOf(p, place)),
    laggingCount: lagging.length,
    laggingMessages: lagging.filter(({ root, path }) => isMessage(p, root, path)).length,
    lagging: lagging.slice(0, laggingShownMax).map(({ root, path, sinceMs, reason }) => ({
      root,
      path: displayPath(path),
      seconds: Math.round(p.clock.monotonicMs() - sinceMs) / 1000,
      reason,
    })),
    lastDurableAt: durableAt === null ? null : new Date(durableAt).toISOString(),
  };
}

function isMessage(p: StatusParts, name: string, path: string): boolean {
  return p.roots.find((root) => root.name === name)?.format.classify(path, 'file').class === 'message';
}

type Doubts = Status['replication']['doubts'];

function primaryDoubts(p: StatusParts, primary: PrimaryRole): Doubts {
  const there = p.pair()?.node ?? 'the standby';
  return primary.unproven
    .list()
    .slice(0, unprovenShownMax)
    .map(({ root, path, kind, reason, sinceMs }) => ({
      root,
      path: displayPath(path),
      reason: kind === 'attributes' || kind === 'place' || kind === 'content' ? `on ${there}: ${reason}` : reason,
      since: isoOf(sinceMs),
    }));
}

/** What this copy lacks, which it knows by itself, and what the primary says of its own side. */
function standbyDoubts(p: StatusParts, standby: StandbyRole, told: readonly MessageOf<'heartbeat'>['doubts'][number][]): Doubts {
  const own = standby.receiver.shortfalls
    .list()
    .map(({ root, path, text, sinceMs }) => ({ root, path, reason: `on ${p.config.node}: ${text}`, sinceMs }));
  const named = new Set(own.map(({ root, path }) => `${root}\0${path}`));
  const there = p.pair()?.node ?? 'the primary';
  const others = told
    .filter(([root, path]) => !named.has(`${root}\0${path}`))
    .map(([root, path, reason, sinceMs]) => ({ root, path, reason: `${there} says: ${reason}`, sinceMs }));
  return [...own, ...others].map(({ root, path, reason, sinceMs }) => ({ root, path: displayPath(path), reason, since: isoOf(sinceMs) }));
}

function isoOf(wallMs: number): string {
  return new Date(Math.min(wallMs, 8.64e15)).toISOString();
}

function heldPlaceOf(p: StatusParts, { root, path, code, detail, remedy, sinceMs }: HeldDisk): Status['replication']['heldPlaces'][number] {
  return { root, path: displayPath(path), code, detail, remedy, seconds: (p.clock.monotonicMs() - sinceMs) / 1000 };
}

function headOf(primary: PrimaryRole): number {
  return primary.changes.head;
}

function fillOf(p: StatusParts, total = p.fillTotal()): Status['replication']['fill'] {
  let filesDone = 0;
  let bytesDone = 0;
  for (const root of p.roots) {
    const totals = p.index.totals(root.name);
    filesDone += totals.files;
    bytesDone += totals.bytes;
  }
  return { filesDone, filesTotal: total === null ? null : Math.max(total, filesDone), bytesDone, bytesTotal: null };
}

function standbyReplication(p: StatusParts, fresh: PeerReading | null): Status['replication'] {
  const standby = p.standby;
  // What the primary said before it was lost says nothing of what it has taken since (I18).
  const heartbeat = standby?.peer.connected ? (fresh?.heartbeat ?? null) : null;
  const position = standby ? showPosition(standby.receiver.position) : '';
  const doubts = standby ? standbyDoubts(p, standby, heartbeat?.doubts ?? []) : [];
  const paired = p.pair() !== null;
  const phases: readonly Phase[] = ['disconnected', 'comparing', 'initial', 'streaming'];
  const phase = !paired
    ? 'unpaired'
    : !standby?.peer.connected
      ? 'disconnected'
      : (phases.find((known) => known === heartbeat?.phase) ?? 'comparing');
  const stuck = p.kv.trouble?.detail ?? standby?.receiver.stuck ?? null;
  const appliedAt = standby?.receiver.lastAppliedWallMs ?? null;
  return {
    phase,
    head: heartbeat ? showPosition(heartbeat.position) : position,
    durable: position,
    lagSeconds: heartbeat ? heartbeat.lagMs / 1000 : null,
    lagChanges: heartbeat?.lagChanges ?? null,
    lagBytes: heartbeat?.lagBytes ?? null,
    doubts: doubts.slice(0, unprovenShownMax),
    doubtCount: doubts.length,
    doubtsOfAttributes: standby?.receiver.shortfalls.list().filter(({ bits }) => (bits & lacks.place) === 0).length ?? 0,
    unproven: (standby?.foreign() ?? []).slice(0, unprovenShownMax).map(({ path, what }) => ({ root: '', path, reason: what })),
    fill: phase === 'initial' ? fillOf(p, heartbeat?.filesTotal ?? null) : null,
    held: stuck === null ? cannotTakeOf(standby) : { code: p.kv.trouble?.code ?? 'stuck', detail: stuck },
    heldPlaces: p.disks().map((disk) => heldPlaceOf(p, disk)),
    laggingCount: heartbeat?.laggingCount ?? 0,
    laggingMessages: 0,
    lagging: (heartbeat?.lagging ?? []).map(([root, path, reason, ms]) => ({ root, path: displayPath(path), seconds: ms / 1000, reason })),
    lastDurableAt: appliedAt === null ? null : new Date(appliedAt).toISOString(),
  };
}

/** What the disk of this copy refuses. */
function cannotTakeOf(standby: StatusParts['standby']): Status['replication']['held'] {
  const refused = standby?.receiver.cannotTake;
  return refused ? { code: refused.code, detail: `this node cannot take what comes: ${refused.detail}` } : null;
}

/** The standby learns what is unexpected from the primary's warnings. */
function leftOutOf(p: StatusParts): Status['leftOut'] {
  return (p.primary?.leftOut.list() ?? []).map(({ reason, count, kept, unexpected, places, sinceMs }) => ({
    reason,
    text: leftOutTexts[reason],
    count,
    kept,
    unexpected,
    examples: places.map(showLeftOut),
    since: new Date(sinceMs).toISOString(),
    places: places.map((place) => ({
      root: place.root,
      path: displayPath(place.path),
      detail: place.detail === null ? null : displayPath(place.detail),
      kept: place.kept,
    })),
  }));
}

/** What would be missing if the primary died now. On a standby that hears nothing this is not known. */
function possibleLoss(p: StatusParts, fresh: PeerReading | null): Status['possibleLoss'] {
  if (p.primary) {
    const { ms, changes, mailboxes, messages, bytes } = p.primary.loss();
    return { seconds: ms / 1000, changes, mailboxes, messages, bytes, complete: p.primary.sender.filled };
  }
  const complete = p.standby?.filled ?? false;
  const heartbeat = p.standby?.peer.connected ? fresh?.heartbeat : null;
  if (!heartbeat) return { seconds: null, changes: null, mailboxes: null, messages: null, bytes: null, complete };
  const { lagMs, lagChanges, lossMailboxes, lossMessages, lossBytes } = heartbeat;
  return { seconds: lagMs / 1000, changes: lagChanges, mailboxes: lossMailboxes, messages: lossMessages, bytes: lossBytes, complete };
}

/** Places that are held have a warning of their own. */
function leftOutWarnings(p: StatusParts): Status['warnings'] {
  if (!p.primary) return [];
  const { leftOut } = p.primary;
  return leftOut.list().flatMap(({ reason, unexpected, places }) => {
    const open = places.filter((place) => isUnexpected(place) && !leftOut.isHeld(place.root, place.path));
    const [first] = open;
    if (!first) return [];
    const many = unexpected > 1 ? `${unexpected} places are left out` : 'one place is left out';
    const keeps = first.kept ? ', of which the standby keeps what it had' : '';
    const what = first.mailbox ? 'excluded although it looks like a mailbox' : leftOutTexts[reason];
    return [
      {
        code: 'left-out',
        text: `${many} (${what}), for example ${showLeftOut(first)}${keeps}`,
        remedy: leftOutRemedy(first),
      },
    ];
  });
}

/** Whichever node is primary leaves out what its own configuration says; after a takeover that would be something else. */
function excludeWarnings(p: StatusParts): Status['warnings'] {
  const { reading } = p.peer;
  if (!reading?.excludes) return [];
  return p.roots.flatMap(({ name, format }) => {
    const here = format.excludes ?? [];
    const there = reading.excludes?.find(([root]) => root === name)?.[1];
    if (!there || JSON.stringify(here) === JSON.stringify(there)) return [];
    const only = (some: readonly string[], others: readonly string[]) =>
      some
        .filter((each) => !others.includes(each))
        .map(displayPath)
        .join(' ') || 'nothing more';
    return [
      {
        code: 'exclude-differs',
        text: `root ${name} leaves out other paths on the two nodes: only here ${only(here, there)}; only on ${reading.node} ${only(there, here)}`,
        remedy: 'write the same `exclude` for this root, in the same order, on both nodes, and start the agents again',
      },
    ];
  });
}

function leftOutRemedy({ reason, mailbox }: { reason: string; mailbox: boolean }): string {
  if (mailbox) return 'if its mail belongs to the copy, name other patterns in `exclude` of this root, on both nodes';
  if (reason !== 'link-out')
    return 'remove what is there now, or the copy of what was there before, by `mailtwin allow-delete` with the name of the place';
  return 'add where it leads as a root of its own (`mailtwin doctor` says how), or name the link in `exclude` of this root';
}

/** Nobody should take a lacking owner for a lost letter. */
function ofAttributes({ doubtsOfAttributes: some, doubtCount: all }: Status['replication']): string {
  if (some === 0) return '';
  return some === all ? ' for attributes alone (all content is on the standby)' : ` (${some} of them for attributes alone)`;
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

function freeBytes(files: Files, path: string): number | null {
  try {
    return files.space(path).freeBytes;
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return null;
  }
}

function warningsOf(p: StatusParts, status: Omit<Status, 'verdict'>, fresh: PeerReading | null): Status['warnings'] {
  const warnings: Status['warnings'] = [];
  // What is held says more than the role does, which cannot know what the standby has.
  const isTold = p.primary?.sender.held?.code === 'put-back';
  for (const { code, text, remedy } of p.notices()) if (!isTold || code !== 'put-back') warnings.push({ code, text, remedy });
  const { peer, replication } = status;
  if (status.pair === null)
    warnings.push({
      code: 'unpaired',
      text: `this node has no peer: nothing is replicated${peer.lastError ? ` (${peer.lastError})` : ''}`,
      remedy: 'run `mailtwin pair` on the primary and follow it on the standby',
    });
  else if (!peer.connected)
    warnings.push({
      code: 'peer-lost',
      text: `the peer is not connected${peer.lastError ? `: ${peer.lastError}` : ''}`,
      remedy:
        p.role === 'standby'
          ? `see whether ${p.pair()?.node ?? 'the other node'} runs; if it is dead, take over from here: \`mailtwin failover --dry-run\` shows the checklist (/checklist of the status page), \`mailtwin failover\` does it`
          : 'see whether the other node runs and answers; `mailtwin doctor` tries its addresses',
    });
  warnings.push(...excludeWarnings(p));
  for (const { code, text, remedy } of status.appliance?.alarms ?? []) warnings.push({ code, text, remedy });
  if (peer.clockSkewSeconds !== null && Math.abs(peer.clockSkewSeconds) * 1000 > skewWarnMs) {
    warnings.push({
      code: 'clock-skew',
      text: `the clocks of the two nodes differ by ${peer.clockSkewSeconds.toFixed(1)} s`,
      remedy: 'let both nodes take the time from NTP',
    });
  }
  const fallen = p.primary?.sender.fallenNumbers;
  if (fallen && !fallen.isPutBack)
    warnings.push({
      code: 'numbers-fell',
      text: `${fallen.mailboxes} ${fallen.mailboxes === 1 ? 'mailbox has' : 'mailboxes have'} lower numbers than before the agent was started: ${fallen.examples.join(', ')}`,
      remedy: 'if they were restored from a backup, clients may have to download them again; if not, find out who changed them',
    });
  if (p.primary?.sender.standbyPutBack)
    warnings.push({
      code: 'standby-put-back',
      text: 'the standby came back with an older state than it had; it is filled again, and is not ready to take over before that is done',
      remedy: 'nothing needs to be done; on the standby, what it replaces and removes goes to its history',
    });
  if (p.standby && fresh?.heartbeat?.phase === 'put-back')
    warnings.push({
      code: 'put-back',
      text: `${fresh.node} was put back to an older state than this copy; this copy stays as it is until a person has decided`,
      remedy: `run \`mailtwin failover\` here to go on with what this node has, or \`mailtwin keep-this-store\` on ${fresh.node} to go on with its state`,
    });
  const slow = slowDisk(p.kv, p.config.state, p.standby?.receiver.syncingMs ?? 0);
  if (slow)
    warnings.push({
      code: 'disk-slow',
      text: `${slow.text} (for ${slow.seconds} seconds by now)`,
      remedy: 'nothing, when it passes; else look at the disk, the kernel log, and what else writes to it',
    });
  const full = p.standby?.historyFull;
  if (full)
    warnings.push({
      code: 'history-full',
      text: `the history has ${gigabytes(full.bytes)}, and may have ${gigabytes(full.bytesMax)}: a mass deletion is kept in it until ${new Date(full.untilMs).toISOString().slice(0, 10)}`,
      remedy: 'nothing, as long as there is room on the disk; else give it more, or raise `history.max` and lower `history.keep`',
    });
  const held = p.primary?.sender.held;
  if (held) warnings.push({ code: held.code, text: held.detail, remedy: held.remedy });
  else if (replication.held)
    warnings.push({
      code: replication.held.code,
      text: replication.held.detail,
      remedy: p.kv.trouble?.remedy ?? 'look at the disk and the log of this node',
    });
  for (const { root, path, code, detail, remedy } of replication.heldPlaces)
    // A node that waits for a root says so already.
    if (path !== '' || !warnings.some((told) => told.code === code))
      warnings.push({ code, text: `${path === '' ? root : `${root}/${path}`}: ${detail}`, remedy });
  warnings.push(...leftOutWarnings(p));
  warnings.push(...damageWarnings(p, status, p.clock.wallMs()));
  const lagging = replication.lagging.filter(({ seconds, reason }) => seconds > laggingWarnSeconds && reason !== noRoomReason);
  const [oldest] = lagging;
  if (oldest)
    warnings.push({
      code: 'lagging',
      text: `${lagging.length === 1 ? 'a file has' : `${lagging.length} files have`} not followed for ${Math.round(oldest.seconds / 60)} minutes, for example ${oldest.root}/${oldest.path}: ${oldest.reason}`,
      remedy:
        'stop what writes to it for a moment, or keep it out of the roots; everything else is replicated, and it is tried again by itself',
    });
  if (replication.unproven.length > 0) {
    const first = replication.unproven[0];
    const where = first ? `${first.root === '' ? '' : `${first.root}/`}${first.path}: ${first.reason}` : '';
    const foreign = p.standby !== null;
    warnings.push({
      code: foreign ? 'foreign-write' : 'unproven',
      text: `${p.standby?.foreignCount ?? replication.doubtCount} places ${foreign ? 'were changed by somebody else on this standby' : `are in doubt${ofAttributes(replication)}`}, for example ${where}`,
      remedy: foreign
        ? 'stop what writes there, then run `mailtwin verify` on the primary'
        : 'mend what is named; each is tried again by itself, with pauses of up to an hour',
    });
  }
  if (p.standby && replication.doubts[0]) {
    const { root, path, reason } = replication.doubts[0];
    warnings.push({
      code: 'doubt',
      text: `${replication.doubtCount} places are in doubt${ofAttributes(replication)}, for example ${root}/${path}: ${reason}`,
      remedy: 'mend what is named; each is tried again by itself, with pauses of up to an hour',
    });
  }
  if (fresh && fresh.heartbeat)
    for (const text of fresh.heartbeat.warnings)
      warnings.push({ code: 'peer', text: `${fresh.node}: ${text}`, remedy: `run \`mailtwin status\` on ${fresh.node}` });
  return warnings;
}
