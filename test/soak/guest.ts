import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { NicsReport } from '../../protocol/nics.ts';
import type { Status } from '../../protocol/control.ts';
import { GuestLan, guestCards, trunkPorts, type AccessHost } from '../lab/guest-lan.ts';
import { guestPackages, makeGuestDebian, makeGuestImage } from '../lab/guest-image.ts';
import { Guest } from '../lab/guest.ts';
import { keep } from '../lab/keep.ts';
import { isAbandoned, ownerMark } from '../lab/ownership.ts';
import { run as command, type RunResult } from '../lab/processes.ts';
import { waitFor } from '../lab/waiting.ts';
import { ensureDebianPackages } from '../setup/debian-packages.mjs';
import type { Soak } from './options.ts';

const top = fileURLToPath(new URL('../..', import.meta.url));
type Node = 'a' | 'b';
/** An emulated machine is some twenty times slower than this one, and others may use this one, too. */
const slowMs = 180_000;

const office = { vlan: 10, v4: '10.10.0.100', v6: 'fd10::100' };
const dmz = { vlan: 20, v4: '10.20.0.100', v6: 'fd20::100' };
const sections = `
network:
  roles:
    - { name: office, vlan: 10, addresses: [10.10.0.100/24, "fd10::100/64"], gateways: [10.10.0.1, "fd10::1"], default: true }
    - { name: dmz, vlan: 20, addresses: [10.20.0.100/24, "fd20::100/64"], gateways: [10.20.0.1, "fd20::1"], routes: [{ to: 198.51.100.0/24, via: 10.20.0.1 }] }
fencing: [{ type: cooperative, timeoutSeconds: 20 }, { type: manual }]
takeover: { startAloneSeconds: 5 }
`;

/**
 * What needs a real kernel and real ports: service addresses on the VLANs of one trunk, and the lights and cables of
 * network cards. A Debian under the emulation of qemu holds a managed switch, two appliances with the Debian package of
 * mailtwin, each on a card of its own, and clients.
 */
export const run: Soak = async () => {
  if (!(await ensureDebianPackages(guestPackages))) return false;
  const memory = '/dev/shm';
  for (const name of readdirSync(memory)) if (isAbandoned(name)) rmSync(join(memory, name), { recursive: true, force: true });
  const dir = mkdtempSync(join(memory, `${ownerMark()}-guest-`));
  let guest: Guest | null = null;
  try {
    guest = await boot(dir);
    await new Scenario(guest, await GuestLan.make(guest), dir).prove();
    console.log('VLANs, lights and cables work on a real kernel');
    return true;
  } catch (error) {
    console.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    if (guest) {
      const logs = await guest
        .run(['sh', '-c', 'tail -n 60 /var/log/mailtwin-*'], { mayFail: true })
        .catch((why: unknown) => ({ stdout: String(why) }));
      console.log(logs.stdout);
      keep('guest', {}, { console: guest.console, agents: logs.stdout });
    }
    return false;
  } finally {
    await guest?.end();
    rmSync(dir, { recursive: true, force: true });
  }
};

async function boot(dir: string): Promise<Guest> {
  console.log('making the package ...');
  const out = join(dir, 'packages');
  await command('npm', ['run', '--silent', 'package', '--', '--arch', 'amd64', '--quick', '--no-npm', '--out', out], {
    cwd: top,
    timeoutMs: 600_000,
  });
  const deb = readdirSync(out).find((name) => name.endsWith('.deb'));
  if (deb === undefined) throw new Error('npm run package made no .deb');
  // MAILTWIN_GUEST_DEBIAN=DIR keeps the Debian for the next run.
  const debian = process.env['MAILTWIN_GUEST_DEBIAN'] ?? join(dir, 'debian');
  if (!existsSync(debian)) {
    console.log('making a Debian to boot ...');
    await makeGuestDebian(debian);
  }
  const image = await makeGuestImage({ debian, deb: join(out, deb), dir });
  rmSync(out, { recursive: true });
  console.log('booting it ...');
  const start = performance.now();
  const guest = await Guest.boot({ image, dir, cards: guestCards, memoryMiB: 2048 });
  console.log(`${(await guest.run(['uname', '-r'])).stdout.trim()} booted in ${Math.round((performance.now() - start) / 1000)} s`);
  return guest;
}

