import { Packr } from 'msgpackr';
import { createHash } from 'node:crypto';
import { lacks } from '../../../protocol/shortfall.ts';
import { tables } from '../../journal/keys.ts';
import type { Clock } from '../../platform/clock.ts';
import { baseName, displayPath, parentPath, type BytePath } from '../../platform/files.ts';
import type { Kv, KvWrite } from '../../platform/kv.ts';
import type { Log } from '../../platform/log.ts';
import { silentLog } from '../../platform/log.ts';
import { foldKey } from '../one-name.ts';

/**
 * What a doubt is about. Each ends in its own way:
 *
 * - `reading`: this node cannot read the place, or hints of it were lost; a look that succeeds ends it
 * - `bounds`: the place has more than index and wire hold; a look at what fits ends it
 * - `attributes`: the standby has the file without some of its attributes; its word ends it
 * - `place`: the standby cannot have the file at all, or cannot let it go; its word ends it
 * - `content`: the standby's disk has damaged the file; its word that it has it anew ends it
 */
export type DoubtKind = 'reading' | 'bounds' | 'attributes' | 'place' | 'content';

export interface Doubt {
  root: string;
  path: BytePath;
  kind: DoubtKind;
  /** Why, for people, without the path. */
  reason: string;
  /** Wall clock, milliseconds: since when; it outlives the process. */
  sinceMs: number;
  /** The place to compare when it is tried again; the path itself when absent. */
  again?: BytePath;
}

interface Kept extends Doubt {
  tries: number;
  /** Monotonic milliseconds. */
  nextMs: number;
  /** Monotonic milliseconds of the last try. */
  triedMs: number;
  /** Its time came, or something changed there: it may be sent once more. */
  trying: boolean;
  /** Number of the time at which it was found last. */
  found: number;
  /** Which file had this name when it was seen last, where the standby cannot have it: a start compares all names, and needs none. */
  ino?: bigint;
}

const packr = new Packr({ useRecords: false });
const doubtsMax = 10_000;
const firstRetryMs = 30_000;
const lastRetryMs = 3_600_000;
/** A change of a place in doubt lets it be tried early, but not sooner than this after the last try. */
const nudgeMs = 10_000;
/** Whoever waits lets all of them be tried, but not sooner than this after the last try. */
const askedMs = 1000;
/** Doubts that are written into the log one by one; later ones are in the status. */
const loggedMax = 200;
/** A doubt of a whole root with this reason stands for places of any kind. */
export const moreText = 'more places are in doubt than are listed';
const noDirs: ReadonlySet<BytePath> = new Set();
const kinds: readonly DoubtKind[] = ['reading', 'bounds', 'attributes', 'place', 'content'];
/** What the standby tells of. */
const theirs = ['attributes', 'place', 'content'] as const;

/**
 * Places whose replica may differ (I10, I20), each by itself: why, since when, and when it is tried again. Durable until
 * they are proven. Everything else goes on beside them.
 */
export class Unproven {
  readonly #kv: Kv;
  readonly #clock: Pick<Clock, 'monotonicMs' | 'wallMs'>;
  readonly #log: Log;
  readonly #doubts = new Map<string, Kept>();
  #counts: Record<DoubtKind, number> = { reading: 0, bounds: 0, attributes: 0, place: 0, content: 0 };
  #logged = 0;
  /** How often anything was found to be in doubt. */
  #found = 0;
  #ended = 0;

  constructor(kv: Kv, clock: Pick<Clock, 'monotonicMs' | 'wallMs'>, log: Log = silentLog) {
    this.#kv = kv;
    this.#clock = clock;
    this.#log = log;
    for (const [key, value] of [...kv.range(Buffer.from([tables.unproven]), Buffer.from([tables.unproven + 1]))]) {
      const doubt = unpack(value);
      // Of an earlier version, under another key.
      if (!keyOf(doubt).equals(key)) kv.commit([[key, null], writeOf(doubt)]);
      this.#keep({ ...doubt, tries: 0, nextMs: clock.monotonicMs(), triedMs: -Infinity, trying: true, found: 0 });
    }
  }

