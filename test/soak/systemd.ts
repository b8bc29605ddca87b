import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../agent/platform/clock.ts';
import { exec } from '../../agent/platform/exec.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import { createServices, type Services } from '../../agent/services/services.ts';
import { removeAbandoned, ownerMark } from '../lab/ownership.ts';
import { descendants, killPid, LabProcess, run as command } from '../lab/processes.ts';
import { waitFor } from '../lab/waiting.ts';
import type { Soak } from './options.ts';

const units = fileURLToPath(new URL('../../deploy/systemd', import.meta.url));
const bootMs = 300_000;
/** Stands for a mail server that a package enabled, so that the boot wants to start it; it ends on no SIGTERM. */
const mailUnit = `[Unit]
Description=A mail server
[Service]
ExecStart=/bin/sh -c 'trap "" TERM; while true; do sleep 1; done'
TimeoutStopSec=infinity
[Install]
WantedBy=multi-user.target
`;

/**
 * The units and the gate in a Debian that boots with a real systemd. The tree is made by debootstrap, which takes minutes
 * on a busy machine: that is why this is no part of `npm test`.
 */
export const run: Soak = async () => {
  removeAbandoned(tmpdir());
  const tree = mkdtempSync(join(tmpdir(), `${ownerMark()}-debian-`));
  try {
    console.log('making a Debian to boot ...');
    await command('debootstrap', ['--variant=minbase', '--include=systemd,systemd-sysv,dbus', 'bookworm', tree], { timeoutMs: 3_600_000 });
    await proveGate(tree);
    console.log('the gate holds in a booted systemd');
    return true;
  } catch (error) {
    console.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return false;
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
};

/** Boots the tree and goes through what the gate promises. @throws at the first promise that is not kept. */
export async function proveGate(tree: string): Promise<void> {
  install(tree);
  const step = (what: string, isTrue: boolean) => {
    console.log(`${isTrue ? 'ok  ' : 'FAIL'}  ${what}`);
    if (!isTrue) throw new Error(`not so: ${what}`);
  };
  let host = await Appliance.boot(tree);
  try {
    step('after a boot an enabled mail unit has not started', (await host.active('dovecot.service')) === 'inactive');
    step('because its condition did not hold', (await host.show('dovecot.service', 'ConditionResult')) === 'no');
    step('the agent runs', (await host.active('mailtwin.service')) === 'active');
    await host.systemctl('start', 'dovecot.service');
    step('a person does not start it either', (await host.active('dovecot.service')) === 'inactive');
    await host.services.start();
    step('it runs once this node is active', (await host.active('dovecot.service')) === 'active');
    await host.systemctl('restart', 'mailtwin.service');
    step('a restart of the agent leaves it alone', (await host.active('dovecot.service')) === 'active' && existsSync(host.gate));
    await host.services.stop();
    step('it stops, by SIGKILL because it heeds nothing else', (await host.services.state()).state === 'stopped');
    step('the gate is closed then', !existsSync(host.gate));
    await host.systemctl('start', 'dovecot.service');
    step('and nobody starts it again', (await host.services.state()).state === 'stopped');
    await host.services.start();
    const main = await host.show('dovecot.service', 'MainPID');
    const stopping = host.systemctl('stop', 'mailtwin-active.target');
    await waitFor('the mail unit to be told to stop', 60_000, async () => (await host.active('dovecot.service')) !== 'active');
    step('stopping the target stops every gated unit', main !== '0');
    await host.systemctl('kill', '--signal=SIGKILL', 'dovecot.service');
    await stopping;
    await host.services.start();
    step('it runs again', (await host.active('dovecot.service')) === 'active');
    await host.powerOff();
    host = await Appliance.boot(tree);
    step('after a power cut of the active node it stays down', (await host.active('dovecot.service')) === 'inactive');
  } finally {
    await host.powerOff();
  }
}

function install(tree: string): void {
  const system = join(tree, 'etc/systemd/system');
  for (const dir of ['dovecot.service.d', 'multi-user.target.wants']) mkdirSync(join(system, dir), { recursive: true });
  for (const name of ['mailtwin.service', 'mailtwin-active.target']) copyFileSync(join(units, name), join(system, name));
  copyFileSync(join(units, '10-mailtwin.conf'), join(system, 'dovecot.service.d/10-mailtwin.conf'));
  writeFileSync(join(system, 'dovecot.service'), mailUnit);
  for (const name of ['mailtwin.service', 'dovecot.service']) {
    const link = join(system, 'multi-user.target.wants', name);
    rmSync(link, { force: true });
    symlinkSync(`/etc/systemd/system/${name}`, link);
  }
  // The agent's part is played by `Services` from outside; here only its unit counts.
  writeFileSync(join(tree, 'usr/bin/mailtwin'), '#!/bin/sh\nexec sleep infinity\n');
  chmodSync(join(tree, 'usr/bin/mailtwin'), 0o755);
}

/** A container with an init of its own. */
class Appliance {
  readonly #nspawn: LabProcess;
  readonly #leader: number;
  readonly gate: string;
  readonly services: Services;

  private constructor(nspawn: LabProcess, leader: number) {
    this.#nspawn = nspawn;
    this.#leader = leader;
    this.gate = `/proc/${leader}/root/run/mailtwin/active`;
    this.services = createServices({
      config: {
        gate: this.gate,
        units: ['mailtwin-active.target', 'dovecot.service'],
        commands: null,
        configCheck: null,
        imap: null,
        startTimeoutSeconds: 60,
        stopTimeoutSeconds: 3,
        queue: 'none',
      },
      exec: (program, args, options) => exec('nsenter', [...this.#inside(), program, ...args], options),
      files: realFiles,
      clock: systemClock,
      log: silentLog,
      login: async () => ({ ok: true, evidence: '' }),
    });
  }

  static async boot(tree: string): Promise<Appliance> {
    const name = `mt${process.pid}`;
    const nspawn = new LabProcess('systemd-nspawn', ['--register=no', '--keep-unit', '-b', '-D', tree, '-M', name, '--private-network']);
    const isInit = (pid: number) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'systemd';
    const leader = await waitFor('the init of the container', bootMs, () => {
      if (!nspawn.isRunning) throw new Error(`systemd-nspawn ended: ${nspawn.output}`);
      return descendants(nspawn.pid).find((pid) => isInit(pid));
    });
    const host = new Appliance(nspawn, leader);
    await waitFor('the boot', bootMs, async () => ['running', 'degraded'].includes(await host.systemctl('is-system-running')));
    return host;
  }

  /** What systemctl prints. */
  async systemctl(...args: string[]): Promise<string> {
    return (await command('nsenter', [...this.#inside(), 'systemctl', ...args], { mayFail: true, timeoutMs: 120_000 })).stdout.trim();
  }

  active(unit: string): Promise<string> {
    return this.systemctl('is-active', unit);
  }

  show(unit: string, property: string): Promise<string> {
    return this.systemctl('show', '--value', `--property=${property}`, unit);
  }

  /** The leader's end is the end of all in it, at once. */
  async powerOff(): Promise<void> {
    killPid(this.#leader);
    await this.#nspawn.kill9();
  }

  #inside(): string[] {
    return ['-t', String(this.#leader), '-m', '-u', '-i', '-n', '-p', '-r', '-w', '--'];
  }
}
