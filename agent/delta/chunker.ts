import type { ChunkSizes } from './sizes.ts';
import type { Hash64 } from './xxhash.ts';

/** One stretch of a file's content, and its hash. */
export interface Chunk {
  offset: number;
  length: number;
  id: bigint;
}

/** The chunks of one version of a file, in order and without gaps, and the sizes they were cut with. */
export interface ChunkList {
  sizes: ChunkSizes;
  chunks: readonly Chunk[];
}

/**
 * Cuts content into chunks at places that the content itself decides, so that an insertion moves only the cuts near it.
 *
 * Gear hash with normalised chunk sizes, after FastCDC (Xia et al., USENIX ATC 2016). The hash is 32 bits wide, which
 * is what a JavaScript engine adds without boxing; the table comes from the pair's secret, so that nobody who writes
 * mail can foresee the cuts.
 */
export class Chunker {
  readonly #sizes: ChunkSizes;
  readonly #hash: Hash64;
  readonly #gear: Int32Array;
  readonly #chunks: Chunk[] = [];
  #start = 0;
  /** Bytes of the unfinished chunk. */
  #length = 0;
  #gearHash = 0;
  /** Hash of the unfinished chunk's bytes from earlier buffers; null when there were none. */
  #pending: ReturnType<Hash64['stream']> | null = null;

  constructor(sizes: ChunkSizes, hash: Hash64) {
    this.#sizes = sizes;
    this.#hash = hash;
    this.#gear = gearTable(hash.seed);
  }

  update(data: Buffer): void {
    let from = 0;
    while (from < data.length) {
      const cut = this.#findCut(data, from);
      const part = data.subarray(from, cut < 0 ? data.length : cut);
      this.#length += part.length;
      if (cut < 0) {
        this.#pending ??= this.#hash.stream();
        this.#pending.update(part);
        return;
      }
      this.#close(part);
      from = cut;
    }
  }

  finish(): ChunkList {
    if (this.#length > 0) this.#close(Buffer.alloc(0));
    return { sizes: this.#sizes, chunks: this.#chunks };
  }

  #close(part: Buffer): void {
    let id: bigint;
    if (this.#pending === null) {
      id = this.#hash.of(part);
    } else {
      this.#pending.update(part);
      id = this.#pending.digest();
      this.#pending = null;
    }
    this.#chunks.push({ offset: this.#start, length: this.#length, id });
    this.#start += this.#length;
    this.#length = 0;
    this.#gearHash = 0;
  }

  /** Index in `data` just after the end of the current chunk, which goes on at `from`; -1 when it does not end here. */
  #findCut(data: Buffer, from: number): number {
    const { min, averageBits, max } = this.#sizes;
    // Where in `data` the chunk reaches each size.
    const base = from - this.#length;
    const end = Math.min(base + max, data.length);
    const middle = Math.min(base + (1 << averageBits), end);
    const gear = this.#gear;
    let hash = this.#gearHash;
    let i = Math.max(from, base + min);
    // Harder to end before the average, easier after it.
    const shiftBefore = 32 - averageBits - 2;
    for (; i < middle; i++) {
      hash = ((hash << 1) + (gear[data[i] as number] as number)) | 0;
      if (hash >>> shiftBefore === 0) return i + 1;
    }
    const shiftAfter = 32 - averageBits + 2;
    for (; i < end; i++) {
      hash = ((hash << 1) + (gear[data[i] as number] as number)) | 0;
      if (hash >>> shiftAfter === 0) return i + 1;
    }
    this.#gearHash = hash;
    return base + max <= data.length ? base + max : -1;
  }
}

const tables = new Map<bigint, Int32Array>();

/** 256 random numbers out of the seed (splitmix32 on both halves). */
function gearTable(seed: bigint): Int32Array {
  const known = tables.get(seed);
  if (known) return known;
  const table = new Int32Array(256);
  let a = Number(seed & 0xffff_ffffn) | 0;
  let b = Number((seed >> 32n) & 0xffff_ffffn) | 0;
  const mix = (x: number): number => {
    x = Math.imul(x ^ (x >>> 16), 0x21f0_aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a_2d97);
    return x ^ (x >>> 15);
  };
  for (let i = 0; i < 256; i++) {
    a = (a + 0x9e37_79b9) | 0;
    b = (b + 0x85eb_ca6b) | 0;
    table[i] = mix(a) ^ mix(b ^ (a << 7));
  }
  // One pair has one seed; a test or a simulation has a few.
  if (tables.size >= 16) tables.clear();
  tables.set(seed, table);
  return table;
}
