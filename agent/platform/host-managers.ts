import { readdirSync, readFileSync } from 'node:fs';
import { exec } from './exec.ts';
import type { ManagerReading } from './network-managers.ts';

const runMs = 2000;

function attempt<T>(work: () => T, otherwise: T): T {
  try {
    return work();
  } catch {
    // What is not there is told by nobody.
    return otherwise;
  }
}

/** Looks at this host. */
export const hostManagers: ManagerReading = {
  async run(program, args) {
    try {
      const { code, stdout } = await exec(program, args, { timeoutMs: runMs });
      return code === null ? null : { out: stdout };
    } catch {
      return null;
    }
  },
  readText: (path) => attempt(() => readFileSync(path, 'utf8'), null),
  list: (path) => attempt(() => readdirSync(path), []),
};
