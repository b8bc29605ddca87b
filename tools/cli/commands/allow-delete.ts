import { agentOf, type CommonOptions, type Context } from '../context.ts';
import { plural } from '../format.ts';

export async function allowDelete(context: Context, flags: CommonOptions): Promise<number> {
  const agent = await agentOf(context, flags.config);
  const answer = await agent.ask('POST /allow-delete', {});
  context.terminal.print(
    flags.json
      ? JSON.stringify(answer)
      : answer.released === 0
        ? 'No deletion is held.'
        : `Released ${plural(answer.released, 'held batch', 'held batches')}.`,
  );
  return 0;
}
