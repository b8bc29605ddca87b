#!/usr/bin/env node
import { Command, InvalidArgumentError, Option } from 'commander';
import { ChangeLoop, changesAtRate, type Change, type ChangeKind } from './change.ts';
import { flavours, type Flavour } from './layout.ts';
import { makeStoreSteps } from './make.ts';

interface MakeFlags {
  messages: number;
  seed: string;
  users?: number;
  folders: number;
  flavour: Flavour;
  owner?: { uid: number; gid: number };
}

interface ChangeFlags {
  seed: string;
  rate: number;
  seconds: number;
  flavour: Flavour;
  fsync?: true;
  wallClock?: true;
  owner?: { uid: number; gid: number };
  json?: true;
}

const program = new Command('mailgen').description(
  'Makes maildir stores as Dovecot leaves them, and changes them as users and servers do. The same seed gives the same store.',
);
const seed = () => new Option('--seed <text>', 'what all random choices come from').default('1');
const flavour = () => new Option('--flavour <name>', 'how folders lie on disk').choices(flavours).default('maildir++');
const owner = () => new Option('--owner <uid:gid>', 'owner of everything made').argParser(readOwner);

program
  .command('make')
  .description('Makes a store with one directory a user. DIR must be empty or missing.')
  .argument('<dir>')
  .requiredOption('--messages <n>', 'messages in the whole store', whole)
  .addOption(seed())
  .option('--users <n>', 'users (default: one for every 2,500 messages)', positive)
  .option('--folders <n>', 'mailboxes of each user, INBOX among them', positive, 25)
  .addOption(flavour())
  .addOption(owner())
  .addHelpText('after', '\nExample:\n  mailgen make /var/tmp/store --messages 5000 --seed demo')
  .action((dir: string, flags: MakeFlags) => {
    const started = performance.now();
    const steps = makeStoreSteps({
      seed: flags.seed,
      dir,
      messages: flags.messages,
      mailboxesPerUser: flags.folders,
      flavour: flags.flavour,
      ...(flags.users === undefined ? {} : { users: flags.users }),
      ...(flags.owner === undefined ? {} : { owner: flags.owner }),
    });
    let step = steps.next();
    while (!step.done) step = steps.next();
    const made = step.value;
    const seconds = (performance.now() - started) / 1000;
    console.log(
      `${made.messages} messages (${(made.bytes / 1e6).toFixed(1)} MB) in ${made.mailboxes} mailboxes of ${made.users.length} users, ${made.directories} directories, ${seconds.toFixed(1)} s`,
    );
  });

program
  .command('change')
  .description('Changes a store that `make` made: deliveries, flags, copies, moves, expunges, folders, subscriptions.')
  .argument('<dir>')
  .addOption(seed())
  .option('--rate <n>', 'changes a second', positive, 50)
  .option('--seconds <n>', 'how long', positive, 60)
  .addOption(flavour())
  .addOption(owner())
  .option('--fsync', 'sync every write, as a careful server does')
  .option('--wall-clock', 'date deliveries now (then the seed alone does not decide)')
  .option('--json', 'print every change as one line of JSON')
  .addHelpText('after', '\nExample:\n  mailgen change /var/tmp/store --seed 7 --rate 20 --seconds 60')
  .action(async (dir: string, flags: ChangeFlags) => {
    const loop = new ChangeLoop({
      seed: flags.seed,
      dir,
      flavour: flags.flavour,
      fsync: flags.fsync === true,
      ...(flags.owner === undefined ? {} : { owner: flags.owner }),
      ...(flags.wallClock ? { nowSeconds: () => Math.floor(Date.now() / 1000) } : {}),
    });
    const counts = new Map<ChangeKind, number>();
    for await (const change of changesAtRate(loop, flags.rate, flags.seconds)) {
      counts.set(change.kind, (counts.get(change.kind) ?? 0) + 1);
      if (flags.json) console.log(JSON.stringify(change satisfies Change));
    }
    if (!flags.json) console.log([...counts].map(([kind, count]) => `${kind} ${count}`).join(', '));
  });

try {
  await program.parseAsync();
} catch (error) {
  console.error(`mailgen: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}

function whole(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('a whole number is needed.');
  return Number(text);
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < 1e9)) throw new InvalidArgumentError('a number above 0 is needed.');
  return value;
}

function readOwner(text: string): { uid: number; gid: number } {
  const match = /^(\d+):(\d+)$/.exec(text);
  if (!match) throw new InvalidArgumentError('numbers are needed, such as 5000:5000.');
  return { uid: Number(match[1]), gid: Number(match[2]) };
}
