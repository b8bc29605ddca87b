import type { TerminalSession } from '../../lab/terminal-session.ts';
import { type HostName, status, waitMs } from '../../lab/debian-lab.ts';
import { step } from '../../lab/step.ts';
import { password } from '../../lab/debian-mail.ts';
import { waitFor } from '../../lab/waiting.ts';
import type { Answer } from './book.ts';
import { addConfig, fenceFor, type World } from './world.ts';

/** Messages that mail-a takes while nobody hears of them. */
const lostMessages = 2;

export const nameAsked = (name: string): Answer => [/Type the name of [^:]*: /, name];
/** The loss is shown, and accepted by a word. */
export const lossAsked: Answer = [/Type yes to accept it: /, 'yes'];

/** A secret, Enter, Ctrl-D. */
const typed = (secret: (name: HostName) => string) => async (session: TerminalSession, name: HostName) => {
  session.type(secret(name));
  session.finish();
};

const other = (name: HostName): HostName => (name === 'a' ? 'b' : 'a');

export async function setUp(world: World): Promise<void> {
  const { lab, book } = world;
  await book.follow('Set up a pair', async (text) => {
    await text.run('dpkg -i mailtwin_0.1.0-1_amd64.deb');
    await text.run('systemctl stop dovecot postfix');
    await text.run('mailtwin init --role standby --node mail-b --root mail=/var/vmail:maildir --listen 10.77.0.2:7420');
    await text.run('mailtwin init --role primary --node mail-a --root mail=/var/vmail:maildir --listen 10.77.0.1:7420');
    const { hosts, text: block } = text.config();
    world.takeoverConfig = block;
    for (const name of hosts) addConfig(world, name, fenceFor(block, other(name)));
    await text.run('install -m 600 /dev/stdin /etc/mailtwin/bmc.secret', { meanwhile: typed((name) => lab.bmc(other(name)).password) });
    await text.run('install -m 600 /dev/stdin /etc/mailtwin/probe.secret', { meanwhile: typed(() => password) });
    await text.run('mailtwin gate install');
    await text.run('systemctl start mailtwin');
    await text.run('mailtwin nics assign lan eth0');
    await text.run('mailtwin pair', {
      meanwhile: async (offered) => {
        const [, code = ''] = await offered.see(/code +(\S+)/);
        const [, shown = ''] = await offered.see(/fingerprint +([0-9A-F ]+\w)/);
        const [joined] = await text.run('mailtwin pair 10.77.0.1:7420', {
          answers: [
            [/Code that .*: /, code],
            [/Pair\? \[yes\/no\] /, 'yes'],
          ],
        });
        step('both show the same fingerprint of mail-a', joined?.output.includes(shown) === true);
      },
    });
    await lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
    await text.run('mailtwin doctor');
    await text.run('mailtwin fence test');
    await text.run('mailtwin nics');
    for (const user of ['anna', 'bert']) await lab.deliver(user, 3);
    await lab.host('b').run(['systemctl', 'start', 'dovecot.service'], { mayFail: true });
    step('the mail server of the standby cannot be started', !(await lab.host('b').isActive('dovecot.service')));
  });
}

export async function dailyLook({ book }: World): Promise<void> {
  await book.follow('Daily look', async (text) => {
    await text.run('mailtwin status');
    await text.run('mailtwin verify');
    await text.run('mailtwin verify --deep');
    text.shows();
  });
}

export async function switchover({ lab, book }: World): Promise<void> {
  const seen = await lab.uids('anna');
  await book.follow('Switchover', async (text) => {
    await text.run('mailtwin switchover --dry-run');
    step('the dry run moved nothing', lab.holds('a'));
    await text.run('mailtwin switchover', { answers: [nameAsked('mail-a')] });
    await lab.becomes('b', { role: 'primary', active: true, phase: 'streaming' });
    step('mail-b serves, under the same UIDs', lab.holds('b') && !lab.holds('a') && (await lab.uids('anna')) === seen);
    await isComplete(lab, 'a');
    await text.run('mailtwin switchover', { answers: [nameAsked('mail-b')] });
    await lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
    step('mail-a serves, under the same UIDs', lab.holds('a') && !lab.holds('b') && (await lab.uids('anna')) === seen);
  });
}

