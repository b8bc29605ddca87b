import { readFileSync, writeFileSync } from 'node:fs';
import { exitCodes } from '../../../protocol/control.ts';
import {
  guardNames,
  guardNameSchema,
  planSchema,
  type GuardName,
  type GuardResult,
  type Plan,
  type PredictedLoss,
  type RunRequest,
  type TakeoverKind,
  type TakeoverLine,
} from '../../../protocol/takeover.ts';
import { CommandError } from '../command-error.ts';
import { agentOf, type CommonOptions, type Context } from '../context.ts';
import type { ControlClient } from '../control-client.ts';
import { printable } from '../format.ts';
import { operator } from '../operator.ts';
import type { Paint } from '../paint.ts';
import { guardText, lossText, planText, refusalText, waitingText } from '../plan-text.ts';
import { jsonText } from '../json.ts';

export interface TakeoverFlags extends CommonOptions {
  dryRun: boolean;
  /** Where --dry-run writes the plan; without it, it leaves no file. */
  plan?: string;
  /** A plan file to run. */
  apply?: string;
  override: string[];
  confirm?: string;
  acceptLoss?: boolean;
  /** What a person saw of the dead node, for the manual fence level. */
  fencedByHand?: string;
}

/** `mailtwin switchover` and `mailtwin failover`. */
export async function takeover(context: Context, kind: TakeoverKind, flags: TakeoverFlags): Promise<number> {
  const { terminal } = context;
  const overrides = flags.override.map(guardName);
  const by = operator();
  const agent = await agentOf(context, flags.config);
  if (flags.dryRun) {
    const plan = await agent.ask('POST /takeover/plan', { kind, overrides, by });
    return keepPlan(context, plan, flags);
  }
  const { unfinished } = await agent.ask('GET /takeover/last', null);
  const file = flags.apply === undefined ? null : readPlan(flags.apply);
  // What was interrupted is brought to its end first; a plan of now would say nothing about it.
  const shown = unfinished
    ? null
    : (file ?? (flags.confirm === undefined ? await agent.ask('POST /takeover/plan', { kind, overrides, by }) : null));
  const request: RunRequest = { kind, plan: file, overrides, by, confirm: '', acceptLoss: flags.acceptLoss === true, manual: null };
  if (unfinished && !flags.json) terminal.print(`Takeover ${unfinished.id} was interrupted: it is continued or rolled back first.`);
  // Whoever is refused is told so before anything is asked.
  if (shown && failing(shown).length > 0) return refuse(context, shown, flags);
  if (shown && !flags.json) terminal.print(`${planText(shown, terminal.paint)}\n`);
  request.confirm = flags.confirm ?? (await ask(context, flags, `Type the name of the node that goes out of service: `, '--confirm NODE'));
  if (kind === 'failover' && shown && !request.acceptLoss && loses(shown.predictedLoss)) {
    const typed = await ask(
      context,
      flags,
      `This may be lost: ${lossText(shown.predictedLoss)}.\n${besides(shown)}Type yes to accept it: `,
      '--accept-loss',
    );
    request.acceptLoss = typed.trim().toLowerCase() === 'yes';
  }
  if (shown && !flags.json) terminal.print('');
  if (flags.fencedByHand !== undefined) request.manual = { node: request.confirm, by: by.user, evidence: flags.fencedByHand };
  return run(context, agent, request, flags);
}

/** Where nothing is known to be missing there is nothing to accept. */
function loses({ messages, changes, seconds }: PredictedLoss): boolean {
  return messages !== 0 || changes !== 0 || seconds !== 0;
}

/** Mail that waits on the dead machine is no part of what is accepted, and nobody should learn of it afterwards. */
function besides(plan: Plan): string {
  const waiting = waitingText(plan);
  return waiting === null ? '' : `Besides, ${printable(waiting)}.\n`;
}

/** `mailtwin plan show FILE`. */
export function showPlan(context: Context, file: string, flags: { json?: boolean }): number {
  const plan = readPlan(file);
  context.terminal.print(flags.json ? jsonText(plan) : planText(plan, context.terminal.paint));
  return exitCodes.done;
}

