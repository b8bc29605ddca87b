import { randomBytes, randomUUID } from 'node:crypto';
import type { Status } from '../../protocol/control.ts';
import type { Role } from '../../protocol/messages.ts';
import type { Config } from '../config/config.ts';
import { startControlServer } from '../control/server.ts';
import { loadHash64 } from '../delta/xxhash.ts';
import { HistoryKeeper } from '../history/keeper.ts';
import { Changes } from '../journal/changes.ts';
import { metaKey } from '../journal/keys.ts';
import { ReplicaIndex } from '../journal/replica-index.ts';
import type { HelloFields } from '../link/handshake.ts';
import { loadIdentity } from '../link/identity.ts';
import { createPairingServer, type PairingServer } from '../link/pairing-server.ts';
import { pinFile, type PinnedPeer, type Pins } from '../link/pins.ts';
import { startObserveServer } from '../observe/http.ts';
import type { Meter } from '../observe/meter.ts';
import { createMetrics } from '../observe/metrics.ts';
import { systemClock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Kv } from '../platform/kv.ts';
import type { Log } from '../platform/log.ts';
import { realFiles } from '../platform/real-files.ts';
import { DeletionGuard } from '../replicate/primary/guard.ts';
import { PrimaryRole } from '../replicate/primary/role.ts';
import { Unproven } from '../replicate/primary/unproven.ts';
import type { Root } from '../replicate/root.ts';
import { packPosition } from '../replicate/standby/receiver.ts';
import { StandbyRole } from '../replicate/standby/role.ts';
import { checkForeign, type ForeignPolicy } from '../replicate/standby/startup.ts';
import { buildStatus, type StatusParts } from '../replicate/status.ts';
import { agentApi } from './api.ts';
import { startPrimary, startStandby, type RunningRole } from './roles.ts';
import { findServerVersion, hashSeed, makeRoots, openStore, settleRole } from './parts.ts';
import { heartbeatOf } from './heartbeat.ts';
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
  #failed(what: string): (error: unknown) => void {
    return (error) => {
      if (this.#stopping) return;
      this.#log.error({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }, `${what} failed; the agent ends`);
      this.#stop(1);
    };
  }

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
    const { role, epoch } = settleRole(kv, config);
    const roots = makeRoots(config, role);
    const serverVersion = await findServerVersion();
    const boot = randomUUID();
    let status: () => Status = () => {
      throw new Error('the agent is starting');
    };
    const metrics = createMetrics({ status: () => status(), wallMs: () => systemClock.wallMs() });
    const shared: SharedParts = { config, log, kv, role, epoch, roots, meter: metrics.meter, pins };
    const running = role === 'primary' ? await this.#primary(shared) : await this.#standby(shared, options.foreign);
    const statusParts: StatusParts = {
      ...shared,
      agentVersion,
      clock: systemClock,
      files: realFiles,
      index: running.index,
      primary: running.primary,
      standby: running.standby,
      capture: () => running.capture(),
      pair: () => readablePin(pins),
      linkError: () => running.linkError(),
      fillTotal: () => running.fillTotal(),
    };
    status = () => buildStatus(statusParts);
    const hello = (): HelloFields => ({
      role,
      epoch,
      position: running.position(),
      agentVersion,
      serverVersion,
      boot,
    });
    let pairing: PairingServer | null = null;
    const link = { config, identity, pins, clock: systemClock, log, hello };
    if (running.primary) {
      const server = createPairingServer({ config, identity, pins, clock: systemClock, log, port: () => started.port });
      pairing = server;
      this.#closers.push(() => server.stop());
    }
    const started = await running.connect(link, pairing, this.#failed('the connection to the peer'));
    this.#closers.push(() => started.stop());
    const api = agentApi({ statusParts, running, pairing, log, stop: () => this.stop() });
    const control = await startControlServer({ stateDir: config.state, api, log });
    this.#closers.push(() => control.close());
    if (config.metrics) {
      const http = await startObserveServer({ listen: config.metrics, metrics, status, log });
      this.#closers.push(() => http.close());
      log.info({ port: http.port }, 'metrics are served');
    }
    running.start(this.#failed('the agent'));
    log.info({ node: config.node, role, epoch, version: agentVersion, port: started.port }, 'the agent runs');
  }

  async #primary(shared: SharedParts): Promise<RunningRole> {
    const { config, log, kv, epoch, roots, meter } = shared;
    const index = new ReplicaIndex(kv, { findByIdentity: true });
    const role: PrimaryRole = new PrimaryRole(
      {
        kv,
        files: realFiles,
        clock: systemClock,
        log,
        meter,
        index,
        changes: new Changes(kv, systemClock.monotonicMs()),
        unproven: new Unproven(kv),
        guard: new DeletionGuard({ share: config.limits.massDeleteShare, filesMin: config.limits.massDeleteFilesMin }),
        hash: await loadHash64(hashSeed(kv)),
        roots,
        settleMs: config.capture.settleMs,
        restMaxMs: config.capture.restMaxMs,
      },
      epoch,
      () =>
        heartbeatOf('primary', epoch, realFiles, roots, role.sender.position, {
          ...role.lag(),
          phase: role.sender.phase,
          unproven: role.unproven.count,
          warnings: role.sender.held ? [role.sender.held.detail] : [],
        }),
    );
    return startPrimary(shared, role, index, this.#closers, this.#failed('the watcher'));
  }

  async #standby(shared: SharedParts, foreign: ForeignPolicy): Promise<RunningRole> {
    const { config, log, kv, epoch, roots, meter } = shared;
    const index = new ReplicaIndex(kv, { findByIdentity: false });
    const keeper = new HistoryKeeper(kv, { days: config.history.days, bytesMax: config.history.bytesMax });
    const role: StandbyRole = new StandbyRole(
      { kv, files: realFiles, clock: systemClock, log, meter, index, keeper, roots, freeBytesMin: config.limits.freeBytesMin },
      () =>
        heartbeatOf('standby', epoch, realFiles, roots, role.receiver.position, {
          changes: 0,
          bytes: 0,
          ms: 0,
          phase: 'streaming',
          unproven: role.foreign().length,
          warnings: role
            .foreign()
            .slice(0, 5)
            .map(({ path, what }) => `${path}: ${what}`),
        }),
    );
    await role.start();
    const { adopted, movedAside } = await checkForeign({ files: realFiles, kv, clock: systemClock, index, roots }, foreign);
    if (adopted > 0) {
      // A position that no primary made: the next connection begins with a comparison.
      kv.commit([[metaKey('position'), packPosition({ epoch: 0, seq: 0, checksum: randomBytes(8).toString('hex') })]]);
      log.info({ adopted }, 'files that were there were adopted; the primary compares them and sends what differs');
      role.receiver.reload();
    }
    if (movedAside > 0) log.info({ movedAside }, 'files that were there were moved aside');
    return startStandby(role, index);
  }
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

/** What both roles are made of. */
export interface SharedParts {
  config: Config;
  log: Log;
  kv: Kv;
  role: Role;
  epoch: number;
  roots: readonly Root[];
  meter: Meter;
  pins: Pins;
}
