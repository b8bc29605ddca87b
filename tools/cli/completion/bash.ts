import type { CommandFacts } from '../command-facts.ts';
import { completable, offerFor, offerOf, type Offer } from './values.ts';

function optionNames(facts: CommandFacts): string[] {
  return [...facts.options.flatMap(({ names }) => names.filter((name) => name.startsWith('--'))), '--help'];
}

/** Shell that fills COMPREPLY with what is offered. */
function reply(offer: Offer): string {
  switch (offer.kind) {
    case 'files':
      return 'compopt -o filenames 2> /dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur")';
    case 'words':
      return `mapfile -t COMPREPLY < <(compgen -W "${offer.words.join(' ')}" -- "$cur")`;
    case 'asked':
      return `mapfile -t COMPREPLY < <(compgen -W "$(mailtwin completion words ${offer.what} 2> /dev/null)" -- "$cur")`;
    case 'nothing':
      return ':';
  }
}

/** For bash-completion(7): a function that offers commands, their options, and values. */
export function bashCompletion(program: CommandFacts): string {
  const all = completable(program);
  const paths = all.filter(({ path }) => path.length > 0).map(({ path }) => `"${path.join(' ')}"`);
  const cases = all.map((facts) => {
    const words = facts.commands.map(({ path }) => path.at(-1)).join(' ');
    return `    "${facts.path.join(' ')}") words="${words}" options="${optionNames(facts).join(' ')}" ;;`;
  });
  const values = all.flatMap((facts) =>
    facts.options.flatMap((option) => {
      const offer = offerOf(facts.path, option);
      return offer === null ? [] : option.names.map((name) => `    "${facts.path.join(' ')} ${name}") ${reply(offer)}; return ;;`);
    }),
  );
  const args = all.flatMap((facts) =>
    facts.args.flatMap(({ name }, i) => {
      const offer = offerFor(facts.path, name.replace(/\.\.\.$/, ''), null);
      return offer.kind === 'nothing' ? [] : [`    "${facts.path.join(' ')} ${i}") ${reply(offer)} ;;`];
    }),
  );
  return `# bash completion for mailtwin

_mailtwin() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} path="" words="" options="" args=0 i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${path:+$path }\${COMP_WORDS[i]}" in
    ${paths.join(' | ')}) path="\${path:+$path }\${COMP_WORDS[i]}" args=0 ;;
    *) case \${COMP_WORDS[i]} in -*) ;; *) args=$((args + 1)) ;; esac ;;
    esac
  done
  case "$path $prev" in
${values.join('\n')}
  esac
  case $path in
${cases.join('\n')}
  esac
  case $cur in
    -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur"); return ;;
  esac
  if [ -n "$words" ]; then mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur"); fi
  [ "\${#COMPREPLY[@]}" -eq 0 ] || return
  case "$path $args" in
${args.join('\n')}
  esac
}
complete -F _mailtwin mailtwin
`;
}
