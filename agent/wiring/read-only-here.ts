import { dirname } from 'node:path';
import type { Config } from '../config/config.ts';
import { OperatorError } from '../platform/errors.ts';
import { displayPath, type BytePath } from '../platform/files.ts';
import { isReadOnlyHere } from '../platform/real-mounts.ts';

export interface ReadOnlyHere {
  code: 'sandbox';
  text: string;
  remedy: string;
}

const remedy =
  '`mailtwin sandbox install`, then `systemctl restart mailtwin`; if that changes nothing, look for a read-only bind mount there';

/** @returns what to say of a directory that this agent alone cannot write to; null when its mount can be written. */
export function readOnlyHere(what: string, path: BytePath): ReadOnlyHere | null {
  if (!isReadOnlyHere(path)) return null;
  const text = `${what} at ${displayPath(path)} is read-only for the agent, though its file system is not: the sandbox of its unit does not leave it open`;
  return { code: 'sandbox', text, remedy };
}

/** What the agent has to write to and cannot, because of the sandbox that it was started in. */
export function sandboxTroubles(config: Config): ReadOnlyHere[] {
  const gate = config.services && Buffer.from(dirname(config.services.gate), 'utf8').toString('latin1');
  return [
    ...config.roots.map(({ name, path }) => readOnlyHere(`root ${name}`, path)),
    ...(gate === null ? [] : [readOnlyHere('the directory of the gate', gate)]),
  ].filter((trouble) => trouble !== null);
}

/** @throws OperatorError `sandbox` (exit code 2) when not even the state directory can be written. */
export function checkStateDir(state: string): void {
  const trouble = readOnlyHere('the state directory', Buffer.from(state, 'utf8').toString('latin1'));
  if (trouble) throw new OperatorError(trouble.code, trouble.text, trouble.remedy, 2);
}
