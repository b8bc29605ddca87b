import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { audit, type AuditTotals } from '../../tools/audit/audit.ts';
import { showDifference } from '../../tools/audit/snapshot.ts';
import { makeStore } from '../../tools/mailgen/make.ts';
import { ChangeLoop } from '../../tools/mailgen/change.ts';
import { checkRecord } from '../lab/check-record.ts';
import type { Dovecot } from '../lab/dovecot.ts';
import { ImapSession } from '../lab/imap-session.ts';
import { runLoad, usualUsers } from '../lab/imap-load.ts';
import { createLab, labObstacle, type Lab, type LabOptions } from '../lab/lab.ts';
import { namespaceNames } from '../lab/namespaces.ts';
import { isAlive, run } from '../lab/processes.ts';
import { acceptsTcp, waitFor } from '../lab/waiting.ts';

const waitMs = 60_000;
let lab: Lab | null = null;
afterEach(async () => {
  await lab?.dispose();
  lab = null;
});

async function makeLab(options: LabOptions): Promise<Lab> {
  lab = await createLab(options);
  return lab;
}

/** Differences as lines, and the totals. */
async function auditBoth(a: Dovecot, b: Dovecot, users: readonly string[]): Promise<{ lines: string[]; totals: AuditTotals }> {
  const endpoint = (server: Dovecot) => ({ ...server.imap, secure: false, user: '', password: server.password });
  const login = (user: string) => ({ a: { user, password: a.password }, b: { user, password: b.password } });
  const steps = audit({ a: endpoint(a), b: endpoint(b), users: users.map(login) });
  const lines: string[] = [];
  for (;;) {
    const step = await steps.next();
    if (step.done) return { lines, totals: step.value };
    lines.push(showDifference(step.value));
  }
}

