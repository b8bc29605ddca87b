import { exitCodes } from '../../../protocol/control.ts';
import type { CodeEntries, CodeEntry } from './code-entry.ts';
import { commandCodes } from './command-codes.ts';
import { guardEntries } from './guard-entries.ts';
import { connectionCodes, pairingCodes } from './link-codes.ts';
import { abilityCodes, batchCodes, damageCodes, replicationCodes, rootCodes, storeCodes } from './replication-codes.ts';
import { fencingCodes, networkCodes, salvageCodes, serviceCodes, takeoverCodes, verdictEntries } from './takeover-codes.ts';

/**
 * Every code that the product gives out, with its meaning: the ground of `mailtwin explain` and of deploy/docs/errors.md.
 * test/unit/codes.test.ts holds it against the sources.
 */

export interface CodeSection {
  title: string;
  codes: CodeEntries;
}

export const codeSections: readonly CodeSection[] = [
  { title: 'Commands, configuration and start', codes: commandCodes },
  { title: 'Pairing', codes: pairingCodes },
  { title: 'Connection', codes: connectionCodes },
  { title: 'State directory', codes: storeCodes },
  { title: 'Roots and disks', codes: rootCodes },
  { title: 'Replication', codes: replicationCodes },
  { title: 'Refused batches', codes: batchCodes },
  { title: 'What the disk of the standby cannot keep', codes: abilityCodes },
  { title: 'Damaged files', codes: damageCodes },
  { title: 'Takeover and role', codes: takeoverCodes },
  { title: 'Salvage and rejoin', codes: salvageCodes },
  { title: 'Addresses and ports', codes: networkCodes },
  { title: 'Fencing', codes: fencingCodes },
  { title: 'Mail services', codes: serviceCodes },
  { title: 'Verdict', codes: verdictEntries },
];

/** What each exit code of a command says. */
export const exitEntries: Readonly<Record<keyof typeof exitCodes, CodeEntry>> = {
  done: { means: 'Done.', causes: [], next: 'Nothing.' },
  failed: {
    means: 'Failed, nothing changed; or a check found what it looks for.',
    causes: ['the message says why'],
    next: 'Read the code of the message.',
  },
  usage: { means: 'Wrong usage or configuration.', causes: ['an option, an argument or a key'], next: 'Correct it.' },
  refused: {
    means: 'Refused, nothing changed.',
    causes: ['a check forbids it'],
    next: 'Do what the check says, or override it where that is offered.',
  },
  rolledBack: {
    means: 'Failed and rolled back.',
    causes: ['a step failed before the commit point'],
    next: 'Mend the cause and run the command again.',
  },
  incomplete: {
    means: 'Incomplete: a person must act.',
    causes: ['a step failed after the commit point', '`verify`: places are left out, held or in doubt'],
    next: 'The message says how; a takeover goes on when its command is run again.',
  },
};

export interface Explained extends CodeEntry {
  kind: 'code' | 'guard' | 'exit code';
  code: string;
}

/** All that a word may mean: a code, a guard, the number of an exit code. Empty when there is no such. */
export function explain(word: string): Explained[] {
  const found: Explained[] = [];
  for (const { codes } of codeSections)
    if (Object.hasOwn(codes, word)) found.push({ kind: 'code', code: word, ...(codes[word] as CodeEntry) });
  if (Object.hasOwn(guardEntries, word)) found.push({ kind: 'guard', code: word, ...guardEntries[word as keyof typeof guardEntries] });
  for (const [name, number] of Object.entries(exitCodes))
    if (word === String(number)) found.push({ kind: 'exit code', code: word, ...exitEntries[name as keyof typeof exitCodes] });
  return found;
}

/** Codes and guards, each once, in order. */
export function allCodes(): string[] {
  return [...new Set([...codeSections.flatMap(({ codes }) => Object.keys(codes)), ...Object.keys(guardEntries)])].toSorted();
}
