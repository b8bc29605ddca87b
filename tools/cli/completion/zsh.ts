import type { CommandFacts } from '../command-facts.ts';
import { completable, offerFor, offerOf, type Offer } from './values.ts';

/** Text inside a zsh spec in single quotes. */
function zshText(text: string): string {
  return text.replaceAll("'", "'\\''").replaceAll('[', '\\[').replaceAll(']', '\\]').replaceAll(':', '\\:');
}

function zshFunction(path: readonly string[]): string {
  return ['_mailtwin', ...path.map((word) => word.replaceAll('-', '_'))].join('_');
}

function zshOffer(offer: Offer): string {
  switch (offer.kind) {
    case 'files':
      return '_files';
    case 'words':
      return `(${offer.words.join(' ')})`;
    case 'asked':
      return `_mailtwin_asked_${offer.what}`;
    case 'nothing':
      return ' ';
  }
}

const asked = (['roles', 'ports'] as const)
  .map((what) => `_mailtwin_asked_${what}() {\n  compadd -- \${(f)"$(mailtwin completion words ${what} 2> /dev/null)"}\n}`)
  .join('\n\n');

/** For zshcompsys(1): one function a command. */
export function zshCompletion(program: CommandFacts): string {
  const functions = completable(program).map((facts) => {
    const options = facts.options.flatMap((option) =>
      option.names.map((name) => {
        const offer = offerOf(facts.path, option);
        return `'*${name}[${zshText(option.about)}]${offer === null ? '' : `:${zshText(option.value ?? '')}:${zshOffer(offer)}`}'`;
      }),
    );
    const specs = [...options, "'(- *)--help[show help]'"];
    if (facts.commands.length === 0) {
      const args = facts.args.map(
        ({ name, isRequired }) => `'${isRequired ? ':' : '::'}${zshText(name)}:${zshOffer(offerFor(facts.path, name, null))}'`,
      );
      return `${zshFunction(facts.path)}() {\n  _arguments ${[...specs, ...args].join(' \\\n    ')}\n}`;
    }
    const offered = facts.commands.map(({ path, about }) => `'${path.at(-1)}:${zshText(about)}'`);
    const cases = facts.commands.map(({ path }) => `        ${path.at(-1)}) ${zshFunction(path)} ;;`);
    return `${zshFunction(facts.path)}() {
  local curcontext=$curcontext state line
  local -a commands
  _arguments -C ${[...specs, "'1: :->command'", "'*:: :->rest'"].join(' \\\n    ')}
  case $state in
    command)
      commands=(${offered.join('\n        ')})
      _describe -t commands command commands
      ;;
    rest)
      case $line[1] in
${cases.join('\n')}
      esac
      ;;
  esac
}`;
  });
  return `#compdef mailtwin\n\n${asked}\n\n${functions.toReversed().join('\n\n')}\n\n_mailtwin "$@"\n`;
}
