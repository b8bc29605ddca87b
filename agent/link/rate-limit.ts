/** A window of local time of day; minutes since midnight, `from` inclusive, `to` exclusive, across midnight when `to` is not later. */
export interface RateWindow {
  fromMinute: number;
  toMinute: number;
  /** null = no limit in this window. */
  bytesPerSecond: number | null;
}

/** The limit at a minute of the day: of the first window that holds it; null when there is none. */
export function allowanceAt(windows: readonly RateWindow[], minute: number): number | null {
  const window = windows.find(({ fromMinute: from, toMinute: to }) =>
    from < to ? minute >= from && minute < to : minute >= from || minute < to,
  );
  return window?.bytesPerSecond ?? null;
}

/** Minutes since local midnight. */
export function minuteOfDay(wallMs: number): number {
  const date = new Date(wallMs);
  return date.getHours() * 60 + date.getMinutes();
}

const burstMs = 100;

/**
 * A token bucket that may go into debt by one frame, so that a frame larger than the burst passes and is paid for after.
 *
 * Time is handed in, in monotonic milliseconds.
 */
export class RateLimit {
  #tokens = 0;
  #atMs: number;

  constructor(nowMs: number) {
    this.#atMs = nowMs;
  }

  /** Milliseconds to wait before `bytes` may go; 0 means that they were taken. */
  take(bytes: number, bytesPerSecond: number, nowMs: number): number {
    const perMs = bytesPerSecond / 1000;
    this.#tokens = Math.min(perMs * burstMs, this.#tokens + (nowMs - this.#atMs) * perMs);
    this.#atMs = nowMs;
    if (this.#tokens < 0) return -this.#tokens / perMs;
    this.#tokens -= bytes;
    return 0;
  }
}
