import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DebianHost } from '../lab/debian-host.ts';
import { DebianLab, mainPid, makePackages, service, status, waitMs } from '../lab/debian-lab.ts';
import { step } from '../lab/step.ts';
import { password, users } from '../lab/debian-mail.ts';
import { ownerMark, removeAbandoned } from '../lab/ownership.ts';
import { hostReleases, type Release } from '../lab/release.ts';
import { waitFor } from '../lab/waiting.ts';
import { hook, hookLeft, proveSandbox } from './sandbox.ts';
import type { Soak } from './options.ts';

const names = ['a', 'b'] as const;
/** What serves mail: Debian 13 runs Postfix by its plain unit. */
const mailUnits: Record<Release, readonly string[]> = {
  bookworm: ['dovecot.service', 'postfix@-.service', 'postfix.service'],
  trixie: ['dovecot.service', 'postfix.service'],
};

/**
 * The Debian package as its users have it: two booted Debians (12, or MAILTWIN_LAB_RELEASE) with systemd, Dovecot and Postfix of Debian install it,
 * are paired, upgraded one after the other while they serve, switched, rebooted, and one loses its power.
 */
export const run: Soak = async () => {
  // On a disk: what lies in memory is another file system after a start of the host.
  const disk = tmpdir();
  removeAbandoned(disk);
  const dir = mkdtempSync(join(disk, `${ownerMark()}-packages-`));
  const proof = new Proof(dir);
  try {
    await proof.prepare();
    await proof.prove();
    console.log('the packages work in booted systems');
    return true;
  } catch (error) {
    console.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return false;
  } finally {
    await proof.lab.end();
    rmSync(dir, { recursive: true, force: true });
  }
};

class Proof {
  readonly #dir: string;
  readonly lab: DebianLab;

  constructor(dir: string) {
    this.#dir = dir;
    const releases = hostReleases(names);
    this.lab = new DebianLab(
      dir,
      names.map((name) => ({ name, release: releases[name] })),
    );
  }

