import type { Row } from './measurement.ts';

const headings = ['measured', 'figure', 'ratio', 'goal', ''];

/** The rows as one table of plain text, columns as wide as they need. */
export function renderTable(rows: readonly Row[]): string {
  const lines = [headings, ...rows.map(({ what, value, ratio, goal, isReached }) => [what, value, ratio, goal, verdict(isReached)])];
  const widths = headings.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const pad = (line: string[]): string =>
    line.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join('  ');
  const [head = '', ...body] = lines.map((line) => pad(line).trimEnd());
  return [head, '-'.repeat(Math.max(head.length, ...body.map((line) => line.length))), ...body].join('\n');
}

function verdict(isReached: boolean | null): string {
  return isReached === null ? '' : isReached ? 'reached' : 'missed';
}
