import type { Chunk, ChunkList } from './chunker.ts';

const version = 1;
const headBytes = 10;
const chunkBytes = 12;

/** Encodes a chunk list for storage: a byte of version, the sizes, then length (4 bytes) and id (8 bytes) of each chunk. */
export function encodeChunks(list: ChunkList): Buffer {
  const out = Buffer.allocUnsafe(headBytes + list.chunks.length * chunkBytes);
  out.writeUInt8(version, 0);
  out.writeUInt32LE(list.sizes.min, 1);
  out.writeUInt8(list.sizes.averageBits, 5);
  out.writeUInt32LE(list.sizes.max, 6);
  let at = headBytes;
  for (const chunk of list.chunks) {
    out.writeUInt32LE(chunk.length, at);
    out.writeBigUInt64LE(chunk.id, at + 4);
    at += chunkBytes;
  }
  return out;
}

/** The reverse of `encodeChunks`; null when the bytes are not such a list, which then costs a whole transfer and no more. */
export function decodeChunks(data: Buffer): ChunkList | null {
  if (data.length < headBytes || data[0] !== version || (data.length - headBytes) % chunkBytes !== 0) return null;
  const chunks: Chunk[] = [];
  let offset = 0;
  for (let at = headBytes; at < data.length; at += chunkBytes) {
    const length = data.readUInt32LE(at);
    chunks.push({ offset, length, id: data.readBigUInt64LE(at + 4) });
    offset += length;
  }
  return { sizes: { min: data.readUInt32LE(1), averageBits: data.readUInt8(5), max: data.readUInt32LE(6) }, chunks };
}
