import { readFileSync, rmdirSync } from 'node:fs';
import { OperatorError } from '../platform/errors.ts';
import type { Exec } from '../platform/exec.ts';
import { errnoCode } from '../platform/files.ts';

/** What a drop-in of systemd says; null when there is none. @throws OperatorError `errorCode` when it cannot be read. */
export function readDropIn(path: string, errorCode: 'gate-files' | 'sandbox-file'): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const code = errnoCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw new OperatorError(errorCode, `${path} cannot be read: ${code ?? String(error)}`, 'run it as root');
  }
}

/** Removes the directory of a drop-in that is gone. */
export function removeIfEmpty(dir: string): void {
  try {
    rmdirSync(dir);
  } catch {
    // Somebody else's drop-ins are in it, or it was never there.
  }
}

/** systemd reads its unit files anew. @throws OperatorError `daemon-reload`. */
export async function daemonReload(exec: Exec): Promise<void> {
  const { code, stderr } = await exec('systemctl', ['daemon-reload'], { timeoutMs: 60_000 });
  if (code !== 0)
    throw new OperatorError(
      'daemon-reload',
      `systemctl daemon-reload failed: ${stderr.trim()}`,
      'run `systemctl daemon-reload` by hand',
      5,
    );
}
