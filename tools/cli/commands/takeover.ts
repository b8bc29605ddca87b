import { readFileSync, writeFileSync } from 'node:fs';
import { exitCodes } from '../../../protocol/control.ts';
import {
  guardNames,
  guardNameSchema,
  planSchema,
  type GuardName,
  type Plan,
  type RunRequest,
  type TakeoverKind,
  type TakeoverLine,
} from '../../../protocol/takeover.ts';
import { CommandError } from '../command-error.ts';
import { agentOf, type CommonOptions, type Context } from '../context.ts';
import type { ControlClient } from '../control-client.ts';
import { printable } from '../format.ts';
import { operator } from '../operator.ts';
import { guardText, lossText, planText } from '../plan-text.ts';

export interface TakeoverFlags extends CommonOptions {
  dryRun: boolean;
  /** Where --dry-run writes the plan. */
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
  if (shown && !flags.json) terminal.print(`${planText(shown, terminal.paint)}\n`);
  request.confirm = flags.confirm ?? (await ask(context, flags, `Type the name of the node that goes out of service: `, '--confirm NODE'));
  if (kind === 'failover' && shown && !request.acceptLoss) {
    const wanted = lossText(shown.predictedLoss);
    const typed = await ask(context, flags, `Type the predicted loss to accept it:\n  ${wanted}\n> `, '--accept-loss');
    request.acceptLoss = typed.replaceAll(/\s+/g, ' ').trim() === wanted;
  }
  if (shown && !flags.json) terminal.print('');
  if (flags.fencedByHand !== undefined) request.manual = { node: request.confirm, by: by.user, evidence: flags.fencedByHand };
  return run(context, agent, request, flags);
}

/** `mailtwin plan show FILE`. */
export function showPlan(context: Context, file: string, flags: { json?: boolean }): number {
  const plan = readPlan(file);
  context.terminal.print(flags.json ? JSON.stringify(plan) : planText(plan, context.terminal.paint));
  return exitCodes.done;
}

function keepPlan({ terminal }: Context, plan: Plan, flags: TakeoverFlags): number {
  const file = flags.plan ?? `mailtwin-${plan.kind}.plan.json`;
  writeFileSync(file, `${JSON.stringify(plan, null, 2)}\n`, { mode: 0o600 });
  if (flags.json) terminal.print(JSON.stringify({ file, plan }));
  else
    terminal.print(`${planText(plan, terminal.paint)}\n\nThe plan is in ${file}. To run exactly it: mailtwin ${plan.kind} --apply ${file}`);
  const refused = plan.guards.some(({ guard, level, overridable }) => level === 'fail' && !(overridable && plan.overrides.includes(guard)));
  return refused ? exitCodes.refused : exitCodes.done;
}

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
        const mark = line.state === 'failed' ? paint.bad('failed') : line.state === 'undone' ? paint.warn('undone') : paint.good('done  ');
        terminal.print(
          `${mark}  ${printable(line.title)}  ${paint.dim(`${(line.ms / 1000).toFixed(1)} s`)}\n        ${paint.dim(printable(line.text))}`,
        );
        break;
      }
      case 'note':
        terminal.print(`        ${printable(line.text)}`);
        break;
      case 'done':
        terminal.print(
          flags.json ? JSON.stringify({ summary: line.summary, report: line.facts, lines: steps }) : paint.good(printable(line.summary)),
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
