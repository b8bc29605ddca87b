/**
 * How file systems take several names for one, and a name that falls together with a given one:
 *
 * - `ascii`: letters from a to z alone, as xfs with `version=ci`
 * - `unicode`: case and the ways to write an accent, as ext4 with `casefold`; a name that is not UTF-8 is its bytes
 * - `own`: a rule that nobody expects
 */
export type FoldRule = 'ascii' | 'unicode' | 'own';

interface Folds {
  /** Names of which this is the same are one. */
  fold: (name: string) => string;
  twin: (name: string) => string;
}

const lowerAscii = (name: string) => name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
const upperAscii = (name: string) => name.replace(/[a-z]/g, (letter) => letter.toUpperCase());
const turnedAscii = (name: string) => (name === upperAscii(name) ? lowerAscii(name) : upperAscii(name));

function decoded(name: string): string | null {
  const bytes = Buffer.from(name, 'latin1');
  const text = bytes.toString('utf8');
  return Buffer.from(text, 'utf8').equals(bytes) ? text : null;
}

const encoded = (text: string) => Buffer.from(text, 'utf8').toString('latin1');

export const folds: Record<FoldRule, Folds> = {
  ascii: { fold: lowerAscii, twin: turnedAscii },
  unicode: {
    fold: (name) => {
      const text = decoded(name);
      return text === null ? name : encoded(text.normalize('NFD').toUpperCase().toLowerCase().normalize('NFD'));
    },
    twin: (name) => {
      const text = decoded(name);
      if (text === null || text.normalize('NFD') === text) return turnedAscii(name);
      return encoded(text.normalize('NFD'));
    },
  },
  own: {
    fold: (name) => name.replaceAll('q', 'f'),
    twin: (name) => (name.includes('f') ? name.replaceAll('f', 'q') : name.replaceAll('q', 'f')),
  },
};
