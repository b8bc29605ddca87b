import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { service, status, waitMs, type HostName } from '../../lab/debian-lab.ts';
import { smtp } from '../../lab/debian-mail.ts';
import { step } from '../../lab/step.ts';
import { LabProcess, runNow } from '../../lab/processes.ts';
import { waitFor } from '../../lab/waiting.ts';
import { backToA, isComplete, lossAsked, nameAsked } from './takeovers.ts';
import { editConfig, type World } from './world.ts';

/**
 * What an alert stands for, made real on the pair; the rule's expression holds then, its section is gone through, and it
 * holds no more. What cannot be made real here:
 *
 * | alert | what is not real |
 * |---|---|
 * | all | the time that a rule waits (`for`) is not waited for, and three windows are shortened (`rule-watch.ts`) |
 * | MailtwinClockSkew | the clock of one agent is false (libfaketime); a container cannot set the machine's clock, and systemd-timesyncd does not run in one: taking libfaketime away stands for it |
 * | MailtwinVerifyOld | a verification of nine days ago is made by an agent with a false clock |
 * | MailtwinDamagedFiles | the file is written to with its times put back; no bit is flipped below the file system |
 * | MailtwinPositionStuck | the cause is a full disk; a hanging disk of the standby cannot be made |
 */
export const alerts: Record<string, (world: World) => Promise<void>> = {
  peerLost,
  scrapeStale,
  servicesDown,
  foreignWrites,
  damagedFiles,
  leftOut,
  fileSystemMissing,
  verifyDifferent,
  unproven,
  fencePathDead,
  clockSkew,
  verifyOld,
  massDeletion,
  putBack,
  addressConflict,
  addressRemoved,
  keyProblem,
  takeoverUnfinished,
  certificateEnds,
  queueStranded,
};

async function streaming({ lab }: World): Promise<void> {
  await lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
}

async function peerLost(world: World): Promise<void> {
  const { lab, book, watch } = world;
  await lab.host('b').run(['systemctl', 'stop', 'mailtwin']);
  await watch.shows('MailtwinPeerLost', 'a');
  await book.follow('MailtwinPeerLost', async (text) => {
    const [seen] = await text.run('systemctl status mailtwin', { codes: [3] });
    step('it says that the agent does not run', seen?.output.includes('inactive (dead)') === true);
    const [found] = await text.run('mailtwin doctor', { codes: [0, 1] });
    step('doctor names the peer', /(fail|warn) +\S*(peer|link)/.test(found?.output ?? ''));
    await text.run('systemctl start mailtwin');
  });
  await watch.gone('MailtwinPeerLost', 'a');
  await streaming(world);
}

async function scrapeStale(world: World): Promise<void> {
  const { lab, book, watch } = world;
  await lab.host('b').run(['systemctl', 'stop', 'mailtwin']);
  await watch.shows('MailtwinScrapeStale', 'b');
  await book.follow('MailtwinScrapeStale', async (text) => {
    await text.run('systemctl status mailtwin', { codes: [3] });
    await text.run('systemctl start mailtwin');
  });
  await watch.gone('MailtwinScrapeStale', 'b');
  await streaming(world);
}

async function servicesDown({ lab, book, watch }: World): Promise<void> {
  await lab.host('a').run(['systemctl', 'stop', 'dovecot']);
  await watch.shows('MailtwinServicesDown', 'a');
  await book.follow('MailtwinServicesDown', async (text) => {
    await text.run('systemctl status dovecot postfix', { codes: [3] });
    await text.run('journalctl -u dovecot -n 20 --no-pager');
    await text.run('systemctl start dovecot postfix');
  });
  await watch.gone('MailtwinServicesDown', 'a');
  await lab.deliver('anna', 1);
}

async function foreignWrites({ lab, book, watch }: World): Promise<void> {
  await lab.host('b').run(['sh', '-c', 'echo strange > /var/vmail/anna/cur/strange']);
  await watch.shows('MailtwinForeignWrites', 'b');
  await book.follow('MailtwinForeignWrites', async (text) => {
    const [seen] = await text.run('mailtwin status');
    step('status names the place', seen?.output.includes('anna/cur') === true);
    await text.run('mailtwin verify', { codes: [1] });
    await text.run('mailtwin verify');
  });
  await watch.gone('MailtwinForeignWrites', 'b');
  step('the strange file is gone', (await lab.host('b').run(['ls', '/var/vmail/anna/cur'])).stdout.includes('strange') === false);
}

