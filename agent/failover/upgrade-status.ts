import type { DoctorFinding } from '../../protocol/control.ts';
import type { MigratePoint, ReleasesCompared } from '../../protocol/migrate.ts';
import type { Releases } from '../../protocol/releases.ts';
import type { Role } from '../../protocol/role.ts';
import { isOtherSeries, seenWay, type DovecotWay } from '../platform/dovecot-ways.ts';
import { OperatorError } from '../platform/errors.ts';
import { olderThan, productOf } from '../platform/version-order.ts';

/**
 * The upgrade in place as a checked sequence, the standby first: part of `mailtwin migrate status`, pure.
 *
 * - `compareReleases(facts)`: whether the two nodes run the same, and which one is ahead.
 * - `upgradePoints(facts, ahead, move)`: each point of the sequence while they differ.
 */

export interface UpgradeNode {
  node: string;
  role: Role | null;
  /** Null when it never told. */
  releases: Releases | null;
}

export interface UpgradeFacts {
  own: UpgradeNode;
  /** As it last said, `heardAt` (ISO 8601); null when it was never heard. */
  peer: (UpgradeNode & { connected: boolean; heardAt: string }) | null;
  /** Formats of the roots. */
  formats: readonly string[];
  /** The standby has all of the primary, as far as is known now. */
  copyComplete: boolean;
  /** The takeover that was begun on this node and not finished. */
  unfinished: string | null;
  /** What the doctor finds of this node's mail server; null on a node that is not the one to take over next. */
  findings: readonly DoctorFinding[] | null;
}

/** The two by their releases. */
interface Pair {
  newer: UpgradeNode;
  older: UpgradeNode;
  isHeard: boolean;
}

/** @throws OperatorError in a state in which nobody can be upgraded, and where the releases contradict each other. */
export function compareReleases(facts: UpgradeFacts): ReleasesCompared {
  refuse(facts);
  const { own, peer } = facts;
  if (peer === null) return { is: 'not-known', text: 'the other node was never heard: what it runs is not known', ahead: null };
  const [mine, theirs] = [own.releases, peer.releases];
  if (mine === null || theirs === null)
    return { is: 'not-known', text: `what ${(mine === null ? own : peer).node} runs is not known yet`, ahead: null };
  const order = [compare(mine.system, theirs.system), compare(mine.mailServer, theirs.mailServer)];
  const shown = `${own.node}: ${showReleases(mine)}; ${peer.node}: ${showReleases(theirs)}`;
  if (order.includes('own') && order.includes('peer'))
    throw new OperatorError(
      'releases-crossed',
      `one node has the newer system and the other one the newer mail server (${shown})`,
      'bring both nodes to the newer release of each, the standby first: `mailtwin doctor` on both says which is older',
      3,
    );
  const ahead = order.includes('own') ? own.node : order.includes('peer') ? peer.node : null;
  if (!peer.connected)
    return { is: ahead === null ? 'not-known' : 'differ', text: `${peer.node} is not heard, since ${peer.heardAt}; then ${shown}`, ahead };
  if (order.includes('other'))
    throw new OperatorError(
      'releases-crossed',
      `the nodes do not run releases of the same system and mail server (${shown})`,
      'install the same distribution and the same mail server on both nodes',
      3,
    );
  if (ahead !== null) return { is: 'differ', text: shown, ahead };
  return { is: 'same', text: `both nodes run ${showReleases(mine)}: nothing is to be upgraded`, ahead: null };
}

/** Which of the two is newer, `same`, or `other` where they cannot be put in order. What one of them does not tell decides nothing. */
function compare(mine: string | null, theirs: string | null): 'own' | 'peer' | 'same' | 'other' {
  if (mine === null || theirs === null || mine === theirs) return 'same';
  if (productOf(mine) !== productOf(theirs)) return 'other';
  return olderThan(mine, theirs) ? 'peer' : olderThan(theirs, mine) ? 'own' : 'same';
}

export function showReleases({ system, mailServer }: Releases): string {
  return `${system ?? 'a system that tells no release'} and ${mailServer ?? 'no mail server that answers'}`;
}

