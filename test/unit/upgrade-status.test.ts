import { describe, expect, it } from 'vitest';
import { migrateStatus, type MigrateFacts } from '../../agent/failover/migrate-status.ts';
import { upgradeChecks, type UpgradeFacts } from '../../agent/failover/upgrade-status.ts';
import { dovecotWays } from '../../agent/platform/dovecot-ways.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import type { Exec } from '../../agent/platform/exec.ts';
import { ReleaseReader, systemOf } from '../../agent/services/releases.ts';
import type { DoctorFinding } from '../../protocol/control.ts';
import type { MigratePoint } from '../../protocol/migrate.ts';
import type { Releases } from '../../protocol/releases.ts';
import { SimClock } from '../sim/sim-clock.ts';

const old: Releases = { system: 'debian 12', mailServer: 'dovecot 2.3.19.1', storageVersion: null };
const young: Releases = { system: 'debian 13', mailServer: 'dovecot 2.4.1', storageVersion: '2.3.0' };

const finding = (id: string, level: DoctorFinding['level'], summary = ''): DoctorFinding => ({
  id,
  level,
  summary,
  evidence: 'as seen',
  remedy: `mend ${id}`,
});
const wellFound = [finding('config', 'pass'), finding('unit', 'pass'), finding('mail-config', 'pass'), finding('mail-places', 'pass')];

type Side = { role: 'primary' | 'standby'; releases: Releases };

/** As mail-b tells it: `b` is this node, `a` the other one. */
function factsOf(a: Side, b: Side, change: Partial<UpgradeFacts> = {}, more: Partial<MigrateFacts> = {}): MigrateFacts {
  return {
    paired: true,
    fill: { complete: true, filesDone: 10, filesTotal: 10, bytesDone: 10, bytesTotal: 10 },
    bytesPerSecond: null,
    replication: { connected: true, phase: 'streaming', lagChanges: 0, lagBytes: 0, lagSeconds: 0 },
    roles: [{ name: 'lan', mapped: true, proven: true }],
    versions: { agentOlder: false, agentNewer: false, serverOlder: false, text: 'mailtwin 0.1.0 here' },
    verify: { result: 'clean', secondsAgo: 60 },
    role: b.role,
    serviceSeconds: null,
    upgrade: {
      own: { node: 'mail-b', ...b },
      peer: { node: 'mail-a', ...a, connected: true, heardAt: '2026-11-30T08:00:00.000Z' },
      formats: ['maildir'],
      copyComplete: true,
      unfinished: null,
      findings: b.role === 'standby' ? wellFound : null,
      ...change,
    },
    ...more,
  };
}

/** mail-b was upgraded and is the standby still. */
const upgraded = (change: Partial<UpgradeFacts> = {}, more: Partial<MigrateFacts> = {}) =>
  factsOf({ role: 'primary', releases: old }, { role: 'standby', releases: young }, change, more);
/** mail-b was upgraded and serves. */
const serving = (change: Partial<UpgradeFacts> = {}) =>
  factsOf({ role: 'standby', releases: old }, { role: 'primary', releases: young }, change);

const point = (facts: MigrateFacts, id: MigratePoint['id']) => migrateStatus(facts).points.find((each) => each.id === id);
const nextOf = (facts: MigrateFacts) => {
  const { next } = migrateStatus(facts);
  return next && { id: next.id, command: next.command };
};
const codeOf = (facts: MigrateFacts) => {
  try {
    migrateStatus(facts);
    return null;
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    return [error.code, error.exitCode, error.remedy !== ''];
  }
};

