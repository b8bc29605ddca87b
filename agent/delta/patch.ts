import type { Piece } from '../../protocol/ops.ts';
import type { Chunk } from './chunker.ts';

/** How to make the new version out of the old one. */
export interface Patch {
  pieces: Piece[];
  literalBytes: number;
  /** Where in the new version each literal piece lies, in the order of the pieces. */
  literals: { offset: number; length: number }[];
}

/** More pieces than this are not worth it, and the protocol does not carry many more. */
const piecesMax = 100_000;

/**
 * Finds the old version's chunks in the new one. Both lists must have been cut with the same sizes.
 *
 * Equal ids are taken for equal content; the SHA-256 of the whole, checked where the patch is applied, decides (I8).
 * `idOf` gives the hash of a range of the new version: the old version's last chunk was cut by the end of the file
 * and not by its content, so it is looked for where its predecessor was found. Null when a patch is not worth it.
 */
export function makePatch(old: readonly Chunk[], next: readonly Chunk[], idOf: (offset: number, length: number) => bigint): Patch | null {
  const byId = new Map<bigint, number>();
  old.forEach(({ id }, i) => {
    if (!byId.has(id)) byId.set(id, i);
  });
  const lastIndex = old.length - 1;
  const last = old[lastIndex];
  const end = next.at(-1);
  const size = end ? end.offset + end.length : 0;
  const writer = new PieceWriter();
  /** The old chunk that would continue the last one that was found. */
  let follows = 0;
  /** End of what has been written, in the new version. */
  let done = 0;
  for (const chunk of next) {
    if (chunk.offset + chunk.length <= done) continue;
    if (chunk.offset >= done) {
      // Content that repeats itself (zeros) has many places; the one that goes on from the last keeps the pieces few.
      const index = matches(old[follows], chunk) ? follows : (byId.get(chunk.id) ?? -1);
      const found = old[index];
      if (found && matches(found, chunk)) {
        writer.old(found.offset, chunk.length);
        follows = index + 1;
        done = chunk.offset + chunk.length;
        continue;
      }
    }
    const from = Math.max(done, chunk.offset);
    if (last && follows === lastIndex && from === done && from + last.length <= size && idOf(from, last.length) === last.id) {
      writer.old(last.offset, last.length);
      follows = -1;
      done = from + last.length;
      if (chunk.offset + chunk.length <= done) continue;
    }
    writer.literal(done, chunk.offset + chunk.length - done);
    done = chunk.offset + chunk.length;
    if (follows === lastIndex) follows = -1;
  }
  return writer.pieces.length > piecesMax ? null : { pieces: writer.pieces, literalBytes: writer.literalBytes, literals: writer.literals };
}

function matches(old: Chunk | undefined, chunk: Chunk): boolean {
  return old !== undefined && old.id === chunk.id && old.length === chunk.length;
}

/** Collects pieces and merges neighbours. */
class PieceWriter {
  readonly pieces: Piece[] = [];
  readonly literals: { offset: number; length: number }[] = [];
  literalBytes = 0;

  old(from: number, length: number): void {
    const before = this.pieces.at(-1);
    if (before && 'from' in before && before.from + before.length === from) before.length += length;
    else this.pieces.push({ from, length });
  }

  literal(offset: number, length: number): void {
    this.literalBytes += length;
    const before = this.pieces.at(-1);
    const range = this.literals.at(-1);
    if (range && before && 'literal' in before) {
      before.literal += length;
      range.length += length;
    } else {
      this.pieces.push({ literal: length });
      this.literals.push({ offset, length });
    }
  }
}
