import { agentOf, type CommonOptions, type Context } from '../context.ts';
import { follow } from '../follow.ts';
import { printable } from '../format.ts';
import { jsonText } from '../json.ts';

export async function wait(context: Context, flags: CommonOptions & { timeout: number }): Promise<number> {
  const agent = await agentOf(context, flags.config);
  const lines = agent.stream('POST /wait', { timeoutSeconds: flags.timeout });
  const outcome = await follow(context, 'wait', lines, { quiet: flags.json === true || !context.terminal.isTTY, unit: 'changes' });
  context.terminal.print(flags.json ? jsonText({ summary: outcome.summary, ...outcome.facts }) : printable(outcome.summary));
  return outcome.exitCode;
}
