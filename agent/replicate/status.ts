import type { Phase, Status } from '../../protocol/control.ts';
import type { Role } from '../../protocol/messages.ts';
import { showPosition } from '../../protocol/position.ts';
import type { Config } from '../config/config.ts';
import { metaKey } from '../journal/keys.ts';
import type { ReplicaIndex } from '../journal/replica-index.ts';
import type { Clock } from '../platform/clock.ts';
import { displayPath, errnoCode, type Files } from '../platform/files.ts';
import type { Kv } from '../platform/kv.ts';
import type { PeerReading, PeerView } from './peer-view.ts';
import type { PrimaryRole } from './primary/role.ts';
import type { Root } from './root.ts';
import type { StandbyRole } from './standby/role.ts';

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
  appliance: () => Status['appliance'];
  mailServer: string | null;
  pair: () => { pair: string; node: string } | null;
  linkError: () => string | null;
  fillTotal: () => number | null;
}

const verifyKey = metaKey('last-verify');
/** A heartbeat older than this says nothing about now (I18). */
const readingMsMax = 15_000;
const skewWarnMs = 5000;
const unprovenShownMax = 200;

export function readLastVerify(kv: Kv): Status['lastVerify'] {
  const value = kv.get(verifyKey);
  return value ? (JSON.parse(value.toString()) as NonNullable<Status['lastVerify']>) : null;
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
    };
  });
  const status: Status = {
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
    skipped: p.primary?.skipped.list() ?? [],
    appliance: p.appliance(),
    mailServer: p.mailServer,
    state: { path: p.config.state, freeBytes: freeBytes(p.files, p.config.state) },
    lastVerify: readLastVerify(p.kv),
    warnings: [],
  };
  status.warnings = warningsOf(p, status, fresh);
  return status;
}

function peerStatus(p: StatusParts, reading: PeerReading | null, fresh: PeerReading | null): Status['peer'] {
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
  };
}

function primaryReplication(p: StatusParts, primary: PrimaryRole): Status['replication'] {
  const lag = primary.lag();
  const { sender } = primary;
  const durableAt = sender.lastDurableWallMs;
  return {
    phase: p.pair() === null ? 'unpaired' : sender.phase,
    head: `${p.epoch}:${headOf(primary)}`,
    durable: showPosition(sender.durable),
    lagSeconds: lag.ms / 1000,
    lagChanges: lag.changes,
    lagBytes: lag.bytes,
    unproven: primary.unproven
      .list()
      .slice(0, unprovenShownMax)
      .map(({ root, path, reason }) => ({ root, path: displayPath(path), reason })),
    fill: sender.filled ? null : fillOf(p),
    held: sender.held && { code: sender.held.code, detail: sender.held.detail },
    lastDurableAt: durableAt === null ? null : new Date(durableAt).toISOString(),
  };
}

function headOf(primary: PrimaryRole): number {
  return primary.changes.head;
}

function fillOf(p: StatusParts): Status['replication']['fill'] {
  let filesDone = 0;
  let bytesDone = 0;
  for (const root of p.roots) {
    const totals = p.index.totals(root.name);
    filesDone += totals.files;
    bytesDone += totals.bytes;
  }
  const total = p.fillTotal();
  return { filesDone, filesTotal: total === null ? null : Math.max(total, filesDone), bytesDone, bytesTotal: null };
}

