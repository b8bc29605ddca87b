import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { status, waitMs, type HostName } from '../../lab/debian-lab.ts';
import { step } from '../../lab/step.ts';
import { password } from '../../lab/debian-mail.ts';
import { waitFor } from '../../lab/waiting.ts';
import type { Section } from './book.ts';
import { nameAsked } from './takeovers.ts';
import { addConfig, editConfig, fenceFor, type World } from './world.ts';

/** The port of mail-c that has a cable. */
const port = 'enp3s0';

/** mail-c joins, fills, takes over from mail-a; mail-b becomes its standby; mail-a goes. */
export async function newHardware(world: World): Promise<void> {
  const { lab, book } = world;
  const c = lab.host('c');
  await c.boot();
  book.values['PORT'] = port;
  // What the text says of the new machine: as in "Set up a pair", with a release that is not older than the pair's.
  await c.run(['sh', '-c', 'cd /root && dpkg -i "$(ls -v mailtwin_*.deb | tail -n 1)"'], { timeoutMs: 300_000 });
  await c.run(['systemctl', 'stop', 'dovecot', 'postfix']);
  await c.run(['sh', '-c', 'rm -rf /var/vmail && install -d -o vmail -g vmail /var/vmail']);
  const seen = await lab.uids('anna');
  await book.follow('Day one: the new machine fills', (text) => dayOne(world, text));
  await book.follow('Day two: the move', (text) => dayTwo(world, text));
  step('clients find every UID as it was', (await lab.uids('anna')) === seen);
  await book.follow('Afterwards: the old machine is retired', (text) => retire(world, text));
  await lab.deliver('anna', 1);
  await lab.host('c').run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
  step('mail-b follows mail-c', lab.host('b').isRunning && lab.holds('c'));
}

async function dayOne(world: World, text: Section): Promise<void> {
  const { lab, book, watch, takeoverConfig } = world;
  await text.run('mailtwin init --role standby --node mail-c --root mail=/var/vmail:maildir --listen 10.77.0.3:7420');
  addConfig(world, 'c', fenceFor(takeoverConfig, 'a'));
  lab.host('c').write('/etc/mailtwin/bmc.secret', `${lab.bmc('a').password}\n`, 0o600);
  lab.host('c').write('/etc/mailtwin/probe.secret', `${password}\n`, 0o600);
  await text.run('mailtwin gate install');
  const { hosts, text: limits } = text.config();
  for (const name of hosts) {
    addConfig(world, name, fenceFor(takeoverConfig, 'c'));
    // A fill that stands still, until its alert was seen.
    addConfig(world, name, limits.replaceAll(/rate: [^ ]+/g, 'rate: 100B/s'));
  }
  await text.run('systemctl stop mailtwin');
  await text.run('systemctl restart mailtwin');
  await text.run('mailtwin pair --replace', {
    meanwhile: async (offered) => {
      const [, code = ''] = await offered.see(/code +(\S+)/);
      await text.run('mailtwin pair 10.77.0.1:7420', {
        answers: [
          [/Code that .*: /, code],
          [/Pair\? \[yes\/no\] /, 'yes'],
        ],
      });
    },
  });
  await text.run('systemctl start mailtwin');
  await waitFor('the fill to run', waitMs, async () => (await status(lab.host('a'))).replication.phase === 'initial');
  await watch.shows('MailtwinCopyIncomplete', 'c');
  await book.follow('MailtwinCopyIncomplete', async (section) => {
    const [seen] = await section.run('mailtwin status');
    step('status shows how far the fill is', /initial/.test(seen?.output ?? ''));
  });
  await watch.shows('MailtwinFillStalled', 'a', 180_000);
  await book.follow('MailtwinFillStalled', async (section) => {
    const [seen] = await section.run('mailtwin status');
    step('status shows the fill', seen?.output.includes('initial') === true);
    for (const name of hosts) addConfig(world, name, limits);
    await section.run('systemctl restart mailtwin');
  });
  await text.run('mailtwin nics identify', {
    meanwhile: async (session) => {
      await session.see(/Pull or plug a cable/);
      await new Promise((resolve) => setTimeout(resolve, 2000));
      lab.network.cut('c');
      await session.see(new RegExp(`pulled +${port}`));
      lab.network.mend('c');
      await session.see(new RegExp(`plugged +${port}`));
      session.interrupt();
    },
  });
  await text.run('mailtwin nics assign lan PORT');
  await text.run('mailtwin migrate status', { codes: [1] });
  await lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
  for (const [alert, on] of [
    ['MailtwinFillStalled', 'a'],
    ['MailtwinCopyIncomplete', 'c'],
  ] as const)
    await watch.gone(alert, on);
}

async function dayTwo({ lab }: World, text: Section): Promise<void> {
  const c = lab.host('c');
  await text.run('mailtwin verify --deep');
  await text.run('mailtwin migrate snapshot before.json');
  c.write('/root/before.json', lab.host('a').read('/root/before.json'));
  const [open] = await text.run('mailtwin migrate status', { codes: [1] });
  text.shows();
  step('only the switchover is open', open?.output.match(/^open/gm)?.length === 1);
  await text.run('mailtwin switchover', { answers: [nameAsked('mail-a')] });
  await text.run('mailtwin migrate report before.json --html report.html');
  step('the report is a page, too', existsSync(join(c.tree, 'root/report.html')));
  await lab.becomes('c', { role: 'primary', active: true, phase: 'streaming' });
}

async function retire(world: World, text: Section): Promise<void> {
  const { lab, takeoverConfig } = world;
  const a = lab.host('a');
  await text.run('systemctl disable --now mailtwin');
  await text.run('systemctl disable dovecot postfix');
  addConfig(world, 'b', fenceFor(takeoverConfig, 'c'));
  editConfig(world, 'b', { takeover: null });
  addConfig(world, 'c', fenceFor(takeoverConfig, 'b'));
  await text.run('systemctl restart mailtwin');
  await text.run('mailtwin pair --replace', {
    meanwhile: async (offered) => {
      const [, code = ''] = await offered.see(/code +(\S+)/);
      await text.run('mailtwin pair 10.77.0.3:7420 --replace', {
        answers: [
          [/Code that .*: /, code],
          [/Pair\? \[yes\/no\] /, 'yes'],
        ],
      });
    },
  });
  await text.run('systemctl start mailtwin');
  await lab.becomes('c', { role: 'primary', active: true, phase: 'streaming' });
  // The standby takes the epoch of its new primary with the first that it hears of it.
  const epochOf = async (name: HostName) => (await status(lab.host(name))).epoch;
  await waitFor('mail-b to be of the epoch of mail-c', waitMs, async () => (await epochOf('b')) === (await epochOf('c')));
  await text.run('mailtwin doctor');
  await text.run('dpkg --purge mailtwin');
  await a.shutDown();
  lab.bareAddress('a');
  await a.boot();
  await waitFor('mail-a to settle', waitMs, () => a.isRunning);
  step(
    'mail-a serves nothing after a start',
    !lab.holds('a') && !(await a.isActive('dovecot.service')) && !(await a.isActive('postfix.service')),
  );
  step('and has its mail', existsSync(join(a.tree, 'var/vmail/anna/cur')));
}
