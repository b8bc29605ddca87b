import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { Config } from '../../agent/config/config.ts';
import { namedPlaces, sandboxLines, systemPlaces } from '../../agent/config/sandbox.ts';
import type { Exec } from '../../agent/platform/exec.ts';
import { unitConfigFile } from '../../agent/platform/own-unit.ts';
import { parseMountInfo } from '../../agent/platform/mounts.ts';
import { sandboxFile, unitSandbox } from '../../agent/wiring/unit-sandbox.ts';

const unit = readFileSync(new URL('../../deploy/systemd/mailtwin.service', import.meta.url), 'utf8');
const settings = (name: string) => [...unit.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value]) => value);

const root = mkdtempSync(join(tmpdir(), 'mailtwin-sandbox-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function config(paths: string[], change: { state?: string; gate?: string; staging?: string; file?: string } = {}): Config {
  return {
    file: change.file ?? '/etc/mailtwin/mailtwin.yaml',
    state: change.state ?? '/var/lib/mailtwin',
    roots: paths.map((path, i) => ({ name: `r${i}`, path, staging: change.staging ?? null })),
    services: { gate: change.gate ?? '/run/mailtwin/active' },
  } as unknown as Config;
}

describe('the unit', () => {
  it('is what the drop-in is computed from', () => {
    expect(settings('ProtectSystem')).toEqual(['full']);
    expect(settings('ProtectHome')).toEqual(['read-only']);
    expect(settings('PrivateTmp')).toEqual(['yes']);
    expect(settings('ReadOnlyPaths')).toEqual([namedPlaces.map((place) => `-${place}`).join(' ')]);
    expect(settings('RuntimeDirectory')).toEqual(['mailtwin']);
    expect(settings('ConditionPathExists')).toEqual([unitConfigFile]);
    expect(systemPlaces).toEqual(['/boot', '/efi', '/etc', '/usr']);
  });

  it('makes no mount of its own of a root or the state directory: disks come and go, and renames lead from one to the other', () => {
    for (const name of ['ReadWritePaths', 'BindPaths', 'StateDirectory', 'TemporaryFileSystem', 'RootDirectory'])
      expect(settings(name)).toEqual([]);
    // No place below which mail lies: a mount there would hold a disk that the host has unmounted.
    for (const place of namedPlaces)
      expect(['/var', '/srv', '/home', '/var/mail', '/var/lib', '/var/spool', '/opt', '/mnt']).not.toContain(place);
    expect(settings('MountFlags')).toEqual([]);
  });

  it('is explained in SECURITY.md: each capability, and each setting that is there or left out', () => {
    const text = readFileSync(new URL('../../SECURITY.md', import.meta.url), 'utf8');
    const rows = [...text.matchAll(/^\| (`CAP_[^|]*) \|/gm)].flatMap(([, cell = '']) =>
      [...cell.matchAll(/CAP_\w+/g)].map(([name]) => name),
    );
    const granted = settings('CapabilityBoundingSet').flatMap((line = '') => line.split(' '));
    expect(rows.toSorted()).toEqual(granted.toSorted());
    const sandbox = unit.slice(unit.indexOf('UMask='), unit.indexOf('[Install]'));
    const names = [...sandbox.matchAll(/^(\w+)=/gm)].map(([, name = '']) => name);
    expect(names.length).toBeGreaterThan(15);
    // `ProtectKernel*` stands for those that begin so.
    const isNamed = (name: string) => text.includes(`\`${name}`) || (name.startsWith('ProtectKernel') && text.includes('`ProtectKernel*`'));
    expect(names.filter((name) => !isNamed(name))).toEqual([]);
  });

  it('keeps setgid bits of directories, which shared mailboxes have, and what V8 needs', () => {
    expect(settings('RestrictSUIDSGID')).toEqual([]);
    expect(settings('MemoryDenyWriteExecute')).toEqual([]);
    expect(settings('CapabilityBoundingSet').join(' ').split(' ')).toContain('CAP_FSETID');
  });
});

describe('the drop-in of the sandbox', () => {
  it.each([
    ['is not needed for mail in the usual places', config(['/var/vmail', '/srv/mail/store', '/data']), []],
    ['opens the homes', config(['/home/vmail']), ['ProtectHome=no']],
    ['opens the homes once', config(['/home/a', '/root/b']), ['ProtectHome=no']],
    ['does not take a name for a place', config(['/homes/vmail', '/etcetera', '/usr2', '/runs', '/tmpx', '/var/spool/cronyx']), []],
    ['opens one directory of the system, and nothing beside it', config(['/etc/dovecot']), ['ReadWritePaths="-/etc/dovecot"']],
    [
      'opens staging, state and gate',
      config(['/var/vmail'], { staging: '/usr/local/stage', state: '/etc/mailtwin/state', gate: '/run/gate/open' }),
      ['ReadWritePaths="-/etc/mailtwin/state"', 'ReadWritePaths="-/run/gate"', 'ReadWritePaths="-/usr/local/stage"'],
    ],
    ['shares the host’s /tmp', config(['/tmp/mail', '/var/tmp/more']), ['PrivateTmp=no']],
    ['opens a whole place of the system', config(['/etc']), ['ProtectSystem=no']],
    [
      'leaves the other places closed when a root holds one of them',
      config(['/var/spool']),
      ['ReadOnlyPaths=', 'ReadOnlyPaths=-/run -/var/lib/dpkg -/var/lib/apt -/var/lib/systemd'],
    ],
    [
      'writes a name as systemd reads it',
      config(['/etc/a "b" 100%\\c', '/usr/\xc3\xa4\n']),
      ['ReadWritePaths="-/etc/a \\"b\\" 100%%\\\\c"', 'ReadWritePaths="-/usr/\\xc3\\xa4\\x0a"'],
    ],
  ])('%s', (_, of, lines) => {
    expect(sandboxLines(of)).toEqual(lines);
  });

  const calls: string[] = [];
  const exec: Exec = async (program, args) => {
    calls.push([program, ...args].join(' '));
    return { code: 0, signal: null, timedOut: false, stdout: '', stderr: '', truncated: false };
  };
  const state = async (of: Config, action: 'show' | 'install' = 'show') => (await unitSandbox(of, action, exec, root)).state;
  const file = root + sandboxFile;

  it('is written, held against the configuration, written anew and removed again', async () => {
    const usual = config(['/var/vmail']);
    const home = config(['/home/vmail']);
    expect(await state(usual)).toBe('fits');
    expect(await state(usual, 'install')).toBe('fits');
    expect(await state(home)).toBe('missing');
    expect(existsSync(file)).toBe(false);
    expect(calls).toEqual([]);
    expect(await state(home, 'install')).toBe('written');
    expect(calls).toEqual(['systemctl daemon-reload']);
    expect(readFileSync(file, 'utf8')).toMatch(
      /^# Written by `mailtwin sandbox install` from \/etc\/mailtwin\/mailtwin\.yaml[^]*\n\[Service\]\nProtectHome=no\n$/,
    );
    expect(statSync(file).mode & 0o777).toBe(0o644);
    expect(await unitSandbox(home, 'show', exec, root)).toMatchObject({ state: 'fits', of: '/etc/mailtwin/mailtwin.yaml' });
    expect(await state(config(['/etc/dovecot']))).toBe('other');
    expect(await state(usual)).toBe('needless');
    writeFileSync(file, '[Service]\n');
    expect(await unitSandbox(home, 'show', exec, root)).toMatchObject({ state: 'other', of: null });
    expect(await state(usual, 'install')).toBe('written');
    expect(existsSync(join(root, 'etc/systemd/system/mailtwin.service.d'))).toBe(false);
  });

  it('says when systemd does not read it', async () => {
    const refused: Exec = async () => ({ code: 1, signal: null, timedOut: false, stdout: '', stderr: 'no\n', truncated: false });
    await expect(unitSandbox(config(['/home/x']), 'install', refused, root)).rejects.toMatchObject({ code: 'daemon-reload', exitCode: 5 });
  });
});

it('a mount that is read-only here alone is told from a file system that is read-only', () => {
  const line = (options: string, superOptions: string) => `36 35 98:0 / /mnt ${options} master:1 - ext4 /dev/sda1 ${superOptions}\n`;
  const facts = (text: string) => parseMountInfo(text).map(({ writable, readOnlyHere }) => ({ writable, readOnlyHere }));
  expect(facts(line('rw,relatime', 'rw'))).toEqual([{ writable: true, readOnlyHere: false }]);
  expect(facts(line('ro,relatime', 'rw,errors=remount-ro'))).toEqual([{ writable: false, readOnlyHere: true }]);
  expect(facts(line('ro', 'ro'))).toEqual([{ writable: false, readOnlyHere: false }]);
  expect(facts(line('rw', 'ro'))).toEqual([{ writable: false, readOnlyHere: false }]);
});
