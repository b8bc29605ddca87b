import { compareAccounts, compareMailboxes } from '../../tools/audit/compare.ts';
import { MailReader } from '../../tools/audit/reader.ts';
import { showDifference, type AccountSnapshot, type MailboxSnapshot } from '../../tools/audit/snapshot.ts';
import type { Endpoint } from './dovecot.ts';

/** What clients see of some users at one moment: mailboxes, subscriptions, UIDVALIDITY, UIDs, flags, keywords, modseqs, bodies. */
export type MailSnapshot = ReadonlyMap<string, { account: AccountSnapshot; mailboxes: ReadonlyMap<string, MailboxSnapshot> }>;

/** Nobody may change anything meanwhile. */
export async function snapshotMail(imap: Endpoint, password: string, users: readonly string[]): Promise<MailSnapshot> {
  const found = new Map<string, { account: AccountSnapshot; mailboxes: Map<string, MailboxSnapshot> }>();
  for (const user of users) {
    const reader = await MailReader.open({ ...imap, secure: false, user: '', password }, { user, password }, { insecure: false });
    try {
      const account = await reader.account();
      const mailboxes = new Map<string, MailboxSnapshot>();
      for (const { path, selectable } of account.mailboxes) if (selectable) mailboxes.set(path, await reader.mailbox(path));
      found.set(user, { account, mailboxes });
    } finally {
      await reader.close();
    }
  }
  return found;
}

export function messagesIn(snapshot: MailSnapshot): number {
  return [...snapshot.values()].flatMap(({ mailboxes }) => [...mailboxes.values()]).reduce((sum, { messages }) => sum + messages.length, 0);
}

/** What clients would notice, one line each; empty = nothing. */
export function changesBetween(before: MailSnapshot, after: MailSnapshot): string[] {
  return [...before].flatMap(([user, { account, mailboxes }]) => {
    const now = after.get(user);
    if (!now) return [`${user} is gone`];
    return [
      ...compareAccounts(user, account, now.account),
      ...[...mailboxes].flatMap(([path, mailbox]) => {
        const other = now.mailboxes.get(path);
        // A mailbox that one of them lacks is a difference of the accounts.
        return other ? compareMailboxes(user, path, mailbox, other) : [];
      }),
    ].map(showDifference);
  });
}
