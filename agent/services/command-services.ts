import type { ServicesConfig } from '../config/takeover-sections/services.ts';
import { OperatorError } from '../platform/errors.ts';
import type { ExecResult } from '../platform/exec.ts';
import { cannotStart, outputOf, showStates, statesWithin, type ServiceManager } from './manager.ts';
import type { ServicesParts } from './services.ts';

type Limits = Pick<ServicesConfig, 'startTimeoutSeconds' | 'stopTimeoutSeconds'>;
type Commands = NonNullable<ServicesConfig['commands']>;

const statusMs = 10_000;

/**
 * Services behind three commands, for hosts without systemd. `status` ends, as init scripts do (LSB), with 0 = running,
 * 3 = stopped; anything else is not known.
 */
export function commandServices(
  commands: Commands,
  limits: Limits,
  { exec, clock }: Pick<ServicesParts, 'exec' | 'clock'>,
): ServiceManager {
  const name = commands.start[0]?.replace(/^.*\//, '') ?? 'services';
  const call = async (
    [program = '', ...args]: readonly string[],
    code: 'services-start' | 'services-stop',
    timeoutMs: number,
  ): Promise<ExecResult> => {
    try {
      // A start command may leave a server behind that keeps the command's output open.
      return await exec(program, args, { timeoutMs, leavesServer: true });
    } catch (error) {
      throw cannotStart(program, error, code);
    }
  };

  const manager: ServiceManager = {
    names: [name],
    async start() {
      const limitMs = limits.startTimeoutSeconds * 1000;
      const began = clock.monotonicMs();
      const result = await call(commands.start, 'services-start', limitMs);
      const left = result.code === 0 ? Math.max(0, limitMs - (clock.monotonicMs() - began)) : 0;
      const states = await statesWithin(manager, clock, left, ([unit]) => unit?.state === 'running');
      if (result.code === 0 && states[0]?.state === 'running') return;
      throw failed('services-start', `did not start within ${limits.startTimeoutSeconds} s`, result, showStates(states));
    },
    async stop() {
      const limitMs = limits.stopTimeoutSeconds * 1000;
      const began = clock.monotonicMs();
      const result = await call(commands.stop, 'services-stop', limitMs);
      const left = Math.max(0, limitMs - (clock.monotonicMs() - began));
      const states = await statesWithin(manager, clock, left, ([unit]) => unit?.state === 'stopped');
      if (states[0]?.state !== 'stopped')
        throw failed('services-stop', `did not stop within ${limits.stopTimeoutSeconds} s`, result, showStates(states));
    },
    async states() {
      try {
        const result = await call(commands.status, 'services-start', statusMs);
        const said = outputOf(result);
        const state = result.code === 0 ? 'running' : result.code === 3 ? 'stopped' : 'unknown';
        const detail =
          state === 'unknown' ? `not known (status ended with ${result.code ?? result.signal}${said === '' ? '' : `: ${said}`})` : state;
        return [{ name, state, detail }];
      } catch (error) {
        if (!(error instanceof OperatorError)) throw error;
        return [{ name, state: 'unknown', detail: `not known (${error.message})` }];
      }
    },
  };
  return manager;
}

function failed(code: 'services-start' | 'services-stop', what: string, result: ExecResult, states: string): OperatorError {
  const said = outputOf(result);
  const end = result.timedOut ? 'took too long' : `ended with ${result.code ?? result.signal}`;
  return new OperatorError(
    code,
    `the mail services ${what}: ${states}; the command ${end}${said === '' ? '' : `: ${said}`}`,
    code === 'services-stop'
      ? 'stop them by hand before anything else; nothing may write into the mail store here'
      : 'run the command by hand to see why',
    code === 'services-stop' ? 5 : 1,
  );
}
