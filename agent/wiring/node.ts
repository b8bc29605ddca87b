import { readFileSync } from 'node:fs';
import type { Message, Role } from '../../protocol/messages.ts';
import type { PeerWord, TakeoverAnswer, TakeoverAsk } from '../../protocol/takeover.ts';
import type { Config } from '../config/config.ts';
import { RoleKeeper, type RoleActions } from '../failover/role-keeper.ts';
import { initialRole, isServing } from '../failover/role-machine.ts';
import { metaKey } from '../journal/keys.ts';
import type { DurableRole } from '../failover/role-store.ts';
import type { Channel } from '../link/channel.ts';
import type { Hello } from '../link/handshake.ts';
import type { PairLink } from '../link/pair-link.ts';
import { sleep, systemClock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Kv } from '../platform/kv.ts';
import type { Log } from '../platform/log.ts';
import type { Appliance } from './appliance.ts';
import { saveLastVerify } from '../replicate/status.ts';
import { tellRole } from './node-state.ts';
import { peerAnswers } from './peer-answers.ts';
import { PeerAsks, takeoverWording, without } from './peer-asks.ts';
import { meet, type RunningRole } from './roles.ts';
import { Settling } from './settling.ts';

export interface NodeParts {
  config: Config;
  log: Log;
  kv: Kv;
  appliance: Appliance;
  durable: DurableRole;
  serverVersion: string | null;
  /** Makes this node what its durable role says. */
  enter: (role: Role) => Promise<RunningRole>;
  link: () => PairLink | null;
  failed: (what: string) => (error: unknown) => void;
  /** A takeover of this node is under way. */
  takeoverRuns: () => boolean;
  stopTakeover: (because: string) => void | Promise<void>;
  /** Takes a message of a conversation that is not the role's; false when it is another one. */
  takes: (channel: Channel, message: Message) => boolean;
}

/** A lasting condition of this node that people must know of. */
export interface Notice {
  level: 'warn' | 'error';
  code: string;
  text: string;
  remedy: string;
}

/** A peer that was heard so long ago is silent. */
const silentMs = 15_000;
const answerMs = 500;
const networkEveryMs = 10_000;
/** The boot of the host in which this node went into service. */
const activeBootKey = metaKey('active-boot');

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** What this node is: its role at work, the machine that decides it, and what it tells the other one. */
export class Node {
  readonly #p: NodeParts;
  readonly keeper: RoleKeeper;
  readonly asks: PeerAsks<TakeoverAsk, TakeoverAnswer>;
  readonly #settling: Settling;
  #running: RunningRole;
  #turning: Promise<void> | null = null;
  #announcing: AbortController | null = null;
  /** The service addresses were taken by this process, and not released since. */
  #taken = false;
  #notices: Notice[] = [];
  #heardMs: number;
  readonly #stopping = new AbortController();

