import type { Socket } from 'node:net';
import type { Operator } from '../../protocol/takeover.ts';
import { loginUid, peerCredentials, terminalOf, userName } from '../platform/peer-credentials.ts';

/** What a command says of the person behind it: nothing that counts, but `sudoUser` helps where the system notes no logins. */
export type Claimed = Pick<Operator, 'sudoUser'> | null;

/**
 * Who gave a command: as the kernel noted it when the connection was made, and never as the command says.
 *
 * @throws when the kernel does not tell, which it does for every local socket.
 */
export async function callerOf(socket: Socket, claimed: Claimed): Promise<Operator> {
  const peer = peerCredentials(socket);
  if (peer === null) throw new Error('the kernel does not tell who is at the other end of the control socket');
  // At once: the process may have ended when the names are known.
  const [tty, login] = [terminalOf(peer.pid), loginUid(peer.pid)];
  return {
    uid: peer.uid,
    user: await userName(peer.uid),
    pid: peer.pid,
    tty,
    login: login === null ? null : { uid: login, user: await userName(login) },
    sudoUser: claimed?.sudoUser ?? null,
  };
}

/** A request with the caller in every place where it names a person. */
export function signedBy(body: object, caller: Operator): object {
  if (!('by' in body)) return body;
  const manual = 'manual' in body && body.manual !== null ? { manual: { ...(body.manual as object), by: nameOf(caller) } } : {};
  return { ...body, by: caller, ...manual };
}

/** `root`, or `root (login anna)` where somebody became root after a login. */
export function nameOf({ user, login }: Operator): string {
  return login && login.user !== user ? `${user} (login ${login.user})` : user;
}