  list(): Doubt[] {
    return [...this.#doubts.values()];
  }

  get count(): number {
    return this.#doubts.size;
  }

  /** How many doubts have ended since this process began: what they were about may have become ordinary changes. */
  get ended(): number {
    return this.#ended;
  }

  /** How many are of one kind. */
  countOf(kind: DoubtKind): number {
    return this.#counts[kind];
  }

  /** How many places have their content on the standby, and lack attributes alone. */
  get ofAttributes(): number {
    return this.list().filter((doubt) => !isOfContent(doubt)).length;
  }

  add(root: string, path: BytePath, reason: string, kind: DoubtKind = 'reading', again?: BytePath): void {
    const write = this.#add({
      root,
      path,
      kind,
      reason,
      sinceMs: Math.floor(this.#clock.wallMs()),
      ...(again === undefined ? {} : { again }),
    });
    if (write) this.#kv.commit([write]);
  }

  /** What the standby says that it lacks; `bits` as in protocol/shortfall.ts. */
  addAll(items: readonly { root: string; path: BytePath; bits: number; reason: string; ino?: bigint | undefined }[]): void {
    const writes: KvWrite[] = [];
    for (const { root, path, bits, reason, ino } of items) {
      const kind = bits & lacks.place ? 'place' : bits & lacks.content ? 'content' : 'attributes';
      for (const other of theirs) {
        const ended = other === kind ? null : this.#end(root, path, other);
        if (ended) writes.push(ended);
      }
      const write = this.#add({ root, path, kind, reason, sinceMs: Math.floor(this.#clock.wallMs()) });
      if (write) writes.push(write);
      if (ino !== undefined) this.sees(root, path, ino);
    }
    if (writes.length > 0) this.#kv.commit(writes);
  }

  /** This file has a name that the standby cannot have. */
  sees(root: string, path: BytePath, ino: bigint): void {
    const doubt = this.#counts.place === 0 ? undefined : this.#doubts.get(mapKey(root, path, 'place'));
    if (doubt) doubt.ino = ino;
  }

  /** The file that had a name which the standby cannot have, when it was seen last. */
  seenAt(root: string, path: BytePath): bigint | undefined {
    return this.#counts.place === 0 ? undefined : this.#doubts.get(mapKey(root, path, 'place'))?.ino;
  }

  #add(doubt: Doubt): KvWrite | null {
    const key = mapKey(doubt.root, doubt.path, doubt.kind);
    const known = this.#doubts.get(key);
    if (known) {
      known.found = ++this.#found;
      known.trying = false;
      known.nextMs = this.#clock.monotonicMs() + waitMs(known.tries);
      if (known.reason === doubt.reason && known.again === doubt.again) return null;
      known.reason = doubt.reason;
      if (doubt.again !== undefined) known.again = doubt.again;
      return writeOf(known);
    }
    // Too many to name one by one: the root as a whole is in doubt.
    if (this.#doubts.size >= doubtsMax && doubt.reason !== moreText)
      return this.#add({ ...doubt, path: '', kind: doubt.kind === 'place' ? 'attributes' : doubt.kind, reason: moreText });
    const now = this.#clock.monotonicMs();
    this.#keep({ ...doubt, tries: 0, nextMs: now + waitMs(0), triedMs: now, trying: false, found: ++this.#found });
    if (this.#logged++ < loggedMax)
      this.#log.warn({ root: doubt.root, path: displayPath(doubt.path), kind: doubt.kind, reason: doubt.reason }, 'a place is in doubt');
    return writeOf(doubt);
  }

  #keep(kept: Kept): void {
    this.#doubts.set(mapKey(kept.root, kept.path, kept.kind), kept);
    this.#counts[kept.kind]++;
  }

