import type { Message, MessageOf } from '../../../protocol/messages.ts';
import { limits } from '../../../protocol/limits.ts';
import { samePosition, showPosition, type Position } from '../../../protocol/position.ts';
import { ChannelClosed, type Channel } from '../../link/channel.ts';
import { metaKey } from '../../journal/keys.ts';
import { displayPath, joinPath, type BytePath } from '../../platform/files.ts';
import type { KvWrite } from '../../platform/kv.ts';
import { packPosition, readPosition } from '../standby/receiver.ts';
import { allMarks } from './all-marks.ts';
import { BatchMaker, type MadeBatch } from './batch-maker.ts';
import { Abandoned, type PrimaryParts } from './context.ts';
import { Reconciler, type Disagreement } from './reconcile.ts';
import { checkRoots } from './root-check.ts';
import type { Skipped } from './skipped.ts';

const positionKey = metaKey('sent-position');
/** Refusals in a row that are mended by looking at the directories concerned alone. */
const refusalsMax = 5;
const filledKey = metaKey('filled');
/** A position that no replica ever has. */
const nowhere: Position = { epoch: 0, seq: 2 ** 48 - 1, checksum: 'ffffffffffffffff' };

export interface Held {
  code: string;
  detail: string;
  remedy: string;
}

export type SenderPhase = 'disconnected' | 'comparing' | 'initial' | 'streaming';

const marksSliceMs = 8;

/**
 * The primary's side of the stream: makes batches of what changed, keeps a few under way, and forgets a change only
 * when the standby has acknowledged it.
 */
export class Sender {
  readonly #p: PrimaryParts;
  readonly #maker: BatchMaker;
  /** Position after the last batch made; batches build on it whether or not they are acknowledged yet. */
  #position: Position;
  #durable: Position;
  #inFlight: MadeBatch[] = [];
  #channel: Channel | null = null;
  #serving: Promise<void> = Promise.resolve();
  #wake: (() => void) | null = null;
  #held: Held | null = null;
  #heldUntil = 0;
  #refusals = 0;
  #paused = 0;
  #phase: SenderPhase = 'disconnected';
  #filled: boolean;
  /** While the fill is not complete: whether every root was compared with the index, and the last change that belongs to it. */
  #scanned = false;
  #fillHead = 0;
  #lastDurableWallMs: number | null = null;
  #nextAsk = 1;
  readonly #asked = new Map<number, (message: Message | null) => void>();
  /** A batch sent only to be refused. */
  #marker: { id: number; resolve: (refused: boolean) => void } | null = null;
  #suspect: { root: string; dir: BytePath }[] = [];
  #mustCompare = false;
  readonly epoch: number;

  constructor(parts: PrimaryParts, skipped: Skipped, epoch: number) {
    this.#p = parts;
    this.epoch = epoch;
    this.#position = this.#durable = readPosition(parts.kv, positionKey);
    this.#filled = parts.kv.get(filledKey) !== undefined;
    this.#maker = new BatchMaker(parts, skipped);
  }

  /** Position of the last batch made. */
  get position(): Position {
    return this.#position;
  }

  /** Position up to which the standby has acknowledged. */
  get durable(): Position {
    return this.#durable;
  }

  get phase(): SenderPhase {
    return this.#channel === null ? 'disconnected' : this.#phase;
  }

  /** The first fill is complete: all that was there when replication began is on the standby. */
  get filled(): boolean {
    return this.#filled;
  }

  get held(): Held | null {
    const deletion = this.#p.guard.held;
    if (deletion) {
      const detail = `${deletion.files} of ${deletion.of} files of root ${deletion.root} would be removed`;
      return { code: 'mass-delete', detail, remedy: 'look whether the mail store is intact, then run `mailtwin allow-delete`' };
    }
    return this.#held;
  }

  get lastDurableWallMs(): number | null {
    return this.#lastDurableWallMs;
  }

  /** Mailboxes that have something not yet durable on the standby. */
  mailboxesOpen(): number {
    const mailboxes = new Set<string>();
    for (const change of this.#p.changes.open()) {
      const root = this.#p.roots.find((r) => r.name === change.root);
      const mailbox = root?.format.classify(change.path, null).mailbox;
      if (mailbox !== null && mailbox !== undefined) mailboxes.add(`${change.root}\0${mailbox}`);
    }
    return mailboxes.size;
  }

