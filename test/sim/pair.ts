import { OperatorError } from '../../agent/platform/errors.ts';
import { errnoCode } from '../../agent/platform/files.ts';
import type { Log } from '../../agent/platform/log.ts';
import { isOwnName } from '../../agent/replicate/staging.ts';
import { limits } from '../../protocol/limits.ts';
import type { Message } from '../../protocol/messages.ts';
import { missingConfirmed, momentOf } from './confirmed.ts';
import { corruptContent } from './corruption.ts';
import { folds } from './folds.ts';
import { historyOptions, type Breakage, type HistoryOptions } from './history-options.ts';
import { KnownContents } from './known-contents.ts';
import { MailHistory } from './mail-history.ts';
import { checkReplicaClosed } from './replica-closed.ts';
import { SimClock, type HostClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import type { SimFiles } from './sim-files.ts';
import { SimKvStore } from './sim-kv.ts';
import { SimMailServer } from './sim-mailserver.ts';
import { SimNetwork } from './sim-network.ts';
import { startPrimary, startStandby, type SimHost, type SimProcess } from './sim-node.ts';
import { SimPlainWork } from './sim-plainwork.ts';
import { SimRandom } from './sim-random.ts';
import { compareTrees, ignoresOfMaildir, snapshotTree } from './tree.ts';
import { plainWorld, type World } from './world-options.ts';
import { HotFile, oddUid, oddWork, oddXattr, WorldTroubles } from './world-troubles.ts';

const wall = 1_700_000_000_000;
const mail = '/mail';
const plain = '/plain';
const roots = [
  { name: 'mail', path: mail, format: 'maildir' },
  { name: 'plain', path: plain, format: 'plain' },
] as const;
/** The agent's own, at the top of a disk. */
const ignoresOf = (root: string) => (path: string) => isOwnName(path) || (root === mail && ignoresOfMaildir(path));
const deadlineMs = 600_000;
/** With these words an agent names a place that the standby does not have as it should. */
const doubts: ReadonlySet<string> = new Set(['a place is in doubt', 'a place lacks what belongs to it']);
/** Large content that was staged for a file in whose place another one is by now is dropped after a minute. */
const unusedMs = 65_000;
/** A letter may wait for a comparison, never for another path. */
const letterMs = 5000;
/** After refused batches, at most this long, all is held. */
const garbledHoldMs = 31_000;
/** Messages that may wait for the agent at one end; their bytes have the bound of the credit. */
const unconsumedMax = 500;

export interface HistoryResult {
  /** Every broken promise, in words; empty when all held. */
  violations: string[];
  /** Troubles by kind. */
  troubles: ReadonlyMap<string, number>;
  bytesCarried: number;
  /** UIDs that the mail server gave. */
  issued: number;
}

/** Runs one seeded history of a pair under work and troubles, and checks what must always hold. */
export async function runHistory(
  seed: number,
  options: HistoryOptions = historyOptions(seed),
  breakage: Breakage = {},
): Promise<HistoryResult> {
  const pair = new SimPair(seed, options, breakage);
  try {
    await pair.run();
  } catch (error) {
    pair.violate(textOf(error));
  }
  return {
    violations: pair.violations,
    troubles: pair.troubles,
    bytesCarried: pair.network.bytesCarried,
    issued: pair.history.issuedCount,
  };
}

/** The real agents of a primary and a standby in a simulated world, and everything that happens to them. */
export class SimPair {
  readonly clock = new SimClock();
  readonly network: SimNetwork;
  readonly history = new MailHistory();
  readonly violations: string[] = [];
  readonly troubles = new Map<string, number>();
  readonly #seed: number;
  readonly #random: SimRandom;
  readonly #options: HistoryOptions;
  readonly #breakage: Breakage;
  readonly #a: SimHost;
  readonly #b: SimHost;
  /** How far each host's wall clock is off. */
  readonly #offMs = { a: 0, b: 0 };
  /** Everybody who reads the wall clock of host a. */
  readonly #worker: HostClock;
  #primary: SimProcess | null = null;
  #standby: SimProcess | null = null;
  /** The standby's process once it has recovered. */
  #recovered: SimProcess | null = null;
  #link = 0;
  #corruptUntil = -Infinity;
  /** No more trouble from here on. */
  #resting = false;
  #contents: KnownContents | null = null;
  /** Places of the mail root that have been in doubt, by the word of either node. */
  readonly #doubted = new Set<string>();
  readonly #log: Log;
  readonly #world: World;
  readonly #worldTroubles: WorldTroubles;

  constructor(seed: number, options: HistoryOptions = historyOptions(seed), breakage: Breakage = {}) {
    this.#seed = seed;
    this.#options = options;
    this.#breakage = breakage;
    this.#random = new SimRandom(seed);
    this.network = new SimNetwork(this.clock, this.#random.fork('network'), { noticeMs: options.noticeMs });
    this.network.tap = (message, from) => this.#tap(message, from);
    const reuseInos = seed % 2 === 0;
    this.#world = options.world ?? plainWorld;
    const { birthTimes, timesNs, refusals, folding } = this.#world;
    const host = (name: 'a' | 'b'): SimHost => ({
      name,
      disk: new SimDisk(this.#random.fork(`disk ${name}`), {
        reuseInos,
        birthTimes: birthTimes[name],
        timesNs: timesNs[name],
        ...(name === 'b' && refusals
          ? { refuses: ({ uid, xattrs }) => (uid === oddUid ? 'EPERM' : xattrs?.has(oddXattr) ? 'ENOSPC' : null) }
          : {}),
        ...(name === 'b' && folding ? { fold: folds[folding].fold } : {}),
      }),
      store: new SimKvStore(() => this.#random.between(0.2, 8)),
      roots,
    });
    this.#a = host('a');
    this.#b = host('b');
    this.#worker = this.clock.host(wall);
    this.#worldTroubles = new WorldTroubles({
      world: this.#world,
      clock: this.clock,
      random: this.#random.fork('world'),
      hosts: { a: this.#a, b: this.#b },
      look: (side) => this.#look(side === 'a' ? this.#a : this.#b),
      violate: (what) => this.violate(what),
    });
    const say = (level: string) => (facts: object, message: string) => {
      if (doubts.has(message) && 'path' in facts && (facts as { kind?: string }).kind !== 'attributes')
        this.#doubted.add(String(facts.path));
      if (process.env['SIM_LOG']) console.error(this.clock.now.toFixed(1), level, message, JSON.stringify(facts));
    };
    this.#log = { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') };
  }

  async run(): Promise<void> {
    const workFiles = this.#a.disk.open(this.#worker);
    const server = new SimMailServer(
      { files: workFiles, clock: this.#worker, random: this.#random.fork('mail'), history: this.history },
      mail,
    );
    await this.clock.settle(server.setUp(3), deadlineMs);
    workFiles.mkdir(plain, 0o755);
    workFiles.syncNow();
    this.#contents = new KnownContents(this.#a.disk, this.#look(this.#a), plain);
    const standbyFiles = this.#look(this.#b);
    for (const { path } of roots) standbyFiles.mkdir(path, 0o700);
    standbyFiles.syncNow();
    this.#worldTroubles.setUp();
    const odd = this.#random.fork('odd');
    const other = new SimPlainWork(workFiles, this.#worker, this.#random.fork('plain'), plain, (paths) =>
      oddWork(workFiles, odd, this.#world, paths),
    );
    const hot = this.#world.hot ? new HotFile(workFiles, this.#worker, this.#random.fork('hot')) : null;
    this.#startPrimary();
    this.#startStandby();
    server.start();
    other.start(40);
    const end = this.clock.now + this.#options.workMs;
    while (this.clock.now < end && this.violations.length === 0) {
      await this.clock.runFor(this.#random.next() * 2 * this.#options.troubleMs);
      await this.#trouble();
      this.#checkReplica('under work');
      this.#checkBounds();
    }
    await this.clock.settle(server.stop(), deadlineMs);
    await this.clock.settle(other.stop(), deadlineMs);
    hot?.stop();
    await this.#comeToRest();
  }

  violate(what: string): void {
    this.violations.push(`seed ${this.#seed} at ${this.clock.now.toFixed(1)} ms: ${what}`);
  }

  /** All is quiet: what `wait` confirms must be there, and both trees must be the same. */
  async #comeToRest(): Promise<void> {
    this.#resting = true;
    this.#corruptUntil = -Infinity;
    this.#b.disk.mend();
    this.#b.disk.capacityBytes = Infinity;
    this.#worldTroubles.end();
    this.#restartFailed();
    if (!this.#primary) this.#startPrimary();
    if (!this.#standby) this.#startStandby();
    // What was in doubt is tried again when a connection begins.
    if (this.#options.world) this.network.cut();
    const primary = this.#primary;
    if (!primary?.primary) return this.violate('the primary does not start');
    if (this.#options.world) await this.#waitInWorld(primary.primary);
    else await this.clock.settle(primary.primary.wait(deadlineMs, new AbortController().signal), deadlineMs);
    const processes = [primary, this.#standby];
    // What the standby cannot have is brought once more now and then, and let go at once.
    await this.clock.runWhile(() => processes.some((process) => process && process.files.openFiles > 0), unusedMs);
    for (const process of processes)
      if (process && process.files.openFiles > 0) this.violate(`${process.files.openFiles} files were left open`);
    // Power is cut right after the confirmation: nothing that was confirmed may depend on luck (I1).
    this.#stopStandby(true);
    this.#startStandby();
    await this.#recovery();
    this.#checkReplica('after the final power cut');
    this.#checkTrees();
    this.#checkBounds();
    for (const process of [this.#primary, this.#standby]) if (process) this.#note(process);
    for (const error of this.network.protocolErrors) this.violate(`protocol error: ${error}`);
  }

  /** `wait` says so when something stays in doubt: that may only be what the standby cannot have. */
  async #waitInWorld(primary: NonNullable<SimProcess['primary']>): Promise<void> {
    const end = this.clock.now + deadlineMs;
    for (;;) {
      try {
        return await this.clock.settle(primary.wait(deadlineMs, new AbortController().signal), deadlineMs + 1000);
      } catch (error) {
        // The standby tells of a disk that is back with its next heartbeat.
        const mayPass = error instanceof OperatorError && ['unproven', 'held-place', 'held'].includes(error.code);
        if (!mayPass || (error.code !== 'unproven' && this.clock.now > end)) throw error;
        if (error.code !== 'unproven') {
          await this.clock.runFor(1000);
          continue;
        }
      }
      const needless = primary.unproven.list().filter(({ root, path, kind }) => {
        const top = roots.find(({ name }) => name === root)?.path ?? '';
        // Attributes that are refused keep no file away.
        return kind === 'place' ? !this.#worldTroubles.isTwinAway(top, path) : !this.#worldTroubles.mayDiffer(top, path);
      });
      if (needless.length === 0) return;
      if (this.clock.now > end) {
        for (const { root, path, reason } of needless) this.violate(`in doubt at rest, and it need not be: ${root}/${path}: ${reason}`);
        return;
      }
      await this.clock.runFor(5000);
    }
  }

  /** An agent of which a part failed for what it met is started again, as its supervisor does it. */
  #restartFailed(): void {
    if (!this.#options.world) return;
    for (const [process, stop] of [
      [this.#primary, () => this.#stopPrimary()],
      [this.#standby, () => this.#stopStandby(false)],
    ] as const) {
      if (!process || process.errors.length === 0 || !process.errors.every((error) => this.#isInjected(error))) continue;
      this.#log.error({ errors: process.errors.splice(0).map(textOf) }, 'A PART FAILED');
      this.#count('part-failed');
      stop();
    }
  }

  /** Times are the same as far as both hosts can keep them. */
  get #timesNs(): bigint {
    const { a, b } = this.#world.timesNs;
    return a > b ? a : b;
  }

  #count(kind: string): void {
    this.troubles.set(kind, (this.troubles.get(kind) ?? 0) + 1);
  }

  // Troubles ----------------------------------------------------------------------------------------------------------

  async #trouble(): Promise<void> {
    const { diskTrouble, clockJumps, corruption } = this.#options;
    const random = this.#random;
    const kinds = [
      'nothing',
      'cut',
      'standby-power',
      'standby-kill',
      'primary-kill',
      'primary-kill-at',
      'confirm',
      'confirm',
      'standby-power-at',
      'standby-power-at',
    ];
    if (diskTrouble) kinds.push('disk-full', 'disk-error', 'disk-error');
    if (clockJumps) kinds.push('clock', 'clock');
    if (corruption) kinds.push('corrupt', 'corrupt');
    kinds.push(...this.#worldTroubles.kinds());
    const kind = random.pick(kinds);
    this.#count(kind);
    const what = this.#worldTroubles.suffer(kind);
    this.#log.info({ kind, what }, 'TROUBLE');
    if (what === null) await this.#suffer(kind);
    if (random.chance(0.8)) await this.clock.runFor(random.next() * this.#options.troubleMs);
    this.#restartFailed();
    if (!this.#primary) this.#startPrimary();
    if (!this.#standby) this.#startStandby();
  }

  async #suffer(kind: string): Promise<void> {
    const random = this.#random;
    switch (kind) {
      case 'cut':
        return this.network.cut();
      case 'standby-power':
        return this.#stopStandby(true);
      case 'standby-kill':
        return this.#stopStandby(false);
      case 'primary-kill':
        return this.#stopPrimary();
      case 'primary-kill-at': {
        const process = this.#primary;
        process?.files.interruptAfter(random.int(200), () => {
          if (this.#primary === process && !this.#resting) this.#stopPrimary();
        });
        return;
      }
      case 'standby-power-at': {
        const process = this.#standby;
        process?.files.interruptAfter(random.int(200), () => {
          if (this.#standby === process && !this.#resting) this.#stopStandby(true);
        });
        return;
      }
      // In the midst of whatever the agent does, between any two calls.
      case 'umount-a-at':
      case 'umount-b-at': {
        const process = kind === 'umount-a-at' ? this.#primary : this.#standby;
        process?.files.interruptAfter(random.int(200), () => {
          if (!this.#resting && [this.#primary, this.#standby].includes(process)) this.#worldTroubles.suffer(kind.slice(0, -3));
        });
        return;
      }
      case 'confirm':
        return this.#confirm();
      case 'disk-full': {
        const { disk } = this.#b;
        disk.capacityBytes = disk.state.usedBytes + random.int(20_000);
        this.clock.after(random.between(50, 600), () => {
          disk.capacityBytes = Infinity;
        });
        return;
      }
      case 'disk-error': {
        const operation = random.pick([
          'write',
          'create',
          'rename',
          'link',
          'unlink',
          'mkdir',
          'hold',
          'setMetaOpen',
          'syncfs',
          'openRead',
          'symlink',
        ]);
        this.#b.disk.fail({ operation, code: 'EIO', times: 1 + random.int(3) });
        return;
      }
      case 'clock':
        return this.#jumpClock();
      case 'letter':
        return this.#letter();
      case 'corrupt':
        this.#corruptUntil = this.clock.now + random.between(10, 200);
        return;
    }
  }

  /** A wall clock is set: no connection ends for it, and everything else that must hold does so anyway (I17). */
  async #jumpClock(): Promise<void> {
    const which = this.#random.pick(['a', 'b'] as const);
    const ms = this.#random.between(-1, 1) * this.#random.pick([1000, 3_600_000]);
    this.#offMs[which] += ms;
    const process = which === 'a' ? this.#primary : this.#standby;
    process?.clock.jumpWall(ms);
    if (which === 'a') this.#worker.jumpWall(ms);
    const before = [this.network.connections, this.#primary, this.#standby] as const;
    await this.clock.runFor(20);
    // A kill that was planned before may fall into this time.
    if (this.network.connections < before[0] && this.#primary === before[1] && this.#standby === before[2])
      this.violate('I17: the connection ended because a wall clock jumped');
  }

  /** What `wait` confirmed under load survives an immediate power cut of the standby (I1). */
  async #confirm(): Promise<void> {
    const primary = this.#primary?.primary;
    // What lies where the primary's disk should be is not what `wait` speaks of.
    if (!primary || this.#worldTroubles.isAway('a')) return;
    const momentsOf = (host: SimHost) => {
      const files = this.#look(host);
      return roots.map(({ path }) => momentOf(files, path, ignoresOf(path), this.#timesNs));
    };
    const before = momentsOf(this.#a);
    let confirmed = false;
    primary.wait(3000, new AbortController().signal).then(
      () => (confirmed = true),
      () => {},
    );
    await this.clock.runWhile(() => !confirmed, 3100);
    if (!confirmed) return;
    this.troubles.set('confirmed', (this.troubles.get('confirmed') ?? 0) + 1);
    this.#stopStandby(true);
    this.#startStandby();
    this.#worldTroubles.bringBack('b');
    await this.#recovery();
    const now = momentsOf(this.#a);
    const copy = momentsOf(this.#b);
    roots.forEach((_, i) => {
      const [was, is, there] = [before[i], now[i], copy[i]];
      if (was && is && there) for (const line of missingConfirmed(was, is, there)) this.violate(`I1: ${line}`);
    });
  }

  /** Whatever is wrong with one path, what comes beside it arrives (I20). */
  async #letter(): Promise<void> {
    const before = [this.network.connections, this.#primary, this.#standby] as const;
    const isSound = () =>
      this.network.connections === before[0] &&
      this.#primary === before[1] &&
      this.#standby === before[2] &&
      this.#standby?.standby?.peer.connected === true &&
      this.#worldTroubles.isSound('a') &&
      this.#worldTroubles.isSound('b') &&
      // An error of the disk as a whole holds all, and longer each time; so does a line that garbles what it carries.
      !this.troubles.has('disk-error') &&
      this.clock.now > this.#corruptUntil + garbledHoldMs;
    if (!isSound()) return;
    const path = `${plain}/letter ${this.clock.now}`;
    this.#a.disk.open(this.#worker).writeFile(path, 'a letter');
    const [here, there] = [this.#look(this.#a), this.#look(this.#b)];
    // Others work there as well, and may take it away.
    const isOpen = () => isSound() && here.lstat(path) !== null;
    await this.clock.runWhile(() => isOpen() && there.lstat(path) === null, letterMs);
    if (!isOpen()) return;
    this.#count('letter-waited-for');
    if (there.lstat(path) === null) this.violate(`I20: what came beside a path that cannot be had was not there after ${letterMs} ms`);
  }

  #tap(message: Message, from: string): Message {
    if (message.type === 'ack') this.#worldTroubles.standbyKnowsDisks = true;
    if (from !== 'a' || this.clock.now > this.#corruptUntil || !this.#random.chance(0.3)) return message;
    const corrupted = corruptContent(message, this.#random);
    if (!corrupted) return message;
    this.troubles.set('corrupted', (this.troubles.get('corrupted') ?? 0) + 1);
    return this.#breakage.corrupted?.(corrupted) ?? corrupted;
  }

  // Processes ---------------------------------------------------------------------------------------------------------

  #startPrimary(): void {
    const clock = this.#clockOf('a');
    this.#primary = startPrimary(this.#a, clock, {
      watcherRandom: this.#random.fork(`watch ${this.clock.now}`),
      overflowShare: this.#options.overflowShare,
      log: this.#log,
      breakage: this.#breakage,
    });
    this.#connectLater();
  }

  /** A standby whose disk fails at its start ends and is started again, as its unit does it. */
  #startStandby(): void {
    for (let tries = 0; ; tries++) {
      const clock = this.#clockOf('b');
      try {
        this.#standby = startStandby(this.#b, clock, {
          watcherRandom: this.#random.fork(`watch b ${this.clock.now}`),
          overflowShare: this.#options.overflowShare,
          log: this.#log,
          breakage: this.#breakage,
        });
        break;
      } catch (error) {
        clock.kill();
        this.#b.store.kill();
        const mayPass = this.#world.errno || this.#world.mounts.b !== null;
        if (!this.#isInjected(error) || (tries > 20 && !mayPass)) throw error;
        // Time must pass before a plague is over, or a disk is back.
        if (tries > 20) return void this.clock.after(50, () => this.#standby ?? this.#startStandby());
      }
    }
    const process = this.#standby;
    process.ready.then(
      () => {
        if (this.#standby !== process) return;
        this.#recovered = process;
        this.#checkReplica('after a restart');
        this.#connectLater();
      },
      (error: unknown) => this.#failed(process, error),
    );
  }

  /** A standby that was started has put into place what it has to. */
  async #recovery(): Promise<void> {
    if (!(await this.clock.runWhile(() => this.#standby === null || this.#recovered !== this.#standby, deadlineMs)))
      this.violate('the standby does not start');
  }

  #clockOf(host: 'a' | 'b'): HostClock {
    return this.clock.host(wall + this.clock.now + this.#offMs[host]);
  }

  #stopPrimary(): void {
    const process = this.#primary;
    if (!process) return;
    this.#primary = null;
    process.clock.kill();
    this.network.cutProcess(process.clock);
    this.#a.disk.kill(process.files);
    this.#a.store.kill();
    this.#note(process);
  }

  #stopStandby(powerCut: boolean): void {
    const process = this.#standby;
    if (!process) return;
    this.#standby = null;
    process.clock.kill();
    this.network.cutProcess(process.clock);
    this.#note(process);
    if (powerCut) {
      this.#b.disk.crash({ chaos: this.#options.chaos });
      this.#b.store.crash(this.#random);
    } else {
      this.#b.disk.kill(process.files);
      this.#b.store.kill();
    }
  }

  /** An agent met an error that it does not handle: it ends, and is started again. */
  #failed(process: SimProcess, error: unknown): void {
    if (process.clock.dead) return;
    this.#log.error({ error: textOf(error) }, 'A ROLE FAILED');
    if (!this.#isInjected(error)) process.errors.push(error);
    else this.#count('role-failed');
    if (process !== this.#standby) return;
    this.#stopStandby(false);
    this.clock.after(this.#random.between(1, 100), () => {
      if (!this.#standby) this.#startStandby();
    });
  }

  #isInjected(error: unknown): boolean {
    const code = errnoCode(error) ?? (error instanceof OperatorError ? error.code : '');
    if (code !== '' && (this.#worldTroubles.hasPlague('a') || this.#worldTroubles.hasPlague('b'))) return true;
    if (this.#world.mounts.b !== null && code.startsWith('root-')) return true;
    return this.#options.diskTrouble && ['EIO', 'ENOSPC', 'staging'].includes(code);
  }

  #note(process: SimProcess): void {
    for (const error of process.errors)
      if (this.#isInjected(error)) this.#count('part-failed');
      else this.violate(`a process failed: ${textOf(error)}`);
    for (const { path, what } of process.standby?.foreign() ?? [])
      this.violate(`a foreign write was reported where nobody else writes: ${path}: ${what}`);
  }

  #connectLater(): void {
    const number = ++this.#link;
    this.clock.after(this.#random.between(1, 50), () => {
      const standby = this.#standby?.standby;
      if (standby) void standby.idle().then(() => this.#connect(number));
    });
  }

  #connect(number: number): void {
    const primary = this.#primary;
    const standby = this.#standby;
    if (number !== this.#link || !primary?.primary || !standby?.standby || this.#recovered !== standby) return;
    const [left, right] = this.network.connect({ name: 'a', clock: primary.clock }, { name: 'b', clock: standby.clock });
    const primaryHello = primary.hello();
    const fail = (process: SimProcess) => (error: unknown) => this.#failed(process, error);
    // The hello of the standby is taken when it is idle, as the link does it: the old connection has ended before.
    const served = standby.standby.serve(right, primaryHello, 'sim').catch(fail(standby));
    primary.primary.serve(left, standby.hello(), 'sim').catch(fail(primary));
    void Promise.all([left.ended, right.ended, served]).then(() => {
      if (number === this.#link) this.#connectLater();
    });
  }

  // Checks ------------------------------------------------------------------------------------------------------------

  /** A handle on a host's disk for looking from outside. */
  #look(host: SimHost): SimFiles {
    return host.disk.open(this.clock.host(wall));
  }

  #checkReplica(when: string): void {
    if (!this.#standby || this.#recovered !== this.#standby || this.#standby.standby?.receiver.position.checksum === '0000000000000000')
      return;
    const files = this.#look(this.#b);
    for (const line of checkReplicaClosed(files, mail, this.history, this.#doubted)) this.violate(`I6 ${when}: ${line}`);
    for (const line of this.#contents?.strangers(files, plain) ?? []) this.violate(`I7 ${when}: ${line}`);
  }

  #checkBounds(): void {
    const { bulkWaiting, controlWaiting, unconsumed, unconsumedBytes } = this.network.most;
    if (unconsumedBytes > limits.creditBytes + limits.frameBytesMax) this.violate(`I12: ${unconsumedBytes} bytes were under way or waited`);
    if (bulkWaiting > 4 || controlWaiting > 50 || unconsumed > unconsumedMax)
      this.violate(`I12: ${bulkWaiting} bulk and ${controlWaiting} control messages waited to be sent, ${unconsumed} to be consumed`);
    for (const process of [this.#primary, this.#standby]) {
      if (process && process.index.layersOpen > limits.batchesInFlightMax + 2)
        this.violate(`I12: ${process.index.layersOpen} batches were open at once`);
    }
  }

  #checkTrees(): void {
    const [left, right] = [this.#look(this.#a), this.#look(this.#b)];
    for (const { name, path } of roots) {
      const ignores = ignoresOf(path);
      const isAbsent = (each: string) => this.#worldTroubles.isTwinAway(path, each);
      // What is not there is no name of its file there.
      const here = snapshotTree(left, path, (each) => ignores(each) || isAbsent(each), this.#timesNs);
      const there = snapshotTree(right, path, ignores, this.#timesNs);
      const told = new Set(this.#primary?.primary?.unproven.list().flatMap((doubt) => (doubt.root === name ? [doubt.path] : [])));
      for (const each of this.#worldTroubles.twinsAway(path))
        if (!told.has(each)) this.violate(`not told: ${path}/${each} is not on the standby, whose disk takes its name for another one`);
      for (const line of compareTrees(here, there, (each) => this.#worldTroubles.mayDiffer(path, each)))
        this.violate(`trees at rest: ${path}: ${line}`);
    }
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
