import type { CommandFacts } from '../command-facts.ts';
import { completable, offerFor, offerOf, type Offer } from './values.ts';

/** Text in single quotes of fish. */
function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

/** Whether exactly this command was typed so far. */
function typed({ path, commands }: CommandFacts): string {
  if (path.length === 0) return `__fish_use_subcommand`;
  const seen = path.map((word) => `__fish_seen_subcommand_from ${word}`);
  const below = commands.map((command) => command.path.at(-1)).join(' ');
  return [...seen, ...(below === '' ? [] : [`not __fish_seen_subcommand_from ${below}`])].join('; and ');
}

function offered(offer: Offer): string {
  switch (offer.kind) {
    case 'files':
      return ' -F';
    case 'words':
      return ` -a ${quoted(offer.words.join(' '))}`;
    case 'asked':
      return ` -a ${quoted(`(mailtwin completion words ${offer.what} 2> /dev/null)`)}`;
    case 'nothing':
      return '';
  }
}

/** For fish: one `complete` a command, option and argument. */
export function fishCompletion(program: CommandFacts): string {
  const lines = completable(program).flatMap((facts) => {
    const when = `complete -c mailtwin -n ${quoted(typed(facts))}`;
    const commands = facts.commands.map(({ path, about }) => `${when} -a ${path.at(-1)} -d ${quoted(about)}`);
    const options = facts.options.map((option) => {
      const names = option.names.map((name) => (name.startsWith('--') ? ` -l ${name.slice(2)}` : ` -s ${name.slice(1)}`)).join('');
      const offer = offerOf(facts.path, option);
      return `${when}${names}${offer === null ? '' : ` -x${offered(offer)}`} -d ${quoted(option.about)}`;
    });
    const args = facts.args.flatMap(({ name }) => {
      const offer = offerFor(facts.path, name, null);
      return offer.kind === 'nothing' ? [] : [`${when}${offered(offer)}`];
    });
    return [...commands, ...options, ...args];
  });
  return `# fish completion for mailtwin\ncomplete -c mailtwin -f\n${lines.join('\n')}\n`;
}
