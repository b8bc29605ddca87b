import { createHash } from 'node:crypto';
import { limits } from '../../../protocol/limits.ts';
import type { Meta, Op } from '../../../protocol/ops.ts';
import { checksumOf, type Position } from '../../../protocol/position.ts';
import type { Channel } from '../../link/channel.ts';
import type { BytePath } from '../../platform/files.ts';

/** Rough size on the wire of an op without its content. */
const opBytes = 200;

/**
 * Sends one batch while it is being made: ops gather into frames. Nothing is sent for a batch that stays empty.
 */
export class BatchWriter {
  readonly id: number;
  readonly from: Position;
  readonly #channel: Channel;
  readonly #numbers = new Map<string, number>();
  #newDirs: [string, BytePath][] = [];
  #pending: Op[] = [];
  #pendingBytes = 0;
  #begun = false;
  readonly #digest = createHash('sha256');
  /** Place of each op, to name what a rejection means. */
  readonly places: { root: string; dir: BytePath; name: BytePath; from?: { dir: BytePath; name: BytePath }; removed?: true }[] = [];
  /** Content sent, in bytes. */
  bytes = 0;
  /** A whole directory moved: nothing else can build on both its names within this batch. */
  endsHere = false;

  constructor(channel: Channel, id: number, from: Position) {
    this.#channel = channel;
    this.id = id;
    this.from = from;
  }

  get ops(): number {
    return this.places.length;
  }

  get isFull(): boolean {
    return this.endsHere || this.ops >= limits.batchOpsMax || this.bytes >= limits.batchBytesTarget;
  }

  /** Number of a directory in the batch's table. */
  dir(root: string, path: BytePath): number {
    const key = `${root}\0${path}`;
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = this.#numbers.size;
      this.#numbers.set(key, number);
      this.#newDirs.push([root, path]);
    }
    return number;
  }

  /**
   * Adds an op. `place` says where, in words of the index.
   *
   * @throws ChannelClosed
   */
  async add(op: Op, place: { root: string; dir: BytePath; name: BytePath; from?: { dir: BytePath; name: BytePath } }): Promise<void> {
    this.places.push(op.op === 'remove' ? { ...place, removed: true } : place);
    if (op.op === 'move' && op.tree) this.endsHere = true;
    this.#digest.update(`${op.op}\0${place.root}\0${place.dir}\0${place.name}\0`, 'latin1');
    if ('content' in op) this.#digest.update(op.content);
    this.#pending.push(op);
    const inline = 'bytes' in op ? op.bytes.length : 0;
    this.bytes += inline;
    this.#pendingBytes +=
      inline + opBytes + ('meta' in op && op.meta ? xattrBytes(op.meta) : 0) + ('pieces' in op ? op.pieces.length * 10 : 0);
    if (this.#pendingBytes >= limits.opsFrameBytesTarget) await this.flush();
  }

  async flush(): Promise<void> {
    if (this.#pending.length === 0) return;
    if (!this.#begun) {
      this.#begun = true;
      await this.#channel.sendBulk({ type: 'batch', id: this.id, from: this.from });
    }
    const message = { type: 'ops' as const, id: this.id, dirs: this.#newDirs, ops: this.#pending };
    this.#newDirs = [];
    this.#pending = [];
    this.#pendingBytes = 0;
    await this.#channel.sendBulk(message);
  }

  /** Closes the batch; returns the position that it makes. The grant is durable by now. */
  async commit(epoch: number, seq: number, grant: number): Promise<Position> {
    await this.flush();
    const chain = createHash('sha256').update(this.from.checksum).update(this.#digest.digest()).update(String(seq)).digest('hex');
    const to = { epoch, seq, checksum: checksumOf(grant, chain) };
    await this.#channel.sendBulk({ type: 'commit', id: this.id, ops: this.ops, to });
    return to;
  }
}

function xattrBytes(meta: Meta): number {
  return (meta.xattrs ?? []).reduce((sum, [name, value]) => sum + name.length + value.length, 0);
}