  /** Resolves when all changes made before the call have been recorded. */
  watch(barrier: (timeoutMs: number) => Promise<void>): void {
    this.#maker.watch(barrier);
  }

  /** Something was recorded, or may go on: look again. */
  wake(): void {
    this.#wake?.();
  }

  /** While paused no new batch is begun; what is under way still settles. */
  async pauseWhile<T>(work: () => Promise<T>): Promise<T> {
    this.#paused++;
    try {
      while (this.#inFlight.length > 0 || this.#maker.busy) {
        if (this.#channel === null) throw new Error('the standby is not connected');
        await this.#sleep(50);
      }
      return await work();
    } finally {
      this.#paused--;
      this.wake();
    }
  }

  /** Compares both indexes; what differs is recorded and will be mended. Only while paused or before streaming. */
  async reconcile(): Promise<{ found: Disagreement[]; total: number }> {
    await this.#drain();
    const reconciler = new Reconciler(this.#p, (root, dir, after) => this.#askListing(root, dir, after));
    try {
      await reconciler.all();
    } finally {
      reconciler.close();
    }
    this.#maker.forgetProven();
    return { found: reconciler.found, total: reconciler.total };
  }

  /** Sends a request and gives the answer's message; `null` when the connection ended. */
  ask(message: MessageOf<'list'> | MessageOf<'audit'>): Promise<Message | null> {
    const channel = this.#channel;
    if (!channel) return Promise.resolve(null);
    return new Promise((resolve) => {
      this.#asked.set(message.id, resolve);
      channel.sendControl(message);
    });
  }

  nextAskId(): number {
    return this.#nextAsk++;
  }

  /** Serves one connection until it ends. `peerPosition` is what the standby said in its hello. */
  async serve(channel: Channel, peerPosition: Position): Promise<void> {
    const before = this.#serving;
    channel.onMessage((message, done) => {
      this.#receive(message, this.#channel === channel);
      done();
    });
    const serving = (async () => {
      // One connection at a time: what the last one left is put in order before the next one builds on it.
      await before;
      await this.#serveAlone(channel, peerPosition);
    })();
    this.#serving = serving.catch(() => {});
    await serving;
  }

  /** Resolves when the last connection has been left in order. */
  idle(): Promise<void> {
    return this.#serving;
  }

  async #serveAlone(channel: Channel, peerPosition: Position): Promise<void> {
    let over = false;
    this.#channel = channel;
    void channel.ended.then(() => {
      over = true;
      for (const answer of this.#asked.values()) answer(null);
      this.#asked.clear();
      this.#marker?.resolve(false);
      this.wake();
    });
    try {
      await this.#tellMarks(channel, () => over);
      await this.#resume(channel, peerPosition);
      while (!over) {
        const waitMs = this.#waitMs();
        if (waitMs > 0) {
          await this.#sleep(waitMs);
          continue;
        }
        await this.#step(channel);
      }
    } catch (error) {
      if (!(error instanceof Abandoned) && !(error instanceof ChannelClosed)) throw error;
    } finally {
      if (!over) channel.close({ code: 'given-up', detail: 'the primary could not go on with this connection' });
      this.#channel = null;
      this.#phase = 'disconnected';
    }
  }

  /** How far the numbers of all mailboxes are, before anything else; an empty message says that all are told. */
  async #tellMarks(channel: Channel, isOver: () => boolean): Promise<void> {
    const { files, roots, clock } = this.#p;
    let items: MessageOf<'watermarks'>['items'] = [];
    let sinceMs = clock.monotonicMs();
    for (const marks = allMarks(files, roots); ;) {
      const next = marks.next();
      if (isOver()) throw new Abandoned();
      if (!next.done && next.value) items.push(next.value);
      if (items.length >= limits.watermarksPerMessageMax || (next.done && items.length > 0)) {
        channel.sendControl({ type: 'watermarks', items });
        items = [];
      }
      if (next.done) {
        if (next.value) channel.sendControl({ type: 'watermarks', items: [] });
        return;
      }
      if (clock.monotonicMs() - sinceMs < marksSliceMs) continue;
      await clock.yield();
      sinceMs = clock.monotonicMs();
    }
  }

  /** Finds where the standby stands: batches whose acknowledgement was lost settle, the rest is made again. */
  async #resume(channel: Channel, peer: Position): Promise<void> {
    this.#maker.forgetMarks();
    this.#phase = this.#filled ? 'streaming' : 'initial';
    const last = this.#inFlight.findLastIndex((batch) => batch.to !== null && samePosition(batch.to, peer));
    for (let i = 0; i <= last; i++) this.#settleFirst();
    const known = last >= 0 || samePosition(peer, this.#durable);
    this.#abandonAll();
    // Epoch 0 is nobody's: this standby is new, or adopted files that no primary sent it.
    if (!known && this.#filled && peer.epoch === 0) this.#fillAnew();
    this.#fillHead = this.#p.changes.head;
    if (known && !this.#mustCompare) return;
    this.#p.log.info(
      { standby: showPosition(peer), primary: showPosition(this.#durable) },
      'the standby is where no batch of ours ended; comparing',
    );
    await this.#compare(channel);
  }

  /** Another standby than the one that was filled: until it has all that is here the pair is no pair. */
  #fillAnew(): void {
    this.#filled = false;
    // The index tells what the former standby had, and comparing it with this one's tells the rest.
    this.#scanned = true;
    this.#p.kv.commit([[filledKey, null]]);
    this.#p.log.warn({}, 'this standby is new; it is filled before it counts as a standby');
  }

  async #compare(channel: Channel): Promise<void> {
    this.#phase = 'comparing';
    const { total } = await this.reconcile();
    this.#fillHead = this.#p.changes.head;
    this.#p.meter.rescanned('compare');
    this.#p.log.info({ differences: total }, 'compared with the standby');
    const rebased = await this.#exchange('rebase', () => channel.sendControl({ type: 'rebase', position: this.#position }));
    if (rebased === null) throw new Abandoned();
    this.#mustCompare = false;
    this.#p.kv.commit(this.#fillEnds());
    this.#phase = this.#filled ? 'streaming' : 'initial';
  }

  async #exchange(_what: 'rebase', send: () => void): Promise<Message | null> {
    const answer = new Promise<Message | null>((resolve) => this.#asked.set(0, resolve));
    send();
    return answer;
  }

  /**
   * Waits until the standby has dealt with every batch that was sent, also with those that were given up: questions
   * overtake them, and half a batch would be in the answers. Asks by a batch that continues nothing, which is refused.
   */
  async #drain(): Promise<void> {
    const channel = this.#channel;
    if (!channel) throw new Abandoned();
    const id = this.#maker.nextId();
    const refused = new Promise<boolean>((resolve) => (this.#marker = { id, resolve }));
    await channel.sendBulk({ type: 'batch', id, from: nowhere });
    if (!(await refused)) throw new Abandoned();
  }

  async #askListing(root: string, dir: BytePath, after: BytePath): Promise<MessageOf<'listing'>> {
    const answer = await this.ask({ type: 'list', id: this.nextAskId(), root, dir, after });
    if (answer?.type !== 'listing') throw new Abandoned();
    return answer;
  }

  /** Milliseconds until there may be something to do; 0 = now. */
  #waitMs(): number {
    const { changes, clock, settleMs } = this.#p;
    const now = clock.monotonicMs();
    const idleMs = 1000;
    if (this.#paused > 0) return idleMs;
    if (this.#heldUntil > now) return this.#heldUntil - now;
    if (this.#inFlight.length >= limits.batchesInFlightMax) return idleMs;
    if (this.#mustCompare || this.#suspect.length > 0) return this.#inFlight.length > 0 ? idleMs : 0;
    let oldest: number | null = null;
    for (const change of changes.ready(now)) {
      if (oldest === null || change.at < oldest) oldest = change.at;
      if (now - change.at >= settleMs) return 0;
    }
    if (this.#maker.scanning) return 0;
    if (oldest !== null) return Math.max(0.5, settleMs - (now - oldest));
    const next = changes.nextAt();
    return next === null ? idleMs : Math.max(0.5, Math.min(idleMs, next - now));
  }

  async #step(channel: Channel): Promise<void> {
    const { clock, guard, changes } = this.#p;
    if (!this.checkRoots()) return;
    if (this.#mustCompare) return this.#compare(channel);
    if (this.#suspect.length > 0) return this.#clearSuspects();
    const made = await this.#maker.make(channel, this.#position, this.epoch, !this.#filled);
    if (made) {
      if (made.to) this.#position = made.to;
      made.sentAt = clock.monotonicMs();
      this.#inFlight.push(made);
      this.#settleLocal();
    }
    const marks = this.#maker.takeMarks();
    for (let i = 0; i < marks.length; i += limits.watermarksPerMessageMax)
      channel.sendControl({ type: 'watermarks', items: marks.slice(i, i + limits.watermarksPerMessageMax) });
    if (changes.openCount === 0 && guard.held === null) guard.settle();
    if (!made) await clock.yield();
  }

  /** Holds while a root is not what it was. False then. */
  checkRoots(): boolean {
    const { roots, files, kv, index } = this.#p;
    const trouble = checkRoots(roots, files, kv, index);
    if (trouble) {
      this.#hold(trouble, 1000);
      return false;
    }
    if (!this.#held?.code.startsWith('root-')) return true;
    this.#p.log.info({}, 'the roots are back');
    this.#held = null;
    this.#onRootsBack();
    return true;
  }

  #onRootsBack: () => void = () => {};

  /** Calls `fn` when roots that were away are there again. */
  onRootsBack(fn: () => void): void {
    this.#onRootsBack = fn;
  }

  #receive(message: Message, current: boolean): void {
    if (!current) return this.#onOther?.(message);
    switch (message.type) {
      case 'ack':
        return this.#acknowledged(message);
      case 'reject':
        return this.#rejected(message);
      case 'listing':
      case 'audited':
        this.#asked.get(message.id)?.(message);
        this.#asked.delete(message.id);
        return;
      case 'rebased':
        this.#asked.get(0)?.(message);
        this.#asked.delete(0);
        return;
      default:
        this.#onOther?.(message);
    }
  }

  #onOther: ((message: Message) => void) | null = null;

  /** Takes messages that are not about the stream (heartbeats, progress of an audit). */
  onOther(handler: (message: Message) => void): void {
    this.#onOther = handler;
  }

  #acknowledged(message: MessageOf<'ack'>): void {
    const first = this.#inFlight[0];
    // An answer to a batch that was given up: the hello or the next rejection tells where the standby is.
    if (!first || first.id !== message.id || first.to === null || !samePosition(first.to, message.position)) return;
    this.#settleFirst();
    this.#settleLocal();
    this.#refusals = 0;
    if (this.#held && !this.#held.code.startsWith('root-')) this.#held = null;
    this.wake();
  }

  /** The oldest batch is durable on the standby: only now its changes are forgotten (I1). */
  #settleFirst(): void {
    const batch = this.#inFlight.shift();
    if (!batch) return;
    const { kv, index, changes, meter, clock, relived } = this.#p;
    for (const change of batch.changes) changes.settle(change);
    const writes: KvWrite[] = [...index.writesOf(batch.layer), ...changes.save(), relived.save()];
    if (batch.to) {
      this.#durable = batch.to;
      this.#lastDurableWallMs = clock.wallMs();
      writes.push([positionKey, packPosition(batch.to)]);
      meter.batchSeconds((clock.monotonicMs() - batch.sentAt) / 1000);
    }
    this.#scanned ||= batch.completesFill;
    writes.push(...this.#fillEnds());
    kv.commit(writes);
    index.settle(batch.layer);
  }

  /** What to write when all that was there when the fill began has become durable on the standby. */
  #fillEnds(): KvWrite[] {
    if (this.#filled || !this.#scanned || this.#p.changes.durableSeq < this.#fillHead) return [];
    this.#filled = true;
    if (this.#phase === 'initial') this.#phase = 'streaming';
    this.#p.log.info({}, 'the initial fill is complete');
    return [[filledKey, Buffer.from([1])]];
  }

  /** Batches that turned out to need nothing sent are settled as soon as all before them are. */
  #settleLocal(): void {
    while (this.#inFlight[0] && this.#inFlight[0].to === null) this.#settleFirst();
  }

  #rejected(message: MessageOf<'reject'>): void {
    if (message.id === this.#marker?.id) return this.#marker.resolve(true);
    const batch = this.#inFlight.find(({ id }) => id === message.id) ?? this.#maker.current(message.id);
    if (!batch) return;
    this.#p.meter.rejected(message.code);
    this.#p.log.warn(
      { code: message.code, detail: message.detail, ops: message.ops.length },
      'the standby refused a batch; nothing of it was applied',
    );
    const places = message.ops.map((number) => batch.writer.places[number]).filter((place) => place !== undefined);
    this.#abandonAll();
    this.#refusals++;
    if (message.code === 'base' || message.code === 'content') {
      if (this.#refusals > refusalsMax) {
        // Something keeps the two from agreeing: compare everything, slowly, and let people see it.
        this.#mustCompare = true;
        const remedy = 'run `mailtwin verify` on this node and look at both logs; comparing and sending is tried again by itself';
        this.#hold(
          { code: 'refused', detail: `the standby refused ${this.#refusals} batches in a row: ${message.detail}`, remedy },
          this.#retryMs(),
        );
      }
      for (const place of places) {
        this.#suspect.push({ root: place.root, dir: place.dir });
        if (place.from) this.#suspect.push({ root: place.root, dir: place.from.dir });
        this.#p.changes.record(place.root, joinPath(place.dir, place.name), 'path', this.#p.clock.monotonicMs());
        this.#maker.sendWhole(place.root, joinPath(place.dir, place.name));
      }
    } else if (message.code === 'no-space') {
      this.#hold(
        {
          code: 'no-space',
          detail: `the standby has no room: ${message.detail}`,
          remedy: 'make room on the standby; sending goes on by itself',
        },
        this.#retryMs(),
      );
    } else if (message.code === 'from') this.#mustCompare = true;
    else
      this.#hold(
        {
          code: 'standby-io',
          detail: `the standby cannot take a batch: ${message.detail}`,
          remedy: "look at the standby's disk and log; sending is tried again by itself",
        },
        this.#retryMs(),
      );
    this.wake();
  }

  #retryMs(): number {
    return Math.min(30_000, 500 * 2 ** Math.min(this.#refusals, 6));
  }

  #hold(held: Held, forMs: number): void {
    if (this.#held?.code !== held.code) this.#p.log.warn({ code: held.code, detail: held.detail }, 'sending is held');
    this.#held = held;
    this.#heldUntil = this.#p.clock.monotonicMs() + forMs;
  }

  /** A person released what was held. */
  release(): number {
    const released = this.#p.guard.allow(this.#p.changes.openCount);
    this.#heldUntil = 0;
    for (const change of this.#p.changes.open()) change.notBefore = 0;
    this.wake();
    return released;
  }

  /** Looks at what the standby holds in directories whose ops did not fit. */
  async #clearSuspects(): Promise<void> {
    const places = new Map(this.#suspect.map((place) => [`${place.root}\0${place.dir}`, place]));
    this.#suspect = [];
    await this.#drain();
    const reconciler = new Reconciler(this.#p, (root, dir, after) => this.#askListing(root, dir, after));
    try {
      for (const { root, dir } of places.values()) await reconciler.dir(root, dir, false);
    } finally {
      reconciler.close();
    }
    this.#p.log.info(
      { directories: places.size, differences: reconciler.total, first: reconciler.found[0] ? displayPath(reconciler.found[0].path) : '' },
      'compared the directories of the refused batch',
    );
  }

  /** Nothing that is under way counts: all of it is made again from what the index and the disk say. */
  #abandonAll(): void {
    this.#maker.abandon(this.#inFlight);
    this.#inFlight = [];
    this.#p.index.discardLayers();
    this.#position = this.#durable;
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#p.clock.after(ms, () => this.#wake?.());
      this.#wake = () => {
        this.#wake = null;
        timer.cancel();
        resolve();
      };
    });
  }
}