/** A message of the copy is another one than was put there, and nothing shows it; the primary is not there to bring it again. */
async function damagedFiles(world: World): Promise<void> {
  const { lab, book, watch } = world;
  const [a, b] = [lab.host('a'), lab.host('b')];
  await a.run(['systemctl', 'stop', 'mailtwin']);
  const damage = [
    'file=$(find /var/vmail/anna/cur /var/vmail/anna/new -type f | head -n 1)',
    'cp -p "$file" /root/kept',
    'printf "\\001" | dd of="$file" bs=1 seek=20 conv=notrunc,fsync status=none',
    'touch -r /root/kept "$file"',
  ];
  await b.run(['sh', '-ec', damage.join('; ')]);
  await b.run(['mailtwin', 'scrub', 'start']);
  await watch.shows('MailtwinDamagedFiles', 'b');
  await book.follow('MailtwinDamagedFiles', async (text) => {
    const [seen] = await text.run('mailtwin scrub', { codes: [1] });
    step('it names the message', seen?.output.includes('mail/anna/') === true);
  });
  await a.run(['systemctl', 'start', 'mailtwin']);
  await watch.gone('MailtwinDamagedFiles', 'b');
  await streaming(world);
}

/** A mailbox is moved to another disk, and a link left in its place. */
async function leftOut(world: World): Promise<void> {
  const { lab, book, watch } = world;
  const a = lab.host('a');
  await a.run(['sh', '-c', 'mkdir -p /srv/disk2 && mv /var/vmail/bert /srv/disk2/bert && ln -s /srv/disk2/bert /var/vmail/bert']);
  await watch.shows('MailtwinLeftOut', 'a');
  await book.follow('MailtwinLeftOut', async (text) => {
    const [seen] = await text.run('mailtwin status');
    step('status names the place and where it leads', seen?.output.includes('/srv/disk2/bert') === true);
    await text.run('mailtwin doctor', { codes: [0, 1] });
  });
  step('the standby has the mail that it had', (await lab.host('b').run(['ls', '/var/vmail/bert'])).stdout.includes('cur'));
  await a.run(['sh', '-c', 'rm /var/vmail/bert && mv /srv/disk2/bert /var/vmail/bert']);
  await watch.gone('MailtwinLeftOut', 'a');
  await streaming(world);
}

/** A disk below the root goes, and comes back. */
async function fileSystemMissing(world: World): Promise<void> {
  const { lab, book, watch } = world;
  const a = lab.host('a');
  const fstab = '/srv/disk3 /var/vmail/disk3 none bind 0 0';
  await a.run([
    'sh',
    '-c',
    `mkdir -p /srv/disk3 /var/vmail/disk3 && echo '${fstab}' >> /etc/fstab && mount -a && echo mail > /srv/disk3/letter`,
  ]);
  await a.run(['mailtwin', 'wait', '--timeout', '60']);
  await a.run(['umount', '-l', '/var/vmail/disk3']);
  await watch.shows('MailtwinFileSystemMissing', 'a');
  step('the standby has what was on it', (await lab.host('b').run(['ls', '/var/vmail/disk3'])).stdout.includes('letter'));
  await book.follow('MailtwinFileSystemMissing', async (text) => {
    const [seen] = await text.run('mailtwin status');
    step('status names the place', seen?.output.includes('mail/disk3') === true);
    await text.run('mount -a');
    await text.run('mailtwin wait --timeout 600');
  });
  await watch.gone('MailtwinFileSystemMissing', 'a');
  await streaming(world);
}

async function verifyDifferent({ lab, book, watch }: World): Promise<void> {
  const b = lab.host('b');
  const files = (
    await b.run(['sh', '-c', 'ls -d /var/vmail/bert/cur/* /var/vmail/bert/new/* 2>/dev/null'], { mayFail: true })
  ).stdout.split('\n');
  const victim = files[0] ?? '';
  // As a disk that loses a sector: other bytes, and nothing else of the file is another.
  await b.run([
    'sh',
    '-c',
    `touch -r '${victim}' /tmp/times && printf XXXX | dd of='${victim}' conv=notrunc status=none && touch -r /tmp/times '${victim}'`,
  ]);
  const found = await lab.host('a').run(['mailtwin', 'verify', '--deep'], { mayFail: true });
  step('the weekly deep verification finds a file whose content is another', found.code === 1 && found.stdout.includes('bert'));
  await watch.shows('MailtwinVerifyDifferent', 'a');
  await book.follow('MailtwinVerifyDifferent', (text) => text.run('mailtwin verify --deep').then(() => undefined));
  await watch.gone('MailtwinVerifyDifferent', 'a');
}

