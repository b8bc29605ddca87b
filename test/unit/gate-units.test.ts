import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type { Config } from '../../agent/config/config.ts';
import type { Exec } from '../../agent/platform/exec.ts';
import { gateUnits } from '../../agent/wiring/gate-units.ts';

const root = mkdtempSync(join(tmpdir(), 'mailtwin-gate-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const units = ['mailtwin-active.target', 'dovecot.service', 'postfix@-.service'];
const config = { file: '/etc/mailtwin/mailtwin.yaml', services: { units, gate: '/run/mailtwin/active' } } as unknown as Config;
const calls: string[] = [];
const exec: Exec = async (program, args) => {
  calls.push([program, ...args].join(' '));
  return { code: 0, signal: null, timedOut: false, stdout: '', stderr: '', truncated: false };
};
const dropIn = join(root, 'etc/systemd/system/dovecot.service.d/10-mailtwin.conf');

it('gates every unit but the target of its own, shows it, and takes it away without touching what else is there', async () => {
  expect(await gateUnits(config, 'show', exec, root)).toMatchObject([
    { unit: 'dovecot.service', state: 'open' },
    { unit: 'postfix@-.service', state: 'open' },
  ]);
  expect(calls).toEqual([]);
  expect((await gateUnits(config, 'install', exec, root)).map(({ state }) => state)).toEqual(['gated', 'gated']);
  expect(calls).toEqual(['systemctl daemon-reload']);
  expect(readFileSync(dropIn, 'utf8')).toMatch(/^ConditionPathExists=\/run\/mailtwin\/active$/m);
  expect(statSync(dropIn).mode & 0o777).toBe(0o644);

  writeFileSync(dropIn, '[Unit]\n');
  expect((await gateUnits(config, 'show', exec, root)).map(({ state }) => state)).toEqual(['other', 'gated']);
  mkdirSync(join(root, 'etc/systemd/system/postfix@-.service.d'), { recursive: true });
  const foreign = join(root, 'etc/systemd/system/postfix@-.service.d/local.conf');
  writeFileSync(foreign, '[Unit]\n');
  expect((await gateUnits(config, 'remove', exec, root)).map(({ state }) => state)).toEqual(['open', 'open']);
  expect(existsSync(join(root, 'etc/systemd/system/dovecot.service.d'))).toBe(false);
  expect(existsSync(foreign)).toBe(true);
});

it('has the gate of the configuration as its condition, percent signs escaped', async () => {
  const other = { ...config, services: { units: ['dovecot.service'], gate: '/run/100%/active' } } as unknown as Config;
  await gateUnits(other, 'install', exec, root);
  expect(readFileSync(dropIn, 'utf8')).toContain('ConditionPathExists=/run/100%%/active\n');
  await gateUnits(other, 'remove', exec, root);
});

it('says so when the configuration names no units', async () => {
  const none = { ...config, services: null } as unknown as Config;
  await expect(gateUnits(none, 'install', exec, root)).rejects.toMatchObject({ code: 'no-units' });
});
