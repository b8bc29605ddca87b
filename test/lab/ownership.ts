import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { processFacts } from './processes.ts';

/**
 * Start of the name of everything that a test leaves on the machine: `mt<pid>s<start of that process>x`. It tells whose a
 * namespace or a directory is, also after that process was killed and its pid was given again.
 */
export function ownerMark(): string {
  return `mt${process.pid}s${processFacts(process.pid)?.startTicks ?? '0'}x`;
}

/** Whether something with this name was left by a test process that is no more. */
export function isAbandoned(name: string): boolean {
  const match = /^mt(\d+)s(\d+)x/.exec(name);
  return match !== null && processFacts(Number(match[1]))?.startTicks !== match[2];
}

/** Removes from a directory what test processes left there that are no more. */
export function removeAbandoned(dir: string): void {
  for (const name of readdirSync(dir)) if (isAbandoned(name)) rmSync(join(dir, name), { recursive: true, force: true });
}
