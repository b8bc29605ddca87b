import { closeSync, readFileSync } from 'node:fs';
import koffi from 'koffi';
import { errnoError, lastErrno } from './native.ts';

/**
 * What the kernel tells of changes to links, addresses and routes of this network namespace (rtnetlink(7)). It tells from
 * the moment on in which the socket was opened.
 */
export interface RouteSocket {
  /** The messages of the next datagram; null when there is none now; `lost` when some came faster than they were read. */
  receive(): Buffer | 'lost' | null;
  close(): void;
}

/** Opens one. @throws an errno error. */
export type OpenRouteSocket = () => RouteSocket;

const libc = koffi.load(null);
const socketFunc = libc.func('int socket(int domain, int type, int protocol)');
const bindFunc = libc.func('int bind(int fd, const void *address, uint32_t length)');
const recvFunc = libc.func('int64_t recv(int fd, void *data, size_t length, int flags)');

const AF_NETLINK = 16;
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0o4000 | 0o2000000;
const NETLINK_ROUTE = 0;
const RTMGRP_LINK = 0x1;
const RTMGRP_IPV4_IFADDR = 0x10;
const RTMGRP_IPV4_ROUTE = 0x40;
const RTMGRP_IPV6_IFADDR = 0x100;
const RTMGRP_IPV6_ROUTE = 0x400;
/** The kernel makes no longer datagrams of its own accord (netlink(7)). */
const datagramBytesMax = 32 * 1024;

export const openRouteSocket: OpenRouteSocket = () => {
  const fd = socketFunc(AF_NETLINK, SOCK_RAW_NONBLOCK_CLOEXEC, NETLINK_ROUTE) as number;
  if (fd < 0) throw errnoError(lastErrno(), 'socket', 'netlink');
  const address = Buffer.alloc(12);
  address.writeUInt16LE(AF_NETLINK, 0);
  address.writeUInt32LE(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE, 8);
  if ((bindFunc(fd, address, address.length) as number) < 0) {
    const error = errnoError(lastErrno(), 'bind', 'netlink');
    closeSync(fd);
    throw error;
  }
  const into = Buffer.allocUnsafeSlow(datagramBytesMax);
  let isOpen = true;
  return {
    receive() {
      const length = recvFunc(fd, into, into.length, 0) as number;
      if (length >= 0) return Buffer.from(into.subarray(0, length));
      const code = lastErrno();
      if (code === 'EAGAIN' || code === 'EWOULDBLOCK' || code === 'EINTR') return null;
      if (code === 'ENOBUFS') return 'lost';
      throw errnoError(code, 'recv', 'netlink');
    },
    close() {
      if (isOpen) closeSync(fd);
      isOpen = false;
    },
  };
};

/** What a process of this host is called; null when it has ended. */
export function processName(pid: number): string | null {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    // It has ended, or is none of this namespace.
    return null;
  }
}
