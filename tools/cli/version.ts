import { readFileSync } from 'node:fs';

/** The version in the package.json that this program belongs to, found from the source tree as well as from dist/. */
export function packageVersion(): string {
  for (const path of ['../../package.json', '../../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as { name?: string; version?: string };
      if (name === 'mailtwin' && version !== undefined) return version;
    } catch {
      // The other place has it.
    }
  }
  return 'unknown';
}
