import { randomUUID } from 'node:crypto';
import { copyFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { exitCodes } from '../../../protocol/control.ts';
import type { MigratePoint } from '../../../protocol/migrate.ts';
import { asControlError, CommandError } from '../command-error.ts';
import { agentOf, type CommonOptions, type Context } from '../context.ts';
import { controlClient, type ControlClient } from '../control-client.ts';
import { printable } from '../format.ts';
import type { Paint } from '../paint.ts';
import { jsonText } from '../json.ts';

const marks: Record<MigratePoint['state'], (paint: Paint) => string> = {
  done: (paint) => paint.good('done'),
  open: (paint) => paint.warn('open'),
  warn: (paint) => paint.warn('warn'),
  later: (paint) => paint.dim('then'),
  'not-known': (paint) => paint.dim('?   '),
};

/** `mailtwin migrate status`. Exit code 1 while something remains. */
export async function migrateStatus(context: Context, flags: CommonOptions): Promise<number> {
  const { terminal } = context;
  const { paint } = terminal;
  const status = await (await agentOf(context, flags.config)).ask('GET /migrate/status', null);
  if (flags.json) terminal.print(jsonText(status));
  else {
    terminal.print(printable(status.releases.text));
    for (const { title, state, remains, command } of status.points) {
      const mark = marks[state](paint);
      terminal.print(
        `${mark}  ${printable(title)}${remains === '' ? '' : `\n      ${paint.dim(printable(remains))}`}${command === '' ? '' : `\n      ${printable(command)}`}`,
      );
    }
    if (status.fillSeconds !== null) terminal.print(`the fill will take about ${Math.ceil(status.fillSeconds / 60)} min more`);
    if (status.downtimeSeconds !== null) terminal.print(`clients will wait about ${Math.ceil(status.downtimeSeconds)} s at the switchover`);
  }
  return status.next === null ? exitCodes.done : exitCodes.failed;
}

/** `mailtwin migrate snapshot FILE`. */
export async function migrateSnapshot(context: Context, file: string, flags: CommonOptions): Promise<number> {
  const made = await besideAgent(context, flags, file, async (agent, staged) => {
    const answer = await agent.ask('POST /migrate/snapshot', { file: staged });
    copy(staged, file, 'written', 'name another file', exitCodes.failed);
    return answer;
  });
  context.terminal.print(flags.json ? jsonText(made) : `${file}: ${made.mailboxes} mailboxes, ${made.messages} messages`);
  return exitCodes.done;
}

/** `mailtwin migrate report FILE`. Exit code 1 when a mailbox is not what it was. */
export async function migrateReport(context: Context, file: string, flags: CommonOptions & { html?: string }): Promise<number> {
  const { terminal } = context;
  const report = await besideAgent(context, flags, file, (agent, staged) => {
    copy(file, staged, 'read', 'make one with `mailtwin migrate snapshot FILE` before the move', exitCodes.usage);
    return agent.ask('POST /migrate/report', { file: staged });
  });
  if (flags.html !== undefined) {
    try {
      writeFileSync(flags.html, report.html);
    } catch (error) {
      throw new CommandError({
        code: 'report-file',
        message: error instanceof Error ? error.message : String(error),
        remedy: 'name another file',
        exitCode: exitCodes.failed,
      });
    }
  }
  terminal.print(flags.json ? jsonText({ counts: report.counts }) : report.text);
  return report.counts.wrong > 0 ? exitCodes.failed : exitCodes.done;
}

/**
 * Hands a file over by way of the state directory: the agent runs in a sandbox, where /tmp is another one and most other
 * places are read-only.
 */
async function besideAgent<T>(
  context: Context,
  { config }: CommonOptions,
  file: string,
  work: (agent: ControlClient, staged: string) => Promise<T>,
): Promise<T> {
  const state = await (await context.loadAgent()).stateDirOf(config);
  const staged = join(state, `migrate-${randomUUID()}.json`);
  try {
    return await work(controlClient(state), staged);
  } catch (error) {
    const known = asControlError(error);
    if (known === null) throw error;
    throw new CommandError({ ...known, message: known.message.replaceAll(staged, file) });
  } finally {
    rmSync(staged, { force: true });
  }
}

function copy(from: string, to: string, what: 'read' | 'written', remedy: string, exitCode: number): void {
  try {
    copyFileSync(from, to);
  } catch (error) {
    const path = what === 'read' ? from : to;
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError({ code: 'snapshot-file', message: `${path} cannot be ${what}: ${why}`, remedy, exitCode });
  }
}
