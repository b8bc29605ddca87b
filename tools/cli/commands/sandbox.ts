import { exitCodes, type UnitSandbox } from '../../../protocol/control.ts';
import type { CommonOptions, Context } from '../context.ts';
import { printable } from '../format.ts';
import { jsonText } from '../json.ts';

/** `mailtwin sandbox`, `sandbox install`. Exit code 1 when the drop-in is not what the configuration needs. */
export async function sandbox(context: Context, action: 'show' | 'install', flags: CommonOptions): Promise<number> {
  const found = await (await context.loadAgent()).unitSandbox(flags.config, action);
  context.terminal.print(flags.json ? jsonText(found) : sandboxText(found));
  return found.state === 'fits' || found.state === 'written' ? exitCodes.done : exitCodes.failed;
}

/** For people: what stands in the drop-in, or has to. */
export function sandboxText({ file, lines, state }: UnitSandbox): string {
  const said = lines.map((line) => `  ${printable(line)}`).join('\n');
  const none = 'mailtwin.service fits as it is; no drop-in is needed';
  const now = 'the agent follows it from its next start: systemctl restart mailtwin';
  switch (state) {
    case 'fits':
      return lines.length === 0 ? none : `${file} opens what this configuration needs:\n${said}`;
    case 'written':
      return lines.length === 0 ? `${file} was removed: ${none}; ${now}` : `${file} was written:\n${said}\n${now}`;
    case 'missing':
      return `${file} is missing, and \`mailtwin sandbox install\` writes it:\n${said}`;
    case 'needless':
      return `${file} opens what nobody needs any more: \`mailtwin sandbox install\` removes it`;
    case 'other':
      return `${file} says something else, and \`mailtwin sandbox install\` writes it anew:\n${said}`;
  }
}
