import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Dovecot, type DovecotOptions } from './dovecot.ts';
import { Network, removeStaleNamespaces, type HostPlan, type NetworkHost } from './namespaces.ts';
import { removeAbandoned, ownerMark } from './ownership.ts';
import { LabProcess, run, type RunResult, type StartOptions } from './processes.ts';
import type { Release } from './release.ts';

export interface LabOptions {
  /** How many hosts, which are called a, b, c ...; or each with its name and ports. */
  hosts: number | readonly HostPlan[];
  /** How many networks connect them. Default 1. */
  networks?: number;
  /** Addresses in IPv6, too. Default false. */
  ipv6?: boolean;
  /** Where each host's disk is: below the system's temporary directory by default, or for example /dev/shm. */
  diskDir?: string;
  /** How Dovecot keeps mail on every host. */
  mail?: {
    layout?: 'maildir++' | 'fs';
    /** Indexes and control files outside the store, in `index/` and `control/` of the host's disk. */
    separate?: boolean;
    /** With a public namespace in `public/` of the host's disk. */
    publicNamespace?: boolean;
    /** Whose Dovecot runs on every host. Default `labRelease`. */
    release?: Release;
    /** Added to dovecot.conf. */
    extra?: string;
  };
}

/** One machine of the lab. */
export interface LabHost {
  readonly name: string;
  readonly namespace: string;
  /** On each network; the first is the usual one. */
  readonly addresses: readonly string[];
  /** The address on the first network. */
  readonly address: string;
  /** The host's disk; the mail store is `store/` in it. */
  readonly disk: string;
  readonly storeDir: string;
  /** Not started. */
  readonly dovecot: Dovecot;
  /** Starts a process on this host; it is killed with the lab at the latest. */
  start(command: string, args: readonly string[], options?: Omit<StartOptions, 'namespace'>): LabProcess;
  /** Runs a command to its end on this host. */
  run(command: string, args: readonly string[], options?: { mayFail?: boolean; timeoutMs?: number }): Promise<RunResult>;
}

const labs = new Set<string>();
process.on('exit', () => {
  for (const dir of labs) rmSync(dir, { recursive: true, force: true });
});

/**
 * Hosts in network namespaces on a bridge, each with a disk and a Dovecot. While it lives, this process is one more
 * machine of that network. `await using lab = await createLab({ hosts: 2 })`, or call `dispose` in a `finally`.
 */
export class Lab implements AsyncDisposable {
  readonly hosts: readonly LabHost[];
  readonly network: Network;
  /** For files of the test itself; removed with the lab. */
  readonly dir: string;
  readonly #dirs: string[];
  readonly #processes: LabProcess[] = [];

  constructor(options: LabOptions) {
    // What a killed test left: its processes first, because they still write.
    removeStaleNamespaces();
    this.dir = makeDir(tmpdir());
    const disks = options.diskDir === undefined ? this.dir : makeDir(options.diskDir);
    this.#dirs = [...new Set([this.dir, disks])];
    try {
      const { hosts } = options;
      const named = typeof hosts === 'number' ? Array.from({ length: hosts }, (_, i) => String.fromCharCode(97 + i)) : hosts;
      this.network = new Network({ hosts: named, networks: options.networks ?? 1, ipv6: options.ipv6 ?? false });
    } catch (error) {
      removeDirs(this.#dirs);
      throw error;
    }
    this.hosts = this.network.hosts.map((host) => this.#makeHost(host, join(disks, host.name), options.mail ?? {}));
    this.network.enter();
  }

  host(index: number): LabHost {
    const found = this.hosts[index];
    if (found === undefined) throw new Error(`the lab has no host number ${index}`);
    return found;
  }

  /** Ends everything that was started, removes namespaces and files. */
  async dispose(): Promise<void> {
    const results = await Promise.allSettled([
      ...this.hosts.map((host) => host.dovecot.kill9()),
      ...this.#processes.map((each) => each.kill9()),
    ]);
    this.network.dispose();
    removeDirs(this.#dirs);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #makeHost(host: NetworkHost, disk: string, mail: NonNullable<LabOptions['mail']>): LabHost {
    const address = host.addresses[0] ?? '';
    const storeDir = join(disk, 'store');
    mkdirSync(disk);
    const settings: DovecotOptions = {
      dir: join(this.dir, `d${host.name}`),
      storeDir,
      address,
      namespace: host.namespace,
      layout: mail.layout ?? 'maildir++',
      ...(mail.separate ? { indexDir: join(disk, 'index'), controlDir: join(disk, 'control') } : {}),
      ...(mail.publicNamespace ? { publicDir: join(disk, 'public') } : {}),
      ...(mail.release && { release: mail.release }),
      ...(mail.extra === undefined ? {} : { extra: mail.extra }),
    };
    const { namespace } = host;
    return {
      name: host.name,
      namespace,
      addresses: host.addresses,
      address,
      disk,
      storeDir,
      dovecot: new Dovecot(settings),
      start: (command, args, options = {}) => {
        const started = new LabProcess(command, args, { ...options, namespace });
        this.#processes.push(started);
        return started;
      },
      run: (command, args, options = {}) => run(command, args, { ...options, namespace }),
    };
  }
}

/** @throws when not root or without `ip`; then nothing is left behind. */
export async function createLab(options: LabOptions): Promise<Lab> {
  return new Lab(options);
}

/** Why a lab cannot be made here; null when it can. */
export function labObstacle(): string | null {
  return process.getuid?.() === 0 ? null : 'network namespaces need root';
}

/** Short, because socket paths are; passable for the mail user. */
function makeDir(parent: string): string {
  removeAbandoned(parent);
  const dir = mkdtempSync(join(parent, `${ownerMark()}-`));
  chmodSync(dir, 0o711);
  labs.add(dir);
  return dir;
}

function removeDirs(dirs: readonly string[]): void {
  for (const dir of dirs) {
    rmSync(dir, { recursive: true, force: true });
    labs.delete(dir);
  }
}
