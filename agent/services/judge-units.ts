import type { Exec } from '../platform/exec.ts';
import { unitProperties } from '../platform/unit-properties.ts';

/** Why a unit of `services.units` could not be started on this host now, before anybody starts it. */
export interface UnitFault {
  unit: string;
  /** For people, with the unit's name. */
  what: string;
  evidence: string;
  /** What to do, for people. */
  remedy: string;
}

const readMs = 10_000;
const properties = 'Id,LoadState,Conflicts,ConflictedBy';

/**
 * Judges units without starting one: that each is there and not masked, that none of them conflicts with another one of
 * the list (systemd would stop one to start the other), and that their conditions and assertions hold (systemd.unit(5)),
 * but for that of our gate. An instance of a template whose files are missing fails its assertion.
 *
 * @param gate the file whose condition the takeover itself fulfils.
 * @returns null when systemd does not answer.
 */
export async function judgeUnits(units: readonly string[], gate: string, exec: Exec): Promise<UnitFault[] | null> {
  const shown = await exec('systemctl', ['show', `--property=${properties}`, '--', ...units], { timeoutMs: readMs }).catch(() => null);
  const facts = shown?.code === 0 ? unitProperties(shown.stdout) : [];
  if (facts.length !== units.length) return null;
  const ids = facts.map((each, i) => each.get('Id') ?? units[i] ?? '');
  const faults = await Promise.all(
    units.map(async (unit, i): Promise<UnitFault[]> => {
      const value = (key: string): string => facts[i]?.get(key) ?? '';
      const unloaded = loadFault(unit, value('LoadState'));
      if (unloaded) return [unloaded];
      const conflicts = new Set(`${value('Conflicts')} ${value('ConflictedBy')}`.split(/\s+/));
      const others = ids.filter((id, at) => at > i && id !== ids[i] && conflicts.has(id));
      return [...others.map((other) => conflictFault(unit, other)), ...(await conditionFaults(unit, gate, exec))];
    }),
  );
  return faults.flat();
}

function loadFault(unit: string, load: string): UnitFault | null {
  const evidence = `LoadState=${load}`;
  if (load === 'loaded') return null;
  if (load === 'not-found')
    return {
      unit,
      what: `there is no unit ${unit} on this node`,
      evidence,
      remedy: `install what brings it, or take it out of \`services.units\`: systemctl list-unit-files '${unit.replace(/[@.-].*$/, '')}*'`,
    };
  if (load === 'masked') return { unit, what: `${unit} is masked, so it cannot be started`, evidence, remedy: `systemctl unmask ${unit}` };
  return { unit, what: `${unit} cannot be loaded`, evidence, remedy: `look at: systemctl status ${unit}` };
}

function conflictFault(unit: string, other: string): UnitFault {
  // An instance beside the service itself: of the two, releases of a server have the one or the other.
  const drop = [unit, other].find((each) => each.includes('@')) ?? other;
  return {
    unit,
    what: `${unit} and ${other} cannot run together: starting one stops the other`,
    evidence: 'one of the unit files names the other in Conflicts=',
    remedy: `take ${drop} out of \`services.units\` of this node`,
  };
}

/** What `systemd-analyze condition` says: one line for each condition, `unit: Name=[|][!]value succeeded.` or `failed.` */
const conditionLine = /^\S+: ((?:Condition|Assert)\w+)=(\|?)(!?)(.*) (succeeded|failed|untested)\.$/;

async function conditionFaults(unit: string, gate: string, exec: Exec): Promise<UnitFault[]> {
  // An older or smaller systemd has no such program: then its start will tell.
  const ran = await exec('systemd-analyze', ['condition', `--unit=${unit}`], { timeoutMs: readMs }).catch(() => null);
  if (ran === null) return [];
  return failedConditions(`${ran.stdout}\n${ran.stderr}`, gate).map(({ text, kind }) => ({
    unit,
    what: `${unit} would not start: ${kind === 'Assert' ? 'what it needs is not there' : 'its condition does not hold'}`,
    evidence: text,
    remedy: unit.includes('@')
      ? `make what the instance needs, or take it out of \`services.units\` of this node`
      : `make it hold, or take ${unit} out of \`services.units\` of this node`,
  }));
}

/**
 * The conditions and assertions that forbid a start. Those with a pipe are alternatives: one that holds is enough.
 * Exported for tests.
 */
export function failedConditions(said: string, gate: string): { kind: 'Condition' | 'Assert'; text: string }[] {
  const read = said.split('\n').flatMap((line) => {
    const [, name, pipe, not, value, end] = conditionLine.exec(line.trim()) ?? [];
    if (name === undefined || (name === 'ConditionPathExists' && not === '' && value === gate)) return [];
    const kind = name.startsWith('Assert') ? ('Assert' as const) : ('Condition' as const);
    return [{ kind, isAlternative: pipe === '|', holds: end !== 'failed', text: `${name}=${pipe}${not}${value}` }];
  });
  return (['Condition', 'Assert'] as const).flatMap((kind) => {
    const own = read.filter((each) => each.kind === kind);
    const alternatives = own.filter(({ isAlternative }) => isAlternative);
    const broken = own.filter(({ isAlternative, holds }) => !isAlternative && !holds);
    const isNone = alternatives.length > 0 && alternatives.every(({ holds }) => !holds);
    return [...broken, ...(isNone ? alternatives : [])].map(({ text }) => ({ kind, text: `${text} failed` }));
  });
}
