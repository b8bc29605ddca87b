import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './processes.ts';

/** A Debian whose mail server a test runs: bookworm (12) has Dovecot 2.3, trixie (13) has Dovecot 2.4. */
export type Release = 'bookworm' | 'trixie';

/** The release that a test runs which names none: MAILTWIN_LAB_RELEASE, and bookworm without it. */
export const labRelease: Release = fromEnvironment(process.env['MAILTWIN_LAB_RELEASE'] ?? 'bookworm');

/**
 * The release of each host that is booted: MAILTWIN_LAB_RELEASES in their order, for example `bookworm,trixie,trixie`;
 * without it each is the release of the lab.
 */
export function hostReleases<T extends string>(hosts: readonly T[]): Record<T, Release> {
  const named = process.env['MAILTWIN_LAB_RELEASES']?.split(',').map(fromEnvironment) ?? hosts.map(() => labRelease);
  if (named.length !== hosts.length) throw new Error(`MAILTWIN_LAB_RELEASES names ${named.length} hosts, not ${hosts.length}`);
  return Object.fromEntries(hosts.map((host, i) => [host, named[i]])) as Record<T, Release>;
}

const cacheDir = '/var/cache/mailtwin-lab';
const packages = ['dovecot-imapd', 'dovecot-lmtpd'];
/** Counted up when the tree of a release is made in another way: then the old one is made anew. */
const treeVersion = 1;
const makeMs = 1_200_000;
/** What becomes a program of the lab, and where it lies below the tree. */
const programs = { dovecot: 'usr/sbin/dovecot', doveadm: 'usr/bin/doveadm', doveconf: 'usr/bin/doveconf' };

/**
 * Directory with the `dovecot`, `doveadm` and `doveconf` of a release, to be put first in a PATH; null where they are the
 * machine's own. `provide` makes it.
 *
 * They are called as if the machine were of that release: files have the paths that they have outside, and processes are
 * seen and killed by their usual pids.
 */
export function programsDir(release: Release): string | null {
  return release === 'bookworm' ? null : join(cacheDir, release, 'lab');
}

/** How one of its programs is called. */
export function program(release: Release, name: keyof typeof programs): string {
  return join(programsDir(release) ?? '', name);
}

/** Makes a release when it is not there yet, and tells why it cannot be had here; null when it can. @throws instead with CI=true. */
export async function releaseObstacle(release: Release): Promise<string | null> {
  if (process.getuid?.() !== 0) return 'another release needs root';
  try {
    await provide(release);
    return null;
  } catch (error) {
    if (process.env['CI'] === 'true') throw error;
    return error instanceof Error ? error.message : String(error);
  }
}

/**
 * Makes the programs of a release, once for the machine: a minute the first time, nothing later. Of several that ask at
 * once one makes them, and the others wait; what was left half made is made anew. @throws when they cannot be made.
 */
export async function provide(release: Release, cache = cacheDir): Promise<void> {
  if (release === 'bookworm') return;
  const tree = join(cache, release);
  if (existsSync(doneMark(tree))) return;
  mkdirSync(cache, { recursive: true, mode: 0o755 });
  const script = `
[ -e ${doneMark(tree)} ] && exit 0
rm -rf --one-file-system ${tree} ${tree}.part
debootstrap --variant=minbase --include=${packages.join(',')} ${release} ${tree}.part || exit 1
cd ${tree}.part || exit 1
rm -rf var/cache/apt var/lib/apt/lists usr/share/doc usr/share/locale
ln -sf ../proc/self/mounts etc/mtab
mkdir lab
${Object.entries(programs)
  .map(([name, path]) => `cat > lab/${name} << 'END'\n${wrapper(tree, path)}END\nchmod 755 lab/${name}`)
  .join('\n')}
touch ${doneMark('.')}
mv ${tree}.part ${tree}
`;
  // The lock is gone with whoever holds it, however it ends.
  await run('flock', [`${tree}.lock`, 'sh', '-e', '-c', script], { timeoutMs: makeMs });
}

function doneMark(tree: string): string {
  return join(tree, `lab/whole-${treeVersion}`);
}

/** The mounts are seen by this program and what it starts, and are gone with the last of them. */
function wrapper(tree: string, path: string): string {
  return `#!/bin/sh
exec unshare --mount --propagation private sh -c 'mount --bind "$0/etc" /etc && mount --bind "$0/usr" /usr && exec "$@"' ${tree} /${path} "$@"
`;
}

function fromEnvironment(name: string): Release {
  if (name === 'bookworm' || name === 'trixie') return name;
  throw new Error(`a release of the lab is bookworm or trixie, not ${name}`);
}
