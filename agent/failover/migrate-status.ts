import type { LastVerify } from '../../protocol/control.ts';
import type { MigratePoint, MigrateStatus } from '../../protocol/migrate.ts';
import { compareReleases, upgradePoints, type UpgradeFacts } from './upgrade-status.ts';

/**
 * The move to new hardware, and the upgrade of the nodes one after the other, as a checked sequence (`mailtwin migrate status`), pure.
 *
 * - `migrateStatus(facts)`: each point of the sequence, what remains, and how long the last delta will take. While the nodes run
 *   different releases it is an upgrade.
 */

export interface MigrateFacts {
  paired: boolean;
  fill: { complete: boolean; filesDone: number; filesTotal: number | null; bytesDone: number; bytesTotal: number | null } | null;
  /** Bytes a second that the fill has made lately; null = not known. */
  bytesPerSecond: number | null;
  replication: { connected: boolean; phase: string; lagChanges: number; lagBytes: number; lagSeconds: number } | null;
  /** Roles of `network`, and those that have a proven port on the new node. */
  roles: { name: string; mapped: boolean; proven: boolean }[] | null;
  versions: { agentOlder: boolean; agentNewer: boolean; serverOlder: boolean; text: string } | null;
  verify: { result: LastVerify['result']; secondsAgo: number } | null;
  /** `prepared`: nothing was switched yet. */
  role: 'primary' | 'standby' | 'fenced';
  /** Seconds that stopping and starting the mail services take here, from the last takeover or drill; null = not known. */
  serviceSeconds: number | null;
  upgrade: UpgradeFacts;
}

const verifySecondsMax = 24 * 3600;
const lagSecondsMax = 10;
/** What a switchover takes beside services and delta: asking, stepping down, addresses. */
const handoverSeconds = 1;

/** @throws OperatorError in a state in which there is nothing to move to and nobody to upgrade. */
export function migrateStatus(facts: MigrateFacts): MigrateStatus {
  const releases = compareReleases(facts.upgrade);
  const move = {
    paired: paired(facts),
    caughtUp: caughtUp(facts),
    nics: nics(facts),
    versions: versions(facts),
    verified: verified(facts),
  };
  const points =
    releases.is === 'differ' && releases.ahead !== null
      ? upgradePoints(facts.upgrade, releases.ahead, { ...move, versions: agents(facts) })
      : [move.paired, filled(facts), move.caughtUp, move.nics, move.versions, move.verified, switched(facts)];
  return {
    releases,
    points,
    next: points.find(({ state }) => state === 'open' || state === 'not-known') ?? null,
    fillSeconds: fillSeconds(facts),
    downtimeSeconds: downtimeSeconds(facts),
  };
}

function point(id: MigratePoint['id'], title: string, state: MigratePoint['state'], remains: string, command: string): MigratePoint {
  return { id, title, state, remains: state === 'done' ? '' : remains, command: state === 'done' ? '' : command };
}

function paired(facts: MigrateFacts): MigratePoint {
  return point('paired', 'the new box is paired', facts.paired ? 'done' : 'open', 'introduce the two', 'mailtwin pair');
}

function filled({ fill }: MigrateFacts): MigratePoint {
  const title = 'the new box was filled';
  if (fill === null) return point('filled', title, 'not-known', 'nothing was heard of the fill', 'mailtwin status');
  const total = fill.filesTotal === null ? 'an unknown number of' : String(fill.filesTotal);
  return point(
    'filled',
    title,
    fill.complete ? 'done' : 'open',
    `${fill.filesDone} of ${total} files are there`,
    'mailtwin status --watch',
  );
}

function caughtUp({ replication }: MigrateFacts): MigratePoint {
  const title = 'it follows every change';
  if (replication === null) return point('caught-up', title, 'not-known', 'the other node is not heard', 'mailtwin status');
  const { connected, phase, lagChanges, lagSeconds } = replication;
  const good = connected && phase === 'streaming' && lagSeconds <= lagSecondsMax;
  return point(
    'caught-up',
    title,
    good ? 'done' : 'open',
    `${phase}, ${lagChanges} changes and ${Math.round(lagSeconds)} s behind`,
    'mailtwin status --watch',
  );
}

function nics({ roles }: MigrateFacts): MigratePoint {
  const title = 'every network role has its port on the new box';
  if (roles === null) return point('nics', title, 'not-known', 'the ports could not be read', 'mailtwin nics');
  const open = roles.filter(({ mapped, proven }) => !mapped || !proven);
  return point(
    'nics',
    title,
    open.length === 0 ? 'done' : 'open',
    open.map(({ name, mapped }) => `${name}: ${mapped ? 'its gateway does not answer' : 'no port'}`).join(', '),
    'mailtwin nics identify',
  );
}

function versions({ versions: found }: MigrateFacts): MigratePoint {
  const title = 'no release on the new box is older';
  if (found === null) return point('versions', title, 'not-known', 'the versions of the other node are not known', 'mailtwin doctor');
  return point('versions', title, found.agentOlder || found.serverOlder ? 'open' : 'done', found.text, 'update the new box');
}

/** Of an upgrade: mailtwin itself. A standby must not have the older one. */
function agents({ versions: found, role }: MigrateFacts): MigratePoint {
  const title = 'mailtwin of the standby is not the older one';
  if (found === null) return point('versions', title, 'not-known', 'the version of the other node is not known', 'mailtwin doctor');
  const isOlder = role === 'primary' ? found.agentNewer : found.agentOlder;
  return point('versions', title, isOlder ? 'open' : 'done', found.text, 'dpkg -i mailtwin_NEW.deb (on the standby)');
}

function verified({ verify }: MigrateFacts): MigratePoint {
  const title = 'both hold the same, by verification of today';
  if (verify === null) return point('verified', title, 'open', 'it was never verified', 'mailtwin verify (on the primary)');
  const fresh = verify.result === 'clean' && verify.secondsAgo <= verifySecondsMax;
  return point(
    'verified',
    title,
    fresh ? 'done' : 'open',
    `${verify.result}, ${Math.floor(verify.secondsAgo / 3600)} h ago`,
    'mailtwin verify (on the primary)',
  );
}

function switched({ role, upgrade }: MigrateFacts): MigratePoint {
  return point(
    'switched',
    `${upgrade.own.node} serves`,
    role === 'primary' ? 'done' : 'open',
    'switch over when clients can wait for some seconds',
    'mailtwin switchover',
  );
}

function fillSeconds({ fill, bytesPerSecond }: MigrateFacts): number | null {
  if (fill === null || fill.complete || fill.bytesTotal === null || bytesPerSecond === null || bytesPerSecond <= 0) return null;
  return Math.max(0, fill.bytesTotal - fill.bytesDone) / bytesPerSecond;
}

function downtimeSeconds({ replication, bytesPerSecond, serviceSeconds }: MigrateFacts): number | null {
  if (replication === null || serviceSeconds === null) return null;
  const { lagBytes } = replication;
  if (lagBytes > 0 && (bytesPerSecond === null || bytesPerSecond <= 0)) return null;
  const delta = lagBytes === 0 || bytesPerSecond === null ? 0 : lagBytes / bytesPerSecond;
  return Math.round((delta + serviceSeconds + handoverSeconds) * 10) / 10;
}
