import type { DoctorFinding } from '../../../protocol/control.ts';
import { parseIp, sameIp, whyNoHost, type IpAddress } from '../../platform/ip-address.ts';
import { managersOf } from '../../platform/network-managers.ts';
import { fail, isGated, pass, serves, warn, type Check, type Facts } from './finding.ts';
import { configuredAtBoot } from './host-network.ts';
import type { NetworkRoleReading } from './probe.ts';

const programs = [
  { name: 'ip', package: 'iproute2', needed: true },
  { name: 'ping', package: 'iputils-ping', needed: false },
];

/** The addresses that move, the ports that they go to, and the ways between the nodes. */
export const networkChecks: Check[] = [
  {
    id: 'own-address',
    run(facts) {
      const { config, probe } = facts;
      const moving = serviceAddresses(facts);
      if (moving.length === 0) return [];
      const own = probe.addresses().filter(({ address }) => isReachable(address) && !isAmong(address, moving));
      const has = own.map(({ device, address }) => `${address} on ${device}`).join(', ');
      const troubles: DoctorFinding[] = [];
      if (own.length === 0)
        troubles.push(
          fail(
            'own-address',
            'this node has no address of its own beside those that move: after a takeover nobody reaches it',
            moving.map(({ text }) => text).join(', '),
            'give it a second address in the host’s network configuration, and name that in `listen:`',
          ),
        );
      if (isAmong(config.listen.host, moving))
        troubles.push(
          fail(
            'own-address',
            `\`listen\` is a service address, which moves: ${config.listen.host}`,
            has === '' ? 'this node has no other address' : `this node has ${has}`,
            `set \`listen: ${own[0] ? listenText(own[0].address, config.listen.port) : `OWN-ADDRESS:${config.listen.port}`}\` and start the agent again`,
          ),
        );
      const wrong = config.peer.addresses.filter(({ host }) => isAmong(host, moving));
      if (wrong.length > 0)
        troubles.push(
          fail(
            'own-address',
            'an address of the peer is a service address, which moves: it may lead to this node itself',
            wrong.map(({ host, port }) => `${host}:${port}`).join(', '),
            'name the address that the other node has for itself in `peer.addresses`',
          ),
        );
      return troubles.length > 0 ? troubles : [pass('own-address', `beside the service addresses this node has ${has}`)];
    },
  },
  {
    id: 'second-path',
    run(facts) {
      const { addresses } = facts.config.peer;
      if (!isGated(facts) || addresses.length === 0) return [];
      const known = addresses.map(({ host, port }) => `${host}:${port}`).join(', ');
      if (new Set(addresses.map(({ host }) => host)).size > 1) return [pass('second-path', `the peer is known at ${known}`)];
      return [
        warn(
          'second-path',
          'only one way leads to the other node: a cable that is pulled looks like a node that is dead',
          known,
          'connect both nodes a second time (a cable between them is enough), and name both addresses in `peer.addresses` on both',
        ),
      ];
    },
  },
  {
    id: 'witnesses',
    run({ config }) {
      if (!config.network) return [];
      const { roles, witnesses } = config.network;
      const far = [...witnesses, ...roles.flatMap(({ gateways }) => gateways)].filter((each) => whyNoHost(each) !== 'a link-local address');
      if (far.length > 0) return [pass('witnesses', `${far.map(({ text }) => text).join(', ')} tell whether this node is cut off`)];
      return [
        warn(
          'witnesses',
          'nothing tells whether it is this node that is cut off',
          'no role has `gateways`, and `network.witnesses` is empty',
          'name the routers of the segments as `gateways`, or hosts that always answer in `network.witnesses`',
        ),
      ];
    },
  },
  {
    id: 'network-programs',
    async run({ config, probe }) {
      if (!config.network) return [];
      const found = await Promise.all(programs.map(async (each) => ({ ...each, ran: await probe.run(each.name, ['-V']) })));
      return found
        .filter(({ ran }) => ran === null)
        .map(({ name, package: from, needed }) =>
          needed
            ? fail(
                'network-programs',
                `the program ${name} is missing: no address can be moved`,
                'not on the search path',
                `apt-get install ${from}`,
              )
            : warn(
                'network-programs',
                `the program ${name} is missing: hosts beyond the segment cannot be asked`,
                'not on the search path',
                `apt-get install ${from}`,
              ),
        );
    },
  },
  {
    id: 'network-role',
    async run({ config, node }) {
      return config.network ? (await node.networkRoles()).map(judgeRole) : [];
    },
  },
  { id: 'service-addresses', run: judgeHeld },
  { id: 'network-manager', run: judgeManagers },
  {
    id: 'boot-addresses',
    run(facts) {
      return configuredAtBoot(facts.probe, serviceAddresses(facts)).map(({ address, file, line }) =>
        fail(
          'boot-addresses',
          `this host itself takes the service address ${address} at its boot: both nodes can have it at once`,
          `${file}, line ${line}`,
          `remove it from ${file}; the agent of the active node brings it up`,
        ),
      );
    },
  },
  {
    id: 'network-alarm',
    run({ status }) {
      return (status?.appliance?.alarms ?? []).map(({ code, text, remedy }) => fail('network-alarm', text, code, remedy));
    },
  },
];

