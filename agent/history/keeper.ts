import { Packr } from 'msgpackr';
import { metaKey, numberKey, tables } from '../journal/keys.ts';
import { packNumber, readNumber } from '../journal/replica-index.ts';
import { errnoCode, type BytePath, type Files } from '../platform/files.ts';
import type { Kv, KvWrite } from '../platform/kv.ts';

/** What was replaced or removed, and where it is now. */
export interface KeptVersion {
  root: string;
  /** Where it was, below its root. */
  path: BytePath;
  /** Wall clock, milliseconds since 1970. */
  atMs: number;
  files: number;
  bytes: number;
  /** Name in the root's history directory. */
  file: string;
  /** Somebody else's file that was in the way (I2). */
  foreign: boolean;
  /** Part of a mass deletion that was held or allowed: room is no reason to remove it before its time. */
  massDeleted: boolean;
  /** Went because a person kept the older state that the primary was put back to: what `salvage` offers (I21). */
  undone: boolean;
}

/** A place whose versions stay for their whole time. */
interface Protection {
  root: string;
  path: BytePath;
  /** Wall clock, milliseconds. */
  untilMs: number;
}

/** The history is larger than it may be, and what could go must stay for now. */
export interface HistoryFull {
  bytes: number;
  bytesMax: number;
  /** When the first of it may go; wall clock, milliseconds. */
  untilMs: number;
}

export interface KeeperLimits {
  days: number;
  bytesMax: number;
}

/** Index files change with every delivery: of these one old version in this time is kept, of messages every one. */
const controlIntervalMs = 10 * 60_000;
const controlPathsMax = 20_000;
const dayMs = 86_400_000;
const protectedMax = 2000;
const versionsBetweenPauses = 512;

const undoingKey = metaKey('undoing');

const packr = new Packr({ useRecords: false });

/**
 * Keeps what replication replaces or removes for the history window (I15). Keeping is a rename or a link on the same
 * file system; the record of it is written with the batch that caused it.
 */
export class HistoryKeeper {
  readonly #kv: Kv;
  readonly #limits: KeeperLimits;
  #next: number;
  readonly #lastControl = new Map<string, number>();
  readonly #protected = new Map<string, Protection>();
  #full: HistoryFull | null = null;
  #undoing: boolean;

  constructor(kv: Kv, limits: KeeperLimits) {
    this.#kv = kv;
    this.#limits = limits;
    this.#next = readNumber(kv.get(metaKey('history-next'))) ?? 1;
    this.#undoing = kv.get(undoingKey) !== undefined;
  }

