import { RoleKeeper, type RoleActions, type RoleAnswer, type RoleRequest } from '../../agent/failover/role-keeper.ts';
import { initialRole } from '../../agent/failover/role-machine.ts';
import { readRole, roleWrites } from '../../agent/failover/role-store.ts';
import { TakeoverRunner, type TakeoverActions, type TakeoverOrder } from '../../agent/failover/runner.ts';
import { burnedEpoch, isUnfinished, readJournal } from '../../agent/failover/takeover-journal.ts';
import { uidMargin, type Watermark } from '../../agent/failover/uid-margin.ts';
import { makePlan } from '../../agent/failover/plan.ts';
import { sleep } from '../../agent/platform/clock.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import type { Kv } from '../../agent/platform/kv.ts';
import { silentLog } from '../../agent/platform/log.ts';
import type { PeerWord, StepId, TakeoverKind, TakeoverReport } from '../../protocol/takeover.ts';
import { SimClock, type HostClock } from './sim-clock.ts';
import { SimKvStore } from './sim-kv.ts';
import type { SimRandom } from './sim-random.ts';

/** Takeovers between two simulated hosts: who holds the address, who serves, which UIDs were given out. Times in virtual ms. */

export interface WorldOptions {
  /** Left out on purpose, to see that it is noticed. */
  without?: readonly ('confirm' | 'raise' | 'gate' | 'persist')[];
}

export const startAloneMs = 60_000;
const quiesceMaxMs = 30_000;
const receiptMs = 30_000;
const marginMin = 1000;
const heartbeatMs = 1000;

type FenceMode = 'works' | 'fails' | 'hangs' | 'lies' | 'wrong-host';

export class TakeoverWorld {
  readonly clock = new SimClock();
  readonly random: SimRandom;
  readonly options: WorldOptions;
  readonly hosts: [Host, Host];
  readonly violations: string[] = [];
  readonly story: string[] = [];
  /** How each command ended. */
  readonly ends: string[] = [];
  linkCut = false;
  fenceMode: FenceMode = 'works';
  /** Called when a step begins; kills somebody, perhaps. */
  onStep: (host: Host, step: StepId) => void = () => {};
  readonly #activations = new Map<number, string>();
  readonly #issued = new Map<number, string>();
  #messages = 0;

  constructor(random: SimRandom, options: WorldOptions = {}) {
    this.random = random;
    this.options = options;
    this.hosts = [new Host(this, 'mail-a', 'primary'), new Host(this, 'mail-b', 'standby')];
    for (const host of this.hosts) host.powerOn();
    this.#mail();
  }

  lacks(what: NonNullable<WorldOptions['without']>[number]): boolean {
    return this.options.without?.includes(what) ?? false;
  }

  other(host: Host): Host {
    return host === this.hosts[0] ? this.hosts[1] : this.hosts[0];
  }

  tell(text: string): void {
    this.story.push(`${(this.clock.now / 1000).toFixed(1)} s: ${text}`);
  }

  break(text: string): void {
    this.tell(`VIOLATION ${text}`);
    this.violations.push(text);
  }

  /** I3, whenever something of a host changes. */
  check(): void {
    const [a, b] = this.hosts;
    if (a.holds && b.holds) this.break('both nodes hold the service address (I3)');
    if (a.serves && b.serves) this.break('both nodes serve (I3)');
  }

  activated(host: Host, epoch: number): void {
    const before = this.#activations.get(epoch);
    if (before !== undefined && before !== host.name) this.break(`${before} and ${host.name} were both primary of epoch ${epoch} (I3)`);
    this.#activations.set(epoch, host.name);
  }

  active(): Host[] {
    return this.hosts.filter(({ serves, holds }) => serves && holds);
  }

  /** Mail comes to whoever serves; the copy follows while the link stands. */
  #mail(): void {
    this.clock.after(this.random.between(50, 400), () => {
      for (const host of this.active()) {
        const message = `message ${++this.#messages}`;
        const uid = host.disk.uidNext++;
        const known = this.#issued.get(uid);
        if (known !== undefined) this.break(`UID ${uid} names ${known} and ${message} (I5)`);
        this.#issued.set(uid, message);
      }
      this.#mail();
    });
  }
}

