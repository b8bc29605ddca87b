import { flatten, type CommandFacts } from '../cli/command-facts.ts';

/** Values that are files of this machine. */
const fileValues = new Set(['file', 'dir']);
/** Options whose values are a few words. */
const fixedValues: Record<string, string[]> = { '--role': ['primary', 'standby'], '--metrics': ['off', '127.0.0.1:9720'] };

function named(program: CommandFacts): CommandFacts[] {
  return flatten(program);
}

function optionNames(facts: CommandFacts): string[] {
  return [...facts.options.flatMap(({ names }) => names.filter((name) => name.startsWith('--'))), '--help'];
}

/** Options of any command whose value is a file. */
function fileOptions(program: CommandFacts): string[] {
  const names = named(program).flatMap(({ options }) =>
    options.filter(({ value }) => value !== null && fileValues.has(value)).flatMap((option) => option.names),
  );
  return [...new Set(names)].toSorted();
}

/** Options of any command that take another value, for which nothing can be offered. */
function freeOptions(program: CommandFacts): string[] {
  const files = new Set(fileOptions(program));
  const names = named(program).flatMap(({ options }) => options.filter(({ value }) => value !== null).flatMap((option) => option.names));
  return [...new Set(names)].filter((name) => !files.has(name) && !(name in fixedValues)).toSorted();
}

/** For bash-completion(7): a function that offers commands, their options, and files where a file is wanted. */
export function bashCompletion(program: CommandFacts): string {
  const all = named(program);
  const paths = all.filter(({ path }) => path.length > 0).map(({ path }) => `"${path.join(' ')}"`);
  const cases = all.map((facts) => {
    const words = facts.commands.map(({ path }) => path.at(-1)).join(' ');
    return `    "${facts.path.join(' ')}") words="${words}" options="${optionNames(facts).join(' ')}" ;;`;
  });
  const fixed = Object.entries(fixedValues).map(
    ([name, values]) => `    ${name}) mapfile -t COMPREPLY < <(compgen -W "${values.join(' ')}" -- "$cur"); return ;;`,
  );
  return `# bash completion for mailtwin

_mailtwin() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} path="" words="" options="" i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${path:+$path }\${COMP_WORDS[i]}" in
    ${paths.join(' | ')}) path="\${path:+$path }\${COMP_WORDS[i]}" ;;
    esac
  done
  case $prev in
    ${fileOptions(program).join(' | ')}) compopt -o filenames 2> /dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
${fixed.join('\n')}
    ${freeOptions(program).join(' | ')}) return ;;
  esac
  case $path in
${cases.join('\n')}
  esac
  case $cur in
    -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur") ;;
    *) [ -z "$words" ] || mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur") ;;
  esac
}
complete -F _mailtwin mailtwin
`;
}

/** Text inside a zsh spec in single quotes. */
function zshText(text: string): string {
  return text.replaceAll("'", "'\\''").replaceAll('[', '\\[').replaceAll(']', '\\]').replaceAll(':', '\\:');
}

function zshFunction(path: readonly string[]): string {
  return ['_mailtwin', ...path.map((word) => word.replaceAll('-', '_'))].join('_');
}

/** For zshcompsys(1): one function a command. */
export function zshCompletion(program: CommandFacts): string {
  const functions = named(program).map((facts) => {
    const options = facts.options.flatMap((option) =>
      option.names.map((name) => {
        const fixed = fixedValues[name];
        const offered = fixed ? `(${fixed.join(' ')})` : fileValues.has(option.value ?? '') ? '_files' : ' ';
        return `'*${name}[${zshText(option.about)}]${option.value === null ? '' : `:${zshText(option.value)}:${offered}`}'`;
      }),
    );
    const specs = [...options, "'(- *)--help[show help]'"];
    if (facts.commands.length === 0) {
      const args = facts.args.map(
        ({ name, isRequired }) => `'${isRequired ? ':' : '::'}${zshText(name)}:${name === 'file' ? '_files' : ' '}'`,
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
  return `#compdef mailtwin\n\n${functions.toReversed().join('\n\n')}\n\n_mailtwin "$@"\n`;
}
