/** Bounds of one chunk in bytes; `averageBits` is the binary logarithm of the size aimed at. */
export interface ChunkSizes {
  readonly min: number;
  readonly averageBits: number;
  readonly max: number;
}

interface Level {
  fileBytesMax: number;
  sizes: ChunkSizes;
}

/**
 * Finer chunks find more of a small file, coarser ones keep the list of a huge file short: from 512 chunks for 4 MiB
 * to about a million for the largest file that is replicated.
 */
const coarsest: Level = { fileBytesMax: Infinity, sizes: { min: 256 * 1024, averageBits: 20, max: 4 * 1024 ** 2 } };
const levels: readonly Level[] = [
  { fileBytesMax: 4 * 1024 ** 2, sizes: { min: 2 * 1024, averageBits: 13, max: 64 * 1024 } },
  { fileBytesMax: 8 * 1024 ** 3, sizes: { min: 16 * 1024, averageBits: 16, max: 256 * 1024 } },
  coarsest,
];

/** A file may outgrow its level by this much before its list is made anew, so that it does not swing between two. */
const outgrowFactor = 4;

/** The chunk sizes for a file of which no list is known. */
export function sizesFor(fileBytes: number): ChunkSizes {
  return levelFor(fileBytes).sizes;
}

/** The chunk sizes for the next version of a file whose last list was made with `old`: the same ones while they fit. */
export function sizesForNext(old: ChunkSizes, fileBytes: number): ChunkSizes {
  const level = levels.find((l) => l.sizes.averageBits === old.averageBits);
  if (!level) return sizesFor(fileBytes);
  const wanted = levelFor(fileBytes);
  // A list that is finer than needed stays until the file is several times too large for it; a coarser one is never kept.
  return wanted.fileBytesMax > level.fileBytesMax && fileBytes <= level.fileBytesMax * outgrowFactor ? old : wanted.sizes;
}

function levelFor(fileBytes: number): Level {
  return levels.find((l) => fileBytes <= l.fileBytesMax) ?? coarsest;
}
