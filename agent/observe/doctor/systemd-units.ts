import { unitProperties } from '../../platform/unit-properties.ts';
import type { DoctorProbe } from './probe.ts';

/** What systemd tells of a unit. */
export interface UnitFacts {
  name: string;
  /** `loaded`, `not-found`, `masked` ... */
  load: string;
  /** `active`, `inactive`, `failed` ... */
  active: string;
  /** `enabled`, `disabled`, `static` ...; empty where there is no unit file. */
  file: string;
  needsReload: boolean;
  dropIns: string;
  /** Whether it may gain no privileges: the sign of a unit that has a sandbox. */
  noNewPrivileges: boolean;
  /** Directories of which its sandbox makes mounts of their own (`ReadWritePaths=`, `BindPaths=`, `StateDirectory=`). */
  ownMounts: string[];
}

/** Whether systemd runs this host; units mean nothing otherwise. */
export function hasSystemd(probe: DoctorProbe): boolean {
  return probe.stat('/run/systemd/system')?.directory === true;
}

/** Null when systemd does not answer for all of them. */
export async function readUnits(probe: DoctorProbe, names: readonly string[]): Promise<UnitFacts[] | null> {
  const properties =
    'Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload,DropInPaths,NoNewPrivileges,ReadWritePaths,BindPaths,StateDirectory';
  const shown = await probe.run('systemctl', ['show', `--property=${properties}`, '--', ...names]);
  const units = shown?.exitCode === 0 ? unitProperties(shown.out) : [];
  if (units.length !== names.length) return null;
  return names.map((name, i) => {
    const value = (key: string) => units[i]?.get(key) ?? '';
    return {
      name,
      load: value('LoadState'),
      active: value('ActiveState'),
      file: value('UnitFileState'),
      needsReload: value('NeedDaemonReload') === 'yes',
      dropIns: value('DropInPaths'),
      noNewPrivileges: value('NoNewPrivileges') === 'yes',
      ownMounts: [
        ...words(value('ReadWritePaths')).map((path) => path.replace(/^[-+]+/, '')),
        // FROM:TO:OPTIONS
        ...words(value('BindPaths')).map((bind) => bind.replace(/^-/, '').split(':')[1] ?? bind),
        ...words(value('StateDirectory')).map((name) => `/var/lib/${name}`),
      ],
    };
  });
}

function words(text: string): string[] {
  return text.split(' ').filter((word) => word !== '');
}

export function isUp({ active }: UnitFacts): boolean {
  return active === 'active' || active === 'activating' || active === 'reloading';
}