function judgeRole({ role, port, carrier, proof }: NetworkRoleReading): DoctorFinding {
  const assign = `mailtwin nics, then: mailtwin nics assign ${role} ${port ?? 'PORT'}`;
  if (port === null) return fail('network-role', `role ${role} has no port on this node`, proof?.evidence ?? 'none is mapped', assign);
  if (!carrier)
    return fail(
      'network-role',
      `${port}, the port of role ${role}, has no carrier`,
      proof?.evidence ?? `${port} is without carrier`,
      `plug its cable (mailtwin nics identify tells which), switch it on (ip link set ${port} up), or map the role: mailtwin nics assign ${role} PORT`,
    );
  if (proof === null) return pass('network-role', `role ${role} is on ${port}, with carrier; its segment was not asked`);
  if (proof.level === 'fail')
    return fail(
      'network-role',
      `${port} is not proven to be in the segment of role ${role}`,
      proof.evidence,
      `look at the cable and the gateway; ${assign}`,
    );
  if (proof.level === 'warn')
    return warn(
      'network-role',
      `nothing proves that ${port} is in the segment of role ${role}`,
      proof.evidence,
      `name a gateway of the segment in \`network.roles\` (\`gateways\` or \`proof\`)`,
    );
  return pass('network-role', `role ${role} is on ${port}, and its segment is proven`, proof.evidence);
}

/** Who configures the ports of the roles, and would remove what the agent sets there. */
async function judgeManagers({ config, node, probe }: Facts): Promise<DoctorFinding[]> {
  if (!config.network) return [];
  const ports = [...new Set((await node.networkRoles()).flatMap(({ port }) => (port === null ? [] : [port])))];
  const managed = await managersOf(ports, probe);
  return managed.map(({ manager, port, keeps, evidence, remedy }) =>
    keeps
      ? pass('network-manager', `${manager} manages ${port}, and leaves what others set there`, evidence)
      : warn(
          'network-manager',
          `${manager} manages ${port}, and may remove the service addresses and routes that the agent sets there`,
          `${evidence}; what is removed is set again within a second`,
          remedy,
        ),
  );
}

function judgeHeld(facts: Facts): DoctorFinding[] {
  const moving = serviceAddresses(facts);
  if (moving.length === 0) return [];
  const here = facts.probe.addresses().filter(({ address }) => isAmong(address, moving));
  const missing = moving.filter((each) => !here.some(({ address }) => isAmong(address, [each])));
  const isServing = serves(facts);
  const show = here.map(({ device, address }) => `${address} on ${device}`).join(', ');
  if (isServing === true && missing.length > 0)
    return [
      fail(
        'service-addresses',
        'the active node lacks service addresses',
        `missing: ${missing.map(({ text }) => text).join(', ')}`,
        'mailtwin nics shows the ports, and the log why they are not taken: journalctl -u mailtwin',
      ),
    ];
  if (isServing === false && here.length > 0)
    return [
      fail(
        'service-addresses',
        'service addresses are on a node that is not active',
        show,
        here.map(({ device, address, length }) => `ip address delete ${address}/${length} dev ${device}`).join(' && '),
      ),
    ];
  if (facts.status === null && here.length > 0)
    return [warn('service-addresses', 'service addresses are here, and no agent watches them', show, 'systemctl start mailtwin')];
  if (isServing === null) return [];
  return [
    pass(
      'service-addresses',
      isServing ? `the service addresses are here: ${show}` : 'no service address is here, as this node is not active',
    ),
  ];
}

function serviceAddresses({ config }: Facts): IpAddress[] {
  return config.network?.roles.flatMap(({ addresses }) => addresses.map(({ address }) => address)) ?? [];
}

function isAmong(text: string, all: readonly IpAddress[]): boolean {
  const ip = parseIp(text.replace(/%.*$/, ''));
  return ip !== null && all.some((each) => sameIp(each, ip));
}

function isReachable(text: string): boolean {
  const ip = parseIp(text.replace(/%.*$/, ''));
  return ip !== null && whyNoHost(ip) === null;
}

function listenText(host: string, port: number): string {
  return host.includes(':') ? `"[${host}]:${port}"` : `${host}:${port}`;
}
