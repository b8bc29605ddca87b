import { exitCodes, type DoctorFinding } from '../../protocol/control.ts';
import type { Plan } from '../../protocol/takeover.ts';
import type { Config } from '../config/config.ts';
import type { Notifier } from '../observe/notices/notifier.ts';
import type { LagHistory } from '../observe/page/lag-history.ts';
import { Pages, type PageParts } from '../observe/page/pages.ts';
import { systemClock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import { exec } from '../platform/exec.ts';
import type { Appliance } from './appliance.ts';
import type { Takeover } from './takeover/takeover.ts';

const doctorMs = 120_000;
const planMs = 60_000;
const doctorBytesMax = 1024 * 1024;

/** The status page and the checklist of this node; they read and change nothing. */
export function pagesOf(parts: {
  config: Config;
  status: PageParts['status'];
  lag: LagHistory;
  appliance: Appliance;
  notifier: Notifier;
  takeover: Takeover;
}): Pages {
  const { config, status, lag, appliance, notifier, takeover } = parts;
  const { network, services } = appliance;
  return new Pages({
    status,
    lag: () => lag.samples,
    network: () => (network.configured ? network.state() : null),
    peerNetwork: () => appliance.peerNetwork(),
    events: () => notifier.events,
    ways: () => notifier.ways,
    takeover: () => takeover.last(),
    services: async () => (services.configured ? (await services.state()).state : null),
    doctor: (signal) => doctorApart(config.file, signal),
    failoverPlan: () => plan(takeover),
    clock: systemClock,
  });
}

const nobody = { uid: 0, user: 'status page', tty: null, sudoUser: null };

async function plan(takeover: Takeover): Promise<Plan> {
  // What the page asks of BMCs and the network must not disturb the takeover itself.
  if (takeover.runs)
    throw new OperatorError(
      'other-takeover',
      'a takeover runs on this node right now',
      'follow it in the terminal: `mailtwin status`',
      exitCodes.refused,
    );
  return takeover.plan({ kind: 'failover', overrides: [], by: nobody }, AbortSignal.timeout(planMs));
}

/** The doctor walks through the stores, so it runs in a process of its own, out of the way of replication. */
async function doctorApart(configFile: string, signal: AbortSignal): Promise<DoctorFinding[]> {
  const script = process.argv[1] ?? '';
  const { stdout } = await exec('nice', ['-n', '15', process.execPath, script, 'doctor', '--json', '--config', configFile], {
    timeoutMs: doctorMs,
    outputBytesMax: doctorBytesMax,
    signal,
  });
  return (JSON.parse(stdout) as { findings: DoctorFinding[] }).findings;
}