function standbyReplication(p: StatusParts, fresh: PeerReading | null): Status['replication'] {
  const standby = p.standby;
  // What the primary said before it was lost says nothing of what it has taken since (I18).
  const heartbeat = standby?.peer.connected ? (fresh?.heartbeat ?? null) : null;
  const position = standby ? showPosition(standby.receiver.position) : '';
  const paired = p.pair() !== null;
  const phases: readonly Phase[] = ['disconnected', 'comparing', 'initial', 'streaming'];
  const phase = !paired
    ? 'unpaired'
    : !standby?.peer.connected
      ? 'disconnected'
      : (phases.find((known) => known === heartbeat?.phase) ?? 'comparing');
  const stuck = standby?.receiver.stuck ?? null;
  const appliedAt = standby?.receiver.lastAppliedWallMs ?? null;
  return {
    phase,
    head: heartbeat ? showPosition(heartbeat.position) : position,
    durable: position,
    lagSeconds: heartbeat ? heartbeat.lagMs / 1000 : null,
    lagChanges: heartbeat?.lagChanges ?? null,
    lagBytes: heartbeat?.lagBytes ?? null,
    unproven: (standby?.foreign() ?? []).slice(0, unprovenShownMax).map(({ path, what }) => ({ root: '', path, reason: what })),
    fill: phase === 'initial' ? { ...emptyFill, ...fillOf(p) } : null,
    held: stuck === null ? null : { code: 'stuck', detail: stuck },
    lastDurableAt: appliedAt === null ? null : new Date(appliedAt).toISOString(),
  };
}

const emptyFill = { filesDone: 0, filesTotal: null, bytesDone: 0, bytesTotal: null };

/** What would be missing if the primary died now. On a standby that hears nothing this is not known. */
function possibleLoss(p: StatusParts, fresh: PeerReading | null): Status['possibleLoss'] {
  if (p.primary) {
    const lag = p.primary.lag();
    return { seconds: lag.ms / 1000, changes: lag.changes, mailboxes: p.primary.sender.mailboxesOpen() };
  }
  const heartbeat = p.standby?.peer.connected ? fresh?.heartbeat : null;
  if (!heartbeat) return { seconds: null, changes: null, mailboxes: null };
  return { seconds: heartbeat.lagMs / 1000, changes: heartbeat.lagChanges, mailboxes: null };
}

function freeBytes(files: Files, path: string): number | null {
  try {
    return files.space(path).freeBytes;
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return null;
  }
}

function warningsOf(p: StatusParts, status: Status, fresh: PeerReading | null): Status['warnings'] {
  const warnings: Status['warnings'] = [];
  for (const { code, text, remedy } of p.notices()) warnings.push({ code, text, remedy });
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
      remedy: 'see whether the other node runs and answers; `mailtwin doctor` tries its addresses',
    });
  for (const { code, text, remedy } of status.appliance?.alarms ?? []) warnings.push({ code, text, remedy });
  if (peer.clockSkewSeconds !== null && Math.abs(peer.clockSkewSeconds) * 1000 > skewWarnMs) {
    warnings.push({
      code: 'clock-skew',
      text: `the clocks of the two nodes differ by ${peer.clockSkewSeconds.toFixed(1)} s`,
      remedy: 'let both nodes take the time from NTP',
    });
  }
  const held = p.primary?.sender.held;
  if (held) warnings.push({ code: held.code, text: held.detail, remedy: held.remedy });
  else if (replication.held)
    warnings.push({ code: replication.held.code, text: replication.held.detail, remedy: 'look at the disk and the log of this node' });
  if (replication.unproven.length > 0) {
    const first = replication.unproven[0];
    const where = first ? `${first.root === '' ? '' : `${first.root}/`}${first.path}: ${first.reason}` : '';
    const foreign = p.standby !== null;
    warnings.push({
      code: foreign ? 'foreign-write' : 'unproven',
      text: `${p.standby?.foreignCount ?? replication.unproven.length} places ${foreign ? 'were changed by somebody else on this standby' : 'are in doubt'}, for example ${where}`,
      remedy: foreign
        ? 'stop what writes there, then run `mailtwin verify` on the primary'
        : 'mend what is named; it is tried again every minute',
    });
  }
  if (fresh && fresh.heartbeat)
    for (const text of fresh.heartbeat.warnings)
      warnings.push({ code: 'peer', text: `${fresh.node}: ${text}`, remedy: `run \`mailtwin status\` on ${fresh.node}` });
  return warnings;
}
