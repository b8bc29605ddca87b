import { createHash } from 'node:crypto';
import type { Message, MessageOf } from '../../../protocol/messages.ts';
import type { Change } from '../../journal/changes.ts';
import { ChannelClosed, type Channel } from '../../link/channel.ts';
import { sleep } from '../../platform/clock.ts';
import { joinPath, type BytePath, type Stat } from '../../platform/files.ts';
import { faultOf, ifKnown, whyOf } from '../fault.ts';
import { absolute, type Root } from '../root.ts';
import { sentBytes, type FileAt } from './choose-content.ts';
import { sameContent, splitPath, type Making, type PrimaryParts } from './context.ts';
import { noRoomReason, type Lagging } from './lagging.ts';
import { LineWindow } from './line-window.ts';
import { OutgoingContent } from './outgoing-content.ts';
import { readContent, Restless, type ReadContent } from './read-content.ts';
import { isLong, mayRead, nextInLine, type InLine, type Phase } from './transfer-order.ts';

/** Large content that is on the standby, or of which is known that the standby has it already. */
export interface Arrived {
  /** Number of the transfer that staged it; null when nothing had to be sent. */
  readonly id: number | null;
  readonly content: ReadContent;
  readonly transfer: Transfer;
}

export interface Transfer extends InLine {
  root: Root;
  /** Where the file was seen last. */
  path: BytePath;
  /** The file itself; null for content in memory. */
  file: { ino: bigint; btimeNs: bigint } | null;
  /** Changes that it settles: recorded before it was read. They count as taken. */
  owners: Change[];
  /** Changes that came later, and that are looked at when it is over. They wait. */
  behind: Change[];
  /** Number on the wire, once begun. */
  id: number | null;
  outgoing: OutgoingContent | null;
  /** Why the file cannot be read. */
  error: Error | null;
  startedAtMs: number;
  /** Since when it is there and nobody has used it. */
  idleSinceMs: number;
}

const filesMax = 10_000;
/** What nobody uses is dropped after this time. */
const idleMsMax = 60_000;
const tickMs = 1000;
const sliceMs = 8;
const refusedPauseMs = 10_000;
/** Later changes of a file under transfer wait for it. */
const untilOver = Number.MAX_SAFE_INTEGER;

/**
 * Large content goes ahead of the batch that uses it, in slices between which everything else goes. Each file is a transfer of
 * its own: one that changes while it is read, or that the standby cannot take, is tried again with growing pauses, and nobody
 * else pays for it (I20).
 */
export class Transfers {
  readonly #p: PrimaryParts;
  readonly #lagging: Lagging;
  readonly #onArrived: (root: string, path: BytePath) => void;
  readonly #onMisfit: (root: string, path: BytePath) => void;
  readonly #all = new Set<Transfer>();
  readonly #queued = new Set<Transfer>();
  readonly #open = new Set<Transfer>();
  #arrivedCount = 0;
  /** What the standby is still to be told to drop. */
  readonly #drops: number[] = [];
  #dropping: Channel | null = null;
  /** Those that no batch uses yet: by root and inode, or by root and path for content in memory. */
  readonly #byKey = new Map<string, Transfer>();
  readonly #byPath = new Map<string, Transfer>();
  readonly #byId = new Map<number, Transfer>();
  /** Files of which the standby refused a difference: the next time they go whole. */
  readonly #whole = new Set<string>();
  readonly #ready: Change[] = [];
  #window = new LineWindow();
  #channel: Channel | null = null;
  #nextId = 1;
  #nextOrder = 1;
  #reads = 0;
  #wakeLoop: (() => void) | null = null;
  #failure: ((error: unknown) => void) | null = null;

  constructor(
    parts: PrimaryParts,
    lagging: Lagging,
    onArrived: (root: string, path: BytePath) => void,
    onMisfit: (root: string, path: BytePath) => void,
  ) {
    this.#p = parts;
    this.#lagging = lagging;
    this.#onArrived = onArrived;
    this.#onMisfit = onMisfit;
  }

  /** Changes whose content has arrived: they are to be looked at in the next batch, and count as taken. */
  shiftReady(): Change | undefined {
    return this.#ready.shift();
  }

  get hasReady(): boolean {
    return this.#ready.length > 0;
  }

  /** A change that was shifted cannot be looked at now. */
  unshiftReady(change: Change): void {
    this.#ready.unshift(change);
  }

