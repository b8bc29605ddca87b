import { parentPath, type BytePath } from '../platform/files.ts';
import type { Kv, KvWrite } from '../platform/kv.ts';
import { metaKey, numberKey, numberOfKey, tables } from './keys.ts';
import { packNumber, readNumber } from './replica-index.ts';

/** `path`: look at this name. `scan`: compare everything at and below it. */
export type ChangeKind = 'path' | 'scan';

/** Something that may differ from what the standby has. */
export interface Change {
  /** Its key in the store. */
  readonly id: number;
  /** Its place in line: what is durable up to this number includes it. */
  seq: number;
  readonly root: string;
  readonly path: BytePath;
  kind: ChangeKind;
  /** Monotonic milliseconds at which it was recorded. */
  readonly at: number;
  /** Not looked at before this monotonic time; a mailbox that is at work, a file that would not hold still. */
  notBefore: number;
  /** How often looking at it had to be put off. */
  deferrals: number;
}

/** More changes than this below one root are held as scans of their directories. */
const changesMax = 100_000;

/**
 * The primary's list of what is not yet durable on the standby, ordered, coalesced by path.
 *
 * What a change is, is not recorded: when its turn comes, the path is looked at and compared with the index. So a
 * path that changes a thousand times while the standby is away costs one entry, and the list is never longer than the
 * tree. Sequence numbers count for ever; `durableSeq` is the one up to which nothing is open.
 */
export class Changes {
  readonly #waiting = new Map<string, Change>();
  readonly #taken = new Set<Change>();
  readonly #sent = new Set<Change>();
  /** Set aside until something else happens: one scan for each held place. */
  readonly #held = new Map<string, Change>();
  #head: number;
  #nextId = 1;
  readonly #unsaved = new Map<number, Change | null>();

  constructor(kv: Kv, now: number) {
    this.#head = readNumber(kv.get(metaKey('head'))) ?? 0;
    for (const [key, value] of kv.range(numberKey(tables.journal, 0), Buffer.from([tables.journal + 1]))) {
      const id = numberOfKey(key);
      const seq = value.readUIntBE(1, 6);
      const [root = '', path = ''] = value.toString('latin1', 7).split('\0');
      this.#nextId = Math.max(this.#nextId, id + 1);
      const change: Change = { id, seq, root, path, kind: value[0] === 1 ? 'scan' : 'path', at: now, notBefore: 0, deferrals: 0 };
      // One was under way and another one waited: from now on they are one.
      const other = this.#waiting.get(keyOf(root, path));
      if (other) {
        change.seq = Math.min(change.seq, other.seq);
        if (other.kind === 'scan') change.kind = 'scan';
        this.#unsaved.set(other.id, null);
        this.#unsaved.set(id, change);
      }
      this.#waiting.set(keyOf(root, path), change);
      this.#head = Math.max(this.#head, seq);
    }
  }

  /** The last sequence number given out. */
  get head(): number {
    return this.#head;
  }

  /** Numbers given out from here on are higher than this one. */
  raiseHead(seq: number): void {
    this.#head = Math.max(this.#head, seq);
  }

