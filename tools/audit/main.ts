#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import { audit, type AuditTotals } from './audit.ts';
import { parseEndpoint, parseUsers, type AuditEndpoint } from './endpoint.ts';
import { showDifference, type Difference } from './snapshot.ts';

interface Flags {
  a: AuditEndpoint;
  b: AuditEndpoint;
  users?: string;
  json?: true;
  insecure?: true;
}

const usageCode = 2;
const program = new Command('audit')
  .description(
    'Logs in to two IMAP servers and compares every mailbox: list, special use, subscriptions, UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ,\n' +
      'and of each message UID, flags, keywords, MODSEQ, INTERNALDATE, size and the SHA-256 of its bytes. Changes nothing on either.',
  )
  .requiredOption('--a <url>', 'first server, imap://user:password@host:port or imaps://...', readEndpoint)
  .requiredOption('--b <url>', 'second server', readEndpoint)
  .option('--users <file>', 'users to compare, one a line, `user` or `user:password` (default: the user of each URL)')
  .option('--insecure', 'take any TLS certificate')
  .option('--json', 'one JSON object a line: differences, then the totals')
  .addHelpText(
    'after',
    '\nExit code: 0 no difference, 1 differences, 2 wrong usage or a server that cannot be read.\n\n' +
      'Example:\n  audit --a imap://anna:secret@10.0.0.1 --b imap://anna:secret@10.0.0.2',
  )
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : usageCode))
  .action(async (flags: Flags) => {
    const differences = audit({ a: flags.a, b: flags.b, users: logins(flags), insecure: flags.insecure === true });
    let step = await differences.next();
    for (; !step.done; step = await differences.next()) show(step.value, flags);
    finish(step.value, flags);
  });

try {
  await program.parseAsync();
} catch (error) {
  console.error(`audit: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = usageCode;
}

function show(difference: Difference, flags: Flags): void {
  console.log(flags.json ? JSON.stringify(difference) : showDifference(difference));
}

function finish(totals: AuditTotals, flags: Flags): void {
  const { users, mailboxes, messages, differences } = totals;
  if (flags.json) console.log(JSON.stringify({ totals }));
  else
    console.log(
      `${users} users, ${mailboxes} mailboxes, ${messages} messages compared: ${differences === 0 ? 'no difference' : `${differences} differences`}`,
    );
  process.exitCode = differences === 0 ? 0 : 1;
}

function logins({ a, b, users }: Flags) {
  if (users === undefined) return [{ a: { user: a.user, password: a.password }, b: { user: b.user, password: b.password } }];
  const list = parseUsers(readFileSync(users, 'utf8'));
  if (list.length === 0) throw new Error(`${users} names no user`);
  return list.map(({ user, password }) => ({
    a: { user, password: password ?? a.password },
    b: { user, password: password ?? b.password },
  }));
}

function readEndpoint(text: string): AuditEndpoint {
  try {
    return parseEndpoint(text);
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
}
