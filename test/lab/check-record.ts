import type { ImapFlow } from 'imapflow';
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
    const found = await readUser(server.imap, user, server.password, problems);
    for (const seen of record.sightings.filter((each) => each.user === user)) {
      const where = found.get(spaceOf(seen.mailbox, seen.uidValidity));
      const now = where?.byUid.get(seen.uid);
      if (now === undefined) continue;
      const same = now.messageId === seen.messageId && (seen.sha256 === null || seen.sha256 === now.sha256);
      const place = `${user} ${seen.mailbox} (now ${where?.mailbox ?? ''}) UIDVALIDITY ${seen.uidValidity} UID ${seen.uid}`;
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

const readTriesMax = 3;

async function readUser(endpoint: Endpoint, user: string, password: string, problems: string[]): Promise<Map<string, Found>> {
  const found = new Map<string, Found>();
  let session = await ImapSession.open(endpoint, user, password);
  try {
    const queue = (await session.client.list()).filter(({ flags }) => !flags.has('\\Noselect') && !flags.has('\\NonExistent'));
    const hangUps = new Map<string, number>();
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const { path } = next;
      const looked = await session.attempt((client) => readMailbox(client, path));
      if ('done' in looked) {
        const space = spaceOf(path, looked.done.uidValidity);
        const twin = found.get(space);
        if (twin !== undefined) throw new Error(`${user} has one UIDVALIDITY twice: ${twin.mailbox}, ${path}`);
        found.set(space, { mailbox: path, byUid: looked.done.byUid });
        continue;
      }
      // Dovecot's list index may still name a mailbox that another client renamed or deleted a moment before.
      if (looked.refused.kind === 'no' && /doesn't exist/.test(looked.refused.text)) continue;
      problems.push(`${user} ${path}: ${looked.refused.kind === 'gone' ? 'the server hung up' : 'refused'} ${looked.refused.text}`);
      hangUps.set(path, (hangUps.get(path) ?? 0) + 1);
      if (looked.refused.kind === 'no' || hangUps.get(path) === readTriesMax) continue;
      // Dovecot hangs up over a damaged message and mends its index: another look shows what clients get then.
      queue.unshift(next);
      session.client.close();
      session = await ImapSession.open(endpoint, user, password);
    }
  } finally {
    await session.close();
  }
  return found;
}

async function readMailbox(client: ImapFlow, path: string): Promise<{ uidValidity: bigint; byUid: Found['byUid'] }> {
  const { uidValidity, exists } = await client.mailboxOpen(path, { readOnly: true });
  const byUid: Found['byUid'] = new Map();
  if (exists > 0) {
    for await (const { uid, source } of client.fetch('1:*', { uid: true, source: true })) {
      if (source) byUid.set(uid, { messageId: messageIdOf(source), sha256: sha256(source) });
    }
  }
  return { uidValidity, byUid };
}

/** UIDVALIDITY outlives a rename, and is unique in a namespace. */
function spaceOf(mailbox: string, uidValidity: bigint): string {
  return `${mailbox.startsWith('Public/') ? 'public' : 'own'} ${uidValidity}`;
}
