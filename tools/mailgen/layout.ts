import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** How folders lie on disk: Maildir++ (`.A.B`, the default of Dovecot and Courier) or Dovecot's LAYOUT=fs (`A/B`). */
export type Flavour = 'maildir++' | 'fs';

export const flavours: readonly Flavour[] = ['maildir++', 'fs'];

/** A mailbox by the components of its name as they stand on disk (modified UTF-7). No component is INBOX itself. */
export type MailboxPath = readonly string[];

/** The directory of a mailbox below its user's directory; INBOX is the user's directory itself, in both flavours. */
export function mailboxDir(flavour: Flavour, userDir: string, path: MailboxPath): string {
  if (path.length === 0) return userDir;
  return flavour === 'fs' ? join(userDir, ...path) : join(userDir, `.${path.join('.')}`);
}

/** One line of `subscriptions` in version 2: components with tabs between them. */
export function subscriptionLine(path: MailboxPath): string {
  return path.length === 0 ? 'INBOX' : path.join('\t');
}

/** The mailboxes of a user, INBOX first, the others sorted, as they lie on disk. */
export function readMailboxes(flavour: Flavour, userDir: string): MailboxPath[] {
  const found: string[][] = flavour === 'fs' ? readTree(userDir, []) : [];
  if (flavour === 'maildir++') {
    for (const entry of readdirSync(userDir, { withFileTypes: true })) {
      if (entry.isDirectory() && entry.name.startsWith('.') && !entry.name.startsWith('..')) found.push(entry.name.slice(1).split('.'));
    }
  }
  const order = (path: readonly string[]) => path.join('\0');
  return [[], ...found.sort((a, b) => (order(a) < order(b) ? -1 : 1))];
}

function readTree(dir: string, path: string[]): string[][] {
  const found: string[][] = [];
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    if (!entry.isDirectory() || entry.name.startsWith('.') || ['cur', 'new', 'tmp'].includes(entry.name)) continue;
    const child = [...path, entry.name];
    found.push(child, ...readTree(join(dir, entry.name), child));
  }
  return found;
}
