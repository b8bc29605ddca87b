import { sleep, type Clock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { ExecResult } from '../platform/exec.ts';
import { errnoCode } from '../platform/files.ts';
import type { ServicesState } from './services.ts';

/** What starts and stops services: systemd, or commands. */
export interface ServiceManager {
  readonly names: readonly string[];
  /** Starts, and waits until all run. @throws OperatorError `services-start`. */
  start(): Promise<void>;
  /** Stops, and waits until none runs. @throws OperatorError `services-stop`. */
  stop(): Promise<void>;
  states(): Promise<ServicesState['units']>;
}

const pauseMs = 100;
const saidCharsMax = 500;

/** Reads the states until `isDone` or the time is up; gives the last ones. */
export async function statesWithin(
  manager: Pick<ServiceManager, 'states'>,
  clock: Clock,
  ms: number,
  isDone: (units: ServicesState['units']) => boolean,
): Promise<ServicesState['units']> {
  const deadline = clock.monotonicMs() + ms;
  for (;;) {
    const units = await manager.states();
    if (isDone(units) || clock.monotonicMs() >= deadline) return units;
    await sleep(clock, pauseMs);
  }
}

/** The end of what a program said, on one line; `stderr` alone where standard output is its work. */
export function outputOf(result: ExecResult, which: 'both' | 'stderr' = 'both'): string {
  const text = which === 'both' ? `${result.stdout}\n${result.stderr}` : result.stderr;
  return text
    .split(/[\r\n]+/)
    .map((line) => line.replace(/[\p{C}]/gu, ' ').trim())
    .filter((line) => line !== '')
    .join(' | ')
    .slice(-saidCharsMax);
}

export function showStates(units: ServicesState['units']): string {
  return units.map(({ name, detail }) => `${name} is ${detail}`).join(', ');
}

/** A program of the services that is not there. */
export function cannotStart(program: string, error: unknown, code: 'services-start' | 'services-stop'): OperatorError {
  const what = errnoCode(error) === 'ENOENT' ? 'there is no such program' : error instanceof Error ? error.message : String(error);
  return new OperatorError(
    code,
    `${program} cannot be started: ${what}`,
    'correct the section `services`',
    code === 'services-stop' ? 5 : 1,
  );
}
