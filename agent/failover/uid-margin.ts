/**
 * How far UIDs and modification sequences must be raised after a takeover that may have lost a tail (I5), pure.
 *
 * - `uidMargin(facts)`: what to add to the highest value that the old primary is known to have issued.
 *
 * UIDs have 32 bits (RFC 9051 2.3.1.1), modification sequences 63 (RFC 7162 3.1.1): a margin must not use them up.
 */

/** What a mailbox had issued at a time; times on the monotonic clock, milliseconds. */
export interface Watermark {
  atMs: number;
  uidNext: number;
  highestModseq: number;
}

export interface MarginFacts {
  /** Oldest first; may be empty. */
  history: readonly Watermark[];
  nowMs: number;
  /** `takeover.uidMarginMin`. */
  marginMin: number;
  /** Messages of the whole store: one client can have copied all of them into one mailbox, at any rate, after it was last heard of. */
  storeMessages: number;
}

/** Never more than this at once, whatever a burst of deliveries suggests: hundreds of takeovers fit into 32 bits. */
export const marginMax = 10_000_000;
/** A copy of the whole store, twice. */
const copies = 2;

export function uidMargin({ history, nowMs, marginMin, storeMessages }: MarginFacts): { uids: number; modseqs: number } {
  const last = history.at(-1);
  const silentSeconds = last ? Math.max(0, nowMs - last.atMs) / 1000 : 0;
  const of = (value: (mark: Watermark) => number) =>
    Math.min(marginMax, Math.max(marginMin, copies * storeMessages, Math.ceil(2 * fastest(history, value) * silentSeconds)));
  // A change of flags raises the sequence as well as a new message does, and there are 2^63 of them.
  return { uids: of(({ uidNext }) => uidNext), modseqs: of(({ highestModseq }) => highestModseq) * modseqsPerUid };
}

const modseqsPerUid = 10;

/** Highest rate seen between two marks, a second. A quiet hour before a busy minute must not hide the minute. */
function fastest(history: readonly Watermark[], value: (mark: Watermark) => number): number {
  let rate = 0;
  for (let i = 1; i < history.length; i++) {
    const [before, after] = [history[i - 1], history[i]];
    if (!before || !after) continue;
    // Marks of one moment say nothing of a rate; a second is the least that a heartbeat tells apart.
    const seconds = Math.max(1, (after.atMs - before.atMs) / 1000);
    rate = Math.max(rate, (value(after) - value(before)) / seconds);
  }
  return rate;
}
