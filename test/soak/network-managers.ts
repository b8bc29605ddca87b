import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { managersOf, type ManagerReading } from '../../agent/platform/network-managers.ts';
import { silentLog, type Log } from '../../agent/platform/log.ts';
import { DebianHost, makeDebian } from '../lab/debian-host.ts';
import { Network } from '../lab/namespaces.ts';
import { networkNode, type NetworkNode } from '../lab/network-node.ts';
import { ownerMark, removeAbandoned } from '../lab/ownership.ts';
import { Pinger } from '../lab/pinger.ts';
import { waitFor } from '../lab/waiting.ts';
import type { Soak } from './options.ts';

const service4 = '10.77.0.100';
const service6 = 'fd77::100';
const lan = {
  name: 'lan',
  addresses: [`${service4}/24`, `${service6}/64`],
  gateways: ['10.77.0.1', 'fd77::1'],
  default: true,
};
const outageMsMax = 2000;
const pauseMs = 61_000;

const networkd = `[Match]
Name=eth0
[Network]
Address=10.77.0.2/24
Address=fd77::2/64
IPv6AcceptRA=no
`;
const netplan = `network:
  version: 2
  renderer: networkd
  ethernets:
    eth0:
      addresses: [10.77.0.2/24, "fd77::2/64"]
      accept-ra: false
`;
const networkManager = `[connection]
id=lan
type=ethernet
interface-name=eth0
[ipv4]
method=manual
address1=10.77.0.2/24
[ipv6]
method=manual
address1=fd77::2/64
`;

/** What a run before this one may have left in a tree that is kept. */
const leftOver = [
  '/etc/systemd/network/10-lan.network',
  '/etc/systemd/network/10-lan.network.d',
  '/etc/systemd/networkd.conf.d',
  '/etc/netplan/01-lan.yaml',
  '/etc/NetworkManager/system-connections/lan.nmconnection',
];

/**
 * What the services that configure a host's network remove from the active node, and how soon it is back: in a Debian that
 * boots with a real systemd. And that they leave it alone when they are configured as the remedy says.
 */
