/** Colours, or none. */
export interface Paint {
  bold(text: string): string;
  dim(text: string): string;
  good(text: string): string;
  warn(text: string): string;
  bad(text: string): string;
}

/** https://no-color.org: any value of NO_COLOR but the empty one turns colour off. */
export function paintFor(isTTY: boolean, env: Record<string, string | undefined>): Paint {
  const colour = isTTY && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
  const by = (code: string) => (text: string) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  return { bold: by('1'), dim: by('2'), good: by('32'), warn: by('33'), bad: by('31') };
}
