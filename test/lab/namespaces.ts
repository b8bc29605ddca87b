import { closeSync, openSync, readdirSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import koffi from 'koffi';
import { isAbandoned, ownerMark } from './ownership.ts';
import { killPid, runNow } from './processes.ts';

/** One host of a network: a network namespace with an address on every network. */
export interface NetworkHost {
  name: string;
  namespace: string;
  /** IPv4 address on each network; the first is the usual one. */
  addresses: string[];
}

const namespacesDir = '/run/netns';
const CLONE_NEWNET = 0x40000000;

let count = 0;
const open = new Set<Network>();
process.on('exit', () => {
  for (const network of open) network.dispose();
});

/**
 * Hosts on one or several bridges, all in network namespaces: nothing is added to the machine's own network.
 *
 * The bridges are in a namespace of their own, the LAN. The test process takes part as one more machine after `enter`:
 * what its main thread opens from then on is in the LAN.
 */
export class Network {
  readonly hosts: NetworkHost[];
  readonly #prefix: string;
  readonly #lan: string;
  #home: number | null = null;

  /** @throws when not root, or when the machine has no network namespaces; then nothing is left behind. */
  constructor(options: { hosts: readonly string[]; networks?: number }) {
    removeStaleNamespaces();
    const networks = Array.from({ length: options.networks ?? 1 }, (_, n) => n);
    this.#prefix = `${ownerMark()}${++count}-`;
    this.#lan = `${this.#prefix}lan`;
    this.hosts = options.hosts.map((name, i) => ({
      name,
      namespace: `${this.#prefix}${name}`,
      addresses: networks.map((n) => `10.77.${n}.${i + 1}`),
    }));
    open.add(this);
    try {
      for (const namespace of [this.#lan, ...this.hosts.map((host) => host.namespace)]) {
        runNow('ip', ['netns', 'add', namespace]);
        runNow('ip', ['-n', namespace, 'link', 'set', 'lo', 'up']);
      }
      for (const n of networks) {
        runNow('ip', ['-n', this.#lan, 'link', 'add', `br${n}`, 'type', 'bridge']);
        runNow('ip', ['-n', this.#lan, 'address', 'add', `10.77.${n}.254/24`, 'dev', `br${n}`]);
        runNow('ip', ['-n', this.#lan, 'link', 'set', `br${n}`, 'up']);
        for (const host of this.hosts) this.#plugIn(host, n);
      }
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  host(name: string): NetworkHost {
    const found = this.hosts.find((host) => host.name === name);
    if (found === undefined) throw new Error(`no host ${name} in this network`);
    return found;
  }

  /** Pulls the host's cable out of one network. */
  cut(name: string, network = 0): void {
    runNow('ip', ['-n', this.#lan, 'link', 'set', this.#port(name, network), 'down']);
  }

  /** Plugs it in again. */
  mend(name: string, network = 0): void {
    runNow('ip', ['-n', this.#lan, 'link', 'set', this.#port(name, network), 'up']);
  }

  /** Moves this process into the LAN, until `leave`. */
  enter(): void {
    if (!isMainThread) throw new Error('a worker thread would move alone; call this on the main thread');
    if (this.#home !== null) return;
    const home = openSync('/proc/thread-self/ns/net', 'r');
    const lan = openSync(`${namespacesDir}/${this.#lan}`, 'r');
    try {
      setNetworkNamespace(lan);
    } finally {
      closeSync(lan);
    }
    this.#home = home;
  }

  leave(): void {
    if (this.#home === null) return;
    const home = this.#home;
    this.#home = null;
    setNetworkNamespace(home);
    closeSync(home);
  }

  /** Ends every process on the hosts and removes the namespaces. May be called twice. */
  dispose(): void {
    open.delete(this);
    this.leave();
    for (const namespace of [...this.hosts.map((host) => host.namespace), this.#lan]) removeNamespace(namespace);
  }

  #plugIn(host: NetworkHost, network: number): void {
    const port = this.#port(host.name, network);
    const card = `eth${network}`;
    runNow('ip', ['-n', this.#lan, 'link', 'add', port, 'type', 'veth', 'peer', 'name', card, 'netns', host.namespace]);
    runNow('ip', ['-n', this.#lan, 'link', 'set', port, 'master', `br${network}`, 'up']);
    runNow('ip', ['-n', host.namespace, 'address', 'add', `${host.addresses[network] ?? ''}/24`, 'dev', card]);
    runNow('ip', ['-n', host.namespace, 'link', 'set', card, 'up']);
  }

  #port(name: string, network: number): string {
    return `h${this.hosts.findIndex((host) => host.name === name)}n${network}`;
  }
}

/** Namespaces that this machine has, by name. */
export function namespaceNames(): string[] {
  try {
    return readdirSync(namespacesDir);
  } catch {
    return [];
  }
}

/** Removes what a test process left that was killed. */
export function removeStaleNamespaces(): void {
  for (const name of namespaceNames()) {
    if (isAbandoned(name)) removeNamespace(name);
  }
}

function removeNamespace(name: string): void {
  if (!namespaceNames().includes(name)) return;
  for (const line of runNow('ip', ['netns', 'pids', name]).split('\n')) {
    const pid = Number(line);
    if (pid > 0 && pid !== process.pid) killPid(pid);
  }
  runNow('ip', ['netns', 'delete', name]);
}

let setns: ((fd: number, kind: number) => number) | null = null;

function setNetworkNamespace(fd: number): void {
  setns ??= koffi.load(null).func('int setns(int fd, int nstype)') as unknown as (fd: number, kind: number) => number;
  if (setns(fd, CLONE_NEWNET) !== 0) throw new Error(`setns failed with errno ${koffi.errno()}`);
}
