import type { MessageOf } from '../../../protocol/messages.ts';
import type { Position } from '../../../protocol/position.ts';
import type { Change } from '../../journal/changes.ts';
import type { Layer } from '../../journal/layer.ts';
import type { Channel } from '../../link/channel.ts';
import { joinPath, type BytePath } from '../../platform/files.ts';
import { absolute, type Root } from '../root.ts';
import { BatchWriter } from './batch-writer.ts';
import { Abandoned, splitPath, type Making, type Outcome, type PrimaryParts } from './context.ts';
import { Looker } from './look.ts';
import { scan, type ScanItem } from './scan.ts';
import { Sealer } from './seal.ts';
import type { Skipped } from './skipped.ts';

/** A batch that is complete; `to` is null when nothing had to be sent. */
export interface MadeBatch {
  id: number;
  to: Position | null;
  layer: Layer;
  writer: BatchWriter;
  removed: Map<string, number>;
  changes: Change[];
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
  /** Places that could not be settled: their directories are not proven. */
  trouble: Set<BytePath>;
  /** Places that could not even be looked at: they stay in doubt. */
  unreadable: Set<BytePath>;
  /** Vanished paths by mailbox, for its seal. */
  gone: Map<BytePath, BytePath[]>;
  fill: boolean;
}

interface Group {
  root: Root;
  mailbox: BytePath;
  changes: Change[];
}

const noChange: Change = { id: 0, seq: 0, root: '', path: '', kind: 'path', at: 0, notBefore: 0, deferrals: 0 };
const looksAtOnceMax = 4096;
const sliceMs = 8;
const busyRetryMs = 3;
const busyRetryMsMax = 50;
/** Where no watcher can be asked, the two names of a renamed directory are told within this time of each other. */
const renameTellMs = 100;
/** For a watcher to tell all that it knows; one that cannot has lost hints, and all is compared. */
const barrierMs = 10_000;
const goneRetryMs = 20;
const goneMax = 10_000;
/** Ops of a scan that go with a batch although live changes wait: on a busy machine there are always some. */
const scanTurnOps = 32;
const apartRetryMs = 20;
const sealRoundsMax = 4;

/** Turns open changes into one batch at a time: live changes first, then the mailboxes that they close, then scans. */
export class BatchMaker {
  readonly #p: PrimaryParts;
  readonly #looker: Looker;
  readonly #sealer: Sealer;
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

  constructor(parts: PrimaryParts, skipped: Skipped) {
    this.#p = parts;
    this.#looker = new Looker(parts, skipped);
    this.#sealer = new Sealer(parts, this.#looker);
  }

  /** Resolves when all changes made before the call have been recorded. */
  watch(barrier: (timeoutMs: number) => Promise<void>): void {
    this.#barrier = barrier;
  }

  get scanning(): boolean {
    return this.#scans.length > 0;
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

  /** What the standby has at a path did not fit: it gets the whole of it. */
  sendWhole(root: string, path: BytePath): void {
    const { index, kv } = this.#p;
    const at = index.at(root, path);
    if (!at || at.entry.kind !== 'file') return;
    const layer = index.begin();
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
    this.#scans.length = 0;
    for (const change of open) changes.giveBack(change);
    for (const { removed } of batches) for (const [root, files] of removed) this.#p.guard.forgive(root, files);
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
      removed: new Map(),
      changes: [],
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
    for (const change of making.changes) p.changes.send(change);
    if (making.writer.ops > 0) {
      const to = await making.writer.commit(epoch, p.changes.sentSeq);
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
    const ready = takeSome(p.changes.ready(p.clock.monotonicMs()), looksAtOnceMax);
    const first = ready.indexOf(this.#alone ?? noChange);
    if (first > 0) ready.unshift(...ready.splice(first, 1));
    this.#alone = null;
    // Mailboxes that this batch does not close wait for the next one.
    const endHere = () => {
      for (const group of groups.values()) this.#giveBack(making, group.changes, 0);
      return true;
    };
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
        const isNew = change.path !== '' && !p.index.at(root.name, change.path);
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
    for (const change of this.#p.changes.waiting()) if (change.kind === 'scan' && change.seq <= seq && !this.#isGone(change)) return true;
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
        if (++change.deferrals === 20) this.#p.unproven.add(root.name, change.path, 'would not hold still long enough to be read');
        return false;
      case 'held':
        this.#giveBack(making, [change], now + 1000);
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
    if (this.#mustWait(group.root, group.mailbox)) return this.#giveBack(making, group.changes, now + apartRetryMs);
    const gone = group.changes.map(({ path }) => path).filter((path) => splitPath(path).dir !== group.mailbox);
    const outcome = await this.#seal(making, group.root, group.mailbox, gone, now - oldest > p.restMaxMs, check);
    if (outcome === 'sealed') return;
    for (const change of group.changes) change.deferrals++;
    const wait = outcome === 'held' ? 1000 : Math.min(busyRetryMsMax, busyRetryMs * (group.changes[0]?.deferrals ?? 1));
    this.#giveBack(making, group.changes, p.clock.monotonicMs() + wait);
  }

  async #seal(
    making: MadeBatch,
    root: Root,
    mailbox: BytePath,
    gone: readonly BytePath[],
    force: boolean,
    check: () => void,
  ): Promise<'sealed' | 'busy' | 'held'> {
    for (let round = 0; round < sealRoundsMax && !making.writer.endsHere; round++) {
      const outcome = await this.#sealer.seal(making, root, mailbox, gone, force);
      check();
      if (outcome.kind !== 'first') return outcome.kind;
      for (const path of outcome.paths) {
        await this.#looker.look(making, root, path);
        check();
        await this.#slice(check);
      }
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
      },
      root,
      change.path,
    );
    this.#scans.push({ change, root, items, again: null, trouble: new Set(), unreadable: new Set(), gone: new Map(), fill });
  }

  async #runScans(making: MadeBatch, check: () => void): Promise<void> {
    const p = this.#p;
    const opsBefore = making.writer.ops;
    while (!making.writer.isFull) {
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
    if ('pause' in item) return false;
    if ('unreadable' in item) {
      p.unproven.add(root.name, item.unreadable, item.reason);
      trouble.add(item.unreadable);
      running.unreadable.add(item.unreadable);
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
        if (outcome === 'unreadable') running.unreadable.add(item.look);
        else p.changes.record(root.name, item.look, 'path', p.clock.monotonicMs(), running.change);
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
    for (const path of [...gone, ...this.#sealer.files(running.root, mailbox)])
      this.#p.changes.record(running.root.name, path, 'path', this.#p.clock.monotonicMs(), running.change);
  }

  async #endScan(making: MadeBatch, running: RunningScan, check: () => void): Promise<void> {
    for (const mailbox of [...running.gone.keys()]) {
      if (making.writer.isFull) return;
      await this.#sealInScan(making, running, mailbox, check);
    }
    this.#scans.shift();
    making.changes.push(running.change);
    // What was put off is recorded as a change of its own and waited for; it is no longer a matter of lost hints.
    this.#p.unproven.proveBelow(running.root.name, running.change.path, running.unreadable);
    if (running.fill && !this.#scans.some(({ fill }) => fill)) making.completesFill = true;
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

function takeSome(changes: Iterable<Change>, most: number): Change[] {
  const some: Change[] = [];
  for (const change of changes) {
    some.push(change);
    if (some.length >= most) break;
  }
  return some;
}

function hasLive(changes: Iterable<Change>): boolean {
  for (const change of changes) if (change.kind === 'path') return true;
  return false;
}
