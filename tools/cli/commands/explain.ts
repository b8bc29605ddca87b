import { exitCodes } from '../../../protocol/control.ts';
import { nearest } from '../../../protocol/nearest.ts';
import { allCodes, codeSections, explain, type Explained } from '../codes/code-table.ts';
import { guardEntries } from '../codes/guard-entries.ts';
import { CommandError } from '../command-error.ts';
import type { Context } from '../context.ts';
import { jsonText } from '../json.ts';

/** `mailtwin explain [CODE]`: what a code means, why it usually comes, and what to do; without one, all there are. */
export async function explainCode({ terminal }: Context, code: string | null, flags: { json?: boolean }): Promise<number> {
  if (code === null) {
    if (flags.json) terminal.print(jsonText({ codes: allCodes() }));
    else terminal.print(listText());
    return exitCodes.done;
  }
  const found = explain(code);
  if (found.length === 0) {
    const near = nearest(code, allCodes(), 3);
    throw new CommandError({
      code: 'unknown-code',
      message: `there is no code ${JSON.stringify(code.slice(0, 80))}`,
      remedy: near.length > 0 ? `did you mean ${near.join(' or ')}? \`mailtwin explain\` lists all` : '`mailtwin explain` lists all',
      exitCode: exitCodes.usage,
    });
  }
  if (flags.json) terminal.print(jsonText({ entries: found }));
  else terminal.print(found.map(entryText).join('\n\n'));
  return exitCodes.done;
}

function entryText({ kind, code, means, causes, next }: Explained): string {
  const because = causes.length === 0 ? [] : ['  likely causes:', ...causes.map((cause) => `    - ${cause}`)];
  return [`${code} (${kind})`, `  ${means}`, ...because, `  what to do: ${next}`].join('\n');
}

function listText(): string {
  const sections = [
    ...codeSections.map(({ title, codes }) => ({ title, names: Object.keys(codes) })),
    { title: 'Guards of a takeover', names: Object.keys(guardEntries) },
    { title: 'Exit codes', names: Object.values(exitCodes).map(String) },
  ];
  return sections.map(({ title, names }) => `${title}\n  ${names.join(' ')}`).join('\n\n');
}
