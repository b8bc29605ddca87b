import { createHash, type Hash } from 'node:crypto';
import type { BytePath, Files } from '../../platform/files.ts';
import { OpRefused } from './batch.ts';

/** A run of zeros of this many bytes, at such a boundary, is left out of a staged file: it is a hole there. */
const blockBytes = 4096;
const copyPieceBytes = 1024 * 1024;
const zeros = Buffer.alloc(1024 * 1024);

export const otherContent = 'the content that arrived has another SHA-256 than was announced';

/** A new file in staging, written from its beginning to its end; its content is proved before anybody can use it (I8). */
export class StagedWriter {
  readonly fd: number;
  readonly path: BytePath;
  readonly #files: Files;
  readonly #size: number;
  readonly #hash: Hash = createHash('sha256');
  #written = 0;
  #stored = 0;
  #open = true;

  constructor(files: Files, path: BytePath, size: number) {
    this.#files = files;
    this.path = path;
    this.#size = size;
    this.fd = files.create(path);
  }

  /** Bytes of the new file so far. */
  get written(): number {
    return this.#written;
  }

  /** Bytes given to the disk so far: what is zeros costs none. */
  get stored(): number {
    return this.#stored;
  }

  /** SHA-256 of what was written so far. */
  prefix(): Buffer {
    return this.#hash.copy().digest();
  }

  write(bytes: Buffer): void {
    this.#advance(bytes);
    this.#stored += writeSparsely(this.#files, this.fd, bytes, this.#written - bytes.length);
  }

  /** Writes up to a MiB of zeros, as a hole; returns how many. */
  writeZeros(length: number): number {
    const part = zeros.subarray(0, length);
    this.#advance(part);
    return part.length;
  }

  #advance(bytes: Buffer): void {
    if (this.#written + bytes.length > this.#size) throw new OpRefused('content', 'more content than announced');
    this.#hash.update(bytes);
    this.#written += bytes.length;
  }

  /** Ends the file, which stays open. */
  prove(content: Buffer): void {
    if (this.#written !== this.#size) throw new OpRefused('content', `content ends after ${this.#written} of ${this.#size} bytes`);
    if (!this.prefix().equals(content)) throw new OpRefused('content', otherContent);
    if (this.#stored < this.#size) this.#files.truncate(this.fd, this.#size);
  }

  close(): void {
    if (this.#open) this.#files.close(this.fd);
    this.#open = false;
  }
}

/** Writes bytes into a new file and leaves out whole blocks of zeros; returns how many bytes were written. */
export function writeSparsely(files: Files, fd: number, bytes: Buffer, position: number): number {
  let stored = 0;
  let from = 0;
  let at = 0;
  const put = (end: number) => {
    if (end > from) files.write(fd, from === 0 && end === bytes.length ? bytes : bytes.subarray(from, end), position + from);
    stored += Math.max(0, end - from);
  };
  // Blocks are those of the file, wherever in it these bytes begin.
  for (let end = blockBytes - (position % blockBytes); at < bytes.length; at = end, end += blockBytes) {
    end = Math.min(end, bytes.length);
    // Most content gives itself away by the first byte of a block.
    if (bytes[at] !== 0 || end - at < blockBytes || !bytes.subarray(at, end).equals(zeros.subarray(0, end - at))) continue;
    put(at);
    from = end;
  }
  put(bytes.length);
  return stored;
}

/** Copies a piece of an old version; in slices, because it may be large. */
export async function copyPiece(
  files: Files,
  old: number,
  piece: { from: number; length: number },
  writer: StagedWriter,
  pause: () => Promise<void>,
): Promise<void> {
  const buffer = Buffer.allocUnsafe(Math.min(copyPieceBytes, piece.length));
  for (let done = 0; done < piece.length;) {
    const got = files.read(old, buffer, 0, Math.min(buffer.length, piece.length - done), piece.from + done);
    if (got === 0) throw new OpRefused('base', 'the old version is shorter than expected');
    writer.write(buffer.subarray(0, got));
    done += got;
    if (done < piece.length) await pause();
  }
}
