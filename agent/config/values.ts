/**
 * The values of the configuration file that are written with a unit: "20MB/s", "10GiB", "20%", "14d", "HOST:PORT", "08:00".
 *
 * Each parser returns null when the text is not of its form; the schema says what to write instead.
 */

const byteUnits: Record<string, number> = {
  '': 1,
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
};

/** Bytes of "256MiB", "20 GB" or "1.5GiB"; a bare number is bytes. */
export function parseBytes(text: string): number | null {
  const match = /^(\d{1,15}(?:\.\d{1,6})?) ?([A-Za-z]{0,3})$/.exec(text.trim());
  const unit = match ? byteUnits[match[2] ?? ''] : undefined;
  if (!match || unit === undefined) return null;
  const bytes = Math.round(Number(match[1]) * unit);
  return Number.isSafeInteger(bytes) ? bytes : null;
}

/** Bytes per second of "20MB/s". */
export function parseRate(text: string): number | null {
  const match = /^(.*)\/s$/.exec(text.trim());
  const bytes = match ? parseBytes(match[1] ?? '') : null;
  return bytes !== null && bytes > 0 ? bytes : null;
}

/** The share (0 to 1) of "20%". */
export function parseShare(text: string): number | null {
  const match = /^(\d{1,3}(?:\.\d{1,4})?) ?%$/.exec(text.trim());
  const share = match ? Number(match[1]) / 100 : Number.NaN;
  return share > 0 && share <= 1 ? share : null;
}

/** Days of "14d", "36h" or "2w". */
export function parseDays(text: string): number | null {
  const match = /^(\d{1,5}(?:\.\d{1,4})?) ?([hdw])$/.exec(text.trim());
  if (!match) return null;
  const days = (Number(match[1]) * { h: 1, d: 24, w: 168 }[match[2] as 'h' | 'd' | 'w']) / 24;
  return days > 0 ? days : null;
}

/** Minutes since midnight of "08:00"; "24:00" is the end of the day. */
export function parseTimeOfDay(text: string): number | null {
  const match = /^(\d{2}):(\d{2})$/.exec(text.trim());
  if (!match) return null;
  const minutes = Number(match[1]) * 60 + Number(match[2]);
  return Number(match[2]) < 60 && minutes <= 24 * 60 ? minutes : null;
}

/** "HOST:PORT"; an IPv6 address stands in brackets. Port 0, where `portMin` allows it, means any free port. */
export function parseHostPort(text: string, portMin = 1): { host: string; port: number } | null {
  const match = /^(?:\[([0-9a-fA-F:.]+(?:%[\w.-]+)?)\]|([A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})?)):(\d{1,5})$/.exec(text.trim());
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host !== undefined && port >= portMin && port <= 65535 ? { host, port } : null;
}

/** Writes what `parseHostPort` reads. */
export function showHostPort(address: { host: string; port: number }): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