/** A path that is longer than the kernel takes at once, as runaway scripts make them: it cannot be read by its name. */
async function unproven(world: World): Promise<void> {
  const { lab, book, watch } = world;
  const a = lab.host('a');
  const name = 'n'.repeat(250);
  await a.run(['sh', '-c', `cd /var/vmail/anna && for i in $(seq 20); do mkdir ${name} && cd ${name}; done; echo deep > deep`]);
  try {
    await watch.shows('MailtwinUnproven', 'a');
    await book.follow('MailtwinUnproven', async (text) => {
      const [seen] = await text.run('mailtwin status');
      step('status names the directory and the reason', seen?.output.includes('is longer than') === true);
      await text.run('mailtwin doctor', { codes: [0, 1] });
    });
  } finally {
    await a.run(['rm', '-rf', `/var/vmail/anna/${name}`]);
  }
  await watch.gone('MailtwinUnproven', 'a', 180_000);
  await streaming(world);
}

async function fencePathDead({ lab, book, watch }: World): Promise<void> {
  lab.bmc('a').pause();
  await lab.host('b').run(['mailtwin', 'fence', 'test'], { mayFail: true, timeoutMs: 150_000 });
  await watch.shows('MailtwinFencePathDead', 'b');
  lab.bmc('a').resume();
  await book.follow('MailtwinFencePathDead', (text) => text.run('mailtwin fence test').then(() => undefined));
  await watch.gone('MailtwinFencePathDead', 'b');
}

async function falseClock(world: World, name: HostName, offset: string | null): Promise<void> {
  const host = world.lab.host(name);
  const file = '/etc/systemd/system/mailtwin.service.d/clock.conf';
  const preload = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1';
  if (offset === null) await host.run(['rm', '-f', file]);
  else host.write(file, `[Service]\nEnvironment=LD_PRELOAD=${preload} FAKETIME=${offset} FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1\n`);
  await host.run(['systemctl', 'daemon-reload']);
  await host.run(['systemctl', 'restart', 'mailtwin']);
  await streaming(world);
}

async function clockSkew(world: World): Promise<void> {
  const { book, watch } = world;
  await falseClock(world, 'b', '+60s');
  await watch.shows('MailtwinClockSkew', 'a');
  await book.follow('MailtwinClockSkew', async (text) => {
    await text.run('timedatectl');
    await text.run('systemctl restart systemd-timesyncd');
    await falseClock(world, 'b', null);
  });
  await watch.gone('MailtwinClockSkew', 'a');
}

async function verifyOld(world: World): Promise<void> {
  const { lab, book, watch } = world;
  await falseClock(world, 'a', '-9d');
  try {
    await lab.host('a').run(['mailtwin', 'verify']);
  } finally {
    await falseClock(world, 'a', null);
  }
  await watch.shows('MailtwinVerifyOld', 'a');
  await book.follow('MailtwinVerifyOld', (text) => text.run('mailtwin verify').then(() => undefined));
  await watch.gone('MailtwinVerifyOld', 'a');
}

async function massDeletion(world: World): Promise<void> {
  const { lab, book, watch } = world;
  const counted = async (name: HostName) =>
    Number((await lab.host(name).run(['sh', '-c', `find /var/vmail/${bulkUser} -type f -path '*/cur/*' | wc -l`])).stdout);
  const before = await counted('b');
  await lab.host('a').run(['sh', '-c', `find /var/vmail/${bulkUser} -type f -path '*/cur/*' -delete`]);
  await watch.shows('MailtwinMassDeletionHeld', 'a');
  const kept = await counted('b');
  // As many as `limits.massDeleteFilesMin` go before it is a mass deletion, and up to half as many again where a mailbox loses few at a time.
  step(`the standby still has ${kept} of ${before} messages`, before > 1500 && kept >= before - 1500);
  await book.follow('MailtwinMassDeletionHeld', async (text) => {
    const [seen] = await text.run('mailtwin status');
    step('status says what is held', seen?.output.includes('mass-delete') === true);
    await text.run('mailtwin allow-delete --all');
  });
  await watch.gone('MailtwinMassDeletionHeld', 'a');
  await waitFor('the standby to follow', waitMs, async () => (await counted('b')) === 0);
  await streaming(world);
}

