import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { MailboxMarks } from '../../agent/mailstore/format.ts';
import { raiseRoot, type MailboxRaise } from '../../agent/mailstore/raise.ts';
import { survey } from '../../agent/mailstore/survey.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import { ImapSession } from '../lab/imap-session.ts';
import { createLab, labObstacle, type Lab, type LabHost, type LabOptions } from '../lab/lab.ts';

let lab: Lab | null = null;
afterEach(async () => {
  await lab?.dispose();
  lab = null;
});

const user = 'anna';
const mailboxes = ['INBOX', 'LogOnly', 'NoIndex', 'Rotated', 'Behind', 'Ahead', 'Empty', 'Never'];
const margin = { uids: 1000, modseqs: 1000 };
const extra = 'mail_index_log_rotate_min_size = 512\nmail_index_log_rotate_max_size = 1k\nmail_index_log_rotate_min_age = 0\n';

/** What clients have seen: mailbox, UIDVALIDITY and UID, and the Message-ID under it. */
class Sightings {
  readonly #seen = new Map<string, string>();
  readonly reused: string[] = [];

  note(mailbox: string, uidValidity: bigint, uid: number, messageId: string): void {
    const name = `${mailbox} ${uidValidity} ${uid}`;
    const before = this.#seen.get(name);
    if (before !== undefined && before !== messageId) this.reused.push(`${name}: ${before}, then ${messageId}`);
    this.#seen.set(name, messageId);
  }
}

async function seeAll(
  host: LabHost,
  sightings: Sightings,
): Promise<Map<string, { uidValidity: bigint; uidNext: number; modseq: bigint; ids: string[] }>> {
  const session = await ImapSession.open(host.dovecot.imap, user, host.dovecot.password);
  const found = new Map<string, { uidValidity: bigint; uidNext: number; modseq: bigint; ids: string[] }>();
  for (const mailbox of mailboxes) {
    const open = await session.client.mailboxOpen(mailbox);
    const ids: string[] = [];
    for await (const message of open.exists > 0 ? session.client.fetch('1:*', { uid: true, envelope: true }) : []) {
      const id = message.envelope?.messageId ?? '';
      sightings.note(mailbox, open.uidValidity, message.uid, id);
      ids.push(`${message.uid} ${id}`);
    }
    found.set(mailbox, { uidValidity: open.uidValidity, uidNext: open.uidNext, modseq: open.highestModseq ?? 0n, ids });
  }
  await session.close();
  return found;
}

async function append(host: LabHost, mailbox: string, ids: readonly string[]): Promise<number[]> {
  const session = await ImapSession.open(host.dovecot.imap, user, host.dovecot.password);
  const uids: number[] = [];
  for (const id of ids) {
    const done = await session.client.append(mailbox, `Message-ID: <${id}>\r\nSubject: ${id}\r\n\r\n${id}\r\n`);
    uids.push((done && done.uid) || 0);
  }
  await session.close();
  return uids;
}

function dirOf(host: LabHost, mailbox: string, layout: string): string {
  return join(host.storeDir, user, mailbox === 'INBOX' ? '' : layout === 'fs' ? mailbox : `.${mailbox}`);
}

/** The mailbox `Ahead` of B gets A's messages and A's list, and keeps its own index. */
async function takeAhead(a: LabHost, b: LabHost, layout: string, separate: boolean): Promise<void> {
  const [from, to] = [dirOf(a, 'Ahead', layout), dirOf(b, 'Ahead', layout)];
  for (const part of ['cur', 'new']) await b.run('cp', ['-a', `${join(from, part)}/.`, join(to, part)]);
  const list = (host: LabHost) =>
    join(
      separate ? dirOf(host, 'Ahead', layout).replace(host.storeDir, join(host.disk, 'control')) : dirOf(host, 'Ahead', layout),
      'dovecot-uidlist',
    );
  await b.run('cp', ['-a', list(a), list(b)]);
}

