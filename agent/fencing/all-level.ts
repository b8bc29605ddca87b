import type { Attempt, Level, Observation } from './level.ts';
import { unknownState } from './level.ts';

/** One device of a level that has several. */
export interface Device {
  name: string;
  level: Level;
}

/** What is kept of the level's time to read all devices once more when the last one is off. */
const readShare = 0.15;

/**
 * Several devices that must all read off at the same time, as the two outlets of a machine with two power supplies: with
 * one of them on, the machine runs. (Pacemaker's fencing topology has such levels.)
 */
export function allLevel(devices: readonly Device[]): Level {
  const read = async (attempt: Attempt): Promise<Observation> =>
    together(await Promise.all(devices.map(async ({ name, level }) => ({ name, seen: await level.read(attempt) }))));

  return {
    async check(attempt) {
      for (const { level } of devices) await level.check(attempt);
    },
    read,
    async off(attempt, how) {
      const keptMs = attempt.leftMs() * readShare;
      const own: Attempt = { leftMs: () => Math.max(0, attempt.leftMs() - keptMs), signal: attempt.signal };
      const offs = await Promise.all(
        devices.map(async ({ name, level }) => ({
          name,
          seen: await level.off(own, { ...how, say: (text) => how.say(`${name}: ${text}`) }),
        })),
      );
      const first = together(offs);
      if (first.state !== 'off' || first.error !== null) return first;
      // The first one may have come on again while the last one went off.
      const again = await read(attempt);
      return { ...again, evidence: `${first.evidence}; all read once more: ${again.evidence}` };
    },
  };
}

/** Off when all are off; on as soon as one is on; not known when one that could be on is not known. */
function together(seen: readonly { name: string; seen: Observation }[]): Observation {
  const evidence = seen.map((each) => each.seen.evidence || `${each.name}: ${each.seen.error?.detail ?? 'not known'}`).join('; ');
  const on = seen.find((each) => each.seen.state === 'on');
  if (on) return { state: 'on', evidence, error: on.seen.error };
  const unsure = seen.find((each) => each.seen.state !== 'off' || each.seen.error !== null);
  if (!unsure) return { state: 'off', evidence, error: null };
  const { code, detail } = unsure.seen.error ?? { code: 'fence-unreadable', detail: 'its state is not known' };
  return unknownState(code, `${unsure.name}: ${detail}`, evidence);
}
