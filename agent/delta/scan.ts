import { createHash } from 'node:crypto';
import { Chunker, type ChunkList } from './chunker.ts';
import { chunkFileBytesMin } from './choose.ts';
import { sizesFor, sizesForNext } from './sizes.ts';
import type { Hash64 } from './xxhash.ts';

/** What the standby has of the file. */
export interface OldVersion {
  size: number;
  /** SHA-256, or a leading part of it of at least 16 bytes. */
  content: Buffer;
  chunks: ChunkList | null;
}

/** What one reading of a file tells. */
export interface ScanResult {
  size: number;
  /** SHA-256. */
  content: Buffer;
  /** For the index; null below `chunkFileBytesMin`. */
  chunks: ChunkList | null;
  /** Cut like the old version's list, for the patch; null when there is no such list. */
  comparable: ChunkList | null;
  /** The old version is a beginning of this one. */
  keepsPrefix: boolean;
}

/** Takes a file's content once, part by part, and computes all that the choice of a delta needs. */
export class ContentScan {
  readonly #old: OldVersion | null;
  readonly #sha256 = createHash('sha256');
  readonly #chunker: Chunker | null;
  readonly #comparing: Chunker | null;
  #size = 0;
  #keepsPrefix = false;

  /** `size` is the size the file is expected to have; it decides how fine the chunks are. */
  constructor(size: number, old: OldVersion | null, hash: Hash64) {
    this.#old = old;
    const wanted = old?.chunks ? sizesForNext(old.chunks.sizes, size) : sizesFor(size);
    this.#chunker = size < chunkFileBytesMin ? null : new Chunker(wanted, hash);
    const oldSizes = this.#chunker ? old?.chunks?.sizes : undefined;
    if (!oldSizes) this.#comparing = null;
    else this.#comparing = oldSizes.averageBits === wanted.averageBits ? this.#chunker : new Chunker(oldSizes, hash);
  }

  update(data: Buffer): void {
    const old = this.#old;
    const boundary = (old?.size ?? 0) - this.#size;
    if (old && boundary > 0 && boundary <= data.length) {
      this.#sha256.update(data.subarray(0, boundary));
      const prefix = this.#sha256.copy().digest();
      this.#keepsPrefix = prefix.subarray(0, old.content.length).equals(old.content);
      if (boundary < data.length) this.#sha256.update(data.subarray(boundary));
    } else {
      this.#sha256.update(data);
    }
    this.#chunker?.update(data);
    if (this.#comparing !== this.#chunker) this.#comparing?.update(data);
    this.#size += data.length;
  }

  finish(): ScanResult {
    const chunks = this.#chunker?.finish() ?? null;
    const comparable = this.#comparing === this.#chunker ? chunks : (this.#comparing?.finish() ?? null);
    return {
      size: this.#size,
      content: this.#sha256.digest(),
      chunks,
      comparable: this.#comparing ? comparable : null,
      keepsPrefix: this.#keepsPrefix,
    };
  }
}

const blockBytes = 1024 * 1024;

/**
 * Reads a file through `read`, which gives up to `length` bytes at `offset` and fewer only at the end. `pause` is
 * awaited after each MiB, so that a huge file stops nothing else.
 */
export async function scanFile(
  read: (offset: number, length: number) => Buffer,
  size: number,
  old: OldVersion | null,
  hash: Hash64,
  pause: () => Promise<void>,
): Promise<ScanResult> {
  const scan = new ContentScan(size, old, hash);
  for (let offset = 0; ;) {
    const data = read(offset, blockBytes);
    if (data.length > 0) scan.update(data);
    offset += data.length;
    if (data.length < blockBytes) return scan.finish();
    await pause();
  }
}