/** One machine: what is on its disk, what its kernel holds, and the agent that runs on it. */
export class Host {
  readonly world: TakeoverWorld;
  readonly name: string;
  readonly disk: { uidNext: number; marks: Watermark[] } = { uidNext: 1, marks: [] };
  readonly store: SimKvStore;
  holds = false;
  serves = false;
  powered = false;
  lanCut = false;
  bootId = 0;
  /** The epoch that the other node was told last. */
  toldEpoch = 0;
  agent: SimAgent | null = null;
  readonly #configured: 'primary' | 'standby';
  #activeSince: number | null = null;

  constructor(world: TakeoverWorld, name: string, role: 'primary' | 'standby') {
    this.world = world;
    this.name = name;
    this.#configured = role;
    this.store = new SimKvStore(() => world.random.between(0.5, 20));
  }

  powerOn(): void {
    if (this.powered) return;
    this.powered = true;
    this.bootId++;
    this.world.tell(`${this.name} is switched on`);
    this.startAgent();
  }

  startAgent(): void {
    if (!this.powered || this.agent) return;
    this.agent = new SimAgent(this, this.#configured);
  }

  /** The process is gone; what it brought up stays up. */
  killAgent(): void {
    if (!this.agent) return;
    this.world.tell(`the agent of ${this.name} is killed`);
    this.agent.die();
    this.agent = null;
    this.store.kill();
    this.world.clock.after(this.world.random.between(1000, 8000), () => this.startAgent());
  }

  powerCut(backMs: number | null): void {
    if (!this.powered) return;
    this.world.tell(`${this.name} loses its power`);
    this.agent?.die();
    this.agent = null;
    this.store.crash(this.world.random);
    this.powered = false;
    this.holds = false;
    this.serves = false;
    if (backMs !== null) this.world.clock.after(backMs, () => this.powerOn());
  }

  set(what: 'holds' | 'serves', value: boolean): void {
    if (this[what] === value) return;
    this[what] = value;
    this.world.tell(`${this.name} ${value ? '' : 'no longer '}${what}`);
    this.#activeSince = this.holds && this.serves ? this.bootId : null;
    this.world.check();
  }

  get wasActiveThisBoot(): boolean {
    return this.#activeSince === this.bootId && this.holds && this.serves;
  }
}

/** The agent: the real role keeper and the real runner, on a simulated host. */
export class SimAgent {
  readonly host: Host;
  readonly clock: HostClock;
  readonly kv: Kv;
  readonly keeper: RoleKeeper;
  readonly runner: TakeoverRunner;
  #heardMs = -Infinity;
  #settleFrom: number | null = null;
  readonly #startedMs: number;

  constructor(host: Host, configured: 'primary' | 'standby') {
    this.host = host;
    this.clock = host.world.clock.host(1_700_000_000_000);
    this.kv = host.store.open(this.clock);
    this.#startedMs = this.clock.monotonicMs();
    if (readRole(this.kv) === null) this.kv.commit(roleWrites({ role: configured, epoch: 1, seenEpoch: 1 }));
    const durable = readRole(this.kv)!;
    if (host.world.lacks('persist')) this.kv.flushed = async () => {};
    this.runner = new TakeoverRunner({
      kv: this.kv,
      clock: this.clock,
      actions: this.#takeoverActions(),
      hook: async () => {},
      audit: async () => {},
      quiesceMaxMs,
      afterwards: null,
    });
    this.keeper = new RoleKeeper(initialRole(host.name, durable), {
      kv: this.kv,
      clock: this.clock,
      log: silentLog,
      actions: this.#roleActions(),
      takeoverRuns: () => this.runner.running !== null,
      quiesceMaxMs,
    });
    const unfinishedTakeover = isUnfinished(readJournal(this.kv), durable);
    this.keeper.handle({ is: 'boot', stillActive: host.wasActiveThisBoot && durable.role === 'primary', gated: true, unfinishedTakeover });
    this.#beat();
    this.#watchSilence();
  }

