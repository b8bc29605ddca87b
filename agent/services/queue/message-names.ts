/**
 * File names of messages in the queues of MTAs, and when each message came in, where its name tells. Pure.
 *
 * - Postfix, short queue IDs: microseconds and inode, hexadecimal: they tell no time.
 * - Postfix, `enable_long_queue_ids`: seconds (base 52, at least 6 digits), microseconds (4 digits), `z`, inode (base 51).
 * - Exim: `SECONDS-PID-FRACTION-H`, base 62, of which the parts have other lengths since Exim 4.97. `-D` is the body of the same message.
 */

/** `timeMs`: wall clock; null when the name does not tell. */
export interface MessageName {
  timeMs: number | null;
}

const base52 = '0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz';
const base62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

const postfixShort = /^[0-9A-F]{6,20}$/;
const postfixLong =
  /^([0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{6,12})[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{4}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]{1,13}$/;
const eximHeader = /^([0-9A-Za-z]{6})-(?:[0-9A-Za-z]{6}-[0-9A-Za-z]{2}|[0-9A-Za-z]{11}-[0-9A-Za-z]{4})-H$/;

/** Null when a file of this name is no message. */
export function postfixMessage(name: string): MessageName | null {
  if (postfixShort.test(name)) return { timeMs: null };
  const digits = postfixLong.exec(name)?.[1];
  return digits === undefined ? null : { timeMs: numberIn(digits, base52) * 1000 };
}

/** Null when a file of this name is no message. */
export function eximMessage(name: string): MessageName | null {
  const digits = eximHeader.exec(name)?.[1];
  return digits === undefined ? null : { timeMs: numberIn(digits, base62) * 1000 };
}

function numberIn(digits: string, alphabet: string): number {
  return Array.from(digits).reduce((sum, digit) => sum * alphabet.length + alphabet.indexOf(digit), 0);
}