  #end(root: string, path: BytePath, kind: DoubtKind): KvWrite | null {
    if (this.#counts[kind] === 0) return null;
    const key = mapKey(root, path, kind);
    const doubt = this.#doubts.get(key);
    if (!doubt) return null;
    this.#doubts.delete(key);
    this.#counts[kind]--;
    this.#ended++;
    return [keyOf(doubt), null];
  }

  #endAll(places: Iterable<readonly [root: string, path: BytePath, kind: DoubtKind]>): void {
    const writes: KvWrite[] = [];
    for (const [root, path, kind] of places) {
      const write = this.#end(root, path, kind);
      if (write) writes.push(write);
    }
    if (writes.length > 0) this.#kv.commit(writes);
  }

  /** A place was looked at and is as the index says. Where more waits for it than itself, that is compared at once. */
  prove(root: string, path: BytePath): void {
    if (this.#counts.reading === 0) return;
    const doubt = this.#doubts.get(mapKey(root, path, 'reading'));
    if (doubt?.again === undefined) this.#endAll([[root, path, 'reading']]);
    else doubt.nextMs = Math.min(doubt.nextMs, this.#clock.monotonicMs());
  }

  /**
   * Some of what is in a directory could be read: whether all of it can be is told by a comparison, which is made now, and ends a
   * doubt about the directory.
   */
  mayBeRead(root: string, path: BytePath): void {
    const doubt = this.#counts.reading === 0 ? undefined : this.#doubts.get(mapKey(root, path, 'reading'));
    if (doubt) this.#tryEarly(doubt);
  }

  /** A place was looked at, and all of it fits. */
  fits(root: string, path: BytePath): void {
    this.#endAll([[root, path, 'bounds']]);
  }

  /** The moment of a comparison's beginning, for `proveBelow`. */
  mark(): number {
    return this.#found;
  }

  /**
   * A whole directory was compared: what is at or below it is proven. Not what was found, or found again, after the
   * comparison began (`before`): it may have passed there before, and it found some of it itself. Nor what is at or below `unread`,
   * where it could not look.
   */
  proveBelow(root: string, path: BytePath, before = this.#found, unread: readonly BytePath[] = []): void {
    this.#endBelow(root, path, ['reading'], before, unread);
  }

  /** The standby has the place as it should be. */
  standbyHas(root: string, path: BytePath): void {
    this.#endAll(theirs.map((kind) => [root, path, kind] as const));
  }

  /** A place is gone on both nodes, with all below it. */
  forget(root: string, path: BytePath): void {
    this.#endBelow(root, path, kinds);
  }

  /** A place is gone here, with all below it: nothing of it is to be read any more. */
  goesHere(root: string, path: BytePath): void {
    this.#endBelow(root, path, ['reading', 'bounds']);
  }

  /** A place is not here, and the standby is not known to have it. What it has under another name by now lacks what it lacked. */
  isNowhere(root: string, path: BytePath): void {
    this.#endBelow(root, path, ['reading', 'bounds', 'place']);
  }

  #endBelow(root: string, path: BytePath, of: readonly DoubtKind[], before = this.#found, besides: readonly BytePath[] = []): void {
    if (of.every((kind) => this.#counts[kind] === 0)) return;
    const ended = [...this.#doubts.values()].filter(
      ({ kind, found, ...doubt }) =>
        of.includes(kind) &&
        found <= before &&
        doubt.root === root &&
        isAtOrBelow(doubt.path, path) &&
        !besides.some((place) => isAtOrBelow(doubt.path, place)),
    );
    this.#endAll(ended.map((doubt) => [root, doubt.path, doubt.kind] as const));
  }

  /**
   * A directory has another name on both nodes. Gives the places under the old one that were in doubt: something newer may be there,
   * which was not looked at for that.
   */
  moved(root: string, from: BytePath, to: BytePath): BytePath[] {
    if (this.#doubts.size === 0) return [];
    const below = [...this.#doubts.values()].filter((doubt) => doubt.root === root && isAtOrBelow(doubt.path, from));
    this.#endAll(below.map((doubt) => [root, doubt.path, doubt.kind] as const));
    const there = (path: BytePath) => (isAtOrBelow(path, from) ? `${to}${path.slice(from.length)}` : path);
    for (const { path, kind, reason, again, ino } of below) {
      this.add(root, there(path), reason, kind, again === undefined ? again : there(again));
      if (ino !== undefined) this.sees(root, there(path), ino);
    }
    return below.map(({ path }) => path);
  }

  /**
   * The standby has told all that it lacks: a file of which it does not speak has its attributes. A place that was refused
   * before anything of it was applied is not in its list; all that is left is tried again.
   */
  standbyToldAll(named: ReadonlySet<string>): void {
    this.#endAll(
      this.list()
        .filter(({ root, path, kind }) => (kind === 'attributes' || kind === 'content') && !named.has(`${root}\0${path}`))
        .map(({ root, path, kind }) => [root, path, kind] as const),
    );
    for (const doubt of this.#doubts.values()) if (theirs.some((kind) => kind === doubt.kind)) doubt.nextMs = this.#clock.monotonicMs();
  }

  /** Doubts whose time has come, at most `most`; each may be tried once from now on. */
  due(most: number): Doubt[] {
    const now = this.#clock.monotonicMs();
    const due: Kept[] = [];
    for (const doubt of this.#doubts.values()) {
      if (doubt.nextMs > now) continue;
      due.push(doubt);
      if (due.length >= most) break;
    }
    for (const doubt of due) {
      doubt.trying = true;
      doubt.tries++;
      doubt.triedMs = now;
      doubt.nextMs = now + waitMs(doubt.tries);
    }
    return due;
  }

  /**
   * Something changed at a place: what kept it back may be over, so it is tried now. A directory may be readable now, with all
   * below it; for anything else that cannot be read its own change is a try.
   */
  nudge(root: string, path: BytePath, isDir: boolean): void {
    if (isDir && this.#counts.reading > 0) {
      for (const doubt of this.#doubts.values())
        if (doubt.kind === 'reading' && doubt.root === root && isAtOrBelow(doubt.path, path)) this.#tryEarly(doubt);
    }
    for (const kind of theirs) {
      const doubt = this.#counts[kind] > 0 ? this.#doubts.get(mapKey(root, path, kind)) : undefined;
      if (doubt) this.#tryEarly(doubt);
    }
  }

  /** The places at a path, or also below it, that the standby cannot have. */
  refusedAt(root: string, path: BytePath, below: boolean): BytePath[] {
    if (this.#counts.place === 0) return [];
    if (!below) return this.#doubts.has(mapKey(root, path, 'place')) ? [path] : [];
    return this.list().flatMap((doubt) =>
      doubt.kind === 'place' && doubt.root === root && isAtOrBelow(doubt.path, path) ? [doubt.path] : [],
    );
  }

  /** The standby has a name no more: what its file system may have taken for the same is tried now. */
  isFree(root: string, path: BytePath): void {
    if (this.#counts.place === 0) return;
    const [dir, key] = [parentPath(path), foldKey(baseName(path))];
    for (const doubt of this.#doubts.values()) {
      if (doubt.kind !== 'place' || doubt.root !== root || doubt.path === path || parentPath(doubt.path) !== dir) continue;
      if (foldKey(baseName(doubt.path)) === key) doubt.nextMs = this.#clock.monotonicMs();
    }
  }

  /** Somebody waits for what is in doubt, perhaps after mending it: all of it is due, and its pauses begin anew. */
  asked(): void {
    const now = this.#clock.monotonicMs();
    for (const doubt of this.#doubts.values()) {
      if (now - doubt.triedMs < askedMs) continue;
      doubt.tries = 0;
      doubt.nextMs = Math.min(doubt.nextMs, now);
    }
  }

  /** A place that changes all the time is not tried all the time. */
  #tryEarly(doubt: Kept): void {
    doubt.nextMs = Math.min(doubt.nextMs, Math.max(this.#clock.monotonicMs(), doubt.triedMs + nudgeMs));
  }

  /** When a place that the standby cannot have is tried again, `again` is compared as a whole: more waits for it than itself. */
  comparesAgain(root: string, path: BytePath, again: BytePath): void {
    const doubt = this.#doubts.get(mapKey(root, path, 'place'));
    if (!doubt || doubt.again === again) return;
    doubt.again = again;
    this.#kv.commit([writeOf(doubt)]);
  }

  /** Whether the standby cannot have this place, or any one above it, and its time to be tried has not come. */
  isBlocked(root: string, path: BytePath): boolean {
    if (this.#counts.place === 0) return false;
    for (let at = path; ; at = parentPath(at)) {
      if (this.#doubts.get(mapKey(root, at, 'place'))?.trying === false) return true;
      if (at === '') return false;
    }
  }

  /** Whether the standby is to get this place once more, although nothing here has changed since. */
  isTrying(root: string, path: BytePath, kind?: 'attributes' | 'bounds' | 'place' | 'content'): boolean {
    if (kind === undefined) return theirs.some((each) => this.isTrying(root, path, each));
    return this.#counts[kind] > 0 && this.#doubts.get(mapKey(root, path, kind))?.trying === true;
  }

  /** Directories of a root in which a name cannot be read: that they have not changed proves nothing. */
  dirsWithUnread(root: string): ReadonlySet<BytePath> {
    if (this.#counts.reading === 0) return noDirs;
    return new Set(this.list().flatMap((doubt) => (doubt.kind === 'reading' && doubt.root === root ? [parentPath(doubt.path)] : [])));
  }

  /** Whether this very place cannot be read here, or not be had there: nobody should wait for it. */
  isUnobtainable(root: string, path: BytePath): boolean {
    return this.#doubts.size > 0 && (this.isBlocked(root, path) || this.#doubts.has(mapKey(root, path, 'reading')));
  }
}

/** Whether a place may lack its content over there, and not attributes alone. */
export function isOfContent({ kind, reason }: Doubt): boolean {
  return (kind !== 'attributes' && kind !== 'bounds') || reason === moreText;
}

function waitMs(tries: number): number {
  return Math.min(lastRetryMs, firstRetryMs * 2 ** Math.min(tries, 10));
}

function isAtOrBelow(path: BytePath, place: BytePath): boolean {
  return place === '' || path === place || path.startsWith(`${place}/`);
}

function mapKey(root: string, path: BytePath, kind: DoubtKind): string {
  return `${kind}\0${root}\0${path}`;
}

function keyOf({ root, path, kind }: Doubt): Buffer {
  const text = mapKey(root, path, kind);
  return Buffer.concat([Buffer.from([tables.unproven]), createHash('sha256').update(text, 'latin1').digest().subarray(0, 16)]);
}

function writeOf(doubt: Doubt): KvWrite {
  const again = doubt.again === undefined ? null : Buffer.from(doubt.again, 'latin1');
  const fields = [doubt.root, Buffer.from(doubt.path, 'latin1'), doubt.reason, kinds.indexOf(doubt.kind), doubt.sinceMs, again];
  return [keyOf(doubt), Buffer.from(packr.pack(fields))];
}

function unpack(value: Buffer): Doubt {
  const [root, path, reason, kind = 0, sinceMs = 0, again = null] = packr.unpack(value) as [
    string,
    Buffer,
    string,
    number?,
    number?,
    Buffer?,
  ];
  return {
    root,
    path: path.toString('latin1'),
    kind: kinds[kind] ?? 'reading',
    reason,
    sinceMs,
    ...(again ? { again: again.toString('latin1') } : {}),
  };
}
