import { exitCodes, type RepairOptions } from '../../../protocol/control.ts';
import type { CommonOptions, Context } from '../context.ts';
import { jsonText } from '../json.ts';

/** `mailtwin repair-store` */
export async function repairStore(context: Context, flags: CommonOptions & { as?: 'standby' | 'fenced' }): Promise<number> {
  const options: RepairOptions = { configFile: flags.config, as: flags.as ?? null };
  const result = await (await context.loadAgent()).repairStore(options);
  if (flags.json) context.terminal.print(jsonText(result));
  else {
    context.terminal.print(`The damaged store is at ${result.aside}.`);
    context.terminal.print(`This node is still ${result.role} of epoch ${result.epoch}. Start the agent: it compares both nodes anew.`);
  }
  return exitCodes.done;
}