/** A has a tail that B, a copy of what A was some time before, does not have. Both are stopped. */
async function loseTail(
  mail: LabOptions['mail'] & object,
): Promise<{ a: LabHost; b: LabHost; sightings: Sightings; oldModseq: bigint; idsOfAhead: string[] }> {
  lab = await createLab({ hosts: 2, mail: { ...mail, extra } });
  const [a, b] = [lab.host(0), lab.host(1)];
  const sightings = new Sightings();
  await a.dovecot.start();
  const session = await ImapSession.open(a.dovecot.imap, user, a.dovecot.password);
  for (const mailbox of mailboxes.filter((each) => each !== 'INBOX')) await session.client.mailboxCreate(mailbox);
  for (const mailbox of mailboxes.filter((each) => each !== 'Empty' && each !== 'Never')) {
    await append(
      a,
      mailbox,
      Array.from({ length: 4 }, (_, i) => `${mailbox}-${i}@kept`),
    );
    await session.client.mailboxOpen(mailbox);
  }
  await session.client.mailboxOpen('Rotated');
  for (let i = 0; i < 30; i++) await session.client.messageFlagsSet('1:4', i % 2 ? ['\\Seen'] : ['\\Flagged'], { uid: true });
  const { highestModseq: oldModseq } = await session.client.mailboxOpen('INBOX');
  await session.client.messageFlagsAdd('2', ['\\Flagged'], { uid: true });
  await session.close();
  await seeAll(a, sightings);
  await a.dovecot.stop();
  await a.run('cp', ['-a', `${a.disk}/.`, b.disk]);

  await a.dovecot.start();
  for (const mailbox of mailboxes)
    await append(
      a,
      mailbox,
      Array.from({ length: 5 }, (_, i) => `${mailbox}-${i}@lost`),
    );
  const idsOfAhead = (await seeAll(a, sightings)).get('Ahead')?.ids ?? [];
  await a.dovecot.stop();
  return { a, b, sightings, oldModseq: oldModseq ?? 0n, idsOfAhead };
}

/** Every root of the host's disk, as the agent would raise it with the marks that the other host's disk tells. */
async function raiseAll(a: LabHost, b: LabHost, marksKnown: boolean): Promise<MailboxRaise[]> {
  const files = realFiles;
  const reports: MailboxRaise[] = [];
  for (const root of ['store', 'index', 'control'].filter((each) => existsSync(join(b.disk, each)))) {
    const marks = new Map<string, MailboxMarks>();
    for (const each of survey(files, join(a.disk, root))) if (each.uidValidity > 0) marks.set(each.mailbox, each);
    const target = { name: root, path: join(b.disk, root), staging: join(b.disk, 'raise') };
    const now = Math.floor(Date.now() / 1000);
    reports.push(
      ...(await raiseRoot(
        files,
        target,
        (mailbox) => (marksKnown ? (marks.get(mailbox) ?? null) : null),
        () => margin,
        {
          nowSeconds: now,
          breathe: async () => {},
        },
      )),
    );
  }
  return reports;
}

const layouts: [string, LabOptions['mail'] & object][] = [
  ['maildir++', { layout: 'maildir++' }],
  ['fs', { layout: 'fs' }],
  ['fs, index and control files apart', { layout: 'fs', separate: true }],
];

