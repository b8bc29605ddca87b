import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Status } from '../../protocol/control.ts';
import type { Meter } from './meter.ts';
import { statusGauges } from './status-gauges.ts';

export interface Metrics {
  /** What replication counts into. */
  meter: Meter;
  /** The text that Prometheus scrapes. */
  render(): Promise<string>;
  contentType: string;
}

/** A status older than this is not shown again (I18). */
export const readingSecondsMax = 30;

/** Gauges that prom-client names as only counters may be named; the same numbers come without `_total`, by type. */
const misnamed = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];

/**
 * Metrics `mailtwin_*` in base units, and the process's own under their usual names.
 *
 * What replication does is counted as it happens; how things stand is taken from `status` at each scrape, so that
 * nothing stale is repeated (I18): a value that is not known then is absent.
 */
export function createMetrics(options: {
  status: () => Status;
  wallMs: () => number;
  /** The longest time of late for which this thread stood still. */
  standstillMs?: () => number;
  processMetrics?: boolean;
}): Metrics {
  const registry = new Registry();
  const standstill = new Gauge({
    name: 'mailtwin_standstill_seconds',
    help: 'Longest time in the last minute or two for which the thread that answers the peer stood still',
    registers: [registry],
  });
  // The default of 10 ms wakes an idle agent a hundred times a second.
  if (options.processMetrics ?? true) {
    collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 200 });
    for (const name of misnamed) registry.removeSingleMetric(name);
  }
  const gauges = statusGauges(registry);
  return {
    meter: createMeter(registry),
    contentType: registry.contentType,
    async render() {
      gauges.set(freshStatus(options.status, options.wallMs()));
      standstill.set((options.standstillMs?.() ?? 0) / 1000);
      return registry.metrics();
    },
  };
}

function freshStatus(read: () => Status, wallMs: number): Status | null {
  let status: Status;
  try {
    status = read();
  } catch {
    // While the agent starts or stops there is nothing to say about it; absent values are what alerts look for.
    return null;
  }
  return Math.abs(wallMs - Date.parse(status.at)) / 1000 > readingSecondsMax ? null : status;
}

function createMeter(registry: Registry): Meter {
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter({ name: `mailtwin_${name}`, help, labelNames, registers });
  const histogram = <L extends string>(name: string, help: string, buckets: number[], labelNames: readonly L[] = []) =>
    new Histogram({ name: `mailtwin_${name}`, help, labelNames, buckets, registers });

  const sentChanges = counter('sent_changes_total', 'Changes given to the link, by how they travelled', ['kind']);
  const sentBytes = counter('sent_bytes_total', 'Bytes given to the link for changes, by how they travelled', ['kind']);
  const savedBytes = counter('saved_bytes_total', 'Bytes of changed files that did not have to be sent, by how they travelled', ['kind']);
  const batches = counter('applied_batches_total', 'Batches applied on this standby');
  const ops = counter('applied_ops_total', 'Operations applied on this standby');
  const appliedBytes = counter('applied_bytes_total', 'Content bytes applied on this standby');
  const batchSeconds = histogram(
    'batch_seconds',
    'Time from closing a batch to its acknowledgement',
    [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30],
  );
  const syncSeconds = histogram(
    'sync_seconds',
    'Time of making files or the index durable',
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10],
    ['what'],
  );
  const rejected = counter('rejected_batches_total', 'Batches that the standby rejected, by reason', ['code']);
  const hints = counter('hints_total', 'Hints of the watcher that something may have changed');
  const rescans = counter('rescans_total', 'Directories looked at again because hints were lost or in doubt, by reason', ['reason']);
  const setAgain = counter(
    'network_set_again_total',
    'Service addresses and routes that were removed by others from this active node, and set again',
    ['what'],
  );
  for (const what of ['address', 'route'] as const) setAgain.inc({ what }, 0);
  const turnedAway = counter(
    'connections_turned_away_total',
    'Connections at the port of the pair that were ended before they were the peer’s: no key in time, too many at once, a wrong key, no TLS',
    ['reason'],
  );
  for (const reason of ['late', 'crowded', 'key', 'tls'] as const) turnedAway.inc({ reason }, 0);

  const reasons = new Set<string>();
  return {
    sent(kind, changes, bytes, saved) {
      sentChanges.inc({ kind }, changes);
      sentBytes.inc({ kind }, bytes);
      // A delta may cost more than it saves; a counter never falls.
      savedBytes.inc({ kind }, Math.max(0, saved));
    },
    applied(count, bytes) {
      batches.inc();
      ops.inc(count);
      appliedBytes.inc(bytes);
    },
    batchSeconds: (seconds) => batchSeconds.observe(seconds),
    syncSeconds: (what, seconds) => syncSeconds.observe({ what }, seconds),
    rejected: (code) => rejected.inc({ code: bounded(reasons, code) }),
    hints: (count) => hints.inc(count),
    rescanned: (reason) => rescans.inc({ reason: bounded(reasons, reason) }),
    setAgain: (what, count) => setAgain.inc({ what }, count),
    turnedAway: (reason) => turnedAway.inc({ reason }),
  };
}

const labelValuesMax = 50;

/** A label's value, from a set that cannot grow for ever: each new one costs a time series (I12). */
function bounded(seen: Set<string>, value: string): string {
  const short = value.slice(0, 80);
  if (seen.has(short)) return short;
  if (seen.size >= labelValuesMax) return 'other';
  seen.add(short);
  return short;
}
