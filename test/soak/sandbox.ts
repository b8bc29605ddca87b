import { closeSync, constants, existsSync, openSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DoctorReport } from '../../protocol/control.ts';
import type { DebianHost } from '../lab/debian-host.ts';
import { status, waitMs, type DebianLab } from '../lab/debian-lab.ts';
import { runNow } from '../lab/processes.ts';
import { step } from '../lab/step.ts';
import { waitFor } from '../lab/waiting.ts';

/** A place that the agent cannot write to; the hook gets there as SECURITY.md says. */
export const hookLeft = '/root/hook-ran';
export const hook = ['systemd-run', '--quiet', '--wait', '--pipe', '--collect', 'touch', hookLeft];

/** Of systemd-analyze, in tenths: the lower the better. */
const exposureMax = 50;
/** include/uapi/linux/capability.h: those that SECURITY.md explains. */
const capabilities = [0, 1, 2, 3, 4, 5, 6, 7, 10, 12, 13, 19, 21, 24];

/**
 * The sandbox of the agent's unit on a pair that works: what systemd thinks of it, what the kernel holds the agent to, and that
 * disks which come and go on the host come and go for the agent, too, though it has a mount namespace of its own.
 */
export async function proveSandbox(lab: DebianLab, dir: string): Promise<void> {
  for (const name of ['a', 'b'] as const) await confined(lab.host(name));
  await sharedMailbox(lab);
  await snapshots(lab);
  const disk = new Disk(join(dir, 'disk.img'));
  try {
    await diskBelowRoot(lab, disk);
    await diskOverRoot(lab, disk);
  } finally {
    disk.remove();
  }
  await closedRoot(lab);
}

async function confined(host: DebianHost): Promise<void> {
  const judged = await host.run(['systemd-analyze', 'security', '--no-pager', `--threshold=${exposureMax}`, 'mailtwin.service'], {
    mayFail: true,
  });
  const line = /Overall exposure level.*/.exec(judged.stdout)?.[0] ?? judged.stdout + judged.stderr;
  step(`${host.name}: ${line.trim()}`, judged.code === 0, judged.stdout);
  const pid = await agentPid(host);
  const value = async (of: string, key: string) => {
    const { stdout } = await host.run(['cat', `/proc/${of}/status`]);
    return new RegExp(`^${key}:\\s*(\\S+)$`, 'm').exec(stdout)?.[1] ?? '';
  };
  // A container may lack some that the unit asks for.
  const ofHost = BigInt(`0x${await value('1', 'CapBnd')}`);
  const wanted = capabilities.reduce((sum, number) => sum | (1n << BigInt(number)), 0n) & ofHost;
  const found = BigInt(`0x${await value(pid, 'CapBnd')}`);
  step(
    `${host.name}: the agent has the capabilities that it needs, and no other`,
    found === wanted && found !== ofHost,
    found.toString(16),
  );
  step(
    `${host.name}: it gains none, and a filter holds its system calls`,
    (await value(pid, 'NoNewPrivs')) === '1' && (await value(pid, 'Seccomp')) === '2',
  );
  const here = async (script: string) => (await host.run(['nsenter', '-t', pid, '-m', 'sh', '-c', script], { mayFail: true })).code === 0;
  for (const place of ['/etc', '/usr/bin', '/root', '/home', '/run/systemd', '/var/spool/cron', '/var/lib/dpkg', '/proc/sys/kernel'])
    step(
      `${host.name}: nothing can be written to ${place} from there`,
      !(await here(`test -d ${place} && test -w ${place}`)) && !(await here(`touch ${place}/mailtwin-was-here`)),
    );
  await host.run(['touch', '/tmp/of-the-host']);
  step(`${host.name}: its /tmp is its own`, !(await here('test -e /tmp/of-the-host')));
  const findings = await doctor(host);
  step(
    `${host.name}: doctor finds the sandbox to fit`,
    findings('sandbox').every(({ level }) => level === 'pass') && findings('sandbox').length === 1,
    findings('sandbox'),
  );
  step(`${host.name}: and so does \`mailtwin sandbox\``, (await host.run(['mailtwin', 'sandbox'], { mayFail: true })).code === 0);
}