  /** Packages, a Debian for each host, and the two booted on one LAN. */
  async prepare(): Promise<void> {
    const out = join(this.#dir, 'packages');
    console.log('making the packages ...');
    await makePackages(out, 1, true);
    await makePackages(out, 2);
    await this.lab.make();
    this.lab.give(out, 'packages');
    for (const name of ['a', 'b'] as const) await this.lab.host(name).boot();
    await this.lab.enter();
    // Before the first start of Postfix there is no place for the socket of Dovecot's LMTP.
    for (const name of names) await this.lab.host(name).run(['systemctl', 'restart', 'dovecot.service']);
  }

  async prove(): Promise<void> {
    await this.#install();
    await this.#pair();
    await proveSandbox(this.lab, this.#dir);
    await this.#upgrade();
    await this.#switchover('b', 'a');
    await this.#reboot();
    await this.#failover();
    await this.#remove();
  }

  async #install(): Promise<void> {
    for (const name of ['a', 'b'] as const) {
      const host = this.lab.host(name);
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
    const a = this.lab.host('a');
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
      const host = this.lab.host(name);
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
        `${this.lab.address(name)}:7420`,
      ]);
      const bmc = this.lab.bmc(other);
      host.write('/etc/mailtwin/bmc.secret', `${bmc.password}\n`, 0o600);
      host.write('/etc/mailtwin/probe.secret', `${password}\n`, 0o600);
      host.write(
        '/etc/mailtwin/mailtwin.yaml',
        `${host.read('/etc/mailtwin/mailtwin.yaml')}${takeoverSections(bmc.fenceOptions, mailUnits[this.lab.release(name)])}`,
      );
      if (role === 'standby') {
        await host.run(['systemctl', 'stop', ...mailUnits[this.lab.release(name)]]);
        await host.run(['rm', '-rf', '/var/vmail']);
        await host.run(['install', '-d', '-o', 'vmail', '-g', 'vmail', '/var/vmail']);
      }
      await host.run(['mailtwin', 'gate', 'install']);
      await host.run(['mailtwin', 'nics', 'assign', 'lan', 'eth0'], { mayFail: true });
      await host.run(['systemctl', 'start', 'mailtwin.service']);
    }
    const [a, b] = [this.lab.host('a'), this.lab.host('b')];
    await waitFor('the agent of mail-a', waitMs, async () => (await a.run(['mailtwin', 'status', '--json'], { mayFail: true })).code === 0);
    for (const host of [a, b]) await host.run(['mailtwin', 'nics', 'assign', 'lan', 'eth0'], { mayFail: true });
    const { code } = JSON.parse((await a.run(['mailtwin', 'pair', '--json'])).stdout.split('\n')[0] ?? '') as { code: string };
    await b.run(['mailtwin', 'pair', '10.77.0.1:7420', '--yes'], { input: code });
    await this.lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
    for (const user of users) await this.lab.deliver(user, 3);
    await a.run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
    step('mail is taken at the service address and is on the standby', b.read(`/var/vmail/anna/dovecot-uidlist`) !== '');
    step('the mail server of the standby does not run', !(await b.isActive('dovecot.service')));
    await b.run(['systemctl', 'start', 'dovecot.service'], { mayFail: true });
    step('and nobody can start it', !(await b.isActive('dovecot.service')));
  }

  /** A new release: the standby first, then the primary while it serves. */
  async #upgrade(): Promise<void> {
    const [a, b] = [this.lab.host('a'), this.lab.host('b')];
    const before = await mainPid(a);
    for (const host of [b, a]) {
      await host.run(['dpkg', '-i', '/packages/mailtwin_0.1.0-2_amd64.deb'], { timeoutMs: 300_000 });
      await waitFor(`${host.name} after its upgrade`, waitMs, () => host.isActive('mailtwin.service'));
      await this.lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
    }
    step('the mail server of the primary was not restarted by the upgrade', (await mainPid(a)) === before && before !== '0');
    await this.lab.deliver('anna', 1);
    await a.run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
  }

  async #switchover(to: 'a' | 'b', from: 'a' | 'b'): Promise<void> {
    const [next, old] = [this.lab.host(to), this.lab.host(from)];
    const seen = await this.lab.uids('anna');
    await old.run(['mailtwin', 'verify'], { timeoutMs: 150_000, mayFail: true });
    const done = await next.run(['mailtwin', 'switchover', '--confirm', old.name], { mayFail: true, timeoutMs: 300_000 });
    if (done.code !== 0) console.log(done.stdout + done.stderr);
    step(`switchover to ${next.name}`, done.code === 0);
    step('its hook ran outside the sandbox, as the documents say', existsSync(join(next.tree, hookLeft)));
    await this.lab.becomes(to, { role: 'primary', active: true, phase: 'streaming' });
    step('every UID is what it was', (await this.lab.uids('anna')) === seen);
    step(`${old.name} holds no service address and runs no mail server`, !this.lab.holds(from) && !(await old.isActive('dovecot.service')));
    await this.lab.deliver('anna', 1);
  }

  /** Each node once, in an orderly way; the active one is settled with its peer before it serves again. */
  async #reboot(): Promise<void> {
    for (const name of ['a', 'b'] as const) {
      const host = this.lab.host(name);
      await host.shutDown();
      this.lab.bareAddress(name);
      await host.boot();
      await this.lab.becomes('b', { role: 'primary', active: true, phase: 'streaming' });
      step(
        `${host.name} rebooted: mail-b serves, mail-a does not`,
        this.lab.holds('b') && !this.lab.holds('a') && !(await this.lab.host('a').isActive('dovecot.service')),
      );
      await this.lab.deliver('bert', 1);
    }
  }

  async #failover(): Promise<void> {
    const [a, b] = [this.lab.host('a'), this.lab.host('b')];
    await b.run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
    const seen = await this.lab.uids('bert');
    await this.lab.cutPower('b');
    await waitFor('mail-a to miss its peer', waitMs, async () => !(await status(a)).peer.connected);
    let done = await a.run(['mailtwin', 'failover', '--confirm', 'mail-b', '--accept-loss'], { mayFail: true, timeoutMs: 300_000 });
    if (done.code === 3) {
      console.log(done.stdout + done.stderr);
      await new Promise((resolve) => setTimeout(resolve, 20_000));
      done = await a.run(['mailtwin', 'failover', '--confirm', 'mail-b', '--accept-loss'], { mayFail: true, timeoutMs: 300_000 });
    }
    if (done.code !== 0) console.log(done.stdout + done.stderr);
    step('failover to mail-a, fenced through its BMC', done.code === 0 && !this.lab.bmc('b').isOn);
    step('what clients saw is there, under the same UIDs', (await this.lab.uids('bert')) === seen);
    await this.lab.deliver('bert', 1);
    await b.boot();
    await waitFor('mail-b to come back fenced', waitMs, async () => (await status(b)).role === 'fenced');
    step(
      'it takes no address and starts no mail server',
      !this.lab.holds('b') && !(await b.isActive('dovecot.service')) && this.lab.holds('a'),
    );
    await b.run(['systemctl', 'start', 'dovecot.service', 'postfix.service'], { mayFail: true });
    step('also when somebody starts it', !(await b.isActive('dovecot.service')));
    const back = await b.run(['mailtwin', 'rejoin', '--confirm', 'mail-b', '--salvage'], { mayFail: true, timeoutMs: 300_000 });
    if (back.code !== 0) console.log(back.stdout + back.stderr);
    step('it rejoins as the standby', back.code === 0);
    await this.lab.becomes('a', { role: 'primary', active: true, phase: 'streaming' });
    await this.lab.deliver('anna', 1);
    await a.run(['mailtwin', 'wait', '--timeout', '120'], { timeoutMs: 150_000 });
    await this.#switchover('b', 'a');
    await this.#switchover('a', 'b');
  }

  async #remove(): Promise<void> {
    const [a, b] = [this.lab.host('a'), this.lab.host('b')];
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
}

async function enabled(host: DebianHost): Promise<string> {
  return (await host.run(['systemctl', 'is-enabled', 'mailtwin.service'], { mayFail: true })).stdout.trim();
}

function takeoverSections(fence: Record<string, string>, units: readonly string[]): string {
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
  units: [mailtwin-active.target, ${units.join(', ')}]
  configCheck: [doveconf, -n]
  imap: { host: 127.0.0.1, port: 143, user: probe, passwordFile: /etc/mailtwin/probe.secret, tls: none }
takeover:
  startAloneSeconds: 15
  hooks: { after-check: ${JSON.stringify(hook)} }
`;
}