describe.skipIf(labObstacle() !== null)('raising UIDs after a takeover that lost a tail', () => {
  it.each(layouts)(
    '(UIDVALIDITY, UID) never names another message, and the server takes the files as its own (I4, I5) (%s)',
    async (_name, mail) => {
      const { a, b, sightings, oldModseq, idsOfAhead } = await loseTail(mail);
      const layout = mail.layout ?? '';
      if (!mail.separate) {
        rmSync(join(dirOf(b, 'LogOnly', layout), 'dovecot.index'), { force: true });
        const noIndex = dirOf(b, 'NoIndex', layout);
        for (const name of readdirSync(noIndex)) if (name.startsWith('dovecot.index')) rmSync(join(noIndex, name));
        expect(existsSync(join(dirOf(b, 'Rotated', layout), 'dovecot.index.log.2'))).toBe(true);
        // The index knows one message more than the list.
        const list = join(dirOf(b, 'Behind', layout), 'dovecot-uidlist');
        const lines = readFileSync(list, 'latin1').trimEnd().split('\n');
        writeFileSync(
          list,
          `${lines
            .slice(0, -1)
            .join('\n')
            .replace(/ N[0-9]+/, ' N1')}\n`,
          'latin1',
        );
        // A message that came across before the list that names it.
        const [source] = readdirSync(join(dirOf(a, 'INBOX', layout), 'cur')).filter((name) =>
          readFileSync(join(dirOf(a, 'INBOX', layout), 'cur', name), 'latin1').includes('INBOX-3@lost'),
        );
        await b.run('cp', ['-a', join(dirOf(a, 'INBOX', layout), 'cur', source ?? ''), join(dirOf(b, 'INBOX', layout), 'cur')]);
      }
      // The list and the messages are newer than the index, as they are for a moment in each delivery.
      await takeAhead(a, b, layout, mail.separate ?? false);
      const before = new Map([...survey(realFiles, join(a.disk, 'store'))].map((each) => [each.mailbox, each]));
      const reports = await raiseAll(a, b, true);
      console.log(reports.map((each) => JSON.stringify(each)).join('\n'));

      await b.dovecot.start();
      for (const round of ['first', 'restarted']) {
        for (const mailbox of mailboxes) {
          const highest = reports.filter((each) => each.mailbox.endsWith(mailbox === 'INBOX' ? user : mailbox));
          const uids = await append(b, mailbox, [`${mailbox}-${round}@new`]);
          const least = Math.max(...highest.map(({ uidNext }) => uidNext?.after ?? 0));
          if (round === 'first' && mailbox !== 'INBOX' && mailbox !== 'Behind') expect([mailbox, uids[0]]).toEqual([mailbox, least]);
          else expect(uids[0]).toBeGreaterThanOrEqual(least);
        }
        const seen = await seeAll(b, sightings);
        expect(seen.get('Ahead')?.ids.slice(0, 9)).toEqual(idsOfAhead);
        for (const [mailbox, { uidValidity, modseq }] of seen) {
          const path = mailbox === 'INBOX' ? user : layout === 'fs' ? `${user}/${mailbox}` : `${user}/.${mailbox}`;
          const was = before.get(path);
          if (mail.separate) continue;
          expect([mailbox, Number(uidValidity)]).toEqual([mailbox, was?.uidValidity]);
          expect(Number(modseq)).toBeGreaterThan(was?.highestModseq ?? 0);
        }
        await b.dovecot.stop();
        await b.dovecot.start();
      }
      // Changes since before the copy was made, and not all there is.
      const session = await ImapSession.open(b.dovecot.imap, user, b.dovecot.password);
      await session.client.mailboxOpen('INBOX');
      const changed: number[] = [];
      for await (const { uid } of session.client.fetch('1:4', { uid: true, flags: true }, { changedSince: oldModseq, uid: true }))
        changed.push(uid);
      await session.close();
      expect(changed).toEqual([2]);
      expect(sightings.reused).toEqual([]);
      const alarms = b.dovecot.alarmingLogLines();
      expect(mail.separate ? alarms : alarms.filter((line) => !line.includes('Behind'))).toEqual([]);
    },
  );

  it('without it, a client that has seen the tail is deceived', async () => {
    const { b, sightings } = await loseTail({ layout: 'maildir++' });
    await b.dovecot.start();
    for (const mailbox of mailboxes) await append(b, mailbox, [`${mailbox}@new`]);
    await seeAll(b, sightings);
    expect(sightings.reused.length).toBe(mailboxes.length);
  });
});
