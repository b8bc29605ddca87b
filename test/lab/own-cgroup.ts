import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from './waiting.ts';

/**
 * Control groups of a container's own. Two containers that are started from one group would share the groups of their
 * units, and no systemd would see a unit end while the other one's runs. Needs root.
 */
export class OwnCgroup {
  readonly #dirs: string[];

  /** @param name unique on this machine. */
  constructor(name: string) {
    const own = readFileSync('/proc/self/cgroup', 'utf8').split('\n');
    const pathOf = (key: string) =>
      own
        .find((line) => line.includes(key))
        ?.split(':')
        .slice(2)
        .join(':') ?? '/';
    // The second version alone, or beside the first one, where systemd uses a hierarchy of its own.
    const mounts: [string, string][] = existsSync('/sys/fs/cgroup/cgroup.procs')
      ? [['/sys/fs/cgroup', '0::']]
      : [
          ['/sys/fs/cgroup/unified', '0::'],
          ['/sys/fs/cgroup/systemd', 'name=systemd'],
        ];
    this.#dirs = mounts.filter(([at]) => existsSync(at)).map(([at, key]) => join(at, pathOf(key), name));
    for (const dir of this.#dirs) mkdirSync(dir, { recursive: true });
  }

  /** What to put before a command line to run it in here. */
  get wrap(): string[] {
    const enter = this.#dirs.map((dir) => `echo $$ > '${dir}/cgroup.procs'`).join(' && ');
    return ['sh', '-c', `${enter} && exec "$@"`, 'sh'];
  }

  /** Removes the groups once all in them has ended; what was killed may need a moment. */
  async remove(): Promise<void> {
    await waitFor('the control groups to be empty', 10_000, () => {
      for (const dir of this.#dirs) if (existsSync(dir)) removeGroup(dir);
      return true;
    });
  }
}

function removeGroup(dir: string): void {
  for (const entry of readdirSync(dir, { withFileTypes: true })) if (entry.isDirectory()) removeGroup(join(dir, entry.name));
  rmdirSync(dir);
}
