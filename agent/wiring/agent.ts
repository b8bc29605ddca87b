import { hostname } from 'node:os';
import { randomUUID } from 'node:crypto';
import type { Status } from '../../protocol/control.ts';
import type { TakeoverReport } from '../../protocol/takeover.ts';
import type { Config } from '../config/config.ts';
import { upgradeChecks } from '../failover/upgrade-status.ts';
import { isUnfinished, readJournal } from '../failover/takeover-journal.ts';
import { startControlServer } from '../control/server.ts';
import type { HelloFields } from '../link/handshake.ts';
import { loadIdentity } from '../link/identity.ts';
import { startPairLink, type PairLink, type PairLinkOptions } from '../link/pair-link.ts';
import { createPairingServer } from '../link/pairing-server.ts';
import { pinFile, type PinnedPeer, type Pins } from '../link/pins.ts';
import { startObserveServer } from '../observe/http.ts';
import { pageRoutes } from '../observe/page.ts';
import { createMetrics } from '../observe/metrics.ts';
import { Standstill } from '../observe/standstill.ts';
import { sleep, systemClock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Kv } from '../platform/kv.ts';
import type { Log } from '../platform/log.ts';
import { readCertificate } from '../platform/certificate-file.ts';
import { exec } from '../platform/exec.ts';
import { osRelease } from '../platform/os-release.ts';
import { queueFiles } from '../platform/queue-files.ts';
import { Certificates } from '../services/certificates/certificates.ts';
import { ReleaseReader } from '../services/releases.ts';
import { MailQueue } from '../services/queue/mail-queue.ts';
import type { Services } from '../services/services.ts';
import type { ForeignPolicy } from '../replicate/standby/startup.ts';
import { buildStatus, type StatusParts } from '../replicate/status.ts';
import { agentApi } from './api.ts';
import { ApplianceReadings } from './appliance-readings.ts';
import { makeAppliance, servicesOf } from './appliance.ts';
import { Closing } from './closing.ts';
import { doctorInAgent } from './doctor.ts';
import { makeTakeover, peerAddresses } from './takeover/make-takeover.ts';
import { PeerWatch } from './takeover/peer-watch.ts';
import { Standing } from './takeover/standing.ts';
import type { Takeover } from './takeover/takeover.ts';
import { metricsSecrets } from './metrics-secrets.ts';
import { metPeers } from './met-peers.ts';
import { Migrate } from './migrate.ts';
import { Node } from './node.ts';
import { settleRole, toldRole } from './node-state.ts';
import { notifierOf } from './notices.ts';
import { mailServerVersion } from './mail-server-version.ts';
import { filesOf, openStore } from './parts.ts';
import { sandboxTroubles } from './read-only-here.ts';
import { Resting } from './resting.ts';
import { enterRole, waitingRole, type RoleParts } from './roles.ts';
import { salvageAnswers } from './salvage/answers.ts';
import { PeerAsks, putBackWording, salvageWording } from './peer-asks.ts';
import { putBackAnswers } from './put-back/answers.ts';
import { keepThisStore } from './put-back/keep.ts';
import { rejoin } from './salvage/rejoin.ts';
import { Salvage } from './salvage/salvage.ts';
import { Supervisor } from './supervisor.ts';
import { agentVersion } from './version.ts';

export interface RunOptions {
  /** What a standby does with files below its roots that it did not put there. */
  foreign: ForeignPolicy;
}

/** One running agent: everything that main.ts starts, and how it ends. */
export class Agent {
  readonly #log: Log;
  readonly #closing: Closing;
  readonly #supervisor: Supervisor;
  #resolveEnd: (exitCode: number) => void = () => {};
  /** Resolves with the exit code when everything has stopped, or has had its time to. */
  readonly ended: Promise<number>;
  #starting: Promise<void> | null = null;
  #stopping = false;

