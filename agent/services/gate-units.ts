/** The target that the package brings; its own unit file has the condition already. */
const ownTarget = 'mailtwin-active.target';
const systemDir = '/etc/systemd/system';
export const dropInName = '10-mailtwin.conf';

/** Units that need the drop-in, of those that `services.units` names. */
export function unitsToGate(units: readonly string[]): string[] {
  return units.filter((unit) => unit !== ownTarget);
}

/** Where the drop-in of a unit lies (systemd.unit(5)); `postfix@-.service` has its own. */
export function dropInPath(unit: string): string {
  return `${systemDir}/${unit}.d/${dropInName}`;
}

/**
 * The drop-in that lets systemd start a unit only where the gate file is, whatever asks for it.
 *
 * @param template deploy/systemd/10-mailtwin.conf, which has the gate's usual place.
 * @param gate the gate of this node's configuration.
 */
export function dropInText(template: string, gate: string): string {
  // A specifier of systemd begins with a percent sign.
  const condition = `ConditionPathExists=${gate.replaceAll('%', '%%')}`;
  const text = template.replace(/^ConditionPathExists=.*$/m, () => condition);
  if (!text.includes(condition)) throw new Error('the template of the drop-in has no condition');
  return text;
}
