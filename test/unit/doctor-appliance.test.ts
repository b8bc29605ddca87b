import { describe, expect, it } from 'vitest';
import { toServicesConfig } from '../../agent/config/takeover-sections/services.ts';
import type { DoctorProbe, NodeReadings } from '../../agent/observe/doctor/probe.ts';
import type { LevelReading, Status, UnitSandbox } from '../../protocol/control.ts';
import {
  applianceStatus,
  applianceTroubles,
  eachFault,
  bmc,
  healthyProbe,
  loopback,
  networkWith,
  onLan,
  pdu,
  sampleCertificate,
  sandboxFile,
  serviceOnLan,
  services,
  showUnits,
} from './doctor-fixture.ts';

const peer = applianceStatus().peer;
const standby = (change: Partial<Status> = {}): Status =>
  applianceStatus({ role: 'standby', active: false, peer: { ...peer, role: 'primary' }, ...change });
const stopped: Partial<NodeReadings> = {
  services: async () => ({ state: 'stopped', units: [{ name: 'dovecot.service', state: 'stopped', detail: 'inactive (dead)' }] }),
};
const waiting = (messages: number) => ({
  is: 'counted' as const,
  places: [{ mta: 'postfix' as const, dir: '/var/spool/postfix' }],
  reading: { mta: 'postfix', messages, more: false, oldestMs: null, readMs: 0, why: '' },
});
/** A standby: without the service address, its services stopped. */
const passive = { probe: { addresses: () => [loopback, onLan] }, node: stopped };
const reading = (change: Partial<LevelReading>): LevelReading => ({
  level: 1,
  type: 'agent',
  name: bmc.name,
  state: 'on',
  evidence: 'Status: ON',
  at: '2026-01-02T03:04:00.000Z',
  ms: 20,
  error: null,
  ...change,
});
const unreadable = reading({ state: 'unknown', error: { code: 'fence-unreadable', detail: 'status ended with 1: Connection timed out' } });

describe('an appliance of which all is well', () => {
  it('has no finding, active or not, with and without an agent', async () => {
    expect(await applianceTroubles({})).toEqual([]);
    expect(await applianceTroubles({ ...passive, status: standby(), config: { role: 'standby' } })).toEqual([]);
    expect((await applianceTroubles({ ...passive, status: null })).map(({ id }) => id)).toEqual(['agent']);
  });

  it('is not judged by what a takeover is changing', async () => {
    const status = standby({ role: 'primary', active: false, peer: { ...peer, role: 'primary' } });
    status.appliance!.takeover.running = true;
    expect(await applianceTroubles({ status })).toEqual([]);
  });
});

