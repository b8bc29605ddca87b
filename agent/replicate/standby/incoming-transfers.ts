import type { Message, MessageOf } from '../../../protocol/messages.ts';
import { limits } from '../../../protocol/limits.ts';
import { checkDirPath, ProtocolError } from '../../../protocol/ops.ts';
import type { ReplicaIndex } from '../../journal/replica-index.ts';
import type { Channel } from '../../link/channel.ts';
import { sleep, type Clock } from '../../platform/clock.ts';
import { displayPath, errnoCode, type BytePath, type Files } from '../../platform/files.ts';
import type { Log } from '../../platform/log.ts';
import { faultOf, whyOf } from '../fault.ts';
import { absolute, type Root } from '../root.ts';
import { OpRefused, type Batch } from './batch.ts';
import { copyPiece, StagedWriter } from './staged-writer.ts';
import type { StagedNames } from './staged-names.ts';

export interface IncomingTransferParts {
  files: Files;
  index: ReplicaIndex;
  clock: Clock;
  log: Log;
  roots: ReadonlyMap<string, Root>;
  names: StagedNames;
  freeBytesMin: number;
  /** True while a batch that is not in place yet changes this place (absolute) or one above it. */
  isUnderWay: (path: BytePath) => boolean;
}

interface Incoming {
  id: number;
  root: Root;
  size: number;
  /** What it is known by to a later connection; null when it is not kept. */
  key: string | null;
  writer: StagedWriter | null;
  /** Open file from which pieces are copied. */
  source: number | null;
  /** SHA-256, once it is proved. */
  content: Buffer | null;
  state: 'open' | 'staged' | 'used' | 'over';
  /** Nobody waits for it any more; while a batch uses it, it is that batch's all the same. */
  isDropped: boolean;
  unsynced: number;
  /** What came so far is dealt with in order, each transfer for itself: a long copy holds up nobody else. */
  work: Promise<void>;
}

/** A transfer gives its content to the disk in such portions, so that a batch's syncfs never finds much more of it. */
const syncBytes = 4 * 1024 * 1024;
/** Room that large content leaves to what else is to come, beyond what batches need. */
const roomLeftBytes = 64 * 1024 * 1024;
const sourceWaitMs = 10;
const keptMax = 4;
const keptBytesMin = 4 * 1024 * 1024;
const keptMsMax = 24 * 3_600_000;

/**
 * Large content that arrives apart from batches. It is written beside its root, proved by its SHA-256 (I8), and waits there
 * until a batch uses it. What a connection leaves unfinished is deleted with it, except for a few long transfers, which a
 * later one may go on with.
 */
export class IncomingTransfers {
  readonly #p: IncomingTransferParts;
  readonly #open = new Map<number, Incoming>();
  readonly #kept = new Map<string, { incoming: Incoming; atMs: number }>();
  /** Content that was refused for want of room, by root, until some of that root was taken. */
  readonly #refused = new Map<string, string>();

  constructor(parts: IncomingTransferParts) {
    this.#p = parts;
  }

  /** Why large content is refused for want of room; null when it is not. */
  get shortOfRoom(): { code: 'no-space'; detail: string } | null {
    for (const detail of this.#refused.values()) return { code: 'no-space', detail };
    return null;
  }

  /** Nobody wants to bring anything. */
  nothingWaits(): void {
    this.#refused.clear();
  }

  /** Takes a message; true when it belongs to a transfer: then `done` is called when it was consumed. */
  take(channel: Channel, message: Message, done: () => void): boolean {
    switch (message.type) {
      case 'transfer':
        this.#begin(channel, message);
        done();
        return true;
      case 'slice':
        this.#then(
          channel,
          message.id,
          (incoming) => this.#slice(incoming, message),
          () => {
            done();
            channel.sendControl({ type: 'transferTaken', bytes: message.bytes.length });
          },
        );
        return true;
      case 'transferEnd':
        this.#then(channel, message.id, (incoming) => this.#end(channel, incoming, message.content), done);
        return true;
      case 'transferDrop':
        this.#then(channel, message.id, (incoming) => this.#drop(incoming), done);
        return true;
      default:
        return false;
    }
  }

  /**
   * The staged file of a transfer, for an op of a batch; it stays the transfer's until the batch is accepted.
   *
   * @throws OpRefused when there is no such content.
   */
  use(batch: Batch, id: number, size: number, content: Buffer): { staged: BytePath; fd: number } {
    const incoming = this.#open.get(id);
    if (!incoming?.writer || incoming.state !== 'staged' || incoming.size !== size || !incoming.content?.equals(content))
      throw new OpRefused('content', `transfer ${id} has not brought this content`);
    incoming.state = 'used';
    batch.transfers.push(id);
    return { staged: incoming.writer.path, fd: incoming.writer.fd };
  }

