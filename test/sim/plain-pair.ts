import { silentLog } from '../../agent/platform/log.ts';
import { SimClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import { SimKvStore } from './sim-kv.ts';
import { SimNetwork, type SimNetworkOptions } from './sim-network.ts';
import { startPrimary, startStandby, type SimHost, type SimProcess } from './sim-node.ts';
import { SimRandom } from './sim-random.ts';
import { compareTrees, snapshotTree } from './tree.ts';

const wall = 1_700_000_000_000;
const limitMs = 60_000;

/** A pair with one plain root, `/plain`, for what a test makes happen step by step. */
export class PlainPair {
  readonly clock = new SimClock();
  readonly network: SimNetwork;
  readonly #random = new SimRandom(7);
  readonly #a = this.#host('a');
  readonly #b = this.#host('b');
  readonly #worker = this.clock.host(wall);
  /** Whoever works on the primary's host. */
  readonly work = this.#a.disk.open(this.#worker);
  #offMs = 0;
  #primary: SimProcess;
  #standby: SimProcess;

  constructor(options: SimNetworkOptions = {}) {
    this.network = new SimNetwork(this.clock, this.#random.fork('network'), options);
    this.work.mkdir('/plain', 0o755);
    this.#b.disk.open(this.clock.host(wall)).mkdir('/plain', 0o700);
    this.#primary = this.#newPrimary();
    this.#standby = this.#newStandby();
  }

  get primary(): SimProcess {
    return this.#primary;
  }

  connect(): void {
    const [primary, standby] = [this.#primary, this.#standby];
    const [left, right] = this.network.connect({ name: 'a', clock: primary.clock }, { name: 'b', clock: standby.clock });
    void standby.standby?.serve(right, primary.hello(), 'sim');
    void primary.primary?.serve(left, standby.hello(), 'sim');
  }

  /** Everything that changed is on the standby. */
  async settle(): Promise<void> {
    const { primary } = this.#primary;
    if (primary) await this.clock.settle(primary.wait(limitMs, new AbortController().signal), limitMs);
  }

  differences(): string[] {
    const snapshot = ({ disk }: SimHost) => snapshotTree(disk.open(this.clock.host(wall)), '/plain', () => false);
    return compareTrees(snapshot(this.#a), snapshot(this.#b));
  }

  /** The wall clock of the primary's host is set. */
  setClock(ms: number): void {
    this.#offMs += ms;
    this.#worker.jumpWall(ms);
    this.#primary.clock.jumpWall(ms);
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

  async startStandby(): Promise<void> {
    this.#standby = this.#newStandby();
    await this.clock.settle(this.#standby.ready, limitMs);
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

  #newStandby(): SimProcess {
    return startStandby(this.#b, this.clock.host(wall + this.clock.now), this.#options());
  }

  #options() {
    return { watcherRandom: this.#random, overflowShare: 0, log: silentLog };
  }

  #host(name: string): SimHost {
    const roots = [{ name: 'plain', path: '/plain', format: 'plain' as const }];
    return { name, disk: new SimDisk(this.#random.fork(name)), store: new SimKvStore(() => 1), roots };
  }
}
