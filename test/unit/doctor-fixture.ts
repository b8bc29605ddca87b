import { expect, it } from 'vitest';
import { takeoverDefaults } from '../../agent/config/takeover-sections/takeover.ts';
import { networkSection, toNetworkConfig } from '../../agent/config/takeover-sections/network.ts';
import { servicesSection, toServicesConfig } from '../../agent/config/takeover-sections/services.ts';
import type { FenceLevelConfig } from '../../agent/config/takeover-sections/fencing.ts';
import type { Config } from '../../agent/config/config.ts';
import type { DoctorProbe, NodeReadings, SecretFile } from '../../agent/observe/doctor/probe.ts';
import { runDoctor } from '../../agent/observe/doctor/doctor.ts';
import type { CertificateStatus } from '../../protocol/certificate.ts';
import type { ApplianceStatus, DoctorFinding, Status } from '../../protocol/control.ts';
import { sampleStatus } from './control-fixture.ts';

const at = '2026-01-02T03:04:00.000Z';
export const pdu: FenceLevelConfig = { type: 'command', name: 'pdu', off: ['pdu', 'off'], status: ['pdu', 'status'], timeoutSeconds: 30 };
export const privateSecret: SecretFile = { state: 'one-line', mode: 0o600, uid: 0, gid: 0, inOpenDirectory: false };

export function sampleConfig(change: Partial<Config> = {}): Config {
  return {
    file: '/etc/mailtwin/mailtwin.yaml',
    node: 'mail-a',
    role: 'primary',
    state: '/var/lib/mailtwin',
    listen: { host: '0.0.0.0', port: 7420 },
    peer: { addresses: [{ host: '10.0.0.2', port: 7420 }] },
    roots: [{ name: 'mail', path: '/var/vmail', format: 'maildir', mayBeEmpty: false, exclude: [], staging: null }],
    capture: { watcher: 'auto', settleMs: 5, restMaxMs: 1000, rescanHours: 24 },
    limits: { bandwidth: [], massDeleteShare: 0.2, massDeleteFilesMin: 100, freeBytesMin: 1e9 },
    history: { days: 14, bytesMax: 1e10 },
    scrub: { days: 14, bytesPerSecondMax: 1e9 },
    metrics: null,
    log: { level: 'info' },
    fencing: [pdu],
    services: null,
    network: null,
    takeover: takeoverDefaults,
    notices: null,
    ...change,
  };
}

export const loopback = { device: 'lo', address: '127.0.0.1', length: 8 };
const allCapabilities = 'CapEff:\t000001ffffffffff\n';

/** A host on which everything is well; tests break one thing. */
export function healthyProbe(change: Partial<DoctorProbe> = {}, config = sampleConfig()): DoctorProbe {
  return {
    loadConfig: () => config,
    node: () => healthyNode(),
    wallMs: () => Date.parse('2026-01-02T03:04:05.000Z'),
    userId: () => 0,
    versions: () => ({ node: 'v20.20.2', koffi: '3.3.4', lmdb: '3.5.6' }),
    system: async () => ({ os: 'Debian 12', kernel: '6.1.0-18-amd64' }),
    stat: (path) => ({ directory: !path.endsWith('.key'), mode: path.endsWith('.key') ? 0o600 : 0o700, uid: 0, gid: 0, dev: '1' }),
    space: () => ({ freeBytes: 50e9, freeInodes: 900_000, totalInodes: 1_000_000 }),
    mounts: async () => [{ at: '/', type: 'ext4', writable: true }],
    addresses: () => [loopback, { device: 'eth0', address: '10.0.0.1', length: 24 }],
    resolve: async (host) => [host],
    list: () => [],
    treeBytes: () => null,
    owners: (path) => [
      { kind: 'user', id: 5000, example: path },
      { kind: 'group', id: 5000, example: path },
    ],
    keepsXattrs: () => true,
    secretFile: () => privateSecret,
    certificate: () => ({ endsMs: Date.parse('2027-01-02T00:00:00Z'), fits: true }),
    readText: (path) =>
      path.endsWith('max_user_watches')
        ? '200000'
        : path.endsWith('max_queued_events')
          ? '16384'
          : path.endsWith('status')
            ? allCapabilities
            : null,
    run: async (command, args) => ({ exitCode: 0, out: healthyAnswer(command, args) }),
    connect: async () => null,
    bind: async () => null,
    survey: () => ({ dirs: 4000, files: 100_000, complete: true, unreadable: [] }),
    ...change,
  };
}