/** Folders of a shared mailbox give their group to what comes into them. RestrictSUIDSGID= would forbid that. */
async function sharedMailbox(lab: DebianLab): Promise<void> {
  const [a, b] = [lab.host('a'), lab.host('b')];
  step(
    'the primary watches by fanotify',
    ((await status(a)) as unknown as { capture: { watcher: string } }).capture.watcher === 'fanotify',
  );
  await a.run(['install', '-d', '-o', '5000', '-g', '8', '/var/vmail/shared']);
  await a.run(['chmod', '2770', '/var/vmail/shared']);
  await a.run(['sh', '-c', 'echo a letter > /var/vmail/shared/letter && chown 5000:8 /var/vmail/shared/letter']);
  await a.run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
  const { mode, uid, gid } = statSync(join(b.tree, 'var/vmail/shared'));
  step('a directory with its setgid bit is the same on the standby', (mode & 0o7777) === 0o2770 && uid === 5000 && gid === 8, {
    mode,
    uid,
    gid,
  });
}

/** Files that a person names lie where the agent cannot write, or sees another directory. */
async function snapshots(lab: DebianLab): Promise<void> {
  const a = lab.host('a');
  for (const file of ['/root/before.json', '/tmp/before.json']) {
    const made = await a.run(['mailtwin', 'migrate', 'snapshot', file], { mayFail: true });
    step(`a snapshot is written to ${file}`, made.code === 0 && (await a.run(['test', '-s', file], { mayFail: true })).code === 0, made);
    const read = await a.run(['mailtwin', 'migrate', 'report', file], { mayFail: true });
    step('and read from there', read.stdout.includes('the same'), read);
  }
}

async function diskBelowRoot(lab: DebianLab, disk: Disk): Promise<void> {
  const [a, b] = [lab.host('a'), lab.host('b')];
  const at = '/var/vmail/disk';
  const letter = async (name: string) => {
    await a.run(['sh', '-c', `echo a letter > ${at}/${name}`]);
    await a.run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
    step(`${name} of the disk is on the standby`, existsSync(join(b.tree, at, name)));
  };
  await a.run(['mkdir', at]);
  await a.run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
  await disk.mount(a, at);
  await waitFor('the agent to see the disk', waitMs, async () => (await mountsOf(a)).includes(` ${at} `));
  await letter('first');
  await disk.unmount(a, at);
  step(
    'a disk below a root that is unmounted on the host is gone for the agent',
    !(await mountsOf(a)).includes(` ${at} `),
    await mountsOf(a),
  );
  await waitFor('nobody to have it in use', waitMs, () => disk.isFree());
  await waitFor('the primary to hold what was on it', waitMs, async () =>
    /"code":"mount-missing"/.test((await a.run(['mailtwin', 'status', '--json'])).stdout),
  );
  step('the standby keeps it', existsSync(join(b.tree, at, 'first')));
  await disk.mount(a, at);
  await letter('second');
  await a.run(['rm', '-r', `${at}/first`, `${at}/second`]);
  await a.run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
  await disk.unmount(a, at);
  await a.run(['mailtwin', 'accept-root', `mail${at.slice('/var/vmail'.length)}`], { mayFail: true });
}

/** A disk that is mounted over the directory of a root while the agent runs, and goes again. */
async function diskOverRoot(lab: DebianLab, disk: Disk): Promise<void> {
  const [a, b] = [lab.host('a'), lab.host('b')];
  await waitFor('the primary to hold nothing', waitMs, async () => (await status(a)).replication.held === null);
  await disk.mount(b, '/var/vmail');
  await waitFor('the standby to say that another disk is there', waitMs, async () =>
    /"code":"(mount-changed|root-changed|mount-missing|root-missing)"/.test((await b.run(['mailtwin', 'status', '--json'])).stdout),
  );
  await lab.send('bert', 'while the disk is there\r\n');
  const waited = await a.run(['mailtwin', 'wait', '--timeout', '5'], { mayFail: true });
  step('nothing is confirmed meanwhile', waited.code !== 0, waited);
  step('and nothing was written to it', disk.names(b, '/var/vmail') === 'lost+found', disk.names(b, '/var/vmail'));
  await disk.unmount(b, '/var/vmail');
  await waitFor('it to be free when it has gone', waitMs, () => disk.isFree());
  const after = await a.run(['mailtwin', 'wait', '--timeout', '120'], { mayFail: true, timeoutMs: 150_000 });
  step('and replication goes on', after.code === 0, after);
}

