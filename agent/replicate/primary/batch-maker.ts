import type { MessageOf } from '../../../protocol/messages.ts';
import type { Position } from '../../../protocol/position.ts';
import type { Change } from '../../journal/changes.ts';
import type { Layer } from '../../journal/layer.ts';
import type { Channel } from '../../link/channel.ts';
import { joinPath, type BytePath } from '../../platform/files.ts';
import { ifKnown } from '../fault.ts';
import { absolute, type Root } from '../root.ts';
import { BatchWriter } from './batch-writer.ts';
import { Abandoned, splitPath, type Making, type Outcome, type SendingParts } from './context.ts';
import type { Deletions } from './deletions.ts';
import { freshFirst } from './fresh-first.ts';
import { Looker } from './look.ts';
import { scan, type ScanItem } from './scan.ts';
import { Sealer } from './seal.ts';
import type { LeftOut } from './left-out.ts';
import type { Arrived } from './transfers.ts';

/** A batch that is complete; `to` is null when nothing had to be sent. */
export interface MadeBatch extends Making {
  id: number;
  to: Position | null;
  layer: Layer;
  writer: BatchWriter;
  changes: Change[];
  transfers: Arrived[];
  /** Monotonic milliseconds. */
  sentAt: number;
  completesFill: boolean;
}

/** A scan under way, over as many batches as it takes. */
interface RunningScan {
  change: Change;
  root: Root;
  items: Generator<ScanItem>;
  /** An item that needs a batch of its own. */
  again: ScanItem | null;
  /** Directories that could not be read. */
  unread: BytePath[];
  /** Places that could not be settled: their directories are not proven. */
  trouble: Set<BytePath>;
  /** Of the doubts: those that came later than the scan's beginning are not its to end. */
  doubtsBefore: number;
  /** Vanished paths by mailbox, for its seal. */
  gone: Map<BytePath, BytePath[]>;
  fill: boolean;
  /** Of what was left out, to tell what is no longer there. */
  begun: number;
}

interface Group {
  root: Root;
  mailbox: BytePath;
  changes: Change[];
}

const noChange: Change = { id: 0, seq: 0, root: '', path: '', kind: 'path', at: 0, notBefore: 0, deferrals: 0 };
const looksAtOnceMax = 4096;
const sliceMs = 8;
/** What is held for a disk, or may be held in a moment. */
const heldRetryMs = 500;
const busyRetryMs = 3;
const busyRetryMsMax = 50;
/** Where no watcher can be asked, the two names of a renamed directory are told within this time of each other. */
const renameTellMs = 100;
/** For a watcher to tell all that it knows; one that cannot has lost hints, and all is compared. */
const barrierMs = 10_000;
const goneRetryMs = 20;
const goneMax = 10_000;
/** What lies on a disk that is missing is looked at again when that is back; until then only now and then. */
const stoppedRetryMs = 10_000;
/** Ops of a scan that go with a batch although live changes wait: on a busy machine there are always some. */
const scanTurnOps = 32;
const apartRetryMs = 20;
const sealRoundsMax = 4;
/** A mailbox whose large messages are on their way is woken when they arrive; this is for what nobody tells. */
const transferRetryMs = 20;
const transferRetryMsMax = 1000;
const awaitedMax = 20_000;
/** While this many large files wait for their turn, a scan finds no more of them. */
const scanTransfersMax = 2000;
/** A file that had to be looked at again this often is told as lagging behind. */
const restlessLooks = 20;

