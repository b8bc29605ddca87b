import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ownerMark, removeAbandoned } from '../lab/ownership.ts';
import { run as command, type RunResult } from '../lab/processes.ts';
import { step } from '../lab/step.ts';
import type { Soak } from './options.ts';

const top = fileURLToPath(new URL('../..', import.meta.url));
const longMs = 1_800_000;
const binfmt = '/proc/sys/fs/binfmt_misc';
const handler = 'qemu-aarch64';

/**
 * The Debian package for arm64 in a Debian 12 of that processor, emulated: it is installed, initialised and looked at, a
 * whole pair runs, and the package is purged. It tells nothing about speed.
 */
export const run: Soak = async () => {
  const memory = '/dev/shm';
  removeAbandoned(memory);
  const dir = mkdtempSync(join(memory, `${ownerMark()}-arm64-`));
  const isOurs = !existsSync(join(binfmt, handler));
  try {
    await command('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'qemu-user-static', 'debootstrap'], { timeoutMs: longMs });
    if (isOurs) register();
    await prove(await makeTree(dir), await makePackage(dir));
    console.log('the package for arm64 works');
    return true;
  } catch (error) {
    console.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return false;
  } finally {
    if (isOurs && existsSync(join(binfmt, handler))) writeFileSync(join(binfmt, handler), '-1');
    rmSync(dir, { recursive: true, force: true });
  }
};

/** Lets this kernel run programs for arm64 by the emulator, as systemd-binfmt does where it runs. */
function register(): void {
  const lines = readFileSync(`/usr/lib/binfmt.d/${handler}.conf`, 'utf8').split('\n');
  const line = lines.find((text) => text.startsWith(':'));
  if (line === undefined) throw new Error('qemu-user-static brings no registration');
  writeFileSync(join(binfmt, 'register'), line);
}

async function makePackage(dir: string): Promise<string> {
  console.log('making the package ...');
  const out = join(dir, 'packages');
  await command('npm', ['run', '--silent', 'package', '--', '--arch', 'arm64', '--quick', '--no-npm', '--out', out], {
    cwd: top,
    timeoutMs: longMs,
  });
  const name = readdirSync(out).find((each) => each.endsWith('_arm64.deb'));
  if (name === undefined) throw new Error('no package was made');
  return join(out, name);
}

async function makeTree(dir: string): Promise<string> {
  const tree = join(dir, 'root');
  const base = process.env['MAILTWIN_DEBIAN_ARM64'];
  if (base !== undefined) {
    await command('cp', ['-a', base, tree], { timeoutMs: longMs });
    return tree;
  }
  console.log('making a Debian for arm64 ...');
  const first = ['--arch=arm64', '--foreign', '--variant=minbase', '--include=iproute2,procps', 'bookworm', tree];
  await command('debootstrap', first, { timeoutMs: longMs });
  await command('chroot', [tree, '/debootstrap/debootstrap', '--second-stage'], { timeoutMs: longMs, env: environment });
  return tree;
}

const environment = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', LC_ALL: 'C.UTF-8' };

async function prove(tree: string, deb: string): Promise<void> {
  await command('cp', [deb, join(tree, 'mailtwin.deb')]);
  mkdirSync(join(tree, 'srv/mail'), { recursive: true });
  step('the Debian is one for arm64', (await inTree(tree, ['dpkg', '--print-architecture'])).stdout.trim() === 'arm64');
  await inTree(tree, ['dpkg', '-i', '/mailtwin.deb']);
  const version = (await inTree(tree, ['mailtwin', '--version'])).stdout.trim();
  step(`mailtwin ${version} runs on the runtime of the package`, /^\d+\.\d+\.\d+$/.test(version));
  const init = ['--role', 'primary', '--node', 'mail-a', '--root', 'mail=/srv/mail:plain', '--listen', '127.0.0.1:7420'];
  step('init makes configuration and key', (await inTree(tree, ['mailtwin', 'init', ...init])).stdout.includes('fingerprint'));
  const doctor = JSON.parse((await inTree(tree, ['mailtwin', 'doctor', '--json'], true)).stdout) as {
    findings: { id: string; level: string; summary: string }[];
  };
  const failed = doctor.findings.filter(({ level }) => level === 'fail').map(({ id }) => id);
  // The root is empty; whatever else failed would be a fault of the package.
  step(`doctor finds only the empty root at fault: ${failed.join(', ')}`, failed.join() === 'root');
  step(
    'doctor names the versions of the native parts',
    doctor.findings.some(({ id, summary }) => id === 'versions' && /koffi .*lmdb/.test(summary)),
  );
  const demo = await inTree(tree, ['mailtwin', 'demo', '--seconds', '6', '--messages', '60'], true);
  console.log(demo.stdout + demo.stderr);
  step('a pair is filled, streams, outlives a kill -9 and holds the same', demo.code === 0 && demo.stdout.includes('All went well.'));
  await inTree(tree, ['dpkg', '--purge', 'mailtwin']);
  const left = ['usr/lib/mailtwin', 'var/lib/mailtwin', 'etc/mailtwin'].filter((path) => existsSync(join(tree, path)));
  step(`purged: nothing is left: ${left.join(', ')}`, left.length === 0);
}

/** Runs a program of the tree; its mounts and processes end with it. */
function inTree(tree: string, argv: readonly string[], mayFail = false): Promise<RunResult> {
  const script = `mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"`;
  return command('unshare', ['--mount', '--pid', '--fork', '--kill-child', 'sh', '-c', script, tree, ...argv], {
    timeoutMs: longMs,
    env: environment,
    mayFail,
  });
}
