import { Gauge, type Registry } from 'prom-client';
import type { Status } from '../../protocol/control.ts';

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
/** The sequence number of a position as `status` shows it (`epoch:seq:checksum`). */
const sequence = (position: string): number | null => {
  const value = Number(position.split(':')[1] ?? Number.NaN);
  return Number.isFinite(value) ? value : null;
};

const specs: GaugeSpec[] = [
  {
    name: 'info',
    help: 'Names and versions; always 1',
    labels: ['node', 'pair', 'version'],
    read: (s) => [[1, { node: s.node, pair: s.pair ?? '', version: s.agentVersion }]],
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
    name: 'watcher_info',
    help: 'The watcher that runs; always 1',
    labels: ['watcher'],
    read: (s) => [[1, { watcher: s.capture.watcher }]],
  },
  { name: 'watches', help: 'Kernel watches in use', read: (s) => [[s.capture.watches]] },
  { name: 'watcher_overflows', help: 'How often the watcher lost hints since the agent started', read: (s) => [[s.capture.overflows]] },
  {
    name: 'skipped_files',
    help: 'Entries that are not replicated, by kind',
    labels: ['kind'],
    read: (s) => s.skipped.map((k) => [k.count, { kind: k.kind }]),
  },
  { name: 'last_verify_timestamp_seconds', help: 'When verification last ended', read: (s) => [[seconds(s.lastVerify?.at ?? null)]] },
  {
    name: 'last_verify_clean',
    help: '1 when the last verification found no difference',
    read: (s) => [[s.lastVerify ? bit(s.lastVerify.result === 'clean') : null]],
  },
  {
    name: 'last_verify_differences',
    help: 'Differences that the last verification found',
    read: (s) => [[s.lastVerify?.differences ?? null]],
  },
  { name: 'warnings', help: 'Warnings that stand, by code', labels: ['code'], read: (s) => countByCode(s.warnings) },
];

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
