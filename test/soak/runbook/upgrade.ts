import { runNow } from '../../lab/processes.ts';
import type { Archive } from '../../lab/archive.ts';
import { service, status, waitMs, type HostName } from '../../lab/debian-lab.ts';
import { mailServer } from '../../lab/debian-mail.ts';
import { step } from '../../lab/step.ts';
import { waitFor } from '../../lab/waiting.ts';
import type { Section } from './book.ts';
import { isComplete, nameAsked } from './takeovers.ts';
import type { World } from './world.ts';

/** The test's own address in the LAN of the lab. */
const gateway = '10.77.0.254';
const upgradeMs = 1_800_000;

/**
 * What a person answers while the packages of a release are replaced: yes, keep my files, and no to what is only
 * recommended. `Dpkg::Options` is for files that were changed.
 */
const answers = `APT::Get::Assume-Yes "true";
APT::Install-Recommends "false";
Dpkg::Options { "--force-confold"; };
`;

/** Both hosts are Debian 12 and become Debian 13 by its own packages, mail-b first. */
export async function fromDebian12(world: World, archive: Archive): Promise<void> {
  const { lab, book } = world;
  const hosts = (['a', 'b'] as const).map((name) => lab.host(name));
  await archive.serve(gateway, hosts);
  for (const host of hosts) {
    host.write('/etc/apt/apt.conf.d/90answers', answers);
    runNow('chroot', [host.tree, 'sh', '-c', 'echo debconf debconf/frontend select Noninteractive | debconf-set-selections']);
  }
  await isComplete(lab, 'b');
  await book.follow('From Debian 12 to 13', async (text) => {
    await text.run('mailtwin verify');
    const [seen] = await text.run('mailtwin migrate status');
    step('both nodes are Debian 12', /both nodes run debian 12 and dovecot 2\.3\..*: nothing is to be upgraded/.test(seen?.output ?? ''));
    await text.run('mailtwin doctor');
  });
  await book.follow('The standby first', (text) => standbyFirst(world, text));
  await book.follow('There, and the way back', (text) => thereAndBack(world, text));
  await book.follow('The other node', (text) => otherNode(world, text));
}

async function standbyFirst(world: World, text: Section): Promise<void> {
  const { lab } = world;
  const b = lab.host('b');
  await newRelease(world, text, 'b', async () => {
    await waitFor('mail-a to miss its peer', waitMs, async () => !(await status(lab.host('a'))).peer.connected);
    const [away] = await text.run('mailtwin migrate status', { codes: [1] });
    step('mail-b is not heard', away?.output.includes('mail-b is not heard') === true);
  });
  await lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
  const old = await b.run(['mailtwin', 'migrate', 'status'], { mayFail: true });
  step('the configuration of the old release is an open point', old.code === 1 && /^open .*configuration/m.test(old.stdout), old.stdout);
  await configure(world, text, 'b');
  await lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
  await isComplete(lab, 'b');
  await text.run('mailtwin migrate status', { codes: [1] });
  await text.run('mailtwin verify');
  const [ready] = await text.run('mailtwin migrate status', { codes: [1] });
  text.shows();
  step('only the switchover is open', ready?.output.match(/^open/gm)?.length === 1, ready?.output);
}

/** Packages of Debian 13 in place of those of Debian 12, and a start of the host; `away` looks at what the other one says meanwhile. */
async function newRelease({ lab }: World, text: Section, name: HostName, away: () => Promise<void>): Promise<void> {
  const host = lab.host(name);
  await text.run(`sed -i 's/bookworm/trixie/g' /etc/apt/sources.list`);
  await text.run('apt-get update', { timeoutMs: upgradeMs });
  await text.run('apt-get full-upgrade fence-agents-ipmilan fence-agents-', { timeoutMs: upgradeMs });
  step(
    `mail-${name} has the packages of Debian 13, and its mail server does not run`,
    host.read('/etc/debian_version').startsWith('13') &&
      !(await host.isActive('dovecot.service')) &&
      !(await host.isActive('postfix.service')),
  );
  await text.run('systemctl reboot');
  await host.goesDown();
  lab.bareAddress(name);
  await away();
  await host.boot();
  step('the mail server was not started', !(await host.isActive('dovecot.service')) && !(await host.isActive('postfix.service')));
}

async function configure({ lab }: World, text: Section, name: HostName): Promise<void> {
  await text.run('cp -a /etc/dovecot /root/dovecot-2.3');
  await text.run('cp -r /usr/share/dovecot/dovecot.conf /usr/share/dovecot/conf.d /etc/dovecot/');
  mailServer(lab.host(name), 'trixie');
  await text.run(`sed -i 's/^dovecot_storage_version *=.*/dovecot_storage_version = 2.3.0/' /etc/dovecot/dovecot.conf`);
  const [set] = await text.run('doveconf dovecot_storage_version');
  step('the new server reads its configuration', set?.stdout.trim() === 'dovecot_storage_version = 2.3.0', set?.output);
  await text.run('mailtwin gate install');
  await text.run('systemctl restart mailtwin');
}

async function thereAndBack({ lab }: World, text: Section): Promise<void> {
  const seen = new Map<string, string>();
  const look = async () => {
    for (const user of ['anna', 'bert']) seen.set(user, await lab.uids(user));
  };
  /** After a switchover: nothing changed for clients, and mail comes in. */
  const serves = async (name: 'a' | 'b') => {
    await lab.becomes(name, { role: 'primary', active: true, phase: 'streaming' });
    for (const [user, before] of seen) step(`${user} finds every UID as it was at ${service}`, (await lab.uids(user)) === before);
    for (const user of seen.keys()) await lab.deliver(user, 2);
    await look();
    await isComplete(lab, name === 'a' ? 'b' : 'a');
  };
  await look();
  await text.run('mailtwin switchover', { answers: [nameAsked('mail-a')] });
  await serves('b');
  const [back] = await text.run('mailtwin switchover', { answers: [nameAsked('mail-b')] });
  step(
    'it warns that the mail server of mail-a is older, and says what was seen',
    /older.*2\.3\.0/s.test(back?.output ?? ''),
    back?.output,
  );
  await serves('a');
  await text.run('mailtwin verify');
  const [ready] = await text.run('mailtwin migrate status', { codes: [1] });
  step('only the switchover is open', ready?.output.match(/^open/gm)?.length === 1, ready?.output);
  await text.run('mailtwin switchover', { answers: [nameAsked('mail-a')] });
  await serves('b');
}

async function otherNode(world: World, text: Section): Promise<void> {
  const { lab } = world;
  const seen = await lab.uids('anna');
  await newRelease(world, text, 'a', async () => {
    await waitFor('mail-b to miss its peer', waitMs, async () => !(await status(lab.host('b'))).peer.connected);
  });
  await configure(world, text, 'a');
  await lab.becomes('b', { role: 'primary', active: true, phase: 'streaming' });
  await isComplete(lab, 'a');
  await text.run('mailtwin verify');
  const [same] = await text.run('mailtwin migrate status');
  step('both nodes are Debian 13', /both nodes run debian 13 and dovecot 2\.4\..*: nothing is to be upgraded/.test(same?.output ?? ''));
  await text.run('mailtwin switchover', { answers: [nameAsked('mail-b')] });
  await lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
  step('anna finds every UID as it was', (await lab.uids('anna')) === seen);
  await lab.deliver('anna', 1);
}