async function putBack(world: World): Promise<void> {
  const { lab, book, watch } = world;
  const host = lab.host('a');
  // The place of the disk that another alert has mounted there stays.
  const empty = (dir: string) => `find ${dir} -mindepth 1 -maxdepth 1 ! -name disk3 -exec rm -rf {} +`;
  const copy = (from: string, to: string) => host.run(['sh', '-c', `mkdir -p ${to} && ${empty(to)} && cp -a ${from}/. ${to}`]);
  const stop = () => host.run(['systemctl', 'stop', 'dovecot', 'postfix', 'mailtwin']);
  await stop();
  await copy('/var/vmail', '/var/snapshot-vmail');
  await copy('/var/lib/mailtwin', '/var/snapshot-state');
  await host.run(['systemctl', 'start', 'mailtwin']);
  await streaming(world);
  await host.run([
    'sh',
    '-c',
    `mkdir -p /var/vmail/${bulkUser}/Maildir/new && touch /var/vmail/${bulkUser}/Maildir/new/1700000000.M1P1.later`,
  ]);
  await host.run(['mailtwin', 'wait']);
  await stop();
  await copy('/var/snapshot-vmail', '/var/vmail');
  await copy('/var/snapshot-state', '/var/lib/mailtwin');
  await host.run(['systemctl', 'start', 'mailtwin']);
  await watch.shows('MailtwinPutBack', 'a');
  await book.follow('MailtwinPutBack', async (text) => {
    const [seen] = await text.run('mailtwin status');
    step('status says that the store was put back', seen?.output.includes('put-back') === true);
    await text.run('mailtwin keep-this-store --confirm mail-a');
  });
  await watch.gone('MailtwinPutBack', 'a');
  await streaming(world);
}

/** A script that a person forgot. */
async function addressRemoved({ lab, book, watch }: World): Promise<void> {
  const { namespace } = lab.network.host('a');
  const remove = 'while :; do ip address del 10.77.0.100/24 dev eth0 2>/dev/null; sleep 0.5; done';
  const script = new LabProcess('sh', ['-c', remove], { namespace });
  await watch.shows('MailtwinAddressRemoved', 'a', 180_000);
  await book.follow('MailtwinAddressRemoved', async (text) => {
    const [seen] = await text.run('mailtwin nics', { codes: [1] });
    step('nics says that the address is removed again and again', seen?.output.includes('removed again and again') === true);
    await script.kill9();
  });
  await watch.gone('MailtwinAddressRemoved', 'a', 300_000);
}

/** A user with enough mail that its loss is a mass deletion; `mailgen` makes it. */
export const bulkUser = 'bulk';

async function addressConflict({ lab, book, watch }: World): Promise<void> {
  const { namespace } = lab.network.host('client');
  runNow('ip', ['-n', namespace, 'address', 'add', '10.77.0.100/24', 'dev', 'eth0']);
  await watch.shows('MailtwinAddressConflict', 'a', 180_000);
  const mac = /link\/ether (\S+)/.exec(runNow('ip', ['-n', namespace, 'link', 'show', 'eth0']))?.[1] ?? '?';
  await book.follow('MailtwinAddressConflict', async (text) => {
    const [seen] = await text.run('mailtwin nics', { codes: [1] });
    step('nics shows the hardware address of the other host', seen?.output.includes(mac) === true);
    runNow('ip', ['-n', namespace, 'address', 'del', '10.77.0.100/24', 'dev', 'eth0']);
  });
  await watch.gone('MailtwinAddressConflict', 'a', 180_000);
}

/** mail-b gets another key, as after a restore of half a backup. */
async function keyProblem(world: World): Promise<void> {
  const { lab, book, watch } = world;
  const b = lab.host('b');
  const fresh = [
    '--config',
    '/tmp/fresh.yaml',
    '--state',
    '/tmp/fresh',
    '--role',
    'standby',
    '--node',
    'mail-b',
    '--root',
    'mail=/var/vmail:maildir',
  ];
  await b.run(['systemctl', 'stop', 'mailtwin']);
  await b.run(['mailtwin', 'init', ...fresh, '--listen', '10.77.0.2:7420']);
  await b.run(['sh', '-c', 'cp -p /tmp/fresh/node.key /tmp/fresh/node.crt /var/lib/mailtwin/ && rm -rf /tmp/fresh /tmp/fresh.yaml']);
  await b.run(['systemctl', 'start', 'mailtwin']);
  await watch.shows('MailtwinKeyProblem', 'b');
  await book.follow('MailtwinKeyProblem', async (text) => {
    await text.run('mailtwin status');
    await text.run('mailtwin pair --replace', {
      meanwhile: async (offered) => {
        const [, code = ''] = await offered.see(/code +(\S+)/);
        await text.run('mailtwin pair 10.77.0.1:7420 --replace', {
          answers: [
            [/Code that .*: /, code],
            [/Pair\? \[yes\/no\] /, 'yes'],
          ],
        });
      },
    });
    await text.run('systemctl restart mailtwin');
  });
  await watch.gone('MailtwinKeyProblem', 'b');
  await streaming(world);
}

