import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Bmc } from '../lab/bmc.ts';
import { DebianHost, makeDebian } from '../lab/debian-host.ts';
import { ImapSession } from '../lab/imap-session.ts';
import { Network } from '../lab/namespaces.ts';
import { isAbandoned, ownerMark } from '../lab/ownership.ts';
import { run as command, runNow } from '../lab/processes.ts';
import { waitFor } from '../lab/waiting.ts';
import type { Soak } from './options.ts';

const top = fileURLToPath(new URL('../..', import.meta.url));
const packages = ['dovecot-imapd', 'dovecot-lmtpd', 'postfix', 'fence-agents', 'ipmitool', 'zsh', 'man-db'];
const service = '10.77.0.100';
const users = ['anna', 'bert'];
const password = 'geheim';
const waitMs = 90_000;
const gatedUnits = ['dovecot.service', 'postfix@-.service'];

/**
 * The Debian package as its users have it: two booted Debian 12 with systemd, Dovecot and Postfix of Debian install it,
 * are paired, upgraded one after the other while they serve, switched, rebooted, and one loses its power.
 */
export const run: Soak = async () => {
  const memory = '/dev/shm';
  for (const name of readdirSync(memory)) if (isAbandoned(name)) rmSync(join(memory, name), { recursive: true, force: true });
  const dir = mkdtempSync(join(memory, `${ownerMark()}-packages-`));
  const lab = new Lab(dir);
  try {
    await lab.prepare();
    await lab.prove();
    console.log('the packages work in booted systems');
    return true;
  } catch (error) {
    console.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return false;
  } finally {
    await lab.end();
    rmSync(dir, { recursive: true, force: true });
  }
};

function step(what: string, isTrue: boolean): void {
  console.log(`${new Date().toISOString().slice(11, 19)}  ${isTrue ? 'ok  ' : 'FAIL'}  ${what}`);
  if (!isTrue) throw new Error(`not so: ${what}`);
}

class Lab {
  readonly #dir: string;
  readonly #network = new Network({ hosts: ['a', 'b', 'client'] });
  readonly #hosts = new Map<string, DebianHost>();
  readonly #bmcs = new Map<string, Bmc>();
  #sent = 0;

  constructor(dir: string) {
    this.#dir = dir;
  }

  host(name: 'a' | 'b'): DebianHost {
    const host = this.#hosts.get(name);
    if (!host) throw new Error(`no host ${name}`);
    return host;
  }

