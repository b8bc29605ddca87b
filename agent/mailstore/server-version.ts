/** A mail server's version as it prints it. */
export interface ServerVersion {
  server: 'dovecot';
  /** For example `2.3.19.1`. */
  version: string;
  numbers: readonly number[];
}

/** Reads what `dovecot --version` prints, for example `2.3.19.1 (9b53102964)`; null when it is nothing of the kind. */
export function parseDovecotVersion(output: string): ServerVersion | null {
  const match = /^\s*(?:dovecot\s+)?([0-9]{1,4}(?:\.[0-9]{1,9}){1,5})(?![0-9.])/i.exec(output);
  const version = match?.[1];
  return version === undefined ? null : { server: 'dovecot', version, numbers: version.split('.').map(Number) };
}

/** Whether both are of one release series (2.3, 2.4): its servers read each other's indexes without rewriting them. */
export function sameSeries(a: ServerVersion, b: ServerVersion): boolean {
  return a.numbers[0] === b.numbers[0] && a.numbers[1] === b.numbers[1];
}

/** As the two agents tell each other: `dovecot 2.3.19.1`. */
export function showServerVersion(version: ServerVersion): string {
  return `${version.server} ${version.version}`;
}
