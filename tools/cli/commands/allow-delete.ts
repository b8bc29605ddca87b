import { exitCodes } from '../../../protocol/control.ts';
import { agentOf, type CommonOptions, type Context } from '../context.ts';
import { plural, printable } from '../format.ts';
import { operator } from '../operator.ts';
import { jsonText } from '../json.ts';

/** `mailtwin allow-delete [PLACE...]`. Without a place it tells what is held; exit code 3 then, unless nothing is. */
export async function allowDelete(context: Context, places: string[], flags: CommonOptions & { all: boolean }): Promise<number> {
  const { terminal } = context;
  const agent = await agentOf(context, flags.config);
  const { held, released } = await agent.ask('POST /allow-delete', { places, all: flags.all, by: operator() });
  const exitCode = held.length > 0 && released.length === 0 ? exitCodes.refused : exitCodes.done;
  if (flags.json) {
    terminal.print(jsonText({ held, released }));
    return exitCode;
  }
  for (const { place, files } of released) terminal.print(`Released the deletion of ${plural(files, 'file')} at ${printable(place)}.`);
  if (released.length > 0) return exitCode;
  if (held.length === 0) {
    terminal.print('Nothing is held.');
    return exitCode;
  }
  for (const { place, detail } of held) terminal.print(`${printable(place)}: ${printable(detail)}`);
  terminal.print(
    'Nothing was changed. Name a place to let its deletion or its copy go, or give --all for the deletions: what is held there now goes, for ten minutes, and nothing else. ' +
      'The standby keeps the files in its history for the time of history.keep.',
  );
  return exitCode;
}

/** `mailtwin accept-root NAME...`. */
export async function acceptRoot(context: Context, names: string[], flags: CommonOptions): Promise<number> {
  const { terminal } = context;
  const agent = await agentOf(context, flags.config);
  const { accepted, same } = await agent.ask('POST /accept-root', { names, by: operator() });
  if (flags.json) {
    terminal.print(jsonText({ accepted, same }));
    return exitCodes.done;
  }
  for (const name of accepted) terminal.print(`Accepted ${printable(name)} as it is now.`);
  for (const name of same) terminal.print(`Nothing was wrong with ${printable(name)}.`);
  return exitCodes.done;
}
