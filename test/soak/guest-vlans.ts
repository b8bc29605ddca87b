import { dmz, office, patiently, type GuestAppliances, type GuestNode } from '../lab/guest-appliances.ts';
import { sparePort, trunkPorts, type AccessHost, type GuestLan } from '../lab/guest-lan.ts';
import { step } from '../lab/step.ts';

/** Service addresses on the VLANs of one trunk, and what becomes of them. */
export class VlanScenario {
  readonly #pair: GuestAppliances;
  readonly #lan: GuestLan;

  constructor(pair: GuestAppliances) {
    this.#pair = pair;
    this.#lan = pair.lan;
  }

  async prove(): Promise<void> {
    await this.#unmapped();
    await this.#wrongVlan();
    await this.#takenBefore();
    await this.#reached('a');
    await this.#takenAfter();
    await this.#join();
    await this.#unprovenAtTheOther();
    await this.#killed();
    await this.#move('a', 'b');
    await this.#move('b', 'a');
  }

  async #unmapped(): Promise<void> {
    step(
      'a role without an address on any VLAN has no port yet',
      (await this.#pair.nics('a')).roles.every(({ proof }) => proof.code === 'nic-unmapped'),
    );
  }

  async #wrongVlan(): Promise<void> {
    const before = await this.#lan.devices('a');
    const refused = await this.#pair.cli('a', ['nics', 'assign', 'office', trunkPorts.a], { mayFail: true });
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
      const assigned = await this.#pair.cli('a', ['nics', 'assign', role, trunkPorts.a]);
      step(`role ${role} is proven by its gateway in its VLAN: ${assigned.stdout.trim()}`, assigned.stdout.includes('proven'), assigned);
    }
    const intruder = await this.#lan.mac('pc10');
    const why = await patiently('mail-a to say why it waits', async () => {
      const { warnings } = await this.#pair.status('a');
      return warnings.find(({ text }) => text.includes(intruder));
    });
    step(
      `an address that somebody in its VLAN has is not taken, and nothing else is: ${why.text}`,
      (await this.#pair.held('a')).length === 0,
      await this.#lan.devices('a'),
    );
    // It asks again every few seconds, and has the interfaces for as long as that takes.
    await patiently('the tagged interfaces to go', async () => names(await this.#lan.devices('a')) === `${trunkPorts.a} ${sparePort} lo`);
    step('nor does a tagged interface outlive the question', true);
    await this.#lan.ip('pc10', 'address', 'delete', `${office.v4}/24`, 'dev', 'port');
    await patiently('mail-a to take what is free now', async () => (await this.#pair.held('a')).length === 4);
    step('free, it is taken: IPv4 and IPv6 of both roles on two VLANs of one port', true);
  }

  async #reached(node: GuestNode): Promise<void> {
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
    const routes = await this.#pair.routes(node);
    const [out, in_] = await Promise.all([office, dmz].map(({ vlan }) => this.#pair.deviceOf(node, vlan)));
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
    const report = await patiently('the alarm', async () => {
      const now = await this.#pair.nics('a');
      return now.alarms.some(({ address }) => address === office.v6) && now;
    });
    step(
      'who answers for a held address in its VLAN raises the alarm',
      report.alarms.some(({ code, address, text }) => code === 'address-conflict' && address === office.v6 && text.includes(intruder)),
      report.alarms,
    );
    step('and who has one in another VLAN does not', report.alarms.length === 1, report.alarms);
    await this.#lan.ip('pc10', 'address', 'delete', `${office.v6}/64`, 'dev', 'port');
    await this.#lan.ip('pc20', 'address', 'delete', `${office.v4}/24`, 'dev', 'port');
    await patiently('the end of the alarm', async () => (await this.#pair.nics('a')).alarms.length === 0);
    step(
      'it ends with the conflict, and the gateway knows the card of mail-a',
      (await this.#lan.answers('gw10', office.v6)) && (await this.#lan.neighbour('gw10', office.v6)) === port,
    );
  }

  async #join(): Promise<void> {
    const { code } = JSON.parse((await this.#pair.cli('a', ['pair', '--json'])).stdout.split('\n')[0] ?? '') as { code: string };
    await this.#pair.cli('b', ['pair', '10.1.0.1:7420', code, '--yes']);
    await this.#pair.run('b');
    for (const vlan of [10, 20]) await this.#lan.trunk('b', vlan, true);
    // The administrator has made one of the tagged interfaces, under a name of his own, with an address that does not move.
    await this.#lan.ip('b', 'link', 'add', 'link', trunkPorts.b, 'name', 'perimeter', 'type', 'vlan', 'id', '20');
    await this.#lan.ip('b', 'link', 'set', 'perimeter', 'up');
    await this.#lan.ip('b', 'address', 'add', '10.20.0.2/24', 'dev', 'perimeter');
    await this.#pair.cli('b', ['nics', 'assign', 'office', trunkPorts.b]);
    const report = await this.#pair.nics('b');
    step(
      'with an address of its own in the VLAN a role finds its port by itself',
      report.roles.find(({ name }) => name === 'dmz')?.proof.mappedBy === 'address',
      report.roles,
    );
    await this.#pair.settled('a', 'b');
    step('paired and filled over the untagged part of the same cables', true);
  }

  async #unprovenAtTheOther(): Promise<void> {
    await this.#lan.trunk('b', 10, false);
    const before = networkText(await this.#lan.devices('b'));
    const refused = await this.#pair.cli('b', ['switchover', '--confirm', 'mail-a'], { mayFail: true, timeoutMs: 300_000 });
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

  /** What a killed agent left standing is found by the next one: here it goes on with it, and the next move takes it away. */
  async #killed(): Promise<void> {
    await this.#pair.kill('a');
    await this.#pair.run('a');
    await this.#pair.settled('a', 'b');
    step('an agent that was killed and started again goes on with the same addresses', (await this.#pair.held('a')).length === 4);
  }

  async #move(from: GuestNode, to: GuestNode): Promise<void> {
    const moving = [
      ['pc10', office.v4],
      ['pc10', office.v6],
      ['pc20', dmz.v4],
      ['pc20', dmz.v6],
    ] as const;
    await this.#pair.settled(from, to);
    const cards = async () => JSON.stringify({ from: await this.#pair.ownFacts(from), to: await this.#pair.ownFacts(to) });
    const before = await cards();
    for (const [host, address] of moving) await this.#lan.answers(host, address);
    const done = await this.#pair.cli(to, ['switchover', '--confirm', `mail-${from}`], { mayFail: true, timeoutMs: 600_000 });
    step(`switchover to mail-${to}`, done.code === 0, done);
    const mac = await this.#lan.mac(to);
    for (const [host, address] of moving)
      step(
        `${host} knows ${address} at the card of mail-${to} without having asked`,
        (await this.#lan.neighbour(host, address)) === mac,
        await this.#lan.ip(host, 'neigh'),
      );
    await this.#reached(to);
    const left = await this.#lan.devices(from);
    step(`mail-${from} has no service address left`, (await this.#pair.held(from)).length === 0, left);
    const own = from === 'b' ? 'perimeter' : sparePort;
    step(
      'nor a tagged interface, but for those that its administrator made',
      names(left) === [trunkPorts[from], own, 'lo'].toSorted().join(' '),
      left,
    );
    const routes = await this.#pair.routes(from);
    step('nor a route', !/proto 77|default|198\.51/.test(routes), routes);
    const after = await cards();
    step('MTU, promiscuity, flags and own addresses of both cards are as before', after === before, `${before}\n${after}`);
  }
}

function names(devices: readonly { ifname: string }[]): string {
  return devices
    .map(({ ifname }) => ifname)
    .toSorted()
    .join(' ');
}

function networkText(devices: readonly { ifname: string; addr_info: { local: string }[] }[]): string {
  return devices.map(({ ifname, addr_info }) => `${ifname} ${addr_info.map(({ local }) => local).join(' ')}`).join('\n');
}
