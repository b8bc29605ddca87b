import { exitCodes } from '../../protocol/control.ts';
import { codeSections, exitEntries } from '../cli/codes/code-table.ts';
import type { CodeEntry } from '../cli/codes/code-entry.ts';
import { guardEntries } from '../cli/codes/guard-entries.ts';
import { madeFrom, table } from './markdown.ts';

/** deploy/docs/errors.md: each code with meaning, causes and what to do, from the table of `mailtwin explain`. */
export function errorsPage(): string {
  const rows = (entries: Readonly<Record<string, CodeEntry>>) =>
    Object.entries(entries).map(([code, { means, causes, next }]) => [`\`${code}\``, means, causes.join('; ') || '–', next]);
  const heads = ['code', 'meaning', 'likely causes', 'what to do'];
  const exits = Object.fromEntries(Object.entries(exitEntries).map(([name, entry]) => [exitCodes[name as keyof typeof exitCodes], entry]));
  return `# Errors

${madeFrom('tools/cli/codes')}

Errors, warnings, notices and log lines carry a code. A command prints \`mailtwin: CODE: what is wrong\`, and below it what to do.
\`mailtwin explain CODE\` prints the entry of this page. The findings of \`mailtwin doctor\` have no code: each brings its evidence and what to do.

## Exit codes

${table(['exit code', ...heads.slice(1)], rows(exits))}

## Guards

A takeover checks these first. \`--override GUARD\` passes over one that fails, where the refusal offers it.

${table(['guard', 'what it checks', 'why it fails', 'what to do'], rows(guardEntries))}
${codeSections.map(({ title, codes }) => `\n## ${title}\n\n${table(heads, rows(codes))}\n`).join('')}`;
}