function refuse({ own, peer, unfinished }: UpgradeFacts): void {
  const refused = 3;
  const replaced = own.role === 'fenced' ? own : peer?.connected && peer.role === 'fenced' ? peer : null;
  if (replaced)
    throw new OperatorError(
      'fenced',
      `${replaced.node} was replaced and holds no copy: there is no standby to upgrade or to move to`,
      `on ${replaced.node}: mailtwin salvage --apply, then: mailtwin rejoin`,
      refused,
    );
  if (unfinished !== null)
    throw new OperatorError(
      'unfinished-takeover',
      `a ${unfinished} was begun on ${own.node} and not finished`,
      `\`mailtwin ${unfinished}\` here: it goes on or rolls back, and says which`,
      refused,
    );
  if (peer?.connected && peer.role === own.role)
    throw new OperatorError(
      'same-role',
      `both nodes are ${own.role}: ${own.node} and ${peer.node}`,
      'read `mailtwin status` and `mailtwin doctor` on both nodes first',
      refused,
    );
}

/** Points that a move to new hardware has, too. */
export interface SharedPoints {
  paired: MigratePoint;
  caughtUp: MigratePoint;
  nics: MigratePoint;
  versions: MigratePoint;
  verified: MigratePoint;
}

/** @param ahead name of the node with the newer releases. */
export function upgradePoints(facts: UpgradeFacts, ahead: string, shared: SharedPoints): MigratePoint[] {
  const { own, peer } = facts;
  if (peer === null) return [];
  const [newer, older] = own.node === ahead ? [own, peer] : [peer, own];
  const pair: Pair = { newer, older, isHeard: peer.connected };
  const serves = own.role === 'primary' ? own : peer;
  const standby = serves === own ? peer : own;
  const isSwitched = serves === newer;
  return [
    shared.paired,
    upgraded(pair, peer, isSwitched),
    shared.versions,
    copied(facts, pair, standby),
    shared.caughtUp,
    ...(standby === own ? [configured(facts, standby, isSwitched), units(facts, standby, isSwitched), shared.nics] : []),
    ...(standby === peer && !isSwitched ? [onlyThere(standby)] : []),
    ...(isSwitched ? [] : [shared.verified]),
    wayBack(facts, pair),
    switched(pair, isSwitched, own),
    both(pair, isSwitched),
  ];
}

type Rest = Partial<Pick<MigratePoint, 'remains' | 'command'>>;

function point(
  id: MigratePoint['id'],
  title: string,
  state: MigratePoint['state'],
  { remains = '', command = '' }: Rest = {},
): MigratePoint {
  return { id, title, state, remains, command };
}

function upgraded({ newer, isHeard }: Pair, peer: NonNullable<UpgradeFacts['peer']>, isSwitched: boolean): MigratePoint {
  const what = newer.releases ? showReleases(newer.releases) : 'the newer release';
  const title = `${newer.node} has the newer release: ${what}`;
  if (isHeard) return point('upgraded', title, 'done');
  const remains = `${peer.node} is not heard, since ${peer.heardAt}: what it runs now is not known`;
  const command = isSwitched || newer !== peer ? `systemctl status mailtwin (on ${peer.node})` : `mailtwin status (on ${peer.node})`;
  return point('upgraded', title, 'not-known', { remains, command });
}

function copied({ copyComplete }: UpgradeFacts, { isHeard }: Pair, standby: UpgradeNode): MigratePoint {
  const title = `${standby.node} has a complete copy`;
  if (!isHeard) return point('filled', title, 'not-known', { remains: 'the other node is not heard', command: 'mailtwin status' });
  if (copyComplete) return point('filled', title, 'done');
  return point('filled', title, 'open', { remains: 'the copy is not complete yet', command: 'mailtwin status --watch' });
}

/** What the mail server's own programs say of the configuration, and whether its mail lies where the copy is. */
const configurationIds = new Set(['mail-config', 'mail-places']);
const unitIds = new Set(['unit', 'gate', 'second-server', 'services']);
/** Checks of the doctor that the sequence asks for. */
export const upgradeChecks: ReadonlySet<string> = new Set([...configurationIds, ...unitIds]);

function configured(facts: UpgradeFacts, standby: UpgradeNode, isSwitched: boolean): MigratePoint {
  const title = `its mail server finds the configuration of ${standby.node} good${forWhat(isSwitched)}`;
  // A configuration of mailtwin that cannot be read says so instead of everything else.
  const found = (facts.findings ?? []).filter(({ id, level }) => configurationIds.has(id) || (id === 'config' && level === 'fail'));
  const isChecked = found.some(({ id, level }) => id === 'mail-config' && level !== 'warn');
  if (isChecked || found.length > 0) return judged('configuration', title, found, isChecked ? 'warn' : 'open');
  return point('configuration', title, 'not-known', {
    remains: 'the agent knows of no mail services: nothing checks their configuration',
    command: 'add the section `services` to the configuration of mailtwin',
  });
}

