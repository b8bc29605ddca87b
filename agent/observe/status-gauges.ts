import { Gauge, type Registry } from 'prom-client';
import { verdictCodes, type Status } from '../../protocol/control.ts';

type Labels = Record<string, string>;
/** A value and its labels; null when it is not known, then the series is absent. */
type Reading = [value: number | null, labels?: Labels];

interface GaugeSpec {
  name: string;
  help: string;
  labels?: string[];
  read(status: Status): Reading[];
}

const seconds = (iso: string | null): number | null => (iso === null ? null : Date.parse(iso) / 1000);
const bit = (value: boolean): number => (value ? 1 : 0);
/** What is left out makes two nodes neither the same nor different. */
const verifyGauge = { clean: 1, incomplete: 0.5, different: 0, failed: 0 } as const;
/** The sequence number of a position as `status` shows it (`epoch:seq:checksum`). */
const sequence = (position: string): number | null => {
  const value = Number(position.split(':')[1] ?? Number.NaN);
  return Number.isFinite(value) ? value : null;
};

const specs: GaugeSpec[] = [
  {
    name: 'info',
    help: 'Names and versions; always 1',
    labels: ['node', 'pair', 'version', 'mail_server'],
    read: (s) => [[1, { node: s.node, pair: s.pair ?? '', version: s.agentVersion, mail_server: s.mailServer ?? '' }]],
  },
  { name: 'reading_timestamp_seconds', help: 'When role, epoch and lag of this scrape were read', read: (s) => [[seconds(s.at)]] },
  {
    name: 'role',
    help: 'The role in force; 1 for the one that it is',
    labels: ['role'],
    read: (s) => ['primary', 'standby', 'fenced'].map((role) => [bit(s.role === role), { role }]),
  },
  { name: 'active', help: '1 when this node runs the mail services', read: (s) => [[bit(s.active)]] },
  { name: 'epoch', help: 'The epoch of this node', read: (s) => [[s.epoch]] },
  {
    name: 'peer_info',
    help: 'Name and versions of the peer, as it last told them; always 1',
    labels: ['node', 'version', 'mail_server'],
    read: (s) =>
      s.peer.agentVersion === null
        ? []
        : [[1, { node: s.peer.node ?? '', version: s.peer.agentVersion, mail_server: s.peer.mailServer ?? '' }]],
  },
  {
    name: 'peer_version_differs',
    help: '1 when the peer runs another release of mailtwin or of the mail server',
    labels: ['what'],
    read: (s) => [
      [s.peer.agentVersion === null ? null : bit(s.peer.agentVersion !== s.agentVersion), { what: 'mailtwin' }],
      [s.peer.mailServer === null || s.mailServer === null ? null : bit(s.peer.mailServer !== s.mailServer), { what: 'mail_server' }],
    ],
  },
  { name: 'peer_connected', help: '1 when the peer is connected', read: (s) => [[bit(s.peer.connected)]] },
  { name: 'peer_last_heard_timestamp_seconds', help: 'When the peer was last heard', read: (s) => [[seconds(s.peer.lastHeardAt)]] },
  { name: 'peer_epoch', help: 'The epoch of the peer', read: (s) => [[s.peer.epoch]] },
  { name: 'peer_clock_skew_seconds', help: 'How far the clock of the peer is ahead of this one', read: (s) => [[s.peer.clockSkewSeconds]] },
  {
    name: 'phase',
    help: 'The phase of replication; 1 for the one that it is',
    labels: ['phase'],
    read: (s) =>
      ['unpaired', 'disconnected', 'comparing', 'initial', 'streaming'].map((phase) => [bit(s.replication.phase === phase), { phase }]),
  },
  { name: 'head_position', help: 'Sequence number of the newest change', read: (s) => [[sequence(s.replication.head)]] },
  {
    name: 'durable_position',
    help: 'Sequence number up to which changes are durable on the standby',
    read: (s) => [[sequence(s.replication.durable)]],
  },
  { name: 'lag_seconds', help: 'Age of the oldest change that is not durable on the standby', read: (s) => [[s.replication.lagSeconds]] },
  { name: 'lag_changes', help: 'Changes that are not durable on the standby', read: (s) => [[s.replication.lagChanges]] },
  { name: 'lag_bytes', help: 'Bytes of changes that are not durable on the standby', read: (s) => [[s.replication.lagBytes]] },
  {
    name: 'last_durable_timestamp_seconds',
    help: 'When the standby last confirmed a batch',
    read: (s) => [[seconds(s.replication.lastDurableAt)]],
  },
  { name: 'possible_loss_seconds', help: 'What a takeover now would lose: time', read: (s) => [[s.possibleLoss.seconds]] },
  { name: 'possible_loss_changes', help: 'What a takeover now would lose: changes', read: (s) => [[s.possibleLoss.changes]] },
  {
    name: 'possible_loss_mailboxes',
    help: 'What a takeover now would lose: mailboxes concerned',
    read: (s) => [[s.possibleLoss.mailboxes]],
  },
  {
    name: 'doubts',
    help: 'Places that the standby may have otherwise than the primary, each named in status',
    read: (s) => [[s.replication.doubtCount]],
  },
  {
    name: 'doubts_of_attributes',
    help: 'Of the places in doubt, those whose content is on the standby and that lack attributes alone',
    read: (s) => [[s.replication.doubtsOfAttributes]],
  },
  {
    name: 'lagging_files',
    help: 'Files of this primary that do not follow for the time being, each alone',
    read: (s) => [[s.role === 'primary' ? s.replication.laggingCount : null]],
  },
  {
    name: 'lagging_messages',
    help: 'Messages among the lagging files: the standby does not have them',
    read: (s) => [[s.role === 'primary' ? s.replication.laggingMessages : null]],
  },
  {
    name: 'lagging_oldest_seconds',
    help: 'Age of the oldest change of a lagging file that is not durable on the standby',
    read: (s) => [[s.role === 'primary' ? (s.replication.lagging[0]?.seconds ?? 0) : null]],
  },
  { name: 'possible_loss_messages', help: 'What a takeover now would lose: messages', read: (s) => [[s.possibleLoss.messages]] },
  { name: 'possible_loss_bytes', help: 'What a takeover now would lose: bytes', read: (s) => [[s.possibleLoss.bytes]] },
  {
    name: 'copy_complete',
    help: '1 when all that was there when the copy began is on the standby',
    read: (s) => [[s.role === 'fenced' ? null : bit(s.possibleLoss.complete)]],
  },
  {
    name: 'verdict',
    help: 'How this node stands; 1 for the one that it is',
    labels: ['code'],
    read: (s) => verdictCodes.map((code) => [bit(s.verdict.code === code), { code }]),
  },
  { name: 'unproven_directories', help: 'Directories whose replica may differ', read: (s) => [[s.replication.unproven.length]] },
  {
    name: 'foreign_writes',
    help: 'Places below the roots that somebody else changed on this standby',
    read: (s) => [[s.role === 'standby' ? s.replication.unproven.length : null]],
  },
  {
    name: 'held',
    help: '1 while sending stands still, by reason',
    labels: ['code'],
    read: (s) => (s.replication.held ? [[1, { code: s.replication.held.code }]] : []),
  },
  {
    name: 'held_places',
    help: 'Places of which nothing is taken away on the standby, by reason; everything beside them goes on',
    labels: ['code'],
    read: (s) =>
      ['mass-delete', 'root-missing', 'root-changed', 'root-unreadable', 'mount-missing', 'mount-changed', 'standby-mount', 'left-out'].map(
        (code) => [s.replication.heldPlaces.filter((place) => place.code === code).length, { code }],
      ),
  },
  { name: 'fill_done_files', help: 'Initial fill: files done', read: (s) => [[s.replication.fill?.filesDone ?? null]] },
  { name: 'fill_total_files', help: 'Initial fill: files in all', read: (s) => [[s.replication.fill?.filesTotal ?? null]] },
  { name: 'fill_done_bytes', help: 'Initial fill: bytes done', read: (s) => [[s.replication.fill?.bytesDone ?? null]] },
  { name: 'fill_total_bytes', help: 'Initial fill: bytes in all', read: (s) => [[s.replication.fill?.bytesTotal ?? null]] },
  { name: 'root_files', help: 'Files below a root', labels: ['root'], read: (s) => s.roots.map((r) => [r.files, { root: r.name }]) },
  { name: 'root_bytes', help: 'Bytes below a root', labels: ['root'], read: (s) => s.roots.map((r) => [r.bytes, { root: r.name }]) },
  {
    name: 'root_free_bytes',
    help: 'Free bytes of the file system that holds a root',
    labels: ['root'],
    read: (s) => s.roots.map((r) => [r.freeBytes, { root: r.name }]),
  },
  {
    name: 'root_file_systems_missing',
    help: 'File systems of a root that are not mounted, or are other ones than before, on this node or on the standby',
    labels: ['root'],
    read: (s) => s.roots.map((r) => [r.missing, { root: r.name }]),
  },
  {
    name: 'watcher_info',
    help: 'The watcher that runs; always 1',
    labels: ['watcher'],
    read: (s) => [[1, { watcher: s.capture.watcher }]],
  },
  { name: 'watches', help: 'Kernel watches in use', read: (s) => [[s.capture.watches]] },
  { name: 'watcher_overflows', help: 'How often the watcher lost hints since the agent started', read: (s) => [[s.capture.overflows]] },
  {
    name: 'left_out_places',
    help: 'Places that are not replicated on purpose, by reason',
    labels: ['reason'],
    read: (s) => s.leftOut.map(({ reason, count }) => [count, { reason }]),
  },
  {
    name: 'left_out_unexpected_places',
    help: 'Of these, those of which mail may be missing on the standby, by reason',
    labels: ['reason'],
    read: (s) => s.leftOut.map(({ reason, unexpected }) => [unexpected, { reason }]),
  },
  {
    name: 'mta_queue_messages',
    help: "Accepted mail that waits in an MTA's queue and is not replicated: of this node, and of the other one as it last said",
    labels: ['node'],
    read: (s) => s.queues.map(({ node, messages }) => [messages, { node }]),
  },
  {
    name: 'mta_queue_oldest_timestamp_seconds',
    help: "When the oldest message of an MTA's queue came in",
    labels: ['node'],
    read: (s) => s.queues.map(({ node, oldestAt }) => [seconds(oldestAt), { node }]),
  },
  {
    name: 'mta_queue_reading_timestamp_seconds',
    help: "When the messages of an MTA's queue were last counted",
    labels: ['node'],
    read: (s) => s.queues.map(({ node, at }) => [seconds(at), { node }]),
  },
  {
    name: 'certificate_expiry_timestamp_seconds',
    help: 'When the certificate ends that clients of the mail server of this node see, or would see after a takeover',
    labels: ['name'],
    read: (s) => s.certificates.map(({ name, endsAt }) => [seconds(endsAt), { name }]),
  },
  {
    name: 'certificate_usable',
    help: '1 when such a certificate and its key can be read and belong together',
    labels: ['name'],
    read: (s) => s.certificates.map(({ name, problem }) => [bit(problem === null), { name }]),
  },
  { name: 'last_verify_timestamp_seconds', help: 'When verification last ended', read: (s) => [[seconds(s.lastVerify?.at ?? null)]] },
  {
    name: 'last_verify_clean',
    help: '1 when the last verification found no difference, 0.5 when it found none in all that is not left out, held or in doubt',
    read: (s) => [[s.lastVerify && verifyGauge[s.lastVerify.result]]],
  },
  {
    name: 'last_verify_differences',
    help: 'Differences that the last verification found',
    read: (s) => [[s.lastVerify?.differences ?? null]],
  },
  {
    name: 'last_verify_left_out_places',
    help: 'Places that the last verification could not compare, because they are left out, held or in doubt',
    read: (s) => [[s.lastVerify?.leftOut ?? null]],
  },
  {
    name: 'scrub_pass_ratio',
    help: 'How much of the pass under way over all content of this node is done, 0 to 1; absent between two passes',
    read: (s) => [[s.scrub?.pass?.share ?? null]],
  },
  {
    name: 'scrub_period_seconds',
    help: 'Within how much time all content of this node is read again; absent when it is not',
    read: (s) => [[s.scrub && s.scrub.days > 0 ? s.scrub.days * 86_400 : null]],
  },
  {
    name: 'scrub_last_pass_timestamp_seconds',
    help: 'When all content of this node was last read again to the end',
    read: (s) => [[seconds(s.scrub?.lastPass?.endedAt ?? null)]],
  },
  {
    name: 'scrub_oldest_unproved_timestamp_seconds',
    help: 'Since when, about, the oldest content of this node was not read again',
    read: (s) => [[seconds(s.scrub?.oldestUnprovedAt ?? null)]],
  },
  { name: 'scrub_read_bytes', help: 'Content that was read again since the agent began', read: (s) => [[s.scrub?.readBytes ?? null]] },
  {
    name: 'scrub_damaged_files',
    help: 'Files that the disk has damaged and that are not mended: `here` on this node, `there` on the other one as it last said',
    labels: ['where'],
    read: (s) =>
      s.scrub
        ? [
            [s.scrub.damagedCount, { where: 'here' }],
            [s.scrub.damagedThere, { where: 'there' }],
          ]
        : [],
  },
  {
    name: 'scrub_mended_files',
    help: 'Damaged files of this standby that were brought again, in the life of its store',
    read: (s) => [[s.scrub?.mended ?? null]],
  },
  { name: 'state_free_bytes', help: 'Free bytes of the file system that holds the state directory', read: (s) => [[s.state.freeBytes]] },
  {
    name: 'services_running',
    help: '1 when all mail services run on this node, 0 when all are stopped, 0.5 when only some run or it is not known',
    read: (s) => [[servicesRunning(s.appliance?.services?.state ?? null)]],
  },
  {
    name: 'services_reading_timestamp_seconds',
    help: 'When the mail services were last looked at',
    read: (s) => [[seconds(s.appliance?.services?.at ?? null)]],
  },
  {
    name: 'service_addresses',
    help: 'Service addresses of the configuration',
    read: (s) => [[s.appliance?.addresses?.configured ?? null]],
  },
  {
    name: 'service_addresses_held',
    help: 'Service addresses that are on this node',
    read: (s) => [[s.appliance?.addresses?.held.length ?? null]],
  },
  {
    name: 'network_alarms',
    help: 'Alarms of the service addresses that stand, by code',
    labels: ['code'],
    read: (s) =>
      s.appliance?.addresses
        ? ['address-conflict', 'address-missing', 'address-flapping'].map((code) => [
            s.appliance?.alarms.filter((alarm) => alarm.code === code).length ?? 0,
            { code },
          ])
        : [],
  },
  {
    name: 'nic_carrier',
    help: '1 when the port of a network role has a carrier',
    labels: ['role'],
    read: (s) => (s.appliance?.nics ?? []).map(({ role, carrier }) => [bit(carrier), { role }]),
  },
  {
    name: 'fence_level_readable',
    help: '1 when a fence level could read the power state of the peer',
    labels: ['level', 'type'],
    read: (s) => automaticLevels(s).map(({ level, type, state }) => [bit(state !== 'unknown'), { level: String(level), type }]),
  },
  {
    name: 'fence_level_timestamp_seconds',
    help: 'When a fence level was last read',
    labels: ['level', 'type'],
    read: (s) => automaticLevels(s).map(({ level, type, at }) => [seconds(at), { level: String(level), type }]),
  },
  {
    name: 'takeover_running',
    help: '1 while a takeover runs on this node',
    read: (s) => [[s.appliance ? bit(s.appliance.takeover.running) : null]],
  },
  {
    name: 'takeover_unfinished',
    help: '1 when a takeover on this node was interrupted and waits for its command',
    read: (s) => [[s.appliance ? bit(s.appliance.takeover.unfinished !== null) : null]],
  },
  {
    name: 'key_problem',
    help: '1 when the connection to the peer fails for its key or certificate',
    read: (s) => [[bit(!s.peer.connected && keyTrouble.test(s.peer.lastError ?? ''))]],
  },
  {
    name: 'can_take_over',
    help: '1 when no check forbids that this node takes over now, 0 when one does; absent on a primary and while it is not known',
    read: (s) => [[s.canTakeOver && bit(s.canTakeOver.can)]],
  },
  {
    name: 'takeover_check_failing',
    help: '1 for each check that forbids that this node takes over now',
    labels: ['guard'],
    read: (s) => (s.canTakeOver?.reasons ?? []).map(({ guard }) => [1, { guard }]),
  },
  { name: 'warnings', help: 'Warnings that stand, by code', labels: ['code'], read: (s) => countByCode(s.warnings) },
];

