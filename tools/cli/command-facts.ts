import type { Command } from 'commander';

/** What a command takes and says of itself: the ground of the manual and of the completions. */
export interface CommandFacts {
  /** Words after `mailtwin`; empty for the program itself. */
  path: string[];
  about: string;
  args: { name: string; about: string; isRequired: boolean; isVariadic: boolean }[];
  options: OptionFacts[];
  /** Command lines, as its help shows them. */
  examples: string[];
  commands: CommandFacts[];
}

export interface OptionFacts {
  /** As typed: `--json`, `-V`. */
  names: string[];
  /** Placeholder of its value, without brackets; null when it takes none. */
  value: string | null;
  about: string;
  /** Its default as text; null when it has none worth telling. */
  fallback: string | null;
  isRequired: boolean;
}

/** Reads a command and all below it; the help text is taken through `capture`, which runs what it is given and returns what was printed. */
export function factsOf(command: Command, capture: (print: () => void) => string, path: string[] = []): CommandFacts {
  return {
    path,
    about: command.description(),
    args: command.registeredArguments.map((arg) => ({
      name: arg.name(),
      about: arg.description,
      isRequired: arg.required,
      isVariadic: arg.variadic,
    })),
    options: command.options
      .filter(({ hidden }) => !hidden)
      .map((option) => ({
        names: [option.short, option.long].filter((name) => name !== undefined),
        value: /[<[]([^>\]]+)[>\]]/.exec(option.flags)?.[1] ?? null,
        about: option.description,
        fallback: fallbackOf(option.defaultValue),
        isRequired: option.mandatory,
      })),
    examples: examplesIn(capture(() => command.outputHelp())),
    commands: visible(command).map((child) => factsOf(child, capture, [...path, child.name()])),
  };
}

/** What the help shows. */
function visible(command: Command): Command[] {
  const shown = command.createHelp().visibleCommands(command);
  return command.commands.filter((child) => shown.includes(child));
}

/** The program's commands in the order of its help, each before those below it. */
export function flatten(facts: CommandFacts): CommandFacts[] {
  return [facts, ...facts.commands.flatMap(flatten)];
}

function fallbackOf(value: unknown): string | null {
  return (typeof value === 'string' && value !== '') || typeof value === 'number' ? String(value) : null;
}

function examplesIn(help: string): string[] {
  const [, examples] = help.split(/^Examples:$/m);
  return examples
    ? examples
        .split('\n')
        .map((line) => line.trim())
        .filter((line) => line !== '')
    : [];
}
