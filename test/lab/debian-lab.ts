import { cpSync, existsSync, mkdirSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Bmc } from './bmc.ts';
import { DebianHost, makeDebian } from './debian-host.ts';
import { mailPackages, mailServer, password, smtp } from './debian-mail.ts';
import { ImapSession } from './imap-session.ts';
import { Network, type HostPlan } from './namespaces.ts';
import { run as command, runNow } from './processes.ts';
import type { Release } from './release.ts';
import { waitFor } from './waiting.ts';

const top = fileURLToPath(new URL('../..', import.meta.url));
/** The address that moves. */
export const service = '10.77.0.100';
export const waitMs = 90_000;

export type HostName = 'a' | 'b' | 'c';

export interface StatusFacts {
  role: string;
  active: boolean;
  epoch: number;
  peer: { connected: boolean; clockSkewSeconds: number | null };
  replication: { phase: string; held: { code: string } | null; lagChanges: number | null };
  possibleLoss: { complete: boolean };
  lastVerify: { at: string } | null;
  warnings: { code: string }[];
}

/** What a test wants of the systems that it boots; the usual port is `eth0`. */
export interface DebianPlan {
  name: HostName;
  /** Default bookworm. */
  release?: Release;
  ports?: HostPlan['ports'];
  /** Directories that are file systems of their own in memory, with the options of their mount. They are gone with the power. */
  memoryDirs?: Record<string, string>;
}

/** Makes mailtwin's packages in `out`, with a revision of Debian. */
export async function makePackages(out: string, revision: number, withNpm = false): Promise<void> {
  const args = ['--arch', 'amd64', '--quick', '--out', out, '--revision', String(revision), ...(withNpm ? [] : ['--no-npm'])];
  await command('npm', ['run', '--silent', 'package', '--', ...args], { cwd: top, timeoutMs: 600_000 });
}

/** Booted Debians with a mail server each, a power switch each, on one LAN with a client; and what a client sees of them. */
export class DebianLab {
  readonly network: Network;
  readonly bmcs = new Map<HostName, Bmc>();
  readonly #hosts = new Map<HostName, DebianHost>();
  readonly #plans: readonly DebianPlan[];
  readonly #dir: string;
  #sent = 0;

  /** @param dir the systems are made in it. */
  constructor(dir: string, plans: readonly DebianPlan[]) {
    this.#dir = dir;
    this.#plans = plans;
    const hosts = plans.map(({ name, ports }) => ({ name, ports: ports ?? [{ name: 'eth0', network: 0 }] }));
    this.network = new Network({ hosts: [...hosts, 'client'] });
  }

  host(name: HostName): DebianHost {
    const host = this.#hosts.get(name);
    if (!host) throw new Error(`no host ${name}`);
    return host;
  }

  bmc(name: HostName): Bmc {
    const bmc = this.bmcs.get(name);
    if (!bmc) throw new Error(`no BMC of ${name}`);
    return bmc;
  }

  /** Address of its own of a node. */
  address(name: HostName): string {
    return this.network.host(name).addresses[0] ?? '';
  }

  release(name: HostName): Release {
    return this.#plans.find((plan) => plan.name === name)?.release ?? 'bookworm';
  }

  /** Makes the systems, from those of each release that MAILTWIN_DEBIANS has when there are any. Nothing is booted yet. */
  async make(): Promise<void> {
    for (const { name, memoryDirs } of this.#plans) {
      const release = this.release(name);
      const base = join(process.env['MAILTWIN_DEBIANS'] ?? join(this.#dir, 'base'), release);
      if (!existsSync(base)) {
        console.log(`making a Debian to boot, ${release} ...`);
        mkdirSync(dirname(base), { recursive: true });
        await makeDebian(`${base}.part`, mailPackages[release], release);
        renameSync(`${base}.part`, base);
      }
      const tree = join(this.#dir, name);
      await command('cp', ['-a', base, tree], { timeoutMs: 600_000 });
      const host = new DebianHost({ name: `mail-${name}`, tree, namespace: this.network.host(name).namespace, memoryDirs });
      mailServer(host, release);
      this.#hosts.set(name, host);
    }
  }

  /** Enters the LAN: what the test opens from here on is in it. Then starts a BMC for each host. */
  async enter(): Promise<void> {
    this.network.enter();
    for (const [i, { name }] of this.#plans.entries())
      this.bmcs.set(
        name,
        await Bmc.start({ address: '10.77.0.254', port: 9631 + i, node: `mail-${name}`, onPowerOff: () => this.cutPower(name) }),
      );
  }

  /** Puts files where each system finds them. */
  give(from: string, to: string): void {
    for (const host of this.#hosts.values()) cpSync(from, join(host.tree, to), { recursive: true });
  }

  async end(): Promise<void> {
    for (const host of this.#hosts.values()) await host.cutPower();
    for (const bmc of this.bmcs.values()) await bmc.stop();
    this.network.dispose();
  }

  async cutPower(name: HostName): Promise<void> {
    await this.host(name).cutPower();
    this.bareAddress(name);
  }

  /** A namespace of the lab outlives its host; what a host adds to its network does not. */
  bareAddress(name: HostName): void {
    const { namespace, addresses } = this.network.host(name);
    const port = this.#plans.find((plan) => plan.name === name)?.ports?.find(({ network }) => network === 0)?.name ?? 'eth0';
    runNow('ip', ['-n', namespace, 'address', 'flush', 'dev', port]);
    runNow('ip', ['-n', namespace, 'address', 'add', `${addresses[0]}/24`, 'dev', port]);
  }

  async becomes(name: HostName, wanted: { role: string; active: boolean; phase: string }): Promise<void> {
    const host = this.host(name);
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

  /** Whether it has the service address. */
  holds(name: HostName): boolean {
    return runNow('ip', ['-n', this.network.host(name).namespace, '-o', 'address', 'show']).includes(` ${service}/`);
  }

  /** Through Postfix at the service address, until Dovecot has numbered it. */
  async deliver(user: string, count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const subject = await this.send(user, 'text\r\n');
      await waitFor(`${subject} to be in the mailbox`, waitMs, async () => (await this.uids(user)).includes(subject));
    }
  }

  /** Until Postfix has taken it. @returns its subject. */
  async send(user: string, body: string): Promise<string> {
    const subject = `message ${++this.#sent}`;
    await waitFor(`${subject} to be taken`, waitMs, () =>
      smtp(service, `${user}@example.test`, `Subject: ${subject}\r\n\r\n${body}`).then(
        () => true,
        () => false,
      ),
    );
    return subject;
  }

  /** UIDVALIDITY and UIDs with subjects, as a client at the service address sees them. */
  async uids(user: string): Promise<string> {
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

/** What the node says of itself; nothing known when its agent does not answer. */
export async function status(host: DebianHost): Promise<StatusFacts> {
  const { stdout, code } = await host.run(['mailtwin', 'status', '--json'], { mayFail: true });
  if (code === 0) return JSON.parse(stdout) as StatusFacts;
  return {
    role: '',
    active: false,
    epoch: 0,
    peer: { connected: true, clockSkewSeconds: null },
    replication: { phase: '', held: null, lagChanges: null },
    possibleLoss: { complete: false },
    lastVerify: null,
    warnings: [],
  };
}

export async function mainPid(host: DebianHost): Promise<string> {
  return (await host.run(['systemctl', 'show', '--value', '--property=MainPID', 'dovecot.service'])).stdout.trim();
}
