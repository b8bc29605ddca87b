import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Appliance, fenceLevel, type ApplianceOptions } from './appliance.ts';
import { LmtpClient } from './lmtp-client.ts';
import { Network, type PortPlan } from './namespaces.ts';
import { ownerMark } from './ownership.ts';
import type { RunResult } from './processes.ts';
import { provide, type Release } from './release.ts';
import { acceptsTcp, waitFor } from './waiting.ts';

const waitMs = 120_000;
/**
 * How `fence_ipmilan` asks a BMC whose power is off as soon as it says so: it reads the state back at once, and gives a
 * BMC that does not answer up after 5 s. Its own defaults are 2 s and 20 s.
 */
const impatient = { lanplus: '1', cipher: '3', power_wait: '0', power_timeout: '5' };

export interface AppliancePairOptions {
  /** Directory on whose file system all of it lies. */
  base: string;
  /** More of the section `takeover` on both, as YAML lines. */
  takeover?: string;
  /** Whose Dovecot each of them runs. Default `labRelease`. */
  releases?: { a: Release; b: Release };
  /** Of Dovecot 2.4; see DovecotSettings. */
  storageVersion?: '2.3.0' | '2.4.0';
  /** See ApplianceOptions. */
  checksConfig?: boolean;
  init?: 'commands' | 'systemd';
  /** Environment of both agents. */
  environment?: NodeJS.ProcessEnv;
  /** Ports of b, when they are not those of a, and which one is in the service LAN. */
  hardware?: { ports: readonly PortPlan[]; lan: string };
  /** A second power switch of both, a PDU at this port of the gateway: asked when the BMC gives no proof. */
  pduPort?: number;
}

/** Two appliances on a service LAN (network 0, gateway 10.77.0.254) and a cable of their own (network 1). The test process is in the LAN. */
export class AppliancePair implements AsyncDisposable {
  readonly network: Network;
  readonly address = '10.77.0.100';
  readonly a: Appliance;
  readonly b: Appliance;
  readonly #dir: string;
  readonly #lanOfB: string;

  constructor(given: AppliancePairOptions) {
    const { base, takeover, environment, hardware, pduPort, releases, storageVersion, init, checksConfig = false } = given;
    this.network = new Network({ hosts: ['a', hardware ? { name: 'b', ports: [...hardware.ports] } : 'b'], networks: 2 });
    this.#lanOfB = hardware?.lan ?? 'eth0';
    this.#dir = mkdtempSync(join(base, `${ownerMark()}-`));
    chmodSync(this.#dir, 0o755);
    const ports = { a: 9641, b: 9642 };
    const options = (name: 'a' | 'b', role: ApplianceOptions['role']): ApplianceOptions => {
      const dir = join(this.#dir, name);
      mkdirSync(dir, { mode: 0o755 });
      const other = name === 'a' ? 'b' : 'a';
      const fence = { ip: '10.77.0.254', ipport: String(ports[other]), username: 'admin', ...impatient };
      const shared = { network: this.network, addresses: [`${this.address}/24`], gateways: ['10.77.0.254'] };
      return {
        ...shared,
        name,
        role,
        dir,
        bmcPort: ports[name],
        fence,
        ...(name === 'b' ? { port: this.#lanOfB } : {}),
        ...(pduPort === undefined
          ? {}
          : { levels: [fenceLevel(dir, fence, 5), fenceLevel(dir, { ...fence, ipport: String(pduPort) }, 5)] }),
        checksConfig,
        ...(releases && { release: releases[name] }),
        ...(storageVersion && { storageVersion }),
        ...(init && { init }),
        ...(takeover === undefined ? {} : { takeover }),
        ...(environment && { environment }),
      };
    };
    this.a = new Appliance(options('a', 'primary'));
    this.b = new Appliance(options('b', 'standby'));
  }

  /** Both run, are paired and filled; a serves. */
  async start(timeoutMs = waitMs): Promise<void> {
    for (const { release } of [this.a, this.b]) await provide(release);
    this.network.enter();
    await Promise.all([this.a, this.b].flatMap((each) => [each.startBmc(), each.agent.init()]));
    await this.a.agent.start();
    await this.a.agent.cli(['nics', 'assign', 'lan', 'eth0']);
    const { code } = await this.a.agent.control.ask('POST /pair', {});
    await this.b.agent.cli(['pair', '10.77.1.1:7420', '--yes'], { input: code });
    await this.b.agent.start();
    await this.b.agent.cli(['nics', 'assign', 'lan', this.#lanOfB]);
    // Something to replicate: the copy of nothing is no copy.
    await waitFor('mail-a to serve', timeoutMs, () => acceptsTcp(this.address, 24));
    const client = await LmtpClient.open({ host: this.address, port: 24 });
    await client.deliver('lab@lab', ['probe'], Buffer.from('Subject: first\n\ntext\n'));
    client.abandon();
    await this.settled(this.a, timeoutMs);
  }

  other(one: Appliance): Appliance {
    return one === this.a ? this.b : this.a;
  }

  /** `active` serves and the other one is its filled standby. */
  async settled(active: Appliance, timeoutMs = waitMs): Promise<void> {
    const standby = this.other(active);
    await waitFor(`mail-${active.name} to serve with its standby`, timeoutMs, async () => {
      const [one, two] = [await active.agent.status(), await standby.agent.status()];
      if (!one.active || two.role !== 'standby' || two.replication.phase !== 'streaming') return false;
      // What counts is what the standby would say to a takeover.
      const guards = await standby.failoverGuards();
      return guards.some(({ guard, level }) => guard === 'initial-fill' && level === 'pass');
    });
  }

  /** The hardware address that the LAN has for the service address; null when it knows none. */
  neighbour(): string | null {
    const { stdout } = runIp(['-j', 'neigh', 'show', this.address]);
    return (JSON.parse(stdout || '[]') as { lladdr?: string }[])[0]?.lladdr ?? null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.a.dispose();
    await this.b.dispose();
    this.network.dispose();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

function runIp(args: readonly string[]): Pick<RunResult, 'stdout'> {
  const { stdout } = spawnSync('ip', args, { encoding: 'utf8' });
  return { stdout };
}
