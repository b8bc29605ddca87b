import type { StreamLine } from '../../../protocol/control.ts';
import { exitCodes } from '../../../protocol/control.ts';
import type { TailItem } from '../../../protocol/salvage.ts';
import { CommandError } from '../command-error.ts';
import { agentOf, type CommonOptions, type Context } from '../context.ts';
import { follow } from '../follow.ts';
import { printable, showBytes } from '../format.ts';
import { operator } from '../operator.ts';
import type { Paint } from '../paint.ts';
import { checkText } from '../plan-text.ts';
import { jsonText } from '../json.ts';

export interface RejoinFlags extends CommonOptions {
  confirm?: string;
  salvage: boolean;
  override?: string;
}

/** `mailtwin salvage`. Exit code 1 while something is only here. */
export async function salvage(context: Context, flags: CommonOptions & { apply: boolean }): Promise<number> {
  const agent = await agentOf(context, flags.config);
  return show(context, 'salvage', flags, agent.stream('POST /salvage', { apply: flags.apply, by: operator() }));
}

/** `mailtwin rejoin`. */
export async function rejoin(context: Context, flags: RejoinFlags): Promise<number> {
  const agent = await agentOf(context, flags.config);
  const body = { judge: false, salvage: flags.salvage, unsalvaged: flags.override === 'unsalvaged', by: operator() };
  if (flags.confirm !== undefined) return show(context, 'rejoin', flags, agent.stream('POST /rejoin', { ...body, confirm: flags.confirm }));
  // Whoever is refused is told so before anything is asked.
  if (!flags.json) await judge(context, agent.stream('POST /rejoin', { ...body, judge: true, confirm: '' }));
  return show(context, 'rejoin', flags, agent.stream('POST /rejoin', { ...body, confirm: await ask(context, flags) }));
}

/** @throws CommandError when a check fails; what only this node has is shown on the way. */
async function judge(context: Context, lines: AsyncIterable<StreamLine>): Promise<void> {
  const { paint } = context.terminal;
  await follow(context, 'rejoin', lines, {
    quiet: false,
    unit: 'directories',
    onTail: (item, reporter) => reporter.print(itemText(item, paint)),
    onCheck: ({ result, offers }, reporter) => reporter.print(checkText(result, offers, paint)),
  });
}

async function ask({ terminal }: Context, flags: CommonOptions): Promise<string> {
  const answer = flags.json
    ? null
    : await terminal.ask('What differs here is replaced by what the active node has. Type the name of this node to make it the standby: ');
  if (answer !== null) return answer.trim();
  throw new CommandError({
    code: 'not-confirmed',
    message: 'nobody confirmed; nothing was changed',
    remedy: 'run the command on a terminal, or give --confirm NODE',
    exitCode: exitCodes.refused,
  });
}

async function show(context: Context, label: string, flags: CommonOptions, lines: AsyncIterable<StreamLine>): Promise<number> {
  const { terminal } = context;
  const items: TailItem[] = [];
  const outcome = await follow(context, label, lines, {
    quiet: flags.json === true,
    unit: 'directories',
    onCheck({ result, offers }, reporter) {
      if (!flags.json) reporter.print(checkText(result, offers, terminal.paint));
    },
    onTail(item, reporter) {
      if (flags.json) items.push(item);
      else reporter.print(itemText(item, terminal.paint));
    },
  });
  const summary = printable(outcome.summary);
  if (flags.json) terminal.print(jsonText({ summary: outcome.summary, ...outcome.facts, items, exitCode: outcome.exitCode }));
  else terminal.print(outcome.exitCode === exitCodes.done ? terminal.paint.good(summary) : terminal.paint.warn(summary));
  return outcome.exitCode;
}

const kinds: Record<TailItem['what'], string> = {
  message: 'message',
  file: 'file',
  folder: 'new folder',
  flags: 'flags changed',
  expunged: 'removed there',
  'folder-removed': 'folder removed there',
  'file-changed': 'file changed',
  'file-removed': 'file removed there',
};

function itemText(item: TailItem, paint: Paint): string {
  const verdicts: Record<TailItem['verdict'], string> = {
    missing: paint.warn('only here'),
    brought: paint.good('brought  '),
    there: 'arrived  ',
    placed: 'brought before',
    differs: paint.warn('differs, stays as it is there'),
    shown: 'shown    ',
  };
  const facts = [
    item.uid === null ? null : `UID ${item.uid}`,
    item.date === null ? null : item.date.slice(0, 19).replace('T', ' '),
    item.size === null ? null : showBytes(item.size),
    item.flags === '' ? null : `flags ${item.flags}`,
  ].filter((fact) => fact !== null);
  const where = item.mailbox === '' ? item.root : `${item.root}:${item.mailbox}`;
  return `${verdicts[item.verdict]}  ${kinds[item.what].padEnd(8)}  ${printable(where)}  ${printable(item.name)}  ${paint.dim(facts.join(', '))}`;
}
