import { commandGroups } from '../cli/command-groups.ts';
import { flatten, type CommandFacts, type OptionFacts } from '../cli/command-facts.ts';
import { madeFrom, table } from './markdown.ts';

/** deploy/docs/commands.md: every command with its options, from what the commands say of themselves. */
export function commandsPage(program: CommandFacts): string {
  const all = flatten(program).filter(({ path }) => path.length > 0);
  const groups = commandGroups.map(({ title, about, commands }) => {
    const parts = Object.entries(commands).flatMap(([name, where]) =>
      all.filter(({ path }) => path[0] === name).map((facts) => ({ facts, where })),
    );
    const overview = parts.filter(({ facts }) => hasOwnWork(facts)).map(({ facts, where }) => [`\`${usage(facts)}\``, where, facts.about]);
    return `\n## ${title}\n\n${about}\n\n${table(['command', 'node', 'what it does'], overview)}\n${parts.map(({ facts }) => details(facts)).join('')}`;
  });
  return `# Commands

${madeFrom('tools/cli/program.ts')}

\`mailtwin COMMAND --help\` and \`man mailtwin\` have the same. Most commands ask the running agent of this node over its control socket, as the user that runs it. \`--json\` prints JSON. The configuration is the file that \`--config\` names, or the
variable \`MAILTWIN_CONFIG\`, or \`/etc/mailtwin/mailtwin.yaml\`. Exit codes: 0 done, 1 failed, 2 usage, 3 refused with nothing changed, 4 failed and rolled back, 5 incomplete: a person must act ([errors](errors.md#exit-codes)).
${groups.join('')}`;
}

/** A command that only holds others says nothing of its own. */
function hasOwnWork({ commands, options }: CommandFacts): boolean {
  return commands.length === 0 || options.length > 0;
}

function usage({ path, args }: CommandFacts): string {
  return ['mailtwin', ...path, ...args.map(({ name, isRequired }) => (isRequired ? name.toUpperCase() : `[${name.toUpperCase()}]`))].join(
    ' ',
  );
}

function details(facts: CommandFacts): string {
  const { path, args, options, examples } = facts;
  const own = options.filter(({ names }) => !names.includes('--config') && !names.includes('--json'));
  if (!hasOwnWork(facts) || (args.length === 0 && own.length === 0)) return '';
  const rows = [
    ...args.filter(({ about }) => about !== '').map(({ name, about }) => [`\`${name.toUpperCase()}\``, about]),
    ...own.map(optionRow),
  ];
  const shown = examples.length > 0 ? `\n${examples.map((line) => `    ${line}`).join('\n')}\n` : '';
  return `\n### mailtwin ${path.join(' ')}\n\n${table(['argument, option', 'meaning'], rows)}\n${shown}`;
}

function optionRow({ names, value, about, fallback, isRequired }: OptionFacts): string[] {
  const notes = [isRequired ? 'required' : null, fallback === null ? null : `default \`${fallback}\``].filter((note) => note !== null);
  return [
    `\`${names.join(', ')}${value === null ? '' : ` ${value.toUpperCase()}`}\``,
    notes.length > 0 ? `${about} (${notes.join(', ')})` : about,
  ];
}
