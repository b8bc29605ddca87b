import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { GuardResult } from '../../protocol/takeover.ts';
import { LabAgent } from './agents.ts';
import { Bmc } from './bmc.ts';
import { dovecotConfig } from './dovecot-config.ts';
import { alarmingLines, errorLines } from './dovecot-log.ts';
import type { Network } from './namespaces.ts';
import { killPid, runNow, waitForEnd } from './processes.ts';
import { labRelease, program, programsDir, provide, type Release } from './release.ts';
import { systemdDir, writeSystemd } from './systemd-part.ts';

export const servicePassword = 'lab';
const mailUid = 5000;

export interface ApplianceOptions {
  network: Network;
  /** `a` or `b`: its host in the network, and its node `mail-a`, `mail-b`. */
  name: 'a' | 'b';
  role: 'primary' | 'standby';
  /** Holds everything of it. */
  dir: string;
  /** Its BMC's port; the BMC answers in the LAN. */
  bmcPort: number;
  /** Address and port of the other one's BMC, and how to log in there. */
  fence: Record<string, string>;
  /** Service addresses, with their prefix lengths. */
  addresses: readonly string[];
  gateways: readonly string[];
  /** Whose Dovecot it runs. Default `labRelease`. */
  release?: Release;
  /** Of Dovecot 2.4; see DovecotSettings. */
  storageVersion?: '2.3.0' | '2.4.0';
  /** Whether the agent is told how the mail server's configuration is checked: then it knows where the server keeps its mail. */
  checksConfig?: boolean;
  /** Environment of its agent. */
  environment?: NodeJS.ProcessEnv;
  /** Port of the service network; default eth0. */
  port?: string;
  /** Whether the agent starts and stops its mail server by commands of its own, which is the default, or as a unit of systemd. */
  init?: 'commands' | 'systemd';
  /** Fence levels before the cooperative one and the manual one, as YAML; default: the other one's BMC. */
  levels?: readonly string[];
  /** More of the section `takeover`, as YAML lines. */
  takeover?: string;
}

/**
 * A whole appliance in a network namespace: an agent, and a Dovecot (IMAP, LMTP) that only the agent starts, behind
 * service addresses that move. Its power is a switch of a BMC; without power every process of it is dead, and its network
 * forgets what was added to it.
 */
export class Appliance {
  readonly name: 'a' | 'b';
  readonly agent: LabAgent;
  readonly store: string;
  #release: Release;
  readonly #o: ApplianceOptions;
  #bmc: Bmc | null = null;
  /** Its BMC takes the order to switch off, and the power stays on. */
  powerSticks = false;

  constructor(options: ApplianceOptions) {
    this.#o = options;
    this.name = options.name;
    this.#release = options.release ?? labRelease;
    this.store = join(options.dir, 'store');
    this.agent = new LabAgent(options.role, {
      node: `mail-${options.name}`,
      dir: options.dir,
      roots: [{ name: 'mail', path: this.store, format: 'maildir' }],
      namespace: options.network.host(options.name).namespace,
      listen: '0.0.0.0:7420',
      programs: this.#programs(),
      ...(options.environment && { environment: options.environment }),
      config: [['# Prometheus metrics', `${this.#sections()}# Prometheus metrics`]],
    });
    this.#prepare();
  }

  get release(): Release {
    return this.#release;
  }

  /** What an upgrade of the system does to a standby: the agent stops, and starts on another release with a configuration for it. */
  async upgrade(release: Release): Promise<void> {
    await provide(release);
    await this.agent.stop();
    this.#release = release;
    this.agent.programs = this.#programs();
    this.#prepare();
    await this.agent.start();
  }

  get namespace(): string {
    return this.#o.network.host(this.name).namespace;
  }