/** The agent that takes over is killed on the way, when the old primary has stepped down. */
async function takeoverUnfinished(world: World): Promise<void> {
  const { lab, book, watch } = world;
  const b = lab.host('b');
  const slow = 'takeover:\n  hooks: { before-services: [sleep, "25"] }\n';
  editConfig(world, 'b', { takeover: slow });
  await b.run(['systemctl', 'restart', 'mailtwin']);
  await streaming(world);
  const running = b.start(['mailtwin', 'switchover', '--confirm', 'mail-a']);
  await waitFor('mail-a to have stepped down', waitMs, () => lab.holds('b') || !running.isRunning);
  if (!lab.holds('b')) throw new Error(`the switchover ended early: ${running.output}`);
  await b.run(['systemctl', 'kill', '--kill-who=main', '--signal=KILL', 'mailtwin']);
  await running.ended;
  await watch.shows('MailtwinTakeoverUnfinished', 'b');
  await book.follow('MailtwinTakeoverUnfinished', async (text) => {
    await text.run('mailtwin status');
    await text.run('mailtwin switchover', { answers: [nameAsked('mail-a')] });
  });
  await watch.gone('MailtwinTakeoverUnfinished', 'b');
  await lab.becomes('b', { role: 'primary', active: true, phase: 'streaming' });
  editConfig(world, 'b', { takeover: null });
  await b.run(['systemctl', 'restart', 'mailtwin']);
  await lab.becomes('b', { role: 'primary', active: true, phase: 'streaming' });
  await backToA(lab);
}

/** The certificate of the standby's Dovecot was forgotten, and nobody sees it until the takeover. The section names commands, and none to be typed. */
async function certificateEnds(world: World): Promise<void> {
  const { lab, watch } = world;
  const b = lab.host('b');
  const [local, pem] = ['/etc/dovecot/local.conf', '/etc/dovecot/short.pem'];
  const before = b.read(local);
  const settings = { bookworm: ['ssl_cert = <', 'ssl_key = <'], trixie: ['ssl_server_cert_file = ', 'ssl_server_key_file = '] }[
    lab.release('b')
  ];
  const certificate = (days: string) => {
    const file = join(b.tree, pem);
    const request = [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-subj',
      '/CN=mail.example.test',
    ];
    runNow('openssl', [...request, '-days', days, '-keyout', file, '-out', `${file}.crt`]);
    b.write(pem, b.read(pem) + b.read(`${pem}.crt`), 0o600);
  };
  const readAnew = async () => {
    await b.run(['systemctl', 'restart', 'mailtwin']);
    await streaming(world);
  };
  certificate('5');
  b.write(local, before.replace('ssl = no\n', `ssl = yes\n${settings.map((setting) => `${setting}${pem}\n`).join('')}`));
  await readAnew();
  await watch.shows('MailtwinCertificateEnds', 'b');
  const found = await b.run(['mailtwin', 'doctor'], { mayFail: true });
  step('doctor names the file and when it ends', found.stdout.includes(pem) && /ends in [45] days/.test(found.stdout));
  certificate('90');
  await readAnew();
  await watch.gone('MailtwinCertificateEnds', 'b');
  b.write(local, before);
  await readAnew();
}

