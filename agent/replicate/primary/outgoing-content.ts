import { createHash, type Hash } from 'node:crypto';
import { limits } from '../../../protocol/limits.ts';
import type { MessageOf } from '../../../protocol/messages.ts';
import type { Piece } from '../../../protocol/ops.ts';
import { isRacy } from './context.ts';
import { Restless, type ReadContent } from './read-content.ts';

type Pieces = MessageOf<'slice'>['pieces'];

/** Content read for one slice, also where it turns out to be zeros, which travel as a number. */
const stepBytes = 1024 * 1024;
const zeros = Buffer.alloc(stepBytes);

/** Cuts large content into slices as it is sent, and proves at the end that what was sent was there at one moment. */
export class OutgoingContent {
  readonly content: ReadContent;
  readonly #pieces: readonly Piece[];
  /** Of the literal pieces: where each lies in the new content. */
  readonly #literals: readonly { offset: number; length: number }[];
  #piece = 0;
  #literal = 0;
  /** How much of the piece at hand was cut already. */
  #done = 0;
  /** SHA-256 of what was sent, where that is all of the content. */
  #hash: Hash | null;

  constructor(content: ReadContent) {
    this.content = content;
    const { choice, scanned } = content;
    const { size } = scanned;
    if (choice.kind === 'patch') [this.#pieces, this.#literals] = [choice.pieces, choice.literals];
    else if (choice.kind === 'copy') [this.#pieces, this.#literals] = [[{ from: 0, length: size }], []];
    else [this.#pieces, this.#literals] = [[{ literal: size }], [{ offset: 0, length: size }]];
    this.#hash = choice.kind === 'whole' && !content.bytes.isFixed ? createHash('sha256') : null;
  }

  /**
   * The next slice, with about this much literal content; null at the end.
   *
   * @throws Restless when the file has become shorter.
   */
  next(bytesMax: number): { pieces: Pieces; bytes: Buffer } | null {
    const pieces: Pieces = [];
    const parts: Buffer[] = [];
    let bytes = 0;
    let read = 0;
    while (bytes < bytesMax && read < stepBytes && pieces.length < limits.slicePiecesMax) {
      const piece = this.#pieces[this.#piece];
      if (!piece) break;
      if ('from' in piece) {
        pieces.push([piece.from + this.#done, piece.length - this.#done]);
        this.#advance(piece.length - this.#done, piece);
        continue;
      }
      const part = this.#read(Math.min(bytesMax - bytes, piece.literal - this.#done));
      read += part.length;
      const isZeros = part[0] === 0 && part.equals(zeros.subarray(0, part.length));
      const last = pieces.at(-1);
      const kind = isZeros ? -2 : -1;
      if (last?.[0] === kind) last[1] += part.length;
      else pieces.push([kind, part.length]);
      if (!isZeros) {
        parts.push(part);
        bytes += part.length;
      }
      this.#advance(part.length, piece);
    }
    if (pieces.length === 0) return null;
    return { pieces, bytes: parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts) };
  }

  #read(length: number): Buffer {
    const range = this.#literals[this.#literal];
    if (!range) throw new Error('a literal piece without its content');
    const part = this.content.bytes.read(range.offset + this.#done, length);
    if (part.length < length) throw new Restless('it became shorter while it was sent');
    this.#hash?.update(part);
    return part;
  }

  #advance(length: number, piece: Piece): void {
    this.#done += length;
    if (this.#done < ('from' in piece ? piece.length : piece.literal)) return;
    this.#done = 0;
    this.#piece++;
    if ('literal' in piece) this.#literal++;
  }

  /**
   * Passes over what the standby has staged already. False when that is something else than this content; then all of it
   * has to be sent, by another transfer.
   */
  async resume(bytes: number, prefix: Buffer, pause: () => Promise<void>): Promise<boolean> {
    const hash = createHash('sha256');
    await this.#readThrough(bytes, (part) => hash.update(part), pause);
    if (this.#hash) this.#hash = hash.copy();
    for (let left = bytes; left > 0;) {
      const piece = this.#pieces[this.#piece];
      if (!piece) return false;
      const length = Math.min(left, 'from' in piece ? piece.length : piece.literal);
      this.#advance(length, piece);
      left -= length;
    }
    return hash.digest().equals(prefix);
  }

  /**
   * Resolves when what was sent is what the file held at one moment: nobody changed it meanwhile, or two readings of all
   * of it, one after the other, gave the same.
   *
   * @throws Restless when it cannot be shown.
   */
  async prove(pause: () => Promise<void>): Promise<void> {
    const { bytes, stat, scanned, readWallMs } = this.content;
    if (bytes.isFixed) return;
    const sent = this.#hash?.digest() ?? null;
    if (sent) {
      if (sent.equals(scanned.content)) return;
      throw new Restless('it changed while it was sent');
    }
    const now = bytes.stat();
    const isQuiet = now.size === stat.size && now.mtimeNs === stat.mtimeNs && now.ctimeNs === stat.ctimeNs;
    if (isQuiet && !isRacy(stat.mtimeNs, readWallMs)) return;
    const hash = createHash('sha256');
    await this.#readThrough(scanned.size, (part) => hash.update(part), pause);
    if (!hash.digest().equals(scanned.content)) throw new Restless('it changed while it was sent');
  }

  async #readThrough(length: number, take: (part: Buffer) => void, pause: () => Promise<void>): Promise<void> {
    for (let offset = 0; offset < length; offset += stepBytes) {
      const wanted = Math.min(stepBytes, length - offset);
      const part = this.content.bytes.read(offset, wanted);
      if (part.length < wanted) throw new Restless('it became shorter while it was sent');
      take(part);
      await pause();
    }
  }

  close(): void {
    this.content.bytes.close();
  }
}
