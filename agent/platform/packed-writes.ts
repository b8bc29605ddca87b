import type { KvWrite } from './kv.ts';

const lengthBytes = 4;
/** In place of a value's length: the key goes. */
const removed = 0xffff_ffff;

/** Writes as one piece of memory of its own, which can be handed to another thread without a copy. */
export function packWrites(writes: readonly KvWrite[]): Buffer {
  let bytes = 0;
  for (const [key, value] of writes) bytes += 2 * lengthBytes + key.length + (value?.length ?? 0);
  const packed = Buffer.allocUnsafeSlow(bytes);
  let at = 0;
  for (const [key, value] of writes) {
    at = packed.writeUInt32LE(key.length, at);
    at = packed.writeUInt32LE(value === null ? removed : value.length, at);
    at += key.copy(packed, at);
    if (value) at += value.copy(packed, at);
  }
  return packed;
}

/** The same writes; keys and values are parts of `packed`. */
export function* unpackWrites(packed: Buffer): Generator<KvWrite> {
  for (let at = 0; at < packed.length;) {
    const keyBytes = packed.readUInt32LE(at);
    const valueBytes = packed.readUInt32LE(at + lengthBytes);
    at += 2 * lengthBytes;
    const key = packed.subarray(at, (at += keyBytes));
    yield [key, valueBytes === removed ? null : packed.subarray(at, (at += valueBytes))];
  }
}