/** Mail that mail-a could not hand on before it stepped down; brought to mail-b as the section says, which names commands and none to be typed. */
async function queueStranded(world: World): Promise<void> {
  const { lab, watch } = world;
  const [a, b] = [lab.host('a'), lab.host('b')];
  const waiting = async (host: typeof a) => (await host.run(['mailq'])).stdout.match(/^[0-9A-Z]{6,}/gim)?.length ?? 0;
  await streaming(world);
  for (const letter of ['first', 'second']) await smtp(service, 'somebody@[10.77.0.99]', `Subject: ${letter}\r\n\r\ntext\r\n`);
  await waitFor(
    'both letters to be put off',
    waitMs,
    async () => (await a.run(['find', '/var/spool/postfix/deferred', '-type', 'f'])).stdout.trim().split('\n').length === 2,
  );
  const told = '2 messages wait in the queue of mail-a';
  await waitFor('mail-b to tell of both', waitMs, async () => (await b.run(['mailtwin', 'status'])).stdout.includes(told));
  await isComplete(lab, 'b');
  const planned = await b.run(['mailtwin', 'switchover', '--dry-run']);
  step('the takeover says beforehand what waits', planned.stdout.includes(told));
  await b.run(['mailtwin', 'switchover', '--confirm', 'mail-a'], { timeoutMs: 300_000 });
  await lab.becomes('b', { role: 'primary', active: true, phase: 'streaming' });
  await watch.shows('MailtwinQueueStranded', 'a');
  const found = await a.run(['mailtwin', 'doctor'], { mayFail: true });
  step('doctor there says how many', found.stdout.includes('2 messages'));
  const hold = '/var/spool/postfix/hold';
  step('nothing else is on hold on mail-b', (await b.run(['find', hold, '-type', 'f'])).stdout === '');
  const queued = 'find deferred active incoming hold -type f';
  const pack = `${queued} | tar --transform "s,.*/,," -cf /root/queue.tar -T -`;
  await a.run(['sh', '-c', `cd /var/spool/postfix && ${pack}`]);
  cpSync(join(a.tree, 'root/queue.tar'), join(b.tree, 'root/queue.tar'));
  await b.run(['tar', '-C', hold, '-xpf', '/root/queue.tar']);
  await b.run(['postsuper', '-s', 'hold']);
  await b.run(['postsuper', '-r', 'ALL', 'hold']);
  await waitFor('mail-b to have both in its queue', waitMs, async () => (await waiting(b)) === 2);
  // With a log file of its own it ends with 1 after its work, where Postfix does not run and postsuper may not write there.
  await a.run(['postsuper', '-d', 'ALL'], { mayFail: true });
  step('the queue of mail-a is empty', (await a.run(['sh', '-c', `cd /var/spool/postfix && ${queued}`])).stdout === '');
  await watch.gone('MailtwinQueueStranded', 'a');
  await b.run(['postsuper', '-d', 'ALL']);
  await backToA(lab);
}

/** Somebody says that mail-a is off, and it is only cut off: both serve. */
export async function twoActive({ lab, book, watch }: World): Promise<void> {
  lab.bmc('a').pause();
  lab.network.cut('a');
  await waitFor('mail-b to miss its peer', waitMs, async () => !(await status(lab.host('b'))).peer.connected);
  await new Promise((resolve) => setTimeout(resolve, 6000));
  await lab.host('b').run(['mailtwin', 'fence', 'test'], { mayFail: true, timeoutMs: 150_000 });
  await book.follow('No fence level proves it off', async (text) => {
    await text.run('mailtwin failover --fenced-by-hand "pulled both cords, LEDs dark"', {
      answers: [nameAsked('mail-a'), lossAsked],
    });
  });
  await watch.shows('MailtwinTwoActive', 'pair');
  await book.follow('MailtwinTwoActive', async (text) => {
    const [seen] = await text.run('mailtwin status');
    step(
      'mail-a still is primary, of the lower epoch',
      (await status(lab.host('b'))).epoch > (await status(lab.host('a'))).epoch && seen !== undefined,
    );
    await text.run('systemctl stop mailtwin');
    await text.run('systemctl stop mailtwin-active.target');
    await text.run('ip address del 10.77.0.100/24 dev eth0');
    step('mail-a serves nothing any more', !lab.holds('a') && !(await lab.host('a').isActive('dovecot.service')));
    lab.network.mend('a');
    lab.bmc('a').resume();
    await text.run('systemctl start mailtwin');
  });
  await watch.gone('MailtwinTwoActive', 'pair');
  await waitFor('mail-a to be fenced', waitMs, async () => (await status(lab.host('a'))).role === 'fenced');
  await lab.host('a').run(['mailtwin', 'rejoin', '--confirm', 'mail-a', '--salvage'], { timeoutMs: 300_000 });
  await lab.becomes('b', { role: 'primary', active: true, phase: 'streaming' });
  await backToA(lab);
}