/** What each program says where all is well. */
function healthyAnswer(command: string, args: readonly string[]): string {
  switch (command) {
    case 'dovecot':
      return '2.3.19.1 (9b53102964)\n';
    case 'timedatectl':
      return 'yes\n';
    case 'systemctl':
      return showUnits(args.slice(args.indexOf('--') + 1).map((unit) => (unit === 'mailtwin.service' ? { file: 'enabled' } : {})));
    case 'doveconf':
      return 'mail_location = maildir:/var/vmail/%d/%n\n';
    default:
      return '';
  }
}

/** What `systemctl show` prints of units, in their order. */
export function showUnits(
  units: { load?: string; active?: string; file?: string; reload?: string; dropIns?: string; sandbox?: string; more?: string }[],
): string {
  return units
    .map(
      ({ load = 'loaded', active = 'inactive', file = 'disabled', reload = 'no', dropIns = '', sandbox = 'yes', more = '' }) =>
        `LoadState=${load}\nActiveState=${active}\nUnitFileState=${file}\nNeedDaemonReload=${reload}\nDropInPaths=${dropIns}\nNoNewPrivileges=${sandbox}\n${more}`,
    )
    .join('\n');
}

/** A certificate that holds for a year. */
export function sampleCertificate(change: Partial<CertificateStatus> = {}): CertificateStatus {
  return {
    name: 'default',
    file: '/etc/dovecot/private/dovecot.pem',
    names: ['mail.example'],
    endsAt: '2027-01-02T03:04:05.000Z',
    problem: null,
    ...change,
  };
}

export const sandboxFile = '/etc/systemd/system/mailtwin.service.d/20-sandbox.conf';

/** A node whose rooms have nothing to complain of. */
export function healthyNode(change: Partial<NodeReadings> = {}): NodeReadings {
  return {
    fencing: async (levels) =>
      levels.map((level) => ({ level, type: 'command', name: 'pdu', state: 'on', evidence: 'pdu reads on', at, ms: 20, error: null })),
    gate: async () => [{ unit: 'dovecot.service', file: '/etc/systemd/system/dovecot.service.d/10-mailtwin.conf', state: 'gated' }],
    sandbox: async () => ({ file: sandboxFile, lines: [], state: 'fits', of: null }),
    unitFaults: async () => [],
    services: async () => ({ state: 'running', units: [{ name: 'dovecot.service', state: 'running', detail: 'active (running)' }] }),
    mailConfig: async () => ({ ok: true, evidence: 'doveconf ended with 0' }),
    login: async () => ({ ok: true, evidence: 'probe at 127.0.0.1:143 logged in' }),
    queue: async () => ({
      is: 'counted',
      places: [{ mta: 'postfix', dir: '/var/spool/postfix' }],
      reading: { mta: 'postfix', messages: 0, more: false, oldestMs: null, readMs: 0, why: '' },
    }),
    certificates: async () => [sampleCertificate()],
    historyDirs: () => ['/var/lib/mailtwin/staging/mail/history', '/var/.mailtwin-vmail/history'],
    networkRoles: async () => [
      { role: 'lan', port: 'eth0', carrier: true, proof: { level: 'pass', code: null, evidence: '10.0.0.254 answers on eth0' } },
    ],
    ...change,
  };
}

export async function findings(
  probe: DoctorProbe,
  status: Status | null = sampleStatus({ capture: { watcher: 'chokidar', watches: 4000, overflows: 0 } }),
): Promise<DoctorFinding[]> {
  const all: DoctorFinding[] = [];
  for await (const finding of runDoctor(probe, status)) all.push(finding);
  return all;
}

export const troubles = (all: DoctorFinding[]) =>
  all.filter((finding) => finding.level !== 'pass').map((finding) => `${finding.level} ${finding.id}`);