/** Turns open changes into one batch at a time: live changes first, then the mailboxes that they close, then scans. */
export class BatchMaker {
  readonly #p: SendingParts;
  readonly #leftOut: LeftOut;
  readonly #looker: Looker;
  readonly #sealer: Sealer;
  readonly #deletions: Deletions;
  /** Looked at, and not allowed to be done yet. */
  readonly #heldBack = new WeakSet<Change>();
  readonly #scans: RunningScan[] = [];
  #generation = 0;
  #nextId = 1;
  #making: MadeBatch | null = null;
  #lastYield = 0;
  /** A change that needs a batch of its own: the next one begins with it. */
  #alone: Change | null = null;
  /** Directories that are gone here, by root and path: the number of the last change by which all hints from before that was seen had been told. */
  readonly #gone = new Map<string, { toldAt: number | null }>();
  #barrier: ((timeoutMs: number) => Promise<void>) | null = null;
  /** By root and mailbox: large content that it waits for before it can be closed, and its changes. */
  readonly #awaited = new Map<string, { paths: readonly BytePath[]; changes: readonly Change[] }>();

  constructor(parts: SendingParts, leftOut: LeftOut, deletions: Deletions) {
    this.#p = parts;
    this.#leftOut = leftOut;
    this.#looker = new Looker(parts, leftOut);
    this.#sealer = new Sealer(parts, this.#looker);
    this.#deletions = deletions;
    deletions.isOpen = (seq) => this.#scansUpTo(seq) || this.#arrivalsUpTo(seq) || parts.transfers.isOpenUpTo(seq);
  }

