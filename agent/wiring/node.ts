import { readFileSync } from 'node:fs';
import { leapIn } from '../../protocol/epoch.ts';
import type { Message, Role } from '../../protocol/messages.ts';
import type { PeerWord, TakeoverAnswer, TakeoverAsk } from '../../protocol/takeover.ts';
import type { Config } from '../config/config.ts';
import { RoleKeeper, type RoleActions } from '../failover/role-keeper.ts';
import { initialRole, isServing, mayTakeAgain } from '../failover/role-machine.ts';
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
import { meetByStore, PutBack } from '../replicate/primary/put-back.ts';
import { RootAway } from '../replicate/file-systems.ts';
import { saveLastVerify } from '../replicate/status.ts';
import { tellRole } from './node-state.ts';
import { peerAnswers } from './peer-answers.ts';
import { PeerAsks, takeoverWording, without } from './peer-asks.ts';
import { meet, type RunningRole } from './roles.ts';
import { Settling } from './settling.ts';
import type { Supervisor } from './supervisor.ts';
import type { MailServerVersion } from './mail-server-version.ts';

export interface NodeParts {
  config: Config;
  log: Log;
  kv: Kv;
  appliance: Appliance;
  durable: DurableRole;
  mailServer: MailServerVersion;
  /** Makes this node what its durable role says; `failed` is told of what fails in it from then on. */
  enter: (role: Role, failed: (what: string) => (error: unknown) => void) => Promise<RunningRole>;
  /** What stands in for a role that cannot be entered. */
  wait: (role: Role) => RunningRole;
  supervisor: Supervisor;
  link: () => PairLink | null;
  /** What cannot be mended in this process: it must end. */
  fatal: (what: string) => (error: unknown) => void;
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
/** A role that was entered again and has run for this long works. */
const worksAfterMs = 10_000;
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
  /** Counts entries into a role: what one that was left still reports says nothing of the next one. */
  #entries = 0;
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
      tell: (told) => tellRole(config.state, told, log),
    });
    const { network, services } = appliance;
    this.#settling = new Settling({
      clock: systemClock,
      log,
      keeper: () => this.keeper,
      network,
      startAloneMs: config.takeover.startAloneSeconds * 1000,
      silentSince: () => this.#heardMs,
      isPutBack: () => this.isPutBack,
      isReady: () => this.#isReady,
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
        mailServer: parts.mailServer,
      }),
    });
  }

  /**
   * Enters the durable role; nothing is active yet. What fails in a way that nobody foresaw is tried again later.
   *
   * @throws OperatorError when the role cannot be entered as the node is configured.
   */
  static async start(parts: NodeParts): Promise<Node> {
    const { role } = parts.durable;
    const node = new Node(parts, parts.wait(role));
    try {
      await node.#enter(role);
    } catch (error) {
      if (error instanceof RootAway) node.#enterLater(role, parts.supervisor.waits(nameOf(role), error));
      else if (error instanceof OperatorError) throw error;
      else node.#enterLater(role, parts.supervisor.failed(nameOf(role), error));
    }
    return node;
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

  /** A standby, or replaced, with nothing under way that brings it into service: no mail service may run. */
  get isAtRest(): boolean {
    const { state } = this.keeper.role;
    return (state === 'passive' || state === 'fenced') && this.role !== 'primary';
  }

  /** Clients are served here. */
  get serving(): boolean {
    return isServing(this.keeper.role);
  }

  /** This node is a primary whose store is an older state than its standby's copy (I21). */
  get isPutBack(): boolean {
    if (this.role !== 'primary') return false;
    return (this.#running.primary?.sender.putBack ?? new PutBack(this.#p.kv, systemClock)).found !== null;
  }

  /** False while a primary that has just started reads the numbers of its mailboxes. */
  get #isReady(): boolean {
    return this.#running.primary?.sender.areNumbersRead !== false;
  }

  get notices(): readonly Notice[] {
    return [...this.#p.supervisor.troubles, ...this.#notices];
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
    void this.#p.supervisor.keep('reading the network', () => this.#tellNetwork(), this.#stopping.signal);
  }

  /** The agent was restarted on a host that has been active since before, in the same boot. */
  async #wasActive(): Promise<boolean> {
    const { kv, appliance } = this.#p;
    const { services, network } = appliance;
    if (kv.get(activeBootKey)?.toString() !== bootId()) return false;
    const runs = !services.configured || (services.gate?.isOpen === true && (await this.#allButSomeRun()));
    return runs && (!network.configured || (await network.held()).length > 0);
  }

  /** One service that ended meanwhile takes no other one down: it is started again, and told when it does not come. */
  async #allButSomeRun(): Promise<boolean> {
    const { appliance, log } = this.#p;
    const { state, units } = await appliance.services.state();
    if (state !== 'partial' || !units.some((unit) => unit.state === 'running')) return state === 'running';
    try {
      await appliance.services.start();
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      log.error({ code: error.code, remedy: error.remedy }, error.message);
    }
    return true;
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
    // A role that waits cannot judge by itself what would let this node go into service.
    if (this.role === 'primary' && running.waits && theirs.role === 'standby')
      meetByStore(this.#p.kv, systemClock, this.epoch, theirs.position);
    running.peer.onHeard(({ node, role, epoch, active }) => this.#heard({ node, role, epoch, active }));
    if (fits) running.serve(rest, theirs, address);
    else meet(running.peer, rest, theirs, address);
    const state = appliance.network.state();
    if (state) channel.sendControl({ type: 'network', state });
  }

  #heard(word: Omit<PeerWord, 'state'>): void {
    this.#heardMs = systemClock.monotonicMs();
    const before = this.keeper.durable.seenEpoch;
    // It says so again in a second; what takes this node out of the race is heard at once.
    if (!this.#isReady && word.role !== 'primary' && word.epoch <= this.epoch) return;
    this.keeper.handle({ is: 'peerSaid', ...word, isPutBack: this.isPutBack });
    if (this.keeper.durable.seenEpoch !== before) this.#told();
  }

  #take(channel: Channel, message: Message): boolean {
    const leap = leapIn(message, this.epoch);
    if (leap !== null) {
      channel.close({ code: 'epoch', detail: `the other side claims epoch ${leap}, and no takeovers lead there from ${this.epoch}` });
      return true;
    }
    if (this.asks.take(channel, message) || this.#p.takes(channel, message)) return true;
    if (message.type === 'verified') {
      const { at, result, deep, differences, leftOut } = message;
      // Only a standby's copy was proved, and it keeps its own word when the other one is no primary.
      if (this.role === 'standby') saveLastVerify(this.#p.kv, { at, result, deep, differences, leftOut });
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
    tellRole(this.#p.config.state, this.keeper.durable, this.#p.log);
  }

  async #enter(role: Role): Promise<void> {
    const entry = ++this.#entries;
    let isIn = false;
    let early: (() => void) | null = null;
    this.#running = await this.#p.enter(role, (what) => (error) => {
      const tell = () => {
        if (entry === this.#entries && !this.#stopping.signal.aborted) this.#roleFailed(what, error);
      };
      if (isIn) tell();
      else early ??= tell;
    });
    isIn = true;
    (early as (() => void) | null)?.();
  }

  /** The role does not work any more: it is left, and entered again after a while. What it knew is in the store. */
  #roleFailed(what: string, error: unknown): void {
    this.#entries++;
    const { role } = this.#running;
    const waitMs = this.#p.supervisor.failed(what, error);
    if (waitMs === null) return;
    this.#inTurn(async () => {
      if (this.#running.role !== role || this.#running.waits) return;
      await this.#leave(`${this.#p.config.node} starts its work as ${role} again`);
      this.#enterLater(role, waitMs);
    });
  }

  async #leave(detail: string): Promise<void> {
    const left = this.#running;
    await this.tellAnew(detail);
    this.#entries++;
    await left.stop();
    this.#running = this.#p.wait(left.role);
  }

  /** Null: the process ends. */
  #enterLater(role: Role, waitMs: number | null): void {
    if (waitMs === null) return;
    const { signal } = this.#stopping;
    void sleep(systemClock, waitMs, signal).then(() => {
      if (signal.aborted) return;
      this.#inTurn(async () => {
        // Another role may have been entered meanwhile.
        if (this.#running.role !== role || !this.#running.waits) return;
        await this.#tryToEnter(role);
      });
    });
  }

  async #tryToEnter(role: Role): Promise<void> {
    const { supervisor } = this.#p;
    try {
      await this.#enter(role);
    } catch (error) {
      const waits = error instanceof RootAway ? supervisor.waits(nameOf(role), error) : supervisor.failed(nameOf(role), error);
      return this.#enterLater(role, waits);
    }
    // What stands now speaks with a node that waits.
    this.#p.link()?.renew({ code: 'role', detail: `${this.#p.config.node} works as ${role}` });
    this.#running.start();
    const entry = this.#entries;
    systemClock.after(worksAfterMs, () => entry === this.#entries && supervisor.works(nameOf(role)));
  }

  /** Roles are changed one after the other; what was entered last is what is durable. */
  #become(role: Role): void {
    const { config, log } = this.#p;
    this.#inTurn(async () => {
      // An answer that says that this node stepped down must leave before the connection ends.
      for (let waited = 0; this.asks.answering && waited < answerMs; waited += 10) await sleep(systemClock, 10);
      this.#told();
      if (this.#running.role === role) return;
      await this.#leave(`${config.node} is ${role} now`);
      await this.#tryToEnter(role);
      this.#heardMs = systemClock.monotonicMs();
      log.info({ role, epoch: this.epoch }, `this node is ${role} now`);
    });
  }

  #inTurn(work: () => Promise<void>): void {
    const before = this.#turning ?? Promise.resolve();
    const turning: Promise<void> = before
      .then(() => (this.#stopping.signal.aborted ? undefined : work()))
      .catch(this.#p.fatal('the change of the role'))
      .finally(() => {
        if (this.#turning === turning) this.#turning = null;
      });
    this.#turning = turning;
  }

  /** Brings the service addresses up here; `despiteProxy` as in NetworkControl.take. @throws OperatorError of the network, with nothing changed. */
  async takeAddresses(
    say: (text: string) => void = (text) => this.#p.log.info({}, text),
    options: { despiteProxy?: boolean } = {},
  ): Promise<void> {
    const { network } = this.#p.appliance;
    if (network.configured) await network.take(say, options);
    this.#taken = true;
  }

  #sayNotTaken(error: unknown): void {
    if (!(error instanceof OperatorError)) throw error;
    const { code, message, remedy } = error;
    this.#p.log.error({ code, remedy }, message);
    this.#notices = [{ level: 'error' as const, code, text: message, remedy }, ...this.#notices].slice(0, 10);
  }

  #actions(): RoleActions {
    const { appliance, kv, log, stopTakeover, fatal, supervisor, takeoverRuns } = this.#p;
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
          await network.announce(() => mayTakeAgain(this.keeper.role, this.keeper.durable, takeoverRuns()), announcing.signal);
        };
        void supervisor.keep('announcing the service addresses', begin, announcing.signal);
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
        // What stands in the way of a node that is held is said again at each look; the log has it once.
        const isKnown = this.#notices.some((n) => n.code === code && n.text === text);
        log[isKnown ? 'debug' : level]({ code, remedy }, text);
        if (level !== 'info') this.#notices = [{ level, code, text, remedy }, ...this.#notices.filter((n) => n.code !== code)].slice(0, 10);
        // What stood in the way is over when this node serves.
        else if (code === 'active') this.#notices = [];
      },
      failed: fatal('the role machine'),
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

/** A role's work as people are told of it. */
function nameOf(role: Role): string {
  return `the ${role}`;
}
