import { closeSync } from 'node:fs';
import koffi from 'koffi';
import { errnoError, lastErrno } from './native.ts';

/** Which frames a port is opened for: ARP, or neighbour advertisements of IPv6. */
export type FrameKind = 'arp' | 'ndp';

/**
 * One network port, opened for whole Ethernet frames (packet(7)): it can ask and announce for addresses that this host
 * does not have, which no other socket can. On a VLAN's device the kernel adds and removes the tag.
 */
export interface PacketPort {
  /** The address of the port that is in use, six bytes. */
  readonly mac: Buffer;
  /** @throws an errno error, ENETDOWN when the port is down. */
  send(frame: Uint8Array): void;
  /** The next frame that has come in, null when there is none now. Own frames are not among them. */
  receive(): Buffer | null;
  close(): void;
}

/** Opens a port. @throws an errno error: ENODEV when there is no such port, EPERM without CAP_NET_RAW. */
export type OpenPacketPort = (ifname: string, kind: FrameKind) => PacketPort;

const libc = koffi.load(null);
const sockFprog = koffi.struct('sock_fprog', { len: 'uint16', filter: 'void *' });
const socketFunc = libc.func('int socket(int domain, int type, int protocol)');
const bindFunc = libc.func('int bind(int fd, const void *address, uint32_t length)');
const sendFunc = libc.func('int64_t send(int fd, const void *data, size_t length, int flags)');
const recvFunc = libc.func('int64_t recv(int fd, void *data, size_t length, int flags)');
const ioctlFunc = libc.func('int ioctl(int fd, unsigned long request, _Inout_ void *argument)');
const setOptionFunc = libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)');
const attachFilterFunc = libc.func('setsockopt', 'int', ['int', 'int', 'int', koffi.pointer(sockFprog), 'uint32']);

const AF_PACKET = 17;
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0o4000 | 0o2000000;
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_MR_MULTICAST = 0;
const SIOCGIFINDEX = 0x8933;
const SIOCGIFHWADDR = 0x8927;
const ifreqBytes = 40;
const frameBytesMax = 2048;

const etherTypes: Record<FrameKind, number> = { arp: 0x0806, ndp: 0x86dd };

/** Classic BPF (linux/filter.h): only ICMPv6 neighbour advertisements, so that a port's whole IPv6 traffic is not copied to us. */
const advertisementsOnly = Buffer.concat([
  instruction(0x30, 0, 0, 20), // next header
  instruction(0x15, 0, 3, 58), // ICMPv6
  instruction(0x30, 0, 0, 54), // its type
  instruction(0x15, 0, 1, 136), // neighbour advertisement
  instruction(0x06, 0, 0, 0xffff),
  instruction(0x06, 0, 0, 0),
]);

function instruction(code: number, ifTrue: number, ifFalse: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt8(ifTrue, 2);
  bytes.writeUInt8(ifFalse, 3);
  bytes.writeUInt32LE(value, 4);
  return bytes;
}

export const openPacketPort: OpenPacketPort = (ifname, kind) => {
  const etherType = etherTypes[kind];
  // Protocol 0 receives nothing until it is bound: no frame of another port slips in.
  const fd = socketFunc(AF_PACKET, SOCK_RAW_NONBLOCK_CLOEXEC, 0) as number;
  if (fd < 0) throw errnoError(lastErrno(), 'socket', ifname);
  try {
    const request = ifreq(ifname);
    call(ioctlFunc(fd, SIOCGIFINDEX, request), 'SIOCGIFINDEX', ifname);
    const ifindex = request.readInt32LE(16);
    call(ioctlFunc(fd, SIOCGIFHWADDR, request), 'SIOCGIFHWADDR', ifname);
    const mac = Buffer.from(request.subarray(18, 24));
    if (kind === 'ndp') {
      call(
        attachFilterFunc(fd, SOL_SOCKET, SO_ATTACH_FILTER, { len: advertisementsOnly.length / 8, filter: advertisementsOnly }, 16),
        'SO_ATTACH_FILTER',
        ifname,
      );
      call(setOptionFunc(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, allNodes(ifindex), 16), 'PACKET_ADD_MEMBERSHIP', ifname);
    }
    const address = Buffer.alloc(20);
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeUInt16BE(etherType, 2);
    address.writeInt32LE(ifindex, 4);
    call(bindFunc(fd, address, address.length), 'bind', ifname);
    return port(fd, ifname, mac);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
};

function port(fd: number, ifname: string, mac: Buffer): PacketPort {
  const into = Buffer.allocUnsafeSlow(frameBytesMax);
  let isOpen = true;
  return {
    mac,
    send(frame) {
      const sent = sendFunc(fd, frame, frame.length, 0) as number;
      // A full queue drops this frame, as the wire may: every question and announcement is repeated.
      if (sent < 0 && lastErrno() !== 'ENOBUFS' && lastErrno() !== 'EAGAIN') throw errnoError(lastErrno(), 'send', ifname);
    },
    receive() {
      const length = recvFunc(fd, into, into.length, 0) as number;
      if (length >= 0) return Buffer.from(into.subarray(0, length));
      const code = lastErrno();
      // ENETDOWN is told once when the port goes down; whoever sends next hears it anyway.
      if (code === 'EAGAIN' || code === 'EWOULDBLOCK' || code === 'EINTR' || code === 'ENETDOWN') return null;
      throw errnoError(code, 'recv', ifname);
    },
    close() {
      if (isOpen) closeSync(fd);
      isOpen = false;
    },
  };
}

/** struct ifreq with a name. @throws ENODEV for a name that no port can have. */
export function ifreq(ifname: string): Buffer {
  const name = Buffer.from(ifname, 'latin1');
  if (name.length === 0 || name.length > 15 || name.includes(0)) throw errnoError('ENODEV', 'ioctl', ifname);
  const request = Buffer.alloc(ifreqBytes);
  name.copy(request);
  return request;
}

/** struct packet_mreq: answers to a question from nobody go to all nodes (33:33:00:00:00:01), also where the port has no IPv6. */
function allNodes(ifindex: number): Buffer {
  const request = Buffer.alloc(16);
  request.writeInt32LE(ifindex, 0);
  request.writeUInt16LE(PACKET_MR_MULTICAST, 4);
  request.writeUInt16LE(6, 6);
  Buffer.from([0x33, 0x33, 0, 0, 0, 1]).copy(request, 8);
  return request;
}

function call(result: unknown, what: string, ifname: string): void {
  if ((result as number) < 0) throw errnoError(lastErrno(), what, ifname);
}
