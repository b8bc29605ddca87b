import { describe, expect, it } from 'vitest';
import { ReplicaIndex } from '../../agent/journal/replica-index.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { disown } from '../../agent/replicate/standby/disown.ts';
import { SimClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import { SimKvStore } from './sim-kv.ts';
import { SimNetwork } from './sim-network.ts';
import { startPrimary, startStandby, type SimHost, type SimProcess } from './sim-node.ts';
import { SimRandom } from './sim-random.ts';
import { compareTrees, snapshotTree } from './tree.ts';

const wall = 1_700_000_000_000;
const files = 300;

/** A primary with files, and standbys that come and go, on a simulated clock. */
class Pair {
  readonly clock = new SimClock();
  readonly #random = new SimRandom(7);
  readonly #network = new SimNetwork(this.clock, this.#random.fork('network'));
  readonly a = this.host('a');
  primary: SimProcess;

  constructor() {
    const disk = this.a.disk.open(this.clock.host(wall));
    for (let i = 0; i < files; i++) disk.writeFile(`/plain/${i}`, `content of ${i}`);
    this.primary = this.start(1);
  }

  start(epoch: number): SimProcess {
    const random = this.#random.fork('w');
    return (this.primary = startPrimary(this.a, this.clock.host(wall), { watcherRandom: random, overflowShare: 0, log: silentLog, epoch }));
  }

  host(name: string): SimHost {
    const disk = new SimDisk(this.#random.fork(`disk ${name}`));
    disk.open(this.clock.host(wall)).mkdir('/plain', 0o755);
    return {
      name,
      disk,
      store: new SimKvStore(() => this.#random.between(0.2, 8)),
      roots: [{ name: 'plain', path: '/plain', format: 'plain' }],
    };
  }

  async connect(host: SimHost, epoch = 1): Promise<{ standby: SimProcess; cut(): Promise<void> }> {
    const clock = this.clock.host(wall);
    const standby = startStandby(host, clock, { watcherRandom: this.#random.fork(host.name), overflowShare: 0, log: silentLog });
    await this.clock.settle(standby.ready, 1000);
    const [left, right] = this.#network.connect({ name: 'a', clock: this.primary.clock }, { name: 'b', clock });
    void standby.standby?.serve(right, { ...this.primary.hello(), epoch }, 'sim');
    void this.primary.primary?.serve(left, standby.hello(), 'sim');
    const cut = async (): Promise<void> => {
      this.#network.cutProcess(clock);
      await this.clock.runWhile(() => this.primary.primary?.sender.phase !== 'disconnected', 60_000);
    };
    return { standby, cut };
  }

  /** The phases of the primary, each once, with whether the standby counts as filled, until it streams and has said so. */
  async phases(standby: SimProcess): Promise<string[]> {
    const seen: string[] = [];
    await this.clock.runWhile(() => {
      const now = `${this.primary.primary?.sender.phase}${standby.standby?.filled ? ', filled' : ''}`;
      if (seen.at(-1) !== now) seen.push(now);
      return now !== 'streaming, filled';
    }, 60_000);
    return seen;
  }

  differences(host: SimHost): string[] {
    const tree = (each: SimHost) => snapshotTree(each.disk.open(this.clock.host(wall)), '/plain', () => false);
    return compareTrees(tree(this.a), tree(host));
  }
}

describe('a standby', () => {
  it('that is new beside a primary whose store was filled once is filled before the pair streams', async () => {
    const pair = new Pair();
    const [first, second] = [pair.host('b'), pair.host('c')];
    const one = await pair.connect(first);
    expect(await pair.phases(one.standby)).toEqual(['initial', 'streaming', 'streaming, filled']);
    expect(pair.differences(first)).toEqual([]);
    await one.cut();

    const two = await pair.connect(second);
    const phases = await pair.phases(two.standby);
    expect(phases.filter((phase) => phase !== 'disconnected')).toEqual(['comparing', 'initial', 'streaming', 'streaming, filled']);
    expect(pair.differences(second)).toEqual([]);
    // Cut and connected again it is the one that was filled.
    await two.cut();
    const again = await pair.connect(second);
    expect(again.standby.standby?.filled).toBe(true);
    expect(await pair.phases(again.standby)).toEqual(['streaming, filled']);
  });

  it('that was filled meets a new primary, and is an old copy until it is complete under that one (I5)', async () => {
    const pair = new Pair();
    const host = pair.host('b');
    const one = await pair.connect(host);
    await pair.phases(one.standby);
    await one.cut();
    // The other node took over meanwhile; its heartbeats never say that this copy is complete.
    const two = await pair.connect(host, 2);
    await pair.clock.runFor(20_000);
    expect(two.standby.standby?.filled).toBe(false);
    await two.cut();
    const again = await pair.connect(host);
    await pair.phases(again.standby);
    expect(again.standby.standby?.filled).toBe(true);
  });

  it('that is new and is lost halfway is not filled, and neither is the next one', async () => {
    const pair = new Pair();
    const one = await pair.connect(pair.host('b'));
    await pair.phases(one.standby);
    await one.cut();
    const second = pair.host('c');
    const two = await pair.connect(second);
    await pair.clock.runWhile(() => pair.primary.primary?.sender.phase !== 'initial', 60_000);
    await two.cut();
    expect([pair.primary.primary?.sender.filled, two.standby.standby?.filled]).toEqual([false, false]);
    const three = await pair.connect(second);
    await pair.phases(three.standby);
    expect(pair.differences(second)).toEqual([]);
    expect(pair.primary.primary?.sender.filled).toBe(true);
  });

  it('is compared after a takeover, also where it stands just where the primary before left it: what either node has noted since has no position', async () => {
    const pair = new Pair();
    const host = pair.host('b');
    const before = await pair.connect(host);
    await pair.phases(before.standby);
    await before.cut();
    pair.primary.clock.kill();

    // As a node does that rejoins: its index says what its own disk has, and lacks.
    const clock = pair.clock.host(wall);
    const kv = host.store.open(clock);
    host.disk.open(clock).unlink('/plain/7');
    disown({ kv, index: new ReplicaIndex(kv, { findByIdentity: false }) }, [{ root: 'plain', path: '7', stat: null }]);
    clock.kill();

    pair.start(2);
    const after = await pair.connect(host, 2);
    await pair.phases(after.standby);
    expect(pair.differences(host)).toEqual([]);
  });
});
