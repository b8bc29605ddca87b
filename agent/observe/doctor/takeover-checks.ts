import { join } from 'node:path';
import type { DoctorFinding } from '../../../protocol/control.ts';
import { isOtherSeries, seenWay } from '../../platform/dovecot-ways.ts';
import { olderThan, productOf } from '../../platform/version-order.ts';
import { fail, isGated, pass, warn, type Check, type Facts } from './finding.ts';

/** What the node is to the pair: role, epoch, takeovers, and whether both run the same programs. */
export const takeoverChecks: Check[] = [
  { id: 'role', run: judgeRole },
  {
    id: 'takeover',
    run({ status }) {
      const takeover = status?.appliance?.takeover;
      if (!takeover) return [];
      if (takeover.running) return [pass('takeover', 'a takeover runs on this node now')];
      if (takeover.unfinished === null) return [pass('takeover', 'no takeover is unfinished')];
      const command = `mailtwin ${takeover.unfinished}`;
      return [
        fail(
          'takeover',
          `a ${takeover.unfinished} was begun on this node and not finished`,
          'its journal has no end',
          `${command}: it goes on or rolls back, and says which`,
        ),
      ];
    },
  },
  {
    id: 'agent-versions',
    run({ status }) {
      if (!status?.peer.connected || status.peer.agentVersion === null) return [];
      return [compare('agent-versions', 'mailtwin', status.agentVersion, status.peer.agentVersion, status.role)];
    },
  },
  {
    id: 'mail-server-versions',
    run({ status, config }) {
      if (!status?.peer.connected) return [];
      const [own, theirs] = [status.mailServer, status.peer.mailServer];
      if (own === null && theirs === null) return [];
      if (own === null || theirs === null)
        return [
          warn(
            'mail-server-versions',
            'only one of the nodes has a mail server',
            own === null ? `here none, on the other node ${theirs}` : `here ${own}, on the other node none`,
            `install it on ${own === null ? 'this node' : (status.peer.node ?? 'the other node')}: apt-get install dovecot-imapd`,
          ),
        ];
      return [
        bySeenWays(own, theirs, status.role, config.roots) ?? compare('mail-server-versions', 'the mail server', own, theirs, status.role),
      ];
    },
  },
];

function judgeRole(facts: Facts): DoctorFinding[] {
  const { status, probe, config } = facts;
  // Without an agent: what the last one left for commands.
  const [durable = ''] = (probe.readText(join(config.state, 'role')) ?? '').split(' ');
  const role = status?.role ?? durable;
  if (role === 'fenced')
    return [
      fail(
        'role',
        'this node was replaced: it serves nothing and holds no copy that can be taken over',
        status ? `fenced in epoch ${status.epoch}` : 'the role that its last agent had is fenced',
        'mailtwin salvage, mailtwin salvage --apply, then: mailtwin rejoin',
      ),
    ];
  if (!status || status.appliance?.takeover.running) return [];
  const { peer } = status;
  const evidence = `here ${status.role} of epoch ${status.epoch}; ${peer.node ?? 'the other node'} ${peer.role ?? 'not known'} of epoch ${peer.epoch ?? 'not known'}`;
  if (peer.connected && peer.role !== null) {
    if (peer.role === 'fenced')
      return [
        warn(
          'role',
          `${peer.node ?? 'the other node'} was replaced and holds no copy`,
          evidence,
          'on it: mailtwin salvage --apply, then: mailtwin rejoin',
        ),
      ];
    if (peer.role === status.role)
      return [
        status.role === 'primary'
          ? fail(
              'role',
              'both nodes are primary: both may take mail',
              evidence,
              `on the node with the lower epoch: systemctl stop mailtwin-active.target; then read \`mailtwin status\` on both`,
            )
          : fail('role', 'no node is primary', evidence, 'on the node with the newer mail: mailtwin failover --dry-run'),
      ];
    if (peer.epoch !== null && peer.epoch !== status.epoch)
      return [
        fail(
          'role',
          'the nodes do not agree on the epoch',
          evidence,
          'read `mailtwin status` on both: the higher epoch is right; systemctl restart mailtwin on the other one',
        ),
      ];
  }
  if (status.role === 'primary' && !status.active && isGated(facts))
    return [
      fail(
        'role',
        'this node is the primary and does not serve',
        status.warnings.map(({ text }) => text).join('; ') || evidence,
        'mailtwin status says what it waits for; journalctl -u mailtwin',
      ),
    ];
  return [pass('role', `this node is ${status.role}${status.active ? ' and serves' : ''}, epoch ${status.epoch}`, evidence)];
}

/** A standby whose older release was seen to serve what the newer one writes may take over; null = nothing of the kind. */
function bySeenWays(own: string, theirs: string, role: string, roots: readonly { format: string }[]): DoctorFinding | null {
  const [standby, primary] = role === 'primary' ? [theirs, own] : [own, theirs];
  const way = isOtherSeries(standby, primary) && olderThan(standby, primary) ? seenWay(primary, standby) : null;
  if (!way || !roots.some(({ format }) => format === way.format)) return null;
  return warn(
    'mail-server-versions',
    'the mail server of the standby is older than that of the primary; it was seen to serve what that one writes',
    `here ${own}, on the other node ${theirs}; seen for ${way.format} with dovecot_storage_version ${way.storageVersions.join(' and ')}`,
    `on the primary, doveconf dovecot_storage_version must tell ${way.storageVersions.join(' or ')}; update the standby when you need no way back`,
  );
}

/** The standby must not be the older one: it would not read what the other one wrote. */
function compare(id: string, what: string, own: string, theirs: string, role: string): DoctorFinding {
  const evidence = `here ${own}, on the other node ${theirs}`;
  if (productOf(own) !== productOf(theirs))
    return fail(id, `${what} is not the same on both nodes`, evidence, 'install the same on both nodes');
  const [isOlder, isNewer] = [olderThan(own, theirs), olderThan(theirs, own)];
  if (!isOlder && !isNewer) return pass(id, `${what} is the same on both nodes: ${own}`);
  const standbyIsOlder = role === 'primary' ? isNewer : isOlder;
  const where = isOlder ? 'this node' : 'the other node';
  const update = `update ${where}${id === 'agent-versions' ? ': dpkg -i mailtwin_NEW.deb' : ': apt-get install --only-upgrade dovecot-core'}`;
  return standbyIsOlder
    ? fail(id, `${what} of the standby is older than that of the primary`, evidence, `${update}; a takeover is refused until then`)
    : warn(
        id,
        `${what} is not the same on both nodes`,
        evidence,
        role === 'primary' ? `mailtwin switchover on the other node, then ${update}` : `${update} after a switchover`,
      );
}
