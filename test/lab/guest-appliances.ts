import { setTimeout as pause } from 'node:timers/promises';
import type { Status } from '../../protocol/control.ts';
import type { NicsReport } from '../../protocol/nics.ts';
import { trunkPorts, type GuestLan } from './guest-lan.ts';
import type { Guest } from './guest.ts';
import type { RunResult } from './processes.ts';
import { waitFor } from './waiting.ts';

/** An emulated machine is some twenty times slower than this one, and others may use this one, too. */
export const slowMs = 300_000;

/** What moves in each role. */
export const office = { vlan: 10, v4: '10.10.0.100', v6: 'fd10::100' };
export const dmz = { vlan: 20, v4: '10.20.0.100', v6: 'fd20::100' };
const sections = `
network:
  roles:
    - { name: office, vlan: 10, addresses: [10.10.0.100/24, "fd10::100/64"], gateways: [10.10.0.1, "fd10::1"], default: true }
    - { name: dmz, vlan: 20, addresses: [10.20.0.100/24, "fd20::100/64"], gateways: [10.20.0.1, "fd20::1"], routes: [{ to: 198.51.100.0/24, via: 10.20.0.1 }] }
fencing: [{ type: cooperative, timeoutSeconds: 20 }, { type: manual }]
takeover: { startAloneSeconds: 5 }
`;

/** Waits for something in a guest. Every look costs the slow machine something: one a second. */
export function patiently<T>(
  what: string,
  condition: () => T | false | null | undefined | Promise<T | false | null | undefined>,
): Promise<T> {
  return waitFor(what, slowMs, async () => {
    await pause(1000);
    return condition();
  });
}

export type GuestNode = 'a' | 'b';

/** The two appliances of a guest, each with the agent of the Debian package and its commands. */
export class GuestAppliances {
  readonly guest: Guest;
  readonly lan: GuestLan;

  constructor(guest: Guest, lan: GuestLan) {
    this.guest = guest;
    this.lan = lan;
  }

  /** Writes both configurations and starts the primary, which has something to send and no peer yet. */
  async start(): Promise<void> {
    await Promise.all([this.#init('a', 'primary'), this.#init('b', 'standby')]);
    await this.guest.run(['sh', '-ec', 'for i in $(seq 50); do echo $i > /srv/a/mail/file-$i; done']);
    await this.run('a');
  }

  async #init(node: GuestNode, role: 'primary' | 'standby'): Promise<void> {
    const root = `/srv/${node}/mail`;
    await this.guest.run(['mkdir', '-p', root]);
    const names = ['--role', role, '--node', `mail-${node}`, '--root', `mail=${root}:plain`];
    const places = ['--state', stateOf(node), '--listen', `10.1.0.${node === 'a' ? 1 : 2}:7420`, '--metrics', 'off'];
    await this.cli(node, ['init', ...names, ...places]);
    await this.guest.run(['sh', '-ec', 'printf %s "$1" >> "$2"', 'sh', sections, configOf(node)]);
  }

  /** Ends its agent at once. */
  async kill(node: GuestNode): Promise<void> {
    await this.guest.run(['pkill', '-KILL', '-f', `main.js run --config ${configOf(node)}`]);
    await patiently(`the end of the agent of mail-${node}`, () =>
      this.status(node).then(
        () => false,
        () => true,
      ),
    );
  }

  async routes(node: GuestNode): Promise<string> {
    return (await this.lan.ip(node, '-4', 'route')) + (await this.lan.ip(node, '-6', 'route'));
  }

  /** What nobody but the administrator changes of a node's card. */
  async ownFacts(node: GuestNode) {
    const device = await this.lan.device(node, trunkPorts[node]);
    const addresses = device?.addr_info.map(({ local }) => local);
    return device && { mtu: device.mtu, promiscuity: device.promiscuity, allmulti: device.allmulti, flags: device.flags, addresses };
  }

  async deviceOf(node: GuestNode, vlan: number): Promise<string> {
    const text = await this.lan.ip(node, '-json', '-details', 'link', 'show', 'type', 'vlan');
    const found = JSON.parse(text) as { ifname: string; linkinfo: { info_data: { id: number } } }[];
    return found.find(({ linkinfo }) => linkinfo.info_data.id === vlan)?.ifname ?? '';
  }

  async held(node: GuestNode): Promise<string[]> {
    const all = (await this.lan.devices(node)).flatMap(({ addr_info }) => addr_info.map(({ local }) => local));
    return all.filter((address) => [office, dmz].some(({ v4, v6 }) => address === v4 || address === v6));
  }

  nics(node: GuestNode): Promise<NicsReport> {
    return this.guest.ask(stateOf(node), 'GET /nics');
  }

  status(node: GuestNode): Promise<Status> {
    return this.guest.ask(stateOf(node), 'GET /status');
  }

  async settled(active: GuestNode, standby: GuestNode): Promise<void> {
    await patiently(`mail-${active} to serve with its standby`, async () => {
      const [one, two] = await Promise.all([this.status(active), this.status(standby)]);
      return one.active && one.peer.connected && two.role === 'standby' && two.replication.phase === 'streaming';
    });
  }

  /** Starts an agent in the background and waits until it answers. */
  async run(node: GuestNode): Promise<void> {
    const line = `exec ip netns exec ${node} mailtwin run --config ${configOf(node)} >> /var/log/mailtwin-${node} 2>&1`;
    await this.guest.run(['sh', '-c', `setsid sh -c '${line}' < /dev/null > /dev/null 2>&1 &`]);
    await patiently(`the agent of mail-${node}`, () => this.status(node));
  }

  cli(node: GuestNode, args: readonly string[], options: { mayFail?: boolean; timeoutMs?: number } = {}): Promise<RunResult> {
    return this.lan.on(node, ['mailtwin', ...args, '--config', configOf(node)], { timeoutMs: slowMs, ...options });
  }
}
export function configOf(node: GuestNode): string {
  return `/etc/mailtwin/mail-${node}.yaml`;
}

function stateOf(node: GuestNode): string {
  return `/var/lib/mailtwin-${node}`;
}
