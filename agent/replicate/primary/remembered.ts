import { contentBytes, type Entry } from '../../journal/entry.ts';
import { inodeKey, tables } from '../../journal/keys.ts';
import type { Layer } from '../../journal/layer.ts';
import type { Stat } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';

const valueBytes = 8 * 3 + contentBytes;

/**
 * What this node's own files held when they were read last, by inode, for those of which the index was made to say nothing
 * more: the standby lacks them, or has something else. They are read again to be sent. One that has not changed since by what
 * `lstat` shows, and holds something else, was damaged on the disk.
 */
export class Remembered {
  readonly #kv: Kv;
  /** False: nothing is remembered, and nobody has to look. */
  #any: boolean;

  constructor(kv: Kv) {
    this.#kv = kv;
    this.#any = [...kv.range(Buffer.from([tables.remembered]), Buffer.from([tables.remembered + 1]), { limit: 1 })].length > 0;
  }

  /** Notes with a layer what an entry says that is about to go. What a later change may hide behind is no proof of anything. */
  keep(layer: Layer, root: number, entry: Entry): void {
    if (entry.kind !== 'file' || entry.racy || entry.ino === 0n || entry.ctimeNs === 0n || entry.content.length < contentBytes) return;
    this.#any = true;
    const value = Buffer.allocUnsafe(valueBytes);
    value.writeBigInt64BE(BigInt.asIntN(64, BigInt(entry.size)), 0);
    value.writeBigInt64BE(BigInt.asIntN(64, entry.mtimeNs), 8);
    value.writeBigInt64BE(BigInt.asIntN(64, entry.ctimeNs), 16);
    entry.content.copy(value, 24, 0, contentBytes);
    layer.extra.set(keyOf(root, entry.ino).toString('latin1'), value);
  }

  /** What a file must hold that nobody has changed (first bytes of its SHA-256); null when that is not known. */
  of(root: number, stat: Stat): Buffer | null {
    const value = this.#any ? this.#kv.get(keyOf(root, stat.ino)) : undefined;
    if (value?.length !== valueBytes) return null;
    const isSame =
      value.readBigInt64BE(0) === BigInt(stat.size) &&
      value.readBigInt64BE(8) === BigInt.asIntN(64, stat.mtimeNs) &&
      value.readBigInt64BE(16) === BigInt.asIntN(64, stat.ctimeNs);
    return isSame ? Buffer.from(value.subarray(24)) : null;
  }

  /** Forgets a file with the layer that enters it anew. */
  forget(layer: Layer, root: number, ino: bigint): void {
    if (this.#any) layer.extra.set(keyOf(root, ino).toString('latin1'), null);
  }
}

function keyOf(root: number, ino: bigint): Buffer {
  const key = inodeKey(root, ino);
  key[0] = tables.remembered;
  return key;
}