const network = toNetworkConfig(
  networkSection.parse({
    roles: [{ name: 'lan', addresses: ['10.0.0.100/24'], gateways: ['10.0.0.254'] }],
    witnesses: ['10.0.0.254'],
  }),
);
export const services = toServicesConfig(
  servicesSection.parse({
    units: ['mailtwin-active.target', 'dovecot.service'],
    configCheck: ['doveconf', '-n'],
    imap: { user: 'probe', passwordFile: '/etc/mailtwin/probe.secret' },
  }),
);
export const bmc: FenceLevelConfig & { type: 'agent' } = {
  type: 'agent',
  name: 'fence_ipmilan 10.0.0.9',
  agent: 'fence_ipmilan',
  options: { ip: '10.0.0.9', username: 'admin' },
  secrets: { password: '/etc/mailtwin/bmc.secret' },
  timeoutSeconds: 60,
};

/** Everything is configured; the node is the active primary unless its status says otherwise. */
export function applianceConfig(change: Partial<Config> = {}): Config {
  return sampleConfig({
    network,
    services,
    fencing: [bmc],
    peer: {
      addresses: [
        { host: '10.0.0.2', port: 7420 },
        { host: '10.1.0.2', port: 7420 },
      ],
    },
    ...change,
  });
}

/** The one with the roles changed, as the configuration file would have them. */
export function networkWith(role: Record<string, unknown>, more: Record<string, unknown> = {}): Config['network'] {
  return toNetworkConfig(networkSection.parse({ roles: [{ name: 'lan', addresses: ['10.0.0.100/24'], ...role }], ...more }));
}

export const onLan = { device: 'eth0', address: '10.0.0.1', length: 24 };
export const serviceOnLan = { device: 'eth0', address: '10.0.0.100', length: 24 };

export function applianceStatus(change: Partial<Status> = {}, appliance: Partial<ApplianceStatus> = {}): Status {
  return sampleStatus({
    capture: { watcher: 'chokidar', watches: 4000, overflows: 0 },
    appliance: {
      services: { state: 'running', at },
      addresses: { configured: 1, held: ['10.0.0.100'], at },
      nics: [{ role: 'lan', port: 'eth0', carrier: true }],
      fencing: [{ level: 1, type: 'agent', name: bmc.name, state: 'on', evidence: 'Status: ON', at, error: null }],
      alarms: [],
      takeover: { running: false, unfinished: null },
      ...appliance,
    },
    ...change,
  });
}

/** What is wrong with an appliance of which one thing is changed. */
export async function applianceTroubles(change: {
  probe?: Partial<DoctorProbe>;
  config?: Partial<Config>;
  status?: Status | null;
  node?: Partial<NodeReadings>;
}): Promise<DoctorFinding[]> {
  const config = applianceConfig(change.config);
  const probe = healthyProbe(
    {
      addresses: () => [loopback, onLan, serviceOnLan],
      // Nobody looks for a BMC of its own where there is none.
      stat: (path) =>
        path === '/dev/ipmi0'
          ? null
          : { directory: !path.endsWith('.key'), mode: path.endsWith('.key') ? 0o600 : 0o700, uid: 0, gid: 0, dev: '1' },
      node: () => healthyNode(change.node),
      ...change.probe,
    },
    config,
  );
  const all = await findings(probe, change.status === undefined ? applianceStatus() : change.status);
  return all.filter(({ level }) => level !== 'pass');
}

export interface Fault {
  what: string;
  probe?: Partial<DoctorProbe>;
  config?: Partial<Config>;
  status?: Status | null;
  node?: Partial<NodeReadings>;
  /** Everything that is found: `level id`, with what its evidence and its remedy say. */
  finds: [is: string, evidence: RegExp, remedy: RegExp][];
}

/** A test for each fault: nothing else is found on an appliance of which all else is well. */
export function eachFault(faults: Fault[]): void {
  it.each(faults)('$what', async ({ finds, ...change }) => {
    const found = await applianceTroubles(change);
    expect(found.map(({ level, id }) => `${level} ${id}`)).toEqual(finds.map(([is]) => is));
    found.forEach(({ evidence, remedy }, i) => {
      expect(evidence).toMatch(finds[i]![1]);
      expect(remedy).toMatch(finds[i]![2]);
    });
  });
}
