import { exitCodes } from '../../../protocol/control.ts';
import { agentOf, type CommonOptions, type Context } from '../context.ts';
import { printable } from '../format.ts';
import { jsonText } from '../json.ts';

export async function notifyTest(context: Context, flags: CommonOptions): Promise<number> {
  const { terminal } = context;
  const answer = await (await agentOf(context, flags.config)).ask('POST /notify/test', {});
  const exitCode = answer.ways.every(({ ok }) => ok) ? exitCodes.done : exitCodes.failed;
  if (flags.json) terminal.print(jsonText(answer));
  else
    for (const { way, to, ok, detail } of answer.ways)
      terminal.print(
        `${ok ? terminal.paint.good('sent  ') : terminal.paint.bad('failed')}  ${way.padEnd(8)} to ${printable(to)}: ${printable(detail)}`,
      );
  return exitCode;
}
