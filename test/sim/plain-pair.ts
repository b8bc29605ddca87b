import { silentLog } from '../../agent/platform/log.ts';
import { isOwnName } from '../../agent/replicate/staging.ts';
import { folds, type FoldRule } from './folds.ts';
import { SimClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import type { SimFiles } from './sim-files.ts';
import { SimMounts } from './sim-mounts.ts';
import { SimKvStore } from './sim-kv.ts';
import { SimNetwork, type SimNetworkOptions } from './sim-network.ts';
import { startPrimary, startStandby, type ProcessOptions, type SimHost, type SimProcess } from './sim-node.ts';
import { SimRandom } from './sim-random.ts';
import { compareTrees, snapshotTree } from './tree.ts';

const wall = 1_700_000_000_000;
const limitMs = 60_000;

/** A pair with one plain root, `/plain`, for what a test makes happen step by step. */
export class PlainPair {
  readonly clock = new SimClock();
  readonly network: SimNetwork;
  readonly #random: SimRandom;
  readonly #birthTimes: boolean;
  readonly #reuseInos: boolean;
  readonly #folds: FoldRule | null;
  readonly #scrub: ProcessOptions['scrub'];
  readonly #a: SimHost;
  readonly #b: SimHost;
  readonly #worker = this.clock.host(wall);
  /** Whoever works on the primary's host. */
  readonly work: SimFiles;
  /** The standby's disk, for looking at it. */
  readonly copy: SimFiles;
  #offMs = 0;
  #primary: SimProcess;
  #standby: SimProcess;

  constructor(
    options: SimNetworkOptions & {
      birthTimes?: boolean;
      reuseInos?: boolean;
      standbyDisk?: string;
      folds?: FoldRule;
      scrub?: ProcessOptions['scrub'];
    } = {},
    seed = 7,
  ) {
    this.#random = new SimRandom(seed);
    this.#birthTimes = options.birthTimes ?? true;
    this.#reuseInos = options.reuseInos ?? false;
    this.#folds = options.folds ?? null;
    this.#scrub = options.scrub;
    [this.#a, this.#b] = [this.#host('a'), this.#host('b')];
    this.work = this.#a.disk.open(this.#worker);
    this.copy = this.#b.disk.open(this.clock.host(wall));
    this.network = new SimNetwork(this.clock, this.#random.fork('network'), options);
    this.work.mkdir('/plain', 0o755);
    this.copy.mkdir('/plain', 0o700);
    if (options.standbyDisk !== undefined) {
      this.volume('b', 'disk');
      const parts = options.standbyDisk.split('/');
      for (let end = 2; end <= parts.length; end++) {
        const dir = parts.slice(0, end).join('/');
        if (!this.copy.lstat(dir)) this.copy.mkdir(dir, 0o755);
      }
      this.disk('b').mounts.mount(options.standbyDisk, 'disk');
    }
    this.#primary = this.#newPrimary();
    this.#standby = this.#newStandby();
  }

  get primaryDisk(): SimDisk {
    return this.#a.disk;
  }

  get standbyDisk(): SimDisk {
    return this.#b.disk;
  }

  get primary(): SimProcess {
    return this.#primary;
  }

  get standby(): SimProcess {
    return this.#standby;
  }

  /** Whoever looks at a host's disk, or works on it, from outside of the agents. */
  disk(host: 'a' | 'b'): SimDisk {
    return (host === 'a' ? this.#a : this.#b).disk;
  }

  filesOf(host: 'a' | 'b'): SimFiles {
    return this.disk(host).open(this.clock.host(wall + this.clock.now));
  }

  /** A file system of its own on a host; `mount` shows it at a path. */
  volume(host: 'a' | 'b', name: string): void {
    const files = this.filesOf(host);
    if (!files.lstat(SimMounts.home)) files.mkdir(SimMounts.home, 0o700);
    files.mkdir(SimMounts.top(name), 0o755);
  }

  /** `hello`: what the standby says of itself, when it said so some time ago. */
  connect(hello = this.#standby.hello()): void {
    const [primary, standby] = [this.#primary, this.#standby];
    const [left, right] = this.network.connect({ name: 'a', clock: primary.clock }, { name: 'b', clock: standby.clock });
    void standby.standby?.serve(right, primary.hello(), 'sim');
    void primary.primary?.serve(left, hello, 'sim');
  }

  /** Everything that changed is on the standby. */
  async settle(): Promise<void> {
    const { primary } = this.#primary;
    if (primary) await this.clock.settle(primary.wait(limitMs, new AbortController().signal), limitMs);
  }

  differences(): string[] {
    const snapshot = ({ disk }: SimHost) => snapshotTree(disk.open(this.clock.host(wall)), '/plain', isOwnName);
    return compareTrees(snapshot(this.#a), snapshot(this.#b));
  }

  /** The wall clock of the primary's host is set. */
  setClock(ms: number): void {
    this.#offMs += ms;
    this.#worker.jumpWall(ms);
    this.#primary.clock.jumpWall(ms);
  }

  /** What the configurations leave out, from the next start of each agent. */
  exclude(patterns: readonly string[]): void {
    this.#a.exclude = this.#b.exclude = patterns;
  }

  killPrimary(): void {
    this.#end(this.#primary, this.#a);
  }

  startPrimary(): void {
    this.#primary = this.#newPrimary();
  }

  killStandby(): void {
    this.#end(this.#standby, this.#b);
  }

  /** The power of the standby's host is cut: a random part of what was not synced is lost. */
  cutStandbyPower(): void {
    const { clock } = this.#standby;
    clock.kill();
    this.network.cutProcess(clock);
    this.#b.disk.crash();
    this.#b.store.crash(this.#random);
  }

  /** `onFiles` is called with what the new process sees of its disk, before it has called anything. */
  async startStandby(onFiles?: (files: SimFiles) => void): Promise<void> {
    this.#standby = this.#newStandby(onFiles);
    await this.clock.settle(this.#standby.ready, limitMs);
  }

  /** The disk of a node's state directory takes nothing, or takes it again. */
  setStateFull(node: 'primary' | 'standby', full: boolean): void {
    (node === 'primary' ? this.#a : this.#b).store.full = full;
  }

  #end({ clock, files }: SimProcess, { disk, store }: SimHost): void {
    clock.kill();
    this.network.cutProcess(clock);
    disk.kill(files);
    store.kill();
  }

  #newPrimary(): SimProcess {
    return startPrimary(this.#a, this.clock.host(wall + this.clock.now + this.#offMs), this.#options());
  }

  #newStandby(onFiles?: (files: SimFiles) => void): SimProcess {
    return startStandby(this.#b, this.clock.host(wall + this.clock.now), { ...this.#options(), ...(onFiles && { onFiles }) });
  }

  #options() {
    return { watcherRandom: this.#random, overflowShare: 0, log: silentLog, ...(this.#scrub && { scrub: this.#scrub }) };
  }

  #host(name: string): SimHost {
    const roots = [{ name: 'plain', path: '/plain', format: 'plain' as const }];
    return {
      name,
      disk: new SimDisk(this.#random.fork(name), {
        birthTimes: this.#birthTimes,
        reuseInos: this.#reuseInos,
        ...(name === 'b' && this.#folds !== null ? { fold: folds[this.#folds].fold } : {}),
      }),
      store: new SimKvStore(() => 1),
      roots,
    };
  }
}
