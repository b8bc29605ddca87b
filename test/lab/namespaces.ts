import { closeSync, openSync, readdirSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import koffi from 'koffi';
import { isAbandoned, ownerMark } from './ownership.ts';
import { killPid, runNow } from './processes.ts';

/** One host of a network: a network namespace with an address on every network. */
export interface NetworkHost {
  name: string;
  namespace: string;
  /** IPv4 address on each network; the first is the usual one. Empty where the host has none there. */
  addresses: string[];
}

/** A host whose ports are not the usual `eth0`, `eth1` ..., one for each network in their order. */
export interface HostPlan {
  name: string;
  ports: PortPlan[];
}

export interface PortPlan {
  name: string;
  /** Number of the network that its cable goes to; null = no cable. */
  network: number | null;
  /** False leaves it without addresses. Default true: 10.77.N.x/24, and fd77:N::x/64 in a network with IPv6. */
  addresses?: boolean;
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
  readonly #plans: readonly HostPlan[];
  readonly #ipv6: boolean;
  readonly #prefix: string;
  readonly #lan: string;
  #home: number | null = null;

  /**
   * @param options.ipv6 gives the usual addresses in IPv6, too.
   * @throws when not root, or when the machine has no network namespaces; then nothing is left behind.
   */
  constructor(options: { hosts: readonly (string | HostPlan)[]; networks?: number; ipv6?: boolean }) {
    removeStaleNamespaces();
    const networks = Array.from({ length: options.networks ?? 1 }, (_, n) => n);
    const usual = networks.map((network): PortPlan => ({ name: `eth${network}`, network }));
    this.#plans = options.hosts.map((host) => (typeof host === 'string' ? { name: host, ports: usual } : host));
    this.#ipv6 = options.ipv6 ?? false;
    this.#prefix = `${ownerMark()}${++count}-`;
    this.#lan = `${this.#prefix}lan`;
    this.hosts = this.#plans.map(({ name, ports }, i) => ({
      name,
      namespace: `${this.#prefix}${name}`,
      addresses: networks.map((n) => (ports.some((port) => port.network === n && port.addresses !== false) ? `10.77.${n}.${i + 1}` : '')),
    }));
    open.add(this);
    try {
      for (const namespace of [this.#lan, ...this.hosts.map((host) => host.namespace)]) {
        runNow('ip', ['netns', 'add', namespace]);
        runNow('ip', ['-n', namespace, 'link', 'set', 'lo', 'up']);
      }
      // A gateway answers where it is alone: Linux would answer for the address of any port on every port.
      runNow('ip', ['netns', 'exec', this.#lan, 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore']);
      for (const n of networks) {
        // A hardware address of its own: a bridge without one takes the lowest of its ports, and another when cables move.
        runNow('ip', ['-n', this.#lan, 'link', 'add', `br${n}`, 'address', `02:77:00:00:00:0${n}`, 'type', 'bridge']);
        runNow('ip', ['-n', this.#lan, 'address', 'add', `10.77.${n}.254/24`, 'dev', `br${n}`]);
        runNow('ip', ['-n', this.#lan, 'link', 'set', `br${n}`, 'up']);
      }
      this.hosts.forEach((host, i) => this.#plans[i]?.ports.forEach((_, port) => this.#addPort(host, i, port)));
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
    runNow('ip', ['-n', this.#lan, 'link', 'set', this.#cable(name, { network }), 'down']);
  }

  /** Plugs it in again. */
  mend(name: string, network = 0): void {
    runNow('ip', ['-n', this.#lan, 'link', 'set', this.#cable(name, { network }), 'up']);
  }

  /** Half a cable: the host's frames reach the network, and nothing of the network reaches the host any more; or all is well again. */
  deafen(name: string, network: number, deaf: boolean): void {
    const state = deaf ? 'off' : 'on';
    const flags = ['flood', 'mcast_flood', 'bcast_flood', 'learning'].flatMap((flag) => [flag, state]);
    const cable = this.#cable(name, { network });
    runNow('ip', ['-n', this.#lan, 'link', 'set', 'dev', cable, 'type', 'bridge_slave', ...flags, 'fdb_flush']);
  }

  /** Plugs the cable of a host's port into another network, or pulls it out (null). */
  plug(name: string, port: string, network: number | null): void {
    const cable = this.#cable(name, { port });
    runNow('ip', ['-n', this.#lan, 'link', 'set', cable, ...(network === null ? ['nomaster', 'down'] : ['master', `br${network}`, 'up'])]);
  }

  /** Runs `work`, which must not wait for anything, as a part of a host: what it opens belongs to that host's network. */
  within<T>(name: string, work: () => T): T {
    const before = openSync('/proc/thread-self/ns/net', 'r');
    const host = openSync(`${namespacesDir}/${this.host(name).namespace}`, 'r');
    try {
      setNetworkNamespace(host);
      return work();
    } finally {
      setNetworkNamespace(before);
      closeSync(host);
      closeSync(before);
    }
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

  #addPort(host: NetworkHost, hostNumber: number, portNumber: number): void {
    const plan = this.#plans[hostNumber]?.ports[portNumber];
    if (plan === undefined) throw new Error(`host ${host.name} has no port number ${portNumber}`);
    const cable = cableName(hostNumber, portNumber);
    runNow('ip', ['-n', this.#lan, 'link', 'add', cable, 'type', 'veth', 'peer', 'name', plan.name, 'netns', host.namespace]);
    if (plan.network !== null) {
      runNow('ip', ['-n', this.#lan, 'link', 'set', cable, 'master', `br${plan.network}`, 'up']);
      if (plan.addresses !== false) {
        runNow('ip', ['-n', host.namespace, 'address', 'add', `10.77.${plan.network}.${hostNumber + 1}/24`, 'dev', plan.name]);
        const address6 = `fd77:${plan.network}::${(hostNumber + 1).toString(16)}/64`;
        // Nobody else has it: without the kernel's own question it can be used at once.
        if (this.#ipv6) runNow('ip', ['-n', host.namespace, 'address', 'add', address6, 'dev', plan.name, 'nodad']);
      }
    }
    runNow('ip', ['-n', host.namespace, 'link', 'set', plan.name, 'up']);
  }

  /** The other end of a host's cable, in the LAN. */
  #cable(name: string, wanted: { network: number } | { port: string }): string {
    const hostNumber = this.#plans.findIndex((host) => host.name === name);
    const portNumber = this.#plans[hostNumber]?.ports.findIndex((port) =>
      'port' in wanted ? port.name === wanted.port : port.network === wanted.network,
    );
    if (portNumber === undefined || portNumber < 0) throw new Error(`host ${name} has no such port: ${JSON.stringify(wanted)}`);
    return cableName(hostNumber, portNumber);
  }
}

function cableName(host: number, port: number): string {
  return `h${host}p${port}`;
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
