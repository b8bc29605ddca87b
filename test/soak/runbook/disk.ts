import { service, status, waitMs } from '../../lab/debian-lab.ts';
import { step } from '../../lab/step.ts';
import { password } from '../../lab/debian-mail.ts';
import { ImapSession } from '../../lab/imap-session.ts';
import { waitFor } from '../../lab/waiting.ts';
import { addConfig, type World } from './world.ts';

/** Just below what Postfix takes. */
const letter = `${'x'.repeat(70)}\r\n`.repeat(125_000);

/** The copy's file system is filled by mail for real; what was deleted keeps its share in history. */
export async function diskFull({ lab, book, watch }: World): Promise<void> {
  const [a, b] = [lab.host('a'), lab.host('b')];
  for (let i = 0; i < 8; i++) await lab.send('bert', letter);
  await waitFor('the letters to be in the mailbox', waitMs, async () => (await large('bert')) === 8);
  await a.run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
  await watch.shows('MailtwinDiskWillFill', 'b');
  await book.follow('MailtwinDiskWillFill', (text) => text.run('df -h /var/vmail /var/lib/mailtwin').then(() => undefined));
  await removeLarge('bert');
  await a.run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
  // With what history keeps there is room for about ten.
  const isHeld = async () => (await status(a)).replication.held?.code === 'no-space';
  for (let i = 0; i < 30 && !(await isHeld()); i++) await lab.send('bert', letter);
  await waitFor('the standby to pause', waitMs, isHeld);
  await watch.shows('MailtwinPositionStuck', 'a');
  await book.follow('MailtwinPositionStuck', async (text) => {
    const [seen] = await text.run('mailtwin status');
    step('status says that there is no room', seen?.output.includes('no-space') === true);
    await text.run('journalctl -u mailtwin -n 50 --no-pager');
    await text.run('systemctl restart mailtwin');
  });
  await watch.shows('MailtwinPossibleLossHigh', 'a');
  await book.follow('MailtwinPossibleLossHigh', async (text) => {
    const [seen] = await text.run('mailtwin status');
    step('status says why', seen?.output.includes('no-space') === true);
  });
  await watch.shows('MailtwinLagging', 'a');
  await book.follow('MailtwinLagging', async (text) => {
    const [seen] = await text.run('mailtwin status');
    step('status names the letters that wait', /lagging.*bert/s.test(seen?.output ?? ''));
    await text.run('df -h');
  });
  await book.follow('Disk full', async (text) => {
    const [seen] = await text.run('mailtwin status');
    step('both nodes serve or wait; the primary names what is held', seen?.output.includes('no-space') === true);
    const { hosts, text: block } = text.config();
    // What stands in the text is more than this file system has.
    for (const name of hosts) addConfig({ lab }, name, block.replace('2GiB', '20MB'));
    await text.run('systemctl restart mailtwin');
    await text.run('mailtwin wait --timeout 300');
    await text.run('mailtwin verify');
  });
  for (const alert of ['MailtwinPositionStuck', 'MailtwinPossibleLossHigh', 'MailtwinLagging']) await watch.gone(alert, 'a');
  await lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
  await removeLarge('bert');
  await watch.gone('MailtwinDiskWillFill', 'b', 240_000);
  step('mail-b goes on', b.isRunning);
}

async function inbox<T>(user: string, work: (session: ImapSession) => Promise<T>): Promise<T> {
  const session = await ImapSession.open({ host: service, port: 143 }, user, password);
  try {
    await session.client.mailboxOpen('INBOX');
    return await work(session);
  } finally {
    await session.client.logout();
  }
}

async function large(user: string): Promise<number> {
  return inbox(user, async ({ client }) => ((await client.search({ larger: 1_000_000 })) || []).length);
}

async function removeLarge(user: string): Promise<void> {
  await inbox(user, async ({ client }) => {
    const found = await client.search({ larger: 1_000_000 }, { uid: true });
    if (found && found.length > 0) await client.messageDelete(found, { uid: true });
  });
}
