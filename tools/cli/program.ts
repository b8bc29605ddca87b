import { Argument, type Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { exitCodes } from '../../protocol/control.ts';
import { takeoverKinds, type TakeoverKind } from '../../protocol/takeover.ts';
import { factsOf, type CommandFacts } from './command-facts.ts';
import { GroupCommand, inGroups } from './group-command.ts';
import { asControlError, errorText } from './command-error.ts';
import { acceptRoot, allowDelete } from './commands/allow-delete.ts';
import { printCompletion, printWords, shells, type Shell } from './commands/completion.ts';
import { demo } from './commands/demo.ts';
import { doctor } from './commands/doctor.ts';
import { explainCode } from './commands/explain.ts';
import { fenceTest } from './commands/fence.ts';
import { gate } from './commands/gate.ts';
import { init, type InitFlags } from './commands/init.ts';
import { migrateReport, migrateSnapshot, migrateStatus } from './commands/migrate.ts';
import { nicsAssign, nicsIdentify, nicsShow, nicsSwap } from './commands/nics.ts';
import { notifyTest } from './commands/notify.ts';
import { joinPair, offerPair } from './commands/pair.ts';
import { keepThisStore, type KeepFlags } from './commands/keep-this-store.ts';
import { repairStore } from './commands/repair-store.ts';
import { rejoin, salvage, type RejoinFlags } from './commands/salvage.ts';
import { sandbox } from './commands/sandbox.ts';
import { scrubRestore, scrubShow, scrubStart } from './commands/scrub.ts';
import { status } from './commands/status.ts';
import { showPlan, takeover, type TakeoverFlags } from './commands/takeover.ts';
import { supportBundle, type BundleFlags } from './commands/support-bundle.ts';
import { verify } from './commands/verify.ts';
import { showVersion } from './commands/version.ts';
import { wait } from './commands/wait.ts';
import type { CommonOptions, Context } from './context.ts';
import { jsonText } from './json.ts';

const defaultConfig = '/etc/mailtwin/mailtwin.yaml';

/**
 * Runs one command line (without the interpreter and script names) and gives its exit code. Whatever goes wrong is
 * said in one line with its remedy; only a fault of mailtwin itself shows a stack.
 */
export async function runCommandLine(args: readonly string[], context: Context, version: string): Promise<number> {
  const result = { exitCode: exitCodes.done as number };
  const program = buildProgram(context, version, result);
  try {
    await program.parseAsync([...args], { from: 'user' });
    return result.exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.usage;
    const known = asControlError(error);
    if (!known) {
      context.terminal.complain(`mailtwin: internal: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      return exitCodes.failed;
    }
    if (args.includes('--json')) context.terminal.print(jsonText({ error: known }));
    else context.terminal.complain(errorText(known));
    return known.exitCode;
  }
}

/** What all commands take and say: for the manual and the completions. */
export function describeCommands(version: string): CommandFacts {
  let printed = '';
  const print = (text: string) => void (printed += `${text}\n`);
  const terminal = { print, complain: print } as unknown as Context['terminal'];
  const program = buildProgram({ terminal } as unknown as Context, version, { exitCode: exitCodes.done });
  return factsOf(program, (run) => {
    printed = '';
    run();
    return printed;
  });
}

function buildProgram(context: Context, version: string, result: { exitCode: number }): Command {
  const program = new GroupCommand('mailtwin')
    .description('Keeps a second mail appliance ready to take over: byte-identical mail stores, same UIDs.')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .showHelpAfterError('(mailtwin --help, or mailtwin COMMAND --help, shows what there is)')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.terminal.print(text.trimEnd()),
      writeErr: (text) => context.terminal.complain(text.trimEnd()),
    });

  /** A command with the options that all have; its action gives the exit code. */
  const add = (usage: string, about: string, examples: string[], options: { json: boolean }): Command => {
    const command = program.command(usage).description(about).addOption(configOption());
    if (options.json) command.option('--json', 'print JSON');
    return command.addHelpText('after', `\nExamples:\n${examples.map((line) => `  ${line}`).join('\n')}`);
  };
  const ends =
    <A extends unknown[]>(act: (...args: A) => Promise<number>) =>
    async (...args: A) =>
      void (result.exitCode = await act(...args));

  add(
    'init',
    'Writes a commented configuration and the key of this node; never overwrites.',
    [
      'mailtwin init --role primary --node mail-a --root mail=/var/vmail:maildir --listen 192.0.2.1:7420',
      'mailtwin init --role standby --node mail-b --root mail=/var/vmail:maildir --listen 192.0.2.2:7420 --metrics off',
    ],
    { json: true },
  )
    .requiredOption('--role <role>', 'primary (has the mail) or standby')
    .requiredOption('--node <name>', 'name of this node; the two of a pair differ')
    .requiredOption(
      '--root <name=path:format>',
      'replicated directory tree, format maildir or plain; may be repeated',
      (value: string, all: string[] | undefined) => [...(all ?? []), value],
    )
    .option('--listen <host:port>', 'where this node takes the connection of the pair', '0.0.0.0:7420')
    .option('--state <dir>', 'state directory', '/var/lib/mailtwin')
    .option('--metrics <host:port|off>', 'where metrics are served', '127.0.0.1:9720')
    .action(ends((flags: InitFlags) => init(context, flags)));

  add(
    'pair',
    'Introduces the two nodes: without an address, on the primary, it makes a one-time code; with one, on the standby, it asks for that code (or reads it from standard input) and joins.',
    [
      'mailtwin pair',
      'mailtwin pair --json',
      'mailtwin pair 192.0.2.1:7420',
      'mailtwin pair 192.0.2.1:7420 --yes < code',
      'mailtwin pair --replace',
    ],
    { json: true },
  )
    .argument('[host:port]', 'address of the primary')
    .argument('[code]', 'the code, where it cannot be asked for: other users of the host can read it here')
    .option('--yes', 'do not ask whether the fingerprints are right', false)
    .option('--replace', 'pair although this node is paired already: the other one was set up anew', false)
    .action(
      ends(async (address: string | undefined, code: string | undefined, flags: CommonOptions & { yes: boolean; replace: boolean }) => {
        if (address === undefined) return offerPair(context, flags);
        return joinPair(context, address, code, flags);
      }),
    );

  add(
    'run',
    'Runs the agent of this node in the foreground until SIGTERM or Ctrl-C.',
    ['mailtwin run', 'mailtwin run --config ./mailtwin.yaml', 'mailtwin run --adopt'],
    { json: false },
  )
    .addOption(
      new Option('--adopt', 'on a standby: keep the files that are in its roots, as far as the primary has the same').conflicts(
        'moveAside',
      ),
    )
    .option('--move-aside', 'on a standby: put the files that are in its roots away first')
    .action(
      ends(async (flags: CommonOptions & { adopt?: boolean; moveAside?: boolean }) =>
        (await context.loadAgent()).runAgent(flags.config, { foreign: flags.adopt ? 'adopt' : flags.moveAside ? 'move-aside' : 'refuse' }),
      ),
    );

  add(
    'status',
    'Shows role, peer, phase, lag, what a takeover now could lose, and what needs attention.',
    ['mailtwin status', 'mailtwin status --watch', 'mailtwin status --json'],
    { json: true },
  )
    .option('--watch', 'show it anew twice a second until Ctrl-C', false)
    .action(ends((flags: CommonOptions & { watch: boolean }) => status(context, flags)));

  add(
    'wait',
    'Waits until all that changed before the call is durable on the standby, and nothing is known against that; exit 0 then.',
    ['mailtwin wait', 'mailtwin wait --timeout 600'],
    { json: true },
  )
    .addOption(new Option('--timeout <seconds>', 'give up after this long, exit 1').default(60).argParser(secondsArgument))
    .action(ends((flags: CommonOptions & { timeout: number }) => wait(context, flags)));

  add(
    'verify',
    'Proves that both nodes hold the same, names each difference; exit 1 if there is any.',
    ['mailtwin verify', 'mailtwin verify --deep --json'],
    { json: true },
  )
    .option('--deep', 're-read all content on both nodes instead of trusting what was recorded', false)
    .action(ends((flags: CommonOptions & { deep: boolean }) => verify(context, flags)));

  const scrub = add(
    'scrub',
    'Shows how far the reading again of all content of this node is, and which files its disk has damaged; exit 1 if there is any.',
    ['mailtwin scrub', 'mailtwin scrub --json', 'mailtwin scrub start', 'mailtwin scrub restore mail/user/cur/1700000000.M1P2.host:2,S'],
    { json: true },
  ).action(ends((flags: CommonOptions) => scrubShow(context, flags)));
  const ofScrub = <F extends object>(flags: F, command: Command): F & CommonOptions => ({
    ...(command.parent?.opts<CommonOptions>() ?? { config: defaultConfig }),
    ...flags,
  });
  scrub
    .command('start')
    .description('Begins a pass now, as fast as `scrub.maxRate` lets it go.')
    .addHelpText('after', '\nExamples:\n  mailtwin scrub start')
    .action(ends((flags: object, command: Command) => scrubStart(context, ofScrub(flags, command))));
  scrub
    .command('restore')
    .description('On the primary: puts the version that the standby has in the place of a damaged file, after it was proved.')
    .argument('<place>', 'root/path, as `mailtwin scrub` names it')
    .option('--yes', 'do not ask', false)
    .addHelpText('after', '\nExamples:\n  mailtwin scrub restore mail/user/cur/1700000000.M1P2.host:2,S')
    .action(ends((place: string, flags: { yes: boolean }, command: Command) => scrubRestore(context, place, ofScrub(flags, command))));

  add(
    'doctor',
    'Checks the whole set-up of this node and says what to do; exit 1 if anything fails.',
    ['mailtwin doctor', 'mailtwin doctor --json'],
    { json: true },
  ).action(ends((flags: CommonOptions) => doctor(context, flags)));

  const fence = program.command('fence').description('What makes sure that the other node is off before this one takes over.');
  fence
    .command('test')
    .description('Reads the power state of the other node through each fence level and changes nothing; exit 1 if none can read it.')
    .addOption(configOption())
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExamples:\n  mailtwin fence test\n  mailtwin fence test --json')
    .action(ends((flags: CommonOptions) => fenceTest(context, flags)));

  const gates = add(
    'gate',
    'Shows whether systemd starts the mail units on the active node alone; installs or removes the drop-ins that hold it to that.',
    ['mailtwin gate', 'mailtwin gate install', 'mailtwin gate remove'],
    { json: true },
  ).action(ends((flags: CommonOptions) => gate(context, 'show', flags)));
  for (const [action, about] of [
    ['install', 'Writes the drop-in for every unit in services.units; what runs goes on running.'],
    ['remove', 'Takes the drop-ins away: from then on a boot starts the mail units whatever this node is.'],
  ] as const)
    gates
      .command(action)
      .description(about)
      .addHelpText('after', `\nExamples:\n  mailtwin gate ${action}`)
      .action(
        ends((flags: object, command: Command) =>
          gate(context, action, { ...(command.parent?.opts<CommonOptions>() ?? { config: defaultConfig }), ...flags }),
        ),
      );

  add(
    'sandbox',
    'Shows what the sandbox of mailtwin.service must leave open for this configuration, and whether its drop-in does; exit 1 if not.',
    ['mailtwin sandbox', 'mailtwin sandbox install'],
    { json: true },
  )
    .action(ends((flags: CommonOptions) => sandbox(context, 'show', flags)))
    .command('install')
    .description('Writes the drop-in, or removes it where the unit fits as it is: after a change of roots, staging, state or gate.')
    .addHelpText('after', '\nExamples:\n  mailtwin sandbox install')
    .action(
      ends((flags: object, command: Command) =>
        sandbox(context, 'install', { ...(command.parent?.opts<CommonOptions>() ?? { config: defaultConfig }), ...flags }),
      ),
    );

  const nics = add(
    'nics',
    'Shows the ports of this node, which network role each carries here and on the other node, and whether its segment answers.',
    ['mailtwin nics', 'mailtwin nics --json', 'mailtwin nics identify', 'mailtwin nics assign lan eno1', 'mailtwin nics swap lan dmz'],
    { json: true },
  ).action(ends((flags: CommonOptions) => nicsShow(context, flags)));
  const addNics = (usage: string, about: string, examples: string[]): Command =>
    nics
      .command(usage)
      .description(about)
      .addHelpText('after', `\nExamples:\n${examples.map((line) => `  ${line}`).join('\n')}`);
  /** Options of `nics` itself, which its commands share. */
  const shared = <F extends object>(flags: F, command: Command): F & CommonOptions => ({
    ...(command.parent?.opts<CommonOptions>() ?? { config: defaultConfig }),
    ...flags,
  });
  addNics('identify', 'Tells from which port a cable is pulled or into which it is plugged, or blinks the light of one.', [
    'mailtwin nics identify',
    'mailtwin nics identify --seconds 60 --json',
    'mailtwin nics identify eno1 --blink',
  ])
    .argument('[port]', 'with --blink: its name, permanent address or slot')
    .option('--blink', 'blink the light of the port', false)
    .addOption(new Option('--seconds <seconds>', 'how long').default(300).argParser(secondsArgument))
    .action(
      ends(async (port: string | undefined, flags: { blink: boolean; seconds: number }, command: Command) => {
        if (flags.blink !== (port !== undefined))
          return command.error('error: a port and --blink go together: mailtwin nics identify eno1 --blink', { exitCode: exitCodes.usage });
        return nicsIdentify(context, port ?? null, shared(flags, command));
      }),
    );
  addNics('assign', 'Gives a network role its port on this node, after a gateway of the role answered there.', [
    'mailtwin nics assign lan eno1',
    'mailtwin nics assign lan 52:54:00:12:34:56',
    'mailtwin nics assign lan eno1 --unproven',
  ])
    .argument('<role>', 'a role of the section network')
    .argument('<port>', 'its name, permanent address or slot')
    .option('--unproven', 'although no gateway of the role answers there: you vouch for the cable', false)
    .action(
      ends((role: string, port: string, flags: { unproven: boolean }, command: Command) =>
        nicsAssign(context, role, port, shared(flags, command)),
      ),
    );
  addNics('swap', 'Exchanges the ports of two roles, after the gateways of both answered there.', ['mailtwin nics swap lan dmz'])
    .argument('<role>')
    .argument('<other-role>')
    .option('--unproven', 'although the gateway of one does not answer there: you vouch for the cable', false)
    .action(
      ends((first: string, second: string, flags: { unproven: boolean }, command: Command) =>
        nicsSwap(context, first, second, shared(flags, command)),
      ),
    );
  const takeovers: Record<TakeoverKind, string> = {
    switchover:
      'Makes this standby active while both nodes are well: nothing is lost, and any failure before the commit point puts the other one back into service.',
    failover: 'Makes this standby active after the primary is lost: fences it, accepts the stated loss, raises UIDs, moves the addresses.',
  };
  for (const kind of takeoverKinds) {
    const command = add(
      kind,
      takeovers[kind],
      [
        `mailtwin ${kind} --dry-run`,
        `mailtwin ${kind}`,
        `mailtwin ${kind} --dry-run --plan ${kind}.json`,
        `mailtwin ${kind} --apply ${kind}.json --confirm mail-a`,
      ],
      { json: true },
    )
      .option('--dry-run', 'check and show the plan, change nothing', false)
      .option('--plan <file>', 'a file to which --dry-run writes the plan')
      .option('--apply <file>', 'run exactly this plan, or refuse because the state has moved')
      .option(
        '--override <guard>',
        'go on although this guard fails; may be repeated',
        (value: string, all: string[]) => [...all, value],
        [],
      )
      .option('--confirm <node>', 'the name of the node that goes out of service, instead of being asked');
    if (kind === 'failover')
      command
        .option('--accept-loss', 'accept the predicted loss, instead of being asked', false)
        .option('--fenced-by-hand <evidence>', 'for the manual fence level: what you saw that proves the other node off');
    command.action(ends((flags: TakeoverFlags) => takeover(context, kind, flags)));
  }
  add(
    'salvage',
    'On a node that was replaced, or a standby whose newer mail was undone by keep-this-store: shows what only it has; with --apply brings it to the active node as new messages, each exactly once.',
    ['mailtwin salvage', 'mailtwin salvage --apply', 'mailtwin salvage --json'],
    { json: true },
  )
    .option('--apply', 'bring it to the active node; nothing that is there is touched', false)
    .action(ends((flags: CommonOptions & { apply: boolean }) => salvage(context, flags)));
  add(
    'keep-this-store',
    'On a primary whose store was put back to an older state: goes on with that state. UIDs are raised first; the newer mail of the standby goes to its history, from where `mailtwin salvage` brings it back.',
    ['mailtwin keep-this-store', 'mailtwin keep-this-store --confirm mail-a', 'mailtwin keep-this-store --confirm mail-a --server-stopped'],
    { json: true },
  )
    .option('--confirm <node>', 'name of this node, instead of typing it')
    .option('--server-stopped', 'the mail server of this node, which the agent does not run, is stopped', false)
    .action(ends((flags: KeepFlags) => keepThisStore(context, flags)));
  add(
    'rejoin',
    'Makes a node that was replaced the standby: only differences are sent, and what they replace goes to history.',
    ['mailtwin rejoin', 'mailtwin rejoin --salvage --confirm mail-a', 'mailtwin rejoin --override unsalvaged'],
    { json: true },
  )
    .option('--confirm <node>', 'the name of this node, instead of being asked')
    .option('--salvage', 'bring what only this node has to the active node first', false)
    .addOption(new Option('--override <what>', 'go on although something is only here').choices(['unsalvaged']))
    .action(ends((flags: RejoinFlags) => rejoin(context, flags)));

  const migrate = program
    .command('migrate')
    .description(
      'A move to new hardware, or an upgrade of one node after the other, as a checked sequence, and the acceptance report afterwards.',
    );
  const addMigrate = (usage: string, about: string, example: string): Command =>
    migrate
      .command(usage)
      .description(about)
      .addOption(configOption())
      .option('--json', 'print JSON')
      .addHelpText('after', `\nExamples:\n  ${example}`);
  addMigrate(
    'status',
    'Which releases both nodes run, what is done, what remains and how long clients will wait; exit 1 while something remains.',
    'mailtwin migrate status',
  ).action(ends((flags: CommonOptions) => migrateStatus(context, flags)));
  addMigrate('snapshot', 'Writes what every mailbox is before the move.', 'mailtwin migrate snapshot before.json')
    .argument('<file>', 'file to write')
    .action(ends((file: string, flags: CommonOptions) => migrateSnapshot(context, file, flags)));
  addMigrate(
    'report',
    'Compares every mailbox with a snapshot; exit 1 when a client would notice.',
    'mailtwin migrate report before.json --html report.html',
  )
    .argument('<file>', 'what snapshot wrote')
    .option('--html <file>', 'write the report as a page, too')
    .action(ends((file: string, flags: CommonOptions & { html?: string }) => migrateReport(context, file, flags)));

  program
    .command('plan')
    .description('Shows a plan that --dry-run wrote.')
    .command('show <file>')
    .description('Shows a plan that --dry-run wrote.')
    .option('--json', 'print JSON')
    .action(ends(async (file: string, flags: { json?: boolean }) => showPlan(context, file, flags)));

  add(
    'support-bundle',
    'Packs state, logs, configuration, metrics and the last takeover for support; no mail, no secrets, and no names of users.',
    ['mailtwin support-bundle', 'mailtwin support-bundle --out /tmp/bundle.tar.gz --with-names'],
    { json: true },
  )
    .option('--out <file>', 'the archive; a name with the time in this directory when omitted')
    .option('--with-names', 'leave names of users, mailboxes and messages as they are', false)
    .action(ends((flags: BundleFlags) => supportBundle(context, flags)));

  const notify = program.command('notify').description('Tells people by mail or webhook; see the section `notices` of the configuration.');
  notify
    .command('test')
    .description('Sends a test letter on each way of the section `notices`, at once.')
    .addOption(configOption())
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExamples:\n  mailtwin notify test')
    .action(ends((flags: CommonOptions) => notifyTest(context, flags)));

  add(
    'allow-delete',
    'Lets held mass deletions go to the standby, and copies that it keeps of what is left out; without a place it tells what is held.',
    ['mailtwin allow-delete', 'mailtwin allow-delete mail/example.com/jo/.Trash'],
    { json: true },
  )
    .argument('[places...]', 'as `mailtwin status` names them; what is held there now goes, for ten minutes, and nothing else')
    .option('--all', 'let all mass deletions go that are held now; a copy that is kept goes by its name alone', false)
    .action(ends((places: string[], flags: CommonOptions & { all: boolean }) => allowDelete(context, places, flags)));
  add(
    'repair-store',
    'Puts the damaged store of a stopped agent aside and begins a new one with the same role and epoch; mail is not touched.',
    ['mailtwin repair-store', 'mailtwin repair-store --as standby'],
    { json: true },
  )
    .addOption(new Option('--as <role>', 'what this node is, where that is not known any more').choices(['standby', 'fenced']))
    .action(ends((flags: CommonOptions & { as?: 'standby' | 'fenced' }) => repairStore(context, flags)));

  add(
    'accept-root',
    'Takes a root, or a file system below one, for right although it is another one than before, or does not come back.',
    ['mailtwin accept-root mail', 'mailtwin accept-root mail/example.com'],
    { json: true },
  )
    .argument('<names...>', 'a root by its name, a file system below it as ROOT/PATH')
    .action(ends((names: string[], flags: CommonOptions) => acceptRoot(context, names, flags)));

  program
    .command('explain')
    .description('Explains a code of an error, warning or check: what it means, likely causes, what to do; without one it lists all.')
    .argument('[code]', 'as it stands after `mailtwin:`, or the name of a check, or an exit code')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExamples:\n  mailtwin explain peer-lost\n  mailtwin explain\n  mailtwin explain 5 --json')
    .action(ends((code: string | undefined, flags: { json?: boolean }) => explainCode(context, code ?? null, flags)));

  program
    .command('demo')
    .description('Runs a whole pair on this machine with a sample store, without privilege, and cleans up after itself.')
    .addOption(new Option('--seconds <seconds>', 'how long mail arrives and changes').default(60).argParser(secondsArgument))
    .addOption(new Option('--messages <count>', 'messages of the sample store').default(5000).argParser(countArgument))
    .option('--keep', 'keep the directory with configurations, logs and stores', false)
    .addHelpText('after', '\nExamples:\n  mailtwin demo\n  mailtwin demo --seconds 10 --messages 500')
    .action(ends((flags: { seconds: number; messages: number; keep: boolean }) => demo(context, flags)));

  const completion = program
    .command('completion')
    .description(
      'Prints the script by which a shell completes commands, options, roles, ports, checks, codes and files. The package installs them.',
    )
    .argument('<shell>', Object.keys(shells).join(', '))
    .addHelpText(
      'after',
      '\nExamples:\n  mailtwin completion bash > /etc/bash_completion.d/mailtwin\n  mailtwin completion fish > ~/.config/fish/completions/mailtwin.fish',
    )
    .action(
      ends(async (shell: string, _flags: object, command: Command) =>
        Object.hasOwn(shells, shell)
          ? printCompletion(context, shell as Shell, describeCommands(version))
          : command.error(
              `error: there is no completion for ${JSON.stringify(shell)}; there is one for ${Object.keys(shells).join(', ')}`,
              {
                exitCode: exitCodes.usage,
              },
            ),
      ),
    );
  completion
    .command('words', { hidden: true })
    .addArgument(new Argument('<what>').choices(['roles', 'ports']))
    .addOption(configOption())
    .action(ends((what: 'roles' | 'ports', flags: CommonOptions) => printWords(context, what, flags)));

  program
    .command('version')
    .description('Prints the version of mailtwin, of Node.js, and the system; for a report.')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExamples:\n  mailtwin version\n  mailtwin version --json')
    .action(ends((flags: { json?: boolean }) => showVersion(context, version, flags)));
  inGroups(program);
  return program;
}

function configOption(): Option {
  return new Option('--config <file>', 'configuration of this node').env('MAILTWIN_CONFIG').default(defaultConfig);
}

function secondsArgument(text: string): number {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || value > 30 * 86_400)
    throw new InvalidArgumentError('a number of seconds from 0 to 2592000 is expected.');
  return value;
}

function countArgument(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > 1_000_000)
    throw new InvalidArgumentError('a whole number from 1 to 1000000 is expected.');
  return value;
}
