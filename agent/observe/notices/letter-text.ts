import type { Letter } from './outbox.ts';

/** A letter as people read it. */
export function letterText(letter: Letter): { subject: string; text: string } {
  const tag = `[mailtwin ${letter.node}]`;
  switch (letter.kind) {
    case 'test':
      return {
        subject: `${tag} test`,
        text: `This is a test of \`mailtwin notify test\` on ${letter.node} at ${letter.at}.\nNotices of this node reach you.\n`,
      };
    case 'digest':
      return { subject: `${tag} ${letter.digest.headline}`, text: `${letter.at}\n\n${letter.digest.lines.join('\n')}\n` };
    default: {
      const { notices, leftOut } = letter;
      const ranks = ['bad', 'warn', 'info', 'good'];
      const first = notices.toSorted((a, b) => ranks.indexOf(a.level) - ranks.indexOf(b.level))[0];
      const more = notices.length > 1 ? ` (and ${notices.length - 1} more)` : '';
      const words = { bad: 'ACT', warn: 'WARN', info: 'INFO', good: 'OK' };
      const body = notices.map(
        ({ level, code, at, text, remedy }) =>
          `${at}  ${words[level]}  ${code}\n  ${oneLine(text)}${remedy === '' ? '' : `\n  what to do: ${oneLine(remedy)}`}`,
      );
      if (leftOut > 0) body.push(`${leftOut} older notices did not fit into the queue and are not told.`);
      return {
        subject: `${tag} ${first ? `${words[first.level]}: ${oneLine(first.text)}` : 'notice'}`.slice(0, 160) + more,
        text: `${body.join('\n\n')}\n\nHow it stands now: mailtwin status on ${letter.node}\n`,
      };
    }
  }
}

/** Names come from strangers: nothing of them may begin a line of its own. */
function oneLine(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f\u2028\u2029]+/g, ' ');
}