/** A root that the unit's sandbox leaves closed is said, with what to do; nothing is taken for a broken disk. */
async function closedRoot(lab: DebianLab): Promise<void> {
  const b = lab.host('b');
  const dropIn = '/etc/systemd/system/mailtwin.service.d/99-closed.conf';
  b.write(dropIn, '[Service]\nReadWritePaths=/var/vmail\n');
  await b.run(['systemctl', 'daemon-reload']);
  const [found] = (await doctor(b))('sandbox');
  step(
    'doctor finds a drop-in that makes a mount of its own of a root',
    found?.level === 'warn' && found.evidence.includes('/var/vmail'),
    found,
  );
  b.write(dropIn, '[Service]\nReadOnlyPaths=/var/vmail\n');
  await b.run(['systemctl', 'daemon-reload']);
  await b.run(['systemctl', 'restart', 'mailtwin.service']);
  const said = await waitFor('the standby to say it', waitMs, async () => {
    const { stdout, code } = await b.run(['mailtwin', 'status'], { mayFail: true });
    return code === 0 && stdout.includes('root mail at /var/vmail is read-only for the agent') ? stdout : null;
  });
  step('a root that the sandbox leaves closed is said, with the command that opens it', said.includes('mailtwin sandbox install'), said);
  await b.run(['rm', dropIn]);
  await b.run(['systemctl', 'daemon-reload']);
  await b.run(['systemctl', 'restart', 'mailtwin.service']);
  await lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
  b.write('/root/home.yaml', b.read('/etc/mailtwin/mailtwin.yaml').replace('/var/vmail', '/home/vmail'), 0o600);
  const shown = await b.run(['mailtwin', 'sandbox', '--config', '/root/home.yaml'], { mayFail: true });
  step('a root in /home needs more', shown.code === 1 && shown.stdout.includes('ProtectHome=no'), shown);
}

async function agentPid(host: DebianHost): Promise<string> {
  return (await host.run(['systemctl', 'show', '--value', '--property=MainPID', 'mailtwin.service'])).stdout.trim();
}

/** What the agent itself sees mounted. */
async function mountsOf(host: DebianHost): Promise<string> {
  return (await host.run(['cat', `/proc/${await agentPid(host)}/mountinfo`])).stdout;
}

async function doctor(host: DebianHost): Promise<(id: string) => DoctorReport['findings']> {
  const { stdout } = await host.run(['mailtwin', 'doctor', '--json'], { mayFail: true });
  const { findings } = JSON.parse(stdout) as DoctorReport;
  return (id) => findings.filter((finding) => finding.id === id);
}

/** A file with an ext4, as a disk that a host mounts and unmounts. */
class Disk {
  readonly #device: string;

  constructor(image: string) {
    writeFileSync(image, '');
    truncateSync(image, 64 * 1024 ** 2);
    runNow('mkfs.ext4', ['-q', '-F', image]);
    this.#device = runNow('losetup', ['--find', '--show', image]).trim();
  }

  async mount(host: DebianHost, at: string): Promise<void> {
    const number = /(\d+)$/.exec(this.#device)?.[1] ?? '';
    await host.run(['sh', '-c', `test -b /dev/disk1 || mknod /dev/disk1 b 7 ${number}`]);
    await host.run(['mount', '/dev/disk1', at]);
    await host.run(['chmod', '777', at]);
  }

  /** Without waiting for the agent's watcher, which has the directory open until it sees that the mount is gone. */
  async unmount(host: DebianHost, at: string): Promise<void> {
    await host.run(['umount', '--lazy', at]);
  }

  names(host: DebianHost, at: string): string {
    return runNow('nsenter', ['-t', String(host.leader), '-m', 'ls', '-A', at]).trim();
  }

  /** Whether no mount namespace of the machine has it: then alone it can be opened for one alone (open(2), O_EXCL). */
  isFree(): boolean {
    try {
      closeSync(openSync(this.#device, constants.O_RDONLY | constants.O_EXCL));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY') throw error;
      return false;
    }
  }

  remove(): void {
    runNow('losetup', ['--detach', this.#device]);
  }
}
