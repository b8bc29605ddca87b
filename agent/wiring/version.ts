import { readFileSync } from 'node:fs';

/** Version of this package; the compiled files lie one directory deeper than their sources. */
export const agentVersion: string = (
  JSON.parse(
    readFileSync(new URL(import.meta.url.endsWith('.ts') ? '../../package.json' : '../../../package.json', import.meta.url), 'utf8'),
  ) as { version: string }
).version;
