import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { debootstrap } from './debian-host.ts';
import { run, runNow } from './processes.ts';

/** Debian packages that making and booting a guest needs. */
export const guestPackages = ['qemu-system-x86', 'debootstrap', 'cpio', 'kmod'];

const here = dirname(fileURLToPath(import.meta.url));
const userland = ['iproute2', 'iputils-ping', 'iputils-arping', 'ethtool', 'kmod', 'procps'];
/** Cards as their drivers' modules, and what Linux keeps outside of the kernel proper. */
const modules = ['e1000', 'e1000e', '8021q', 'bridge', 'veth'];
const metaPackage = 'linux-image-amd64';
const kernel = 'boot/vmlinuz';
const fetchMs = 3_600_000;

export interface GuestImage {
  kernel: string;
  initrd: string;
}

/** A Debian 12 without an init, with the kernel of Debian and its modules for these cards. Takes minutes. */
export async function makeGuestDebian(tree: string): Promise<void> {
  await debootstrap(tree, userland);
  for (const name of ['usr/share/doc', 'usr/share/man', 'usr/share/locale', 'var/cache/apt', 'var/lib/apt'])
    rmSync(join(tree, name), { recursive: true, force: true });
  const depends = runNow('apt-cache', ['depends', '--important', metaPackage]);
  const [, name = null] = /Depends: (linux-image-\d\S*)/.exec(depends) ?? [];
  if (name === null) throw new Error(`no kernel is named by the package ${metaPackage}: ${depends}`);
  const version = name.replace('linux-image-', '');
  const package_ = join(tree, 'kernel');
  mkdirSync(package_);
  await run('apt-get', ['download', '-q', name], { cwd: package_, timeoutMs: fetchMs });
  const [archive = ''] = readdirSync(package_);
  const unpacked = join(package_, 'unpacked');
  await run('dpkg', ['-x', join(package_, archive), unpacked], { timeoutMs: 300_000 });
  cpSync(join(unpacked, `boot/vmlinuz-${version}`), join(tree, kernel));
  await placeModules(unpacked, tree, version);
  rmSync(package_, { recursive: true });
}

/** The modules of the list with those that they need, and the index by which modprobe finds them. */
async function placeModules(from: string, tree: string, version: string): Promise<void> {
  await run('depmod', ['-b', from, version]);
  const wanted = modules.flatMap(
    (name) => runNow('modprobe', ['-d', from, '-S', version, '--show-depends', name]).match(/\/\S+\.ko\S*/g) ?? [],
  );
  for (const file of new Set(wanted)) cpSync(file, join(tree, file.slice(from.length)));
  const dir = `lib/modules/${version}`;
  for (const name of ['modules.order', 'modules.builtin', 'modules.builtin.modinfo']) cpSync(join(from, dir, name), join(tree, dir, name));
  await run('depmod', ['-b', tree, version]);
}

/** Puts the Debian package of mailtwin into a copy of the tree and packs it as the guest's only file system. */
export async function makeGuestImage(options: { debian: string; deb: string; dir: string }): Promise<GuestImage> {
  const tree = join(options.dir, 'tree');
  const initrd = join(options.dir, 'initrd');
  await run('cp', ['-a', options.debian, tree], { timeoutMs: 600_000 });
  // What the package's scripts set up is for systemd, which is not here. /lib is a link, and has to stay one.
  const unpack = 'dpkg-deb --fsys-tarfile "$0" | tar --extract --keep-directory-symlink';
  await run('sh', ['-ec', unpack, options.deb], { cwd: tree, timeoutMs: 300_000 });
  const guest = join(tree, 'guest');
  mkdirSync(guest);
  cpSync(join(here, 'guest-init.sh'), join(guest, 'init'));
  cpSync(join(here, 'guest-commands.ts'), join(guest, 'commands.ts'));
  writeFileSync(join(guest, 'modules'), `${modules.join('\n')}\n`);
  await run('chmod', ['755', join(guest, 'init')]);
  if (!existsSync(join(tree, kernel))) throw new Error(`${options.debian} has no kernel`);
  const place = join(options.dir, 'vmlinuz');
  cpSync(join(tree, kernel), place);
  const pack = 'find . -path ./boot -prune -o -print0 | cpio --null --create --format=newc --quiet > "$0"';
  await run('sh', ['-ec', pack, initrd], { cwd: tree, timeoutMs: 600_000 });
  rmSync(tree, { recursive: true });
  return { kernel: place, initrd };
}
