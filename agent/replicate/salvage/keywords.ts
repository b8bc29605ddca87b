/**
 * `dovecot-keywords`: which keyword each of the letters `a` to `z` in a Maildir name stands for, one a line as
 * `<number> <keyword>` (Dovecot's maildir-keywords.c).
 */
export function readKeywords(data: Buffer): Map<string, string> {
  const byLetter = new Map<string, string>();
  for (const line of data.toString('utf8').split('\n')) {
    const match = /^([0-9]{1,2}) (.+)$/.exec(line);
    const number = Number(match?.[1]);
    if (match?.[2] !== undefined && number < 26) byLetter.set(String.fromCharCode(97 + number), match[2]);
  }
  return byLetter;
}

/** Keywords of a name's letters, as far as the mailbox tells them. */
export function keywordsOf(flags: string, byLetter: ReadonlyMap<string, string>): string[] {
  return (flags.match(/[a-z]/g) ?? []).flatMap((letter) => byLetter.get(letter) ?? []);
}

/** Letters for keywords in a mailbox with another list, and the keywords that it does not know. */
export function lettersFor(keywords: readonly string[], byLetter: ReadonlyMap<string, string>): { letters: string; dropped: string[] } {
  const letterOf = new Map([...byLetter].map(([letter, keyword]) => [keyword, letter]));
  const letters = keywords.flatMap((keyword) => letterOf.get(keyword) ?? []);
  return { letters: [...new Set(letters)].toSorted().join(''), dropped: keywords.filter((keyword) => !letterOf.has(keyword)) };
}

/** System flags of a name, in the order of the alphabet. */
export function systemFlags(flags: string): string {
  return [...new Set(flags.match(/[DFPRST]/g))].toSorted().join('');
}
