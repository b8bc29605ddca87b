import type { DoctorFinding, Status } from '../../../protocol/control.ts';
import { OperatorError } from '../../platform/errors.ts';
import type { Config } from '../../config/config.ts';
import { fail, pass, warn, type Check } from './finding.ts';
import { hostChecks } from './host-checks.ts';
import { pairChecks } from './pair-checks.ts';
import type { DoctorProbe } from './probe.ts';
import { setupChecks } from './setup-checks.ts';

const checkMs = 15_000;

/**
 * Checks the whole set-up and says for each finding what to do. Reads only.
 *
 * Without a configuration that loads nothing else can be told, and only that is reported.
 */
export async function* runDoctor(probe: DoctorProbe, status: Status | null): AsyncGenerator<DoctorFinding, void> {
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
    `${config.file} is well: node ${config.node}, ${config.role}, ${config.roots.length} root${config.roots.length === 1 ? '' : 's'}`,
  );
  for (const check of [...setupChecks, ...hostChecks, ...pairChecks]) yield* await bounded(check, { probe, config, status });
}

async function bounded(check: Check, facts: Parameters<Check['run']>[0]): Promise<DoctorFinding[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${checkMs / 1000} s`)), checkMs);
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
