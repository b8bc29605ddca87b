import type { Config } from '../../config/config.ts';
import { ownUnit as unit, unitConfigFile } from '../../platform/own-unit.ts';
import { fail, pass, warn, type Check } from './finding.ts';
import { hasSystemd, readUnits } from './systemd-units.ts';

/** Programs that have the service manager start what they are told to, outside the sandbox. */
const managers = new Set(['systemctl', 'systemd-run', 'machinectl', 'docker', 'podman']);

/** Of the mounts that a unit makes, those that cut a root or the state directory off, or in two; not what has to be opened. */
function ownMountsOf(mounts: readonly string[], lines: readonly string[], { roots, state }: Config): string[] {
  const written = [state, ...roots.flatMap(({ path, staging }) => [path, ...(staging === null ? [] : [staging])])];
  const isWithin = (path: string, place: string) => path === place || place === '/' || path.startsWith(`${place}/`);
  const opened = lines.flatMap((line) => /^ReadWritePaths="-(.*)"$/.exec(line)?.[1] ?? []);
  return mounts.filter((mount) => !opened.includes(mount) && written.some((path) => isWithin(path, mount) || isWithin(mount, path)));
}

/** The sandbox of the agent's unit: whether there is one, and whether it is open for what this configuration writes, and for no more. */
export const sandboxChecks: Check[] = [
  {
    id: 'sandbox',
    async run({ config, probe, node }) {
      if (!hasSystemd(probe)) return [];
      const { file, lines, state, of } = await node.sandbox();
      if (config.file !== unitConfigFile && of !== config.file) return [];
      const [own] = (await readUnits(probe, [unit])) ?? [];
      if (own?.load !== 'loaded') return [];
      const mend = 'mailtwin sandbox install && systemctl restart mailtwin';
      if (state === 'missing')
        return [
          fail(
            'sandbox',
            `the sandbox of ${unit} keeps the agent from what it must write`,
            `${file} is missing: ${lines.join('; ')}`,
            mend,
          ),
        ];
      if (state === 'needless')
        return [fail('sandbox', `the sandbox of ${unit} is open for what nobody writes`, `${file} is not needed`, mend)];
      if (state === 'other')
        return [
          fail('sandbox', `the sandbox of ${unit} is open for another configuration`, `${file} does not say: ${lines.join('; ')}`, mend),
        ];
      if (!own.noNewPrivileges)
        return [
          warn(
            'sandbox',
            `${unit} has no sandbox`,
            'systemd shows NoNewPrivileges=no',
            'copy deploy/systemd/mailtwin.service of this release to /etc/systemd/system, then: systemctl daemon-reload && systemctl restart mailtwin',
          ),
        ];
      const cut = ownMountsOf(own.ownMounts, lines, config);
      if (cut.length > 0)
        return [
          warn(
            'sandbox',
            `the sandbox of ${unit} makes a mount of its own where mail or state lies: a disk that is unmounted there stays in use, and renames from staging fail`,
            `systemd shows ${cut.join(', ')} in ReadWritePaths, BindPaths or StateDirectory`,
            `take that out of the drop-ins of ${unit}: nothing of the sandbox keeps the agent from there (SECURITY.md)`,
          ),
        ];
      const start = config.services?.commands?.start[0] ?? null;
      if (start !== null && !managers.has(start.replace(/^.*\//, '')))
        return [
          warn(
            'sandbox',
            'a mail server that `services.commands` starts runs in the sandbox of the agent, and ends with it',
            `${start} is started by the agent`,
            'name its units in `services.units`, or have systemd start it: [systemd-run, --quiet, --wait, --pipe, --collect, PROGRAM, ...]',
          ),
        ];
      return [pass('sandbox', `the sandbox of ${unit} fits the configuration`, lines.join('; '))];
    },
  },
];
