import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import { run, top } from './run.mjs';

/** What the end-to-end tests call, for systems that are not Debian. Some stand outside a user's PATH. */
const commands = [
  'dovecot',
  'doveadm',
  'postfix',
  'rsync',
  'ip',
  'unshare',
  'mkfs.ext4',
  'arping',
  'setfattr',
  'openssl',
  'ipmi_sim',
  'ipmitool',
  'fence_ipmilan',
];
const places = [...(process.env['PATH'] ?? '').split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin'];

/**
 * Installs the Debian packages that the tests need, when this is Debian and we are root.
 *
 * @param {readonly string[]} [only] These alone, without which there is nothing to run.
 * @returns {Promise<boolean>} False when something is missing and `CI=true` says that nothing may be skipped.
 */
export async function ensureDebianPackages(only) {
  if (existsSync('/etc/debian_version')) {
    const missing = missingPackages(only ?? (await wantedPackages()));
    if (missing.length === 0) return true;
    if (process.getuid?.() === 0 && install(missing)) return true;
    return skipOrFail(`missing Debian packages: ${missing.join(' ')}\n  install them with: apt-get install ${missing.join(' ')}`);
  }
  const missing = commands.filter((command) => !places.some((place) => place !== '' && existsSync(join(place, command))));
  return missing.length === 0 || skipOrFail(`missing commands: ${missing.join(' ')}`);
}

/** @param {string} what */
function skipOrFail(what) {
  const isCi = process.env['CI'] === 'true';
  process.stderr.write(`${what}\n  ${isCi ? 'CI=true: nothing may be skipped' : 'the tests that need them will be skipped'}\n`);
  return !isCi;
}

/** @returns {Promise<readonly string[]>} */
async function wantedPackages() {
  // The list stands with the lab that uses it, in TypeScript, which Node 20 does not read by itself.
  const { tsImport } = await import('tsx/esm/api');
  const lab = await tsImport(pathToFileURL(join(top, 'test/lab/packages.ts')).href, import.meta.url);
  // Installing Postfix would remove another MTA of this host; the tests that need it are skipped there.
  return isOtherMta() ? lab.debianPackages.filter((/** @type {string} */ name) => name !== 'postfix') : lab.debianPackages;
}

function isOtherMta() {
  return existsSync('/usr/sbin/sendmail') && !existsSync('/usr/sbin/postfix');
}

/** @param {readonly string[]} names */
function missingPackages(names) {
  return names.filter((name) => {
    const { status, stdout } = spawnSync('dpkg-query', ['-W', '-f=${db:Status-Abbrev}', name], { encoding: 'utf8' });
    return status !== 0 || !stdout.startsWith('ii');
  });
}

/** @param {readonly string[]} names */
function install(names) {
  process.stdout.write(`Installing Debian packages: ${names.join(' ')}\n`);
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  // Without a configuration it is not started: the tests start their own.
  if (names.includes('postfix'))
    spawnSync('debconf-set-selections', { input: 'postfix postfix/main_mailer_type select No configuration\n' });
  const args = ['install', '-y', '-qq', '--no-install-recommends', ...names];
  // The package lists may be missing or too old; fetching them is slow, so only then.
  return run('apt-get', args, env) === 0 || (run('apt-get', ['update', '-qq'], env) === 0 && run('apt-get', args, env) === 0);
}
