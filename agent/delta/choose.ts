import type { ChunkList } from './chunker.ts';
import { makePatch, type Patch } from './patch.ts';

/** Files below this size are not chunked: the list would cost more than it saves. */
export const chunkFileBytesMin = 64 * 1024;

/** What is known of both versions when a file's content changed. */
export interface Versions {
  oldSize: number;
  newSize: number;
  /** The first `oldSize` bytes of the new version have the old version's SHA-256. */
  keepsPrefix: boolean;
  oldChunks: ChunkList | null;
  /** The new version cut with the sizes of `oldChunks`. */
  newChunks: ChunkList | null;
}

export type Delta = { kind: 'whole' } | ({ kind: 'tail' | 'patch' } & Patch);

/** The least to send for a file whose content changed. `idOf` is as in `makePatch`. */
export function chooseDelta(versions: Versions, idOf: (offset: number, length: number) => bigint): Delta {
  const { oldSize, newSize, keepsPrefix, oldChunks, newChunks } = versions;
  if (oldSize === 0 || newSize === 0) return { kind: 'whole' };
  if (keepsPrefix && newSize >= oldSize) return tail(oldSize, newSize);
  if (!oldChunks || !newChunks || newSize < chunkFileBytesMin) return { kind: 'whole' };
  const patch = makePatch(oldChunks.chunks, newChunks.chunks, idOf);
  // A patch reads the old version once more on the standby; for little gain the whole is the better bargain.
  if (patch === null || patch.literalBytes > newSize * 0.9) return { kind: 'whole' };
  const [first, second] = patch.pieces;
  const appends =
    patch.pieces.length <= 2 &&
    first &&
    'from' in first &&
    first.from === 0 &&
    first.length === oldSize &&
    (!second || 'literal' in second);
  return { kind: appends ? 'tail' : 'patch', ...patch };
}

function tail(oldSize: number, newSize: number): Delta {
  const length = newSize - oldSize;
  const pieces: Patch['pieces'] = [{ from: 0, length: oldSize }];
  if (length === 0) return { kind: 'tail', pieces, literalBytes: 0, literals: [] };
  pieces.push({ literal: length });
  return { kind: 'tail', pieces, literalBytes: length, literals: [{ offset: oldSize, length }] };
}
