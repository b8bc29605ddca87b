import { exitCodes, type DamagedFileStatus, type ScrubState, type Status } from '../../../protocol/control.ts';
import { CommandError } from '../command-error.ts';
import { agentOf, type CommonOptions, type Context } from '../context.ts';
import { follow } from '../follow.ts';
import { plural, printable, showAge, showBytes } from '../format.ts';
import { operator } from '../operator.ts';
import { jsonText } from '../json.ts';

/** `mailtwin scrub`. Exit code 1 when a file of this node is damaged. */
export async function scrubShow(context: Context, flags: CommonOptions): Promise<number> {
  const agent = await agentOf(context, flags.config);
  const status = await agent.ask('GET /status', null);
  const { scrub } = status;
  context.terminal.print(flags.json ? jsonText({ ...scrub }) : scrub === null ? noRoleText : scrubText(status, scrub).join('\n'));
  return scrub !== null && scrub.damagedCount > 0 ? exitCodes.failed : exitCodes.done;
}

/** `mailtwin scrub start`. */
export async function scrubStart(context: Context, flags: CommonOptions): Promise<number> {
  const agent = await agentOf(context, flags.config);
  await agent.ask('POST /scrub/start', { by: operator() });
  context.terminal.print(flags.json ? '{}' : 'A pass over all content of this node has begun; `mailtwin scrub` shows how far it is.');
  return exitCodes.done;
}

/** `mailtwin scrub restore PLACE`. */
export async function scrubRestore(context: Context, place: string, flags: CommonOptions & { yes: boolean }): Promise<number> {
  const { terminal } = context;
  const agent = await agentOf(context, flags.config);
  const status = await agent.ask('GET /status', null);
  const file = status.scrub?.damaged.find(({ root, path }) => `${root}/${path}` === place);
  // Of very many the status names only some; what it does not know at all the agent refuses.
  const isUnnamed = !file && status.scrub !== null && status.scrub.damagedCount > status.scrub.damaged.length;
  if (!flags.yes && (file || isUnnamed)) {
    if (!flags.json) terminal.print(file ? fileText(file).join('\n') : `  ${printable(place)}`);
    const answer = flags.json ? null : await terminal.ask('Put the version of the standby in its place? (yes/no) ');
    if (answer?.trim() !== 'yes')
      throw new CommandError({
        code: 'not-confirmed',
        message: 'nobody confirmed; nothing was changed',
        remedy: 'run the command on a terminal and answer yes, or give --yes',
        exitCode: exitCodes.refused,
      });
  }
  const outcome = await follow(context, 'scrub restore', agent.stream('POST /scrub/restore', { place, by: operator() }), {
    quiet: flags.json === true,
    unit: 'bytes',
  });
  if (flags.json) terminal.print(jsonText({ summary: outcome.summary, ...outcome.facts, exitCode: outcome.exitCode }));
  else terminal.print(terminal.paint.good(printable(outcome.summary)));
  return outcome.exitCode;
}

const noRoleText = 'The content of this node is not read again: it is neither primary nor standby now.';
const offText = 'The content of this node is not read again: `scrub.days` is 0.';

function scrubText({ at, node }: Status, scrub: ScrubState): string[] {
  const { damaged, damagedCount, damagedThere, mended } = scrub;
  const lines = scrub.days === 0 ? [offText] : passText(at, scrub);
  if (mended !== null) lines.push(`mended    ${plural(mended, 'damaged file')} of this copy`);
  if (damagedThere !== null && damagedThere > 0) lines.push(`there     ${plural(damagedThere, 'damaged file')} on the other node`);
  lines.push(`damaged   ${damagedCount === 0 ? `nothing was found on ${node}` : `${plural(damagedCount, 'file')} on ${node}`}`);
  for (const file of damaged) lines.push(...fileText(file));
  if (damagedCount > damaged.length) lines.push(`  and ${damagedCount - damaged.length} more`);
  return lines;
}

function passText(at: string, { pass, lastPass, oldestUnprovedAt, days }: ScrubState): string[] {
  const oldest = oldestUnprovedAt === null ? 'not known' : `content was read again ${showAge(oldestUnprovedAt, Date.parse(at))}`;
  return [
    pass
      ? `pass      ${Math.floor(pass.share * 100)} %, ${plural(pass.files, 'file')} and ${showBytes(pass.bytes)} since ${pass.startedAt}${pass.hurried ? ', as fast as it may go' : ''}`
      : 'pass      none is under way',
    `every     ${plural(days, 'day')}`,
    lastPass
      ? `last      ended ${lastPass.endedAt}: ${plural(lastPass.files, 'file')}, ${showBytes(lastPass.bytes)}, ${lastPass.found} damaged`
      : 'last      none has ended yet',
    `oldest    ${lastPass ? oldest : 'some of it was not read yet'}`,
  ];
}

const there = {
  good: 'the standby has the good version: mailtwin scrub restore brings it back',
  unknown: 'whether the standby has the good version is not known yet',
  damaged: 'the standby does not have the good version either',
  missing: 'the standby does not have it',
} as const;

function fileText(file: DamagedFileStatus): string[] {
  const lines = [`  ${printable(file.root)}/${printable(file.path)}`, `      ${printable(file.reason)}; found ${file.since}`];
  if (file.there !== null) lines.push(`      ${there[file.there]}`);
  return lines;
}
