import { exitCodes } from '../../protocol/control.ts';
import { exitEntries } from '../cli/codes/code-table.ts';
import { flatten, type CommandFacts, type OptionFacts } from '../cli/command-facts.ts';

/** What man(7) would take for its own. */
export function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/gm, '\\&$1');
}

/** The manual page mailtwin(1) in the language of man(7), made from what the commands say of themselves. */
export function manPage(program: CommandFacts, version: string, date: string): string {
  const commands = flatten(program).filter(
    ({ path, commands: below, args, options }) => path.length > 0 && (below.length === 0 || args.length + options.length > 0),
  );
  const lines = [
    `.TH MAILTWIN 1 "${date}" "mailtwin ${roff(version)}" "User Commands"`,
    '.SH NAME',
    'mailtwin \\- hot standby of a mail appliance',
    '.SH SYNOPSIS',
    '.B mailtwin',
    '.I command',
    '.RI [ option ...]',
    '.SH DESCRIPTION',
    roff(program.about),
    '.PP',
    roff(
      'One agent runs on each of two nodes. Changed mailbox files go from the primary to the standby as they change. A person, never a timer, gives the command for a takeover. Most commands ask the agent of this node over its control socket; on which node a command runs is said with it.',
    ),
    '.SH COMMANDS',
    ...commands.flatMap(commandLines),
    '.SH EXIT STATUS',
    ...Object.entries(exitCodes).flatMap(([name, code]) => ['.TP', `.B ${code}`, roff(exitEntries[name as keyof typeof exitCodes].means)]),
    '.SH ENVIRONMENT',
    '.TP',
    '.B MAILTWIN_CONFIG',
    'configuration of this node, where \\-\\-config is not given',
    '.TP',
    '.B NO_COLOR',
    'when it is set, nothing is coloured',
    '.SH FILES',
    '.TP',
    '.I /etc/mailtwin/mailtwin.yaml',
    'configuration of this node; mailtwin init writes it with comments',
    '.TP',
    '.I /var/lib/mailtwin',
    'state: key of this node, pinned key of the peer, index and journal',
    '.TP',
    '.I /run/mailtwin/active',
    'the gate: it is there while this node is active',
    '.SH SEE ALSO',
    '.BR mailtwin.yaml (5)',
    '.PP',
    roff('/usr/share/doc/mailtwin/README.md, /usr/share/doc/mailtwin/docs/RUNBOOK.md'),
    '',
  ];
  return lines.join('\n');
}

function commandLines({ path, args, about, options, examples }: CommandFacts): string[] {
  const shownArgs = args.map(({ name, isRequired }) => (isRequired ? `\\fI${roff(name)}\\fR` : `[\\fI${roff(name)}\\fR]`));
  return [
    `.SS "mailtwin ${roff(path.join(' '))}"`,
    [`.B mailtwin ${roff(path.join(' '))}`, ...(shownArgs.length > 0 ? [`\\fR${shownArgs.join(' ')}`] : [])].join(' '),
    '.PP',
    roff(about),
    ...args.filter((arg) => arg.about !== '').flatMap(({ name, about: text }) => ['.TP', `.I ${roff(name)}`, roff(text)]),
    ...options.flatMap(optionLines),
    ...(examples.length > 0 ? ['.PP', 'Examples:', '.PP', '.nf', '.RS', ...examples.map(roff), '.RE', '.fi'] : []),
  ];
}

function optionLines({ names, value, about, fallback, isRequired }: OptionFacts): string[] {
  const notes = [isRequired ? 'required' : null, fallback === null ? null : `default ${fallback}`].filter((note) => note !== null);
  const shown = names.map((name) => `\\fB${roff(name)}\\fR`).join(', ');
  return [
    '.TP',
    value === null ? shown : `${shown} \\fI${roff(value)}\\fR`,
    roff(notes.length > 0 ? `${about} (${notes.join(', ')})` : about),
  ];
}
