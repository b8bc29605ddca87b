import { readIndexLog } from './index-log.ts';

/**
 * Adds to a Dovecot transaction log what `doveadm mailbox update --min-highest-modseq` adds (seen with 2.3.19;
 * mail-index-transaction-export.c), and nothing that a client could take for a change of a message.
 *
 * - `appendToLog(log, modseq)`: the log with the record at its end.
 * - `freshLog(id, modseq)`: a log for a mailbox that has neither log nor index, as Dovecot makes it for a new mailbox.
 *
 * The next UID is none of it. Dovecot takes that from the list, and what the list names below the index's next UID, and
 * the index does not have, it takes for expunged: nobody sees those messages, until they are given new UIDs.
 */

/** Applied by the mail server itself and not wished from it (MAIL_TRANSACTION_EXTERNAL). */
const external = 0x10000000;
const modseqUpdate = 0x00008000;
const headerBytes = 40;

/** Null when the log is not whole or does not track modification sequences. What is not finished at its end is cut off. */
export function appendToLog(log: Buffer, highestModseq: number): Buffer | null {
  const facts = readIndexLog(log);
  if (!facts || facts.highestModseq === 0) return null;
  const content = numbers(0, highestModseq % 2 ** 32, Math.floor(highestModseq / 2 ** 32));
  return Buffer.concat([log.subarray(0, facts.length), record(modseqUpdate, content)]);
}

/** `id` must not be 0; seconds since the epoch is what Dovecot takes. */
export function freshLog(id: number, highestModseq: number): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt8(1, 0);
  header.writeUInt8(3, 1);
  header.writeUInt16LE(headerBytes, 2);
  header.writeUInt32LE(id, 4);
  // Dovecot's own first log has number 2.
  header.writeUInt32LE(2, 8);
  header.writeUInt32LE(id, 20);
  header.writeBigUInt64LE(BigInt(highestModseq), 24);
  header.writeUInt8(1, 32);
  return header;
}

function record(type: number, content: Buffer): Buffer {
  const out = Buffer.alloc(8 + content.length);
  out.writeUInt32BE(encodeSize(out.length), 0);
  out.writeUInt32LE((type | external) >>> 0, 4);
  content.copy(out, 8);
  return out;
}

function numbers(...values: number[]): Buffer {
  const out = Buffer.alloc(values.length * 4);
  values.forEach((value, at) => out.writeUInt32LE(value, at * 4));
  return out;
}

/** The reverse of `decodeSize`. */
function encodeSize(bytes: number): number {
  const words = bytes / 4;
  return (0x80808080 | (words & 0x7f) | ((words & 0x3f80) << 1) | ((words & 0x1fc000) << 2) | ((words & 0xfe00000) << 3)) >>> 0;
}