  /** Every change up to this one is durable on the standby. */
  get durableSeq(): number {
    let first = this.sentSeq + 1;
    for (const { seq } of this.#sent) if (seq < first) first = seq;
    return first - 1;
  }

  /** Every change up to this one is durable on the standby once all that was sent is. */
  get sentSeq(): number {
    let first = this.#head + 1;
    for (const change of this.#waiting.values()) if (change.seq < first) first = change.seq;
    for (const { seq } of this.#taken) if (seq < first) first = seq;
    for (const { seq } of this.#held.values()) if (seq < first) first = seq;
    return first - 1;
  }

  get waitingCount(): number {
    return this.#waiting.size;
  }

  get openCount(): number {
    return this.#waiting.size + this.#taken.size + this.#sent.size + this.#held.size;
  }

  /** Age of the oldest open change in milliseconds; 0 when none is open. */
  oldestMs(now: number): number {
    let oldest = now;
    for (const change of this.#waiting.values()) if (change.at < oldest) oldest = change.at;
    for (const changes of [this.#taken, this.#sent, this.#held.values()])
      for (const change of changes) if (change.at < oldest) oldest = change.at;
    return now - oldest;
  }

  /**
   * Records that a path may have changed. A change of the same path that still waits covers it. `partOf` is the change
   * whose work this is a remainder of: the remainder stands in its place in line. False when a waiting one covers it.
   */
  record(root: string, path: BytePath, kind: ChangeKind, now: number, partOf?: Change): boolean {
    const key = keyOf(root, path);
    const known = this.#waiting.get(key);
    if (known) {
      if (kind === 'scan' && known.kind === 'path') {
        known.kind = 'scan';
        this.#unsaved.set(known.id, known);
      }
      if (partOf && partOf.seq < known.seq) known.seq = partOf.seq;
      return false;
    }
    const seq = partOf?.seq ?? ++this.#head;
    if (kind === 'path' && this.#waiting.size >= changesMax) this.#collapse(root, path, seq, now);
    else this.#add({ id: this.#nextId++, seq, root, path, kind, at: partOf?.at ?? now, notBefore: 0, deferrals: 0 });
    return true;
  }

  /** Waiting changes that may be looked at now, oldest first. The caller takes or leaves each. */
  *ready(now: number): Generator<Change> {
    for (const change of this.#waiting.values()) if (change.notBefore <= now) yield change;
  }

  /** Changes that wait, whether or not their time has come. */
  waiting(): Iterable<Change> {
    return this.#waiting.values();
  }

  /** The next time at which a change that was put off may be looked at; null when none waits. */
  nextAt(): number | null {
    let next: number | null = null;
    for (const change of this.#waiting.values()) if (next === null || change.notBefore < next) next = change.notBefore;
    return next;
  }

  /** For how long (ms) the waiting change of a path is put off; 0 when none is. */
  putOffMs(root: string, path: BytePath, now: number): number {
    const change = this.#waiting.get(keyOf(root, path));
    return change ? Math.max(0, change.notBefore - now) : 0;
  }

  /** The waiting change of a path may be looked at now. */
  hurry(root: string, path: BytePath): void {
    const change = this.#waiting.get(keyOf(root, path));
    if (change) change.notBefore = 0;
  }

  /** A change is being sent: new hints for its path make a new change. */
  take(change: Change): void {
    this.#waiting.delete(keyOf(change.root, change.path));
    this.#taken.add(change);
  }

  /** A batch that settles this change is complete and under way. */
  send(change: Change): void {
    if (this.#taken.delete(change)) this.#sent.add(change);
  }

  /** Open changes in no order, for estimates. */
  *open(): Generator<Change> {
    yield* this.#waiting.values();
    yield* this.#taken;
    yield* this.#sent;
    yield* this.#held.values();
  }

  /** Sets a taken change aside with all others of a held place, as one scan of the place in the oldest one's place in line. */
  hold(change: Change, place: BytePath): void {
    this.#taken.delete(change);
    this.#unsaved.set(change.id, null);
    this.holdPart(change, place);
  }

  /** Sets a part of a change's work aside, as `hold` does; the change itself goes on. */
  holdPart(change: Change, place: BytePath): void {
    const key = keyOf(change.root, place);
    const known = this.#held.get(key);
    if (known && known.seq <= change.seq) return;
    const held = known ?? { ...change, id: this.#nextId++, path: place, kind: 'scan' };
    held.seq = change.seq;
    this.#held.set(key, held);
    this.#unsaved.set(held.id, held);
  }

  /** What was set aside for a place is looked at again; nothing when nothing was. */
  resume(root: string, place: BytePath): void {
    const key = keyOf(root, place);
    const held = this.#held.get(key);
    if (!held) return;
    this.#held.delete(key);
    held.notBefore = 0;
    this.giveBack(held);
  }

  /** Whether anything up to a number is open that is not set aside, and not among `but`. */
  isOpenBesidesHeld(seq: number, but: (change: Change) => boolean = () => false): boolean {
    for (const changes of [this.#waiting.values(), this.#taken, this.#sent])
      for (const change of changes) if (change.seq <= seq && !but(change)) return true;
    return false;
  }

  /** A change that was taken has to wait again, in its old place in line as far as its number says. */
  giveBack(change: Change, notBefore = 0): void {
    this.#taken.delete(change);
    this.#sent.delete(change);
    const key = keyOf(change.root, change.path);
    const newer = this.#waiting.get(key);
    // The older number stays open: what was recorded then is not durable yet.
    if (newer) {
      this.#unsaved.set(newer.id, null);
      change.seq = Math.min(change.seq, newer.seq);
      if (newer.kind === 'scan') change.kind = 'scan';
      this.#unsaved.set(change.id, change);
    }
    change.notBefore = notBefore;
    this.#waiting.set(key, change);
  }

  /** A taken change is durable on the standby (or turned out to be none). */
  settle(change: Change): void {
    this.#taken.delete(change);
    this.#sent.delete(change);
    this.#unsaved.set(change.id, null);
  }

  /**
   * What has to be written so that a restart knows of the open changes. Changes that came and went since the last call
   * cost nothing.
   */
  save(): KvWrite[] {
    const writes: KvWrite[] = [[metaKey('head'), packNumber(this.#head)]];
    for (const [id, change] of this.#unsaved) {
      if (!change) {
        writes.push([numberKey(tables.journal, id), null]);
        continue;
      }
      const head = Buffer.alloc(7, change.kind === 'scan' ? 1 : 0);
      head.writeUIntBE(change.seq, 1, 6);
      writes.push([numberKey(tables.journal, id), Buffer.concat([head, Buffer.from(keyOf(change.root, change.path), 'latin1')])]);
    }
    this.#unsaved.clear();
    return writes;
  }

  get unsavedCount(): number {
    return this.#unsaved.size;
  }

  #add(change: Change): void {
    this.#waiting.set(keyOf(change.root, change.path), change);
    this.#unsaved.set(change.id, change);
  }

  /** Bounds the list (I12): single names give way to a scan of their directory. */
  #collapse(root: string, path: BytePath, seq: number, now: number): void {
    const scans = new Map<string, Change>();
    const gather = (change: Change, dir: BytePath) => {
      const key = keyOf(change.root, dir);
      const kept = scans.get(key);
      if (!kept) scans.set(key, { ...change, id: this.#nextId++, path: dir, kind: 'scan', notBefore: 0 });
      else if (change.seq < kept.seq) kept.seq = change.seq;
    };
    for (const change of this.#waiting.values()) {
      gather(change, change.kind === 'scan' ? change.path : parentPath(change.path));
      this.#unsaved.set(change.id, null);
    }
    gather({ id: 0, seq, root, path, kind: 'path', at: now, notBefore: 0, deferrals: 0 }, parentPath(path));
    this.#waiting.clear();
    for (const change of scans.values()) this.#add(change);
  }
}

function keyOf(root: string, path: BytePath): string {
  return `${root}\0${path}`;
}
