import { arch, platform, versions } from 'node:process';
import { exitCodes } from '../../../protocol/control.ts';
import type { Context } from '../context.ts';
import { jsonText } from '../json.ts';

/** `mailtwin version`: what a report of a fault needs. */
export async function showVersion({ terminal }: Context, version: string, flags: { json?: boolean }): Promise<number> {
  const facts = { version, node: versions.node, system: `${platform} ${arch}` };
  terminal.print(flags.json ? jsonText(facts) : `mailtwin ${facts.version}, Node.js ${facts.node}, ${facts.system}`);
  return exitCodes.done;
}
