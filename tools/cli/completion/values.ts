import { guardNames } from '../../../protocol/takeover.ts';
import { allCodes } from '../codes/code-table.ts';
import { flatten, type CommandFacts, type OptionFacts } from '../command-facts.ts';

/** What a value can be completed with. */
export type Offer =
  | { kind: 'files' }
  /** A few words that are always the same. */
  | { kind: 'words'; words: readonly string[] }
  /** Asked of the running agent: `mailtwin completion words WHAT`. */
  | { kind: 'asked'; what: 'roles' | 'ports' }
  | { kind: 'nothing' };

/** Placeholders of values and arguments that say by themselves what stands there. */
const byPlaceholder: Readonly<Record<string, Offer>> = {
  file: { kind: 'files' },
  dir: { kind: 'files' },
  guard: { kind: 'words', words: guardNames },
  code: { kind: 'words', words: allCodes() },
  port: { kind: 'asked', what: 'ports' },
  'other-role': { kind: 'asked', what: 'roles' },
  'host:port|off': { kind: 'words', words: ['off', '127.0.0.1:9720'] },
};
/** Of a command: its argument or option, where the placeholder alone does not tell. */
const byPlace: Readonly<Record<string, Offer>> = {
  'init --role': { kind: 'words', words: ['primary', 'standby'] },
  'repair-store --as': { kind: 'words', words: ['standby', 'fenced'] },
  'rejoin --override': { kind: 'words', words: ['unsalvaged'] },
  'nics assign role': { kind: 'asked', what: 'roles' },
  'nics swap role': { kind: 'asked', what: 'roles' },
  'completion shell': { kind: 'words', words: ['bash', 'zsh', 'fish'] },
  'pair code': { kind: 'nothing' },
};

export function offerFor(path: readonly string[], placeholder: string, option: string | null): Offer {
  return byPlace[[...path, option ?? placeholder].join(' ')] ?? byPlaceholder[placeholder] ?? { kind: 'nothing' };
}

export function offerOf(path: readonly string[], { value, names }: OptionFacts): Offer | null {
  return value === null ? null : offerFor(path, value, names.find((name) => name.startsWith('--')) ?? null);
}

/** Every command with the words after it, as the shell scripts need them. */
export function completable(program: CommandFacts): CommandFacts[] {
  return flatten(program);
}