describe('fencing', () => {
  eachFault([
    { what: 'no level', config: { fencing: [] }, finds: [['fail fencing', /no level/, /fencing-and-services\.yaml/]] },
    {
      what: 'no level where nothing moves',
      config: { fencing: [], services: null, network: null },
      status: applianceStatus({ appliance: null }),
      finds: [['warn fencing', /no level/, /`fencing:`/]],
    },
    {
      what: 'only the cooperative level',
      config: { fencing: [{ type: 'cooperative', name: 'step-down', timeoutSeconds: 5 }] },
      finds: [['fail fencing', /level 1 step-down \(cooperative\)/, /reads the power/]],
    },
    {
      what: 'only a person',
      config: { fencing: [{ type: 'manual', name: 'by hand', timeoutSeconds: 1 }] },
      finds: [['warn fencing', /by hand/, /reads the power/]],
    },
    {
      what: 'a BMC that the agent could not read',
      status: applianceStatus({}, { fencing: [unreadable] }),
      finds: [['fail fence-level', /Connection timed out, 2026-01-02T03:04:00/, /ping 10\.0\.0\.9.*fence test/]],
    },
    {
      what: 'a BMC that cannot be read, beside an outlet that can',
      config: { fencing: [bmc, pdu] },
      status: applianceStatus({}, { fencing: [unreadable, reading({ level: 2, name: 'pdu', type: 'command' })] }),
      finds: [['warn fence-level', /Connection timed out/, /10\.0\.0\.9/]],
    },
    {
      what: 'a command that cannot tell the state',
      config: { fencing: [pdu] },
      status: applianceStatus({}, { fencing: [{ ...unreadable, name: 'pdu', type: 'command' }] }),
      finds: [['fail fence-level', /timed out/, /`pdu status` by hand/]],
    },
    {
      what: 'an agent that is not installed, read here because no agent runs',
      ...passive,
      status: null,
      node: {
        ...stopped,
        fencing: async (levels) =>
          levels.map((level) => reading({ level, state: 'unknown', error: { code: 'fence-agent-missing', detail: 'spawn ENOENT' } })),
      },
      finds: [
        ['warn agent', /./, /systemctl start mailtwin/],
        ['fail fence-level', /ENOENT/, /apt-get install fence-agents/],
      ],
    },
    {
      what: 'a secret that cannot be read',
      status: applianceStatus({}, { fencing: [reading({ state: 'unknown', error: { code: 'secret-file', detail: 'no file' } })] }),
      finds: [['fail fence-level', /no file/, /finding `secrets`/]],
    },
    {
      what: 'a reading of another level than the configuration has now',
      status: applianceStatus({}, { fencing: [{ ...unreadable, name: 'the one before' }] }),
      finds: [],
    },
    { what: 'nothing read yet', status: applianceStatus({}, { fencing: [] }), node: { fencing: async () => [] }, finds: [] },
    {
      what: 'a switch that reads off while the other node is heard',
      status: applianceStatus({}, { fencing: [reading({ state: 'off' })] }),
      finds: [['warn fence-level', /Status: ON/, /another machine; correct `fencing\.0`/]],
    },
    {
      what: "this node's own BMC, as it tells itself",
      probe: {
        stat: (path) => ({ directory: !path.endsWith('.key'), mode: path.endsWith('.key') ? 0o600 : 0o700, uid: 0, gid: 0, dev: '1' }),
        run: async (command, args) =>
          command === 'ipmitool'
            ? {
                exitCode: 0,
                out: 'Set in Progress         : Set Complete\nIP Address Source       : Static\nIP Address              : 10.0.0.9\n',
              }
            : healthyProbe().run(command, args),
      },
      finds: [['fail fence-target', /ipmitool lan print says 10\.0\.0\.9/, /the BMC of mail-b in `fencing\.0\.options`/]],
    },
    {
      what: "an address of this host for the other one's BMC",
      config: { fencing: [{ ...bmc, options: { ipaddr: '10.0.0.1' } }] },
      finds: [['fail fence-target', /10\.0\.0\.1 is on eth0 here/, /BMC of mail-b/]],
    },
    {
      what: 'a service address for the BMC',
      ...passive,
      status: standby(),
      config: { role: 'standby', fencing: [{ ...bmc, options: { ip: '10.0.0.100' } }] },
      finds: [['fail fence-target', /10\.0\.0\.100/, /BMC/]],
    },
    {
      what: "the other node's system for its BMC",
      config: { fencing: [{ ...bmc, options: { ip: '10.1.0.2' } }] },
      finds: [['warn fence-target', /10\.1\.0\.2/, /BMC/]],
    },
    { what: 'a tunnel to the BMC', config: { fencing: [{ ...bmc, options: { ip: '127.0.0.1', ipport: '9623' } }] }, finds: [] },
  ]);
});

