import { parseIp, sameIp, type IpAddress } from '../../platform/ip-address.ts';
import type { DoctorProbe } from './probe.ts';

/** Where Debian and its kin keep addresses that the host takes at its boot, and the lines that give one. */
const places = [
  { dir: '/etc/network', names: /^interfaces$/, line: /^\s*(address|up ip|post-up ip|pre-up ip)\b/, wantsPrefix: false },
  { dir: '/etc/network/interfaces.d', names: /^[\w.:-]+$/, line: /^\s*(address|up ip|post-up ip|pre-up ip)\b/, wantsPrefix: false },
  { dir: '/etc/systemd/network', names: /\.network$/, line: /^\s*Address\s*=/i, wantsPrefix: true },
  // Name servers stand in lists called `addresses`, too, but without a prefix.
  { dir: '/etc/netplan', names: /\.ya?ml$/, line: /^\s*(addresses\s*:|-)/, wantsPrefix: true },
  { dir: '/etc/NetworkManager/system-connections', names: /\.nmconnection$/, line: /^\s*address\d*\s*=/, wantsPrefix: true },
] as const;

export interface BootAddress {
  address: string;
  file: string;
  line: number;
}

/** Which of the addresses the host's own configuration gives to a port. */
export function configuredAtBoot(probe: DoctorProbe, addresses: readonly IpAddress[]): BootAddress[] {
  if (addresses.length === 0) return [];
  return places.flatMap(({ dir, names, line, wantsPrefix }) =>
    probe
      .list(dir)
      .filter((name) => names.test(name))
      .flatMap((name) => {
        const file = `${dir}/${name}`;
        return (probe.readText(file) ?? '').split('\n').flatMap((text, i) =>
          line.test(text)
            ? text
                .replace(/\s#.*$/, '')
                .split(/[\s,;="'[\]]+/)
                .filter((word) => !wantsPrefix || word.includes('/'))
                .flatMap((word) => {
                  const ip = parseIp(word.replace(/\/\d+$/, ''));
                  return ip && addresses.some((each) => sameIp(each, ip)) ? [{ address: ip.text, file, line: i + 1 }] : [];
                })
            : [],
        );
      }),
  );
}
