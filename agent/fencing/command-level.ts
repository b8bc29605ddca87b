import type { FenceLevelConfig } from '../config/takeover-sections/fencing.ts';
import { OperatorError } from '../platform/errors.ts';
import type { ExecResult } from '../platform/exec.ts';
import { evidenceOf, outputBytesMax } from './evidence.ts';
import type { FencingParts } from './fencing.ts';
import { unknownState, type Attempt, type Level, type Observation } from './level.ts';
import { switchOff, type OffResult } from './power-switch.ts';

type Config = FenceLevelConfig & { type: 'command' };

/**
 * Two commands of the operator's: one switches off, the other reads the state and ends, like the fence agents, with
 * 0 = on, 2 = off; everything else means that the state is not known.
 */
export function commandLevel(config: Config, { exec, clock }: Pick<FencingParts, 'exec' | 'clock'>): Level {
  async function call([program = '', ...args]: readonly string[], attempt: Attempt): Promise<ExecResult> {
    try {
      return await exec(program, args, { timeoutMs: Math.max(1, attempt.leftMs()), signal: attempt.signal, outputBytesMax });
    } catch (error) {
      const what = error instanceof Error ? error.message : String(error);
      throw new OperatorError(
        'fence-command-missing',
        `${program} cannot be started: ${what}`,
        'correct the command in the section `fencing`',
      );
    }
  }
  const told = (what: string, result: ExecResult) => {
    const output = evidenceOf(result, []);
    const ending = result.timedOut ? 'took too long and was killed' : `ended with ${result.code ?? result.signal}`;
    return `${config.name}: ${what} ${ending}${output === '' ? '' : `: ${output}`}`;
  };

  async function read(attempt: Attempt): Promise<Observation> {
    const result = await call(config.status, attempt);
    const evidence = told('status', result);
    if (result.code === 0) return { state: 'on', evidence, error: null };
    if (result.code === 2) return { state: 'off', evidence, error: null };
    return unknownState(result.timedOut ? 'fence-timeout' : 'fence-unreadable', evidence, evidence);
  }

  async function off(attempt: Attempt): Promise<OffResult> {
    const result = await call(config.off, attempt);
    return { ok: result.code === 0, timedOut: result.timedOut, evidence: told('off', result) };
  }

  return { check: async () => {}, read, off: (attempt, { say }) => switchOff({ off, read }, clock, attempt, say) };
}