function keepPlan(context: Context, plan: Plan, flags: TakeoverFlags): number {
  const { terminal } = context;
  const file = flags.plan ?? null;
  if (file !== null) writeFileSync(file, `${JSON.stringify(plan, null, 2)}\n`, { mode: 0o600 });
  const isRefused = failing(plan).length > 0;
  if (flags.json) terminal.print(jsonText({ file, plan }));
  else if (isRefused) refuse(context, plan, flags);
  else
    terminal.print(
      `${planText(plan, terminal.paint)}\n\n${
        file === null
          ? `Nothing was changed. To keep this plan and run exactly it: mailtwin ${plan.kind} --dry-run --plan FILE`
          : `The plan is in ${file}. To run exactly it: mailtwin ${plan.kind} --apply ${file}`
      }`,
    );
  return isRefused ? exitCodes.refused : exitCodes.done;
}

/** Checks that forbid the takeover: they fail and are not overridden. */
function failing(plan: Plan): GuardResult[] {
  return plan.guards.filter(({ guard, level, overridable }) => level === 'fail' && !(overridable && plan.overrides.includes(guard)));
}

/** Shows what fails first, whether it can be overridden, then the rest; the last line says it once more. */
function refuse({ terminal }: Context, plan: Plan, { json }: TakeoverFlags): number {
  const failed = failing(plan);
  const names = failed.map(({ guard }) => guard).join(', ');
  const message = `REFUSED: ${failed.length} of ${plan.guards.length} checks fail: ${names}. Nothing was changed.`;
  if (json) throw new CommandError({ code: 'guard', message, remedy: failed[0]?.remedy ?? '', exitCode: exitCodes.refused });
  terminal.print(`${refusalText(plan, failed, terminal.paint)}\n\n${terminal.paint.bad(message)}`);
  return exitCodes.refused;
}

const marks = {
  begun: () => '',
  done: (paint: Paint) => paint.good('done   '),
  skipped: (paint: Paint) => paint.dim('skipped'),
  failed: (paint: Paint) => paint.bad('failed '),
  undone: (paint: Paint) => paint.warn('undone '),
};

async function run(context: Context, agent: ControlClient, request: RunRequest, flags: TakeoverFlags): Promise<number> {
  const { terminal } = context;
  const { paint } = terminal;
  const steps: TakeoverLine[] = [];
  for await (const line of agent.stream('POST /takeover/run', request)) {
    if (flags.json && line.kind !== 'done' && line.kind !== 'error') {
      steps.push(line);
      continue;
    }
    switch (line.kind) {
      case 'guard':
        if (line.result.level !== 'pass') terminal.print(guardText(line.result, line.overridden, paint));
        break;
      case 'step': {
        if (line.state === 'begun') break;
        const mark = marks[line.state](paint);
        terminal.print(
          `${mark} ${printable(line.title)}  ${paint.dim(`${(line.ms / 1000).toFixed(1)} s`)}\n        ${paint.dim(printable(line.text))}`,
        );
        break;
      }
      case 'note':
        terminal.print(`        ${printable(line.text)}`);
        break;
      case 'done':
        terminal.print(
          flags.json ? jsonText({ summary: line.summary, report: line.facts, lines: steps }) : paint.good(printable(line.summary)),
        );
        return line.exitCode;
      case 'error':
        throw new CommandError(line);
      default:
    }
  }
  throw new CommandError({
    code: 'agent-ended',
    message: 'the agent gave no result',
    remedy: `start it again and run \`mailtwin ${request.kind}\` again: it goes on where it was, or rolls back, and says which`,
    exitCode: exitCodes.incomplete,
  });
}

async function ask({ terminal }: Context, flags: TakeoverFlags, question: string, option: string): Promise<string> {
  const answer = flags.json ? null : await terminal.ask(question);
  if (answer !== null) return answer.trim();
  throw new CommandError({
    code: 'not-confirmed',
    message: 'nobody confirmed; nothing was changed',
    remedy: `run the command on a terminal, or give ${option}`,
    exitCode: exitCodes.refused,
  });
}

function guardName(text: string): GuardName {
  const parsed = guardNameSchema.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new CommandError({
    code: 'usage',
    message: `there is no guard ${JSON.stringify(text)}`,
    remedy: `the guards are: ${guardNames.join(', ')}`,
    exitCode: exitCodes.usage,
  });
}

function readPlan(file: string): Plan {
  const bad = (what: string) =>
    new CommandError({ code: 'plan-file', message: `${file} ${what}`, remedy: 'write a plan with --dry-run', exitCode: exitCodes.usage });
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw bad(`cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw bad('is not JSON');
  }
  const parsed = planSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw bad(`is no plan: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}