describe('mail services', () => {
  const systemctl =
    (show: (unit: string) => Parameters<typeof showUnits>[0][number] | undefined): DoctorProbe['run'] =>
    async (command, args) =>
      command === 'systemctl'
        ? {
            exitCode: 0,
            out: showUnits(
              args.slice(args.indexOf('--') + 1).map((unit) => show(unit) ?? (unit === 'mailtwin.service' ? { file: 'enabled' } : {})),
            ),
          }
        : healthyProbe().run(command, args);
  const gate = (state: 'open' | 'other'): Partial<NodeReadings> => ({
    gate: async () => [{ unit: 'dovecot.service', file: '/etc/systemd/system/dovecot.service.d/10-mailtwin.conf', state }],
  });
  const sandbox = (state: UnitSandbox['state'], lines: string[]): Partial<NodeReadings> => ({
    sandbox: async () => ({ file: sandboxFile, lines, state, of: null }),
  });
  const onDovecot = (facts: Parameters<typeof showUnits>[0][number]) => ({
    run: systemctl((unit) => (unit === 'dovecot.service' ? facts : undefined)),
  });
  eachFault([
    {
      what: 'a unit that does not exist',
      probe: onDovecot({ load: 'not-found', file: '' }),
      finds: [['fail unit', /not-found/, /systemctl list-unit-files 'dovecot\*'/]],
    },
    {
      what: "the package's target missing",
      probe: { run: systemctl((unit) => (unit === 'mailtwin-active.target' ? { load: 'not-found' } : undefined)) },
      finds: [['fail unit', /not-found/, /copy deploy\/systemd\/mailtwin-active\.target/]],
    },
    {
      what: 'units of which one stops the other',
      node: {
        unitFaults: async () => [
          {
            unit: 'postfix@-.service',
            what: 'postfix@-.service and postfix.service cannot run together: starting one stops the other',
            evidence: 'one of the unit files names the other in Conflicts=',
            remedy: 'take postfix@-.service out of `services.units` of this node',
          },
        ],
      },
      finds: [['fail unit', /names the other/, /take postfix@-\.service out/]],
    },
    { what: 'a masked unit', probe: onDovecot({ load: 'masked' }), finds: [['fail unit', /masked/, /systemctl unmask dovecot\.service/]] },
    { what: 'a unit file that systemd has not read', probe: onDovecot({ reload: 'yes' }), finds: [['warn unit', /yes/, /daemon-reload/]] },
    {
      what: 'units without systemd',
      probe: { run: async (command, args) => (command === 'systemctl' ? { exitCode: 1, out: '' } : healthyProbe().run(command, args)) },
      finds: [['fail unit', /mailtwin-active\.target, dovecot\.service/, /services\.commands/]],
    },
    {
      what: 'no gate before an enabled unit',
      node: gate('open'),
      probe: onDovecot({ file: 'enabled' }),
      finds: [['fail gate', /dovecot\.service\.d\/10-mailtwin\.conf is missing/, /^mailtwin gate install$/]],
    },
    {
      what: 'a gate that stands elsewhere, for the template of the unit',
      node: gate('open'),
      probe: onDovecot({ dropIns: '/etc/systemd/system/dovecot@.service.d/10-mailtwin.conf' }),
      finds: [],
    },
    { what: 'a gate of another release', node: gate('other'), finds: [['warn gate', /differs/, /mailtwin gate install/]] },
    {
      what: 'a sandbox that keeps the agent from a root',
      node: sandbox('missing', ['ProtectHome=no']),
      finds: [['fail sandbox', /20-sandbox\.conf is missing: ProtectHome=no/, /^mailtwin sandbox install && systemctl restart mailtwin$/]],
    },
    {
      what: 'a sandbox that is open for what was a root once',
      node: sandbox('needless', []),
      finds: [['fail sandbox', /is not needed/, /^mailtwin sandbox install/]],
    },
    {
      what: 'a sandbox that is open for another root',
      node: sandbox('other', ['ReadWritePaths="-/etc/dovecot"']),
      finds: [['fail sandbox', /does not say: ReadWritePaths="-\/etc\/dovecot"/, /^mailtwin sandbox install/]],
    },
    {
      what: 'a unit of an older release, without a sandbox',
      probe: { run: systemctl((unit) => (unit === 'mailtwin.service' ? { file: 'enabled', sandbox: 'no' } : undefined)) },
      finds: [['warn sandbox', /NoNewPrivileges=no/, /copy deploy\/systemd\/mailtwin\.service/]],
    },
    ...[
      ['ReadWritePaths=-/var/vmail', /\/var\/vmail in ReadWritePaths/],
      ['ReadWritePaths=/srv /var', /\/var in/],
      ['ReadWritePaths=/var/vmail/users', /\/var\/vmail\/users/],
      ['BindPaths=/mnt/a:/var/vmail:rbind', /\/var\/vmail in/],
      ['StateDirectory=mailtwin', /\/var\/lib\/mailtwin/],
    ].map(([more, evidence]) => ({
      what: `a sandbox with ${String(more)}`,
      probe: { run: systemctl((unit) => (unit === 'mailtwin.service' ? { file: 'enabled', more: `${String(more)}\n` } : undefined)) },
      finds: [['warn sandbox', evidence as RegExp, /take that out of the drop-ins/]] as [string, RegExp, RegExp][],
    })),
    {
      what: 'a sandbox that is open for what has to be, and for what is nobody’s here',
      node: { sandbox: async () => ({ file: sandboxFile, lines: ['ReadWritePaths="-/etc/dovecot"'], state: 'fits', of: null }) },
      probe: {
        run: systemctl((unit) =>
          unit === 'mailtwin.service' ? { file: 'enabled', more: 'ReadWritePaths=-/etc/dovecot /etc/mine /var/vmail2\n' } : undefined,
        ),
      },
      finds: [],
    },
    {
      what: 'a configuration that no unit runs, on a host with another one',
      node: sandbox('missing', ['ProtectHome=no']),
      config: { file: '/opt/second/mailtwin.yaml' },
      finds: [],
    },
    {
      what: 'a mail server that the agent would start in its sandbox',
      config: { services: { ...services, commands: { start: ['/etc/init.d/cyrus', 'start'], stop: ['x'], status: ['x'] } } },
      finds: [['warn sandbox', /\/etc\/init\.d\/cyrus is started by the agent/, /systemd-run/]],
    },
    {
      what: 'a socket that starts the server beside its unit',
      probe: { run: systemctl((unit) => (unit === 'dovecot.socket' ? { file: 'enabled', active: 'active' } : undefined)) },
      finds: [['warn second-server', /active, enabled/, /systemctl disable --now dovecot\.socket/]],
    },
    {
      what: 'services that run on a node that is not active',
      ...passive,
      status: standby(),
      config: { role: 'standby' },
      node: {
        services: async () => ({
          state: 'partial',
          units: [
            { name: 'mailtwin-active.target', state: 'stopped', detail: 'inactive (dead)' },
            { name: 'dovecot.service', state: 'running', detail: 'active (running)' },
          ],
        }),
      },
      finds: [['fail services', /dovecot\.service is active \(running\)/, /^systemctl stop dovecot\.service; /]],
    },
    {
      what: 'services that do not run on the active node',
      node: stopped,
      finds: [['fail services', /inactive \(dead\)/, /systemctl start dovecot\.service/]],
    },
    {
      what: 'commands that do not run on the active node',
      config: {
        services: toServicesConfig({
          ...services,
          units: [],
          commands: { start: ['/etc/init.d/mail', 'start all'], stop: ['x'], status: ['y'] },
          configCheck: services.configCheck ?? [],
          imap: services.imap!,
        }),
      },
      node: stopped,
      finds: [
        ['fail services', /inactive/, /\/etc\/init\.d\/mail 'start all'$/],
        ['warn sandbox', /\/etc\/init\.d\/mail is started by the agent/, /systemd-run/],
      ],
    },
    {
      what: 'services whose state cannot be read',
      node: { services: async () => ({ state: 'unknown', units: [{ name: 'mail', state: 'unknown', detail: 'not known (no bus)' }] }) },
      finds: [['warn services', /no bus/, /services:/]],
    },
    {
      what: 'no check of the mail server',
      config: { services: { ...services, configCheck: null, imap: null } },
      finds: [
        ['warn mail-config', /not set/, /configCheck: \[doveconf, -n\]/],
        ['warn login', /not set/, /imap: /],
      ],
    },
    {
      what: 'a configuration of the mail server that is not well',
      node: { mailConfig: async () => ({ ok: false, evidence: 'doveconf ended with 89: unknown setting' }) },
      finds: [['fail mail-config', /unknown setting/, /doveconf -n$/]],
    },
    {
      what: 'a certificate that has expired, one that ends soon, and one whose key is missing',
      node: {
        certificates: async () => [
          sampleCertificate({ endsAt: '2026-01-02T03:04:04.000Z' }),
          sampleCertificate({ name: 'imap.example', endsAt: '2026-01-15T03:04:05.000Z' }),
          sampleCertificate({ name: 'a.example', problem: 'the key /etc/x.key is missing' }),
        ],
      },
      finds: [
        ['fail certificate', /for mail\.example, until 2026-01-02/, /renew/],
        ['warn certificate', /until 2026-01-15/, /renew/],
        ['fail certificate', /x\.key is missing/, /copy it with its key/],
      ],
    },
    {
      what: 'certificates of Postfix',
      node: {
        certificates: async () => [
          sampleCertificate({ name: 'postfix', endsAt: '2026-01-02T03:04:04.000Z' }),
          sampleCertificate({ name: 'postfix smtps/inet', problem: 'the key /etc/x.key is missing' }),
        ],
      },
      finds: [
        ['fail certificate', /until 2026-01-02/, /postfix reload$/],
        ['fail certificate', /x\.key is missing/, /postfix reload$/],
      ],
    },
    {
      what: 'a certificate that this user may not read',
      probe: { userId: () => 1000 },
      node: { certificates: async () => [sampleCertificate({ problem: 'the key /etc/x.key cannot be read (EACCES)' })] },
      finds: [['warn certificate', /EACCES/, /as root/]],
    },
    {
      what: 'certificates of the two nodes for different names',
      status: applianceStatus({
        peer: { ...peer, certificate: { names: ['imap.example', 'mail.example'], endsAt: '2027-01-02T03:04:05.000Z' } },
      }),
      finds: [['warn certificate', /only on mail-a: none; only on mail-b: imap\.example$/, /same names/]],
    },
    {
      what: 'certificates of the two nodes for the same names',
      status: applianceStatus({ peer: { ...peer, certificate: { names: ['mail.example'], endsAt: '2026-02-02T03:04:05.000Z' } } }),
      finds: [],
    },
    {
      what: 'a certificate that holds for a fortnight, and a mail server whose certificates nobody knows',
      node: { certificates: async () => [sampleCertificate({ endsAt: '2026-01-16T03:04:05.000Z' })] },
      finds: [],
    },
    {
      what: 'an MTA that nobody knows of',
      node: { queue: async () => ({ is: 'none', why: '`services.units` names neither' }) },
      finds: [['warn mail-queue', /names neither/, /queue: none/]],
    },
    {
      what: 'a queue that cannot be counted',
      node: { queue: async () => ({ ...waiting(0), reading: { ...waiting(0).reading, messages: null, why: 'EACCES' } }) },
      finds: [['warn mail-queue', /postfix in \/var\/spool\/postfix: EACCES/, /run the agent as/]],
    },
    {
      what: 'mail that waits on a node that is not active',
      ...passive,
      status: standby(),
      config: { role: 'standby' },
      node: { ...stopped, queue: async () => waiting(3) },
      finds: [['warn mail-queue', /^postfix in/, /runbook/]],
    },
    {
      what: 'mail that waits on the active node, which delivers it',
      node: { queue: async () => waiting(3) },
      finds: [],
    },
    {
      what: 'a login that fails',
      node: { login: async () => ({ ok: false, evidence: 'the login of probe failed' }) },
      finds: [['fail login', /failed/, /doveadm auth test probe/]],
    },
    {
      what: 'a login that nobody tries on a node that is not active',
      ...passive,
      status: standby(),
      config: { role: 'standby' },
      node: { ...stopped, login: async () => ({ ok: false, evidence: 'refused' }) },
      finds: [],
    },
  ]);
});

