import type { Message, MessageOf } from '../../../protocol/messages.ts';
import { limits } from '../../../protocol/limits.ts';
import { checksumOf, emptyPosition, grantOf, samePosition, showPosition, type Position } from '../../../protocol/position.ts';
import { lacks } from '../../../protocol/shortfall.ts';
import { ChannelClosed, type Channel } from '../../link/channel.ts';
import { metaKey } from '../../journal/keys.ts';
import { packNumber, readNumber } from '../../journal/replica-index.ts';
import { displayPath, joinPath, type BytePath } from '../../platform/files.ts';
import type { KvWrite } from '../../platform/kv.ts';
import { isAtOrBelow } from '../file-systems.ts';
import { packPosition, readPosition } from '../standby/receiver.ts';
import { AgainstStandby } from './against-standby.ts';
import { allMarks } from './all-marks.ts';
import { BatchMaker, type MadeBatch } from './batch-maker.ts';
import { Abandoned, splitPath, type PrimaryParts } from './context.ts';
import { Deletions, type ReleasedDeletion } from './deletions.ts';
import { Fill } from './fill.ts';
import type { HeldDeletion } from './held-deletions.ts';
import type { LeftOut } from './left-out.ts';
import { Lagging } from './lagging.ts';
import { namedOpen } from './named-open.ts';
import { PutBack, putBackRemedy, putBackText, sentPositionKey as positionKey } from './put-back.ts';
import { Reconciler, type Disagreement } from './reconcile.ts';
import { SeenNumbers, type FallenNumbers } from './seen-numbers.ts';
import { judgeStands, type Stands } from './standby-stands.ts';
import { countSurplus } from './surplus.ts';
import { Transfers } from './transfers.ts';
import type { Unproven } from './unproven.ts';

/** When the last acknowledgement came, wall clock. */
const durableAtKey = metaKey('sent-at');
/** Refusals in a row that are mended by looking at the directories concerned alone. */
const refusalsMax = 5;
/** A position that no replica ever has. */
const nowhere: Position = { epoch: 0, seq: 2 ** 48 - 1, checksum: 'ffffffffffffffff' };

export interface Held {
  code: string;
  detail: string;
  remedy: string;
}

export type SenderPhase = 'disconnected' | 'comparing' | 'initial' | 'streaming';

/** How soon it is looked again whether the store's disk has caught up. */
const behindMs = 20;
const marksSliceMs = 8;
/** For how long the standby keeps what it loses of a damaged file; told anew each hour. */
const damagedKeepMs = 7_200_000;

const noSpaceRemedy = 'make room on the standby; sending goes on by itself';

/**
 * The primary's side of the stream: makes batches of what changed, keeps a few under way, and forgets a change only
 * when the standby has acknowledged it.
 */
export class Sender {
  readonly #p: PrimaryParts;
  readonly #maker: BatchMaker;
  readonly #transfers: Transfers;
  /** Files that do not follow for the time being. */
  readonly lagging: Lagging;
  /** Position after the last batch made; batches build on it whether or not they are acknowledged yet. */
  #position: Position;
  #durable: Position;
  #inFlight: MadeBatch[] = [];
  #channel: Channel | null = null;
  #serving: Promise<void> = Promise.resolve();
  #wake: (() => void) | null = null;
  #held: Held | null = null;
  #heldUntil = 0;
  readonly #against: AgainstStandby;
  #refusals = 0;
  #paused = 0;
  #phase: SenderPhase = 'disconnected';
  readonly #fill: Fill;
  #lastDurableWallMs: number | null = null;
  readonly deletions: Deletions;
  #nextAsk = 1;
  readonly #asked = new Map<number, (message: Message | null) => void>();
  /** A batch sent only to be refused. */
  #marker: { id: number; resolve: (refused: boolean) => void } | null = null;
  /** Directories to compare by their names; `below`: with all that lies in them, where both nodes have one. */
  #suspect: { root: string; dir: BytePath; below?: boolean }[] = [];
  /** Files of which the standby has another version than the index says; each is sent whole. */
  #misfits: { root: string; path: BytePath }[] = [];
  #mustCompare: boolean;
  readonly putBack: PutBack;
  #standbyPutBack = false;
  /** At a start nothing is called durable anyway before the roots were compared, which takes a connection. */
  #isSure = true;
  readonly #numbers: SeenNumbers;
  #fallen: FallenNumbers | null = null;
  #areNumbersRead = false;
  #tellNumbersRead: () => void = () => {};
  readonly #numbersRead: Promise<void>;
  /** Wall clock at which the standby applied its last batch, as it last said. */
  #peerAppliedMs: () => number | null = () => null;
  readonly epoch: number;

