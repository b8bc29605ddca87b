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
  const { services } = appliance;
  return new Notifier({
    node: config.node,
    config: config.notices,
    freeBytesMin: config.limits.freeBytesMin,
    ways: config.notices ? waysOf(config.notices, { files: realFiles, serviceAddresses: serviceAddressesOf(config) }) : [],
    reading: () => readingOf(status(), appliance, takeover),
    digestFacts: async () => ({
      status: status(),
      services: services.configured ? (await services.state()).state : null,
      fence: fenceText(appliance),
      findings: null,
    }),
    drawer: (name) => drawerOf(kv, `notices-${name}`),
    clock: systemClock,
    log,
  });
}

function readingOf(status: Status, appliance: Appliance, takeover: Takeover): Reading {
  return {
    status,
    fence: fenceReading(appliance),
    takeover: lastTakeover(takeover),
    alarms: appliance.network.configured ? appliance.network.alarms() : [],
  };
}

export function serviceAddressesOf(config: Config): string[] {
  return (config.network?.roles ?? []).flatMap(({ addresses }) => addresses.map(({ address }) => address.text));
}

/** Not waited for: what a crash takes away is told again, or was told already. */
function drawerOf(kv: Kv, name: string): Drawer {
  const key = metaKey(name);
  return {
    read: () => kv.get(key)?.toString('utf8') ?? null,
    write: (text) => kv.commit([[key, Buffer.from(text, 'utf8')]]),
  };
}

function automatic({ fence }: Appliance) {
  return fence.probe.readings().filter(({ type }) => type === 'agent' || type === 'command');
}

function fenceReading(appliance: Appliance): Reading['fence'] {
  const readings = automatic(appliance);
  if (readings.length === 0) return null;
  const broken = readings.filter(({ error }) => error !== null);
  return {
    broken: broken.length,
    total: readings.length,
    detail: broken.map(({ name, error }) => `${name}: ${error?.detail ?? ''}`).join('; '),
  };
}

function fenceText(appliance: Appliance): string | null {
  const readings = automatic(appliance);
  return readings.length === 0
    ? null
    : readings.map(({ name, state, error }) => `${name}: ${error ? `cannot be read (${error.detail})` : `reads ${state}`}`).join('; ');
}

function lastTakeover(takeover: Takeover): Reading['takeover'] {
  const { report, running } = takeover.last();
  if (!report || running) return null;
  return { id: report.id, kind: report.kind, outcome: report.outcome, summary: report.summary };
}
