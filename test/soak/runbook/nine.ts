import { type HostName, status, waitMs } from '../../lab/debian-lab.ts';
import { step } from '../../lab/step.ts';
import { waitFor } from '../../lab/waiting.ts';
import { backToA, isComplete, lossAsked, nameAsked } from './takeovers.ts';
import { editConfig, type World } from './world.ts';

/** How long nobody comes. */
const darkMs = 20 * 60_000;
const minuteMs = 60_000;

/** What both have, whatever the BMC is. */
const withoutBmc = 'fencing:\n  - { type: cooperative, timeoutSeconds: 5 }\n  - { type: manual }\n';

/** The power of mail-a fails at night, mail-b is started anew in between, and at nine a person opens the runbook at "Failover". */
export async function nineOClock(world: World): Promise<void> {
  const { lab, book } = world;
  const seen = await darkNight(world);
  await book.follow('Failover', async (text) => {
    await text.run('mailtwin failover --dry-run');
    await text.run('mailtwin failover', { answers: [nameAsked('mail-a'), lossAsked] });
    text.shows();
  });
  step('mail-a was switched off through its BMC', !lab.bmc('a').isOn);
  await serves(world, seen);
}

/** The same without a BMC: the person goes there and pulls both cords. */
export async function nineOClockByHand(world: World): Promise<void> {
  const { lab, book } = world;
  for (const name of ['a', 'b'] as const) editConfig(world, name, { fencing: withoutBmc });
  for (const name of ['b', 'a'] as const) await lab.host(name).run(['systemctl', 'restart', 'mailtwin.service']);
  await lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
  const seen = await darkNight(world);
  const refused = await lab.host('b').run(['mailtwin', 'failover', '--confirm', 'mail-a'], { mayFail: true, timeoutMs: 300_000 });
  step('without a word of a person nothing is taken over', refused.code !== 0 && !lab.holds('b'));
  await book.follow('No fence level proves it off', async (text) => {
    await text.run('mailtwin failover --fenced-by-hand "pulled both cords, LEDs dark"', { answers: [nameAsked('mail-a'), lossAsked] });
  });
  await serves(world, seen);
}

/** @returns what a client of mail-a had seen before. */
async function darkNight({ lab }: World): Promise<string> {
  await lab.deliver('bert', 2);
  await isComplete(lab, 'b');
  await lab.host('a').run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
  const seen = await lab.uids('bert');
  await lab.cutPower('a');
  // The kernel here outlives the host: it would still send what it had in its buffers, and answer for it.
  lab.network.cut('a');
  const since = performance.now();
  const b = lab.host('b');
  await waitFor('mail-b to miss its peer', waitMs, async () => !(await status(b)).peer.connected);
  await until(since + darkMs / 2);
  await b.shutDown();
  await b.boot();
  await waitFor('mail-b to be there again', waitMs, async () => (await status(b)).role === 'standby');
  step('mail-b does not serve by itself', !lab.holds('b') && !(await b.isActive('dovecot.service')));
  await until(since + darkMs);
  return seen;
}

async function until(time: number): Promise<void> {
  for (let left = time - performance.now(); left > 0; left = time - performance.now()) {
    console.log(`mail-a stays dark for another ${Math.ceil(left / minuteMs)} min`);
    await new Promise((resolve) => setTimeout(resolve, Math.min(left, 5 * minuteMs)));
  }
}

/** IMAP is up on mail-b as clients knew it; then mail-a comes back, and all is as before. */
async function serves({ lab }: World, seen: string): Promise<void> {
  const [standby, active]: [HostName, HostName] = ['a', 'b'];
  step('mail-b serves, under the same UIDs', lab.holds(active) && (await lab.uids('bert')) === seen);
  lab.bmc(standby).setPower(true);
  lab.network.mend(standby);
  await lab.host(standby).boot();
  await waitFor('mail-a to come back fenced', waitMs, async () => (await status(lab.host(standby))).role === 'fenced');
  await lab.host(standby).run(['mailtwin', 'rejoin', '--confirm', 'mail-a', '--salvage'], { timeoutMs: 300_000 });
  await backToA(lab);
}