  die(): void {
    this.clock.kill();
    this.keeper.stop();
  }

  get #world(): TakeoverWorld {
    return this.host.world;
  }

  get alive(): boolean {
    return !this.clock.dead;
  }

  async #delay(from: number, to: number): Promise<void> {
    await sleep(this.clock, this.#world.random.between(from, to));
  }

  #beat(): void {
    const { clock, random } = this.#world;
    const word = this.keeper.word();
    const { host } = this;
    if (word.epoch < host.toldEpoch) this.#world.break(`${host.name} told of epoch ${host.toldEpoch}, and of ${word.epoch} later (I3)`);
    host.toldEpoch = word.epoch;
    const mark = this.host.disk.uidNext;
    const serves = this.host.serves;
    // Under way is under way: a word that was sent arrives, also when its sender dies meanwhile.
    clock.after(random.between(0.2, 5), () => {
      if (!this.#world.linkCut) this.#world.other(this.host).agent?.hear(word, serves ? mark : null);
    });
    this.clock.after(heartbeatMs, () => this.#beat());
  }

  hear(word: PeerWord, mark: number | null): void {
    this.#heardMs = this.clock.monotonicMs();
    this.keeper.handle({ is: 'peerSaid', isPutBack: false, ...word });
    if (mark !== null && this.keeper.role.state === 'passive') {
      const { marks } = this.host.disk;
      marks.push({ atMs: this.clock.monotonicMs(), uidNext: Math.max(marks.at(-1)?.uidNext ?? 1, mark), highestModseq: 1 });
      if (marks.length > 100) marks.shift();
      // The copy lags behind the mark.
      this.host.disk.uidNext = Math.max(this.host.disk.uidNext, mark - this.#world.random.int(5));
    }
  }

  #watchSilence(): void {
    this.clock.after(1000, () => {
      const now = this.clock.monotonicMs();
      if (this.#settleFrom !== null && this.keeper.role.state === 'settling' && now - this.#heardMs > 5000) {
        const waitedMs = now - Math.max(this.#startedMs, this.#heardMs);
        if (waitedMs >= startAloneMs) {
          this.#settleFrom = null;
          const isolated = this.host.lanCut ? 'yes' : 'no';
          this.keeper.handle({ is: 'peerSilentTooLong', waitedMs, startAloneMs, answered: this.#probe(), isolated, isPutBack: false });
        }
      }
      this.#watchSilence();
    });
  }

  #probe(): { address: string; by: string }[] {
    const other = this.#world.other(this.host);
    const seen = other.holds && other.powered && !other.lanCut && !this.host.lanCut;
    return seen ? [{ address: '192.0.2.10', by: other.name }] : [];
  }

  #roleActions(): RoleActions {
    const { host } = this;
    const gate = !this.#world.lacks('gate');
    const act = async (ms: number, what: () => void) => {
      await this.#delay(ms / 4, ms);
      if (this.alive) what();
    };
    return {
      stopServices: () => act(800, () => host.set('serves', false)),
      releaseAddresses: () => act(100, () => host.set('holds', false)),
      takeAddresses: () => this.#take(gate),
      startServices: () => act(1500, () => host.set('serves', true)),
      announce: () => {},
      settle: () => (this.#settleFrom = this.clock.monotonicMs()),
      stopTakeover: (because) => this.runner.stop(because),
      becomePrimary: () => this.#world.activated(host, this.keeper.durable.epoch),
      becomeStandby: () => {},
      becomeFenced: () => {},
      say: ({ code }) => this.#world.tell(`${host.name} says ${code}`),
      failed: (error) => this.#world.break(`the agent of ${host.name} failed: ${error instanceof Error ? error.message : String(error)}`),
    };
  }

  /** As the network room does it: ask who answers, half a second, then add. */
  async #take(probe: boolean): Promise<void> {
    await this.#delay(100, 600);
    if (!this.alive) return;
    const [answered] = probe ? this.#probe() : [];
    if (answered) throw new OperatorError('address-taken', `${answered.by} answers for ${answered.address}`, '', 3);
    this.host.set('holds', true);
  }

  /** Asks the other agent; throws when no answer comes. */
  async #ask(request: RoleRequest): Promise<RoleAnswer> {
    const peer = await this.#reach();
    const timeoutMs = 10_000;
    let answer: RoleAnswer | null = null;
    void peer.keeper.ask(request, timeoutMs).then(async (given) => {
      await sleep(peer.clock, this.#world.random.between(0.2, 5));
      answer = given;
    });
    const untilMs = this.clock.monotonicMs() + timeoutMs + 1000;
    while (this.clock.monotonicMs() < untilMs) {
      await this.#delay(5, 20);
      if (this.#world.linkCut || !peer.alive) break;
      if (answer) return answer;
    }
    throw new OperatorError('no-answer', 'the peer does not answer', 'see whether it lives');
  }

  async #reach(): Promise<SimAgent> {
    await this.#delay(0.2, 5);
    const peer = this.#world.other(this.host).agent;
    if (this.#world.linkCut || !peer) throw new OperatorError('no-answer', 'the peer does not answer', 'see whether it lives');
    return peer;
  }

  async #must(request: RoleRequest): Promise<string> {
    const answer = await this.#ask(request);
    if (!answer.ok) throw new OperatorError(answer.code, answer.text, answer.remedy);
    return answer.text;
  }

  async #power(plan: { epoch: number }): Promise<string> {
    const target = this.#world.other(this.host);
    const mode = this.#world.fenceMode;
    await this.#delay(200, 2000);
    if (mode === 'hangs') await this.#delay(20_000, 20_000);
    if (mode === 'works') target.powerCut(this.#world.random.chance(0.5) ? this.#world.random.between(5000, 120_000) : null);
    await this.#delay(100, 500);
    const reads = mode === 'wrong-host' ? 'off' : mode === 'fails' || mode === 'hangs' ? 'unknown' : target.powered ? 'on' : 'off';
    if (reads === 'off') return `status read off for epoch ${plan.epoch}`;
    throw new OperatorError('not-fenced', `the power switch says ${reads}`, 'pull the plug', 3);
  }

  #takeoverActions(): TakeoverActions {
    const { host } = this;
    const step = (id: StepId) => this.#world.onStep(host, id);
    return {
      own: () => this.keeper.durable,
      peerWord: async () => (await this.#reach()).keeper.word(),
      prepare: async () => {
        step('prepare');
        const word = (await this.#reach()).keeper.word();
        if (word.role !== 'primary' || !word.active)
          throw new OperatorError('no-primary', `the peer is ${word.role}`, 'see what it waits for', 3);
        return 'it serves';
      },
      quiesce: async ({ plan }) => {
        step('quiesce');
        return this.#must({ is: 'quiesce', takeover: plan.id, epoch: plan.epoch });
      },
      drain: async ({ plan }) => {
        step('drain');
        const waitMs = this.#world.random.between(0, 8000);
        for (let waited = 0; waited < waitMs; waited += 1000) {
          await this.#must({ is: 'quiesce', takeover: plan.id, epoch: plan.epoch });
          await this.#delay(1000, 1000);
        }
        const peer = await this.#reach();
        host.disk.uidNext = Math.max(host.disk.uidNext, peer.host.disk.uidNext);
        return 'nothing is open';
      },
      compare: async () => {
        step('compare');
        await this.#delay(1, 10);
        return 'the same';
      },
      stepDown: async ({ plan }) => {
        step('stepdown');
        const evidence = await this.#must({ is: 'stepDown', takeover: plan.id, epoch: plan.epoch });
        return { kind: 'stepped-down', epoch: plan.epoch, evidence };
      },
      fence: async ({ plan }) => {
        step('fence');
        const evidence = await this.#power(plan).catch(async (error: unknown) => {
          // The second level: a peer that lives steps down by itself.
          const answer = await this.#ask({ is: 'yieldTo', epoch: plan.epoch }).catch(() => null);
          if (answer?.ok) return answer.text;
          throw error;
        });
        return { proof: { kind: 'receipt', id: `r${plan.epoch}`, epoch: plan.epoch, evidence }, lifeMs: receiptMs };
      },
      confirmFenced: async () => {
        step('confirm-fenced');
        const since = this.clock.monotonicMs();
        await this.#delay(2500, 3000);
        if (this.#world.lacks('confirm')) return 'not looked';
        const [answered] = this.#probe();
        if (answered) throw new OperatorError('address-answered', `${answered.by} answers`, 'find it', 3);
        const peer = this.#world.other(host).agent;
        // A peer that steps down says so; one that was proven off and says that it serves was never off.
        if (this.#heardMs > since && peer?.keeper.word().active) throw new OperatorError('peer-heard', 'the peer is heard', 'find it', 3);
        return 'silent';
      },
      epoch: async ({ plan }, proof) => {
        step('epoch');
        const answer = await this.keeper.ask({ is: 'takeOver', takeover: plan.id, epoch: plan.epoch, proof }, 10_000);
        if (!answer.ok) throw new OperatorError(answer.code, answer.text, answer.remedy);
        return answer.text;
      },
      apply: async () => {
        step('apply');
        await this.#delay(10, this.#world.random.chance(0.2) ? 90_000 : 500);
        return 'in place';
      },
      raise: async () => {
        step('raise');
        await this.#delay(10, 200);
        const { marks, uidNext } = host.disk;
        const { uids } = uidMargin({ history: marks, nowMs: this.clock.monotonicMs(), marginMin, storeMessages: 0 });
        if (!this.#world.lacks('raise') && this.alive) host.disk.uidNext = Math.max(uidNext, (marks.at(-1)?.uidNext ?? 1) + uids);
        return 'raised';
      },
      addresses: async () => {
        step('addresses');
        if (this.keeper.role.state !== 'takingOver' && this.keeper.role.state !== 'active') throw new Error(this.keeper.role.because);
        if (!host.holds) await this.#take(!this.#world.lacks('gate'));
        return 'up';
      },
      services: async () => {
        step('services');
        await this.#delay(300, 1500);
        if (this.keeper.role.state !== 'takingOver' && this.keeper.role.state !== 'active') throw new Error(this.keeper.role.because);
        if (this.alive) host.set('serves', true);
        this.keeper.handle({ is: 'activationDone' });
        return 'started';
      },
      check: async () => {
        step('check');
        await this.#delay(10, 200);
        if (!host.serves || !host.holds) throw new OperatorError('login-check', 'nobody answers at port 143', 'look at the mail server');
        return 'logged in';
      },
      abort: async ({ plan }) => this.#must({ is: 'abort', takeover: plan.id }),
    };
  }

  /** What the command does: settle what was interrupted, plan, run. */
  async command(kind: TakeoverKind): Promise<TakeoverReport | string> {
    const order: TakeoverOrder = {
      by: { uid: 0, user: 'root', tty: null, sudoUser: null },
      manual: null,
      say: () => {},
      signal: new AbortController().signal,
    };
    try {
      const settled = await this.runner.settle(kind, order);
      if (settled) return settled;
      const { role, epoch, seenEpoch } = this.keeper.durable;
      if (role !== 'standby') return `refused: this node is ${role}`;
      return await this.runner.run(
        makePlan({
          id: `t${Math.round(this.clock.monotonicMs())}${this.host.name}`,
          kind,
          node: this.host.name,
          target: this.#world.other(this.host).name,
          wallMs: this.clock.wallMs(),
          guards: [],
          overrides: [],
          predictedLoss: { mailboxes: null, messages: null, seconds: null, changes: null },
          basis: {
            role,
            epoch,
            seenEpoch,
            peerRole: null,
            peerEpoch: null,
            peerConnected: false,
            position: '',
            addressesAnswered: null,
            configDigest: '',
          },
          epochBurned: burnedEpoch(this.kv),
        }),
        order,
      );
    } catch (error) {
      if (error instanceof OperatorError) return `${error.code}: ${error.message}`;
      throw error;
    }
  }
}