describe.skipIf(labObstacle() !== null)('the lab', () => {
  it.each<[string, LabOptions['mail'] & object]>([
    ['maildir++', { layout: 'maildir++', publicNamespace: true }],
    ['fs, indexes and control files apart', { layout: 'fs', separate: true }],
  ])('finds a cold copy of a used store the same, and one flag that differs (%s)', async (_name, mail) => {
    const { hosts } = await makeLab({ hosts: 2, mail });
    const [a, b] = [hosts[0]!, hosts[1]!];
    await a.dovecot.start();
    const sharedMailboxes = mail.publicNamespace ? ['Public/team'] : [];
    const record = await runLoad({ dovecot: a.dovecot, seed: 'lab', seconds: 5, acknowledgedMin: 30, sharedMailboxes });
    console.log(record.summary());
    expect(record.acknowledged.length).toBeGreaterThan(15);
    expect(await checkRecord(record, a.dovecot)).toEqual([]);
    await a.dovecot.stop();
    await a.run('cp', ['-a', `${a.disk}/.`, b.disk]);
    await a.dovecot.start();
    await b.dovecot.start();

    const same = await auditBoth(a.dovecot, b.dovecot, usualUsers);
    expect(same.lines).toEqual([]);
    expect(same.totals.messages).toBeGreaterThan(15);
    expect(await checkRecord(record, b.dovecot)).toEqual([]);
    expect(b.dovecot.alarmingLogLines()).toEqual([]);
    expect(b.dovecot.errorLogLines()).toEqual([]);

    const session = await ImapSession.open(b.dovecot.imap, 'anna', b.dovecot.password);
    await session.client.mailboxOpen('INBOX');
    const [uid] = (await session.client.search({ flagged: false }, { uid: true })) || [];
    await session.client.messageFlagsAdd(String(uid), ['\\Flagged'], { uid: true });
    await session.close();
    const { lines } = await auditBoth(a.dovecot, b.dovecot, usualUsers);
    expect(lines.map((line) => line.replace(/a has .*/, ''))).toEqual([
      'anna "INBOX": HIGHESTMODSEQ: ',
      `anna "INBOX" uid ${uid}: flags: `,
      `anna "INBOX" uid ${uid}: MODSEQ: `,
    ]);
  });

  it('notices a copy that is not whole, and its tool says so by its exit code', async () => {
    const { hosts } = await makeLab({ hosts: 2 });
    const [a, b] = [hosts[0]!, hosts[1]!];
    await a.dovecot.start();
    const weights = { append: 1 };
    const record = await runLoad({
      dovecot: a.dovecot,
      seed: 'torn',
      seconds: 3,
      acknowledgedMin: 40,
      users: ['anna'],
      lmtpClients: 0,
      weights,
    });
    await a.dovecot.stop();
    await a.run('cp', ['-a', `${a.disk}/.`, b.disk]);
    const inbox = join(b.storeDir, 'anna');
    const files = ['new', 'cur'].flatMap((sub) => readdirSync(join(inbox, sub)).map((name) => join(inbox, sub, name)));
    const [lost, changed, doubled] = files as [string, string, string];
    writeFileSync(changed, readFileSync(changed, 'latin1').replace(/.$/m, '~'), 'latin1');
    await a.dovecot.start();
    await b.dovecot.start();

    const url = (server: Dovecot, password = server.password) => `imap://anna:${password}@${server.imap.host}:${server.imap.port}`;
    const tool = (...args: string[]) => run(process.execPath, ['--import', 'tsx', 'tools/audit/main.ts', ...args], { mayFail: true });
    const altered = await tool('--a', url(a.dovecot), '--b', url(b.dovecot));
    expect(altered).toMatchObject({ code: 1, stderr: '' });
    expect(altered.stdout).toMatch(/body: a has/);
    expect(await checkRecord(record, b.dovecot)).toEqual([expect.stringMatching(/^I5: anna INBOX/)]);

    await b.dovecot.stop();
    rmSync(lost);
    const base = basename(doubled).replace(/:2,.*/, '');
    for (const flags of ['F', 'FS']) copyFileSync(doubled, join(inbox, 'cur', `${base}:2,${flags}`));
    await b.dovecot.start();
    // Dovecot may hang up over the lost message, once or again and again: either way it shows.
    const torn = await tool('--a', url(a.dovecot), '--b', url(b.dovecot));
    expect(torn).toMatchObject({ code: 1, stderr: '' });
    expect(torn.stdout).toMatch(/message: a has it, b has none|open: a has it, b has hung up/);
    expect((await checkRecord(record, b.dovecot)).join('\n')).toMatch(/I1: anna lost/);
    await waitFor('the word of the duplicate in the log', waitMs, () => /duplicate/.test(b.dovecot.alarmingLogLines().join('\n')));

    expect((await tool('--a', url(a.dovecot), '--b', url(a.dovecot))).code).toBe(0);
    const refused = await tool('--a', url(a.dovecot), '--b', url(a.dovecot, 'wrong'));
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringMatching(/server b, user anna/) as string });
    expect(await tool('--a', 'nonsense', '--b', url(b.dovecot))).toMatchObject({ code: 2 });
  });

  it('serves what the generator makes and changes, without a complaint', async () => {
    const { hosts } = await makeLab({ hosts: 1 });
    const { dovecot, storeDir } = hosts[0]!;
    const owner = { uid: dovecot.mailUid, gid: dovecot.mailGid };
    const made = makeStore({ seed: 1, dir: storeDir, messages: 300, users: 2, mailboxesPerUser: 26, owner });
    const loop = new ChangeLoop({ seed: 2, dir: storeDir, owner });
    for (let i = 0; i < 300; i++) loop.changeOnce();
    await dovecot.start();
    const { lines, totals } = await auditBoth(dovecot, dovecot, made.users);
    expect(lines).toEqual([]);
    expect(totals.messages).toBeGreaterThan(100);
    const session = await ImapSession.open(dovecot.imap, 'user0001', dovecot.password);
    expect((await session.client.list()).some((each) => each.subscribed)).toBe(true);
    await session.close();
    expect(dovecot.alarmingLogLines()).toEqual([]);
    expect(dovecot.errorLogLines()).toEqual([]);
  });

  it('cuts and mends cables, kills servers, and leaves nothing behind', async () => {
    const made = await makeLab({ hosts: 2, networks: 2, diskDir: '/dev/shm' });
    const [a, b] = [made.host(0), made.host(1)];
    await a.dovecot.start();
    await b.dovecot.start();
    const reach = async (address: string) =>
      (await a.run('timeout', ['1', 'bash', '-c', `</dev/tcp/${address}/143`], { mayFail: true })).code === 0;
    await waitFor('the first network', waitMs, () => reach(b.addresses[0]!));
    made.network.cut('b');
    expect(await reach(b.addresses[0]!)).toBe(false);
    await waitFor('the second network', waitMs, () => reach(b.addresses[1]!));
    made.network.mend('b');
    await waitFor('the mended cable', waitMs, () => reach(b.addresses[0]!));

    await a.dovecot.kill9();
    expect(await acceptsTcp(a.dovecot.imap.host, a.dovecot.imap.port)).toBe(false);
    await a.dovecot.start();
    const sleeper = a.start('sleep', ['1000']);
    const dirs = [made.dir, a.disk];
    const namespaces = made.hosts.map((host) => host.namespace);
    expect(namespaceNames()).toEqual(expect.arrayContaining(namespaces));
    await made.dispose();
    expect(isAlive(sleeper.pid)).toBe(false);
    expect(dirs.filter((dir) => existsSync(dir))).toEqual([]);
    expect(namespaceNames().filter((name) => namespaces.includes(name))).toEqual([]);
  });
});
