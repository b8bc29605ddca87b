import type { Plan } from '../../protocol/takeover.ts';
import type { HookPoint, TakeoverConfig } from '../config/takeover-sections/takeover.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Exec } from '../platform/exec.ts';
import type { Log } from '../platform/log.ts';

/**
 * Programs of the operator's before and after the steps of a takeover.
 *
 * - `runHook(parts, point, plan)`: runs the program that the configuration names for the point, if any.
 *
 * A hook gets no secret: PATH and `MAILTWIN_PHASE` (for example `before-fence`), `MAILTWIN_KIND`, `MAILTWIN_EPOCH`,
 * `MAILTWIN_NODE` (which becomes active), `MAILTWIN_TARGET`, `MAILTWIN_TAKEOVER`. Its output goes to the log.
 */

export interface HookParts {
  config: Pick<TakeoverConfig, 'hooks' | 'hookTimeoutSeconds'>;
  exec: Exec;
  log: Log;
  /** PATH of the agent's own environment. */
  path: string;
}

const outputBytesMax = 64 * 1024;

/** @throws OperatorError `hook-failed` when it cannot be started, ends with another code than 0, or takes too long. */
export async function runHook({ config, exec, log, path }: HookParts, point: HookPoint, plan: Plan): Promise<void> {
  const [program, ...args] = config.hooks[point] ?? [];
  if (program === undefined) return;
  const env = {
    PATH: path,
    MAILTWIN_PHASE: point,
    MAILTWIN_KIND: plan.kind,
    MAILTWIN_EPOCH: String(plan.epoch),
    MAILTWIN_NODE: plan.node,
    MAILTWIN_TARGET: plan.target,
    MAILTWIN_TAKEOVER: plan.id,
  };
  const failed = (how: string) =>
    new OperatorError(
      'hook-failed',
      `the hook ${point} (${program}) ${how}`,
      'mend the hook, or take it out of `takeover.hooks`; its output is in the log',
    );
  let result: Awaited<ReturnType<Exec>>;
  try {
    result = await exec(program, args, { env, timeoutMs: config.hookTimeoutSeconds * 1000, outputBytesMax });
  } catch (error) {
    throw failed(`cannot be started: ${error instanceof Error ? error.message : String(error)}`);
  }
  const { code, signal, timedOut, stdout, stderr } = result;
  log.info({ point, program, code, signal, timedOut, stdout: stdout.slice(0, 4000), stderr: stderr.slice(0, 4000) }, 'a hook ran');
  if (timedOut) throw failed(`did not end within ${config.hookTimeoutSeconds} s`);
  if (code !== 0) throw failed(code === null ? `was ended by ${signal}` : `ended with code ${code}`);
}
