/**
 * - `queued`: waits to be read
 * - `reading`: is read, to know what has to be sent
 * - `asking`: the standby may have a part of it from a former connection
 * - `sending`: goes in slices
 * - `proving`: all of it was sent; the standby's word is awaited
 * - `arrived`: staged there, or not needed there
 * - `used`: an op of a batch that is under way uses it
 */
export type Phase = 'queued' | 'reading' | 'asking' | 'sending' | 'proving' | 'arrived' | 'used';

/** What the order of transfers depends on. */
export interface InLine {
  phase: Phase;
  /** People wait for mail first. */
  isMessage: boolean;
  /** Bytes that are left to send, or the file's size before that is known. */
  bytesLeft: number;
  /** Lower came earlier. */
  order: number;
}

/** Content from this size on never takes the last places. */
const longBytesMin = 16 * 1024 * 1024;
const readingMax = 2;
const openMax = 48;
const longMax = 16;
/** Staged content that no batch has used yet. */
const arrivedMax = 128;
/** One turn in so many goes to the oldest, so that short ones cannot keep a long one back for ever. */
const oldestTurns = 8;

export function isLong({ bytesLeft }: InLine): boolean {
  return bytesLeft >= longBytesMin;
}

/** The next in line: messages first, then what is done soonest. */
export function nextInLine<T extends InLine>(waiting: Iterable<T>, turn: number): T | null {
  const wantsOldest = turn % oldestTurns === oldestTurns - 1;
  let best: T | null = null;
  for (const one of waiting) {
    if (best === null || (wantsOldest ? one.order < best.order : isBefore(one, best))) best = one;
  }
  return best;
}

function isBefore(a: InLine, b: InLine): boolean {
  if (a.isMessage !== b.isMessage) return a.isMessage;
  return a.bytesLeft === b.bytesLeft ? a.order < b.order : a.bytesLeft < b.bytesLeft;
}

/** Whether one more may be read, beside those that are open (`reading` to `proving`) and those that have arrived. */
export function mayRead(open: ReadonlySet<InLine>, arrived: number, next: InLine): boolean {
  if (open.size >= openMax || arrived >= arrivedMax) return false;
  let reading = 0;
  let long = 0;
  for (const one of open) {
    if (one.phase === 'reading' && (++reading >= readingMax || (isLong(one) && isLong(next)))) return false;
    if (isLong(one)) long++;
  }
  return !isLong(next) || long < longMax;
}