  constructor(parts: PrimaryParts, leftOut: LeftOut, epoch: number) {
    this.#p = parts;
    this.epoch = epoch;
    this.#position = this.#durable = readPosition(parts.kv, positionKey);
    // A position that a primary before this one made says nothing of what either node has noted since: a takeover can begin
    // with places that its node lacks, and who rejoins enters what is on its own disk.
    this.#mustCompare = this.#durable.epoch !== 0 && this.#durable.epoch !== epoch;
    this.#fill = new Fill(parts.kv);
    this.putBack = new PutBack(parts.kv, parts.clock);
    this.#against = new AgainstStandby(parts.kv, parts.fileSystemHolds);
    this.#numbers = new SeenNumbers(parts.kv);
    this.#numbersRead = new Promise((resolve) => (this.#tellNumbersRead = resolve));
    this.#lastDurableWallMs = readNumber(parts.kv.get(durableAtKey));
    this.deletions = new Deletions(parts);
    this.deletions.onHeld = () => this.tellHistory();
    this.deletions.losses.isFilling = () => !this.filled;
    this.lagging = new Lagging();
    this.#transfers = new Transfers(
      parts,
      this.lagging,
      (root, path) => this.#arrived(root, path),
      (root, path) => this.#misfit(root, path),
    );
    this.#maker = new BatchMaker({ ...parts, transfers: this.#transfers, lagging: this.lagging }, leftOut, this.deletions);
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

  /** The first fill is complete: all that was there when replication began is on the standby, or named as not being there. */
  get filled(): boolean {
    return this.#fill.filled;
  }

  /** The same of this connection's standby, after all that it had was compared where that was needed. */
  get complete(): boolean {
    return this.phase === 'streaming' && this.isSure && this.#fill.complete;
  }

  /**
   * False while the standby stands where no batch from here ended: what it holds is not known before it was compared, and
   * nothing may be called durable.
   */
  get isSure(): boolean {
    return this.#isSure;
  }

  /** False until it is known whether the mailboxes have the numbers that they had: before that this node does not go into service. */
  get areNumbersRead(): boolean {
    return this.#areNumbersRead;
  }

  /** Mailboxes whose numbers had fallen when this process began. */
  get fallenNumbers(): FallenNumbers | null {
    return this.#fallen;
  }

