import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { PlainPair } from './plain-pair.ts';
import { SimRandom } from './sim-random.ts';

const minute = 60_000;
const seeds = Number(process.env['SIM_COUNT'] ?? 12);
const first = Number(process.env['SIM_SEED'] ?? 1);

/**
 * A pair whose disks flip bits, between work, cuts of the line, restarts of both agents, comparisons, and somebody who meddles
 * with attributes of the copy. Whatever a primary's disk has damaged never comes to the standby; and after a pass of both nodes
 * the standby has of each file what its writer wrote.
 */
class DamagedHistory {
  readonly random: SimRandom;
  readonly pair: PlainPair;
  readonly #seed: number;
  /** What the writer has put at each path. */
  readonly #written = new Map<string, Buffer>();
  /** What the primary's disk made of files that nobody has touched since, and what it should be. */
  readonly #damaged = new Map<string, Buffer>();
  /** Contents that no writer ever wrote, by their hash. */
  readonly #bad = new Set<string>();
  /** Whose copy somebody else has changed. */
  readonly #meddled = new Set<string>();
  #names = 0;
  flips = { primary: 0, standby: 0 };

  constructor(seed: number) {
    this.#seed = seed;
    this.random = new SimRandom(seed);
    this.pair = new PlainPair({ scrub: { days: 1 / 96, bytesPerSecondMax: 50e6 } }, seed);
  }

  async run(): Promise<void> {
    const { pair, random } = this;
    pair.connect();
    for (let i = 0; i < 6; i++) this.#write();
    await this.#rest();
    for (let step = 0; step < 25; step++) {
      await this.#step();
      await pair.clock.runFor(random.between(10, 3000));
      this.#look(step);
    }
    await this.#end();
  }

  async #step(): Promise<void> {
    const { pair, random } = this;
    switch (
      random.pick([
        'write',
        'write',
        'change',
        'rename',
        'remove',
        'flip-a',
        'flip-b',
        'flip-b',
        'cut',
        'restart-a',
        'restart-b',
        'meddle',
        'verify',
        'pass',
      ])
    ) {
      case 'write':
        return this.#write();
      case 'change':
        return this.#write(this.#any());
      case 'rename':
        return this.#rename();
      case 'remove':
        return this.#remove();
      case 'flip-a':
      case 'flip-b':
        await this.#rest();
        return this.#flip();
      case 'cut':
        pair.network.cut();
        await pair.clock.runFor(random.between(10, 2000));
        return pair.connect();
      case 'restart-a':
        pair.killPrimary();
        pair.startPrimary();
        return pair.connect();
      case 'restart-b':
        pair.killStandby();
        await pair.startStandby();
        return pair.connect();
      case 'meddle': {
        await this.#rest();
        const [damaged] = [...this.#damaged.keys()];
        const path = damaged ?? this.#any();
        if (path !== null) this.#meddled.add(path);
        if (path !== null && pair.copy.lstat(path)) pair.copy.setMeta(path, { mode: this.random.pick([0o604, 0o614, 0o624]) });
        return await this.#verify();
      }
      case 'verify':
        return await this.#verify();
      default:
        return (random.chance(0.5) ? pair.primary.primary!.scrubber : pair.standby.standby!.scrubber)!.hurry();
    }
  }