function step(what: string, isTrue: boolean, seen: unknown = ''): void {
  console.log(`${new Date().toISOString().slice(11, 19)}  ${isTrue ? 'ok  ' : 'FAIL'}  ${what}`);
  if (!isTrue) throw new Error(`not so: ${what}: ${typeof seen === 'string' ? seen : JSON.stringify(seen, null, 1)}`);
}

class Scenario {
  readonly #guest: Guest;
  readonly #lan: GuestLan;
  readonly #dir: string;

  constructor(guest: Guest, lan: GuestLan, dir: string) {
    this.#guest = guest;
    this.#lan = lan;
    this.#dir = dir;
  }

  async prove(): Promise<void> {
    await this.#start();
    await this.#wrongVlan();
    await this.#takenBefore();
    await this.#reached('a');
    await this.#takenAfter();
    await this.#pair();
    await this.#unprovenAtTheOther();
    await this.#move();
    await this.#alone();
    await this.#ports();
    await this.#lights();
    await this.#cables();
  }

  async #start(): Promise<void> {
    for (const [node, role] of [
      ['a', 'primary'],
      ['b', 'standby'],
    ] as const) {
      await this.#guest.run(['mkdir', '-p', `/srv/${node}/mail`]);
      await this.#cli(node, [
        'init',
        '--role',
        role,
        '--node',
        `mail-${node}`,
        '--root',
        `mail=/srv/${node}/mail:plain`,
        '--state',
        `/var/lib/mailtwin-${node}`,
        '--listen',
        `10.1.0.${node === 'a' ? 1 : 2}:7420`,
        '--metrics',
        'off',
      ]);
      await this.#guest.run(['sh', '-ec', 'printf %s "$1" >> "$2"', 'sh', sections, configOf(node)]);
    }
    await this.#guest.run(['sh', '-ec', 'for i in $(seq 50); do echo $i > /srv/a/mail/file-$i; done']);
    await this.#run('a');
    step(
      'a role without an address on any VLAN has no port yet',
      (await this.#nics('a')).roles.every(({ proof }) => proof.code === 'nic-unmapped'),
    );
  }

  async #wrongVlan(): Promise<void> {
    const before = await this.#lan.devices('a');
    const refused = await this.#cli('a', ['nics', 'assign', 'office', trunkPorts.a], { mayFail: true });
    step(
      'a VLAN that the switch does not carry to this port is not proven',
      refused.code === 3 && refused.stderr.includes('segment-unproven'),
      refused,
    );
    step('and nothing is left of the question', names(await this.#lan.devices('a')) === names(before), await this.#lan.devices('a'));
  }

  /** Somebody in the VLAN has the address before it is taken. */
  async #takenBefore(): Promise<void> {
    for (const vlan of [10, 20]) await this.#lan.trunk('a', vlan, true);
    await this.#lan.ip('pc10', 'address', 'add', `${office.v4}/24`, 'dev', 'port');
    for (const role of ['office', 'dmz']) {
      const assigned = await this.#cli('a', ['nics', 'assign', role, trunkPorts.a]);
      step(`role ${role} is proven by its gateway in its VLAN: ${assigned.stdout.trim()}`, assigned.stdout.includes('proven'), assigned);
    }
    const intruder = await this.#lan.mac('pc10');
    await waitFor('the alarm', slowMs, async () => (await this.#nics('a')).alarms.some(({ text }) => text.includes(intruder)));
    step(
      'an address that somebody in its VLAN has is not taken, and nothing else is',
      (await this.#held('a')).length === 0,
      await this.#lan.devices('a'),
    );
    step('nor is a tagged interface left', names(await this.#lan.devices('a')) === `lo ${trunkPorts.a}`, await this.#lan.devices('a'));
    await this.#lan.ip('pc10', 'address', 'delete', `${office.v4}/24`, 'dev', 'port');
    await waitFor('mail-a to take what is free now', slowMs, async () => (await this.#held('a')).length === 4);
    step('free, it is taken: IPv4 and IPv6 of both roles on two VLANs of one port', true);
  }

  async #reached(node: Node): Promise<void> {
    const port = await this.#lan.mac(node);
    for (const [host, role, other] of [
      ['pc10', office, dmz],
      ['pc20', dmz, office],
    ] as const) {
      for (const address of [role.v4, role.v6])
        step(
          `${host} reaches ${address} in its VLAN, at the card of mail-${node}`,
          (await this.#lan.answers(host, address)) && (await this.#lan.neighbour(host, address)) === port,
        );
      const place = other === office ? '10.10.0.77' : '10.20.0.77';
      step(
        `${host} does not reach ${other.v4} of VLAN ${other.vlan}, also with an address of that network`,
        !(await this.#answersFrom(host, place, other.v4)),
      );
    }
    step(`nor does a host without a tag`, !(await this.#answersFrom('pc1', '10.10.0.77', office.v4)));
    step(
      'the switch hears the card in both VLANs and untagged',
      JSON.stringify(await this.#lan.heardIn(node, port)) === '[1,10,20]',
      await this.#lan.heardIn(node, port),
    );
    const routes = (await this.#lan.ip(node, '-4', 'route')) + (await this.#lan.ip(node, '-6', 'route'));
    const [out, in_] = await Promise.all([office, dmz].map(({ vlan }) => this.#deviceOf(node, vlan)));
    for (const wanted of [
      `default via 10.10.0.1 dev ${out} proto 77 src ${office.v4}`,
      `198.51.100.0/24 via 10.20.0.1 dev ${in_} proto 77 src ${dmz.v4}`,
      `default via fd10::1 dev ${out} proto 77 src ${office.v6}`,
    ])
      step(`its routes are there: ${wanted}`, routes.includes(wanted), routes);
  }

  async #answersFrom(host: AccessHost, source: string, address: string): Promise<boolean> {
    await this.#lan.ip(host, 'address', 'add', `${source}/24`, 'dev', 'port');
    try {
      return await this.#lan.answers(host, address, source);
    } finally {
      await this.#lan.ip(host, 'address', 'delete', `${source}/24`, 'dev', 'port');
    }
  }

  /** Somebody takes it afterwards: in another VLAN it is nobody's business. */
  async #takenAfter(): Promise<void> {
    const port = await this.#lan.mac('a');
    await this.#lan.ip('pc20', 'address', 'add', `${office.v4}/24`, 'dev', 'port');
    await this.#lan.ip('pc10', 'address', 'add', `${office.v6}/64`, 'dev', 'port', 'nodad');
    const intruder = await this.#lan.mac('pc10');
    const report = await waitFor('the alarm', slowMs, async () => {
      const now = await this.#nics('a');
      return now.alarms.length > 0 && now;
    });
    step(
      'who answers for a held address in its VLAN raises the alarm',
      report.alarms.some(({ code, address, text }) => code === 'address-conflict' && address === office.v6 && text.includes(intruder)),
      report.alarms,
    );
    step('and who has one in another VLAN does not', report.alarms.length === 1, report.alarms);
    await this.#lan.ip('pc10', 'address', 'delete', `${office.v6}/64`, 'dev', 'port');
    await this.#lan.ip('pc20', 'address', 'delete', `${office.v4}/24`, 'dev', 'port');
    await waitFor('the end of the alarm', slowMs, async () => (await this.#nics('a')).alarms.length === 0);
    step(
      'it ends with the conflict, and the gateway knows the card of mail-a',
      (await this.#lan.answers('gw10', office.v6)) && (await this.#lan.neighbour('gw10', office.v6)) === port,
    );
  }

  async #pair(): Promise<void> {
    const { code } = JSON.parse((await this.#cli('a', ['pair', '--json'])).stdout.split('\n')[0] ?? '') as { code: string };
    await this.#cli('b', ['pair', '10.1.0.1:7420', code, '--yes']);
    await this.#run('b');
    for (const vlan of [10, 20]) await this.#lan.trunk('b', vlan, true);
    // The administrator has made one of the tagged interfaces, under a name of his own, with an address that does not move.
    await this.#lan.ip('b', 'link', 'add', 'link', trunkPorts.b, 'name', 'perimeter', 'type', 'vlan', 'id', '20');
    await this.#lan.ip('b', 'link', 'set', 'perimeter', 'up');
    await this.#lan.ip('b', 'address', 'add', '10.20.0.2/24', 'dev', 'perimeter');
    await this.#cli('b', ['nics', 'assign', 'office', trunkPorts.b]);
    const report = await this.#nics('b');
    step(
      'with an address of its own in the VLAN a role finds its port by itself',
      report.roles.find(({ name }) => name === 'dmz')?.proof.mappedBy === 'address',
      report.roles,
    );
    await this.#settled('a', 'b');
    step('paired and filled over the untagged part of the same cables', true);
  }

  async #unprovenAtTheOther(): Promise<void> {
    await this.#lan.trunk('b', 10, false);
    const before = networkText(await this.#lan.devices('b'));
    const refused = await this.#cli('b', ['switchover', '--confirm', 'mail-a'], { mayFail: true, timeoutMs: 300_000 });
    step(
      'a switchover to a node whose port does not carry the VLAN is refused before anything changes',
      refused.code === 3 && /office/.test(refused.stdout + refused.stderr),
      refused,
    );
    step(
      'that node has no address and no interface of it',
      networkText(await this.#lan.devices('b')) === before,
      await this.#lan.devices('b'),
    );
    step('mail-a serves on', await this.#lan.answers('pc10', office.v4));
    await this.#lan.trunk('b', 10, true);
  }

  async #move(): Promise<void> {
    for (const [from, to] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const) {
      await this.#settled(from, to);
      const card = { from: await this.#ownFacts(from), to: await this.#ownFacts(to) };
      for (const [host, { v4, v6 }] of [
        ['pc10', office],
        ['pc20', dmz],
      ] as const)
        for (const address of [v4, v6]) await this.#lan.answers(host, address);
      const done = await this.#cli(to, ['switchover', '--confirm', `mail-${from}`], { mayFail: true, timeoutMs: 600_000 });
      step(`switchover to mail-${to}`, done.code === 0, done);
      const mac = await this.#lan.mac(to);
      for (const [host, { v4, v6 }] of [
        ['pc10', office],
        ['pc20', dmz],
      ] as const)
        for (const address of [v4, v6])
          step(
            `${host} knows ${address} at the card of mail-${to} without having asked`,
            (await this.#lan.neighbour(host, address)) === mac,
            await this.#lan.ip(host, 'neigh'),
          );
      await this.#reached(to);
      const left = await this.#lan.devices(from);
      step(`mail-${from} has no service address left`, (await this.#held(from)).length === 0, left);
      const kept = from === 'b' ? ` perimeter` : '';
      step(`nor a tagged interface, but for those that its administrator made`, names(left) === `lo ${trunkPorts[from]}${kept}`, left);
      const routes = (await this.#lan.ip(from, '-4', 'route')) + (await this.#lan.ip(from, '-6', 'route'));
      step('nor a route', !/proto 77|default|198\.51/.test(routes), routes);
      step(
        'MTU, flags and addresses of their own are as before on both cards',
        JSON.stringify({ from: await this.#ownFacts(from), to: await this.#ownFacts(to) }) === JSON.stringify(card),
        { card, from: await this.#ownFacts(from), to: await this.#ownFacts(to) },
      );
    }
  }

  /** Its peer is off: a node that has addresses on VLANs alone starts and serves. */
  async #alone(): Promise<void> {}

  async #ports(): Promise<void> {
    for (const [node, driver, slot] of [
      ['a', 'e1000', '0000:00:02.0'],
      ['b', 'e1000e', '0000:00:04.0'],
    ] as const) {
      const { mac } = guestCards.find(({ name }) => name === node)!;
      const text = (await this.#cli(node, ['nics'], { mayFail: true })).stdout;
      console.log(text.split('\n').slice(2, 4).join('\n'));
      step(
        `mailtwin nics shows the card of mail-${node}: link, speed, permanent address, driver, slot`,
        [mac, ` ${driver} `, slot, '1 Gb/s', ' up '].every((fact) => text.includes(fact)),
        text,
      );
    }
  }

  async #lights(): Promise<void> {
    for (const node of ['a', 'b'] as const) {
      const port = trunkPorts[node];
      const ethtool = await this.#lan.on(node, ['ethtool', '-p', port, '1'], { mayFail: true });
      step(`the kernel lets the light of ${port} blink`, ethtool.code === 0, ethtool);
      const before = this.#traces();
      if (node === 'b') await this.#guest.trace('e1000e_core_write', true);
      const blinked = await this.#cli(node, ['nics', 'identify', port, '--blink', '--seconds', '3'], { mayFail: true });
      if (node === 'b') await this.#guest.trace('e1000e_core_write', false);
      step(
        `mailtwin nics identify blinks it and says so`,
        blinked.code === 0 && blinked.stdout.includes(`the light of ${port} has blinked`),
        blinked,
      );
      if (node === 'b') {
        const writes = this.#traces().slice(before.length);
        step(`the card is told so: ${writes.length} writes to the register of its lights`, writes.length > 0);
      }
    }
  }

  /** Writes to LEDCTL that the emulated card has seen. */
  #traces(): string[] {
    return readFileSync(join(this.#dir, 'trace.log'), 'utf8')
      .split('\n')
      .filter((line) => /0x0*e00\b/i.test(line));
  }

  async #cables(): Promise<void> {
    for (const node of ['a', 'b'] as const) {
      const port = trunkPorts[node];
      const out = `/tmp/identify-${node}`;
      const watching = this.#guest.run(
        [
          'sh',
          '-c',
          `ip netns exec ${node} mailtwin nics identify --seconds 120 --config ${configOf(node)} > ${out} 2>&1; echo ended >> ${out}`,
        ],
        { timeoutMs: slowMs },
      );
      const printed = async () => (await this.#guest.run(['cat', out], { mayFail: true })).stdout;
      await waitFor('the watching', slowMs, async () => (await printed()).includes('Pull or plug'));
      await new Promise((resolve) => setTimeout(resolve, 3000));
      for (const [isPlugged, word] of [
        [false, 'pulled'],
        [true, 'plugged'],
      ] as const) {
        await this.#guest.setLink(node, isPlugged);
        await waitFor(`the cable to be ${word}`, slowMs, async () => new RegExp(`${word} +${port} `).test(await printed()));
        step(`a cable is ${word}: ${(await printed()).trim().split('\n').at(-1)}`, true);
      }
      await watching;
      step(
        `the watching ends by itself: ${(await printed()).trim().split('\n').slice(-2).join(' ')}`,
        (await printed()).includes('2 cables were pulled or plugged'),
        await printed(),
      );
    }
  }

  async #ownFacts(node: Node) {
    const device = await this.#lan.device(node, trunkPorts[node]);
    const addresses = device?.addr_info.map(({ local }) => local);
    return device && { mtu: device.mtu, promiscuity: device.promiscuity, allmulti: device.allmulti, flags: device.flags, addresses };
  }

  async #deviceOf(node: Node, vlan: number): Promise<string> {
    const text = await this.#lan.ip(node, '-json', '-details', 'link', 'show', 'type', 'vlan');
    const found = JSON.parse(text) as { ifname: string; linkinfo: { info_data: { id: number } } }[];
    return found.find(({ linkinfo }) => linkinfo.info_data.id === vlan)?.ifname ?? '';
  }

  async #held(node: Node): Promise<string[]> {
    const all = (await this.#lan.devices(node)).flatMap(({ addr_info }) => addr_info.map(({ local }) => local));
    return all.filter((address) => [office, dmz].some(({ v4, v6 }) => address === v4 || address === v6));
  }

  /** The command's exit code is 1 when something is not well; what it prints is what is looked at. */
  async #nics(node: Node): Promise<NicsReport> {
    return JSON.parse((await this.#cli(node, ['nics', '--json'], { mayFail: true })).stdout) as NicsReport;
  }

  async #status(node: Node): Promise<Status> {
    return JSON.parse((await this.#cli(node, ['status', '--json'], { mayFail: true })).stdout) as Status;
  }

  async #settled(active: Node, standby: Node): Promise<void> {
    await waitFor(`mail-${active} to serve with its standby`, slowMs, async () => {
      const [one, two] = await Promise.all([this.#status(active), this.#status(standby)]);
      return one.active && one.peer.connected && two.role === 'standby' && two.replication.phase === 'streaming';
    });
  }

  /** Starts an agent in the background and waits until it answers. */
  async #run(node: Node): Promise<void> {
    const line = `exec ip netns exec ${node} mailtwin run --config ${configOf(node)} >> /var/log/mailtwin-${node} 2>&1`;
    await this.#guest.run(['sh', '-c', `setsid sh -c '${line}' < /dev/null > /dev/null 2>&1 &`]);
    await waitFor(`the agent of mail-${node}`, slowMs, () => this.#status(node));
  }

  #cli(node: Node, args: readonly string[], options: { mayFail?: boolean; timeoutMs?: number } = {}): Promise<RunResult> {
    return this.#lan.on(node, ['mailtwin', ...args, '--config', configOf(node)], { timeoutMs: slowMs, ...options });
  }
}

function configOf(node: Node): string {
  return `/etc/mailtwin/mail-${node}.yaml`;
}

function names(devices: readonly { ifname: string }[]): string {
  return devices.map(({ ifname }) => ifname).join(' ');
}

function networkText(devices: readonly { ifname: string; addr_info: { local: string }[] }[]): string {
  return devices.map(({ ifname, addr_info }) => `${ifname} ${addr_info.map(({ local }) => local).join(' ')}`).join('\n');
}