  /** Compares the numbers of all mailboxes with those seen last, before anything is sent. Once, at the start. */
  async checkNumbers(signal: AbortSignal): Promise<void> {
    const { files, roots, clock, kv, log } = this.#p;
    const count = this.#numbers.counting();
    let sinceMs = clock.monotonicMs();
    for (const mark of allMarks(files, roots)) {
      if (mark) count.add(mark);
      if (signal.aborted) return;
      if (clock.monotonicMs() - sinceMs < marksSliceMs) continue;
      await clock.yield();
      sinceMs = clock.monotonicMs();
    }
    this.#fallen = count.result();
    if (this.#fallen?.isPutBack) {
      this.putBack.findByNumbers(
        `${this.#fallen.mailboxes} of ${this.#fallen.users} users, for example ${this.#fallen.examples.join(', ')}`,
      );
      log.error(
        { code: 'put-back', ...this.#fallen },
        'the numbers of mailboxes are lower than they were: the mail was put back to an older state',
      );
    } else {
      if (this.#fallen) log.warn({ code: 'numbers-fell', ...this.#fallen }, 'mailboxes have lower numbers than they had');
      // The right volume is back.
      if (this.putBack.found && this.putBack.found.peer === null) kv.commit([this.putBack.end()]);
    }
    this.#areNumbersRead = true;
    this.#tellNumbersRead();
  }

  #see(marks: MessageOf<'watermarks'>['items']): void {
    const fallen = this.#numbers.see(marks);
    if (fallen.length > 0)
      this.#p.log.warn({ code: 'numbers-fell', mailboxes: fallen.length, first: fallen[0] }, 'a mailbox has lower numbers than it had');
  }

  /** The standby came with an older state than it had, and is not complete again yet. */
  get standbyPutBack(): boolean {
    return this.#standbyPutBack && !this.filled;
  }

  get held(): Held | null {
    const { found, surplus } = this.putBack;
    if (found) return { code: 'put-back', detail: putBackText(found, surplus, this.#durable), remedy: putBackRemedy };
    const { trouble } = this.#p.kv;
    if (trouble) return trouble;
    return this.#held ?? this.#contentWithoutRoom();
  }

  /** Large content waits for room of the standby, and everything smaller goes on. */
  #contentWithoutRoom(): Held | null {
    const waiting = this.lagging.withoutRoom();
    const [first] = waiting;
    if (!first) return null;
    const what = waiting.length === 1 ? 'one file waits' : `${waiting.length} files wait`;
    return {
      code: 'no-space',
      detail: `the standby has no room for large content: ${what}, for example ${displayPath(joinPath(first.root, first.path))}; everything smaller goes on`,
      remedy: noSpaceRemedy,
    };
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

  /** The standby lacks this place, and the index may claim it: what is there is asked for before anything else is sent. */
  compare(root: string, path: BytePath): void {
    this.#suspectPlace(root, path);
    this.wake();
  }

  /** A directory may be there all the same, and not what it was. */
  #suspectPlace(root: string, path: BytePath): void {
    this.#suspect.push({ root, dir: splitPath(path).dir }, { root, dir: path, below: true });
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
  ask(message: MessageOf<'list'> | MessageOf<'audit'> | MessageOf<'contentAsk'>): Promise<Message | null> {
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
    let parts: Promise<void>[] = [];
    const failures: unknown[] = [];
    this.#channel = channel;
    void channel.ended.then(() => {
      over = true;
      // Nothing is asked from here on: no answer would come.
      this.#channel = null;
      for (const answer of this.#asked.values()) answer(null);
      this.#asked.clear();
      this.#marker?.resolve(false);
      this.wake();
    });
    try {
      await this.#numbersRead;
      this.meet(peerPosition);
      // Marks of an older state would replace those that the standby keeps of mailboxes that were made anew since.
      if (!this.putBack.found) await this.#tellMarks(channel, () => over);
      this.tellHistory();
      await this.#resume(channel, peerPosition, () => over);
      parts = [this.#stream(channel, () => over), this.#transfers.serve(channel)];
      await Promise.race(parts);
    } catch (error) {
      if (!isEndOfConnection(error)) throw error;
    } finally {
      if (!over) channel.close({ code: 'given-up', detail: 'the primary could not go on with this connection' });
      // Neither builds on this connection any more when the next one begins.
      const ends = await Promise.allSettled(parts);
      for (const end of ends) if (end.status === 'rejected' && !isEndOfConnection(end.reason)) failures.push(end.reason);
      this.#channel = null;
      this.#phase = 'disconnected';
    }
    if (failures.length > 0) throw failures[0];
  }

  async #stream(channel: Channel, isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const waitMs = this.#waitMs();
      if (waitMs > 0) await this.#sleep(waitMs);
      else await this.#step(channel);
    }
  }

  #arrived(root: string, path: BytePath): void {
    this.#maker.arrived(root, path);
    this.wake();
  }

  /** What the standby has at a path is something else than the index says. */
  #misfit(root: string, path: BytePath): void {
    this.#suspect.push({ root, dir: splitPath(path).dir });
    // Batches that are under way build on what the index says now: it is set right when none is.
    this.#misfits.push({ root, path });
    this.wake();
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
        this.#see(items);
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

  /**
   * Judges where a standby says that it is, before anything of this node counts on it. What it finds of this store is
   * durable: an older state than the standby's sends nothing, and does not go into service, before a person has decided.
   */
  meet(peer: Position): Stands {
    const stands = this.#judge(peer);
    if (stands !== 'known') this.#isSure = false;
    const { log, kv } = this.#p;
    if (stands === 'ours-put-back') {
      if (this.putBack.find(peer))
        log.error(
          { code: 'put-back', standby: showPosition(peer), primary: showPosition(this.#durable) },
          'the standby has batches that this store never sent: it was put back to an older state; nothing is sent',
        );
    } else if (this.putBack.found?.peer) {
      kv.commit([this.putBack.end()]);
      log.info({ standby: showPosition(peer) }, 'the standby has nothing any more that was not sent from here');
    }
    return stands;
  }

  #judge(peer: Position): Stands {
    const inFlight = this.#inFlight.flatMap(({ to }) => (to === null ? [] : [to]));
    return judgeStands({ peer, epoch: this.epoch, durable: this.#durable, inFlight, lastGrant: this.#p.grants.last });
  }

  /** Finds where the standby stands: batches whose acknowledgement was lost settle, the rest is made again. */
  async #resume(channel: Channel, peer: Position, isOver: () => boolean): Promise<void> {
    this.#maker.forgetMarks();
    this.#phase = this.filled ? 'streaming' : 'initial';
    const stands = this.meet(peer);
    const last = this.#inFlight.findLastIndex((batch) => batch.to !== null && samePosition(batch.to, peer));
    for (let i = 0; i <= last; i++) this.#settleFirst();
    this.#abandonAll();
    if (this.putBack.found) {
      await this.#awaitDecision(isOver);
      await this.#tellMarks(channel, isOver);
    }
    if (this.filled && (stands === 'new' || stands === 'theirs-put-back')) this.#fillAnew(stands);
    this.#fill.aim(this.#p.changes.head);
    if (stands === 'known' && !this.#mustCompare) {
      this.#isSure = true;
      return;
    }
    this.#p.log.info(
      { standby: showPosition(peer), primary: showPosition(this.#durable) },
      'the standby is where no batch of ours ended; comparing',
    );
    await this.#compare(channel);
  }

  /** Nothing is undone by itself (I21): says what the standby has more, and waits. */
  async #awaitDecision(isOver: () => boolean): Promise<void> {
    this.#phase = 'comparing';
    if (this.putBack.found) {
      await this.#drain();
      const surplus = await countSurplus(
        this.#p,
        (root, dir, after) => this.#askListing(root, dir, after),
        this.#secondsBehind(),
        this.putBack.found.peer === null,
      );
      this.putBack.surplus = surplus;
      this.#p.log.error({ code: 'put-back', ...surplus }, 'what the standby has more than this store');
    }
    while (this.putBack.found) {
      if (isOver()) throw new Abandoned();
      await this.#sleep(1000);
    }
  }

  #secondsBehind(): number | null {
    const [mine, theirs] = [this.#lastDurableWallMs, this.#peerAppliedMs()];
    return mine === null || theirs === null ? null : Math.max(0, Math.round((theirs - mine) / 1000));
  }

  /** Tells the wall clock at which the standby applied its last batch; null when it is not known. */
  asksApplied(appliedMs: () => number | null): void {
    this.#peerAppliedMs = appliedMs;
  }

  /**
   * A person goes on with this state although the standby has more: what it has counts as sent from here, so that it is
   * compared and undone there. The numbers of all mailboxes were raised before. Durable when it resolves.
   */
  async keepThisState(): Promise<void> {
    const { found } = this.putBack;
    if (!found) return;
    const { kv, grants, changes } = this.#p;
    const writes: KvWrite[] = [this.putBack.end()];
    if (found.peer) {
      // Later batches lie beyond all that any state of this store made before.
      changes.raiseHead(found.peer.seq);
      writes.push(grants.raiseTo(grantOf(found.peer)));
    }
    kv.commit([...writes, ...changes.save()]);
    await kv.flushed();
    this.wake();
  }

  /** Until this standby has all that is here the pair is no pair: it is another one than the one that was filled, or an older state of it. */
  #fillAnew(stands: 'new' | 'theirs-put-back'): void {
    this.#standbyPutBack = stands === 'theirs-put-back';
    // The index tells what the former standby had, and comparing it with this one's tells the rest.
    this.#fill.anew();
    if (this.#standbyPutBack)
      this.#p.log.warn(
        { code: 'standby-put-back' },
        'the standby is an older state of itself; it is filled again before it counts as a standby',
      );
    else this.#p.log.warn({}, 'this standby is new; it is filled before it counts as a standby');
  }

  async #compare(channel: Channel): Promise<void> {
    this.#phase = 'comparing';
    const { total } = await this.reconcile();
    this.#fill.aim(this.#p.changes.head);
    this.#p.meter.rescanned('compare');
    this.#p.log.info({ differences: total }, 'compared with the standby');
    await this.#leaveEmptyPosition();
    if (this.#channel !== channel) throw new Abandoned();
    const rebased = await this.#exchange('rebase', () => channel.sendControl({ type: 'rebase', position: this.#position }));
    if (rebased === null) throw new Abandoned();
    this.#mustCompare = false;
    this.#isSure = true;
    this.#phase = this.filled ? 'streaming' : 'initial';
    this.lookAtFill();
  }

  /**
   * A standby that was compared has a position of this primary, also when no batch was acknowledged yet: by the empty one
   * it would take itself for one that holds nothing. Durable before it is told.
   */
  async #leaveEmptyPosition(): Promise<void> {
    if (this.#position.epoch !== 0) return;
    const { kv, grants } = this.#p;
    const grant = await grants.take();
    this.#position = this.#durable = { epoch: this.epoch, seq: 0, checksum: checksumOf(grant, emptyPosition.checksum) };
    kv.commit([[positionKey, packPosition(this.#position)]]);
    await kv.flushed();
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
    // Nothing is begun that the state directory could not take: what is under way still settles.
    if (this.#paused > 0 || this.#p.kv.trouble) return idleMs;
    // Nor what its disk does not keep up with: it would wait in memory.
    if (this.#p.kv.isBehind) return behindMs;
    if (this.#heldUntil > now) return this.#heldUntil - now;
    if (this.#inFlight.length >= limits.batchesInFlightMax) return idleMs;
    if (this.#mustCompare || this.#suspect.length > 0) return this.#inFlight.length > 0 ? idleMs : 0;
    let oldest: number | null = null;
    for (const change of changes.ready(now)) {
      if (oldest === null || change.at < oldest) oldest = change.at;
      if (now - change.at >= settleMs) return 0;
    }
    if (this.#transfers.hasReady) return 0;
    if (this.#maker.scanning && !this.#maker.scanWaits) return 0;
    if (oldest !== null) return Math.max(0.5, settleMs - (now - oldest));
    const next = changes.nextAt();
    return next === null ? idleMs : Math.max(0.5, Math.min(idleMs, next - now));
  }

  async #step(channel: Channel): Promise<void> {
    const { clock } = this.#p;
    if (!this.checkRoots()) return;
    if (this.#mustCompare) return this.#compare(channel);
    if (this.#suspect.length > 0) return this.#clearSuspects();
    const made = await this.#maker.make(channel, this.#position, this.epoch, !this.filled);
    if (made) {
      if (made.to) this.#position = made.to;
      made.sentAt = clock.monotonicMs();
      this.#inFlight.push(made);
      this.#settleLocal();
    }
    const marks = this.#maker.takeMarks();
    this.#see(marks);
    for (let i = 0; i < marks.length; i += limits.watermarksPerMessageMax)
      channel.sendControl({ type: 'watermarks', items: marks.slice(i, i + limits.watermarksPerMessageMax) });
    if (!made) await clock.yield();
  }

  /** The standby tells which of its file systems are not in their places: of what lies there nothing is sent until they are. */
  heard({ fileSystems }: MessageOf<'heartbeat'>): void {
    this.#against.heard(fileSystems);
    this.wake();
  }

  /** Holds while a root is not what it was, here or on the standby. False then. */
  checkRoots(): boolean {
    const { root: own } = this.#p.fileSystemHolds.look();
    const trouble = own ?? this.#against.root;
    if (trouble) {
      this.#hold(trouble, 1000);
      return false;
    }
    if (!this.#held?.code.startsWith('root-')) return true;
    this.#p.log.info({}, 'the roots are back');
    this.#held = null;
    return true;
  }

  #receive(message: Message, current: boolean): void {
    if (!current) return this.#onOther?.(message);
    if (this.#transfers.receive(message)) return;
    switch (message.type) {
      case 'ack':
        return this.#acknowledged(message);
      case 'reject':
        return this.#rejected(message);
      case 'listing':
      case 'audited':
      case 'contentPart':
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
    this.#noteLacking(first, message.lacking);
    this.#refusals = 0;
    if (this.#held && !this.#held.code.startsWith('root-')) this.#held = null;
    this.wake();
  }

  /** What the standby lacks of a batch that it has: in doubt by name; all else of it is proven. */
  #noteLacking({ writer }: MadeBatch, lacking: MessageOf<'ack'>['lacking']): void {
    const { unproven } = this.#p;
    if (writer.endsHere) this.#moveSuspects(writer.places);
    if (lacking.length === 0 && unproven.count === 0) return;
    const short = new Map(lacking.map(([op, bits, reason]) => [op, { bits, reason }]));
    const doubts: Parameters<typeof unproven.addAll>[0][number][] = [];
    for (const [number, { root, dir, name, from, removed }] of writer.places.entries()) {
      const path = joinPath(dir, name);
      const lack = short.get(number);
      if (lack) doubts.push({ root, path, ...lack, ino: this.#p.index.at(root, path)?.entry.ino });
      else if (removed) this.#endDoubts(root, path, true);
      else unproven.standbyHas(root, path);
      if (removed) unproven.isFree(root, path);
      if (from) unproven.isFree(root, joinPath(from.dir, from.name));
      if (from && writer.endsHere) {
        for (const each of unproven.moved(root, joinPath(from.dir, from.name), path))
          this.#p.changes.record(root, each, 'path', this.#p.clock.monotonicMs());
      } else if (from && this.#p.index.at(root, joinPath(from.dir, from.name)) === null)
        this.#endDoubts(root, joinPath(from.dir, from.name), false);
      if (lack && (lack.bits & lacks.place) !== 0) {
        // The index claims it: what is really there is asked for, and this place is left alone until its time comes.
        this.#suspectPlace(root, path);
        if (from) this.#suspectPlace(root, joinPath(from.dir, from.name));
      }
    }
    unproven.addAll(doubts);
  }

  /** A directory that waits to be compared has another name on both nodes. */
  #moveSuspects(places: MadeBatch['writer']['places']): void {
    for (const { root, dir, name, from } of places) {
      if (!from) continue;
      const [before, now] = [joinPath(from.dir, from.name), joinPath(dir, name)];
      this.#suspect = this.#suspect.map((each) =>
        each.root === root && isAtOrBelow(each.dir, before) ? { ...each, dir: `${now}${each.dir.slice(before.length)}` } : each,
      );
    }
  }

  /** The standby has let a place go. What it could not have there may be something newer: that is looked at. */
  #endDoubts(root: string, path: BytePath, below: boolean): void {
    const { unproven, changes, clock } = this.#p;
    if (unproven.count === 0) return;
    const refused = unproven.refusedAt(root, path, below);
    if (below) unproven.forget(root, path);
    else unproven.standbyHas(root, path);
    for (const each of refused) changes.record(root, each, 'path', clock.monotonicMs());
  }

  /** The oldest batch is durable on the standby: only now its changes are forgotten (I1). */
  #settleFirst(): void {
    const batch = this.#inFlight.shift();
    if (!batch) return;
    const { kv, index, changes, meter, clock, relived } = this.#p;
    for (const change of batch.changes) changes.settle(change);
    this.#transfers.settle(batch.transfers);
    const writes: KvWrite[] = [...index.writesOf(batch.layer), ...changes.save(), relived.save()];
    if (batch.to) {
      this.#durable = batch.to;
      this.#lastDurableWallMs = clock.wallMs();
      writes.push([positionKey, packPosition(batch.to)], [durableAtKey, packNumber(Math.floor(this.#lastDurableWallMs))]);
      meter.batchSeconds((clock.monotonicMs() - batch.sentAt) / 1000);
    }
    if (batch.completesFill) this.#fill.scanned();
    kv.commit(writes);
    index.settle(batch.layer);
    this.lookAtFill();
  }

  /** Notes when all that was there when the fill began has become durable on the standby, or lags or is held by name. */
  lookAtFill(): void {
    if (this.#phase !== 'initial' && this.#phase !== 'streaming') return;
    const isNamed = namedOpen(this.#p, this.lagging);
    const { ended, writes } = this.#fill.look((seq) => this.#p.changes.isOpenBesidesHeld(seq, isNamed));
    if (writes.length > 0) this.#p.kv.commit(writes);
    if (!ended) return;
    this.#phase = 'streaming';
    this.#p.log.info({}, 'the initial fill is complete');
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
    const refused = this.#refusedPlaces(batch, message.faults);
    this.#abandonAll();
    this.#p.unproven.addAll(refused);
    if (message.code === 'path' && message.faults.length > 0) return this.wake();
    if (message.code === 'apart') {
      for (const { root, dir, name, from } of places) if (from) this.#maker.apart(root, joinPath(from.dir, from.name), joinPath(dir, name));
      return this.wake();
    }
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
        this.#transfers.lost(place.root, joinPath(place.dir, place.name));
      }
    } else if (message.code === 'state-full') {
      this.#hold(
        {
          code: 'state-full',
          detail: `the standby takes nothing: ${message.detail}`,
          remedy: "make room on the disk of the standby's state directory, or mount what belongs there; sending goes on by itself",
        },
        this.#retryMs(),
      );
    } else if (message.code === 'no-space') {
      this.#hold(
        {
          code: 'no-space',
          detail: `the standby has no room: ${message.detail}`,
          remedy: noSpaceRemedy,
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

  /** Places that the standby cannot have: in doubt, so that the batch is made again without them, at once. */
  #refusedPlaces({ writer }: MadeBatch, faults: MessageOf<'reject'>['faults']): Parameters<Unproven['addAll']>[0] {
    return faults.flatMap(([number, reason]) => {
      const place = writer.places[number];
      if (!place) return [];
      const path = joinPath(place.dir, place.name);
      return [{ root: place.root, path, bits: lacks.place, reason, ino: this.#p.index.at(place.root, path)?.entry.ino }];
    });
  }

  #retryMs(): number {
    return Math.min(30_000, 500 * 2 ** Math.min(this.#refusals, 6));
  }

  #hold(held: Held, forMs: number): void {
    if (this.#held?.code !== held.code) this.#p.log.warn({ code: held.code, detail: held.detail }, 'sending is held');
    this.#held = held;
    this.#heldUntil = this.#p.clock.monotonicMs() + forMs;
  }

  /** The standby's history keeps what a held or allowed deletion takes away. */
  tellHistory(): void {
    const items = this.deletions.historyPlaces();
    // The good version of what is damaged here may be replaced or removed while it is offered.
    for (const { root, path } of this.#p.damage.list()) items.push([root, path, 0, damagedKeepMs]);
    for (let i = 0; i < items.length; i += limits.historyPlacesMax)
      this.#channel?.sendControl({ type: 'keepHistory', items: items.slice(i, i + limits.historyPlacesMax) });
  }

  /** A person lets held deletions go. */
  async release(held: readonly HeldDeletion[]): Promise<ReleasedDeletion[]> {
    const released: ReleasedDeletion[] = [];
    for (const each of held) released.push(await this.deletions.allow(each));
    this.wake();
    return released;
  }

  /** Looks at what the standby holds in directories whose ops did not fit. */
  async #clearSuspects(): Promise<void> {
    const suspects = this.#suspect;
    const places = new Map(suspects.filter(({ below }) => !below).map((place) => [`${place.root}\0${place.dir}`, place]));
    const trees = new Map(suspects.filter(({ below }) => below).map((place) => [`${place.root}\0${place.dir}`, place]));
    this.#suspect = [];
    await this.#drain();
    for (const { root, path } of this.#misfits.splice(0)) this.#maker.sendWhole(root, path);
    const reconciler = new Reconciler(this.#p, (root, dir, after) => this.#askListing(root, dir, after));
    try {
      for (const { root, dir } of places.values()) await reconciler.dir(root, dir, false);
      for (const { root, dir } of trees.values()) if (this.#p.index.dirAt(root, dir) !== null) await reconciler.dir(root, dir, true);
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

function isEndOfConnection(error: unknown): boolean {
  return error instanceof Abandoned || error instanceof ChannelClosed;
}
