import type { Guest } from './guest.ts';
import type { RunResult } from './processes.ts';

/**
 * The networks inside of a guest: two appliances `a` and `b`, each with one real card on a trunk of a managed switch, and
 * hosts on its access ports. Every host is a network namespace; its port is called `port`.
 */
export const guestCards = [
  { name: 'a', model: 'e1000e', mac: '52:54:00:77:00:0a', cable: 1 },
  { name: 'switch-a', model: 'e1000', mac: '52:54:00:77:01:0a', cable: 1 },
  { name: 'b', model: 'e1000e', mac: '52:54:00:77:00:0b', cable: 2 },
  { name: 'switch-b', model: 'e1000', mac: '52:54:00:77:01:0b', cable: 2 },
  // No trunk: the e1000 of qemu hears nothing for a second whenever its filters change, as they do for every question.
  { name: 'spare', model: 'e1000', mac: '52:54:00:77:00:1a', cable: 3 },
] as const;

/** Names of the appliances' ports. */
export const trunkPorts = { a: 'eno1', b: 'enp4s0f0' } as const;
/** A second port of `a`, which carries nothing. */
export const sparePort = 'eno2';

/** Hosts on access ports, with their VLAN; 1 is the untagged one of the trunks. */
const accessHosts = { gw10: 10, pc10: 10, gw20: 20, pc20: 20, pc1: 1 } as const;
export type AccessHost = keyof typeof accessHosts;
export type GuestHost = AccessHost | 'a' | 'b' | 'switch';

const ownAddresses: Record<AccessHost | 'a' | 'b', readonly string[]> = {
  a: ['10.1.0.1/24'],
  b: ['10.1.0.2/24'],
  pc1: ['10.1.0.9/24'],
  gw10: ['10.10.0.1/24', 'fd10::1/64'],
  pc10: ['10.10.0.9/24', 'fd10::9/64'],
  gw20: ['10.20.0.1/24', 'fd20::1/64'],
  pc20: ['10.20.0.9/24', 'fd20::9/64'],
};

/** What `ip -json -details address show` tells of a device, as far as it is looked at here. */
export interface GuestDevice {
  ifname: string;
  address: string;
  permaddr?: string;
  link?: string;
  flags: string[];
  mtu: number;
  promiscuity: number;
  allmulti: number;
  ifalias?: string;
  parentdev?: string;
  addr_info: { local: string; prefixlen: number; scope: string }[];
}

export class GuestLan {
  readonly #guest: Guest;

  private constructor(guest: Guest) {
    this.#guest = guest;
  }

  static async make(guest: Guest): Promise<GuestLan> {
    const lan = new GuestLan(guest);
    const cards = JSON.parse((await guest.run(['ip', '-json', 'link', 'show'])).stdout) as { ifname: string; address: string }[];
    const cardOf = (name: string) => {
      const { mac } = guestCards.find((card) => card.name === name) ?? {};
      const found = cards.find(({ address }) => address === mac);
      if (!found) throw new Error(`the guest does not see the card ${name}: ${JSON.stringify(cards)}`);
      return found.ifname;
    };
    const lines = [
      ...['switch', 'a', 'b', ...Object.keys(accessHosts)].flatMap((name) => [`ip netns add ${name}`, `ip -n ${name} link set dev lo up`]),
      'ip -n switch link add name bridge type bridge vlan_filtering 1',
      'ip -n switch link set dev bridge up',
      ...(['a', 'b'] as const).flatMap((name) => [
        `ip link set dev ${cardOf(name)} netns ${name} name ${trunkPorts[name]}`,
        `ip -n ${name} link set dev ${trunkPorts[name]} up`,
        `ip link set dev ${cardOf(`switch-${name}`)} netns switch name ${name}`,
        `ip -n switch link set dev ${name} master bridge up`,
      ]),
      `ip link set dev ${cardOf('spare')} netns a name ${sparePort}`,
      `ip -n a link set dev ${sparePort} up`,
      ...Object.entries(accessHosts).flatMap(([name, vlan]) => [
        `ip -n switch link add ${name} type veth peer name port netns ${name}`,
        `ip -n switch link set dev ${name} master bridge up`,
        `ip -n ${name} link set dev port up`,
        ...(vlan === 1
          ? []
          : [`bridge -n switch vlan del vid 1 dev ${name}`, `bridge -n switch vlan add vid ${vlan} dev ${name} pvid untagged`]),
      ]),
      ...Object.entries(ownAddresses).flatMap(([name, addresses]) =>
        addresses.map(
          (address) => `ip -n ${name} address add ${address} dev ${portOf(name as GuestHost)} ${address.includes(':') ? 'nodad' : ''}`,
        ),
      ),
    ];
    await guest.run(['sh', '-ec', lines.join('\n')]);
    return lan;
  }

  /** Lets a VLAN through on the trunk to an appliance, or not. */
  async trunk(to: 'a' | 'b', vlan: number, isLetThrough: boolean): Promise<void> {
    await this.#guest.run(['bridge', '-n', 'switch', 'vlan', isLetThrough ? 'add' : 'del', 'vid', String(vlan), 'dev', to]);
  }

  /** Runs a program on a host. */
  on(host: GuestHost, argv: readonly string[], options: { mayFail?: boolean; timeoutMs?: number } = {}): Promise<RunResult> {
    return this.#guest.run(['ip', 'netns', 'exec', host, ...argv], options);
  }

  async ip(host: GuestHost, ...args: string[]): Promise<string> {
    return (await this.#guest.run(['ip', '-n', host, ...args])).stdout;
  }

  async devices(host: GuestHost): Promise<GuestDevice[]> {
    return JSON.parse(await this.ip(host, '-json', '-details', 'address', 'show')) as GuestDevice[];
  }

  async device(host: GuestHost, ifname: string): Promise<GuestDevice | null> {
    return (await this.devices(host)).find((each) => each.ifname === ifname) ?? null;
  }

  async mac(host: GuestHost): Promise<string> {
    return (await this.device(host, portOf(host)))?.address ?? '';
  }

  /** Whether an address answers to a ping, from a source of the host's own where one is given. */
  async answers(host: GuestHost, address: string, source?: string): Promise<boolean> {
    const from = source === undefined ? [] : ['-I', source];
    return (await this.on(host, ['ping', '-n', '-c', '2', '-i', '0.3', '-W', '2', ...from, address], { mayFail: true })).code === 0;
  }

  /** The hardware address that a host believes an address to be at. */
  async neighbour(host: GuestHost, address: string): Promise<string | null> {
    const [found] = JSON.parse((await this.ip(host, '-json', 'neigh', 'show', address)) || '[]') as { lladdr?: string }[];
    return found?.lladdr ?? null;
  }

  /** VLANs in which the switch has heard a hardware address on the trunk to an appliance. */
  async heardIn(from: 'a' | 'b', mac: string): Promise<number[]> {
    const text = (await this.#guest.run(['bridge', '-n', 'switch', '-json', 'fdb', 'show', 'br', 'bridge', 'brport', from])).stdout;
    const entries = JSON.parse(text) as { mac: string; vlan?: number; state?: string }[];
    return entries
      .flatMap((each) => (each.mac === mac && each.state !== 'permanent' && each.vlan !== undefined ? [each.vlan] : []))
      .toSorted((x, y) => x - y);
  }
}

function portOf(host: GuestHost): string {
  return host === 'a' || host === 'b' ? trunkPorts[host] : 'port';
}