  private constructor(parts: NodeParts, running: RunningRole) {
    this.#p = parts;
    this.#running = running;
    this.#heardMs = systemClock.monotonicMs();
    const { config, log, kv, durable, appliance } = parts;
    this.keeper = new RoleKeeper(initialRole(config.node, durable), {
      kv,
      clock: systemClock,
      log,
      actions: this.#actions(),
      takeoverRuns: parts.takeoverRuns,
      quiesceMaxMs: config.takeover.quiesceMaxSeconds * 1000,
    });
    const { network, services } = appliance;
    this.#settling = new Settling({
      clock: systemClock,
      log,
      keeper: () => this.keeper,
      network,
      startAloneMs: config.takeover.startAloneSeconds * 1000,
      silentSince: () => this.#heardMs,
    });
    this.asks = new PeerAsks({
      clock: systemClock,
      wording: takeoverWording,
      channel: () => parts.link()?.channel ?? null,
      answer: peerAnswers({
        keeper: this.keeper,
        running: () => this.#running,
        network,
        services,
        serverVersion: parts.serverVersion,
      }),
    });
  }

  /** Enters the durable role; nothing is active yet. */
  static async start(parts: NodeParts): Promise<Node> {
    return new Node(parts, await parts.enter(parts.durable.role));
  }

  get running(): RunningRole {
    return this.#running;
  }

  get role(): Role {
    return this.keeper.durable.role;
  }

  get epoch(): number {
    return this.keeper.durable.epoch;
  }

  get word(): PeerWord {
    return this.keeper.word();
  }

  /** Clients are served here. */
  get serving(): boolean {
    return isServing(this.keeper.role);
  }

  get notices(): readonly Notice[] {
    return this.#notices;
  }

  /** Resolves when a change of the role that is under way has come to its end. */
  async turned(): Promise<void> {
    while (this.#turning) await this.#turning;
  }

  /** Starts the work; from here on the role machine decides what is active. */
  async boot(unfinishedTakeover: boolean): Promise<void> {
    const { gated } = this.#p.appliance;
    this.#running.start();
    const stillActive = gated && this.role === 'primary' && (await this.#wasActive());
    this.keeper.handle({ is: 'boot', stillActive, gated, unfinishedTakeover });
    void this.#tellNetwork().catch(this.#p.failed('reading the network'));
  }

  /** The agent was restarted on a host that has been active since before, in the same boot. */
  async #wasActive(): Promise<boolean> {
    const { kv, appliance } = this.#p;
    const { services, network } = appliance;
    if (kv.get(activeBootKey)?.toString() !== bootId()) return false;
    const running = !services.configured || (services.gate?.isOpen === true && (await services.state()).state === 'running');
    return running && (!network.configured || (await network.held()).length > 0);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#settling.stop();
    this.keeper.stop();
    this.#announcing?.abort();
    await this.turned();
    await this.#running.stop();
  }

  /** A connection stands. */
  connected(channel: Channel, theirs: Hello, address: string): void {
    const { config, appliance } = this.#p;
    if (this.#turning) return channel.close({ code: 'turning', detail: `${config.node} is changing its role` });
    const rest = without(channel, (message) => this.#take(channel, message));
    const running = this.#running;
    const fits = running.role === this.role && [running.role, theirs.role].toSorted().join() === 'primary,standby';
    running.peer.onHeard(({ node, role, epoch, active }) => this.#heard({ node, role, epoch, active }));
    if (fits) running.serve(rest, theirs, address);
    else meet(running.peer, rest, theirs, address);
    const state = appliance.network.state();
    if (state) channel.sendControl({ type: 'network', state });
  }

  #heard(word: Omit<PeerWord, 'state'>): void {
    this.#heardMs = systemClock.monotonicMs();
    const before = this.keeper.durable.seenEpoch;
    this.keeper.handle({ is: 'peerSaid', ...word });
    if (this.keeper.durable.seenEpoch !== before) this.#told();
  }

  #take(channel: Channel, message: Message): boolean {
    if (this.asks.take(channel, message) || this.#p.takes(channel, message)) return true;
    if (message.type === 'verified') {
      const { at, result, deep, differences } = message;
      // Only a standby's copy was proved, and it keeps its own word when the other one is no primary.
      if (this.role === 'standby') saveLastVerify(this.#p.kv, { at, result, deep, differences });
      return true;
    }
    if (message.type !== 'network') return false;
    this.#p.appliance.keepPeerNetwork(message.state);
    return true;
  }

  /** True when nothing was heard of the peer for a while. */
  get peerIsSilent(): boolean {
    return systemClock.monotonicMs() - this.#heardMs > silentMs;
  }

  /** Ends the connection: what this node said of itself is no longer true. Resolves when nothing more comes in on it. */
  async tellAnew(detail: string): Promise<void> {
    this.#p.link()?.renew({ code: 'role', detail });
    await this.#running.idle();
  }

  #told(): void {
    tellRole(this.#p.config.state, this.keeper.durable);
  }

  /** Roles are changed one after the other; what was entered last is what is durable. */
  #become(role: Role): void {
    const { config, log, enter, failed } = this.#p;
    const work = async (): Promise<void> => {
      // An answer that says that this node stepped down must leave before the connection ends.
      for (let waited = 0; this.asks.answering && waited < answerMs; waited += 10) await sleep(systemClock, 10);
      this.#told();
      if (this.#running.role === role) return;
      await this.tellAnew(`${config.node} is ${role} now`);
      await this.#running.stop();
      this.#running = await enter(role);
      this.#running.start();
      this.#heardMs = systemClock.monotonicMs();
      log.info({ role, epoch: this.epoch }, `this node is ${role} now`);
    };
    const before = this.#turning ?? Promise.resolve();
    const turning: Promise<void> = before
      .then(work)
      .catch(failed('the change of the role'))
      .finally(() => {
        if (this.#turning === turning) this.#turning = null;
      });
    this.#turning = turning;
  }

  /** Brings the service addresses up here. @throws OperatorError of the network, with nothing changed. */
  async takeAddresses(say: (text: string) => void = (text) => this.#p.log.info({}, text)): Promise<void> {
    const { network } = this.#p.appliance;
    if (network.configured) await network.take(say);
    this.#taken = true;
  }

  #sayNotTaken(error: unknown): void {
    if (!(error instanceof OperatorError)) throw error;
    const { code, message, remedy } = error;
    this.#p.log.error({ code, remedy }, message);
    this.#notices = [{ level: 'error' as const, code, text: message, remedy }, ...this.#notices].slice(0, 10);
  }

  #actions(): RoleActions {
    const { appliance, kv, log, stopTakeover, failed } = this.#p;
    const { network, services } = appliance;
    return {
      stopServices: () => services.stop(),
      releaseAddresses: async () => {
        this.#announcing?.abort();
        this.#announcing = null;
        this.#taken = false;
        if (network.configured) await network.release();
        kv.commit([[activeBootKey, null]]);
      },
      takeAddresses: () => this.takeAddresses(),
      startServices: () => services.start(),
      announce: () => {
        if (!network.configured) return;
        this.#announcing?.abort();
        const announcing = (this.#announcing = new AbortController());
        const begin = async () => {
          // An agent that was restarted while it was active has not taken anything yet; what is there stays.
          if (!this.#taken) await this.takeAddresses().catch((error: unknown) => this.#sayNotTaken(error));
          await network.announce(announcing.signal);
        };
        begin().catch(failed('announcing the service addresses'));
      },
      settle: () => this.#settling.begin(),
      stopTakeover,
      becomePrimary: () => {
        kv.commit([[activeBootKey, Buffer.from(bootId())]]);
        this.#become('primary');
      },
      becomeStandby: () => {
        // A standby that was fenced has rejoined.
        this.#notices = this.#notices.filter(({ code }) => code !== 'fenced' && code !== 'yielded');
        this.#become('standby');
      },
      becomeFenced: () => this.#become('fenced'),
      say: ({ level, code, text, remedy }) => {
        log[level]({ code, remedy }, text);
        if (level !== 'info') this.#notices = [{ level, code, text, remedy }, ...this.#notices.filter((n) => n.code !== code)].slice(0, 10);
        // What stood in the way is over when this node serves.
        else if (code === 'active') this.#notices = [];
      },
      failed: failed('the role machine'),
    };
  }

  /** Keeps the peer informed of what this node's network really is. */
  async #tellNetwork(): Promise<void> {
    const { network } = this.#p.appliance;
    let last = '';
    while (network.configured && !this.#stopping.signal.aborted) {
      const state = await network.refresh().catch(() => null);
      const text = state ? JSON.stringify({ ...state, at: '' }) : last;
      if (state && text !== last) this.#p.link()?.channel?.sendControl({ type: 'network', state });
      last = text;
      await sleep(systemClock, networkEveryMs, this.#stopping.signal);
    }
  }
}