  /** A batch was given up: what it would have used can be used again. */
  giveBack(ids: readonly number[]): void {
    for (const id of ids) {
      const incoming = this.#open.get(id);
      if (incoming?.state !== 'used') continue;
      incoming.state = 'staged';
      if (incoming.isDropped) this.#drop(incoming);
    }
  }

  /** A batch was accepted: its steps own what it used. */
  handOver(ids: readonly number[]): void {
    for (const id of ids) {
      this.#open.get(id)?.writer?.close();
      this.#open.delete(id);
    }
  }

  /** The connection has ended. Resolves when nothing works for it any more. */
  async abandon(): Promise<void> {
    const left = [...this.#open.values()];
    this.#open.clear();
    for (const incoming of left) {
      const was = incoming.state;
      incoming.state = 'over';
      await incoming.work;
      if (was !== 'used' && incoming.key !== null && (incoming.writer?.written ?? 0) >= keptBytesMin) this.#keep(incoming.key, incoming);
      else this.#discard(incoming);
    }
  }

  #begin(channel: Channel, message: MessageOf<'transfer'>): void {
    const root = this.#p.roots.get(message.root);
    if (this.#open.has(message.id) || !root || this.#open.size >= limits.transfersMax) {
      const code = root ? 'io' : 'confined';
      const detail = root ? 'too many transfers at a time' : `there is no root ${message.root} here`;
      return channel.sendControl({ type: 'transferred', id: message.id, code, detail });
    }
    const incoming: Incoming = {
      id: message.id,
      root,
      size: message.size,
      key: message.key?.toString('hex') ?? null,
      writer: null,
      source: null,
      content: null,
      state: 'open',
      unsynced: 0,
      work: Promise.resolve(),
      isDropped: false,
    };
    this.#open.set(message.id, incoming);
    this.#then(channel, message.id, () => this.#prepare(channel, incoming, message));
  }

  async #prepare(channel: Channel, incoming: Incoming, message: MessageOf<'transfer'>): Promise<void> {
    checkDirPath(message.path);
    const found = incoming.key === null ? null : this.#takeKept(incoming.key, incoming);
    if (!found) {
      this.#checkRoom(incoming.root);
      if (message.source !== null) incoming.source = await this.#openSource(incoming, message.source, message.base);
      if (incoming.state === 'open')
        incoming.writer = new StagedWriter(this.#p.files, this.#p.names.next(incoming.root, message.path), message.size);
    }
    if (incoming.key === null) return;
    const bytes = found?.written ?? 0;
    channel.sendControl({ type: 'transferFound', id: incoming.id, bytes, prefix: found && bytes > 0 ? found.prefix() : null });
  }