  /** Large content of this path has arrived, or was given up: whoever waited for it goes on. */
  arrived(root: string, path: BytePath): void {
    const mailbox = this.#p.roots.find(({ name }) => name === root)?.format.classify(path, 'file').mailbox;
    for (const change of this.#awaited.get(`${root}\0${mailbox}`)?.changes ?? []) change.notBefore = 0;
  }

  /** Resolves when all changes made before the call have been recorded. */
  watch(barrier: (timeoutMs: number) => Promise<void>): void {
    this.#barrier = barrier;
    this.#deletions.barrier = barrier;
  }

  get scanning(): boolean {
    return this.#scans.length > 0;
  }

  /** So many large files wait for their turn that scans find no more for now. */
  get scanWaits(): boolean {
    return this.#p.transfers.count >= scanTransfersMax;
  }

  get busy(): boolean {
    return this.#making !== null;
  }

  takeMarks(): MessageOf<'watermarks'>['items'] {
    return this.#sealer.takeMarks();
  }

  forgetMarks(): void {
    this.#sealer.forgetMarks();
  }

  forgetProven(): void {
    this.#sealer.forgetProven();
  }

  /** A number for something that is answered as a batch is. */
  nextId(): number {
    return this.#nextId++;
  }

  /** The batch that is being made, if it has this number. */
  current(id: number): MadeBatch | null {
    return this.#making?.id === id ? this.#making : null;
  }

  /** A directory that moved cannot be renamed on the standby, where its places lie on several file systems: it goes anew. */
  apart(root: string, from: BytePath, to: BytePath): void {
    this.#looker.apart(root, from);
    this.#p.changes.record(root, to, 'scan', this.#p.clock.monotonicMs());
  }

  /** What the standby has at a path did not fit: it gets the whole of it. */
  sendWhole(root: string, path: BytePath): void {
    const { index, kv } = this.#p;
    const at = index.at(root, path);
    if (!at || at.entry.kind !== 'file') return;
    const layer = index.begin();
    const number = index.root(root);
    if (number !== null) this.#p.damage.remembered.keep(layer, number, at.entry);
    index.put(layer, root, at.dir, at.name, { ...at.entry, ino: 0n, content: Buffer.alloc(0), racy: true });
    kv.commit(index.writesOf(layer));
    index.settle(layer);
  }

  /**
   * Gives up what is being made and batches that were sent; their changes wait again, scans begin anew. So does every
   * place that they were to change: a look at one name leads to the others of its file, but not when that name has become
   * another file by the time it is looked at again.
   */
  abandon(sent: readonly MadeBatch[] = []): void {
    const { changes, clock } = this.#p;
    this.#generation++;
    const batches = this.#making ? [...sent, this.#making] : sent;
    const open = [...batches.flatMap((batch) => batch.changes), ...this.#scans.map(({ change }) => change)];
    this.#making = null;
    // Each may hold a listing open.
    for (const { items } of this.#scans.splice(0)) items.return(undefined);
    for (const change of open) changes.giveBack(change);
    for (const { transfers } of batches) this.#p.transfers.giveBack(transfers);
    for (const { losses } of batches) for (const loss of losses) this.#p.guard.forgive(loss);
    const oldest = open.toSorted((a, b) => a.seq - b.seq)[0];
    for (const { root, dir, name, from } of batches.flatMap(({ writer }) => writer.places)) {
      changes.record(root, joinPath(dir, name), 'path', clock.monotonicMs(), oldest);
      if (from) changes.record(root, joinPath(from.dir, from.name), 'path', clock.monotonicMs(), oldest);
    }
    this.#sealer.forgetProven();
  }

  /** Makes and sends one batch. Null when there was nothing to do. */
  async make(channel: Channel, from: Position, epoch: number, filling: boolean): Promise<MadeBatch | null> {
    const p = this.#p;
    const generation = this.#generation;
    const making: MadeBatch = {
      id: this.#nextId++,
      to: null,
      layer: p.index.begin(),
      writer: new BatchWriter(channel, this.#nextId - 1, from),
      losses: [],
      lookingFor: undefined,
      deletions: this.#deletions,
      directories: new Set(),
      namesLeft: new Map(),
      changes: [],
      transfers: [],
      sentAt: 0,
      completesFill: false,
    };
    this.#making = making;
    const check = () => {
      if (this.#generation !== generation) throw new Abandoned();
    };
    try {
      // What needed a batch of its own begins this one.
      const alone = (this.#scans[0]?.again ?? null) !== null;
      const closed = !alone && (await this.#changes(making, check, filling));
      channel.throttled = filling && making.writer.ops === 0;
      if (!closed) await this.#runScans(making, check);
      return await this.#finish(making, epoch, check);
    } catch (error) {
      if (error instanceof Abandoned) return null;
      if (this.#generation === generation) this.abandon();
      throw error;
    }
  }

  async #finish(making: MadeBatch, epoch: number, check: () => void): Promise<MadeBatch | null> {
    const p = this.#p;
    // What was read counts only when every file system stood to the end: half of it may have been read below a mount point.
    const { root, isSame } = p.fileSystemHolds.look();
    if (root || !isSame) {
      this.abandon();
      p.index.drop(making.layer);
      return null;
    }
    for (const change of making.changes) p.changes.send(change);
    if (making.writer.ops > 0) {
      const grant = await p.grants.take();
      check();
      const to = await making.writer.commit(epoch, p.changes.sentSeq, grant);
      check();
      making.to = to;
    }
    this.#making = null;
    if (making.to === null && making.layer.isEmpty && making.changes.length === 0) {
      p.index.drop(making.layer);
      return null;
    }
    return making;
  }

  /** Looks at single paths, then closes their mailboxes. True when the batch must end here. */
  async #changes(making: MadeBatch, check: () => void, filling: boolean): Promise<boolean> {
    const p = this.#p;
    const groups = new Map<string, Group>();
    const keywords = new Set<string>();
    let stopped = false;
    const ready = freshFirst(this.#notStopped(), looksAtOnceMax);
    const first = ready.indexOf(this.#alone ?? noChange);
    if (first > 0) ready.unshift(...ready.splice(first, 1));
    this.#alone = null;
    // Mailboxes that this batch does not close wait for the next one.
    const endHere = () => {
      for (const group of groups.values()) this.#giveBack(making, group.changes, 0);
      return true;
    };
    if (await this.#arrivals(making, check, groups)) return endHere();
    for (const change of this.#removalsLast(ready)) {
      if (making.writer.isFull) {
        stopped = true;
        break;
      }
      if (this.#mayBeRenamed(change)) continue;
      p.changes.take(change);
      making.changes.push(change);
      const root = p.roots.find(({ name }) => name === change.root);
      if (root && change.kind === 'scan') {
        // A directory that appeared may be one that the standby has under another name: that goes before its removal there.
        // One that the standby could not have ends that doubt by an op of its own, also when the batch with the first one was given up.
        const isTried = p.unproven.isTrying(root.name, change.path, 'place');
        const isNew = change.path !== '' && (isTried || !p.index.at(root.name, change.path));
        making.lookingFor = change;
        const outcome = isNew ? await this.#looker.look(making, root, change.path) : 'scan';
        check();
        if (outcome === 'alone') {
          this.#giveBack(making, [change], 0);
          this.#alone = change;
          return endHere();
        }
        making.changes.splice(making.changes.indexOf(change), 1);
        this.#startScan(root, change, filling && change.path === '');
        if (making.writer.endsHere) return endHere();
        continue;
      }
      if (!root) continue;
      making.lookingFor = change;
      await this.#keywordsFirst(making, root, change.path, keywords);
      const outcome = await this.#looker.look(making, root, change.path);
      check();
      if (this.#place(making, root, change, outcome, groups)) return endHere();
      await this.#slice(check);
    }
    // Control before index: where they lie in roots of their own, one follows the other.
    const ranked = [...groups.values()].map((group) => ({ group, rank: this.#sealer.rankApart(group.root, group.mailbox) }));
    for (const { group } of ranked.toSorted((a, b) => a.rank - b.rank)) {
      // A flood of new messages goes first; the mailbox is closed when it has passed, or after twice its time.
      const age = p.clock.monotonicMs() - Math.min(...group.changes.map(({ at }) => at));
      if (stopped && age < 2 * p.restMaxMs) this.#giveBack(making, group.changes, 0);
      else await this.#close(making, group, check);
      await this.#slice(check);
    }
    return false;
  }

  /** Changes that may be looked at; what lies on a disk that is missing is put off, so that it costs nothing. */
  #notStopped(): Change[] {
    const { changes, clock, holds } = this.#p;
    const ready = [...changes.ready(clock.monotonicMs())];
    if (!holds.stopped) return ready;
    return ready.filter((change) => {
      const isStopped = holds.stopping(change.root, change.path) !== null;
      if (isStopped) change.notBefore = clock.monotonicMs() + stoppedRetryMs;
      return !isStopped;
    });
  }

  /** Uses what has gone ahead of the batch. True when the batch must end. */
  async #arrivals(making: MadeBatch, check: () => void, groups: Map<string, Group>): Promise<boolean> {
    const { transfers, roots } = this.#p;
    while (!making.writer.isFull) {
      const change = transfers.shiftReady();
      if (!change) return false;
      making.changes.push(change);
      const root = roots.find(({ name }) => name === change.root);
      if (!root) continue;
      making.lookingFor = change;
      const outcome = await this.#looker.look(making, root, change.path);
      check();
      if (this.#place(making, root, change, outcome, groups)) return true;
      await this.#slice(check);
    }
    return false;
  }

  /**
   * What is gone comes after what is there: a rename is told as two changes, and when the old name is looked at first, a
   * folder would be removed and sent again.
   */
  #removalsLast(ready: readonly Change[]): Change[] {
    const gone = new Set(ready.filter((change) => change !== this.#alone && this.#isGone(change)));
    return gone.size === 0 ? [...ready] : [...ready.filter((change) => !gone.has(change)), ...gone];
  }

  #isGone({ root: name, path }: Change): boolean {
    const root = this.#p.roots.find((each) => each.name === name);
    if (!root || path === '' || !this.#p.index.at(name, path)) return false;
    try {
      return this.#p.files.lstat(absolute(root, path)) === null;
    } catch {
      return false;
    }
  }

  /**
   * A directory that is gone here may have another name by now. Its removal waits until the watcher has told all it
   * knew when this was seen, and until every scan from before then is done, which may find the new name where nobody
   * watched: taken away first and sent again, what is in it would be missing in between (I1).
   */
  #mayBeRenamed(change: Change): boolean {
    const { changes, clock } = this.#p;
    const key = `${change.root}\0${change.path}`;
    if (!this.#isGoneDir(change)) {
      this.#gone.delete(key);
      return false;
    }
    change.kind = 'path';
    const toldAt = this.#toldAt(key);
    if (toldAt !== null && !this.#scansUpTo(toldAt)) {
      this.#gone.delete(key);
      return false;
    }
    changes.take(change);
    changes.giveBack(change, clock.monotonicMs() + goneRetryMs);
    return true;
  }

  #isGoneDir(change: Change): boolean {
    return this.#isGone(change) && this.#p.index.at(change.root, change.path)?.entry.kind === 'dir';
  }

  /** Null while the watcher has not yet told all. */
  #toldAt(key: string): number | null {
    const known = this.#gone.get(key);
    if (known) return known.toldAt;
    if (this.#gone.size >= goneMax) this.#gone.clear();
    const gone: { toldAt: number | null } = { toldAt: null };
    this.#gone.set(key, gone);
    const told = () => {
      gone.toldAt = this.#p.changes.head;
    };
    if (this.#barrier) this.#barrier(barrierMs).then(told, told);
    else this.#p.clock.after(renameTellMs, told);
    return null;
  }

  /** Whether scans of what was told up to a change are still to be done. */
  #scansUpTo(seq: number): boolean {
    if (this.#scans.some(({ change }) => change.seq <= seq)) return true;
    // Nothing is renamed from one file system to another: a disk that is missing holds no new name.
    for (const change of this.#p.changes.waiting())
      if (change.kind === 'scan' && change.seq <= seq && !this.#isGone(change) && !this.#p.holds.stopping(change.root, change.path))
        return true;
    return false;
  }

  /** Whether something that is here, and was told of by then, still waits to be looked at. */
  #arrivalsUpTo(seq: number): boolean {
    for (const change of this.#p.changes.waiting())
      if (change.kind === 'path' && change.seq <= seq && !this.#heldBack.has(change) && !this.#isGone(change)) return true;
    return false;
  }

  /** Files what became of a look. True when the batch must end. */
  #place(making: MadeBatch, root: Root, change: Change, outcome: Outcome, groups: Map<string, Group>): boolean {
    const now = this.#p.clock.monotonicMs();
    switch (outcome) {
      case 'done':
      case 'unreadable':
        return false;
      case 'later':
        this.#giveBack(making, [change], now + Math.min(2000, 10 * 2 ** Math.min(change.deferrals, 8)));
        if (++change.deferrals >= restlessLooks) {
          const reason = 'it would not hold still long enough to be read';
          this.#p.lagging.failed({ root: root.name, path: change.path, sinceMs: change.at, reason }, now, 0);
        }
        return false;
      case 'transfer': {
        // The change stays taken: what is told of the file from now on is a change of its own.
        making.changes.splice(making.changes.indexOf(change), 1);
        // What cannot be looked at now is looked at again, and that says why.
        const stat = ifKnown(() => this.#p.files.lstat(absolute(root, change.path))) ?? null;
        this.#p.transfers.add(root, change, stat, root.format.classify(change.path, 'file').immutable);
        return false;
      }
      case 'held':
        this.#holdBack(making, change);
        return false;
      case 'alone':
        this.#giveBack(making, [change], 0);
        this.#alone = change;
        return true;
      case 'scan':
        making.changes.splice(making.changes.indexOf(change), 1);
        change.kind = 'scan';
        this.#startScan(root, change, false);
        return making.writer.endsHere;
      case 'sealed-only': {
        const mailbox = root.format.classify(change.path, null).mailbox ?? '';
        const key = `${root.name}\0${mailbox}`;
        const group: Group = groups.get(key) ?? { root, mailbox, changes: [] };
        group.changes.push(change);
        groups.set(key, group);
        return false;
      }
    }
  }

  async #close(making: MadeBatch, group: Group, check: () => void): Promise<void> {
    const p = this.#p;
    const now = p.clock.monotonicMs();
    const oldest = Math.min(...group.changes.map(({ at }) => at));
    const key = `${group.root.name}\0${group.mailbox}`;
    if (this.#mustWait(group.root, group.mailbox)) return this.#giveBack(making, group.changes, now + apartRetryMs);
    if (this.#awaited.get(key)?.paths.some((path) => p.transfers.isUnderWay(group.root.name, path)))
      return this.#awaitTransfers(making, group, this.#awaited.get(key)?.paths ?? []);
    this.#awaited.delete(key);
    const gone = group.changes.map(({ path }) => path).filter((path) => splitPath(path).dir !== group.mailbox);
    making.lookingFor = group.changes.toSorted((a, b) => a.seq - b.seq)[0];
    const outcome = await this.#seal(making, group.root, group.mailbox, gone, now - oldest > p.restMaxMs, check);
    // A file that cannot be read is tried again by its doubt, and compares the mailbox then.
    if (outcome === 'sealed' || outcome === 'doubt') return;
    if (outcome === 'held') {
      for (const change of group.changes) this.#holdBack(making, change);
      return;
    }
    if (typeof outcome === 'object') return this.#awaitTransfers(making, group, outcome.awaited);
    for (const change of group.changes) change.deferrals++;
    const wait = Math.min(busyRetryMsMax, busyRetryMs * (group.changes[0]?.deferrals ?? 1));
    this.#giveBack(making, group.changes, p.clock.monotonicMs() + wait);
  }

  /** A change that may not be done now: set aside with a held deletion, or tried again soon. */
  #holdBack(making: MadeBatch, change: Change): void {
    this.#heldBack.add(change);
    if (!this.#deletions.absorb(change)) return this.#giveBack(making, [change], this.#p.clock.monotonicMs() + heldRetryMs);
    const at = making.changes.indexOf(change);
    if (at >= 0) making.changes.splice(at, 1);
  }

  /** Puts off closing a mailbox until large content that it needs has arrived; nothing of it is read before. */
  #awaitTransfers(making: MadeBatch, group: Group, paths: readonly BytePath[]): void {
    for (const change of group.changes) change.deferrals++;
    const waitMs = Math.min(transferRetryMsMax, transferRetryMs * 2 ** Math.min(group.changes[0]?.deferrals ?? 0, 10));
    this.#giveBack(making, group.changes, this.#p.clock.monotonicMs() + waitMs);
    if (this.#awaited.size >= awaitedMax) this.#awaited.clear();
    this.#awaited.set(`${group.root.name}\0${group.mailbox}`, { paths, changes: group.changes });
  }

  /** `awaited`: large content that has to arrive first. */
  async #seal(
    making: MadeBatch,
    root: Root,
    mailbox: BytePath,
    gone: readonly BytePath[],
    force: boolean,
    check: () => void,
  ): Promise<'sealed' | 'busy' | 'held' | 'doubt' | { awaited: BytePath[] }> {
    for (let round = 0; round < sealRoundsMax && !making.writer.endsHere; round++) {
      const outcome = await this.#sealer.seal(making, root, mailbox, gone, force);
      check();
      if (outcome.kind === 'transfer') return { awaited: outcome.paths };
      if (outcome.kind !== 'first') return outcome.kind;
      const awaited: BytePath[] = [];
      for (const path of outcome.paths) {
        const looked = await this.#looker.look(making, root, path);
        check();
        if (looked === 'transfer') awaited.push(path);
        await this.#slice(check);
      }
      for (const path of awaited)
        if (!this.#p.transfers.isUnderWay(root.name, path)) this.#p.changes.record(root.name, path, 'path', this.#p.clock.monotonicMs());
      if (awaited.length > 0) return { awaited };
    }
    return 'busy';
  }

  /** Letters in a message's name mean nothing without the mailbox's keywords file. */
  async #keywordsFirst(making: Making, root: Root, path: BytePath, done: Set<string>): Promise<void> {
    if (!/:2,[^/]*[a-z]/.test(path)) return;
    const mailbox = root.format.classify(path, 'file').mailbox;
    const key = `${root.name}\0${mailbox}`;
    if (mailbox === null || done.has(key)) return;
    done.add(key);
    await this.#sealer.keywords(making, root, mailbox);
  }

  #startScan(root: Root, change: Change, fill: boolean): void {
    const items = scan(
      {
        files: this.#p.files,
        index: this.#p.index,
        wallMs: () => this.#p.clock.wallMs(),
        relived: this.#p.relived,
        thorough: change.deferrals < 0,
        unread: this.#p.unproven.dirsWithUnread(root.name),
        wasLeftOut: (name, path) => this.#leftOut.isHeld(name, path),
        stops: (path) => this.#p.holds.stopping(root.name, path) !== null,
      },
      root,
      change.path,
    );
    this.#scans.push({
      change,
      root,
      items,
      again: null,
      trouble: new Set(),
      unread: [],
      doubtsBefore: this.#p.unproven.mark(),
      gone: new Map(),
      fill,
      begun: this.#leftOut.beginScan(),
    });
  }

  async #runScans(making: MadeBatch, check: () => void): Promise<void> {
    const p = this.#p;
    const opsBefore = making.writer.ops;
    while (!making.writer.isFull && !this.scanWaits) {
      const running = this.#scans[0];
      if (!running) return;
      let item = running.again;
      running.again = null;
      if (!item) {
        const next = running.items.next();
        if (next.done) {
          await this.#endScan(making, running, check);
          continue;
        }
        item = next.value;
      }
      const ended = await this.#scanItem(making, running, item, check);
      await this.#slice(check);
      if (ended) return;
      // What people are waiting for does not queue behind a long fill.
      const turnOps = running.fill ? 1 : scanTurnOps;
      if (making.writer.ops - opsBefore >= turnOps && hasLive(p.changes.ready(p.clock.monotonicMs()))) return;
    }
  }

  /** True when the batch must end here. */
  async #scanItem(making: MadeBatch, running: RunningScan, item: ScanItem, check: () => void): Promise<boolean> {
    const p = this.#p;
    const { root, trouble } = running;
    making.lookingFor = running.change;
    if ('pause' in item) return false;
    if ('unreadable' in item) {
      p.unproven.add(root.name, item.unreadable, item.reason);
      trouble.add(item.unreadable);
      running.unread.push(item.unreadable);
    } else if ('proven' in item) {
      const at = p.index.at(root.name, item.proven);
      if (at?.entry.kind === 'dir' && at.entry.mtimeNs !== item.mtimeNs && ![...trouble].some((path) => path.startsWith(item.proven))) {
        p.index.put(making.layer, root.name, at.dir, at.name, { ...at.entry, mtimeNs: item.mtimeNs });
      }
    } else if ('seal' in item) {
      // Messages that are gone may turn up in another mailbox: those are closed when all has been seen.
      if (!running.gone.has(item.seal)) await this.#sealInScan(making, running, item.seal, check);
    } else if (this.#isGoneDir({ ...running.change, path: item.look })) {
      trouble.add(item.look);
      p.changes.record(root.name, item.look, 'path', p.clock.monotonicMs(), running.change);
    } else {
      // Between two fills a new name is mostly a rename, whose content nobody needs.
      const isNewFile = running.fill && item.isNewFile === true;
      const outcome = await (isNewFile ? this.#looker.lookAtNew(making, root, item.look) : this.#looker.look(making, root, item.look));
      check();
      if (outcome === 'alone') {
        running.again = item;
        return true;
      }
      if (outcome === 'scan') return making.writer.endsHere;
      if (outcome === 'sealed-only') {
        const mailbox = root.format.classify(item.look, null).mailbox ?? '';
        // Until that is sealed the directory holds names that the standby should not have.
        trouble.add(splitPath(item.look).dir);
        running.gone.set(mailbox, [...(running.gone.get(mailbox) ?? []), item.look]);
      } else if (outcome !== 'done') {
        trouble.add(item.look);
        if (outcome !== 'unreadable' && (outcome !== 'held' || !this.#deletions.absorbPart(running.change, item.look)))
          p.changes.record(root.name, item.look, 'path', p.clock.monotonicMs(), running.change);
      }
    }
    return false;
  }

  /** Control and index files in a root of their own follow what they name, which may lie in another root. */
  #mustWait(root: Root, mailbox: BytePath): boolean {
    const rank = this.#sealer.rankApart(root, mailbox);
    return rank !== 0 && (this.#scans.some((running) => running.root !== root) || !this.#sealer.mayFollow(root, mailbox, rank));
  }

  async #sealInScan(making: MadeBatch, running: RunningScan, mailbox: BytePath, check: () => void): Promise<void> {
    const gone = running.gone.get(mailbox) ?? [];
    running.gone.delete(mailbox);
    const outcome = this.#mustWait(running.root, mailbox) ? 'busy' : await this.#seal(making, running.root, mailbox, gone, false, check);
    if (outcome === 'sealed') return;
    running.trouble.add(mailbox);
    if (outcome === 'doubt') return;
    if (outcome === 'held' && this.#deletions.absorbPart(running.change, joinPath(mailbox, 'cur/x'))) return;
    const files = ifKnown(() => this.#sealer.files(running.root, mailbox));
    const now = this.#p.clock.monotonicMs();
    if (!files) this.#p.changes.record(running.root.name, mailbox, 'scan', now, running.change);
    for (const path of [...gone, ...(files ?? [])]) this.#p.changes.record(running.root.name, path, 'path', now, running.change);
  }

  async #endScan(making: MadeBatch, running: RunningScan, check: () => void): Promise<void> {
    making.lookingFor = running.change;
    for (const mailbox of [...running.gone.keys()]) {
      if (making.writer.isFull) return;
      await this.#sealInScan(making, running, mailbox, check);
    }
    this.#scans.shift();
    making.changes.push(running.change);
    // What was put off is recorded as a change of its own and waited for; it is no longer a matter of lost hints.
    this.#p.unproven.proveBelow(running.root.name, running.change.path, running.doubtsBefore, running.unread);
    this.#leftOut.endScan(running.begun, running.root.name, running.change.path, (path) => this.#isThere(running.root, path));
    if (running.fill && !this.#scans.some(({ fill }) => fill)) making.completesFill = true;
  }

  /** Directories that cannot have changed are not scanned: what is left out in them is looked for by name. */
  #isThere(root: Root, path: BytePath): boolean {
    try {
      return this.#p.files.lstat(absolute(root, path)) !== null;
    } catch {
      return true;
    }
  }

  #giveBack(making: MadeBatch, changes: readonly Change[], notBefore: number): void {
    for (const change of changes) {
      const at = making.changes.indexOf(change);
      if (at >= 0) making.changes.splice(at, 1);
      this.#p.changes.giveBack(change, notBefore);
    }
  }

  /** Lets timers, acknowledgements and heartbeats through. */
  async #slice(check: () => void): Promise<void> {
    const now = this.#p.clock.monotonicMs();
    if (now - this.#lastYield < sliceMs) return;
    await this.#p.clock.yield();
    this.#lastYield = this.#p.clock.monotonicMs();
    check();
  }
}

function hasLive(changes: Iterable<Change>): boolean {
  for (const change of changes) if (change.kind === 'path') return true;
  return false;
}
