import { closeSync } from 'node:fs';
import koffi from 'koffi';
import { errnoError, lastErrno } from './native.ts';

/** What a port's driver tells by the ioctl of ethtool(8). Unlike /sys/class/net it is always about this process's own network namespace. */
export interface DriverFacts {
  /** For example `e1000e`; null when the driver does not tell. */
  driver: string | null;
  /** Where it sits, for example `0000:03:00.0`. */
  slot: string | null;
  /** Megabits per second; null without a link, and where there is none to speak of. */
  speedMbits: number | null;
}

export interface Ethtool {
  facts(ifname: string): DriverFacts;
  /**
   * Blinks the port's light for about this long. Rejects with EOPNOTSUPP when the driver cannot, and when any light of
   * the machine blinks already: the kernel lets one at a time.
   */
  blink(ifname: string, seconds: number): Promise<void>;
}

const libc = koffi.load(null);
const ifreqData = koffi.struct('ifreq_data', { name: koffi.array('uint8', 16), data: 'void *', rest: koffi.array('uint8', 16) });
const socketFunc = libc.func('int socket(int domain, int type, int protocol)');
const ioctlFunc = libc.func('ioctl', 'int', ['int', 'unsigned long', koffi.inout(koffi.pointer(ifreqData))]);

const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SIOCETHTOOL = 0x8946;
const ETHTOOL_GSET = 0x1;
const ETHTOOL_GDRVINFO = 0x3;
const ETHTOOL_PHYS_ID = 0x1c;
const speedUnknown = 0xffff_ffff;

export const ethtool: Ethtool = {
  facts(ifname) {
    const info = ask(ifname, ETHTOOL_GDRVINFO, 196);
    const settings = ask(ifname, ETHTOOL_GSET, 44);
    const speed = settings === null ? speedUnknown : (settings.readUInt16LE(28) * 0x1_0000 + settings.readUInt16LE(12)) >>> 0;
    return {
      driver: text(info, 4),
      slot: text(info, 100),
      // Virtual ports claim a speed that means nothing, or 0 or 65535 for none.
      speedMbits: speed === speedUnknown || speed === 0xffff || speed === 0 ? null : speed,
    };
  },
  blink: (ifname, seconds) =>
    new Promise((resolve, reject) => {
      const value = Buffer.alloc(8);
      value.writeUInt32LE(ETHTOOL_PHYS_ID, 0);
      value.writeUInt32LE(seconds, 4);
      const fd = openSocket(ifname);
      // The call sleeps as long as the light blinks: on a thread of its own.
      ioctlFunc.async(fd, SIOCETHTOOL, request(ifname, value), (error: Error | null, result: number) => {
        closeSync(fd);
        if (error) reject(error);
        // errno belongs to the thread that made the call and is out of reach here; what a driver without a light says is this.
        else if (result < 0) reject(errnoError('EOPNOTSUPP', 'ETHTOOL_PHYS_ID', ifname));
        else resolve();
      });
    }),
};

/** The answer to a question; null when the driver has none. */
function ask(ifname: string, command: number, bytes: number): Buffer | null {
  const data = Buffer.alloc(bytes);
  data.writeUInt32LE(command, 0);
  const fd = openSocket(ifname);
  try {
    return (ioctlFunc(fd, SIOCETHTOOL, request(ifname, data)) as number) < 0 ? null : data;
  } finally {
    closeSync(fd);
  }
}

function openSocket(ifname: string): number {
  const fd = socketFunc(AF_INET, SOCK_DGRAM_CLOEXEC, 0) as number;
  if (fd < 0) throw errnoError(lastErrno(), 'socket', ifname);
  return fd;
}

function request(ifname: string, data: Buffer): { name: number[]; data: Buffer; rest: number[] } {
  const name = Buffer.alloc(16);
  name.write(ifname.slice(0, 15), 'latin1');
  return { name: [...name], data, rest: Array.from({ length: 16 }, () => 0) };
}

/** One of the 32 bytes long texts of struct ethtool_drvinfo. */
function text(info: Buffer | null, at: number): string | null {
  const found = info?.toString('latin1', at, at + 32).replace(/\0[^]*/, '') ?? '';
  return found === '' || found === 'N/A' ? null : found;
}
