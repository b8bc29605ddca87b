import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import type { MigrateStatus } from '../../protocol/migrate.ts';
import { servicePassword, type Appliance } from '../lab/appliance.ts';
import { AppliancePair } from '../lab/appliance-pair.ts';
import { labObstacle } from '../lab/lab.ts';
import { messagesIn, changesBetween, snapshotMail } from '../lab/mail-snapshots.ts';
import { releaseObstacle } from '../lab/release.ts';
import { waitFor } from '../lab/waiting.ts';

const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const waitMs = 120_000;
const obstacle = labObstacle() ?? (await releaseObstacle('trixie'));
if (obstacle !== null) console.log(`no Debian 13: ${obstacle}`);

async function statusOf(node: Appliance): Promise<MigrateStatus & { code: number | null }> {
  const { stdout, code } = await node.agent.cli(['migrate', 'status', '--json'], { mayFail: true });
  return { ...(JSON.parse(stdout) as MigrateStatus), code };
}

const stateOf = ({ points }: MigrateStatus, id: string) => points.find((point) => point.id === id)?.state ?? null;

test.skipIf(obstacle !== null)(
  'an upgrade of both nodes, the standby first: migrate status shows where the pair stands, and the next step',
  async () => {
    await using pair = new AppliancePair({ base, releases: { a: 'bookworm', b: 'bookworm' }, checksConfig: true });
    await pair.start();
    const { a, b } = pair;
    const look = () => snapshotMail({ host: pair.address, port: 143 }, servicePassword, ['probe']);
    /** What the two tell each other is there within a minute; what this node is asked is read at once. */
    const known = (node: Appliance, is: string) =>
      waitFor(`mail-${node.name} to know what both run`, waitMs, async () => {
        const status = await statusOf(node);
        return status.releases.is === is && status.releases.text.match(/not heard/) === null ? status : null;
      });

    // Nothing to upgrade.
    const before = await known(a, 'same');
    expect(before.releases.text).toMatch(/^both nodes run debian \d+ and dovecot 2\.3\.\d+.*: nothing is to be upgraded$/);
    expect(stateOf(before, 'both-upgraded')).toBeNull();
    const mail = await look();
    expect(messagesIn(mail)).toBeGreaterThan(0);

    // The standby is upgraded, and its configuration is that of the old release still: the new server says so.
    const config = join(dirname(b.store), 'dovecot/dovecot.conf');
    const oldConfig = readFileSync(config, 'utf8');
    await b.upgrade('trixie');
    const newConfig = readFileSync(config, 'utf8');
    await pair.settled(a);
    writeFileSync(config, oldConfig);
    const unready = await known(b, 'differ');
    expect(unready).toMatchObject({ code: 1, releases: { ahead: 'mail-b' }, next: { id: 'configuration', state: 'open' } });
    expect(unready.next?.remains).toContain('doveconf');
    writeFileSync(config, newConfig.replace(/^dovecot_storage_version.*$/m, 'dovecot_storage_version = 2.3.0'));

    // Ready, but for the verification.
    expect((await known(b, 'differ')).next).toMatchObject({ id: 'verified' });
    expect((await a.agent.cli(['verify'], { timeoutMs: waitMs })).code).toBe(0);
    const ready = await waitFor('mail-b to be ready', waitMs, async () => {
      const status = await statusOf(b);
      return status.next?.id === 'switched' ? status : null;
    });
    expect(ready.next?.command).toBe('mailtwin switchover');
    expect(['configuration', 'units', 'filled', 'way-back'].map((id) => stateOf(ready, id))).toEqual(['done', 'done', 'done', 'done']);
    expect(ready.points.find(({ id }) => id === 'way-back')?.title).toMatch(
      /dovecot 2\.3.* dovecot 2\.4.* dovecot_storage_version 2\.3\.0$/,
    );
    expect((await known(a, 'differ')).next).toMatchObject({ state: 'not-known', command: 'mailtwin migrate status (on mail-b)' });
    const { stdout } = await b.agent.cli(['migrate', 'status'], { mayFail: true });
    expect(stdout).toMatch(/^open {2}mail-b serves\n.*\n {6}mailtwin switchover$/m);
    expect(stdout).toMatch(/^then {2}mail-a has the newer release, too$/m);

    // Switched over: the other one remains.
    expect((await b.agent.cli(['switchover', '--confirm', 'mail-a'], { mayFail: true, timeoutMs: waitMs })).code).toBe(0);
    await pair.settled(b);
    expect(changesBetween(mail, await look())).toEqual([]);
    expect((await known(b, 'differ')).next).toMatchObject({ id: 'both-upgraded' });
    expect((await known(a, 'differ')).next).toMatchObject({ id: 'both-upgraded' });

    // Away for its upgrade: what it runs is not known.
    await a.agent.stop();
    const away = await waitFor('mail-b to hear mail-a no more', waitMs, async () => {
      const status = await statusOf(b);
      return status.next?.state === 'not-known' ? status : null;
    });
    expect(away.releases.text).toContain('mail-a is not heard');
    await a.upgrade('trixie');
    await pair.settled(b);
    const after = await known(b, 'same');
    expect(after.releases.text).toMatch(/^both nodes run debian \d+ and dovecot 2\.4\..*: nothing is to be upgraded$/);
    expect([stateOf(after, 'both-upgraded'), after.next, after.code]).toEqual([null, null, 0]);
    expect(changesBetween(mail, await look())).toEqual([]);
    expect([a, b].flatMap((node) => node.alarmingLogLines())).toEqual([]);
  },
);
