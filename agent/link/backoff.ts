const firstMs = 200;
const lastMs = 10_000;

/**
 * How long to wait before the next attempt: doubles from 200 ms up to 10 s, and half of it is chance, so that two nodes
 * that lost each other at the same moment do not knock in step.
 *
 * @param failures attempts that failed since the last connection that held.
 * @param random from 0 (inclusive) to 1 (exclusive).
 */
export function backoffMs(failures: number, random: number): number {
  const full = Math.min(lastMs, firstMs * 2 ** Math.min(failures, 20));
  return full / 2 + (full / 2) * random;
}