  constructor(log: Log) {
    this.#log = log;
    this.#closing = new Closing(systemClock, log);
    this.#supervisor = new Supervisor({ clock: systemClock, log, fatal: (what, error) => this.fatal(what)(error) });
    this.ended = new Promise((resolve) => (this.#resolveEnd = resolve));
  }

  /**
   * Resolves when the agent runs, or when it was stopped meanwhile.
   *
   * @throws OperatorError when the agent cannot run as it is configured; nothing is left running then.
   */
  async start(config: Config, options: RunOptions): Promise<void> {
    this.#starting = this.#start(config, options);
    try {
      await this.#starting;
    } catch (error) {
      // What is taken away from a start that is under way is no reason for anything.
      if (this.#stopping) return;
      this.#stopping = true;
      await this.#close();
      throw startError(error, this.#log);
    }
  }

  /** Begins to stop; `ended` resolves within ten seconds, whatever the agent is doing (I23). */
  stop(): void {
    this.#stop(0);
  }

  /** Something failed that no new beginning of a part mends: better to end and be started again than to go on half. */
  readonly fatal =
    (what: string) =>
    (error: unknown): void => {
      if (this.#stopping) return;
      const operator = error instanceof OperatorError ? error : null;
      this.#log.error(
        operator
          ? { code: operator.code, remedy: operator.remedy, error: operator.message }
          : { error: error instanceof Error ? (error.stack ?? error.message) : String(error) },
        `${what} failed; the agent ends`,
      );
      this.#stop(operator?.exitCode ?? 1);
    };

  #stop(exitCode: number): void {
    if (this.#stopping) return;
    this.#stopping = true;
    void this.#close().then(() => this.#resolveEnd(exitCode));
  }

  async #close(): Promise<void> {
    this.#supervisor.stop();
    await this.#closing.close(this.#starting);
  }

  /** Null when the agent was stopped before the disk of the state directory could be written. */
  async #openStore(config: Config): Promise<Kv | null> {
    const what = 'the store';
    const options = { log: this.#log, onDamage: this.fatal(what) };
    while (!this.#stopping) {
      try {
        const kv = await openStore(config, options);
        this.#closing.last(() => kv.close());
        this.#supervisor.works(what);
        return kv;
      } catch (error) {
        if (!(error instanceof OperatorError) || error.code !== 'state-unwritable') throw error;
        await sleep(systemClock, this.#supervisor.failed(what, error) ?? 0, this.#supervisor.signal);
      }
    }
    return null;
  }

  /** Opens what may be taken by somebody else at the moment: tried again until it is free, and said meanwhile. */
  async #open<T>(what: string, mayPass: string, open: () => Promise<T>, use: (opened: T) => void): Promise<void> {
    const opening = async (): Promise<void> => {
      const opened = await open();
      if (!this.#stopping) return use(opened);
      await (opened as { close?(): Promise<void>; stop?(): Promise<void> }).close?.();
    };
    try {
      await opening();
    } catch (error) {
      if (!(error instanceof OperatorError) || error.code !== mayPass) throw error;
      const waitMs = this.#supervisor.failed(what, error) ?? 0;
      void sleep(systemClock, waitMs, this.#supervisor.signal).then(() => this.#supervisor.keep(what, opening));
    }
  }

  async #start(config: Config, options: RunOptions): Promise<void> {
    const log = this.#log;
    const supervisor = this.#supervisor;
    const identity = loadIdentity(config.state);
    const pins = pinFile(config.state);
    const services = servicesOf(config, log);
    // Before anything that takes long, or fails: where this node is not active nothing may write into the store, whoever started it.
    const told = toldRole(config);
    const resting = new Resting({
      clock: systemClock,
      log,
      services,
      mustRest: () => node?.isAtRest ?? false,
      foreign: () => node?.running.standby?.foreignCount ?? 0,
    });
    if (told !== null && told !== 'primary') await stopServices(services, log, resting);
    const kv = await this.#openStore(config);
    if (kv === null) return;
    const durable = settleRole(kv, config, log);
    const boot = randomUUID();
    const met = metPeers(kv);
    const standstill = new Standstill(systemClock);
    this.#closing.first(() => standstill.stop());
    const metrics = createMetrics({ status: () => status(), wallMs: () => systemClock.wallMs(), standstillMs: () => standstill.longestMs });
    const appliance = makeAppliance(config, identity, kv, services, metrics.meter, log);
    if (durable.role !== 'primary' && told !== durable.role) await stopServices(services, log, resting);
    const mailServer = await mailServerVersion();
    const queue = new MailQueue({ services: config.services, exec, files: queueFiles, clock: systemClock });
    const certificates = new Certificates({ services: config.services, exec, read: readCertificate, clock: systemClock });
    const releases = new ReleaseReader({
      services: config.services,
      exec,
      osRelease,
      mailServer: () => mailServer.read(),
      clock: systemClock,
    });
    let link: PairLink | null = null;
    let takeover: Takeover | null = null;
    let standing: Standing | null = null;
    const parts: RoleParts = {
      config,
      log,
      kv,
      meter: metrics.meter,
      queue: () => queue.reading(),
      certificate: () => certificates.told(),
      releases: () => releases.last,
      word: () => node?.word ?? { ...durable, active: false },
      failed: this.fatal,
    };
    let node: Node | null = null;
    const putBackAsks = new PeerAsks({
      clock: systemClock,
      wording: putBackWording,
      channel: () => link?.channel ?? null,
      answer: putBackAnswers(kv, config, () => here),
    });
    const rootFiles = filesOf(config, () => node?.running.roots ?? []);
    const salvageAsks = new PeerAsks({
      clock: systemClock,
      wording: salvageWording,
      channel: () => link?.channel ?? null,
      ...salvageAnswers(rootFiles, kv, config, () => here),
    });
    const here: Node = (node = await Node.start({
      config,
      log,
      kv,
      appliance,
      durable,
      mailServer,
      enter: (role, failed) => enterRole({ ...parts, failed }, role, options.foreign),
      wait: (role) => waitingRole(parts, role, () => supervisor.troubles.map(({ text }) => text)),
      supervisor,
      link: () => link,
      fatal: this.fatal,
      takeoverRuns: () => takeover?.runs ?? false,
      stopTakeover: (because) => takeover?.stop(because),
      takes: (channel, message) => salvageAsks.take(channel, message) || putBackAsks.take(channel, message),
    }));
    this.#closing.second(() => here.stop());
    const readings = new ApplianceReadings(appliance, systemClock, () => takeover?.last() ?? null);
    this.#closing.first(() => readings.stop());
    void supervisor.keep('reading the services', () => readings.run());
    void supervisor.keep('counting the mail that waits', () => queue.run(supervisor.signal));
    void supervisor.keep('reading the releases', () => releases.run(supervisor.signal));
    void supervisor.keep('reading the certificates', () => certificates.run(supervisor.signal));
    const statusParts = (): StatusParts => ({
      config,
      role: here.role,
      epoch: here.epoch,
      agentVersion,
      clock: systemClock,
      files: rootFiles,
      kv,
      index: here.running.index,
      roots: here.running.roots,
      primary: here.running.primary,
      standby: here.running.standby,
      peer: here.running.peer,
      active: () => here.serving,
      notices: () => [...here.notices, ...resting.notices(), ...sandboxTroubles(config)],
      capture: () => here.running.capture(),
      disks: () => here.running.disks.troubles(),
      fileSystems: () => here.running.fileSystems(),
      appliance: () => readings.status(),
      canTakeOver: () => standing?.answer() ?? null,
      mailServer: mailServer.last,
      queue: () => queue.reading(),
      certificates: () => certificates.readings(),
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
    this.#closing.first(() => pairing.stop());
    const hello = (): HelloFields => {
      const { role, epoch, active } = here.word;
      return {
        role,
        epoch,
        active,
        position: here.running.position(),
        agentVersion,
        serverVersion: mailServer.last,
        boot,
        port: link?.port ?? 0,
      };
    };
    const linkOptions: PairLinkOptions = {
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
      onTurnedAway: (reason) => metrics.meter.turnedAway(reason),
    };
    await this.#open(
      'the pair link',
      'listen',
      () => startPairLink(linkOptions),
      (opened) => {
        link = opened;
        this.#closing.first(() => opened.stop());
      },
    );
    const pin = () => readablePin(pins);
    const watch = new PeerWatch({
      kv,
      node: here,
      appliance,
      peerAddresses: () => peerAddresses({ config, pin, met: () => met.addresses() }),
      isBusy: () => takeover?.runs ?? false,
    });
    this.#closing.first(() => watch.stop());
    const commands = (takeover = makeTakeover({
      config,
      kv,
      log,
      node: here,
      appliance,
      identity,
      pin,
      met: () => met.addresses(),
      mailServer,
      watch,
      resting,
    }));
    const stands = (standing = new Standing({ node: here, appliance, takeover: commands }));
    this.#closing.first(() => stands.stop());
    const salvage = new Salvage({
      node: here,
      files: rootFiles,
      kv,
      asks: salvageAsks,
      pair: () => readablePin(pins)?.pair ?? '',
      name: config.node,
      audit: commands.audit,
    });
    const notifier = notifierOf({ config, kv, log, status, appliance, takeover: commands });
    this.#closing.first(() => notifier.stop());
    const { fence } = appliance;
    this.#closing.first(() => fence.probe.stop());
    void supervisor.keep('reading the fence levels', () => fence.probe.run());
    const api = agentApi({
      statusParts,
      running: () => here.running,
      tellPeer: (message) => link?.channel?.sendControl(message),
      pairing,
      fence,
      takeover: commands,
      metrics: () => metrics.render(),
      audit: commands.audit,
      migrate: new Migrate({
        status,
        network: appliance.network,
        files: rootFiles,
        roots: () => here.running.roots,
        serviceSeconds: () => serviceSeconds(commands.last().report),
        releases,
        peer: () => here.running.peer.reading,
        checkMailServer: async () => (await doctorInAgent(config.file, appliance, status, upgradeChecks)).findings,
      }),
      salvage,
      keepThisStore: (request, push, signal) =>
        keepThisStore({ node: here, config, appliance, asks: putBackAsks, audit: commands.audit }, request, push, signal),
      rejoin: (request, push, signal) =>
        rejoin(
          { node: here, name: config.node, appliance, salvage, queue: () => queue.reading(), audit: commands.audit },
          request,
          push,
          signal,
        ),
      network: appliance.network,
      node: config.node,
      log,
      notifyTest: () => notifier.test(),
      stop: () => this.stop(),
    });
    await this.#open(
      'the control socket',
      'control-socket',
      () => startControlServer({ stateDir: config.state, api, log }),
      (opened) => this.#closing.first(() => opened.close()),
    );
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
      const names = [config.node, hostname(), ...config.metrics.names];
      const observe = { listen: config.metrics, names, ...metricsSecrets(config.metrics), metrics, status, routes: page(), log };
      await this.#open(
        'the address of the metrics',
        'metrics-address',
        () => startObserveServer(observe),
        (opened) => {
          this.#closing.first(() => opened.close());
          log.info({ port: opened.port }, 'metrics are served');
        },
      );
    }
    if (this.#stopping) return;
    await here.boot(isUnfinished(readJournal(kv), here.keeper.durable));
    void supervisor.keep('keeping the mail services at rest', () => resting.run(supervisor.signal));
    void supervisor.keep('watching the silent primary', () => watch.run());
    void supervisor.keep('judging whether this node can take over', () => stands.run());
    void supervisor.keep('watching for what to tell', () => notifier.run());
    const port = (link as PairLink | null)?.port ?? config.listen.port;
    log.info({ node: config.node, role: here.role, epoch: here.epoch, version: agentVersion, port }, 'the agent runs');
  }
}

/** The role machine stops them again, and again when it fails: what matters here is that it is tried before anything else. */
async function stopServices(services: Services, log: Log, resting: Resting): Promise<void> {
  if (!services.configured) return;
  const found = await services.state().catch((error: unknown) => {
    if (!(error instanceof OperatorError)) throw error;
    return null;
  });
  let failure: string | null = null;
  try {
    await services.stop();
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    failure = error.message;
    log.error({ code: error.code, remedy: error.remedy }, error.message);
  }
  if (found) resting.noteAtStart(found, failure);
}

/** For people in one line; what nobody foresaw has its stack in the log alone. */
function startError(error: unknown, log: Log): OperatorError {
  if (error instanceof OperatorError) return error;
  const what = error instanceof Error ? error.message : String(error);
  log.error({ error: error instanceof Error ? (error.stack ?? what) : what }, 'the agent cannot start');
  return new OperatorError(
    'start-failed',
    `the agent cannot start: ${what}`,
    'Look at the state directory and the disk that it is on; the log line before this one has the details. When they are in order, send a `mailtwin support-bundle`.',
  );
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
