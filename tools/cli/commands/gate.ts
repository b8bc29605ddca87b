import { exitCodes, type GatedUnit } from '../../../protocol/control.ts';
import type { CommonOptions, Context } from '../context.ts';
import { printable } from '../format.ts';
import type { Paint } from '../paint.ts';
import { jsonText } from '../json.ts';

/** `mailtwin gate`, `gate install`, `gate remove`. Exit code 1 when a unit is not gated after `show` or `install`. */
export async function gate(context: Context, action: 'show' | 'install' | 'remove', flags: CommonOptions): Promise<number> {
  const { terminal } = context;
  const units = await (await context.loadAgent()).gateUnits(flags.config, action);
  terminal.print(flags.json ? jsonText({ units }) : units.map((unit) => unitText(unit, terminal.paint)).join('\n'));
  const wanted: GatedUnit['state'] = action === 'remove' ? 'open' : 'gated';
  return units.every(({ state }) => state === wanted) ? exitCodes.done : exitCodes.failed;
}

function unitText({ unit, file, state }: GatedUnit, paint: Paint): string {
  const words = {
    gated: `${paint.good('gated')}  starts on the active node alone`,
    open: `${paint.warn('open ')}  starts whatever this node is: \`mailtwin gate install\` gates it`,
    other: `${paint.warn('other')}  ${file} is not this release's: \`mailtwin gate install\` writes it anew`,
  };
  return `${printable(unit).padEnd(28)} ${words[state]}`;
}