  get bmc(): Bmc {
    if (!this.#bmc) throw new Error('the BMC was not started');
    return this.#bmc;
  }

  /** Called in the LAN: where its BMC answers. */
  async startBmc(): Promise<void> {
    this.#bmc = await Bmc.start({
      address: '10.77.0.254',
      port: this.#o.bmcPort,
      node: `mail-${this.name}`,
      onPowerOff: () => {
        if (this.powerSticks) throw new Error('the switch sticks');
        return this.cutPower();
      },
    });
  }

  /** Everything on it is dead at once. */
  async cutPower(): Promise<void> {
    this.agent.killNow();
    const pids = runNow('ip', ['netns', 'pids', this.namespace])
      .split('\n')
      .filter((pid) => pid !== '')
      .map(Number);
    for (const pid of pids) killPid(pid);
    await waitForEnd(pids, 60_000);
    await this.agent.kill9();
    for (const address of this.held()) runNow('ip', ['-n', this.namespace, 'address', 'delete', address, 'dev', this.#o.port ?? 'eth0']);
  }

  /** Service addresses that it holds. */
  held(): string[] {
    const shown = runNow('ip', ['-n', this.namespace, '-o', 'address', 'show']);
    return this.#o.addresses.filter((address) => shown.includes(` ${address} `));
  }

  /** Hardware address of its service port. */
  mac(): string {
    return (
      (JSON.parse(runNow('ip', ['-n', this.namespace, '-j', 'link', 'show', 'dev', this.#o.port ?? 'eth0'])) as { address: string }[])[0]
        ?.address ?? ''
    );
  }

  /** Whether a Dovecot runs on it. */
  serves(): boolean {
    return runNow('ip', ['netns', 'pids', this.namespace])
      .split('\n')
      .some((pid) => pid !== '' && isMailServer(Number(pid)));
  }

  /** What an admin does who does not know better. */
  startMailServer(): void {
    runNow('ip', ['netns', 'exec', this.namespace, join(this.#o.dir, 'mail-service'), 'start']);
  }

  /** What its guards would say to a failover now. */
  async failoverGuards(): Promise<readonly GuardResult[]> {
    const by = { uid: 0, user: 'lab', tty: null, sudoUser: null };
    return (await this.agent.control.ask('POST /takeover/plan', { kind: 'failover', overrides: [], by })).guards;
  }

  /** Lines of its Dovecot's log that tell of corruption, rebuilding and the like. */
  alarmingLogLines(): string[] {
    return alarmingLines(this.#log());
  }

  /** Lines of it of level Error and above. */
  errorLogLines(): string[] {
    return errorLines(this.#log());
  }

  #programs(): string | null {
    const dirs = [this.#o.init === 'systemd' ? systemdDir(this.#o.dir) : null, programsDir(this.release)];
    return dirs.filter((each) => each !== null).join(':') || null;
  }

  #log(): string {
    const dir = join(this.#o.dir, 'dovecot');
    return readdirSync(dir).includes('dovecot.log') ? readFileSync(join(dir, 'dovecot.log'), 'utf8') : '';
  }

  async dispose(): Promise<void> {
    await this.cutPower().catch(() => {});
    await this.#bmc?.stop();
  }

  #prepare(): void {
    const { dir, storageVersion } = this.#o;
    const own = join(dir, 'dovecot');
    for (const each of [own, join(own, 'run'), join(own, 'state'), join(own, 'home')]) mkdirSync(each, { recursive: true, mode: 0o755 });
    chownSync(join(own, 'home'), mailUid, mailUid);
    // The attributes of a root's own directory are the operator's.
    mkdirSync(this.store, { recursive: true });
    chownSync(this.store, mailUid, mailUid);
    const settings = {
      dir: own,
      storeDir: this.store,
      listen: '*',
      imapPort: 143,
      lmtpPort: 24,
      mailUid,
      mailGid: mailUid,
      password: servicePassword,
      release: this.release,
      ...(storageVersion && { storageVersion }),
    };
    writeFileSync(join(own, 'dovecot.conf'), dovecotConfig(settings));
    writeFileSync(join(dir, 'probe.secret'), `${servicePassword}\n`, { mode: 0o600 });
    writeFileSync(join(dir, 'bmc.secret'), 'bmc-secret-1\n', { mode: 0o600 });
    // What an init script does: 0 = running, 3 = stopped.
    const pid = join(own, 'run/master.pid');
    // Sessions outlive the master for a while, and go on writing: stopped is what has no process any more.
    const script = `#!/bin/sh
isThere() { [ -s ${pid} ] && runs "$(cat ${pid})"; }
# What ended and was not waited for has no program any more.
runs() { [ -n "$(readlink "/proc/$1/exe")" ]; }
sessions() { ip netns pids "$(ip netns identify)" | while read -r each; do case $(readlink /proc/$each/exe) in */dovecot/*) echo $each ;; esac; done; }
case $1 in
  start) isThere || { rm -f ${pid}; exec ${program(this.release, 'dovecot')} -c ${own}/dovecot.conf; } ;;
  stop)
    isThere || exit 0
    master=$(cat ${pid})
    kill "$master"
    # As systemd does with a unit that takes its time: after 1.25 s the rest is told, too.
    began=$(date +%s%3N)
    while [ $(($(date +%s%3N) - began)) -lt 20000 ]; do
      left=$(sessions | grep -vx "$master")
      [ $(($(date +%s%3N) - began)) -lt 1250 ] || [ -z "$left" ] || kill $left 2> /dev/null
      runs "$master" || [ -n "$left" ] || exit 0
      sleep 0.02
    done
    exit 1 ;;
  status) isThere && exit 0; [ -z "$(sessions)" ] || exit 0; exit 3 ;;
esac
`;
    writeFileSync(join(dir, 'mail-service'), script);
    chmodSync(join(dir, 'mail-service'), 0o755);
    if (this.#o.init === 'systemd') writeSystemd({ dir, dovecot: own, release: this.release, gate: join(dir, 'gate/active') });
  }

  #sections(): string {
    const { dir, fence, addresses, gateways, checksConfig, init, takeover = '', levels = [fenceLevel(dir, fence, 30)] } = this.#o;
    const command = (what: string) => JSON.stringify([join(dir, 'mail-service'), what]);
    return `network:
  roles:
    - { name: lan, addresses: ${JSON.stringify(addresses)}, gateways: ${JSON.stringify(gateways)} }
  witnesses: ${JSON.stringify(gateways.slice(0, 1))}
fencing:
${levels.map((level) => `  - ${level}`).join('\n')}
  - { type: cooperative, timeoutSeconds: 5 }
  - { type: manual }
services:
  gate: ${join(dir, 'gate/active')}
${init === 'systemd' ? '  units: [dovecot.service]' : `  commands: { start: ${command('start')}, stop: ${command('stop')}, status: ${command('status')} }`}
${checksConfig ? `  configCheck: [doveconf, -n, -c, ${join(dir, 'dovecot/dovecot.conf')}]\n` : ''}  imap: { host: 127.0.0.1, port: 143, user: probe, passwordFile: ${join(dir, 'probe.secret')}, tls: none }
takeover:
  startAloneSeconds: 5
${takeover}
`;
  }
}

/** A level of fence_ipmilan for an appliance whose files are in `dir`, as YAML. */
export function fenceLevel(dir: string, options: Record<string, string>, timeoutSeconds: number): string {
  const given = Object.entries(options).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  return `{ type: agent, agent: fence_ipmilan, options: { ${given.join(', ')} }, secrets: { password: ${join(dir, 'bmc.secret')} }, timeoutSeconds: ${timeoutSeconds} }`;
}

/** The agent asks `dovecot --version` now and then, which serves nobody. */
function isMailServer(pid: number): boolean {
  try {
    const [program = '', first] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    return basename(program) === 'dovecot' && first === '-c';
  } catch {
    return false;
  }
}