describe('the status of an upgrade, standby first', () => {
  it('says that there is nothing to upgrade where both run the same, the old or the new release', () => {
    for (const releases of [old, young]) {
      const { releases: compared, points, next } = migrateStatus(factsOf({ role: 'standby', releases }, { role: 'primary', releases }));
      expect(compared).toEqual({
        is: 'same',
        text: `both nodes run ${releases.system} and ${releases.mailServer}: nothing is to be upgraded`,
        ahead: null,
      });
      expect([points.some(({ id }) => id === 'both-upgraded'), next]).toEqual([false, null]);
    }
  });

  it('of a standby that is upgraded and ready leads to the switchover, with the way back that the table proves', () => {
    const { releases, points, next } = migrateStatus(upgraded());
    expect(releases).toMatchObject({ is: 'differ', ahead: 'mail-b' });
    expect(points.map(({ id, state }) => `${id} ${state}`)).toEqual([
      'paired done',
      'upgraded done',
      'versions done',
      'filled done',
      'caught-up done',
      'configuration done',
      'units done',
      'nics done',
      'verified done',
      'way-back done',
      'switched open',
      'both-upgraded later',
    ]);
    expect(next).toMatchObject({ id: 'switched', command: 'mailtwin switchover' });
    expect(point(upgraded(), 'way-back')?.title).toBe(
      'the way back to mail-a is proven: dovecot 2.3.19.1 was seen to serve what dovecot 2.4.1 writes with dovecot_storage_version 2.3.0',
    );
  });

  it('of a standby that is not ready says why, in the words of the doctor', () => {
    const found = (...some: DoctorFinding[]) => upgraded({ findings: [...wellFound.filter(({ id }) => id !== some[0]?.id), ...some] });
    expect(point(found(finding('mail-config', 'fail', 'the configuration is not well')), 'configuration')).toMatchObject({
      state: 'open',
      remains: 'the configuration is not well (as seen)',
      command: 'mend mail-config',
    });
    expect(nextOf(found(finding('mail-places', 'fail')))).toEqual({ id: 'configuration', command: 'mend mail-places' });
    expect(nextOf(found(finding('unit', 'fail')))).toEqual({ id: 'units', command: 'mend unit' });
    expect(nextOf(upgraded({ findings: [finding('config', 'fail')] }))).toEqual({ id: 'configuration', command: 'mend config' });
    expect(nextOf(upgraded({ copyComplete: false }))?.id).toBe('filled');
    expect(nextOf(upgraded({}, { roles: [{ name: 'lan', mapped: false, proven: false }] }))?.id).toBe('nics');
    expect(nextOf(upgraded({}, { verify: null }))?.id).toBe('verified');
    const behind = { connected: true, phase: 'streaming', lagChanges: 9, lagBytes: 9, lagSeconds: 60 };
    expect(nextOf(upgraded({}, { replication: behind }))?.id).toBe('caught-up');
    const agents = { agentOlder: true, agentNewer: false, serverOlder: false, text: 'older' };
    expect(nextOf(upgraded({}, { versions: agents }))?.id).toBe('versions');
  });

  it('is not held up by warnings, but by a configuration that nothing checks', () => {
    const warned = upgraded({ findings: [...wellFound, finding('second-server', 'warn', 'exim runs, too')] });
    expect(point(warned, 'units')).toMatchObject({ state: 'warn', remains: 'exim runs, too (as seen)' });
    expect(nextOf(warned)?.id).toBe('switched');
    expect(nextOf(upgraded({ findings: [finding('mail-config', 'warn')] }))?.id).toBe('configuration');
    expect(point(upgraded({ findings: [finding('config', 'pass')] }), 'configuration')?.state).toBe('not-known');
  });

  it('on the primary sends to the node that can tell', () => {
    const onA: MigrateFacts = factsOf({ role: 'standby', releases: young }, { role: 'primary', releases: old });
    expect(nextOf(onA)).toEqual({ id: 'configuration', command: 'mailtwin migrate status (on mail-a)' });
    expect(point(onA, 'switched')?.command).toBe('mailtwin switchover (on mail-a)');
  });

  it('after the switchover names the other node as what remains, and how to go back', () => {
    expect(nextOf(serving())).toEqual({ id: 'both-upgraded', command: 'upgrade mail-a: runbook, "From Debian 12 to 13"' });
    expect(point(serving(), 'both-upgraded')?.remains).toContain('`mailtwin switchover` on mail-a leads back');
    expect(point(serving(), 'switched')?.state).toBe('done');
    // On the old node, which is the standby now: what a way back needs of it.
    const onOld = (findings: DoctorFinding[]) =>
      factsOf({ role: 'primary', releases: young }, { role: 'standby', releases: old }, { findings });
    expect(nextOf(onOld(wellFound))?.id).toBe('both-upgraded');
    expect(nextOf(onOld([...wellFound, finding('services', 'fail')]))?.id).toBe('units');
    expect(point(onOld(wellFound), 'units')?.title).toBe('the mail services can start on mail-b, for the way back');
  });

  it('calls a way back proven only where the table has it, with its storage versions', () => {
    const [{ storageVersions }] = dovecotWays as [(typeof dovecotWays)[number]];
    const withStorage = (storageVersion: string | null) =>
      factsOf({ role: 'primary', releases: old }, { role: 'standby', releases: { ...young, storageVersion } });
    for (const version of storageVersions) expect(point(withStorage(version), 'way-back')?.state).toBe('done');
    expect(point(withStorage('2.5.0'), 'way-back')).toMatchObject({
      state: 'open',
      remains: 'mail-b has dovecot_storage_version 2.5.0; it was seen only with 2.3.0 and 2.4.0',
      command: 'set dovecot_storage_version = 2.3.0 in the Dovecot configuration of mail-b',
    });
    expect(point(withStorage(null), 'way-back')).toMatchObject({
      state: 'not-known',
      command: 'doveconf dovecot_storage_version (on mail-b)',
    });
    const newest = { ...young, mailServer: 'dovecot 2.5.0' };
    for (const unseen of [
      upgraded({ formats: ['mdbox'] }),
      factsOf({ role: 'primary', releases: old }, { role: 'standby', releases: newest }),
    ]) {
      expect(point(unseen, 'way-back')).toMatchObject({ state: 'warn', remains: expect.stringContaining('it was never seen') as string });
      // A person may go forward all the same.
      expect(nextOf(unseen)?.id).toBe('switched');
    }
    const patched = { ...old, system: 'debian 12', mailServer: 'dovecot 2.3.21' };
    const within = factsOf({ role: 'primary', releases: old }, { role: 'standby', releases: patched });
    expect(point(within, 'way-back')).toMatchObject({ state: 'done', title: expect.stringContaining('of one release series') as string });
    const none = (releases: Releases) => ({ ...releases, mailServer: null, storageVersion: null });
    expect(point(factsOf({ role: 'primary', releases: none(old) }, { role: 'standby', releases: none(young) }), 'way-back')?.state).toBe(
      'warn',
    );
    expect(point(factsOf({ role: 'primary', releases: old }, { role: 'standby', releases: none(young) }), 'way-back')?.state).toBe(
      'not-known',
    );
  });

  it('says of a node that is not heard what it last told, and that it is not known', () => {
    const away = (facts: MigrateFacts): MigrateFacts => ({
      ...facts,
      replication: null,
      versions: null,
      upgrade: { ...facts.upgrade, peer: { ...facts.upgrade.peer!, connected: false } },
    });
    const standby = migrateStatus(away(serving()));
    expect(standby.releases.text).toContain('mail-a is not heard, since 2026-11-30T08:00:00.000Z; then mail-b: debian 13');
    expect(standby.points.filter(({ state }) => state === 'not-known').map(({ id }) => id)).toEqual([
      'upgraded',
      'versions',
      'filled',
      'caught-up',
      'way-back',
    ]);
    const same = migrateStatus(away(factsOf({ role: 'standby', releases: old }, { role: 'primary', releases: old })));
    expect([same.releases.is, same.next?.state]).toEqual(['not-known', 'not-known']);
    const never = { ...upgraded(), upgrade: { ...upgraded().upgrade, peer: null } };
    expect(migrateStatus(never).releases).toMatchObject({ is: 'not-known', ahead: null });
    const silent = upgraded();
    silent.upgrade.peer = { ...silent.upgrade.peer!, releases: null };
    expect(migrateStatus(silent).releases.text).toBe('what mail-a runs is not known yet');
  });

  it('ends with one error in a state in which nobody is to be upgraded', () => {
    const crossed = { ...old, mailServer: 'dovecot 2.4.1' };
    expect(
      codeOf(factsOf({ role: 'primary', releases: crossed }, { role: 'standby', releases: { ...young, mailServer: 'dovecot 2.3.19' } })),
    ).toEqual(['releases-crossed', 3, true]);
    const ubuntu = { ...old, system: 'ubuntu 24.04' };
    expect(codeOf(factsOf({ role: 'primary', releases: old }, { role: 'standby', releases: ubuntu }))?.[0]).toBe('releases-crossed');
    expect(codeOf(upgraded({ unfinished: 'switchover' }))).toEqual(['unfinished-takeover', 3, true]);
    const { own, peer } = upgraded().upgrade;
    expect(codeOf(upgraded({ own: { ...own, role: 'fenced' } }))).toEqual(['fenced', 3, true]);
    expect(codeOf(upgraded({ peer: { ...peer!, role: 'fenced' } }))).toEqual(['fenced', 3, true]);
    expect(codeOf(upgraded({ own: { ...own, role: 'primary' } }))).toEqual(['same-role', 3, true]);
  });

  it('asks for checks that the doctor has', async () => {
    const { readFileSync, readdirSync } = await import('node:fs');
    const dir = new URL('../../agent/observe/doctor/', import.meta.url);
    const text = readdirSync(dir).map((name) => readFileSync(new URL(name, dir), 'utf8'));
    for (const id of upgradeChecks) expect(text.join('\n')).toContain(`id: '${id}'`);
  });
});

