/** Dovecot's own program that shows its configuration, of 2.3 and of 2.4. Pure. */

/** One line of it; `section` has the blocks around it, outer ones first. */
export interface DovecotSetting {
  section: string;
  key: string;
  value: string;
}

/**
 * Arguments that name the configuration that the agent's services use; null where it is not certain that Dovecot is meant.
 */
export function doveconfFile({ units, configCheck }: { units: readonly string[]; configCheck: readonly string[] | null }): string[] | null {
  const [program = '', ...args] = configCheck ?? [];
  const at = /(^|\/)(doveconf|dovecot|doveadm)$/.test(program) ? args.indexOf('-c') : -1;
  const file = at < 0 ? undefined : args[at + 1];
  if (file === undefined && !units.some((unit) => /^dovecot\.(service|socket)$/.test(unit))) return null;
  return file === undefined ? [] : ['-c', file];
}

/** Reads what `doveconf -n` prints. */
export function doveconfSettings(text: string): DovecotSetting[] {
  const sections: string[] = [];
  const settings: DovecotSetting[] = [];
  for (const line of text.split('\n').map((each) => each.trim())) {
    if (line.startsWith('#')) continue;
    if (line.endsWith('{')) sections.push(line.slice(0, -1).trim());
    else if (line === '}') sections.pop();
    else {
      const [, key, value] = /^([\w/]+)\s*=\s*(.*)$/.exec(line) ?? [];
      if (key !== undefined && value !== undefined) settings.push({ section: sections.join(' '), key, value });
    }
  }
  return settings;
}
