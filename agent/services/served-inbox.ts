import type { CheckResult } from './services.ts';

/** What lies on disk where the mail server says that an INBOX is. */
export interface CopiedInbox {
  /** Absolute. */
  path: string;
  /** The root that it lies in; null = in none, so it is not replicated. */
  root: string | null;
  /** Null where the mailbox was never opened; absent where the format does not tell. */
  uidValidity?: number | null;
  uidNext?: number | null;
  messages?: number;
}

/** What the server answered to a client that opened the INBOX. */
export interface ServedInbox {
  uidValidity: number;
  uidNext: number;
  messages: number;
}

/** So many may come or go while it is looked at. */
const messagesSlack = 20;

/**
 * Whether what a client sees is the copy. Pure.
 *
 * @param before the disk before the login, which the server must not fall behind.
 * @param after the disk after it, which has the UIDVALIDITY that the server made where there was none.
 */
export function judgeServed(served: ServedInbox, before: CopiedInbox, after: CopiedInbox): CheckResult {
  const at = `the INBOX lies in ${after.path}`;
  if (after.root === null)
    return { ok: false, evidence: `${at}, outside of all roots: it is not replicated, and what is served is not the copy` };
  if (after.messages === undefined || before.messages === undefined) return { ok: true, evidence: `${at}, in root ${after.root}` };
  const troubles = [
    ...(typeof after.uidValidity === 'number' && after.uidValidity !== served.uidValidity
      ? [`it has UIDVALIDITY ${after.uidValidity} there and ${served.uidValidity} for clients`]
      : []),
    ...(typeof before.uidNext === 'number' && before.uidValidity === served.uidValidity && served.uidNext < before.uidNext
      ? [`it has UIDNEXT ${before.uidNext} there and ${served.uidNext} for clients`]
      : []),
    ...(served.messages < Math.min(before.messages, after.messages) - messagesSlack ||
    (served.messages === 0 && Math.min(before.messages, after.messages) > 0)
      ? [`it has ${after.messages} messages there and ${served.messages} for clients`]
      : []),
  ];
  if (troubles.length > 0)
    return {
      ok: false,
      evidence: `what is served is not the copy: ${at}; ${troubles.join('; ')}; a path setting of the mail server on this node may differ`,
    };
  return { ok: true, evidence: `as in the copy (${after.path}: ${after.messages} messages)` };
}
