/**
 * Which release of Dovecot was seen to serve a store that another release had written. Pure data, and each row is held by
 * `test/e2e/mixed-pair.test.ts`.
 *
 * - `dovecotWays`: the rows.
 * - `seenWay(from, to)`: the row of two servers as the agents tell them; null = not in the table.
 * - `isOtherSeries(a, b)`: whether they are of two release series at all. Within a series the store is the same.
 */
export interface DovecotWay {
  /** Release series of the server that wrote the store, for example `2.3`. */
  from: string;
  /** Release series of the server that serves it afterwards. */
  to: string;
  format: 'maildir';
  /** Values of `dovecot_storage_version`, on whichever side has it (2.4), with which it was seen. */
  storageVersions: readonly string[];
}

export const dovecotWays: readonly DovecotWay[] = [
  { from: '2.3', to: '2.4', format: 'maildir', storageVersions: ['2.3.0', '2.4.0'] },
  { from: '2.4', to: '2.3', format: 'maildir', storageVersions: ['2.3.0', '2.4.0'] },
];

/** @param from and `to`: for example `dovecot 2.3.19.1`. */
export function seenWay(from: string, to: string): DovecotWay | null {
  const [first, second] = [seriesOf(from), seriesOf(to)];
  return dovecotWays.find((way) => way.from === first && way.to === second) ?? null;
}

export function isOtherSeries(a: string, b: string): boolean {
  const [first, second] = [seriesOf(a), seriesOf(b)];
  return first !== null && second !== null && first !== second;
}

function seriesOf(version: string): string | null {
  return /^dovecot (\d+\.\d+)(?:\.|$)/.exec(version)?.[1] ?? null;
}
