import { exitCodes } from '../../../protocol/control.ts';
import { CommandError } from '../command-error.ts';
import { agentOf, type CommonOptions, type Context } from '../context.ts';
import { follow } from '../follow.ts';
import { printable, showSeconds } from '../format.ts';
import { jsonText } from '../json.ts';

/** `mailtwin pair`: makes a code on the primary and waits until it was used. */
export async function offerPair(context: Context, flags: CommonOptions & { replace?: boolean }): Promise<number> {
  const { terminal } = context;
  const agent = await agentOf(context, flags.config);
  const offer = await agent.ask('POST /pair', { replace: flags.replace === true });
  if (flags.json) {
    terminal.print(jsonText(offer));
    return exitCodes.done;
  }
  const life = showSeconds((Date.parse(offer.expiresAt) - context.wallMs()) / 1000);
  terminal.print(`code         ${terminal.paint.bold(offer.code)}   (once, within ${life})`);
  terminal.print(`fingerprint  ${offer.fingerprint}   (of this node; the standby shows it too)`);
  terminal.print('On the standby: mailtwin pair HOST:PORT, with an address of this node; it asks for the code.');
  terminal.print('Waiting for the standby; Ctrl-C ends the waiting and leaves the code valid.');
  const interrupted = terminal.interrupted();
  try {
    const outcome = await follow(context, 'pair', agent.stream('POST /pair/result', {}, interrupted), { quiet: true, unit: '' });
    terminal.print(printable(outcome.summary));
    return outcome.exitCode;
  } catch (error) {
    if (!interrupted.aborted) throw error;
    terminal.print(`The code stays valid until ${offer.expiresAt}.`);
    return exitCodes.done;
  }
}

/**
 * `mailtwin pair HOST:PORT`: joins on the standby. The code is asked for, or read from standard input: the command lines of
 * all processes can be read by every user of a host.
 */
export async function joinPair(
  context: Context,
  address: string,
  given: string | undefined,
  flags: CommonOptions & { yes?: boolean; replace?: boolean },
): Promise<number> {
  const { terminal } = context;
  if (given !== undefined)
    terminal.complain(
      `mailtwin: every user of this host could read the code from the command line: leave it out next time, \`mailtwin pair ${address}\` asks for it`,
    );
  const agent = await context.loadAgent();
  const code = given ?? (await terminal.tell('Code that `mailtwin pair` shows on the primary: '));
  if (code === null)
    throw new CommandError({
      code: 'no-code',
      message: 'no code was given; nothing was changed',
      remedy: `run \`mailtwin pair ${address}\` on a terminal, or give the code on standard input`,
      exitCode: exitCodes.usage,
    });
  const joined = await agent.joinPair({
    configFile: flags.config,
    address,
    code,
    replace: flags.replace === true,
    async confirm({ own, peer, peerNode }) {
      if (!flags.json) {
        terminal.print(`fingerprint of this node       ${own}`);
        terminal.print(`fingerprint of ${printable(peerNode).padEnd(15)} ${peer}`);
      }
      if (flags.yes) return true;
      const answer = flags.json ? null : await terminal.ask('Are they the same as the primary shows? Pair? [yes/no] ');
      if (answer === null) {
        throw new CommandError({
          code: 'not-confirmed',
          message: 'nobody answered whether the fingerprints are right; nothing was changed',
          remedy: 'run the command on a terminal, or add --yes',
          exitCode: exitCodes.refused,
        });
      }
      return /^y(es)?$/i.test(answer.trim());
    },
  });
  if (flags.json) terminal.print(jsonText(joined));
  else terminal.print(`Paired with ${printable(joined.peerNode)}. Next: mailtwin run (or systemctl start mailtwin), then mailtwin status`);
  return exitCodes.done;
}