/** What the link says when a key, a pin or a certificate is at fault. */
const keyTrouble = /\b(key|keys|pin|pinned|certificate|fingerprint|re-keyed|pair id)\b/i;

function servicesRunning(state: 'running' | 'stopped' | 'partial' | 'unknown' | null): number | null {
  return state === null ? null : state === 'running' ? 1 : state === 'stopped' ? 0 : 0.5;
}

/** Levels that need neither the peer nor a person. */
function automaticLevels({ appliance }: Status): NonNullable<Status['appliance']>['fencing'] {
  return (appliance?.fencing ?? []).filter(({ type }) => type === 'agent' || type === 'command' || type === 'all');
}

function countByCode(warnings: Status['warnings']): Reading[] {
  const counts = new Map<string, number>();
  for (const { code } of warnings) counts.set(code, (counts.get(code) ?? 0) + 1);
  return [...counts].map(([code, count]) => [count, { code }]);
}

/** Gauges that show one status and nothing that it does not say. */
export function statusGauges(registry: Registry): { set(status: Status | null): void } {
  const gauges = specs.map((spec) => ({
    spec,
    gauge: new Gauge({ name: `mailtwin_${spec.name}`, help: spec.help, labelNames: spec.labels ?? [], registers: [registry] }),
  }));
  return {
    set(status) {
      for (const { spec, gauge } of gauges) {
        gauge.reset();
        // Without labels, reset leaves a zero behind, which would claim to be a reading.
        if (!spec.labels) gauge.remove();
        if (!status) continue;
        for (const [value, labels] of spec.read(status)) if (value !== null && Number.isFinite(value)) gauge.set(labels ?? {}, value);
      }
    },
  };
}