export const run: Soak = async () => {
  removeAbandoned(tmpdir());
  const dir = mkdtempSync(join(tmpdir(), `${ownerMark()}-managers-`));
  // A tree that was made before, for who works on this.
  const made = process.env.MAILTWIN_SOAK_TREE;
  const tree = made ?? join(dir, 'debian');
  try {
    if (made === undefined) {
      console.log('making a Debian to boot ...');
      await makeDebian(tree, ['netplan.io', 'network-manager']);
    }
    await prove(tree);
    return true;
  } catch (error) {
    console.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return false;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
};

async function prove(tree: string): Promise<void> {
  const port = (name: string, ifname: string) => ({ name, ports: [{ name: ifname, network: 0 }] });
  const network = new Network({ hosts: [port('gw', 'lan0'), port('node', 'eth0'), port('client', 'wlan0')], ipv6: true });
  const host = new DebianHost({ name: 'node', tree, namespace: network.host('node').namespace });
  const write = (path: string, text: string, mode = 0o644) => {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    writeFileSync(join(tree, path), text, { mode });
  };
  const remove = (path: string) => rmSync(join(tree, path), { force: true, recursive: true });
  const does = (...argv: string[]) => host.run(argv, { timeoutMs: 60_000 });
  const reading: ManagerReading = {
    run: async (program, args) => ({ out: (await host.run([program, ...args], { mayFail: true })).stdout }),
    readText: (path) => (existsSync(join(tree, path)) ? readFileSync(join(tree, path), 'utf8') : null),
    list: (path) => (existsSync(join(tree, path)) ? readdirSync(join(tree, path)) : []),
  };
  for (const path of leftOver) remove(path);
  // A container may not trigger its host's devices, and netplan gives up where it cannot.
  write('/usr/local/bin/udevadm', '#!/bin/sh\nexit 0\n', 0o755);
  await host.boot();
  const stop = new AbortController();
  const pingers = [service4, service6].map((address) => new Pinger(address, network.host('client').namespace));
  let announcing = Promise.resolve();
  try {
    await does('systemctl', 'stop', 'NetworkManager.service', 'systemd-networkd.service', 'systemd-networkd.socket');
    write('/etc/systemd/network/10-lan.network', networkd);
    const told: unknown[] = [];
    const log: Log = { ...silentLog, warn: (facts) => void told.push(facts) };
    const processName = (pid: number) => host.processName(pid);
    const node = networkNode(network, 'node', { roles: [lan] }, { managers: reading, processName, log });
    // A configuration that takes over removes what was there; that is not what is looked at.
    await does('systemctl', 'start', 'systemd-networkd.service');
    await node.control.take(() => {});
    announcing = node.control.announce(() => true, stop.signal);
    for (const pinger of pingers) await pinger.answers(10_000);

    await waitFor(
      'systemd-networkd to be on the bus',
      30_000,
      async () => (await host.run(['networkctl', 'reload'], { mayFail: true })).code === 0,
    );
    const shows = step(node, pingers, told);
    await managed(reading, 'systemd-networkd', false);
    await shows('networkctl reload, nothing changed', () => does('networkctl', 'reload'));
    write('/etc/systemd/network/10-lan.network', `${networkd}Domains=example.org\n`);
    await shows('networkctl reload, the file changed', () => does('networkctl', 'reload'));
    await shows('networkctl reconfigure', () => does('networkctl', 'reconfigure', 'eth0'));
    await shows('a restart of systemd-networkd', () => does('systemctl', 'restart', 'systemd-networkd.service'));

    write('/etc/systemd/network/10-lan.network.d/mailtwin.conf', '[Network]\nKeepConfiguration=yes\n');
    write('/etc/systemd/networkd.conf.d/mailtwin.conf', '[Network]\nManageForeignRoutes=no\n');
    await shows('a restart of systemd-networkd, for the remedy', () => does('systemctl', 'restart', 'systemd-networkd.service'));
    await managed(reading, 'systemd-networkd', true);
    await shows('networkctl reconfigure, with the remedy', () => does('networkctl', 'reconfigure', 'eth0'), true);
    write('/etc/systemd/network/10-lan.network', `${networkd}Domains=example.com\n`);
    await shows('networkctl reload, with the remedy', () => does('networkctl', 'reload'), true);
    for (const path of ['/etc/systemd/network/10-lan.network.d', '/etc/systemd/networkd.conf.d', '/etc/systemd/network/10-lan.network'])
      remove(path);

    write('/etc/netplan/01-lan.yaml', netplan, 0o600);
    await shows('the first netplan apply', () => does('netplan', 'apply'));
    await managed(reading, 'systemd-networkd', false);
    write('/etc/netplan/01-lan.yaml', `${netplan}      nameservers: { search: [example.org] }\n`, 0o600);
    await shows('netplan apply', () => does('netplan', 'apply'));
    remove('/etc/netplan/01-lan.yaml');
    await does('systemctl', 'stop', 'systemd-networkd.service', 'systemd-networkd.socket');

    write('/etc/NetworkManager/system-connections/lan.nmconnection', networkManager, 0o600);
    await shows('the start of NetworkManager', () => does('systemctl', 'start', 'NetworkManager.service'));
    await does('nmcli', 'device', 'set', 'eth0', 'managed', 'yes');
    await shows('nmcli connection up', () => does('nmcli', 'connection', 'up', 'lan'));
    await managed(reading, 'NetworkManager', false);
    await shows('nmcli device reapply', () => does('nmcli', 'device', 'reapply', 'eth0'));
    await shows('a restart of NetworkManager', () => does('systemctl', 'restart', 'NetworkManager.service'));
  } finally {
    stop.abort();
    await announcing;
    for (const pinger of pingers) await pinger.stop();
    await host.cutPower();
    network.dispose();
  }
}

async function managed(reading: ManagerReading, manager: string, keeps: boolean): Promise<void> {
  const found = await managersOf(['eth0'], reading);
  console.log(found.map((each) => `      ${each.manager} ${each.keeps ? 'keeps' : 'removes'}: ${each.evidence}`).join('\n'));
  if (found.length !== 1 || found[0]?.manager !== manager || found[0].keeps !== keeps)
    throw new Error(`not so: ${manager} ${keeps ? 'keeps' : 'removes'}: ${JSON.stringify(found)}`);
}

/** Does something, waits until all is as before, and prints for how long the addresses did not answer. */
function step(node: NetworkNode, pingers: readonly Pinger[], told: unknown[]) {
  const setAgainAt: number[] = [];
  return async (what: string, act: () => Promise<unknown>, isLeft = false): Promise<void> => {
    // Five in a minute are a fight, and pauses are made; here each is looked at by itself.
    await waitFor('a quiet minute', pauseMs * 2, () => setAgainAt.filter((at) => performance.now() - at < pauseMs).length < 2);
    told.length = 0;
    const before = { ...node.setAgain };
    const since = Date.now();
    await act();
    await new Promise((resolve) => setTimeout(resolve, 3000));
    await waitFor(`all to be back after ${what}`, 20_000, async () => (await node.control.held()).length === 2);
    for (const pinger of pingers) await pinger.answers(10_000);
    const [four = Number.NaN, six = Number.NaN] = pingers.map((pinger) => Math.round(pinger.longestOutage(since)));
    const count = `${node.setAgain.address - before.address} addresses and ${node.setAgain.route - before.route} routes set again`;
    for (let i = 0; i < told.length; i++) setAgainAt.push(performance.now());
    const isOk = Math.max(four, six) < outageMsMax && (!isLeft || count.startsWith('0 addresses and 0 '));
    console.log(
      `${isOk ? 'ok  ' : 'FAIL'}  ${what}: without answer for ${four} ms (IPv4), ${six} ms (IPv6); ${count}; ${JSON.stringify(told)}`,
    );
    if (!isOk) throw new Error(`not so: ${what}`);
  };
}
