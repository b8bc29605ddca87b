/** Large content is on its way for about this long at most, so that what follows it waits no longer. */
const delayMsMax = 250;
/** Below this the line could take more at a time. */
const delayMsLow = 100;
const bytesMin = 128 * 1024;
const bytesMax = 4 * 1024 * 1024;
const sliceBytesMin = 16 * 1024;
const sliceBytesMax = 256 * 1024;

/**
 * How many bytes of large content may be on their way to the standby. Grows while they are written within a tenth of a
 * second, shrinks when they take longer than a quarter: so a fast line is kept busy, and on a slow one little stands before
 * what is sent next. Measured where it counts, at the standby's answer, because sockets and routers buffer, too.
 */
export class LineWindow {
  #bytes = 256 * 1024;
  #inFlight = 0;
  #shrunkAt = -Infinity;
  /** What was sent and not yet answered, oldest first. */
  readonly #sent: { bytes: number; atMs: number }[] = [];

  get bytes(): number {
    return this.#bytes;
  }

  /** Content that goes into one frame now. */
  get sliceBytes(): number {
    return Math.floor(Math.max(sliceBytesMin, Math.min(sliceBytesMax, this.#bytes / 4)));
  }

  get hasRoom(): boolean {
    return this.#inFlight < this.#bytes;
  }

  /** Bytes were sent; times are monotonic milliseconds. */
  sent(bytes: number, nowMs: number): void {
    this.#inFlight += bytes;
    if (bytes > 0) this.#sent.push({ bytes, atMs: nowMs });
  }

  /** The standby has written this many bytes more. */
  taken(bytes: number, nowMs: number): void {
    let left = bytes;
    let delayMs = 0;
    for (let first = this.#sent[0]; first && left > 0; first = this.#sent[0]) {
      delayMs = nowMs - first.atMs;
      const part = Math.min(left, first.bytes);
      first.bytes -= part;
      left -= part;
      if (first.bytes === 0) this.#sent.shift();
    }
    this.#inFlight -= bytes - left;
    if (delayMs < delayMsLow) this.#bytes = Math.min(bytesMax, this.#bytes + bytes);
    else if (delayMs > delayMsMax && nowMs - this.#shrunkAt > delayMs) {
      // What is under way was sent under the old window: its delays say nothing about the new one.
      this.#bytes = Math.max(bytesMin, this.#bytes * Math.max(0.5, delayMsMax / delayMs));
      this.#shrunkAt = nowMs;
    }
  }
}
