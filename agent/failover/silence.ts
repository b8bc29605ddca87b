/**
 * How long the primary can have lived without being heard, pure. It may have taken mail in that time alone: what a dead
 * host did not take is no loss, however long people sleep.
 *
 * - `heard(atMs)`: the beginning, at the last frame of the primary.
 * - `lookAt(signs, atMs)`: what the signs of life say.
 * - `afterLook(before, look, wallMs)`: what a look at the silent primary adds.
 * - `unheard(silence, nowMs)`: what may be said now.
 *
 * Times are monotonic, in milliseconds.
 */

/**
 * What one look saw. `nothing`: its addresses and services are silent, and this node is not cut off. `off`: a fence level
 * reads off. `something`: one of its addresses answers. `blind`: nobody can tell.
 */
export interface Look {
  atMs: number;
  saw: 'nothing' | 'off' | 'something' | 'blind';
  /** For people; one line. */
  what: string;
  /** Where the fence device itself tells since when it is off: wall clock. */
  offSinceWallMs?: number;
}

export interface Silence {
  /** The last frame. */
  heardMs: number;
  /** The last look, or the last frame before the first. */
  lookedMs: number;
  saw: 'heard' | Look['saw'];
  what: string;
  /** Time up to the last look in which it can have lived. */
  unheardMs: number;
  /** Since when each look found it dead; null while the last one did not. */
  deadSinceMs: number | null;
  looks: number;
}

/** A host needs longer than this to start, serve and be gone again, so two looks at a dead one prove the time between them. */
export const watchedGapMs = 30_000;
/** Nobody but a person switches the power of a host on and off again. */
const powerGapMs = 15 * 60_000;

export function heard(atMs: number): Silence {
  return { heardMs: atMs, lookedMs: atMs, saw: 'heard', what: '', unheardMs: 0, deadSinceMs: null, looks: 0 };
}

/** `wallMs`: the wall clock at the look. */
export function afterLook(before: Silence, look: Look, wallMs: number): Silence {
  const gapMs = Math.max(0, look.atMs - before.lookedMs);
  const isDead = look.saw === 'nothing' || look.saw === 'off';
  const wasDead = before.saw === 'nothing' || before.saw === 'off';
  const mayPassMs = before.saw === 'off' && look.saw === 'off' ? powerGapMs : watchedGapMs;
  const isProven = wasDead && isDead && gapMs <= mayPassMs;
  // Clocks may differ: a device can only shorten the time that was not watched.
  const deadMs = look.offSinceWallMs === undefined ? 0 : Math.min(gapMs, Math.max(0, wallMs - look.offSinceWallMs));
  const livedMs = gapMs - deadMs;
  return {
    heardMs: before.heardMs,
    lookedMs: look.atMs,
    saw: look.saw,
    what: look.what,
    unheardMs: before.unheardMs + (isProven ? 0 : livedMs),
    deadSinceMs: !isDead ? null : wasDead ? before.deadSinceMs : look.atMs - deadMs,
    looks: before.looks + 1,
  };
}

export interface Unheard {
  /** It can have lived for so long without being heard. */
  seconds: number;
  /** How that is known, for people. */
  bound: string;
}

/** `wallOf`: a monotonic time as people read it. */
export function unheard(silence: Silence, nowMs: number, wallOf: (ms: number) => string): Unheard {
  const { heardMs, saw, what, deadSinceMs, looks } = silence;
  const sinceLookMs = Math.max(0, nowMs - silence.lookedMs);
  const isDead = saw === 'nothing' || saw === 'off';
  const openMs = isDead && sinceLookMs <= watchedGapMs ? 0 : sinceLookMs;
  const seconds = Math.round((silence.unheardMs + openMs) / 100) / 10;
  const last = `it was last heard at ${wallOf(heardMs)}`;
  if (saw === 'heard') return { seconds, bound: `${last}, and nobody has looked since whether it lives` };
  if (deadSinceMs !== null)
    return {
      seconds,
      bound: `${last}; ${what}, since ${wallOf(deadSinceMs)} at the latest (${looks} ${looks === 1 ? 'look' : 'looks'}); time in which it was dead is no loss`,
    };
  return { seconds, bound: `${last}; when it died cannot be told: ${what}` };
}

/** What is known of the silent primary at one moment. */
export interface Signs {
  /** Its own addresses, and whether its kernel answered there at all. */
  paths: readonly { path: string; lives: boolean }[];
  /** Service addresses, and who answers; `error`: nobody could be asked. Empty where none are configured. */
  services: readonly { address: string; by: string | null; error: string | null }[];
  /** Gateways and witnesses that answer this node; null where none are configured, or they could not be asked. */
  witnesses: readonly string[] | null;
  /** What the power switches read since the last look. */
  power: readonly { name: string; state: 'on' | 'off' | 'unknown'; evidence: string }[];
}

export function lookAt({ paths, services, witnesses, power }: Signs, atMs: number): Look {
  const see = (saw: Look['saw'], what: string, more: Partial<Look> = {}): Look => ({ atMs, saw, what, ...more });
  const path = paths.find(({ lives }) => lives);
  if (path) return see('something', `${path.path} answers`);
  const taken = services.find(({ by }) => by !== null);
  if (taken) return see('something', `${taken.by} answers for ${taken.address}`);
  const off = power.find(({ state }) => state === 'off');
  if (off) {
    const sinceMs = offSince(off.evidence);
    return see('off', `${off.name} reads off`, sinceMs === null ? {} : { offSinceWallMs: sinceMs });
  }
  if (witnesses === null) return see('blind', 'no gateway or witness is configured that tells whether this node is cut off');
  if (witnesses.length === 0) return see('blind', 'this node was cut off itself: no gateway and no witness answers');
  const unasked = services.find(({ error }) => error !== null);
  if (unasked) return see('blind', `nobody could be asked for ${unasked.address}: ${unasked.error}`);
  if (paths.length === 0 && services.length === 0) return see('blind', 'no address of it is known');
  return see('nothing', 'none of its addresses and services answers');
}

/** A fence level whose status prints when the power went, for example from the event log of a BMC: `off since 2026-11-30T08:41:00Z`. */
function offSince(evidence: string): number | null {
  const text = /\boff since (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)/.exec(evidence)?.[1];
  const wallMs = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isFinite(wallMs) ? wallMs : null;
}
