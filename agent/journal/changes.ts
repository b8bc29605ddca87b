import { parentPath, type BytePath } from '../platform/files.ts';
import type { Kv, KvWrite } from '../platform/kv.ts';
import { metaKey, numberKey, numberOfKey, tables } from './keys.ts';
import { packNumber, readNumber } from './replica-index.ts';

/** `path`: look at this name. `scan`: compare everything at and below it. */
export type ChangeKind = 'path' | 'scan';

/** Something that may differ from what the standby has. */
export interface Change {
  readonly seq: number;
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
  readonly #kv: Kv;
  readonly #waiting = new Map<string, Change>();
  readonly #taken = new Map<number, Change>();
  readonly #sent = new Map<number, Change>();
  #head: number;
  readonly #unsaved = new Map<number, Change | null>();

  constructor(kv: Kv, now: number) {
    this.#kv = kv;
    this.#head = readNumber(kv.get(metaKey('head'))) ?? 0;
    for (const [key, value] of kv.range(numberKey(tables.journal, 0), numberKey(tables.journal + 1, 0))) {
      const seq = numberOfKey(key);
      const [root = '', path = ''] = value.toString('latin1', 1).split('\0');
      const change: Change = { seq, root, path, kind: value[0] === 1 ? 'scan' : 'path', at: now, notBefore: 0, deferrals: 0 };
      this.#waiting.set(keyOf(root, path), change);
      this.#head = Math.max(this.#head, seq);
    }
  }

  /** The last sequence number given out. */
  get head(): number {
    return this.#head;
  }

  /** Every change up to this one is durable on the standby. */
  get durableSeq(): number {
    let first = this.sentSeq + 1;
    for (const seq of this.#sent.keys()) if (seq < first) first = seq;
    return first - 1;
  }

  /** Every change up to this one is durable on the standby once all that was sent is. */
  get sentSeq(): number {
    let first = this.#head + 1;
    for (const change of this.#waiting.values()) if (change.seq < first) first = change.seq;
    for (const seq of this.#taken.keys()) if (seq < first) first = seq;
    return first - 1;
  }

  get waitingCount(): number {
    return this.#waiting.size;
  }

  get openCount(): number {
    return this.#waiting.size + this.#taken.size + this.#sent.size;
  }

  /** Age of the oldest open change in milliseconds; 0 when none is open. */
  oldestMs(now: number): number {
    let oldest = now;
    for (const change of this.#waiting.values()) if (change.at < oldest) oldest = change.at;
    for (const changes of [this.#taken, this.#sent]) for (const change of changes.values()) if (change.at < oldest) oldest = change.at;
    return now - oldest;
  }

  /** Records that a path may have changed. A change of the same path that still waits covers it. */
  record(root: string, path: BytePath, kind: ChangeKind, now: number): void {
    const key = keyOf(root, path);
    const known = this.#waiting.get(key);
    if (known) {
      if (kind === 'scan' && known.kind === 'path') {
        known.kind = 'scan';
        this.#unsaved.set(known.seq, known);
      }
      return;
    }
    if (kind === 'path' && this.#waiting.size >= changesMax) return this.#collapse(root, path, now);
    this.#add({ seq: ++this.#head, root, path, kind, at: now, notBefore: 0, deferrals: 0 });
  }

  /** Waiting changes that may be looked at now, oldest first. The caller takes or leaves each. */
  *ready(now: number): Generator<Change> {
    for (const change of this.#waiting.values()) if (change.notBefore <= now) yield change;
  }

  /** The next time at which a change that was put off may be looked at; null when none waits. */
  nextAt(): number | null {
    let next: number | null = null;
    for (const change of this.#waiting.values()) if (next === null || change.notBefore < next) next = change.notBefore;
    return next;
  }

  /** A change is being sent: new hints for its path make a new change. */
  take(change: Change): void {
    this.#waiting.delete(keyOf(change.root, change.path));
    this.#taken.set(change.seq, change);
  }

  /** A batch that settles this change is complete and under way. */
  send(change: Change): void {
    if (this.#taken.delete(change.seq)) this.#sent.set(change.seq, change);
  }

  /** Open changes in no order, for estimates. */
  *open(): Generator<Change> {
    yield* this.#waiting.values();
    yield* this.#taken.values();
    yield* this.#sent.values();
  }

  /** A change that was taken has to wait again, in its old place in line as far as its number says. */
  giveBack(change: Change, notBefore = 0): void {
    this.#taken.delete(change.seq);
    this.#sent.delete(change.seq);
    const key = keyOf(change.root, change.path);
    const newer = this.#waiting.get(key);
    // The older number stays open: what was recorded then is not durable yet.
    if (newer) {
      this.#unsaved.set(newer.seq, null);
      if (newer.kind === 'scan') change.kind = 'scan';
    }
    change.notBefore = notBefore;
    this.#waiting.set(key, change);
  }

  /** A taken change is durable on the standby (or turned out to be none). */
  settle(change: Change): void {
    this.#taken.delete(change.seq);
    this.#sent.delete(change.seq);
    this.#unsaved.set(change.seq, null);
  }

  /**
   * What has to be written so that a restart knows of the open changes. Changes that came and went since the last call
   * cost nothing.
   */
  save(): KvWrite[] {
    const writes: KvWrite[] = [[metaKey('head'), packNumber(this.#head)]];
    for (const [seq, change] of this.#unsaved) {
      writes.push([numberKey(tables.journal, seq), change && Buffer.concat([Buffer.from([change.kind === 'scan' ? 1 : 0]), Buffer.from(keyOf(change.root, change.path), 'latin1')])]);
    }
    this.#unsaved.clear();
    return writes;
  }

  get unsavedCount(): number {
    return this.#unsaved.size;
  }

  #add(change: Change): void {
    this.#waiting.set(keyOf(change.root, change.path), change);
    this.#unsaved.set(change.seq, change);
  }

  /** Bounds the list (I12): single names give way to a scan of their directory. */
  #collapse(root: string, path: BytePath, now: number): void {
    const oldest = new Map<string, Change>();
    for (const change of this.#waiting.values()) {
      const dir = change.kind === 'scan' ? change.path : parentPath(change.path);
      const key = keyOf(change.root, dir);
      const kept = oldest.get(key);
      this.#unsaved.set(change.seq, null);
      if (!kept || change.seq < kept.seq) oldest.set(key, { ...change, path: dir, kind: 'scan', notBefore: 0 });
    }
    this.#waiting.clear();
    for (const change of oldest.values()) this.#add(change);
    this.record(root, parentPath(path), 'scan', now);
  }
}

function keyOf(root: string, path: BytePath): string {
  return `${root}\0${path}`;
}
