import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { ConfigKey } from '../../protocol/config-key.ts';
import type { CommandFacts } from '../cli/command-facts.ts';
import { configManPage } from './config-man-page.ts';
import { bashCompletion } from '../cli/completion/bash.ts';
import { fishCompletion } from '../cli/completion/fish.ts';
import { zshCompletion } from '../cli/completion/zsh.ts';
import { documentAt, documentDirs, documents, installedMarkdown } from './documents.ts';
import { installTree, place } from './installed-tree.ts';
import { manPage } from './man-page.ts';
import { nativeNeeds } from './native-files.ts';
import { unpackNode, type Architecture } from './node-runtime.ts';

export interface DebOptions {
  /** Top of the checkout; dist/ is built. */
  top: string;
  arch: Architecture;
  /** Debian's version, revision included. */
  version: string;
  commands: CommandFacts;
  configKeys: readonly ConfigKey[];
  /** An empty directory to work in. */
  scratch: string;
  cache: string;
  /** Directory for the package. */
  out: string;
  /** Of all files in it (SOURCE_DATE_EPOCH), seconds. */
  epochSeconds: number;
  /** Compresses little, for tests. */
  isQuick: boolean;
}

/** Makes the Debian package (deb(5)) of an architecture; needs dpkg-deb. @returns its path. */
export function makeDeb(options: DebOptions): string {
  const { top, arch, version, commands, configKeys, scratch, cache, out, epochSeconds } = options;
  const root = join(scratch, 'root');
  const at = (path: string) => join(root, path);
  const write = (path: string, content: string | Buffer) => {
    mkdirSync(dirname(at(path)), { recursive: true });
    writeFileSync(at(path), content);
  };
  const document = (path: string) => {
    const to = `usr/share/doc/mailtwin/${documentAt(path)}`;
    if (path.endsWith('.md')) write(to, installedMarkdown(path, readFileSync(join(top, path), 'utf8')));
    else place(join(top, path), at(to));
  };
  const deb = (name: string) => join(top, 'deploy/deb', name);
  const date = new Date(epochSeconds * 1000);

  installTree(top, arch, at('usr/lib/mailtwin'));
  const node = unpackNode(arch, cache, join(scratch, 'node'));
  place(node.bin, at('usr/lib/mailtwin/bin/node'));
  write('usr/share/doc/mailtwin/node-LICENSE.gz', packed(readFileSync(node.license)));
  place(deb('mailtwin.sh'), at('usr/bin/mailtwin'));

  for (const unit of ['mailtwin.service', 'mailtwin-active.target'])
    place(join(top, 'deploy/systemd', unit), at(`lib/systemd/system/${unit}`));
  place(deb('60-mailtwin.conf'), at('usr/lib/sysctl.d/60-mailtwin.conf'));
  place(deb('default'), at('etc/default/mailtwin'));
  mkdirSync(at('etc/mailtwin'), { recursive: true });
  write('usr/share/bash-completion/completions/mailtwin', bashCompletion(commands));
  write('usr/share/zsh/vendor-completions/_mailtwin', zshCompletion(commands));
  write('usr/share/fish/vendor_completions.d/mailtwin.fish', fishCompletion(commands));
  const day = date.toISOString().slice(0, 10);
  write('usr/share/man/man1/mailtwin.1.gz', packed(manPage(commands, version, day)));
  write('usr/share/man/man5/mailtwin.yaml.5.gz', packed(configManPage(configKeys, version, day)));

  for (const dir of documentDirs) for (const path of filesBelow(join(top, 'deploy', dir))) document(`deploy/${dir}/${path}`);
  for (const path of Object.keys(documents).filter((each) => each.endsWith('.md') && each !== 'CHANGELOG.md')) document(path);
  place(deb('copyright'), at('usr/share/doc/mailtwin/copyright'));
  write('usr/share/doc/mailtwin/changelog.gz', packed(readFileSync(join(top, 'CHANGELOG.md'))));
  write('usr/share/doc/mailtwin/changelog.Debian.gz', packed(debianChangelog(version, date)));
  place(deb('lintian-overrides'), at('usr/share/lintian/overrides/mailtwin'));

  setModes(root);
  const sums = filesBelow(root).map(
    (path) =>
      `${createHash('md5')
        .update(readFileSync(at(path)))
        .digest('hex')}  ${path}\n`,
  );
  write('DEBIAN/md5sums', sums.join(''));
  write('DEBIAN/conffiles', '/etc/default/mailtwin\n');
  const size = Math.ceil(filesBelow(root).reduce((sum, path) => sum + lstatSync(at(path)).size, 0) / 1024);
  const needs = nativeNeeds(at('usr/lib/mailtwin'), arch);
  const control = readFileSync(deb('control'), 'utf8')
    .replace('@LIBC@', needs.libc)
    .replace('@LIBSTDCXX@', needs.libstdcxx)
    .replace('@VERSION@', version)
    .replace('@ARCH@', arch)
    .replace('@SIZE@', String(size));
  write('DEBIAN/control', control);
  for (const script of ['postinst', 'prerm', 'postrm']) {
    place(deb(script), at(`DEBIAN/${script}`));
    chmodSync(at(`DEBIAN/${script}`), 0o755);
  }
  for (const file of ['md5sums', 'conffiles', 'control']) chmodSync(at(`DEBIAN/${file}`), 0o644);
  chmodSync(at('DEBIAN'), 0o755);

  mkdirSync(out, { recursive: true });
  const file = join(out, `mailtwin_${version}_${arch}.deb`);
  execFileSync('dpkg-deb', ['--root-owner-group', ...(options.isQuick ? ['-Zgzip', '-z1'] : ['-Zxz']), '--build', root, file], {
    env: { ...process.env, SOURCE_DATE_EPOCH: String(epochSeconds) },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return file;
}

/** As gzip -9n: no name, no time. */
function packed(content: string | Buffer): Buffer {
  return gzipSync(content, { level: 9 });
}

function debianChangelog(version: string, date: Date): string {
  const day = date.toUTCString().replace('GMT', '+0000');
  return `mailtwin (${version}) stable; urgency=medium\n\n  * See changelog.gz.\n\n -- mailtwin developers <mailtwin@localhost>  ${day}\n`;
}

/** Paths of all files below a directory; none when it is missing. */
export function filesBelow(dir: string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(dir, join(entry.parentPath, entry.name)))
    .filter((path) => !path.startsWith('DEBIAN/'))
    .toSorted();
}

/** Everything is 0644 or 0755, whatever the mask of the one who builds. */
function setModes(root: string): void {
  const executable = /^usr\/(bin\/mailtwin|lib\/mailtwin\/bin\/node)$/;
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isSymbolicLink()) continue;
    chmodSync(path, entry.isDirectory() || executable.test(relative(root, path)) ? 0o755 : 0o644);
  }
}
