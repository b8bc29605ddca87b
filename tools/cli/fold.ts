const colour = /\u001b\[[0-9;]*m/g;

/**
 * Breaks lines that are longer than the terminal at spaces. What goes on is indented to where the text of its line began,
 * behind marks and labels, which stand apart by two spaces or more. A word that is too long is left to the terminal, and
 * so is JSON, which is for programs.
 */
export function fold(text: string, columns: number): string {
  if (text.startsWith('{')) return text;
  return text
    .split('\n')
    .map((line) => (width(line) <= columns ? line : foldLine(line, columns)))
    .join('\n');
}

function foldLine(line: string, columns: number): string {
  const hang = textColumn(line.replaceAll(colour, ''), columns);
  const indent = ' '.repeat(hang);
  const lines: string[] = [];
  let now = '';
  for (const [part] of line.matchAll(/ *[^ ]+/g)) {
    if (width(now) > hang && width(now) + width(part) > columns) {
      lines.push(now);
      now = indent + part.trimStart();
    } else now += part;
  }
  return [...lines, now].join('\n');
}

/** Where the text behind the labels begins; labels take less than half of the line. */
function textColumn(line: string, columns: number): number {
  let column = 0;
  for (const gap of line.matchAll(/^ +| {2,}/g)) {
    const end = gap.index + gap[0].length;
    if (end > columns * 0.45) break;
    column = end;
  }
  return column;
}

/** Cells that a text takes; colour codes take none. */
function width(text: string): number {
  return text.replaceAll(colour, '').match(/[^]/gu)?.length ?? 0;
}
