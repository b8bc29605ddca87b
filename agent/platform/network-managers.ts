/**
 * Services that configure the ports of a host, and may remove addresses and routes that they did not set themselves.
 * What is looked with is handed in; a program or file that is missing is a host without that service.
 */
export interface ManagedPort {
  manager: 'systemd-networkd' | 'NetworkManager' | 'dhcpcd';
  port: string;
  /** Whether it is configured to leave what others set: addresses and routes. */
  keeps: boolean;
  /** For people: what it goes by. */
  evidence: string;
  /** How to make it leave what others set. */
  remedy: string;
}

export interface ManagerReading {
  /** Runs a program that only reads; null when there is no such program, or it does not end. */
  run(program: string, args: readonly string[]): Promise<{ out: string } | null>;
  /** A small text file; null when it is missing. */
  readText(path: string): string | null;
  /** Names in a directory; empty when it is missing. */
  list(path: string): readonly string[];
}

const units = ['systemd-networkd.service', 'NetworkManager.service', 'dhcpcd.service'] as const;

/** Which services manage these ports now. Never an error: what cannot be read is as if it were not there. */
export async function managersOf(ports: readonly string[], reading: ManagerReading): Promise<ManagedPort[]> {
  if (ports.length === 0) return [];
  const answer = await reading.run('systemctl', ['is-active', ...units]);
  const states = answer?.out.split('\n').map((line) => line.trim()) ?? [];
  const isActive = (unit: (typeof units)[number]) => states[units.indexOf(unit)] === 'active';
  const found: ManagedPort[] = [];
  if (isActive('systemd-networkd.service')) for (const port of ports) found.push(...(await byNetworkd(port, reading)));
  if (isActive('NetworkManager.service')) found.push(...(await byNetworkManager(ports, reading)));
  if (isActive('dhcpcd.service')) found.push(...byDhcpcd(ports, reading));
  return found;
}

async function byNetworkd(port: string, reading: ManagerReading): Promise<ManagedPort[]> {
  const status = (await reading.run('networkctl', ['--no-pager', '--full', 'status', port]))?.out ?? '';
  const file = /^\s*Network File:\s*(\/\S+)/m.exec(status)?.[1];
  if (file === undefined || /^\s*State:.*\(unmanaged\)/m.test(status)) return [];
  const name = file.slice(file.lastIndexOf('/') + 1);
  const own = [file, ...dropIns('network', `${name}.d`, reading)];
  const general = ['/etc/systemd/networkd.conf', ...dropIns('', 'networkd.conf.d', reading)];
  const keepsAddresses = /^(yes|true|on|1|y|t|static)$/i.test(setting(own, 'KeepConfiguration', reading) ?? '');
  const keepsRoutes = /^(no|false|off|0|n|f)$/i.test(setting(general, 'ManageForeignRoutes', reading) ?? '');
  const isNetplan = name.includes('-netplan-');
  return [
    {
      manager: 'systemd-networkd',
      port,
      keeps: keepsAddresses && keepsRoutes,
      evidence: `${file}: ${keepsAddresses ? 'with' : 'without'} KeepConfiguration; networkd.conf: ${keepsRoutes ? 'with' : 'without'} ManageForeignRoutes=no`,
      remedy: `write \`[Network]\` and \`KeepConfiguration=yes\` into /etc/systemd/network/${name}.d/mailtwin.conf${isNetplan ? ' (or `critical: true` for the port in netplan)' : ''}, \`[Network]\` and \`ManageForeignRoutes=no\` into /etc/systemd/networkd.conf.d/mailtwin.conf, then run \`systemctl restart systemd-networkd\``,
    },
  ];
}

/** systemd.unit(5): /etc before /run before /usr; files of one name hide each other, and count in the order of their names. */
function dropIns(below: string, dir: string, reading: ManagerReading): string[] {
  const found = new Map<string, string>();
  for (const top of ['/usr/lib/systemd', '/run/systemd', '/etc/systemd']) {
    const path = [top, below, dir].filter((part) => part !== '').join('/');
    for (const name of reading.list(path)) if (name.endsWith('.conf')) found.set(name, `${path}/${name}`);
  }
  return [...found].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, path]) => path);
}

/** The last value of a key of the section [Network] in these files. */
function setting(files: readonly string[], key: string, reading: ManagerReading): string | null {
  let value: string | null = null;
  for (const file of files) {
    let section = '';
    for (const line of (reading.readText(file) ?? '').split('\n').map((text) => text.trim())) {
      section = /^\[(.+)\]$/.exec(line)?.[1] ?? section;
      const [name, given] = line.split(/\s*=\s*/, 2);
      if (section === 'Network' && name === key && given !== undefined) value = given;
    }
  }
  return value;
}

async function byNetworkManager(ports: readonly string[], reading: ManagerReading): Promise<ManagedPort[]> {
  const lines = (await reading.run('nmcli', ['--terse', '--fields', 'DEVICE,STATE', 'device']))?.out.split('\n') ?? [];
  return ports.flatMap((port): ManagedPort[] => {
    const state = lines.find((line) => line.startsWith(`${port}:`))?.slice(port.length + 1);
    // What others have set up it only looks at, until it is told to connect.
    if (state === undefined || /^unmanaged|externally/.test(state)) return [];
    return [
      {
        manager: 'NetworkManager',
        port,
        keeps: false,
        evidence: `nmcli device: ${port} is ${state}`,
        remedy: `write \`[keyfile]\` and \`unmanaged-devices=interface-name:${port}\` into /etc/NetworkManager/conf.d/mailtwin.conf, run \`nmcli general reload\`, and give the node's own address to ${port} in /etc/network/interfaces or /etc/systemd/network`,
      },
    ];
  });
}

function byDhcpcd(ports: readonly string[], reading: ManagerReading): ManagedPort[] {
  const text = reading.readText('/etc/dhcpcd.conf') ?? '';
  const words = (key: string) =>
    [...text.matchAll(new RegExp(`^\\s*${key}\\s+(.*)$`, 'gm'))].flatMap((match) => (match[1] ?? '').trim().split(/\s+/));
  const [denied, allowed] = [words('denyinterfaces'), words('allowinterfaces')];
  return ports
    .filter((port) => !denied.includes(port) && (allowed.length === 0 || allowed.includes(port)))
    .map((port) => ({
      manager: 'dhcpcd',
      port,
      keeps: false,
      evidence: `dhcpcd runs, and /etc/dhcpcd.conf does not leave ${port} out`,
      remedy: `write \`denyinterfaces ${port}\` into /etc/dhcpcd.conf, and give the node's own address to ${port} elsewhere`,
    }));
}
