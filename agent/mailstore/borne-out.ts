/**
 * The highest of the numbers that several files tell of the same thing. Damage tells one wild number: what is more than
 * `gap` above everything else that is told counts for nothing. Numbers up to `gap` always count.
 *
 * A number that is too low here costs nothing: the file that tells the right one travels too, and the standby forgets no
 * mark. One that is too high takes UIDs away from a mailbox for ever.
 *
 * @returns 1 when nothing counts.
 */
export function borneOut(told: readonly number[], gap: number): number {
  const falling = told.toSorted((a, b) => b - a);
  return Math.max(1, falling.find((number, i) => number - (falling[i + 1] ?? 0) <= gap) ?? 1);
}

/** More UIDs than a takeover skips at once (10,000,000), and a small part of all. */
export const uidGap = 2 ** 24;
export const modseqGap = 2 ** 32;
