import type { MetaChange } from '../../agent/platform/files.ts';
import { FsState, type CrashOptions } from './fs-state.ts';
import type { Plague } from './plague.ts';
import { SimMounts } from './sim-mounts.ts';
import type { HostClock } from './sim-clock.ts';
import { SimFiles } from './sim-files.ts';
import type { SimRandom } from './sim-random.ts';

export interface SimDiskOptions {
  /** Bytes of file content that fit; default no limit. */
  capacityBytes?: number;
  /** Free inode numbers are given out again at once, as ext4 does. */
  reuseInos?: boolean;
  /** Whether the file system tells birth times; default yes. */
  birthTimes?: boolean;
  /** Bounds of how long a syncfs takes. */
  syncMs?: readonly [number, number];
  /** What modification times are cut to, nanoseconds; default 1. */
  timesNs?: bigint;
  /** Names with the same value are one name, as where case is folded. Default: each name is its own. */
  fold?: (name: string) => string;
  /** The code with which attributes are refused to an agent, or null. */
  refuses?: (change: MetaChange) => string | null;
  /** Files can be cloned, as on xfs and btrfs. */
  makesSnapshots?: boolean;
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
  readonly mounts = new SimMounts();
  readonly birthTimes: boolean;
  timesNs: bigint;
  readonly fold: ((name: string) => string) | null;
  /** What agents on this host meet. */
  plague: Plague | null = null;
  capacityBytes: number;
  makesSnapshots: boolean;
  state: FsState;
  readonly listeners = new Set<DiskListener>();
  /** What this file system does not take: the errno name for one thing that is to be set, or null. */
  refuses: ((set: { what: 'owner' | 'mode' | 'xattrs' | 'time'; change: MetaChange }) => string | null) | null = null;
  readonly #syncMs: readonly [number, number];
  readonly #refuses: (change: MetaChange) => string | null;
  #faults: Required<Fault>[] = [];
  #processes = new Set<SimFiles>();

  constructor(random: SimRandom, options: SimDiskOptions = {}) {
    this.random = random;
    this.device = BigInt(64_768 + (++deviceNumbers % 1000));
    this.capacityBytes = options.capacityBytes ?? Infinity;
    this.birthTimes = options.birthTimes ?? true;
    this.makesSnapshots = options.makesSnapshots ?? false;
    this.#syncMs = options.syncMs ?? [1, 20];
    this.timesNs = options.timesNs ?? 1n;
    this.fold = options.fold ?? null;
    this.#refuses = options.refuses ?? (() => null);
    this.state = new FsState(options.reuseInos ?? false, 0n, options.fold);
  }

  /**
   * The disk as a new process of this host sees it. An agent meets what the disk refuses and the plague; others do not. Below
   * these places of an agent it follows no link.
   */
  open(clock: HostClock, agentBelow: readonly string[] | null = null): SimFiles {
    const files = new SimFiles(this, this.state, clock, agentBelow);
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

  /** A snapshot of the volume, as it is now. */
  snapshot(): FsState {
    return this.state.fork();
  }

  /** The volume is put back to a snapshot while no process of this host runs. */
  putBack(snapshot: FsState): void {
    for (const files of this.#processes) files.detach(this.state.fork());
    this.#processes.clear();
    this.state = snapshot.fork();
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

  refusalOf(change: MetaChange): string | null {
    return this.#refuses(change);
  }

  drawSyncMs(): number {
    return this.random.between(...this.#syncMs);
  }
}