describe('network', () => {
  const role = (change: object): Partial<NodeReadings> => ({
    networkRoles: async () => [{ role: 'lan', port: 'eth0', carrier: true, proof: null, ...change }],
  });
  const file = (path: string, text: string): Partial<DoctorProbe> => ({
    list: (dir) => (path.startsWith(`${dir}/`) ? [path.slice(dir.length + 1)] : []),
    readText: (asked) => (asked === path ? text : healthyProbe().readText(asked)),
  });
  eachFault([
    {
      what: 'no address of its own',
      probe: { addresses: () => [loopback, serviceOnLan, { device: 'eth0', address: 'fe80::1', length: 64 }] },
      finds: [['fail own-address', /10\.0\.0\.100/, /second address/]],
    },
    {
      what: 'listening on a service address',
      config: { listen: { host: '10.0.0.100', port: 7420 } },
      finds: [['fail own-address', /10\.0\.0\.1 on eth0/, /listen: 10\.0\.0\.1:7420/]],
    },
    {
      what: 'a service address for the peer',
      config: {
        peer: {
          addresses: [
            { host: '10.0.0.100', port: 7420 },
            { host: '10.1.0.2', port: 7420 },
          ],
        },
      },
      finds: [['fail own-address', /10\.0\.0\.100:7420/, /peer\.addresses/]],
    },
    {
      what: 'one way to the peer',
      config: { peer: { addresses: [{ host: '10.0.0.2', port: 7420 }] } },
      finds: [['warn second-path', /10\.0\.0\.2:7420/, /cable between them/]],
    },
    {
      what: 'nobody who tells of being cut off',
      config: { network: networkWith({}) },
      finds: [['warn witnesses', /gateways/, /network\.witnesses/]],
    },
    {
      what: 'no ip and no ping',
      probe: { run: async (command, args) => (/^(ip|ping)$/.test(command) ? null : healthyProbe().run(command, args)) },
      finds: [
        ['fail network-programs', /search path/, /apt-get install iproute2/],
        ['warn network-programs', /search path/, /apt-get install iputils-ping/],
      ],
    },
    {
      what: 'a role without a port',
      node: role({ port: null, carrier: false }),
      finds: [['fail network-role', /none/, /mailtwin nics assign lan PORT/]],
    },
    { what: 'no carrier', node: role({ carrier: false }), finds: [['fail network-role', /eth0/, /ip link set eth0 up/]] },
    {
      what: 'a segment that is another one',
      node: role({ proof: { level: 'fail', code: 'segment-unproven', evidence: '10.0.0.254 does not answer' } }),
      finds: [['fail network-role', /does not answer/, /mailtwin nics assign lan eth0/]],
    },
    {
      what: 'a segment that nothing proves',
      node: role({ proof: { level: 'warn', code: null, evidence: 'carrier alone' } }),
      finds: [['warn network-role', /carrier alone/, /gateways/]],
    },
    { what: 'a port that was not asked', node: role({}), finds: [] },
    {
      what: 'a service address on a node that is not active',
      status: standby(),
      node: stopped,
      config: { role: 'standby' },
      finds: [['fail service-addresses', /10\.0\.0\.100 on eth0/, /^ip address delete 10\.0\.0\.100\/24 dev eth0$/]],
    },
    {
      what: 'an active node without its service address',
      probe: { addresses: () => [loopback, onLan] },
      finds: [['fail service-addresses', /missing: 10\.0\.0\.100/, /mailtwin nics/]],
    },
    {
      what: 'a service address and no agent',
      status: null,
      finds: [
        ['warn agent', /./, /./],
        ['warn service-addresses', /eth0/, /systemctl start mailtwin/],
      ],
    },
    {
      what: 'a service address in /etc/network/interfaces',
      probe: file(
        '/etc/network/interfaces',
        'iface eth0 inet static\n  # address 10.0.0.100\n  address 10.0.0.100/24\n  gateway 10.0.0.254\n',
      ),
      finds: [['fail boot-addresses', /^\/etc\/network\/interfaces, line 3$/, /remove it from \/etc\/network\/interfaces/]],
    },
    {
      what: 'a service address in netplan, where it may be a name server, too',
      probe: file(
        '/etc/netplan/01.yaml',
        'network:\n  ethernets:\n    eth0:\n      addresses: [10.0.0.1/24, 10.0.0.100/24]\n      nameservers:\n        addresses: [10.0.0.100]\n',
      ),
      finds: [['fail boot-addresses', /01\.yaml, line 4$/, /remove it/]],
    },
    {
      what: 'a service address of networkd',
      probe: file('/etc/systemd/network/lan.network', '[Network]\nAddress=10.0.0.100/24\nDNS=10.0.0.100\n'),
      finds: [['fail boot-addresses', /line 2$/, /./]],
    },
    {
      what: 'a service that configures the port of a role, and keeps nothing of others',
      probe: {
        async run(command, args) {
          if (command === 'networkctl')
            return { exitCode: 0, out: 'Network File: /etc/systemd/network/lan.network\nState: routable (configured)\n' };
          if (args[0] === 'is-active') return { exitCode: 3, out: 'active\ninactive\ninactive\n' };
          return healthyProbe().run(command, args);
        },
      },
      finds: [['warn network-manager', /lan\.network: without KeepConfiguration/, /lan\.network\.d\/mailtwin\.conf/]],
    },
    {
      what: 'an alarm, told once',
      status: applianceStatus(
        { warnings: [{ code: 'address-conflict', text: 'somebody else answers', remedy: 'find it' }] },
        { alarms: [{ code: 'address-conflict', text: 'somebody else answers', remedy: 'find it' }] },
      ),
      finds: [['fail network-alarm', /address-conflict/, /find it/]],
    },
  ]);
});

