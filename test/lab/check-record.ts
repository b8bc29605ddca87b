import type { Endpoint } from './dovecot.ts';
import { ImapSession, messageIdOf, sha256 } from './imap-session.ts';
import type { Acknowledged, LoadRecord } from './load-record.ts';

/** What a server has under one UIDVALIDITY of a user. */
interface Found {
  mailbox: string;
  byUid: Map<number, { messageId: string; sha256: string }>;
}

/**
 * Holds a server (the primary, or a standby after a takeover) against what the clients of a load saw:
 *
 * - I5: whatever UIDVALIDITY and UID a client saw names the same message there, or none;
 * - I1: every message of `mustBeThere` (default: all that were acknowledged and not touched since) is there.
 *
 * @returns each violation as people read it; changes nothing on the server.
 */
export async function checkRecord(
  record: LoadRecord,
  server: { imap: Endpoint; password: string },
  mustBeThere: readonly Acknowledged[] = record.lasting,
): Promise<string[]> {
  const problems: string[] = [...record.conflicts];
  const users = new Set([...record.sightings.map((each) => each.user), ...mustBeThere.map((each) => each.user)]);
  for (const user of users) {
    const found = await readUser(server.imap, user, server.password);
    for (const seen of record.sightings.filter((each) => each.user === user)) {
      const now = found.get(seen.uidValidity)?.byUid.get(seen.uid);
      if (now === undefined) continue;
      const same = now.messageId === seen.messageId && (seen.sha256 === null || seen.sha256 === now.sha256);
      const place = `${user} ${seen.mailbox} (now ${found.get(seen.uidValidity)?.mailbox ?? ''}) UIDVALIDITY ${seen.uidValidity} UID ${seen.uid}`;
      if (!same) problems.push(`I5: ${place} was ${seen.messageId}, is ${now.messageId}`);
    }
    const there = new Set([...found.values()].flatMap(({ byUid }) => [...byUid.values()].map((each) => each.messageId)));
    for (const each of mustBeThere) {
      if (each.user === user && !there.has(each.messageId))
        problems.push(`I1: ${user} lost ${each.messageId}, acknowledged by ${each.via}`);
    }
  }
  return problems;
}

async function readUser(endpoint: Endpoint, user: string, password: string): Promise<Map<bigint, Found>> {
  const found = new Map<bigint, Found>();
  const session = await ImapSession.open(endpoint, user, password);
  const { client } = session;
  try {
    for (const { path, flags } of await client.list()) {
      if (flags.has('\\Noselect') || flags.has('\\NonExistent')) continue;
      const opened = await session.attempt(() => client.mailboxOpen(path, { readOnly: true }));
      // Dovecot's list index may still name a mailbox that another client renamed or deleted a moment before.
      if ('refused' in opened && /doesn't exist/.test(opened.refused.text)) continue;
      if ('refused' in opened) throw new Error(`${user} cannot open ${path}: ${opened.refused.text}`);
      const { uidValidity, exists } = opened.done;
      const byUid: Found['byUid'] = new Map();
      if (exists > 0) {
        for await (const { uid, source } of client.fetch('1:*', { uid: true, source: true })) {
          if (source) byUid.set(uid, { messageId: messageIdOf(source), sha256: sha256(source) });
        }
      }
      if (found.has(uidValidity))
        throw new Error(`${user} has UIDVALIDITY ${uidValidity} twice: ${found.get(uidValidity)?.mailbox ?? ''}, ${path}`);
      found.set(uidValidity, { mailbox: path, byUid });
    }
  } finally {
    await session.close();
  }
  return found;
}