  async #verify(): Promise<void> {
    const verified = this.pair.primary.primary!.verify(this.random.chance(0.5), minute, new AbortController().signal, () => {});
    // A line that was cut ends it, and no doubt about a damaged file does.
    await this.pair.clock.settle(verified, 10 * minute).catch(() => {});
  }

  #any(): string | null {
    const paths = [...this.#written.keys()];
    return paths.length === 0 ? null : this.random.pick(paths);
  }

  #write(path: string | null = `/plain/file ${++this.#names}`): void {
    if (path === null) return;
    const size = this.random.chance(0.2) ? 140_000 + this.random.int(100_000) : 1 + this.random.int(5000);
    const content = this.random.bytes(size);
    this.pair.work.writeFile(path, content);
    this.#written.set(path, content);
    this.#damaged.delete(path);
  }

  #rename(): void {
    const path = this.#any();
    const content = path === null ? undefined : this.#written.get(path);
    // Of what the copy is not known the good version would be in the history alone.
    if (path === null || !content || (this.#meddled.has(path) && this.#damaged.has(path))) return;
    const to = `/plain/renamed ${++this.#names}`;
    this.pair.work.rename(path, to);
    this.#written.delete(path);
    this.#written.set(to, content);
    const damaged = this.#damaged.get(path);
    this.#damaged.delete(path);
    if (damaged) this.#damaged.set(to, damaged);
  }

  #remove(): void {
    const path = this.#any();
    if (path === null || this.#written.size < 4) return;
    this.pair.work.unlink(path);
    this.#written.delete(path);
    this.#damaged.delete(path);
  }

  /** All that was changed is there, and was read once more in no moment of its change. */
  async #rest(): Promise<void> {
    const { pair } = this;
    await pair.clock.runFor(2 * minute);
    pair.primary.primary!.start();
    await pair.clock.runFor(minute);
  }

  #flip(): void {
    const { pair, random } = this;
    const path = this.#any();
    if (path === null || this.#damaged.has(path)) return;
    const good = this.#written.get(path)!;
    if (random.chance(0.5)) {
      // The copy of what is damaged here is all that is left.
      if (!pair.copy.readFile(path, 1e6)?.data.equals(good)) return;
      pair.work.flip(path, random.next());
      this.#damaged.set(path, good);
      this.#bad.add(hashOf(pair.work.readFile(path, 1e6)!.data));
      this.flips.primary++;
    } else if (pair.copy.lstat(path)) {
      pair.copy.flip(path, random.next());
      this.flips.standby++;
    }
  }

  /** Nothing of what the primary's disk has damaged is on the standby. */
  #look(step: number): void {
    for (const { name, kind } of this.pair.copy.readdir('/plain') ?? []) {
      if (kind !== 'file') continue;
      const { data } = this.pair.copy.readFile(`/plain/${name}`, 1e6)!;
      if (this.#bad.has(hashOf(data))) throw new Error(`seed ${this.#seed}, step ${step}: ${name} was spread`);
    }
  }

  async #end(): Promise<void> {
    const { pair } = this;
    pair.network.cut();
    pair.connect();
    await this.#rest();
    for (let pass = 0; pass < 2; pass++) {
      pair.primary.primary!.scrubber!.hurry();
      pair.standby.standby!.scrubber!.hurry();
      await pair.clock.runFor(3 * minute);
    }
    this.#look(-1);
    const differs = [...this.#written]
      .filter(([path, content]) => !pair.copy.readFile(path, 1e6)?.data.equals(content))
      .map(([path]) => path);
    expect(differs, `seed ${this.#seed}: on the standby`).toEqual([]);
    const named = pair.primary.primary!.damage.list().map(({ path }) => `/plain/${path}`);
    expect(named.toSorted(), `seed ${this.#seed}: named`).toEqual([...this.#damaged.keys()].toSorted());
    expect(pair.standby.standby!.receiver.damaged, `seed ${this.#seed}: of the copy`).toEqual([]);
    // And each comes back by its command.
    for (const { root, path } of pair.primary.primary!.damage.list())
      await pair.clock.settle(pair.primary.primary!.bringBack(root, path), 10 * minute);
    for (const [path, content] of this.#written)
      expect(pair.work.readFile(path, 1e6)?.data.equals(content), `seed ${this.#seed}: ${path} here`).toBe(true);
    expect([...pair.primary.errors, ...pair.standby.errors]).toEqual([]);
  }
}

const hashOf = (data: Buffer): string => createHash('sha256').update(data).digest('hex');

describe('disks that flip bits', () => {
  it(`spread nothing, and the copy is what was written, over ${seeds} histories from seed ${first} on`, async () => {
    const flips = { primary: 0, standby: 0 };
    for (let seed = first; seed < first + seeds; seed++) {
      const history = new DamagedHistory(seed);
      await history.run();
      flips.primary += history.flips.primary;
      flips.standby += history.flips.standby;
    }
    if (seeds > 1) {
      expect(flips.primary).toBeGreaterThan(3);
      expect(flips.standby).toBeGreaterThan(3);
    }
  });
});
