import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../../agent/config/config.ts';
import { takeoverDefaults } from '../../agent/config/takeover-sections/takeover.ts';
import { metaKey } from '../../agent/journal/keys.ts';
import { packNumber } from '../../agent/journal/replica-index.ts';
import { maildirFormat } from '../../agent/mailstore/maildir.ts';
import { mailboxesBelow, readNumbering } from '../../agent/mailstore/mailbox-walk.ts';
import { openLmdbKv } from '../../agent/platform/lmdb-kv.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import { markWrites, marksToldWrite, primaryEpochWrite } from '../../agent/replicate/standby/marks.ts';
import { raiseAll } from '../../agent/wiring/takeover/raise.ts';
import { Dovecot } from '../lab/dovecot.ts';
import { ImapSession } from '../lab/imap-session.ts';
import type { Release } from '../lab/release.ts';
import { freePort } from '../lab/small-pair.ts';

const user = 'anna';
const messages = 2250;
const mailOwner = 5000;

async function server(dir: string, name: string, release: Release): Promise<Dovecot> {
  const [imapPort, lmtpPort] = [await freePort(), await freePort()];
  return new Dovecot({ dir: join(dir, `d${name}`), storeDir: join(dir, name), address: '127.0.0.1', imapPort, lmtpPort, release });
}

/** Every UID of a mailbox and the Message-ID under it, noted; what a UID named before must be the same. */
async function see(session: ImapSession, mailbox: string, seen: Map<string, string>): Promise<string[]> {
  const wrong: string[] = [];
  const { uidValidity } = await session.client.mailboxOpen(mailbox);
  for await (const { uid, envelope } of session.client.fetch('1:*', { uid: true, envelope: true })) {
    const key = `${uidValidity} ${uid}`;
    const id = envelope?.messageId ?? '';
    if ((seen.get(key) ?? id) !== id) wrong.push(`${key}: ${seen.get(key)}, then ${id}`);
    seen.set(key, id);
  }
  return wrong;
}

/** What the standby was told of each mailbox before the primary was last heard. */
function marksOf(root: string): Parameters<typeof markWrites>[1] {
  return [...mailboxesBelow(realFiles, root)].flatMap((at) => {
    const { uidlist, index, log } = readNumbering(realFiles, at);
    const marks = maildirFormat.marks({
      ...(uidlist && { uidlist: uidlist.data }),
      ...(index && { index: index.data }),
      ...(log && { log: log.data }),
    });
    return marks
      ? [['mail', at.mailbox, marks.uidValidity, marks.uidNext, marks.highestModseq] as [string, string, number, number, number]]
      : [];
  });
}

export interface CopyStorm {
  /** UIDs of the mailbox that clients saw before the takeover. */
  seen: number;
  /** Those that named another message after it. */
  reused: string[];
  /** What the second server complained of. */
  log: string[];
}

/** How many UIDs a storm takes at least. */
export const stormUids = 3 * messages;

/**
 * Copies and appends into a quiet mailbox, moments after the primary was last heard; then the numbers of the copy are
 * raised, and a server on it takes mail.
 */
export async function copyStorm(release: Release): Promise<CopyStorm> {
  const dir = mkdtempSync(join(tmpdir(), 'mailtwin-storm-'));
  chmodSync(dir, 0o755);
  try {
    return await stormIn(dir, release);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

async function stormIn(dir: string, release: Release): Promise<CopyStorm> {
  const [a, b] = [await server(dir, 'a', release), await server(dir, 'b', release)];
  const inbox = join(dir, 'a', user);
  for (const part of ['cur', 'new', 'tmp']) mkdirSync(join(inbox, part), { recursive: true });
  for (let i = 0; i < messages; i++)
    writeFileSync(join(inbox, 'cur', `${1_700_000_000 + i}.M${i}P1.h:2,S`), `Message-ID: <old-${i}@h>\nSubject: old ${i}\n\n${i}\n`);
  execFileSync('chown', ['-R', `${mailOwner}:${mailOwner}`, join(dir, 'a')]);
  const found: CopyStorm = { seen: 0, reused: [], log: [] };
  const kv = openLmdbKv(join(dir, 'journal'));
  try {
    await a.start();
    let session = await ImapSession.open(a.imap, user, a.password);
    await session.client.mailboxCreate('Quiet');
    for (const id of ['q1', 'q2']) await session.client.append('Quiet', `Message-ID: <${id}@h>\r\n\r\n${id}\r\n`);
    const seen = new Map<string, string>();
    await see(session, 'INBOX', new Map());
    await see(session, 'Quiet', seen);
    await session.close();
    await a.stop();
    // Last heard: from here on nothing arrives.
    execFileSync('cp', ['-a', join(dir, 'a'), join(dir, 'b')]);
    const now = Date.now();
    kv.commit([
      primaryEpochWrite(1),
      ...markWrites(kv, marksOf(join(dir, 'a')), now),
      marksToldWrite({ epoch: 1, asOfMs: now }),
      [metaKey('totals:mail'), Buffer.concat([packNumber(messages + 2), packNumber(messages * 50)])],
    ]);
    await a.start();
    session = await ImapSession.open(a.imap, user, a.password);
    await session.client.mailboxOpen('INBOX');
    for (let i = 0; i < 3; i++) await session.client.messageCopy('1:*', 'Quiet');
    for (let i = 0; i < 20; i++) await session.client.append('Quiet', `Message-ID: <run-${i}@h>\r\n\r\n${i}\r\n`);
    await see(session, 'Quiet', seen);
    found.seen = seen.size;
    await session.close();
    await a.stop();

    const root = { name: 'mail', path: join(dir, 'b'), format: 'maildir', mayBeEmpty: false, exclude: [], staging: join(dir, 'stage') };
    chownSync(dir, 0, 0);
    await raiseAll({
      kv,
      config: { roots: [root], state: join(dir, 'state') } as unknown as Config,
      marginMin: takeoverDefaults.uidMarginMin,
    });
    await b.start();
    session = await ImapSession.open(b.imap, user, b.password);
    for (let i = 0; i < 5; i++) await session.client.append('Quiet', `Message-ID: <after-${i}@h>\r\n\r\n${i}\r\n`);
    found.reused = await see(session, 'Quiet', seen);
    await session.close();
    found.log = b.alarmingLogLines();
    return found;
  } finally {
    await Promise.all([a.kill9(), b.kill9()]);
    await kv.close();
  }
}