export async function failover({ lab, book, watch }: World): Promise<void> {
  await lab.deliver('bert', 1);
  await lab.host('a').run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
  const seen = await lab.uids('bert');
  // What comes in now only mail-a has.
  await isComplete(lab, 'b');
  lab.network.cut('b');
  await lab.deliver('anna', lostMessages);
  await lab.cutPower('a');
  // The kernel here outlives the host: it would still send what it had in its buffers, and answer for it.
  lab.network.cut('a');
  await waitFor('mail-b to miss its peer', waitMs, async () => !(await status(lab.host('b'))).peer.connected);
  lab.network.mend('b');
  await watch.shows('MailtwinNoneActive', 'pair');
  await book.follow('MailtwinNoneActive', (text) => text.run('mailtwin status').then(() => undefined));
  await watch.shows('MailtwinPeerLost', 'b');
  await new Promise((resolve) => setTimeout(resolve, 6000));
  await book.follow('Failover', async (text) => {
    await text.run('mailtwin failover --dry-run');
    await text.run('mailtwin failover', { answers: [nameAsked('mail-a'), lossAsked] });
    text.shows();
    step('mail-a was switched off through its BMC', !lab.bmc('a').isOn);
    step('mail-b serves, under the same UIDs', lab.holds('b') && (await lab.uids('bert')) === seen);
  });
  await watch.gone('MailtwinNoneActive', 'pair');
}

export async function comesBack({ lab, book, watch }: World): Promise<void> {
  await lab.deliver('bert', 1);
  lab.bmc('a').setPower(true);
  lab.network.mend('a');
  await lab.host('a').boot();
  await waitFor('mail-a to come back fenced', waitMs, async () => (await status(lab.host('a'))).role === 'fenced');
  step('no address, no mail server', !lab.holds('a') && !(await lab.host('a').isActive('dovecot.service')));
  await watch.shows('MailtwinFenced', 'a');
  await book.follow('MailtwinCannotTakeOver', (text) => text.run('mailtwin status').then(() => undefined));
  await book.follow('MailtwinFenced', (text) => text.run('mailtwin status').then(() => undefined));
  await book.follow('The dead primary returns', async (text) => {
    const before = (await lab.uids('anna')).split('\n').length;
    const [found] = await text.run('mailtwin salvage', { codes: [1] });
    step('what only mail-a has is found', found?.output.match(/^only here/gm)?.length === lostMessages);
    await text.run('mailtwin salvage --apply');
    step('it is in the mailbox', (await lab.uids('anna')).split('\n').length === before + lostMessages);
    await text.run('mailtwin rejoin', { answers: [nameAsked('mail-a')] });
    await lab.becomes('b', { role: 'primary', active: true, phase: 'streaming' });
  });
  await watch.gone('MailtwinFenced', 'a');
  await backToA(lab);
}

/** Procedures begin with mail-a as the primary. */
export async function backToA(lab: World['lab']): Promise<void> {
  await lab.becomes('b', { role: 'primary', active: true, phase: 'streaming' });
  await isComplete(lab, 'a');
  await lab.host('a').run(['mailtwin', 'switchover', '--confirm', 'mail-b'], { timeoutMs: 300_000 });
  await lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
  await isComplete(lab, 'b');
}

/** A moment after a switchover the standby has heard that it has all of it. */
export async function isComplete(lab: World['lab'], name: 'a' | 'b'): Promise<void> {
  await waitFor(`mail-${name} to hold a complete copy`, waitMs, async () => {
    const { role, possibleLoss } = await status(lab.host(name));
    return role === 'standby' && possibleLoss.complete;
  });
}
