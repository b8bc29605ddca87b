import { describe, expect, it } from 'vitest';
import { managersOf, type ManagerReading } from '../../agent/platform/network-managers.ts';

const networkdFile = '/etc/systemd/network/10-lan.network';

/** A host on which some services are active, with these answers of programs and these files. */
function host(active: readonly string[], answers: Record<string, string>, files: Record<string, string> = {}): ManagerReading {
  return {
    async run(program, args) {
      if (program === 'systemctl')
        return {
          out: args
            .slice(1)
            .map((unit) => `${active.includes(unit) ? 'active' : 'inactive'}\n`)
            .join(''),
        };
      return program in answers ? { out: answers[program] ?? '' } : null;
    },
    readText: (path) => files[path] ?? null,
    list: (dir) =>
      Object.keys(files).flatMap((path) =>
        path.startsWith(`${dir}/`) && !path.slice(dir.length + 1).includes('/') ? [path.slice(dir.length + 1)] : [],
      ),
  };
}

const status = (file: string, setup = 'configured') =>
  `● 2: eth0\n                     Link File: n/a\n                  Network File: ${file}\n                         State: routable (${setup})\n                  Online state: online\n`;
const networkd = (files: Record<string, string> = {}) =>
  host(
    ['systemd-networkd.service'],
    { networkctl: status(networkdFile) },
    { [networkdFile]: '[Match]\nName=eth0\n[Network]\nAddress=192.0.2.2/24\n', ...files },
  );

describe('who manages a port', () => {
  it('is nobody where no such service runs, or nothing can be asked', async () => {
    expect(await managersOf(['eth0'], host([], { networkctl: status(networkdFile), nmcli: 'eth0:connected\n' }))).toEqual([]);
    expect(await managersOf(['eth0'], { run: async () => null, readText: () => null, list: () => [] })).toEqual([]);
    expect(await managersOf([], networkd())).toEqual([]);
  });

  it('is systemd-networkd where it has a file for the port', async () => {
    const [found, ...more] = await managersOf(['eth0'], networkd());
    expect(more).toEqual([]);
    expect(found).toMatchObject({ manager: 'systemd-networkd', port: 'eth0', keeps: false });
    expect(found?.remedy).toContain('KeepConfiguration=yes` into /etc/systemd/network/10-lan.network.d/mailtwin.conf,');
    for (const unmanaged of [status('n/a'), status(networkdFile, 'unmanaged'), ''])
      expect(await managersOf(['eth0'], host(['systemd-networkd.service'], { networkctl: unmanaged }))).toEqual([]);
  });

  it('leaves what others set when both settings say so, in the file that counts', async () => {
    const keep = { '/etc/systemd/network/10-lan.network.d/mailtwin.conf': '[Network]\nKeepConfiguration = yes\n' };
    const routes = { '/etc/systemd/networkd.conf.d/mailtwin.conf': '# ours\n[Network]\nManageForeignRoutes=no\n' };
    const keeps = async (files: Record<string, string>) => (await managersOf(['eth0'], networkd(files)))[0]?.keeps;
    expect(await keeps({ ...keep, ...routes })).toBe(true);
    expect(await keeps(keep)).toBe(false);
    expect(await keeps(routes)).toBe(false);
    // Another section, another value, a later file, and one of the same name that hides it.
    expect(await keeps({ ...routes, '/etc/systemd/network/10-lan.network.d/mailtwin.conf': '[DHCPv4]\nKeepConfiguration=yes\n' })).toBe(
      false,
    );
    expect(await keeps({ ...routes, '/etc/systemd/network/10-lan.network.d/mailtwin.conf': '[Network]\nKeepConfiguration=dhcp\n' })).toBe(
      false,
    );
    expect(await keeps({ ...keep, ...routes, '/run/systemd/network/10-lan.network.d/z.conf': '[Network]\nKeepConfiguration=no\n' })).toBe(
      false,
    );
    expect(
      await keeps({ ...keep, ...routes, '/run/systemd/network/10-lan.network.d/mailtwin.conf': '[Network]\nKeepConfiguration=no\n' }),
    ).toBe(true);
  });

  it('names netplan where its file is one of netplan', async () => {
    const file = '/run/systemd/network/10-netplan-eth0.network';
    const [found] = await managersOf(['eth0'], host(['systemd-networkd.service'], { networkctl: status(file) }));
    expect(found?.remedy).toContain(
      '/etc/systemd/network/10-netplan-eth0.network.d/mailtwin.conf (or `critical: true` for the port in netplan)',
    );
  });

  it('is NetworkManager where it has not been told to leave the port', async () => {
    const nm = (out: string) => managersOf(['eth0', 'eth1'], host(['NetworkManager.service'], { nmcli: out }));
    expect(await nm('eth0:connected\neth1:unmanaged\nlo:unmanaged\n')).toMatchObject([
      { manager: 'NetworkManager', port: 'eth0', keeps: false },
    ]);
    expect(await nm('eth0:connected (externally)\neth10:connected\n')).toEqual([]);
  });

  it('is dhcpcd unless it is told to leave the port', async () => {
    const dhcpcd = async (text: string) =>
      (await managersOf(['eth0', 'eth1'], host(['dhcpcd.service'], {}, { '/etc/dhcpcd.conf': text }))).map(({ port }) => port);
    expect(await dhcpcd('hostname\n')).toEqual(['eth0', 'eth1']);
    expect(await dhcpcd('denyinterfaces eth0 wlan0\n')).toEqual(['eth1']);
    expect(await dhcpcd('allowinterfaces eth0\n')).toEqual(['eth0']);
  });
});