describe('role and versions', () => {
  eachFault([
    {
      what: 'a node that was replaced',
      ...passive,
      status: standby({ role: 'fenced' }),
      finds: [['fail role', /fenced in epoch 3/, /mailtwin rejoin$/]],
    },
    {
      what: 'a node that was replaced, without an agent',
      ...passive,
      probe: { ...passive.probe, readText: (path) => (path.endsWith('/role') ? 'fenced 3\n' : healthyProbe().readText(path)) },
      status: null,
      finds: [
        ['warn agent', /./, /./],
        ['fail role', /last agent/, /mailtwin salvage/],
      ],
    },
    {
      what: 'the other node replaced',
      status: applianceStatus({ peer: { ...peer, role: 'fenced', epoch: 2 } }),
      finds: [['warn role', /fenced of epoch 2/, /mailtwin rejoin/]],
    },
    {
      what: 'both primary',
      status: applianceStatus({ peer: { ...peer, role: 'primary', epoch: 4 } }),
      finds: [['fail role', /primary of epoch 3; mail-b primary of epoch 4/, /systemctl stop mailtwin-active\.target/]],
    },
    {
      what: 'both standby',
      ...passive,
      config: { role: 'standby' },
      status: standby({ peer }),
      finds: [['fail role', /standby/, /failover --dry-run/]],
    },
    {
      what: 'epochs that differ',
      status: applianceStatus({ peer: { ...peer, epoch: 4 } }),
      finds: [['fail role', /epoch 3; mail-b standby of epoch 4/, /higher epoch is right/]],
    },
    {
      what: 'a primary that does not serve',
      ...passive,
      status: applianceStatus({ active: false, warnings: [{ code: 'isolated', text: 'no witness answers', remedy: 'cables' }] }),
      finds: [
        ['warn warnings', /isolated/, /cables/],
        ['fail role', /no witness answers/, /mailtwin status/],
      ],
    },
    {
      what: 'a takeover that was not finished',
      status: applianceStatus({}, { takeover: { running: false, unfinished: 'failover' } }),
      finds: [['fail takeover', /journal/, /^mailtwin failover: /]],
    },
    {
      what: 'a standby whose agent is older',
      status: applianceStatus({ peer: { ...peer, agentVersion: '0.0.9' } }),
      finds: [['fail agent-versions', /here 0\.1\.0, on the other node 0\.0\.9/, /update the other node: dpkg -i/]],
    },
    {
      what: 'a primary whose mail server is older',
      ...passive,
      config: { role: 'standby' },
      status: standby({ peer: { ...peer, role: 'primary', mailServer: 'dovecot 2.3.16' } }),
      finds: [
        ['warn mail-server-versions', /2\.3\.16/, /update the other node: apt-get install --only-upgrade dovecot-core after a switchover/],
      ],
    },
    {
      what: 'a standby whose mail server is older',
      ...passive,
      config: { role: 'standby' },
      status: standby({ mailServer: 'dovecot 2.3.16', peer: { ...peer, role: 'primary' } }),
      finds: [['fail mail-server-versions', /here dovecot 2\.3\.16/, /update this node/]],
    },
    {
      what: 'a standby whose mail server is of an older release that was seen to serve what the newer one writes',
      ...passive,
      config: { role: 'standby' },
      status: standby({ mailServer: 'dovecot 2.3.19.1', peer: { ...peer, role: 'primary', mailServer: 'dovecot 2.4.1' } }),
      finds: [
        ['warn mail-server-versions', /seen for maildir with dovecot_storage_version 2\.3\.0 and 2\.4\.0/, /must tell 2\.3\.0 or 2\.4\.0/],
      ],
    },
    {
      what: 'no mail server on the standby',
      status: applianceStatus({ peer: { ...peer, mailServer: null } }),
      finds: [['warn mail-server-versions', /on the other node none/, /install it on mail-b/]],
    },
    {
      what: 'a mail server of another kind',
      status: applianceStatus({ peer: { ...peer, mailServer: 'cyrus 3.6' } }),
      finds: [['fail mail-server-versions', /cyrus/, /same on both/]],
    },
    {
      what: 'what the other node was before it was lost says nothing',
      status: applianceStatus({ peer: { ...peer, connected: false, role: null, epoch: null, agentVersion: '0.0.9', mailServer: null } }),
      finds: [['warn peer', /answers/, /log/]],
    },
  ]);
});
