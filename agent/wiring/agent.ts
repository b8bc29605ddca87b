import { randomUUID } from 'node:crypto';
import type { Status } from '../../protocol/control.ts';
import type { TakeoverReport } from '../../protocol/takeover.ts';
import type { Config } from '../config/config.ts';
import { isUnfinished, readJournal } from '../failover/takeover-journal.ts';
import { startControlServer } from '../control/server.ts';
import type { HelloFields } from '../link/handshake.ts';
import { loadIdentity } from '../link/identity.ts';
import { startPairLink, type PairLink } from '../link/pair-link.ts';
import { createPairingServer } from '../link/pairing-server.ts';
import { pinFile, type PinnedPeer, type Pins } from '../link/pins.ts';
import { startObserveServer } from '../observe/http.ts';
import { pageRoutes } from '../observe/page.ts';
import { createMetrics } from '../observe/metrics.ts';
import { systemClock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Log } from '../platform/log.ts';
import { realFiles } from '../platform/real-files.ts';
import type { ForeignPolicy } from '../replicate/standby/startup.ts';
import { buildStatus, type StatusParts } from '../replicate/status.ts';
import { agentApi } from './api.ts';
import { ApplianceReadings } from './appliance-readings.ts';
import { makeAppliance } from './appliance.ts';
import { doctorInAgent } from './doctor.ts';
import { makeTakeover } from './takeover/make-takeover.ts';
import type { Takeover } from './takeover/takeover.ts';
import { metricsSecrets } from './metrics-secrets.ts';
import { metPeers } from './met-peers.ts';
import { Migrate } from './migrate.ts';
import { Node } from './node.ts';
import { settleRole } from './node-state.ts';
import { notifierOf } from './notices.ts';
import { findServerVersion, openStore } from './parts.ts';
import { enterRole, type RoleParts } from './roles.ts';
import { salvageAnswers } from './salvage/answers.ts';
import { PeerAsks, salvageWording } from './peer-asks.ts';
import { rejoin } from './salvage/rejoin.ts';
import { Salvage } from './salvage/salvage.ts';
import { agentVersion } from './version.ts';

export interface RunOptions {
  /** What a standby does with files below its roots that it did not put there. */
  foreign: ForeignPolicy;
}

/** One running agent: everything that main.ts starts, and how it ends. */
export class Agent {
  readonly #log: Log;
  readonly #closers: (() => Promise<void> | void)[] = [];
  #resolveEnd: (exitCode: number) => void = () => {};
  /** Resolves with the exit code when everything has stopped. */
  readonly ended: Promise<number>;
  #stopping: Promise<void> | null = null;

