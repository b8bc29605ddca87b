import type { Random } from './random.ts';

/** System flags in the order in which Maildir names carry them: Draft, Flagged, Passed, Replied, Seen, Trashed. */
const systemFlags = ['D', 'F', 'P', 'R', 'S', 'T'];

/** Letters of flags and keywords, ASCII-sorted and each once, as the Maildir format wants them. */
export function sortFlags(flags: string): string {
  return [...new Set(flags)].sort().join('');
}

/** The file name of a message in cur/. */
export function curName(base: string, flags: string): string {
  return `${base}:2,${sortFlags(flags)}`;
}

/** Splits a file name into base name and flag letters; a name in new/ has none. */
export function splitName(name: string): { base: string; flags: string } {
  const at = name.lastIndexOf(':2,');
  return at < 0 ? { base: name, flags: '' } : { base: name.slice(0, at), flags: name.slice(at + 3) };
}

/** Makes the base names of one writer; all parts come from the seed, so that a store can be made again exactly. */
export class NameMaker {
  readonly #random: Random;
  readonly #host: string;
  #count = 0;

  constructor(random: Random, host: string) {
    this.#random = random;
    this.#host = host;
  }

  /** `seconds` is Unix time; sizes with LF and with CRLF line ends go into the name as Dovecot puts them. */
  next(seconds: number, size: number, virtualSize: number): string {
    const microseconds = String(this.#random.int(0, 999_999));
    return `${seconds}.M${microseconds}P${this.#random.int(300, 32_767)}Q${++this.#count}.${this.#host},S=${size},W=${virtualSize}`;
  }
}

/** Flags as people leave them: most mail is read, some answered or flagged; keywords are rare. */
export function randomFlags(random: Random, keywordCount: number): string {
  let flags = random.chance(0.85) ? 'S' : '';
  if (random.chance(0.15)) flags += 'R';
  if (random.chance(0.05)) flags += 'F';
  if (random.chance(0.03)) flags += 'P';
  if (random.chance(0.02)) flags += 'T';
  for (let i = 0; i < keywordCount; i++) if (random.chance(0.06)) flags += keywordLetter(i);
  return sortFlags(flags);
}

/** The letter of the keyword with this number in dovecot-keywords. */
export function keywordLetter(number: number): string {
  return String.fromCharCode(97 + number);
}

/** One system flag or keyword letter set or taken away: never the same flags as before. */
export function toggleFlag(random: Random, flags: string, keywordCount: number): string {
  const letters = [...systemFlags, ...Array.from({ length: keywordCount }, (_, i) => keywordLetter(i))];
  const letter = random.pick(letters);
  return flags.includes(letter) ? flags.replace(letter, '') : sortFlags(flags + letter);
}
