import { FsState, type CrashOptions } from './fs-state.ts';
import type { HostClock } from './sim-clock.ts';
import { SimFiles } from './sim-files.ts';
import type { SimRandom } from './sim-random.ts';

export interface SimDiskOptions {
  /** Bytes of file content that fit; default no limit. */
  capacityBytes?: number;
  /** Free inode numbers are given out again at once, as ext4 does. */
  reuseInos?: boolean;
  /** Bounds of how long a syncfs takes. */
  syncMs?: readonly [number, number];
}

/** An error that operations are to meet. */
export interface Fault {
  /** The name of a method of `Files`, such as `rename`. */
  operation: string;
  /** An errno name. */
  code: string;
  /** Which paths; default all. */
  path?: RegExp;
  /** How often; default once. */
  times?: number;
}

/** Told of every change that a process made. `tree`: a directory appeared. Paths are absolute. */
export type DiskListener = (event: { kind: 'path' | 'tree'; path: string; by: SimFiles }) => void;

let deviceNumbers = 0;

/** The disk of one simulated host, with the processes that use it. */
export class SimDisk {
  readonly random: SimRandom;
  readonly device: bigint;
  capacityBytes: number;
  state: FsState;
  readonly listeners = new Set<DiskListener>();
  readonly #syncMs: readonly [number, number];
  #faults: Required<Fault>[] = [];
  #processes = new Set<SimFiles>();

  constructor(random: SimRandom, options: SimDiskOptions = {}) {
    this.random = random;
    this.device = BigInt(64_768 + (++deviceNumbers % 1000));
    this.capacityBytes = options.capacityBytes ?? Infinity;
    this.#syncMs = options.syncMs ?? [1, 20];
    this.state = new FsState(options.reuseInos ?? false, 0n);
  }

  /** The disk as a new process of this host sees it. */
  open(clock: HostClock): SimFiles {
    const files = new SimFiles(this, this.state, clock);
    this.#processes.add(files);
    return files;
  }

  /** True while the process is alive and its host has not been cut off since. */
  isAlive(files: SimFiles): boolean {
    return this.#processes.has(files);
  }

  /** One process is killed. What it wrote stays; what it does from now on happens to a copy that nobody sees. */
  kill(files: SimFiles): void {
    if (!this.#processes.delete(files)) return;
    files.detach(this.state.fork());
  }

  /** The power is cut: every process is dead, and a random part of what was not synced is lost. */
  crash(options: CrashOptions = { chaos: false }): void {
    this.#processes.clear();
    this.#faults = [];
    this.state = this.state.afterCrash(this.random, options);
  }

  fail(fault: Fault): void {
    this.#faults.push({ path: /^/, times: 1, ...fault });
  }

  /** Operations meet no more faults. */
  mend(): void {
    this.#faults = [];
  }

  /** The code that this operation is to fail with, or null. */
  faultFor(operation: string, path: string): string | null {
    const fault = this.#faults.find((f) => f.operation === operation && f.times > 0 && f.path.test(path));
    if (!fault) return null;
    fault.times--;
    return fault.code;
  }

  drawSyncMs(): number {
    return this.random.between(...this.#syncMs);
  }
}