function units(facts: UpgradeFacts, standby: UpgradeNode, isSwitched: boolean): MigratePoint {
  const title = `the mail services can start on ${standby.node}${forWhat(isSwitched)}`;
  return judged(
    'units',
    title,
    (facts.findings ?? []).filter(({ id }) => unitIds.has(id)),
    'warn',
  );
}

function forWhat(isSwitched: boolean): string {
  return isSwitched ? ', for the way back' : '';
}

/** The worst finding decides; `warned` is the state where none is worse than a warning. */
function judged(id: MigratePoint['id'], title: string, found: readonly DoctorFinding[], warned: 'open' | 'warn'): MigratePoint {
  const fails = found.filter(({ level }) => level === 'fail');
  const bad = fails.length > 0 ? fails : found.filter(({ level }) => level === 'warn');
  const [first] = bad;
  if (!first) return point(id, title, 'done');
  const remains = bad.map(({ summary, evidence }) => `${summary}${evidence === '' ? '' : ` (${evidence})`}`).join('; ');
  return point(id, title, fails.length > 0 ? 'open' : warned, { remains, command: first.remedy });
}

/** The configuration, the units and the ports of a node are judged on that node alone. */
function onlyThere(standby: UpgradeNode): MigratePoint {
  return point('configuration', `${standby.node} is ready to serve: configuration, units, network ports`, 'not-known', {
    remains: `only ${standby.node} can tell`,
    command: `mailtwin migrate status (on ${standby.node})`,
  });
}

function wayBack({ formats }: UpgradeFacts, { newer, older, isHeard }: Pair): MigratePoint {
  const [to, back] = [newer.releases?.mailServer ?? null, older.releases?.mailServer ?? null];
  const title = `the way back to ${older.node} is proven`;
  if (to === null && back === null && isHeard)
    return point('way-back', title, 'warn', {
      remains: 'no Dovecot answers on either node: nothing is known of a store that its mail servers write',
      command: 'keep a backup of the store from before the switchover',
    });
  if (to === null || back === null || !isHeard)
    return point('way-back', title, 'not-known', {
      remains: !isHeard ? 'the other node is not heard' : `${to === null ? newer.node : older.node} has no Dovecot that answers`,
      command: 'mailtwin doctor',
    });
  if (!isOtherSeries(to, back))
    return point('way-back', `${title}: ${back} and ${to} are of one release series, whose stores are the same`, 'done');
  const [there, again] = [seenWay(back, to), seenWay(to, back)];
  const knows = (way: DovecotWay | null): way is DovecotWay =>
    way !== null && formats.includes(way.format) && formats.every((format) => format === way.format || format === 'plain');
  if (!knows(there) || !knows(again))
    return point('way-back', title, 'warn', {
      remains: `it was never seen that ${back} serves again what ${to} writes in ${formats.join(', ')}`,
      command: 'keep a backup of the store from before the switchover; the only way from there is forward',
    });
  const wanted = again.storageVersions.filter((version) => there.storageVersions.includes(version));
  const storage = newer.releases?.storageVersion ?? older.releases?.storageVersion ?? null;
  if (storage === null)
    return point('way-back', title, 'not-known', {
      remains: `${newer.node} does not tell its dovecot_storage_version; it was seen with ${wanted.join(' and ')}`,
      command: `doveconf dovecot_storage_version (on ${newer.node})`,
    });
  if (!wanted.includes(storage))
    return point('way-back', title, 'open', {
      remains: `${newer.node} has dovecot_storage_version ${storage}; it was seen only with ${wanted.join(' and ')}`,
      command: `set dovecot_storage_version = ${wanted[0] ?? ''} in the Dovecot configuration of ${newer.node}`,
    });
  return point('way-back', `${title}: ${back} was seen to serve what ${to} writes with dovecot_storage_version ${storage}`, 'done');
}

function switched({ newer }: Pair, isSwitched: boolean, own: UpgradeNode): MigratePoint {
  const title = `${newer.node} serves`;
  if (isSwitched) return point('switched', title, 'done');
  return point('switched', title, 'open', {
    remains: 'switch over when clients can wait for some seconds',
    command: newer === own ? 'mailtwin switchover' : `mailtwin switchover (on ${newer.node})`,
  });
}

function both({ newer, older }: Pair, isSwitched: boolean): MigratePoint {
  return point('both-upgraded', `${older.node} has the newer release, too`, isSwitched ? 'open' : 'later', {
    remains: isSwitched
      ? `when ${newer.node} has served well; until then \`mailtwin switchover\` on ${older.node} leads back`
      : `after ${newer.node} has served for a while`,
    command: `upgrade ${older.node}: runbook, "From Debian 12 to 13"`,
  });
}