describe('which releases a node runs', () => {
  it('is told by os-release, where it names a number', () => {
    expect(systemOf('PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n')).toBe('debian 13');
    expect(systemOf("ID='ubuntu'\nVERSION_ID=24.04\n")).toBe('ubuntu 24.04');
    expect(systemOf('ID=debian\nVERSION_CODENAME=forky\n')).toBeNull();
    expect(systemOf('')).toBeNull();
  });

  it('is read anew each time, with the storage version of the configuration that the services use', async () => {
    const asked: string[][] = [];
    let answer = { code: 0, stdout: 'dovecot_storage_version = 2.3.0\n' };
    const exec: Exec = async (program, args) => {
      asked.push([program, ...args]);
      return { signal: null, timedOut: false, stderr: '', truncated: false, ...answer };
    };
    let installed: string | null = 'dovecot 2.4.1';
    const reader = new ReleaseReader({
      services: { units: [], configCheck: ['doveconf', '-n', '-c', '/etc/own.conf'] },
      exec,
      osRelease: () => 'ID=debian\nVERSION_ID=13\n',
      mailServer: async () => installed,
      clock: new SimClock().host(0),
    });
    expect(reader.last).toBeNull();
    expect(await reader.read()).toEqual({ system: 'debian 13', mailServer: 'dovecot 2.4.1', storageVersion: '2.3.0' });
    expect(asked).toEqual([['doveconf', '-c', '/etc/own.conf', 'dovecot_storage_version']]);
    // Dovecot 2.3 prints nothing; a configuration that does not name it is refused.
    for (const none of [
      { code: 0, stdout: '\n' },
      { code: 89, stdout: '' },
    ]) {
      answer = none;
      expect((await reader.read()).storageVersion).toBeNull();
    }
    installed = null;
    expect((await reader.read()).mailServer).toBeNull();
    expect(reader.last?.mailServer).toBeNull();
  });
});
