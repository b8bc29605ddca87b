/** A table; a bar in a cell is written so that it ends no cell. */
export function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [line(heads), `|${heads.map(() => '---|').join('')}`, ...rows.map(line)].join('\n');
}

/** The line that keeps people from editing a page that is made. */
export function madeFrom(source: string): string {
  return `<!-- Made by \`npm run docs\` from ${source}. Change it there. -->`;
}
