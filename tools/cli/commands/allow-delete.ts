import { agentOf, type CommonOptions, type Context } from '../context.ts';
import { plural, printable } from '../format.ts';

export async function allowDelete(context: Context, flags: CommonOptions): Promise<number> {
  const agent = await agentOf(context, flags.config);
  const answer = await agent.ask('POST /allow-delete', {});
  if (flags.json) {
    context.terminal.print(JSON.stringify(answer));
    return 0;
  }
  for (const root of answer.acceptedRoots) context.terminal.print(`Accepted the directory of root ${printable(root)} as it is now.`);
  if (answer.released > 0) context.terminal.print(`Released the deletion of ${plural(answer.released, 'file')}.`);
  else if (answer.acceptedRoots.length === 0) context.terminal.print('No deletion is held.');
  return 0;
}
