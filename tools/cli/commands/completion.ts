import { exitCodes } from '../../../protocol/control.ts';
import { bashCompletion } from '../completion/bash.ts';
import { fishCompletion } from '../completion/fish.ts';
import { zshCompletion } from '../completion/zsh.ts';
import type { CommandFacts } from '../command-facts.ts';
import { agentOf, type CommonOptions, type Context } from '../context.ts';

export const shells = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion } as const;
export type Shell = keyof typeof shells;

/** `mailtwin completion SHELL`: the script by which a shell completes command lines. */
export async function printCompletion({ terminal }: Context, shell: Shell, program: CommandFacts): Promise<number> {
  terminal.write(shells[shell](program));
  return exitCodes.done;
}

/** Words of this node that the scripts ask for: roles and ports, as the running agent has them. Nothing when it does not answer. */
export async function printWords(context: Context, what: 'roles' | 'ports', flags: CommonOptions): Promise<number> {
  try {
    const { roles, ports } = await (await agentOf(context, flags.config)).ask('GET /nics', null);
    const words = what === 'roles' ? roles.map(({ name }) => name) : ports.map(({ ifname }) => ifname);
    if (words.length > 0) context.terminal.print(words.join('\n'));
  } catch {
    // Whoever presses Tab wants a word or nothing, never a message.
  }
  return exitCodes.done;
}