  /** Files that are under way or wait for their turn. */
  get count(): number {
    return this.#all.size;
  }

  /** Whether something of this path is under way. */
  isUnderWay(root: string, path: BytePath): boolean {
    const phase = this.#byPath.get(`${root}\0${path}`)?.phase;
    return phase !== undefined && phase !== 'arrived' && phase !== 'used';
  }

  /** Whether content is still on its way for a change up to this one. */
  isOpenUpTo(seq: number): boolean {
    for (const { owners } of this.#all) if (owners.some((change) => change.seq <= seq)) return true;
    return false;
  }

  /**
   * The content of a file that is here now, when it can be used. What came of an older state and proves nothing any more is
   * dropped.
   *
   * @throws the operating system's error when the file cannot be read.
   */
  arrived(root: string, path: BytePath, stat: Stat): Arrived | null {
    const transfer = this.#byKey.get(fileKey(root, stat.ino));
    if (transfer?.phase !== 'arrived') return null;
    if (transfer.error !== null) {
      this.#forget(transfer);
      throw transfer.error;
    }
    const arrived = arrivedOf(transfer);
    const then = arrived.content.stat;
    const isAsRead = then.size === stat.size && then.mtimeNs === stat.mtimeNs;
    // Inode numbers are used again: without birth times a file that looks different may be another one.
    if (then.btimeNs === stat.btimeNs && (isAsRead || stat.btimeNs !== 0n)) {
      this.#setPath(transfer, path);
      return arrived;
    }
    this.#forget(transfer);
    return null;
  }

  /** Takes over a change, which counts as taken, of a file whose content is too large for a batch. */
  add(root: Root, change: Change, stat: Stat | null, isMessage: boolean): void {
    const { changes, clock } = this.#p;
    const now = clock.monotonicMs();
    if (stat?.kind !== 'file') return changes.giveBack(change);
    const known = this.#byKey.get(fileKey(root.name, stat.ino));
    if (known && known.file?.btimeNs === stat.btimeNs) {
      const there = () => this.#p.files.lstat(absolute(root, known.path));
      if (known.path !== change.path && ifKnown(there)?.ino !== stat.ino) this.#setPath(known, change.path);
      if (known.phase === 'queued') known.owners.push(change);
      else {
        changes.giveBack(change, known.phase === 'arrived' ? now : untilOver);
        known.behind.push(change);
      }
      return;
    }
    if (known) this.#forget(known);
    const retryAtMs = this.#lagging.retryAtMs(root.name, change.path);
    if (retryAtMs > now) return changes.giveBack(change, retryAtMs);
    if (this.#all.size >= filesMax) return changes.giveBack(change, now + tickMs);
    const file = { ino: stat.ino, btimeNs: stat.btimeNs };
    this.#start(root, change.path, file, stat.size, isMessage).owners.push(change);
    this.#read();
  }

  /** Content in memory that has to go ahead; what is under way for the same place and is other content is given up. */
  addBytes(at: FileAt, content: ReadContent): void {
    const path = joinPath(at.dir, at.name);
    const key = memoryKey(at.root.name, path);
    const known = this.#byKey.get(key);
    if (known?.outgoing?.content.scanned.content.equals(content.scanned.content)) return;
    if (known) this.#forget(known);
    const transfer = this.#start(at.root, path, null, sentBytes(content.choice, content.scanned.size), true);
    transfer.outgoing = new OutgoingContent(content);
    this.#setPhase(transfer, 'sending');
  }

  /** Content in memory that has arrived. */
  arrivedBytes(root: string, path: BytePath, content: Buffer): Arrived | null {
    const transfer = this.#byKey.get(memoryKey(root, path));
    if (transfer?.phase !== 'arrived' || !transfer.outgoing?.content.scanned.content.equals(content)) return null;
    return arrivedOf(transfer);
  }

  /** An op of this batch uses what was staged. */
  use(arrived: Arrived, making: Making): void {
    const { transfer } = arrived;
    making.transfers.push(arrived);
    this.#unlist(transfer);
    this.#setPhase(transfer, 'used');
    this.#release(transfer);
    this.#lagging.rested(transfer.root.name, transfer.path);
  }

  /** A batch is durable: what it used is the standby's own. */
  settle(used: readonly Arrived[]): void {
    for (const { transfer } of used) this.#remove(transfer);
    this.#read();
  }

  /** A batch was given up: what it was to use is still staged. */
  giveBack(used: readonly Arrived[]): void {
    for (const { transfer } of used) {
      if (transfer.phase !== 'used') continue;
      // Of an ended connection nothing is left; and when the same file is on its way again, that one counts.
      if (transfer.id === null || this.#byKey.has(keyOf(transfer))) this.#forget(transfer);
      else {
        this.#list(transfer);
        this.#arrive(transfer);
      }
    }
  }

  /** The standby has not got what it once had of a path (a disk of its own went meanwhile): it is sent again. */
  lost(root: string, path: BytePath): void {
    const transfer = this.#byPath.get(`${root}\0${path}`);
    if (transfer?.phase === 'arrived') this.#forget(transfer);
  }

  /** What has arrived is not needed. */
  drop({ transfer }: Arrived): void {
    this.#lagging.rested(transfer.root.name, transfer.path);
    this.#forget(transfer);
  }

  /** The file has changed again since it was read: it follows, and is read again after as long as it took this time. */
  follows({ transfer }: Arrived): void {
    const now = this.#p.clock.monotonicMs();
    const { root, path, startedAtMs } = transfer;
    const ino = transfer.file ? { ino: transfer.file.ino } : {};
    const file = { root: root.name, path, sinceMs: startedAtMs, reason: 'it is written all the time', ...ino };
    this.#lagging.follows(file, now, now + (now - startedAtMs));
  }

  /** Serves one connection until it ends. */
  async serve(channel: Channel): Promise<void> {
    this.#channel = channel;
    this.#window = new LineWindow();
    const failed = new Promise<never>((_, reject) => (this.#failure = reject));
    const over = new AbortController();
    void channel.ended.then(() => {
      over.abort();
      this.#wakeLoop?.();
    });
    try {
      await Promise.race([Promise.all([this.#send(channel, over.signal), this.#tick(over.signal)]), failed]);
    } catch (error) {
      if (!(error instanceof ChannelClosed)) throw error;
    } finally {
      this.#channel = null;
      this.#drops.length = 0;
      this.#abandon();
    }
  }

  /** Takes the standby's answers; true when it was one. */
  receive(message: Message): boolean {
    switch (message.type) {
      case 'transferTaken':
        this.#window.taken(message.bytes, this.#p.clock.monotonicMs());
        this.#wakeLoop?.();
        return true;
      case 'transferFound':
        this.#found(message);
        return true;
      case 'transferred':
        this.#answered(message);
        return true;
      default:
        return false;
    }
  }

  #start(root: Root, path: BytePath, file: Transfer['file'], size: number, isMessage: boolean): Transfer {
    const now = this.#p.clock.monotonicMs();
    const transfer: Transfer = {
      root,
      path,
      file,
      bytesLeft: size,
      isMessage,
      phase: 'queued',
      owners: [],
      behind: [],
      id: null,
      outgoing: null,
      error: null,
      startedAtMs: now,
      idleSinceMs: now,
      order: this.#nextOrder++,
    };
    this.#all.add(transfer);
    this.#queued.add(transfer);
    this.#list(transfer);
    return transfer;
  }

  #list(transfer: Transfer): void {
    this.#byKey.set(keyOf(transfer), transfer);
    this.#byPath.set(pathKey(transfer), transfer);
  }

  #unlist(transfer: Transfer): void {
    if (this.#byKey.get(keyOf(transfer)) === transfer) this.#byKey.delete(keyOf(transfer));
    if (this.#byPath.get(pathKey(transfer)) === transfer) this.#byPath.delete(pathKey(transfer));
  }

  #setPath(transfer: Transfer, path: BytePath): void {
    this.#unlist(transfer);
    transfer.path = path;
    this.#list(transfer);
  }

  /** Reads what is next in line, as far as there is room. */
  #read(): void {
    while (this.#channel !== null) {
      const next = nextInLine(this.#queued, this.#reads);
      if (!next || !mayRead(this.#open, this.#arrivedCount, next)) return;
      this.#reads++;
      this.#setPhase(next, 'reading');
      this.#readOne(next).catch((error: unknown) => this.#failure?.(error));
    }
  }

  async #readOne(transfer: Transfer): Promise<void> {
    const { index, clock } = this.#p;
    const { dir, name } = splitPath(transfer.path);
    const { root } = transfer;
    transfer.startedAtMs = clock.monotonicMs();
    try {
      const dirNumber = index.dirAt(root.name, dir);
      const known = dirNumber === null ? undefined : index.get(dirNumber, name);
      const { immutable } = root.format.classify(transfer.path, 'file');
      const anew = this.#p.unproven.isTrying(root.name, transfer.path, 'content');
      const at: FileAt = { root, dir, name, dirNumber: dirNumber ?? 0, known, immutable, anew };
      const tries = this.#lagging.tries(root.name, transfer.path);
      const content = await readContent(this.#p, at, tries, this.#whole.has(pathKey(transfer)), () => this.#pause(transfer));
      if (transfer.phase !== 'reading') return content?.bytes.close();
      if (!content) return this.#retry(transfer);
      if (content.stat.ino !== transfer.file?.ino) {
        content.bytes.close();
        return this.#retry(transfer);
      }
      transfer.outgoing = new OutgoingContent(content);
      transfer.bytesLeft = sentBytes(content.choice, content.scanned.size);
      if (content.choice.kind === 'same') this.#arrive(transfer);
      else this.#setPhase(transfer, 'sending');
    } catch (error) {
      this.#cannotRead(transfer, error);
    } finally {
      this.#read();
    }
  }

  async #pause(transfer: Transfer): Promise<void> {
    await this.#p.clock.yield();
    if (!this.#all.has(transfer)) throw new Restless('given up');
  }

  async #send(channel: Channel, over: AbortSignal): Promise<void> {
    const { clock } = this.#p;
    let yieldedAt = clock.monotonicMs();
    for (let turn = 0; !over.aborted; turn++) {
      const next = this.#window.hasRoom ? nextInLine(this.#sendable(), turn) : null;
      if (!next) {
        await new Promise<void>((resolve) => (this.#wakeLoop = resolve));
        this.#wakeLoop = null;
        continue;
      }
      await this.#sendSome(channel, next);
      if (clock.monotonicMs() - yieldedAt < sliceMs) continue;
      await clock.yield();
      yieldedAt = clock.monotonicMs();
    }
  }

  *#sendable(): Generator<Transfer> {
    for (const transfer of this.#open) if (transfer.phase === 'sending') yield transfer;
  }

  async #sendSome(channel: Channel, transfer: Transfer): Promise<void> {
    const { outgoing } = transfer;
    if (!outgoing) throw new Error('nothing was read of what is sent');
    if (transfer.id === null) return this.#begin(channel, transfer, outgoing);
    let slice;
    try {
      slice = outgoing.next(this.#window.sliceBytes);
    } catch (error) {
      return this.#cannotRead(transfer, error);
    }
    if (slice === null) {
      this.#setPhase(transfer, 'proving');
      this.#end(channel, transfer, outgoing).catch((error: unknown) => this.#failure?.(error));
      return;
    }
    transfer.bytesLeft = Math.max(0, transfer.bytesLeft - slice.bytes.length);
    this.#window.sent(slice.bytes.length, this.#p.clock.monotonicMs());
    await channel.sendBulk({ type: 'slice', id: transfer.id, ...slice });
  }

  async #begin(channel: Channel, transfer: Transfer, outgoing: OutgoingContent): Promise<void> {
    const { choice, scanned } = outgoing.content;
    const source = choice.kind === 'patch' ? transfer.path : choice.kind === 'copy' ? joinPath(choice.from.dir, choice.from.name) : null;
    const base = choice.kind === 'patch' || choice.kind === 'copy' ? choice.base : null;
    const key = transfer.file && isLong(transfer) ? resumeKey(scanned.content, source, base) : null;
    const id = (transfer.id = this.#nextId++);
    this.#byId.set(id, transfer);
    if (key) this.#setPhase(transfer, 'asking');
    await channel.sendBulk({ type: 'transfer', id, root: transfer.root.name, path: transfer.path, size: scanned.size, source, base, key });
  }

  #found({ id, bytes, prefix }: MessageOf<'transferFound'>): void {
    const transfer = this.#byId.get(id);
    const { outgoing } = transfer ?? {};
    if (transfer?.phase !== 'asking' || !outgoing) return;
    if (bytes === 0 || !prefix) return this.#setPhase(transfer, 'sending');
    const resume = async () => {
      try {
        const fits = bytes <= outgoing.content.scanned.size && (await outgoing.resume(bytes, prefix, () => this.#pause(transfer)));
        if (transfer.phase !== 'asking') return;
        if (!fits) return this.#retry(transfer);
        this.#p.log.info({ bytes, of: outgoing.content.scanned.size }, 'a large file goes on where the last connection ended');
        this.#setPhase(transfer, 'sending');
      } catch (error) {
        this.#cannotRead(transfer, error);
      }
    };
    resume().catch((error: unknown) => this.#failure?.(error));
  }

  async #end(channel: Channel, transfer: Transfer, outgoing: OutgoingContent): Promise<void> {
    try {
      await outgoing.prove(() => this.#pause(transfer));
    } catch (error) {
      return this.#cannotRead(transfer, error);
    }
    if (transfer.phase !== 'proving' || transfer.id === null) return;
    await channel.sendBulk({ type: 'transferEnd', id: transfer.id, content: outgoing.content.scanned.content }).catch(() => {});
  }

  #answered({ id, code, detail }: MessageOf<'transferred'>): void {
    const transfer = this.#byId.get(id);
    if (!transfer) return;
    if (code === 'staged') {
      if (transfer.phase === 'proving') this.#arrive(transfer);
      return;
    }
    // The standby has ended it already.
    this.#byId.delete(id);
    transfer.id = null;
    this.#p.log.warn({ code, detail, file: transfer.path }, 'the standby cannot take the content of a file');
    if (code === 'base' || code === 'content') {
      this.#whole.add(pathKey(transfer));
      if (code === 'base') this.#onMisfit(transfer.root.name, transfer.path);
      return this.#retry(transfer, 'the standby has another version than expected');
    }
    const reason = code === 'no-space' ? noRoomReason : `the standby cannot take it: ${detail}`;
    this.#retry(transfer, reason, refusedPauseMs);
  }

  #arrive(transfer: Transfer): void {
    transfer.outgoing?.close();
    transfer.idleSinceMs = this.#p.clock.monotonicMs();
    this.#setPhase(transfer, 'arrived');
    this.#whole.delete(pathKey(transfer));
    this.#ready.push(...transfer.owners.splice(0));
    this.#release(transfer);
    this.#onArrived(transfer.root.name, transfer.path);
    this.#read();
  }

  /** Later changes of the file are looked at from now on. */
  #release(transfer: Transfer, atMs = 0): void {
    for (const change of transfer.behind.splice(0)) change.notBefore = atMs;
  }

  #cannotRead(transfer: Transfer, error: unknown): void {
    if (!this.#all.has(transfer)) return;
    if (error instanceof Restless) return this.#retry(transfer, error.message);
    const of = faultOf(error, 'reading');
    if (of === 'us' || of === 'link') throw error;
    if (of === 'gone') return this.#retry(transfer);
    if (of === 'host') return this.#retry(transfer, `it cannot be read now: ${whyOf(error)}`);
    transfer.error = error instanceof Error ? error : new Error(String(error));
    if (transfer.id !== null) this.#sendDrop(transfer);
    this.#arrive(transfer);
  }

  /** Gives it up for now. Without a reason the file is gone or another one, which a look tells at once. */
  #retry(transfer: Transfer, reason: string | null = null, pauseMs = 0): void {
    const now = this.#p.clock.monotonicMs();
    const { root, path, owners, behind } = transfer;
    const sinceMs = Math.min(now, ...owners.map(({ at }) => at));
    const file = { root: root.name, path, sinceMs, reason: reason ?? '', ...(transfer.file ? { ino: transfer.file.ino } : {}) };
    const retryAtMs = reason === null ? 0 : this.#lagging.failed(file, now, now - transfer.startedAtMs, pauseMs);
    for (const change of owners.splice(0)) this.#p.changes.giveBack(change, retryAtMs);
    for (const change of behind.splice(0)) change.notBefore = retryAtMs;
    this.#forget(transfer);
    this.#onArrived(transfer.root.name, transfer.path);
  }

  #forget(transfer: Transfer): void {
    for (const change of transfer.owners.splice(0)) this.#p.changes.giveBack(change);
    this.#release(transfer);
    if (transfer.id !== null && this.#byId.get(transfer.id) === transfer) this.#sendDrop(transfer);
    this.#remove(transfer);
    this.#read();
  }

  #remove(transfer: Transfer): void {
    transfer.outgoing?.close();
    this.#setPhase(transfer, 'used');
    this.#all.delete(transfer);
    this.#unlist(transfer);
    if (transfer.id !== null) this.#byId.delete(transfer.id);
  }

  #sendDrop(transfer: Transfer): void {
    if (transfer.id === null) return;
    this.#byId.delete(transfer.id);
    if (this.#channel) {
      this.#drops.push(transfer.id);
      this.#sendDrops(this.#channel).catch((error: unknown) => {
        if (!(error instanceof ChannelClosed)) this.#failure?.(error);
      });
    }
    transfer.id = null;
  }

  /** One at a time (I12): a batch that is refused may drop all that its directories wait for. */
  async #sendDrops(channel: Channel): Promise<void> {
    if (this.#dropping === channel) return;
    this.#dropping = channel;
    for (let id = this.#drops.shift(); id !== undefined; id = this.#channel === channel ? this.#drops.shift() : undefined)
      await channel.sendBulk({ type: 'transferDrop', id });
    if (this.#dropping === channel) this.#dropping = null;
  }

  #setPhase(transfer: Transfer, phase: Phase): void {
    if (transfer.phase === 'arrived') this.#arrivedCount--;
    if (phase === 'arrived') this.#arrivedCount++;
    transfer.phase = phase;
    if (phase !== 'queued') this.#queued.delete(transfer);
    if (phase === 'arrived' || phase === 'used') this.#open.delete(transfer);
    else if (phase !== 'queued') this.#open.add(transfer);
    this.#wakeLoop?.();
  }

  /** Looks whether what is sent is still wanted, and forgets what nobody came for. */
  async #tick(over: AbortSignal): Promise<void> {
    const { clock, files, index } = this.#p;
    while (!over.aborted) {
      await sleep(clock, tickMs, over);
      const now = clock.monotonicMs();
      for (const transfer of this.#all) {
        if (transfer.phase === 'arrived' && now - transfer.idleSinceMs > idleMsMax) this.#forget(transfer);
        else if (transfer.file && this.#open.has(transfer) && this.#isElsewhere(transfer)) this.#retry(transfer);
      }
      for (const { root, path } of this.#lagging.takeQuiet(now)) this.#p.changes.hurry(root, path);
      this.#lagging.prune((name, path) => {
        const root = this.#p.roots.find((each) => each.name === name);
        const stat = root ? ifKnown(() => files.lstat(absolute(root, path))) : null;
        const entry = index.at(name, path)?.entry;
        return stat === null || (stat !== undefined && entry !== undefined && sameContent(entry, stat));
      });
    }
  }

  #isElsewhere(transfer: Transfer): boolean {
    const stat = ifKnown(() => this.#p.files.lstat(absolute(transfer.root, transfer.path)));
    return stat !== undefined && stat?.ino !== transfer.file?.ino;
  }

  /** Nothing of it outlives the connection; its changes wait again. */
  #abandon(): void {
    for (const change of this.#ready.splice(0)) this.#p.changes.giveBack(change);
    for (const transfer of this.#all) {
      transfer.id = null;
      // What a batch uses is settled or given back with that batch.
      if (transfer.phase === 'used') continue;
      this.#forget(transfer);
    }
    this.#byId.clear();
  }
}

function arrivedOf(transfer: Transfer): Arrived {
  if (!transfer.outgoing) throw new Error('a transfer has arrived that was never read');
  return { id: transfer.id, content: transfer.outgoing.content, transfer };
}

function fileKey(root: string, ino: bigint): string {
  return `${root}\0#${ino}`;
}

function memoryKey(root: string, path: BytePath): string {
  return `${root}\0=${path}`;
}

function keyOf({ root, file, path }: Transfer): string {
  return file ? fileKey(root.name, file.ino) : memoryKey(root.name, path);
}

function pathKey({ root, path }: Transfer): string {
  return `${root.name}\0${path}`;
}

/** What a part that a former connection left must agree with. */
function resumeKey(content: Buffer, source: BytePath | null, base: Buffer | null): Buffer {
  const hash = createHash('sha256').update(content);
  if (source !== null && base) hash.update(base).update(source, 'latin1');
  return hash.digest().subarray(0, 16);
}
