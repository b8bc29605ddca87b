import type { DoctorFinding, Status } from '../../../protocol/control.ts';
import { OperatorError } from '../../platform/errors.ts';
import type { Config } from '../../config/config.ts';
import { fail, pass, warn, type Check, type Facts } from './finding.ts';
import { fencingChecks } from './fencing-checks.ts';
import { hostChecks } from './host-checks.ts';
import { networkChecks } from './network-checks.ts';
import { leftOutChecks } from './left-out-checks.ts';
import { pairChecks } from './pair-checks.ts';
import { certificateChecks } from './certificate-checks.ts';
import { queueChecks } from './queue-checks.ts';
import type { DoctorProbe } from './probe.ts';
import { sandboxChecks } from './sandbox-check.ts';
import { secretChecks } from './secret-checks.ts';
import { serviceChecks } from './service-checks.ts';
import { setupChecks } from './setup-checks.ts';
import { storeChecks } from './store-checks.ts';
import { takeoverChecks } from './takeover-checks.ts';
import { tellingChecks } from './telling-checks.ts';

const checkMs = 15_000;
/** In the order in which things are set up. */
const checks: readonly Check[] = [
  ...setupChecks,
  ...secretChecks,
  ...hostChecks,
  ...storeChecks,
  ...pairChecks,
  ...leftOutChecks,
  ...takeoverChecks,
  ...networkChecks,
  ...fencingChecks,
  ...serviceChecks,
  ...sandboxChecks,
  ...certificateChecks,
  ...queueChecks,
  ...tellingChecks,
];

/**
 * Checks the whole set-up and says for each finding what to do. Reads only.
 *
 * @param only the ids of the checks that are wanted; without it all.
 *
 * Without a configuration that loads nothing else can be told, and only that is reported.
 */
export async function* runDoctor(
  probe: DoctorProbe,
  status: Status | null,
  only?: ReadonlySet<string>,
): AsyncGenerator<DoctorFinding, void> {
  let config: Config;
  try {
    config = probe.loadConfig();
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    yield fail('config', 'the configuration cannot be used', error.message, error.remedy);
    return;
  }
  yield pass(
    'config',
    `${config.file} is valid: node ${config.node}, ${config.role}, ${config.roots.length} root${config.roots.length === 1 ? '' : 's'}`,
  );
  const facts = { probe, node: probe.node(config), config, status };
  for (const check of checks) if (only?.has(check.id) !== false) yield* await bounded(check, facts);
}

async function bounded(check: Check, facts: Facts): Promise<DoctorFinding[]> {
  const limitMs = check.limitMs ?? checkMs;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${limitMs / 1000} s`)), limitMs);
  });
  try {
    return await Promise.race([check.run(facts), late]);
  } catch (error) {
    const evidence = error instanceof Error ? error.message : String(error);
    return [warn(check.id, 'this could not be checked', evidence, 'run the doctor as the user that the agent runs as (root)')];
  } finally {
    clearTimeout(timer);
  }
}