  async #openSource(incoming: Incoming, path: BytePath, base: Buffer | null): Promise<number | null> {
    const { files, index, clock, isUnderWay } = this.#p;
    checkDirPath(path);
    const at = absolute(incoming.root, path);
    while (isUnderWay(at)) {
      await sleep(clock, sourceWaitMs);
      if (incoming.state === 'over') return null;
    }
    const entry = index.at(incoming.root.name, path)?.entry;
    if (entry?.kind !== 'file' || (base && !entry.content.equals(base)))
      throw new OpRefused('base', `${displayPath(path)} has other content`);
    const fd = files.openRead(at);
    if (fd === null) throw new OpRefused('base', `${displayPath(path)} cannot be opened`);
    try {
      const stat = files.fstat(fd);
      if (stat.ino === entry.ino && stat.size === entry.size) return fd;
      throw new OpRefused('base', `${displayPath(path)} was changed by somebody else`);
    } catch (error) {
      files.close(fd);
      throw error;
    }
  }

  async #slice(incoming: Incoming, { pieces, bytes }: MessageOf<'slice'>): Promise<void> {
    const { writer, source } = incoming;
    if (!writer) return;
    const before = writer.stored;
    let used = 0;
    for (const [from, length] of pieces) {
      if (from === -1) {
        if (used + length > bytes.length) throw new OpRefused('content', 'a slice has less content than its pieces say');
        writer.write(bytes.subarray(used, (used += length)));
      } else if (from === -2) await this.#writeZeros(incoming, writer, length);
      else if (source === null) throw new OpRefused('base', 'a piece of a file that was not named');
      else await copyPiece(this.#p.files, source, { from, length }, writer, () => this.#pause(incoming));
    }
    incoming.unsynced += writer.stored - before;
    if (incoming.unsynced < syncBytes) return;
    incoming.unsynced = 0;
    this.#checkRoom(incoming.root);
    await this.#p.files.fdatasync(writer.fd);
  }

  async #writeZeros(incoming: Incoming, writer: StagedWriter, length: number): Promise<void> {
    for (let left = length; left > 0;) {
      left -= writer.writeZeros(left);
      if (left > 0) await this.#pause(incoming);
    }
  }

  /** Lets others through in the midst of long work, and ends it when nobody waits for it any more. */
  async #pause(incoming: Incoming): Promise<void> {
    await this.#p.clock.yield();
    if (incoming.state === 'over') throw new OpRefused('io', 'given up');
  }

  async #end(channel: Channel, incoming: Incoming, content: Buffer): Promise<void> {
    const { writer } = incoming;
    if (!writer) return;
    writer.prove(content);
    if (incoming.unsynced > 0) await this.#p.files.fdatasync(writer.fd);
    if (incoming.source !== null) this.#p.files.close(incoming.source);
    incoming.source = null;
    if (incoming.state !== 'open') return;
    incoming.content = content;
    incoming.state = 'staged';
    this.#refused.delete(incoming.root.name);
    channel.sendControl({ type: 'transferred', id: incoming.id, code: 'staged', detail: '' });
  }

  #drop(incoming: Incoming): void {
    // The batch that uses it may still be given up.
    if (incoming.state === 'used') return void (incoming.isDropped = true);
    incoming.state = 'over';
    this.#open.delete(incoming.id);
    this.#discard(incoming);
  }

  /** Does the next thing for a transfer when what came before is done. What fails is that transfer's fault alone (I20). */
  #then(channel: Channel, id: number, act: (incoming: Incoming) => void | Promise<void>, after: () => void = () => {}): void {
    const incoming = this.#open.get(id);
    // Of one that was refused the rest is still on its way.
    if (!incoming) return after();
    incoming.work = incoming.work
      .then(() => (incoming.state === 'over' ? undefined : act(incoming)))
      .catch((error: unknown) => this.#fail(channel, incoming, error))
      .finally(after);
  }

  #fail(channel: Channel, incoming: Incoming, error: unknown): void {
    if (incoming.state === 'over') return;
    incoming.state = 'over';
    this.#open.delete(incoming.id);
    this.#discard(incoming);
    const code = codeOf(error);
    const detail = whyOf(error);
    if (code === 'no-space') this.#refused.set(incoming.root.name, detail);
    if (code === 'io') this.#p.log.error({ error: detail }, 'large content cannot be staged');
    channel.sendControl({ type: 'transferred', id: incoming.id, code, detail: detail.slice(0, 1000) });
  }

  /** Large content never takes the room that batches need; what was kept for later goes first. */
  #checkRoom(root: Root): void {
    const isShort = () =>
      this.#p.files.space(root.staging).freeBytes < this.#p.freeBytesMin + Math.min(this.#p.freeBytesMin, roomLeftBytes);
    if (isShort()) for (const key of this.#kept.keys()) this.#forget(key);
    if (isShort()) throw new OpRefused('no-space', `there is no room left for large content on the file system of root ${root.name}`);
  }

  #keep(key: string, incoming: Incoming): void {
    this.#forget(key);
    this.#kept.set(key, { incoming, atMs: this.#p.clock.monotonicMs() });
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= keptMax) break;
      this.#forget(oldest);
    }
  }

  #takeKept(key: string, incoming: Incoming): StagedWriter | null {
    const now = this.#p.clock.monotonicMs();
    for (const [old, { atMs }] of this.#kept) if (now - atMs > keptMsMax) this.#forget(old);
    const kept = this.#kept.get(key)?.incoming;
    if (!kept || kept.root !== incoming.root || kept.size !== incoming.size) return null;
    this.#kept.delete(key);
    incoming.writer = kept.writer;
    incoming.source = kept.source;
    return kept.writer;
  }

  #forget(key: string): void {
    const kept = this.#kept.get(key);
    if (kept) this.#discard(kept.incoming);
    this.#kept.delete(key);
  }

  #discard(incoming: Incoming): void {
    const { files, log } = this.#p;
    if (incoming.source !== null) files.close(incoming.source);
    incoming.source = null;
    const { writer } = incoming;
    incoming.writer = null;
    if (!writer) return;
    try {
      writer.close();
      files.unlink(writer.path);
    } catch (error) {
      // What is left is removed at the next start.
      if (errnoCode(error) === undefined) throw error;
      log.warn({ path: displayPath(writer.path), code: errnoCode(error) }, 'a staged file could not be removed');
    }
  }
}

type Code = Exclude<MessageOf<'transferred'>['code'], 'staged'>;
const codes: ReadonlySet<string> = new Set<Code>(['base', 'content', 'no-space', 'confined']);

function codeOf(error: unknown): Code {
  if (error instanceof OpRefused) return codes.has(error.reject) ? (error.reject as Code) : 'io';
  if (error instanceof ProtocolError) return 'confined';
  return faultOf(error, 'writing') === 'room' ? 'no-space' : 'io';
}
