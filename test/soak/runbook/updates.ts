import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { DebianHost } from '../../lab/debian-host.ts';
import { mainPid, waitMs } from '../../lab/debian-lab.ts';
import { step } from '../../lab/step.ts';
import { run } from '../../lab/processes.ts';
import { waitFor } from '../../lab/waiting.ts';
import { nameAsked } from './takeovers.ts';
import type { World } from './world.ts';

const next = '0.1.1';
const server = ['dovecot-core', 'dovecot-imapd', 'dovecot-lmtpd'];

export async function rollingUpdate({ lab, book, watch, dir }: World): Promise<void> {
  const [a, b] = [lab.host('a'), lab.host('b')];
  book.values['NEW'] = `${next}-1`;
  lab.give(await nextRelease(dir), `root/mailtwin_${next}-1_amd64.deb`);
  for (const host of [a, b]) {
    await host.run(['sh', '-c', 'rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*']);
    await newMailServer(dir, host.tree);
    // A yes to what else has to come with it, as dovecot-sieve on Debian 13.
    host.write('/etc/apt/apt.conf.d/90answers', 'APT::Get::Assume-Yes "true";\n');
    host.write('/etc/apt/sources.list', 'deb [trusted=yes] file:/root/archive ./\n');
  }
  await book.follow('Rolling update', async (text) => {
    const before = await mainPid(a);
    await text.run('dpkg -i mailtwin_NEW_amd64.deb');
    await waitFor('mail-b after its update', waitMs, () => b.isActive('mailtwin.service'));
    await lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
    await watch.shows('MailtwinVersionSkew', 'a');
    await book.follow('MailtwinVersionSkew', async (section) => {
      const [seen] = await section.run('mailtwin status');
      step('status names both releases', seen?.output.includes(next) === true);
    });
    await text.run('dpkg -i mailtwin_NEW_amd64.deb');
    await lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
    // mailtwin is the same on both again; mail servers of two releases stay two.
    const differ = lab.release('a') === lab.release('b') ? [] : ['mail_server'];
    await waitFor(`MailtwinVersionSkew to be of ${differ.join() || 'nothing'}`, waitMs, async () =>
      isDeepStrictEqual(await watch.whatOf('MailtwinVersionSkew', 'a'), differ),
    );
    step('the mail server of mail-a was not restarted', (await mainPid(a)) === before && before !== '0');

    const upgrade = `apt-get install --only-upgrade ${server.join(' ')}`;
    await text.run('apt-get update');
    await text.run(upgrade);
    step('mail-b has the new mail server, and it does not run', (await newer(b)) && !(await b.isActive('dovecot.service')));
    await text.run('mailtwin switchover', { answers: [nameAsked('mail-a')] });
    await lab.becomes('b', { role: 'primary', active: true, phase: 'streaming' });
    await lab.deliver('anna', 1);
    await text.run(upgrade);
    step('mail-a has it, too, and it does not run', (await newer(a)) && !(await a.isActive('dovecot.service')));
    await text.run('mailtwin switchover', { answers: [nameAsked('mail-b')] });
    await lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
    await lab.deliver('anna', 1);
  });
}

async function newer(host: DebianHost): Promise<boolean> {
  return (await host.run(['dpkg-query', '-W', '-f', '${Version}', 'dovecot-core'])).stdout.endsWith('+next');
}

/** The same program under the name of the next release. */
async function nextRelease(dir: string): Promise<string> {
  const tree = join(dir, 'next');
  await run('dpkg-deb', ['-R', join(dir, 'packages/mailtwin_0.1.0-1_amd64.deb'), tree]);
  for (const [file, from] of [
    ['DEBIAN/control', 'Version: 0.1.0-1'],
    ['usr/lib/mailtwin/package.json', '"version": "0.1.0"'],
  ] as const) {
    const text = readFileSync(join(tree, file), 'utf8');
    if (!text.includes(from)) throw new Error(`${file} has no ${from}`);
    writeFileSync(join(tree, file), text.replace(from, from.replace('0.1.0', next)));
  }
  await run('sh', ['-c', `cd ${tree} && find usr lib etc -type f 2>/dev/null | xargs md5sum > DEBIAN/md5sums`]);
  const file = join(dir, `mailtwin_${next}-1_amd64.deb`);
  await run('dpkg-deb', ['--root-owner-group', '-Zgzip', '-z1', '-b', tree, file], { timeoutMs: 120_000 });
  return file;
}

/** An archive with the next revision of the mail server: what is installed, packed again, in /root/archive of a tree. */
async function newMailServer(dir: string, tree: string): Promise<void> {
  const script = `set -e
mkdir -p /root/archive; cd /root/archive; : > Packages
# What is built with it wants the very version: on Debian 13 dovecot-sieve, which dovecot-core depends on.
for p in $(dpkg-query -W -f '\${source:Package} \${Package}\\n' | sed -n 's/^dovecot //p'); do
  d=/root/pack/$p; rm -rf $d; mkdir -p $d/DEBIAN
  dpkg -L $p | while read -r f; do
    if [ -d "$f" ]; then mkdir -p "$d$f"; elif [ -e "$f" ] || [ -L "$f" ]; then cp -a "$f" "$d$f"; fi
  done
  for s in preinst postinst prerm postrm triggers shlibs; do
    if [ -f /var/lib/dpkg/info/$p.$s ]; then cp -p /var/lib/dpkg/info/$p.$s $d/DEBIAN/$s; fi
  done
  version=$(dpkg-query -W -f '\${Version}' $p)
  dpkg-query -s $p | sed -e '/^Status:/d' -e '/^Conffiles:/,/^[A-Z]/{/^Conffiles:/d;/^ /d}' | sed "s/$version/$version+next/g" > $d/DEBIAN/control
  dpkg-query -W -f '\${Conffiles}\\n' $p | awk 'NF && $3 != "obsolete" {print $1}' > $d/DEBIAN/conffiles
  dpkg-deb -Zgzip -z1 -b $d $p.deb
  dpkg-deb -f $p.deb >> Packages
  printf 'Filename: ./%s.deb\\nSize: %s\\nSHA256: %s\\n\\n' $p $(stat -c %s $p.deb) $(sha256sum $p.deb | cut -d' ' -f1) >> Packages
done
rm -rf /root/pack`;
  writeFileSync(join(dir, 'archive.sh'), script);
  await run('cp', [join(dir, 'archive.sh'), join(tree, 'root/archive.sh')]);
  await run('chroot', [tree, 'env', '-u', 'TMPDIR', 'sh', '/root/archive.sh'], { timeoutMs: 300_000 });
}
