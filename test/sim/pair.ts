import type { Log } from '../../agent/platform/log.ts';
import type { Message } from '../../protocol/messages.ts';
import { MailHistory } from './mail-history.ts';
import { checkReplicaClosed } from './replica-closed.ts';
import { SimClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import { SimKvStore } from './sim-kv.ts';
import { SimMailServer } from './sim-mailserver.ts';
import { SimNetwork } from './sim-network.ts';
import { startPrimary, startStandby, type SimHost, type SimProcess } from './sim-node.ts';
import { SimPlainWork } from './sim-plainwork.ts';
import { SimRandom } from './sim-random.ts';
import { compareTrees, ignoresOfMaildir, snapshotTree } from './tree.ts';

const wall = 1_700_000_000_000;
const mail = '/mail';
const plain = '/plain';
const roots = [
  { name: 'mail', path: mail, format: 'maildir' },
  { name: 'plain', path: plain, format: 'plain' },
] as const;

/** What happens to a pair in one simulated history. */
export interface HistoryOptions {
  /** Virtual milliseconds of work. */
  workMs: number;
  /** Mean virtual milliseconds between two troubles. */
  troubleMs: number;
  overflowShare: number;
  /** Any subset of what was not synced may survive a power cut, not only what a journaling file system keeps. */
  chaos: boolean;
  tap?: (message: Message, from: string) => Message;
}

export interface HistoryResult {
  /** Every broken promise, in words; empty when all held. */
  violations: string[];
  troubles: number;
  bytesCarried: number;
  issued: number;
}

const deadlineMs = 600_000;

/** Runs one seeded history of a pair under work, cuts, kills and power cuts, and checks what must always hold. */
export async function runHistory(seed: number, options: HistoryOptions): Promise<HistoryResult> {
  const pair = new SimPair(seed, options);
  try {
    await pair.run();
  } catch (error) {
    pair.violations.push(
      `seed ${seed} at ${pair.clock.now.toFixed(1)} ms: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
  }
  return {
    violations: pair.violations,
    troubles: pair.troubles,
    bytesCarried: pair.network.bytesCarried,
    issued: pair.history.issuedCount,
  };
}

export class SimPair {
  readonly clock = new SimClock();
  readonly network: SimNetwork;
  readonly history = new MailHistory();
  readonly violations: string[] = [];
  troubles = 0;
  readonly #seed: number;
  readonly #random: SimRandom;
  readonly #options: HistoryOptions;
  readonly #a: SimHost;
  readonly #b: SimHost;
  #primary: SimProcess | null = null;
  #standby: SimProcess | null = null;
  #link = 0;
  /** No more trouble from here on. */
  #resting = false;
  readonly #log: Log;

  constructor(seed: number, options: HistoryOptions) {
    this.#seed = seed;
    this.#options = options;
    this.#random = new SimRandom(seed);
    this.network = new SimNetwork(this.clock, this.#random.fork('network'));
    if (options.tap) this.network.tap = options.tap;
    const reuseInos = seed % 2 === 0;
    const host = (name: string): SimHost => ({
      name,
      disk: new SimDisk(this.#random.fork(`disk ${name}`), { reuseInos }),
      store: new SimKvStore(() => this.#random.between(0.2, 8)),
      roots,
    });
    this.#a = host('a');
    this.#b = host('b');
    const say = (level: string) => (facts: object, message: string) => {
      if (process.env['SIM_LOG']) console.error(this.clock.now.toFixed(1), level, message, JSON.stringify(facts));
    };
    this.#log = { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') };
  }

  async run(): Promise<void> {
    const worker = this.clock.host(wall);
    const workFiles = this.#a.disk.open(worker);
    const server = new SimMailServer({ files: workFiles, clock: worker, random: this.#random.fork('mail'), history: this.history }, mail);
    await this.clock.settle(server.setUp(3), deadlineMs);
    workFiles.mkdir(plain, 0o755);
    workFiles.syncNow();
    const other = new SimPlainWork(workFiles, worker, this.#random.fork('plain'), plain);
    const standbyFiles = this.#b.disk.open(this.clock.host(wall));
    for (const { path } of roots) standbyFiles.mkdir(path, 0o700);
    standbyFiles.syncNow();
    this.#startPrimary();
    this.#startStandby();
    this.#connectLater();
    server.start();
    other.start(40);
    const end = this.clock.now + this.#options.workMs;
    while (this.clock.now < end) {
      await this.clock.runFor(this.#random.next() * 2 * this.#options.troubleMs);
      await this.#trouble();
      this.#checkReplica('under work');
    }
    await this.clock.settle(server.stop(), deadlineMs);
    await this.clock.settle(other.stop(), deadlineMs);
    await this.#comeToRest();
  }

  /** All is quiet: what `wait` confirms must be there, and both trees must be the same. */
  async #comeToRest(): Promise<void> {
    this.#resting = true;
    if (!this.#primary) this.#startPrimary();
    if (!this.#standby) this.#startStandby();
    const primary = this.#primary;
    if (!primary?.primary) return;
    await this.clock.settle(primary.primary.wait(deadlineMs, new AbortController().signal), deadlineMs);
    // Power is cut right after the confirmation: nothing that was confirmed may depend on luck (I1).
    this.#stopStandby(true);
    this.#startStandby();
    this.#checkReplica('after the final power cut');
    this.#checkTrees();
    for (const process of [this.#primary, this.#standby])
      for (const error of process?.errors ?? [])
        this.#violate(`a process failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    for (const error of this.network.protocolErrors) this.#violate(`protocol error: ${error}`);
  }

  async #trouble(): Promise<void> {
    this.troubles++;
    const random = this.#random;
    const what = random.int(8);
    if (what === 0) this.network.cut();
    else if (what === 1) this.#stopStandby(true);
    else if (what === 2) this.#stopStandby(false);
    else if (what === 3) this.#stopPrimary();
    else if (what === 4) await this.#confirm();
    else if (what === 5 && this.#standby?.standby) this.#killAtOperation(this.#standby, random.int(200));
    this.#log.info({ what }, 'TROUBLE');
    if (random.chance(0.8)) await this.clock.runFor(random.between(0, 300));
    if (!this.#primary) this.#startPrimary();
    if (!this.#standby) this.#startStandby();
  }

  /** What `wait` confirmed under load survives an immediate power cut of the standby (I1). */
  async #confirm(): Promise<void> {
    const primary = this.#primary?.primary;
    if (!primary) return;
    const before = snapshotNames(this.#a.disk.open(this.clock.host(wall)), mail);
    let confirmed = false;
    primary.wait(3000, new AbortController().signal).then(
      () => (confirmed = true),
      () => {},
    );
    await this.clock.runWhile(() => !confirmed, 3100);
    if (!confirmed) return;
    this.#stopStandby(true);
    this.#startStandby();
    const copy = snapshotNames(this.#b.disk.open(this.clock.host(wall)), mail);
    const still = snapshotNames(this.#a.disk.open(this.clock.host(wall)), mail);
    for (const base of before) if (still.has(base) && !copy.has(base)) this.#violate(`I1: ${base} was confirmed and is not on the standby`);
  }

  #killAtOperation(process: SimProcess, after: number): void {
    process.files.interruptAfter(after, () => {
      if (this.#standby === process && !this.#resting) this.#stopStandby(true);
    });
  }

  #startPrimary(): void {
    const clock = this.clock.host(wall + this.clock.now);
    this.#primary = startPrimary(this.#a, clock, {
      watcherRandom: this.#random.fork(`watch ${this.clock.now}`),
      overflowShare: this.#options.overflowShare,
      log: this.#log,
    });
    this.#connectLater();
  }

  #startStandby(): void {
    const clock = this.clock.host(wall + this.clock.now);
    this.#standby = startStandby(this.#b, clock, { watcherRandom: this.#random, overflowShare: 0, log: this.#log });
    this.#checkReplica('after a restart');
    this.#connectLater();
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

  #note(process: SimProcess): void {
    for (const error of process.errors)
      this.#violate(`a process failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }

  #connectLater(): void {
    const number = ++this.#link;
    this.clock.after(this.#random.between(1, 200), () => {
      const standby = this.#standby?.standby;
      if (standby) void standby.idle().then(() => this.#connect(number));
    });
  }

  #connect(number: number): void {
    const primary = this.#primary;
    const standby = this.#standby;
    if (number !== this.#link || !primary?.primary || !standby?.standby) return;
    const [left, right] = this.network.connect({ name: 'a', clock: primary.clock }, { name: 'b', clock: standby.clock });
    const primaryHello = primary.hello();
    const fail = (process: SimProcess) => (error: unknown) => void process.errors.push(error);
    // The hello of the standby is taken when it is idle, as the link does it: the old connection has ended before.
    const served = standby.standby.serve(right, primaryHello, 'sim').catch(fail(standby));
    primary.primary.serve(left, standby.hello(), 'sim').catch(fail(primary));
    void Promise.all([left.ended, right.ended, served]).then(() => {
      if (number === this.#link) this.#connectLater();
    });
  }

  #checkReplica(when: string): void {
    if (!this.#standby || this.#standby.standby?.receiver.position.seq === 0) return;
    const files = this.#b.disk.open(this.clock.host(wall));
    if (when === 'under work') return;
    for (const line of checkReplicaClosed(files, mail, this.history)) this.#violate(`I6 ${when}: ${line}`);
  }

  #checkTrees(): void {
    const left = this.#a.disk.open(this.clock.host(wall));
    const right = this.#b.disk.open(this.clock.host(wall));
    for (const { path } of roots) {
      const ignores = path === mail ? ignoresOfMaildir : () => false;
      for (const line of compareTrees(snapshotTree(left, path, ignores), snapshotTree(right, path, ignores)))
        this.#violate(`trees at rest: ${path}: ${line}`);
    }
  }

  #violate(what: string): void {
    this.violations.push(`seed ${this.#seed} at ${this.clock.now.toFixed(1)} ms: ${what}`);
  }
}

/** Base names of all messages below a root. */
function snapshotNames(files: ReturnType<SimDisk['open']>, root: string): Set<string> {
  const names = new Set<string>();
  const walk = (dir: string): void => {
    for (const { name, kind } of files.readdir(dir) ?? []) {
      if (kind === 'dir') {
        if (name !== 'tmp' && !name.startsWith('..DOVECOT-TRASH')) walk(`${dir}/${name}`);
      } else if (/\/(cur|new)$/.test(dir)) names.add(name.split(':')[0] ?? name);
    }
  };
  walk(root);
  return names;
}
