import { exitCodes } from '../../../protocol/control.ts';
import { CommandError } from '../command-error.ts';
import { agentOf, type CommonOptions, type Context } from '../context.ts';
import { follow } from '../follow.ts';
import { printable } from '../format.ts';
import { operator } from '../operator.ts';
import { jsonText } from '../json.ts';

export interface KeepFlags extends CommonOptions {
  confirm?: string;
  serverStopped: boolean;
}

/** `mailtwin keep-this-store`. */
export async function keepThisStore(context: Context, flags: KeepFlags): Promise<number> {
  const { terminal } = context;
  const agent = await agentOf(context, flags.config);
  const confirm = flags.confirm ?? (await ask(context, flags));
  const body = { confirm, serverStopped: flags.serverStopped, by: operator() };
  const outcome = await follow(context, 'keep-this-store', agent.stream('POST /keep-this-store', body), {
    quiet: flags.json === true,
    unit: 'mailboxes',
  });
  if (flags.json) terminal.print(jsonText({ summary: outcome.summary, ...outcome.facts, exitCode: outcome.exitCode }));
  else terminal.print(terminal.paint.good(printable(outcome.summary)));
  return outcome.exitCode;
}

async function ask({ terminal }: Context, flags: CommonOptions): Promise<string> {
  const answer = flags.json
    ? null
    : await terminal.ask(
        'The standby removes its newer mail and keeps it in its history only. Type the name of this node to go on with the state that it has: ',
      );
  if (answer !== null) return answer.trim();
  throw new CommandError({
    code: 'not-confirmed',
    message: 'nobody confirmed; nothing was changed',
    remedy: 'run the command on a terminal, or give --confirm NODE',
    exitCode: exitCodes.refused,
  });
}
