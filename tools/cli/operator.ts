import { userInfo } from 'node:os';
import type { Operator } from '../../protocol/takeover.ts';

/** Who gives the command; for the audit log, not for permission. */
export function operator(): Operator {
  const { uid, username } = userInfo();
  return {
    uid: Math.max(0, uid),
    user: username,
    tty: process.stdin.isTTY ? (process.env['SSH_TTY'] ?? 'tty') : null,
    sudoUser: process.env['SUDO_USER'] ?? null,
  };
}
