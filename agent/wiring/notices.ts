import type { Status } from '../../protocol/control.ts';
import type { Config } from '../config/config.ts';
import { metaKey } from '../journal/keys.ts';
import type { Drawer } from '../observe/notices/outbox.ts';
import { Notifier } from '../observe/notices/notifier.ts';
import type { Reading } from '../observe/notices/watch.ts';
import { waysOf } from '../observe/notices/ways.ts';
import { systemClock } from '../platform/clock.ts';
import type { Kv } from '../platform/kv.ts';
import type { Log } from '../platform/log.ts';
import { realFiles } from '../platform/real-files.ts';
import type { Appliance } from './appliance.ts';
import type { Takeover } from './takeover/takeover.ts';

/** Who is told of what happens on this node. Not started. */
export function notifierOf(parts: {
  config: Config;
  kv: Kv;
  log: Log;
  status: () => Status;
  appliance: Appliance;
  takeover: Takeover;
}): Notifier {
  const { config, kv, log, status, appliance, takeover } = parts;
  return new Notifier({
    node: config.node,
    config: config.notices,
    freeBytesMin: config.limits.freeBytesMin,
    ways: config.notices ? waysOf(config.notices, { files: realFiles, serviceAddresses: [...appliance.network.addresses] }) : [],
    reading: () => readingOf(status(), takeover),
    digestFacts: () => {
      const now = status();
      return {
        status: now,
        services: appliance.services.configured ? (now.appliance?.services?.state ?? 'unknown') : null,
        fence: fenceText(now),
        findings: null,
      };
    },
    drawer: (name) => drawerOf(kv, `notices-${name}`),
    clock: systemClock,
    log,
  });
}

function readingOf(status: Status, takeover: Takeover): Reading {
  return { status, fence: fenceReading(status), takeover: lastTakeover(takeover), alarms: status.appliance?.alarms ?? [] };
}

/** Not waited for: what a crash takes away is told again, or was told already. */
function drawerOf(kv: Kv, name: string): Drawer {
  const key = metaKey(name);
  return {
    read: () => kv.get(key)?.toString('utf8') ?? null,
    write: (text) => kv.commit([[key, Buffer.from(text, 'utf8')]]),
  };
}

function automatic({ appliance }: Status) {
  return (appliance?.fencing ?? []).filter(({ type }) => type === 'agent' || type === 'command' || type === 'all');
}

function fenceReading(status: Status): Reading['fence'] {
  const readings = automatic(status);
  if (readings.length === 0) return null;
  const broken = readings.filter(({ error }) => error !== null);
  return {
    broken: broken.length,
    total: readings.length,
    detail: broken.map(({ name, error }) => `${name}: ${error?.detail ?? ''}`).join('; '),
  };
}

function fenceText(status: Status): string | null {
  const readings = automatic(status);
  return readings.length === 0
    ? null
    : readings.map(({ name, state, error }) => `${name}: ${error ? `cannot be read (${error.detail})` : `reads ${state}`}`).join('; ');
}

function lastTakeover(takeover: Takeover): Reading['takeover'] {
  const { report, running } = takeover.last();
  if (!report || running) return null;
  return { id: report.id, kind: report.kind, outcome: report.outcome, summary: report.summary };
}
