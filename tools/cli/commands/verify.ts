import { agentOf, type CommonOptions, type Context } from '../context.ts';
import { follow } from '../follow.ts';
import { printable } from '../format.ts';
import { jsonText } from '../json.ts';

/** What --json keeps in memory; the agent names no more than limits.differencesMax of each root anyway. */
const differencesMax = 10_000;

export async function verify(context: Context, flags: CommonOptions & { deep: boolean }): Promise<number> {
  const { terminal } = context;
  const agent = await agentOf(context, flags.config);
  const differences: { root: string; path: string; what: string }[] = [];
  const outcome = await follow(context, 'verify', agent.stream('POST /verify', { deep: flags.deep }), {
    quiet: flags.json === true,
    unit: 'files',
    onDifference({ root, path, what }, reporter) {
      if (!flags.json) reporter.print(`${terminal.paint.bad('different')}  ${printable(root)}:${printable(path)}  ${printable(what)}`);
      else if (differences.length < differencesMax) differences.push({ root, path, what });
    },
  });
  if (flags.json) terminal.print(jsonText({ summary: outcome.summary, ...outcome.facts, differences, exitCode: outcome.exitCode }));
  else
    terminal.print(
      outcome.exitCode === 0 ? terminal.paint.good(printable(outcome.summary)) : terminal.paint.bad(printable(outcome.summary)),
    );
  return outcome.exitCode;
}
