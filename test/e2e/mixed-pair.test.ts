import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { dovecotWays } from '../../agent/platform/dovecot-ways.ts';
import type { DoctorReport } from '../../protocol/control.ts';
import { servicePassword, type Appliance } from '../lab/appliance.ts';
import { AppliancePair } from '../lab/appliance-pair.ts';
import type { Endpoint } from '../lab/dovecot.ts';
import { checkRecord } from '../lab/check-record.ts';
import { runLoad, usualUsers } from '../lab/imap-load.ts';
import { labObstacle } from '../lab/lab.ts';
import { LoadRecord } from '../lab/load-record.ts';
import { changesBetween, messagesIn, snapshotMail } from '../lab/mail-snapshots.ts';
import { releaseObstacle } from '../lab/release.ts';

const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const seed = process.env['MAILTWIN_SEED'] ?? 'mixed';
const obstacle = labObstacle() ?? (await releaseObstacle('trixie'));
if (obstacle !== null) console.log(`no Debian 13: ${obstacle}`);

/** Few deletions, which so small a store would hold; no renamed or deleted mailboxes, of which a list may tell until their directory changes again. */
const weights = { append: 16, look: 10, flag: 22, keyword: 12, copy: 8, move: 8, expunge: 1, create: 3, subscribe: 2, unsubscribe: 1 };

const configOf = (node: Appliance) => join(dirname(node.store), 'dovecot/dovecot.conf');

function editConfig(node: Appliance, edit: (text: string) => string): void {
  const text = readFileSync(configOf(node), 'utf8');
  writeFileSync(configOf(node), edit(text));
}

async function mailPlaces(node: Appliance) {
  const { stdout } = await node.agent.cli(['doctor', '--json'], { mayFail: true, timeoutMs: 120_000 });
  return (JSON.parse(stdout) as DoctorReport).findings.filter(({ id }) => id === 'mail-places');
}

test.skipIf(obstacle !== null)(
  'Dovecot 2.3 on one node and 2.4 on the other: there and back, a client sees the same (I5), each way of the table',
  async () => {
    const storageVersions = ['2.3.0', '2.4.0'];
    const ways = [
      ['2.3', '2.4'],
      ['2.4', '2.3'],
    ].map(([from, to]) => ({ from, to, format: 'maildir', storageVersions }));
    // What this test does is what the table may say.
    expect(dovecotWays).toEqual(ways);
    await using pair = new AppliancePair({ base, releases: { a: 'bookworm', b: 'trixie' }, checksConfig: true, init: 'systemd' });
    await pair.start();
    const { a, b } = pair;
    const [imap, lmtp] = [143, 24].map((port) => ({ host: pair.address, port })) as [Endpoint, Endpoint];
    const record = new LoadRecord();
    const work = (name: string, seconds = 1.5, more = 5) =>
      runLoad({
        dovecot: { imap, lmtp, password: servicePassword, isRunning: true },
        seed: `${seed}/${name}`,
        seconds,
        acknowledgedMin: record.acknowledged.length + more,
        weights,
        record,
      });
    const look = () => snapshotMail(imap, servicePassword, usualUsers);
    const changes: string[] = [];
    let last = await look();
    const switchTo = async (next: Appliance) => {
      const before = await look();
      expect(messagesIn(before)).toBeGreaterThan(20);
      // What mail and its readers do between two switches is seen: so would be what a switch does.
      expect(changesBetween(last, before)).not.toEqual([]);
      const { code, stdout, stderr } = await next.agent.cli(['switchover', '--confirm', `mail-${pair.other(next).name}`], {
        mayFail: true,
        timeoutMs: 120_000,
      });
      expect(code, stdout + stderr).toBe(0);
      await pair.settled(next);
      last = await look();
      changes.push(...changesBetween(before, last).map((line) => `served by mail-${next.name}: ${line}`));
    };

    // Where 2.4 keeps its mail is read from its own configuration, also the INBOX that Debian 13 puts elsewhere.
    expect(await mailPlaces(b)).toMatchObject([{ level: 'pass' }]);
    editConfig(b, (text) => `${text}mail_inbox_path = /var/mail/%{user}\n`);
    expect(await mailPlaces(b)).toMatchObject([
      { level: 'fail', evidence: expect.stringContaining('mail_inbox_path leads to /var/mail/') as string },
    ]);
    editConfig(b, (text) => text.replace(/^mail_inbox_path.*\n/m, ''));

    await work('first', 3, 40);
    for (const version of storageVersions) {
      editConfig(b, (text) => text.replace(/^dovecot_storage_version.*$/m, `dovecot_storage_version = ${version}`));
      await switchTo(b);
      await work(`${version}/there`);
      await switchTo(a);
      await work(`${version}/back`);
    }
    expect(changes).toEqual([]);
    expect(await checkRecord(record, { imap, password: servicePassword })).toEqual([]);
    const logs = [a, b].flatMap((node) => [...node.alarmingLogLines(), ...node.errorLogLines()]);
    expect(logs).toEqual([]);
    // Each was served by its own release.
    const serverOf = (node: Appliance) => /Dovecot v(\d\.\d)/.exec(readFileSync(join(dirname(configOf(node)), 'dovecot.log'), 'utf8'))?.[1];
    expect([serverOf(a), serverOf(b)]).toEqual(['2.3', '2.4']);
    console.log(`seed ${seed}: ${record.summary()}`);
  },
);