  private constructor(log: Log) {
    this.#log = log;
    this.ended = new Promise((resolve) => (this.#resolveEnd = resolve));
  }

  /** @throws OperatorError when the agent cannot run as it is configured; nothing is left running then. */
  static async start(config: Config, log: Log, options: RunOptions): Promise<Agent> {
    const agent = new Agent(log);
    try {
      await agent.#start(config, options);
      return agent;
    } catch (error) {
      await agent.#close();
      throw error;
    }
  }

  /** Begins to stop; `ended` resolves when it has. */
  stop(): void {
    this.#stop(0);
  }

  #stop(exitCode: number): void {
    this.#stopping ??= this.#close().then(() => this.#resolveEnd(exitCode));
  }

  /** A part of the agent failed in a way that nobody foresaw: better to end and be started again than to go on half. */
  readonly #failed =
    (what: string) =>
    (error: unknown): void => {
      if (this.#stopping) return;
      this.#log.error({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }, `${what} failed; the agent ends`);
      this.#stop(1);
    };

  async #close(): Promise<void> {
    for (const close of this.#closers.splice(0).toReversed()) {
      try {
        await close();
      } catch (error) {
        this.#log.error({ error: error instanceof Error ? error.message : String(error) }, 'while stopping');
      }
    }
  }

  async #start(config: Config, options: RunOptions): Promise<void> {
    const log = this.#log;
    const identity = loadIdentity(config.state);
    const pins = pinFile(config.state);
    const kv = openStore(config);
    this.#closers.push(() => kv.close());
    const durable = settleRole(kv, config, log);
    const serverVersion = await findServerVersion();
    const boot = randomUUID();
    const met = metPeers(kv);
    const metrics = createMetrics({ status: () => status(), wallMs: () => systemClock.wallMs() });
    const appliance = makeAppliance(config, identity, kv, log);
    let link: PairLink | null = null;
    let takeover: Takeover | null = null;
    const parts: RoleParts = {
      config,
      log,
      kv,
      meter: metrics.meter,
      word: () => node?.word ?? { ...durable, active: false },
      failed: this.#failed,
    };
    let node: Node | null = null;
    const salvageAsks = new PeerAsks({
      clock: systemClock,
      wording: salvageWording,
      channel: () => link?.channel ?? null,
      ...salvageAnswers(kv, () => here),
    });
    const here: Node = (node = await Node.start({
      config,
      log,
      kv,
      appliance,
      durable,
      serverVersion,
      enter: (role) => enterRole(parts, role, options.foreign),
      link: () => link,
      failed: this.#failed,
      takeoverRuns: () => takeover?.runs ?? false,
      stopTakeover: (because) => takeover?.stop(because),
      takes: (channel, message) => salvageAsks.take(channel, message),
    }));
    this.#closers.push(() => here.stop());
    const readings = new ApplianceReadings(appliance, systemClock, () => takeover?.last() ?? null);
    this.#closers.push(() => readings.stop());
    readings.start(this.#failed('reading the services'));
    const statusParts = (): StatusParts => ({
      config,
      role: here.role,
      epoch: here.epoch,
      agentVersion,
      clock: systemClock,
      files: realFiles,
      kv,
      index: here.running.index,
      roots: here.running.roots,
      primary: here.running.primary,
      standby: here.running.standby,
      peer: here.running.peer,
      active: () => here.serving,
      notices: () => here.notices,
      capture: () => here.running.capture(),
      appliance: () => readings.status(),
      mailServer: serverVersion,
      pair: () => readablePin(pins),
      linkError: () => link?.lastError?.detail ?? null,
      fillTotal: () => here.running.fillTotal(),
    });
    const status = (): Status => buildStatus(statusParts());
    const pairing = createPairingServer({
      config,
      identity,
      pins,
      clock: systemClock,
      log,
      port: () => link?.port ?? 0,
      role: () => here.role,
    });
    this.#closers.push(() => pairing.stop());
    const hello = (): HelloFields => {
      const { role, epoch, active } = here.word;
      return { role, epoch, active, position: here.running.position(), agentVersion, serverVersion, boot, port: link?.port ?? 0 };
    };
    link = await startPairLink({
      config,
      identity,
      pins,
      clock: systemClock,
      log,
      hello,
      onChannel: (channel, theirs, address) => here.connected(channel, theirs, address),
      random: Math.random,
      ready: async () => {
        await here.turned();
        await here.running.idle();
      },
      calls: () => here.role !== 'primary',
      pairing: (socket, address) => pairing.handle(socket, address),
      learned: () => met.addresses(),
      met: (address) => met.remember(address),
    });
    const { port } = link;
    this.#closers.push(() => link?.stop());
    const commands = (takeover = makeTakeover({
      config,
      kv,
      log,
      node: here,
      appliance,
      identity,
      pin: () => readablePin(pins),
      met: () => met.addresses(),
      serverVersion,
    }));
    const salvage = new Salvage({
      node: here,
      files: realFiles,
      asks: salvageAsks,
      pair: () => readablePin(pins)?.pair ?? '',
      name: config.node,
      audit: commands.audit,
    });
    const notifier = notifierOf({ config, kv, log, status, appliance, takeover: commands });
    this.#closers.push(() => notifier.stop());
    const { fence } = appliance;
    this.#closers.push(() => fence.probe.stop());
    fence.probe.start(this.#failed('reading the fence levels'));
    const api = agentApi({
      statusParts,
      running: () => here.running,
      tellPeer: (message) => link?.channel?.sendControl(message),
      pairing,
      fence,
      takeover: commands,
      metrics: () => metrics.render(),
      migrate: new Migrate({
        status,
        network: appliance.network,
        roots: () => here.running.roots,
        serviceSeconds: () => serviceSeconds(commands.last().report),
      }),
      salvage,
      rejoin: (request, push, signal) =>
        rejoin({ node: here, name: config.node, appliance, salvage, audit: commands.audit }, request, push, signal),
      network: appliance.network,
      node: config.node,
      log,
      notifyTest: () => notifier.test(),
      stop: () => this.stop(),
    });
    const control = await startControlServer({ stateDir: config.state, api, log });
    this.#closers.push(() => control.close());
    const isPrivate = config.metrics !== null && (config.metrics.auth !== null || listensOnLoopback(config.metrics.host));
    const by = { uid: process.getuid?.() ?? 0, user: 'status page', tty: null, sudoUser: null };
    // The page tells more than numbers: on a LAN it wants a password.
    const page = () =>
      isPrivate
        ? pageRoutes({
            status,
            events: () => notifier.events,
            plan: () => commands.plan({ kind: 'failover', overrides: [], by }, AbortSignal.timeout(30_000)),
            doctor: () => doctorInAgent(config.file, appliance, status),
            monotonicMs: () => systemClock.monotonicMs(),
          })
        : {};
    if (config.metrics) {
      const http = await startObserveServer({
        listen: config.metrics,
        ...metricsSecrets(config.metrics),
        metrics,
        status,
        routes: page(),
        log,
      });
      this.#closers.push(() => http.close());
      log.info({ port: http.port }, 'metrics are served');
    }
    await here.boot(isUnfinished(readJournal(kv), here.keeper.durable));
    notifier.start(this.#failed('watching for what to tell'));
    log.info({ node: config.node, role: here.role, epoch: here.epoch, version: agentVersion, port }, 'the agent runs');
  }
}

/** What stopping, moving and starting took in the last takeover of this node. */
function serviceSeconds(report: TakeoverReport | null): number | null {
  if (report?.outcome !== 'done') return null;
  const ms = report.steps
    .filter(({ id }) => ['quiesce', 'addresses', 'services'].includes(id))
    .reduce((sum, step) => sum + (step.ms ?? 0), 0);
  return ms / 1000;
}

function listensOnLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

/** A damaged file of the peer must not take the status away that says so: the link names it as its last error. */
function readablePin(pins: Pins): PinnedPeer | null {
  try {
    return pins.read();
  } catch (error) {
    if (error instanceof OperatorError) return null;
    throw error;
  }
}
