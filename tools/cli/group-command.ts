import { Command } from 'commander';
import { commandGroups, groupOf } from './command-groups.ts';

/** A command that names everything that is missing at once, not only the first of it. */
export class GroupCommand extends Command {
  override createCommand(name?: string): GroupCommand {
    return new GroupCommand(name);
  }

  /** commander calls it for the first argument that is missing. */
  missingArgument(): void {
    this.#complain();
  }

  /** commander calls it for the first option that is missing. */
  missingMandatoryOptionValue(): void {
    this.#complain();
  }

  #complain(): never {
    const options = this.options
      .filter((option) => option.mandatory && this.getOptionValue(option.attributeName()) === undefined)
      .map((option) => option.flags);
    const args = this.registeredArguments.filter((arg, i) => arg.required && this.args[i] === undefined).map((arg) => `<${arg.name()}>`);
    return this.error(`error: missing: ${[...options, ...args].join(', ')}`, { code: 'mailtwin.missing' });
  }
}

/** Gives each command of the program its group in the help, in the order of the groups. */
export function inGroups(program: Command): void {
  const order = commandGroups.flatMap(({ commands }) => Object.keys(commands));
  (program.commands as Command[]).sort((a, b) => order.indexOf(a.name()) - order.indexOf(b.name()));
  const help = new Command('help').argument('[command]').description('Shows the help of a command.').helpOption(false);
  program.addHelpCommand(help);
  for (const command of [...program.commands, help]) {
    const group = groupOf(command.name());
    if (group) command.helpGroup(`${group.title}:`);
  }
}