  /**
   * Decides whether the version at a path is kept, and under which name in the history directory; null when it is
   * not. `writes` receives what has to be committed with the batch.
   */
  keep(what: Omit<KeptVersion, 'file' | 'massDeleted' | 'undone'>, isMessage: boolean, writes: KvWrite[]): string | null {
    if (this.#limits.days === 0) return null;
    // Only what an undoing takes is rare enough to keep all of it.
    if (!isMessage && !what.foreign && !this.#undoing) {
      const key = `${what.root}\0${what.path}`;
      const last = this.#lastControl.get(key);
      if (last !== undefined && what.atMs - last < controlIntervalMs && what.atMs >= last) return null;
      if (this.#lastControl.size >= controlPathsMax) this.#lastControl.clear();
      this.#lastControl.set(key, what.atMs);
    }
    const number = this.#next++;
    const file = String(number);
    const undone = this.#undoing;
    writes.push(recordOf(number, { ...what, file, massDeleted: undone || this.#isProtected(what), undone }));
    writes.push([metaKey('history-next'), packNumber(this.#next)]);
    return file;
  }

  /** From now on, over restarts, all that goes is what a person's word undoes. @returns what makes it durable. */
  beginUndo(): KvWrite[] {
    this.#undoing = true;
    return [[undoingKey, packNumber(1)]];
  }

  /** What goes from now on is the mail server's and its users' doing again. @returns what makes it durable. */
  endUndo(): KvWrite[] {
    if (!this.#undoing) return [];
    this.#undoing = false;
    return [[undoingKey, null]];
  }

  /** Kept versions, oldest first. */
  *versions(): Generator<KeptVersion & { number: number }> {
    let from = numberKey(tables.history, 0);
    const end = numberKey(tables.history + 1, 0);
    for (;;) {
      const portion = [...this.#kv.range(from, end, { limit: 256 })];
      for (const [key, value] of portion) {
        const [root, path, atMs, files, bytes, file, foreign, massDeleted = false, undone = false] = packr.unpack(value) as [
          string,
          Buffer,
          number,
          number,
          number,
          string,
          boolean,
          boolean?,
          boolean?,
        ];
        yield { number: key.readUIntBE(1, 6), root, path: path.toString('latin1'), atMs, files, bytes, file, foreign, massDeleted, undone };
      }
      const last = portion.at(-1);
      if (portion.length < 256 || !last) return;
      from = Buffer.concat([last[0], Buffer.from([0])]);
    }
  }

  /**
   * A mass deletion is held or was allowed at a place: what came from there in the last `backMs`, and comes in the next
   * `aheadMs`, stays for its whole time. Told again, it only goes on.
   */
  async protect(root: string, path: BytePath, backMs: number, aheadMs: number, nowMs: number, pause: () => Promise<void>): Promise<void> {
    const key = `${root}\0${path}`;
    const known = this.#protected.get(key);
    const isKnown = known !== undefined;
    const protection = { root, path, untilMs: Math.max(nowMs + aheadMs, known?.untilMs ?? 0) };
    for (const [other, { untilMs }] of this.#protected) if (untilMs < nowMs) this.#protected.delete(other);
    if (!isKnown && this.#protected.size >= protectedMax) return;
    this.#protected.set(key, protection);
    if (isKnown) return;
    let seen = 0;
    let writes: KvWrite[] = [];
    for (const version of this.versions()) {
      if (!version.massDeleted && version.atMs >= nowMs - backMs && isAt(version, protection))
        writes.push(recordOf(version.number, { ...version, massDeleted: true }));
      if (++seen % versionsBetweenPauses !== 0) continue;
      if (writes.length > 0) this.#kv.commit(writes);
      writes = [];
      await pause();
    }
    if (writes.length > 0) this.#kv.commit(writes);
  }

  #isProtected(what: { root: string; path: BytePath; atMs: number }): boolean {
    for (const protection of this.#protected.values()) if (what.atMs < protection.untilMs && isAt(what, protection)) return true;
    return false;
  }

  /** Why the history is larger than it may be; null when it is not. As the last pruning found it. */
  get full(): HistoryFull | null {
    return this.#full;
  }

  /**
   * Removes what is older than the window, and the oldest while all of it is larger than allowed, but nothing of a mass
   * deletion before its time; at most `most` at a call. Returns how many versions went.
   */
  prune(files: Files, historyDirs: (root: string) => readonly BytePath[], nowMs: number, most = 500): number {
    const all = [...this.versions()];
    let bytes = all.reduce((sum, version) => sum + version.bytes, 0);
    const writes: KvWrite[] = [];
    let firstKept: KeptVersion | null = null;
    for (const version of all) {
      const tooOld = nowMs - version.atMs > this.#limits.days * dayMs;
      if ((!tooOld && bytes <= this.#limits.bytesMax) || writes.length >= most) break;
      if (!tooOld && version.massDeleted) {
        firstKept ??= version;
        continue;
      }
      // What cannot be removed costs no newer version its place.
      bytes -= version.bytes;
      if (!this.#removeVersion(files, () => historyDirs(version.root), version.file)) continue;
      writes.push([numberKey(tables.history, version.number), null]);
    }
    if (writes.length > 0) this.#kv.commit(writes);
    const isFull = firstKept !== null && bytes > this.#limits.bytesMax && writes.length < most;
    this.#full = isFull ? { bytes, bytesMax: this.#limits.bytesMax, untilMs: (firstKept?.atMs ?? 0) + this.#limits.days * dayMs } : null;
    return writes.length;
  }

  /** False when it cannot be removed now: it is tried again with the next pruning, and keeps nobody. */
  #removeVersion(files: Files, dirs: () => readonly BytePath[], file: string): boolean {
    try {
      for (const dir of dirs()) removeTree(files, `${dir}/${file}`);
      return true;
    } catch (error) {
      if (errnoCode(error) === undefined) throw error;
      return false;
    }
  }
}

function recordOf(number: number, version: KeptVersion): KvWrite {
  const { root, path, atMs, files, bytes, file, foreign, massDeleted, undone } = version;
  return [
    numberKey(tables.history, number),
    Buffer.from(packr.pack([root, Buffer.from(path, 'latin1'), atMs, files, bytes, file, foreign, massDeleted, undone])),
  ];
}

function isAt(what: { root: string; path: BytePath }, { root, path }: Protection): boolean {
  return what.root === root && (path === '' || what.path === path || what.path.startsWith(`${path}/`));
}

/** Removes a path and all below it; missing is fine. */
export function removeTree(files: Files, path: BytePath): void {
  const stat = files.lstat(path);
  if (!stat) return;
  try {
    if (stat.kind !== 'dir') return files.unlink(path);
    for (const entry of files.readdir(path) ?? []) removeTree(files, `${path}/${entry.name}`);
    files.rmdir(path);
  } catch (error) {
    if (errnoCode(error) !== 'ENOENT') throw error;
  }
}
