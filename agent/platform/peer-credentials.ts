import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { exec } from './exec.ts';
import * as native from './native.ts';

/** Who connected to a local socket, as the kernel noted it then (unix(7), SO_PEERCRED); nobody can claim to be another one. */
export interface PeerCredentials {
  /** 0 when the process is in a PID namespace that this one cannot see. */
  pid: number;
  uid: number;
  gid: number;
}

/** -1 as the kernel shows a login that there was not: a service, a boot, a system without audit. */
const noLogin = 0xffff_ffff;
/** For a directory service that does not answer; a name is a comfort. */
const nameMs = 2000;

/** Null when it is no local socket, or is closed. */
export function peerCredentials(socket: Socket): PeerCredentials | null {
  // Node has no public way to the descriptor of a socket.
  const fd = (socket as unknown as { _handle?: { fd?: number } | null })._handle?.fd;
  if (fd === undefined || fd < 0) return null;
  const value = Buffer.alloc(12);
  if (!native.peerOf(fd, value)) return null;
  return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) };
}

/** Who logged in to the session that a process is of, whatever it has become by su or sudo since (proc_pid_loginuid(5)); null when nobody did. */
export function loginUid(pid: number): number | null {
  const uid = Number.parseInt(textOf(`/proc/${pid}/loginuid`), 10);
  return Number.isNaN(uid) || uid === noLogin ? null : uid;
}

/** The terminal that a process belongs to, for example `pts/3`; null when there is none, or the process is gone (proc_pid_stat(5)). */
export function terminalOf(pid: number): string | null {
  // The name before it may have spaces and brackets.
  const fields = textOf(`/proc/${pid}/stat`)
    .replace(/^.*\) /s, '')
    .split(' ');
  const device = Number(fields[4] ?? 0);
  const [major, minor] = [(device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00)];
  // Documentation/admin-guide/devices.txt of Linux.
  if (major >= 136 && major <= 143) return `pts/${(major - 136) * 256 + minor}`;
  if (major === 4) return minor < 64 ? `tty${minor}` : `ttyS${minor - 64}`;
  return null;
}

/** What a user is called here; `uid N` when nobody knows. */
export async function userName(uid: number): Promise<string> {
  const local = textOf('/etc/passwd')
    .split('\n')
    .map((line) => line.split(':'))
    .find(([, , id]) => id === String(uid));
  if (local?.[0]) return local[0];
  const asked = await exec('getent', ['passwd', String(uid)], { timeoutMs: nameMs }).catch(() => null);
  return (asked?.code === 0 && asked.stdout.split(':')[0]) || `uid ${uid}`;
}

/** Empty when the process is gone. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
