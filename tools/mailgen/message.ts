import type { Random } from './random.ts';
import { domains, people, words } from './words.ts';

/** How large messages are. The defaults give a median of about 4 KiB and a mean of about 7 KiB. */
export interface MessageSizes {
  medianBytes: number;
  /** Standard deviation of the size's logarithm. */
  sigma: number;
  /** Share (0..1) of messages with a large attachment. */
  attachmentShare: number;
  attachmentBytesMin: number;
  attachmentBytesMax: number;
}

export const realisticSizes: MessageSizes = {
  medianBytes: 4096,
  sigma: 0.92,
  attachmentShare: 0.0003,
  attachmentBytesMin: 1024 * 1024,
  attachmentBytesMax: 3 * 1024 * 1024,
};

/** One message, line ends LF as a maildir keeps them. */
export interface Message {
  /** Valid until the next message is made: the buffer is used again. */
  bytes: Buffer;
  /** Size with CRLF line ends, as IMAP counts (RFC822.SIZE). */
  virtualSize: number;
  messageId: string;
}

/** Lines of text or base64 from which bodies are cut: making fresh text for each message would take most of the time. */
interface Pool {
  bytes: Buffer;
  /** Offset of each line's start, and at the end the pool's length. */
  starts: Uint32Array;
}

const poolBytes = 2 * 1024 * 1024;
const sizeMax = 64 * 1024 * 1024;

/** Makes RFC 5322 messages. No two have the same bytes, because each has its own Message-ID. */
export class MessageMaker {
  readonly #random: Random;
  readonly #sizes: MessageSizes;
  readonly #text: Pool;
  readonly #base64: Pool;
  #scratch = Buffer.allocUnsafe(256 * 1024);
  #count = 0;

  constructor(random: Random, sizes: MessageSizes = realisticSizes) {
    this.#random = random;
    this.#sizes = sizes;
    this.#text = textPool(random);
    this.#base64 = base64Pool(random);
  }

  /** A message to `recipient`, dated `seconds` (Unix time). */
  make(seconds: number, recipient: string): Message {
    const random = this.#random;
    const attached = random.chance(this.#sizes.attachmentShare);
    const wanted = Math.min(
      sizeMax,
      attached
        ? random.int(this.#sizes.attachmentBytesMin, this.#sizes.attachmentBytesMax)
        : Math.round(random.logNormal(this.#sizes.medianBytes, this.#sizes.sigma)),
    );
    const unique = `${random.hex(16)}.${(this.#count++).toString(36)}`;
    const sender = `${random.pick(people)}@${random.pick(domains)}`;
    const messageId = `<${unique}@${random.pick(domains)}>`;
    const boundary = attached ? `=_${random.hex(24)}` : null;
    const head = header({ random, seconds, recipient, sender, messageId, unique, boundary });
    const headLines = countLines(head);
    const tail = boundary === null ? '' : `--${boundary}--\n`;

    const room = head.length * 2 + wanted + 1024;
    if (this.#scratch.length < room) this.#scratch = Buffer.allocUnsafe(room * 2);
    let length = this.#scratch.write(head, 0, 'utf8');
    let lines = headLines;
    const source = attached ? this.#base64 : this.#text;
    let left = wanted - length - tail.length;
    do {
      const cut = this.#cut(source, left);
      cut.bytes.copy(this.#scratch, length);
      length += cut.bytes.length;
      left -= cut.bytes.length;
      lines += cut.lines;
    } while (left > 80);
    length += this.#scratch.write(tail, length, 'latin1');
    lines += boundary === null ? 0 : 1;
    return { bytes: this.#scratch.subarray(0, length), virtualSize: length + lines, messageId };
  }

  /** Whole lines of the pool from a random place: about `bytes`, at least one line. */
  #cut(pool: Pool, bytes: number): { bytes: Buffer; lines: number } {
    const count = pool.starts.length - 1;
    const first = this.#random.int(0, count - 1);
    const from = pool.starts[first] as number;
    let low = first + 1;
    let high = count;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((pool.starts[middle] as number) <= from + bytes) low = middle;
      else high = middle - 1;
    }
    return { bytes: pool.bytes.subarray(from, pool.starts[low]), lines: low - first };
  }
}

function header(facts: {
  random: Random;
  seconds: number;
  recipient: string;
  sender: string;
  messageId: string;
  unique: string;
  boundary: string | null;
}): string {
  const { random, seconds, recipient, sender, messageId, unique, boundary } = facts;
  const date = new Date(seconds * 1000).toUTCString().replace('GMT', '+0000');
  const subject = Array.from({ length: random.int(2, 7) }, () => encodeWord(random.pick(words))).join(' ');
  const relay = `mx${random.int(1, 4)}.example.net`;
  let text =
    `Return-Path: <${sender}>\nDelivered-To: ${recipient}\n` +
    `Received: from ${relay} (${relay} [192.0.2.${random.int(1, 254)}])\n\tby mail.example.org with ESMTPS id ${unique.slice(0, 12)}\n\tfor <${recipient}>; ${date}\n` +
    `Date: ${date}\nFrom: ${sender}\nTo: ${recipient}\nSubject: ${random.chance(0.4) ? 'Re: ' : ''}${subject}\nMessage-ID: ${messageId}\n`;
  if (random.chance(0.4)) text += `In-Reply-To: <${random.hex(16)}@${random.pick(domains)}>\n`;
  text += 'MIME-Version: 1.0\n';
  if (boundary === null) return `${text}Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n`;
  return (
    `${text}Content-Type: multipart/mixed; boundary="${boundary}"\n\n--${boundary}\nContent-Type: text/plain; charset=utf-8\n\nPlease find the document attached.\n\n` +
    `--${boundary}\nContent-Type: application/pdf; name="document.pdf"\nContent-Disposition: attachment; filename="document.pdf"\nContent-Transfer-Encoding: base64\n\n`
  );
}

/** RFC 2047 for words that are not ASCII. */
function encodeWord(word: string): string {
  return /^[!-~]*$/.test(word) ? word : `=?utf-8?B?${Buffer.from(word).toString('base64')}?=`;
}

function countLines(text: string): number {
  let lines = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines++;
  return lines;
}

function textPool(random: Random): Pool {
  const lines: string[] = [];
  let size = 0;
  while (size < poolBytes) {
    let line = '';
    const width = random.int(20, 76);
    while (line.length < width) line += `${random.pick(words)} `;
    // Now and then a paragraph ends.
    const text = random.chance(0.1) ? `${line.trimEnd()}.\n\n` : `${line.trimEnd()}\n`;
    lines.push(text);
    size += Buffer.byteLength(text);
  }
  return pool(Buffer.from(lines.join('')));
}

function base64Pool(random: Random): Pool {
  const text = random.bytes(Math.floor((poolBytes / 77) * 57)).toString('base64');
  return pool(Buffer.from(text.replace(/.{76}/g, '$&\n').replace(/([^\n])$/, '$1\n'), 'latin1'));
}

function pool(bytes: Buffer): Pool {
  const starts = [0];
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) starts.push(at + 1);
  return { bytes, starts: Uint32Array.from(starts) };
}
