import { randomUUID } from 'node:crypto';
import type { Status } from '../../protocol/control.ts';
import type { Role } from '../../protocol/messages.ts';
import type { Config } from '../config/config.ts';
import { startControlServer } from '../control/server.ts';
import type { Channel } from '../link/channel.ts';
import type { Hello, HelloFields } from '../link/handshake.ts';
import { loadIdentity } from '../link/identity.ts';
import { startPairLink, type PairLink } from '../link/pair-link.ts';
import { createPairingServer } from '../link/pairing-server.ts';
import { pinFile, type PinnedPeer, type Pins } from '../link/pins.ts';
import { startObserveServer } from '../observe/http.ts';
import { createMetrics } from '../observe/metrics.ts';
import { systemClock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Log } from '../platform/log.ts';
import { realFiles } from '../platform/real-files.ts';
import type { ForeignPolicy } from '../replicate/standby/startup.ts';
import { buildStatus, type StatusParts } from '../replicate/status.ts';
import { agentApi } from './api.ts';
import { makeFencing } from './fence.ts';
import { metPeers } from './met-peers.ts';
import { networkOf } from './network.ts';
import { NodeState } from './node-state.ts';
import { findServerVersion, openStore } from './parts.ts';
import { enterRole, meet, type RoleParts, type RunningRole } from './roles.ts';
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
  #turning: Promise<void> | null = null;

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
    await this.#turning?.catch(() => {});
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
    const node = new NodeState(kv, config, log);
    const serverVersion = await findServerVersion();
    const boot = randomUUID();
    const met = metPeers(kv);
    const metrics = createMetrics({ status: () => status(), wallMs: () => systemClock.wallMs() });
    const parts = (): RoleParts => ({
      config,
      log,
      kv,
      meter: metrics.meter,
      epoch: node.epoch,
      active: () => node.role === 'primary',
      failed: this.#failed,
    });
    let running: RunningRole = await enterRole(parts(), node.role, options.foreign);
    this.#closers.push(() => running.stop());
    let link: PairLink | null = null;
    const statusParts = (): StatusParts => ({
      config,
      role: node.role,
      epoch: node.epoch,
      agentVersion,
      clock: systemClock,
      files: realFiles,
      kv,
      index: running.index,
      roots: running.roots,
      primary: running.primary,
      standby: running.standby,
      peer: running.peer,
      active: () => node.role === 'primary',
      capture: () => running.capture(),
      pair: () => readablePin(pins),
      linkError: () => link?.lastError?.detail ?? null,
      fillTotal: () => running.fillTotal(),
    });
    const status = (): Status => buildStatus(statusParts());
    const pairing = createPairingServer({
      config,
      identity,
      pins,
      clock: systemClock,
      log,
      port: () => link?.port ?? 0,
      role: () => node.role,
    });
    this.#closers.push(() => pairing.stop());
    const hello = (): HelloFields => ({
      role: node.role,
      epoch: node.epoch,
      active: node.role === 'primary',
      position: running.position(),
      agentVersion,
      serverVersion,
      boot,
      port: link?.port ?? 0,
    });
    const changeRole = async (role: Role): Promise<void> => {
      link?.renew({ code: 'role', detail: `${config.node} is ${role} now` });
      await running.stop();
      running = await enterRole(parts(), role, options.foreign);
      running.start();
      log.info({ role, epoch: node.epoch }, `this node is ${role} now`);
    };
    const onChannel = (channel: Channel, theirs: Hello, address: string): void => {
      if (this.#turning) return channel.close({ code: 'turning', detail: `${config.node} is changing its role` });
      node.sawEpoch(theirs.epoch);
      const works = [running.role, theirs.role].toSorted().join();
      if (works === 'primary,standby') running.serve(channel, theirs, address);
      else meet(running.peer, channel, theirs, address);
      if (running.role !== 'primary' || theirs.epoch <= node.epoch) return;
      log.error({ epoch: theirs.epoch, mine: node.epoch }, `${theirs.node} has taken over; this node steps down and stays down`);
      this.#turn(node.set('fenced', theirs.epoch).then(() => changeRole('fenced')));
    };
    link = await startPairLink({
      config,
      identity,
      pins,
      clock: systemClock,
      log,
      hello,
      onChannel,
      random: Math.random,
      ready: async () => {
        await this.#turning?.catch(() => {});
        await running.idle();
      },
      calls: () => node.role !== 'primary',
      pairing: (socket, address) => pairing.handle(socket, address),
      learned: () => met.addresses(),
      met: (address) => met.remember(address),
    });
    const { port } = link;
    this.#closers.push(() => link?.stop());
    const fence = makeFencing(config, identity, log);
    this.#closers.push(() => fence.probe.stop());
    fence.probe.start(this.#failed('reading the fence levels'));
    const network = networkOf(config, { log, peerState: () => null });
    const api = agentApi({ statusParts, running: () => running, pairing, fence, network, node: config.node, log, stop: () => this.stop() });
    const control = await startControlServer({ stateDir: config.state, api, log });
    this.#closers.push(() => control.close());
    if (config.metrics) {
      const http = await startObserveServer({ listen: config.metrics, metrics, status, log });
      this.#closers.push(() => http.close());
      log.info({ port: http.port }, 'metrics are served');
    }
    running.start();
    log.info({ node: config.node, role: node.role, epoch: node.epoch, version: agentVersion, port }, 'the agent runs');
  }

  /** Changes of the role are made one after the other; one that fails ends the agent, which then starts as what it durably is. */
  #turn(work: Promise<void>): void {
    const turning = work.catch(this.#failed('the change of the role')).finally(() => {
      if (this.#turning === turning) this.#turning = null;
    });
    this.#turning = turning;
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
