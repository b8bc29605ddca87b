import { OperatorError } from '../platform/errors.ts';
import type { Exec } from '../platform/exec.ts';
import type { Log } from '../platform/log.ts';
import { ip } from './ip-facts.ts';
import type { Step } from './plan.ts';

/**
 * Runs the steps in order, with few processes: on a busy host each takes longer than all that it does. When one fails,
 * those before it are taken back.
 *
 * @throws OperatorError `ip-command` of the step that failed.
 */
export async function runSteps(exec: Exec, log: Log, steps: readonly Step[]): Promise<void> {
  let done = 0;
  for (const group of groups(steps.map(({ run }) => run))) {
    const failed = await runGroup(exec, group, false);
    if (failed !== null) {
      await undoSteps(exec, log, steps.slice(0, done + failed.index));
      throw failed.error;
    }
    done += group.length;
  }
}

/** Takes steps back, the last one first. What is gone already is no error; anything else is logged, because the first error is told. */
export async function undoSteps(exec: Exec, log: Log, steps: readonly Step[]): Promise<void> {
  const commands = steps.toReversed().flatMap(({ undo }) => (undo === null ? [] : [undo]));
  const error = await runAll(exec, commands);
  if (error !== null) log.warn({ code: error.code }, `while taking back: ${error.message}`);
}

/** Runs every command, also after one that failed; the last error, or null. */
export async function runAll(exec: Exec, commands: readonly string[][]): Promise<OperatorError | null> {
  let last: OperatorError | null = null;
  for (const group of groups(commands)) last = (await runGroup(exec, group, true))?.error ?? last;
  return last;
}

/** Neighbouring commands with the same option of the family, which `ip` takes for a whole batch only. */
function groups(commands: readonly string[][]): string[][][] {
  const found: string[][][] = [];
  for (const command of commands) {
    const last = found.at(-1);
    if (last && familyOf(last[0] ?? []) === familyOf(command)) last.push(command);
    else found.push([command]);
  }
  return found;
}

function familyOf(command: readonly string[]): string | null {
  return command[0] === '-4' || command[0] === '-6' ? command[0] : null;
}

/** Null when all went well; otherwise which command failed (the first one, when the rest was not tried). */
async function runGroup(exec: Exec, group: readonly string[][], goOn: boolean): Promise<{ index: number; error: OperatorError } | null> {
  const family = familyOf(group[0] ?? []);
  const words = group.map((command) => command.slice(family === null ? 0 : 1));
  // A line of a batch is split at blanks: no name of a device and no address has one.
  if (words.flat().some((word) => word === '' || /[\s#"'\\]/.test(word))) throw new Error(`not a command for ip: ${JSON.stringify(group)}`);
  const options = [...(family === null ? [] : [family]), ...(goOn ? ['-force'] : []), '-batch', '-'];
  try {
    await ip(exec, options, words.map((command) => `${command.join(' ')}\n`).join(''));
    return null;
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    const line = Number(/Command failed -:(\d+)/.exec(error.message)?.[1] ?? 1);
    const command = group[line - 1] ?? [];
    const why = error.message.replace(/^ip .*?-batch -: /, '').replace(/;? ?Command failed -:\d+/g, '');
    return { index: line - 1, error: new OperatorError(error.code, `ip ${command.join(' ')}: ${why}`, error.remedy, error.exitCode) };
  }
}