  /** Packages, a Debian for each host, and the two booted on one LAN. */
  async prepare(): Promise<void> {
    const out = join(this.#dir, 'packages');
    console.log('making the packages ...');
    await command('npm', ['run', '--silent', 'package', '--', '--arch', 'amd64', '--quick', '--out', out], {
      cwd: top,
      timeoutMs: 600_000,
    });
    await command('npm', ['run', '--silent', 'package', '--', '--arch', 'amd64', '--quick', '--no-npm', '--out', out, '--revision', '2'], {
      cwd: top,
      timeoutMs: 600_000,
    });
    console.log('making a Debian to boot ...');
    const base = process.env['MAILTWIN_DEBIAN'] ?? join(this.#dir, 'base');
    if (!existsSync(base)) await makeDebian(base, packages);
    for (const name of ['a', 'b'] as const) {
      const tree = join(this.#dir, name);
      await command('cp', ['-a', base, tree], { timeoutMs: 600_000 });
      cpSync(out, join(tree, 'packages'), { recursive: true });
      const host = new DebianHost({ name: `mail-${name}`, tree, namespace: this.#network.host(name).namespace });
      mailServer(host);
      this.#hosts.set(name, host);
      await host.boot();
    }
    // What the test opens from here on is in the LAN.
    this.#network.enter();
    for (const [name, port] of [
      ['a', 9631],
      ['b', 9632],
    ] as const)
      this.#bmcs.set(
        name,
        await Bmc.start({
          address: '10.77.0.254',
          port,
          node: `mail-${name}`,
          onPowerOff: () => this.#cutPower(name),
        }),
      );
  }

  async prove(): Promise<void> {
    await this.#install();
    await this.#pair();
    await this.#upgrade();
    await this.#switchover('b', 'a');
    await this.#reboot();
    await this.#failover();
    await this.#remove();
  }

  async end(): Promise<void> {
    for (const host of this.#hosts.values()) await host.cutPower();
    for (const bmc of this.#bmcs.values()) await bmc.stop();
    this.#network.dispose();
  }

  async #cutPower(name: 'a' | 'b'): Promise<void> {
    await this.host(name).cutPower();
    this.#bareAddress(name);
  }

  /** A namespace of the lab outlives its host; what a host adds to its network does not. */
  #bareAddress(name: 'a' | 'b'): void {
    const { namespace, addresses } = this.#network.host(name);
    runNow('ip', ['-n', namespace, 'address', 'flush', 'dev', 'eth0']);
    runNow('ip', ['-n', namespace, 'address', 'add', `${addresses[0]}/24`, 'dev', 'eth0']);
  }

  async #install(): Promise<void> {
    for (const name of ['a', 'b'] as const) {
      const host = this.host(name);
      await host.run(['dpkg', '-i', '/packages/mailtwin_0.1.0-1_amd64.deb'], { timeoutMs: 300_000 });
      step(
        `${host.name}: the unit is enabled and waits for a configuration`,
        (await enabled(host)) === 'enabled' && !(await host.isActive('mailtwin.service')),
      );
      step(`${host.name}: its mail server goes on running`, await host.isActive('dovecot.service'));
      step(
        `${host.name}: mailtwin runs on the runtime of the package`,
        (await host.run(['mailtwin', '--version'])).stdout.trim() === '0.1.0',
      );
    }
    const a = this.host('a');
    const manual = await a.run(['man', '-P', 'cat', '--warnings', 'mailtwin']);
    step('the manual page is found and has no warning', manual.stdout.includes('mailtwin switchover') && manual.stderr === '');
    const zsh = await a.run([
      'zsh',
      '-fc',
      'autoload -Uz compinit; compinit -u -D; whence -w _mailtwin; autoload +X _mailtwin && echo fine',
    ]);
    step('zsh finds its completion', zsh.stdout.includes('fine'));
  }

  async #pair(): Promise<void> {
    for (const [name, role, other] of [
      ['a', 'primary', 'b'],
      ['b', 'standby', 'a'],
    ] as const) {
      const host = this.host(name);
      const [address = ''] = this.#network.host(name).addresses;
      await host.run([
        'mailtwin',
        'init',
        '--role',
        role,
        '--node',
        `mail-${name}`,
        '--root',
        'mail=/var/vmail:maildir',
        '--listen',
        `${address}:7420`,
      ]);
      const bmc = this.#bmcs.get(other);
      if (!bmc) throw new Error('no BMC');
      host.write('/etc/mailtwin/bmc.secret', `${bmc.password}\n`, 0o600);
      host.write('/etc/mailtwin/probe.secret', `${password}\n`, 0o600);
      host.write('/etc/mailtwin/mailtwin.yaml', `${host.read('/etc/mailtwin/mailtwin.yaml')}${takeoverSections(bmc.fenceOptions)}`);
      if (role === 'standby') {
        await host.run(['systemctl', 'stop', ...gatedUnits, 'postfix.service']);
        await host.run(['rm', '-rf', '/var/vmail']);
        await host.run(['install', '-d', '-o', 'vmail', '-g', 'vmail', '/var/vmail']);
      }
      await host.run(['mailtwin', 'gate', 'install']);
      await host.run(['mailtwin', 'nics', 'assign', 'lan', 'eth0'], { mayFail: true });
      await host.run(['systemctl', 'start', 'mailtwin.service']);
    }
    const [a, b] = [this.host('a'), this.host('b')];
    await waitFor('the agent of mail-a', waitMs, async () => (await a.run(['mailtwin', 'status', '--json'], { mayFail: true })).code === 0);
    for (const host of [a, b]) await host.run(['mailtwin', 'nics', 'assign', 'lan', 'eth0'], { mayFail: true });
    const { code } = JSON.parse((await a.run(['mailtwin', 'pair', '--json'])).stdout.split('\n')[0] ?? '') as { code: string };
    await b.run(['mailtwin', 'pair', '10.77.0.1:7420', code, '--yes']);
    await this.#becomes(a, { role: 'primary', active: true, phase: 'streaming' });
    for (const user of users) await this.#deliver(user, 3);
    await a.run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
    step('mail is taken at the service address and is on the standby', b.read(`/var/vmail/anna/dovecot-uidlist`) !== '');
    step('the mail server of the standby does not run', !(await b.isActive('dovecot.service')));
    await b.run(['systemctl', 'start', 'dovecot.service'], { mayFail: true });
    step('and nobody can start it', !(await b.isActive('dovecot.service')));
  }

  /** A new release: the standby first, then the primary while it serves. */
  async #upgrade(): Promise<void> {
    const [a, b] = [this.host('a'), this.host('b')];
    const before = await mainPid(a);
    for (const host of [b, a]) {
      await host.run(['dpkg', '-i', '/packages/mailtwin_0.1.0-2_amd64.deb'], { timeoutMs: 300_000 });
      await waitFor(`${host.name} after its upgrade`, waitMs, () => host.isActive('mailtwin.service'));
      await this.#becomes(a, { role: 'primary', active: true, phase: 'streaming' });
    }
    step('the mail server of the primary was not restarted by the upgrade', (await mainPid(a)) === before && before !== '0');
    await this.#deliver('anna', 1);
    await a.run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
  }

  async #switchover(to: 'a' | 'b', from: 'a' | 'b'): Promise<void> {
    const [next, old] = [this.host(to), this.host(from)];
    const seen = await this.#uids('anna');
    await old.run(['mailtwin', 'verify'], { timeoutMs: 150_000, mayFail: true });
    const done = await next.run(['mailtwin', 'switchover', '--confirm', old.name], { mayFail: true, timeoutMs: 300_000 });
    if (done.code !== 0) console.log(done.stdout + done.stderr);
    step(`switchover to ${next.name}`, done.code === 0);
    await this.#becomes(next, { role: 'primary', active: true, phase: 'streaming' });
    step('every UID is what it was', (await this.#uids('anna')) === seen);
    step(
      `${old.name} holds no service address and runs no mail server`,
      !(await this.#holds(from)) && !(await old.isActive('dovecot.service')),
    );
    await this.#deliver('anna', 1);
  }

  /** Each node once, in an orderly way; the active one is settled with its peer before it serves again. */
  async #reboot(): Promise<void> {
    for (const name of ['a', 'b'] as const) {
      const host = this.host(name);
      await host.shutDown();
      this.#bareAddress(name);
      await host.boot();
      await this.#becomes(this.host('b'), { role: 'primary', active: true, phase: 'streaming' });
      step(
        `${host.name} rebooted: mail-b serves, mail-a does not`,
        (await this.#holds('b')) && !(await this.#holds('a')) && !(await this.host('a').isActive('dovecot.service')),
      );
      await this.#deliver('bert', 1);
    }
  }

  async #failover(): Promise<void> {
    const [a, b] = [this.host('a'), this.host('b')];
    await b.run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
    const seen = await this.#uids('bert');
    await this.#cutPower('b');
    await waitFor('mail-a to miss its peer', waitMs, async () => !(await status(a)).peer.connected);
    let done = await a.run(['mailtwin', 'failover', '--confirm', 'mail-b', '--accept-loss'], { mayFail: true, timeoutMs: 300_000 });
    if (done.code === 3) {
      console.log(done.stdout + done.stderr);
      await new Promise((resolve) => setTimeout(resolve, 20_000));
      done = await a.run(['mailtwin', 'failover', '--confirm', 'mail-b', '--accept-loss'], { mayFail: true, timeoutMs: 300_000 });
    }
    if (done.code !== 0) console.log(done.stdout + done.stderr);
    step('failover to mail-a, fenced through its BMC', done.code === 0 && !this.#bmcs.get('b')?.isOn);
    step('what clients saw is there, under the same UIDs', (await this.#uids('bert')) === seen);
    await this.#deliver('bert', 1);
    await b.boot();
    await waitFor('mail-b to come back fenced', waitMs, async () => (await status(b)).role === 'fenced');
    step(
      'it takes no address and starts no mail server',
      !(await this.#holds('b')) && !(await b.isActive('dovecot.service')) && (await this.#holds('a')),
    );
    await b.run(['systemctl', 'start', 'dovecot.service', 'postfix.service'], { mayFail: true });
    step('also when somebody starts it', !(await b.isActive('dovecot.service')));
    const back = await b.run(['mailtwin', 'rejoin', '--confirm', 'mail-b', '--salvage'], { mayFail: true, timeoutMs: 300_000 });
    if (back.code !== 0) console.log(back.stdout + back.stderr);
    step('it rejoins as the standby', back.code === 0);
    await this.#becomes(a, { role: 'primary', active: true, phase: 'streaming' });
    await this.#deliver('anna', 1);
    await a.run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
    await this.#switchover('b', 'a');
    await this.#switchover('a', 'b');
  }

  async #remove(): Promise<void> {
    const [a, b] = [this.host('a'), this.host('b')];
    await b.run(['dpkg', '--remove', 'mailtwin']);
    step(
      'removed from the standby: state, configuration and gate stay',
      existsSync(join(b.tree, 'var/lib/mailtwin')) && existsSync(join(b.tree, 'etc/mailtwin/mailtwin.yaml')),
    );
    await b.run(['systemctl', 'start', 'dovecot.service'], { mayFail: true });
    step('its mail server does not start', !(await b.isActive('dovecot.service')));
    await b.run(['dpkg', '--purge', 'mailtwin']);
    step(
      'purged: nothing is left',
      !['var/lib/mailtwin', 'etc/mailtwin', 'usr/lib/mailtwin', 'etc/systemd/system/dovecot.service.d/10-mailtwin.conf'].some((path) =>
        existsSync(join(b.tree, path)),
      ),
    );
    step('and the mail is', existsSync(join(b.tree, 'var/vmail/anna/cur')));
    const before = await mainPid(a);
    await a.run(['dpkg', '--remove', 'mailtwin']);
    step(
      'removed from the active node: its mail server runs on, ungated',
      (await mainPid(a)) === before && !existsSync(join(a.tree, 'etc/systemd/system/dovecot.service.d/10-mailtwin.conf')),
    );
  }

  async #becomes(host: DebianHost, wanted: { role: string; active: boolean; phase: string }): Promise<void> {
    try {
      await waitFor(`${host.name} to be ${wanted.role}, ${wanted.phase}`, waitMs, async () => {
        const { role, active, replication } = await status(host);
        return role === wanted.role && active === wanted.active && replication.phase === wanted.phase;
      });
    } catch (error) {
      console.log((await host.run(['mailtwin', 'status'], { mayFail: true })).stdout);
      console.log((await host.run(['journalctl', '-u', 'mailtwin', '-n', '60', '--no-pager', '-o', 'cat'], { mayFail: true })).stdout);
      throw error;
    }
  }

  async #holds(name: 'a' | 'b'): Promise<boolean> {
    return runNow('ip', ['-n', this.#network.host(name).namespace, '-o', 'address', 'show']).includes(` ${service}/`);
  }

  /** Through Postfix at the service address, until Dovecot has numbered it. */
  async #deliver(user: string, count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const subject = `message ${++this.#sent}`;
      await waitFor(`${subject} to be taken`, waitMs, () =>
        smtp(service, `${user}@example.test`, `Subject: ${subject}\r\n\r\ntext\r\n`).then(
          () => true,
          () => false,
        ),
      );
      await waitFor(`${subject} to be in the mailbox`, waitMs, async () => (await this.#uids(user)).includes(subject));
    }
  }

  /** UIDVALIDITY and UIDs with subjects, as a client at the service address sees them. */
  async #uids(user: string): Promise<string> {
    return waitFor('a login at the service address', waitMs, async () => {
      try {
        const session = await ImapSession.open({ host: service, port: 143 }, user, password);
        const mailbox = await session.client.mailboxOpen('INBOX');
        const lines: string[] = [`${mailbox.uidValidity}`];
        if (mailbox.exists > 0)
          for await (const message of session.client.fetch('1:*', { uid: true, envelope: true }))
            lines.push(`${message.uid} ${message.envelope?.subject}`);
        await session.client.logout();
        return lines.join('\n');
      } catch {
        return null;
      }
    });
  }
}

interface StatusFacts {
  role: string;
  active: boolean;
  peer: { connected: boolean };
  replication: { phase: string };
}

async function status(host: DebianHost): Promise<StatusFacts> {
  const { stdout, code } = await host.run(['mailtwin', 'status', '--json'], { mayFail: true });
  if (code !== 0) return { role: '', active: false, peer: { connected: true }, replication: { phase: '' } };
  return JSON.parse(stdout) as StatusFacts;
}

async function enabled(host: DebianHost): Promise<string> {
  return (await host.run(['systemctl', 'is-enabled', 'mailtwin.service'], { mayFail: true })).stdout.trim();
}

async function mainPid(host: DebianHost): Promise<string> {
  return (await host.run(['systemctl', 'show', '--value', '--property=MainPID', 'dovecot.service'])).stdout.trim();
}

/** Dovecot and Postfix as an appliance has them: users in a file, Maildir in /var/vmail, delivery by LMTP. */
function mailServer(host: DebianHost): void {
  runNow('chroot', [host.tree, 'groupadd', '-f', '-g', '5000', 'vmail']);
  if (!host.read('/etc/passwd').includes('\nvmail:'))
    runNow('chroot', [host.tree, 'useradd', '-u', '5000', '-g', 'vmail', '-d', '/var/vmail', '-M', 'vmail']);
  mkdirSync(join(host.tree, 'var/vmail'), { recursive: true });
  runNow('chroot', [host.tree, 'chown', 'vmail:vmail', '/var/vmail']);
  host.write('/etc/dovecot/users', [...users, 'probe'].map((user) => `${user}:{PLAIN}${password}::::::\n`).join(''));
  host.write(
    '/etc/dovecot/local.conf',
    `protocols = imap lmtp
disable_plaintext_auth = no
ssl = no
mail_location = maildir:/var/vmail/%n
auth_username_format = %Ln
passdb {
  driver = passwd-file
  args = username_format=%n /etc/dovecot/users
}
userdb {
  driver = static
  args = uid=vmail gid=vmail home=/var/vmail/%n
}
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0660
    user = postfix
    group = postfix
  }
}
`,
  );
  host.write('/etc/dovecot/conf.d/10-auth.conf', 'auth_mechanisms = plain login\n');
  host.write('/etc/mailname', 'example.test\n');
  host.write(
    '/etc/postfix/main.cf',
    `compatibility_level = 3.6
myhostname = mail.example.test
mydestination =
inet_interfaces = all
inet_protocols = ipv4
mynetworks = 127.0.0.0/8 10.77.0.0/24
virtual_mailbox_domains = example.test
virtual_transport = lmtp:unix:private/dovecot-lmtp
maillog_file = /var/log/postfix.log
`,
  );
}

function takeoverSections(fence: Record<string, string>): string {
  const options = Object.entries(fence).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  return `
network:
  roles:
    - { name: lan, addresses: [${service}/24], gateways: [10.77.0.254] }
  witnesses: [10.77.0.254]
fencing:
  - type: agent
    agent: fence_ipmilan
    options: { ${options.join(', ')} }
    secrets: { password: /etc/mailtwin/bmc.secret }
    timeoutSeconds: 60
  - { type: cooperative, timeoutSeconds: 5 }
services:
  units: [mailtwin-active.target, dovecot.service, postfix@-.service, postfix.service]
  configCheck: [doveconf, -n]
  imap: { host: 127.0.0.1, port: 143, user: probe, passwordFile: /etc/mailtwin/probe.secret, tls: none }
takeover:
  startAloneSeconds: 15
`;
}

/** One message by SMTP (RFC 5321). @throws when the server does not take responsibility for it. */
async function smtp(host: string, recipient: string, message: string): Promise<void> {
  const socket = connect({ host, port: 25 });
  socket.setEncoding('latin1');
  socket.setTimeout(30_000, () => socket.destroy(new Error('the SMTP server is silent')));
  const lines = [`EHLO client`, 'MAIL FROM:<sender@example.net>', `RCPT TO:<${recipient}>`, 'DATA', `${message}.`, 'QUIT'];
  const wanted = ['220', '250', '250', '250', '354', '250', '221'];
  let buffer = '';
  try {
    await new Promise<void>((resolve, reject) => {
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('the SMTP server closed the connection')));
      socket.on('data', (text: string) => {
        buffer += text;
        const reply = /^(?:\d{3}-.*\r\n)*(\d{3}) .*\r\n$/.exec(buffer);
        if (!reply) return;
        buffer = '';
        if (reply[1] !== wanted.shift()) reject(new Error(`the SMTP server said ${reply[0]}`));
        else if (lines.length === 0) resolve();
        else socket.write(`${lines.shift()}\r\n`);
      });
    });
  } finally {
    socket.destroy();
  }
}
