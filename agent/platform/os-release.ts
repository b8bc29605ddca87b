import { readFileSync } from 'node:fs';
import { errnoCode } from './files.ts';

/** What this host says of its release, as in os-release(5); empty where it says nothing. */
export function osRelease(): string {
  for (const path of ['/etc/os-release', '/usr/lib/os-release']) {
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      if (errnoCode(error) === undefined) throw error;
    }
  }
  return '';
}
