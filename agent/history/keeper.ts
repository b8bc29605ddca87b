import { Packr } from 'msgpackr';
import { metaKey, numberKey, tables } from '../journal/keys.ts';
import { packNumber, readNumber } from '../journal/replica-index.ts';
import { errnoCode, type BytePath, type Files } from '../platform/files.ts';
import type { Kv, KvWrite } from '../platform/kv.ts';
import { removeTreeInSlices } from '../platform/remove-tree.ts';

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
/** Versions that are looked at, and records that are written, at a time when the history is pruned. */
const portionMax = 64;
/** Versions that one pruning removes at most; the next one goes on. */
const prunedMax = 10_000;

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
  /** Of all versions up to a number. */
  #bytes = 0;
  #countedTo = -1;
  /** All versions up to this number stay for their whole time, whatever the size. */
  #staysTo = -1;
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
  *versions(): Generator<NumberedVersion> {
    for (let from = 0; ;) {
      const portion = this.#portion(from, 256);
      yield* portion;
      const last = portion.at(-1);
      if (portion.length < 256 || !last) return;
      from = last.number + 1;
    }
  }

  /** The first of the versions from a number on. */
  #portion(from: number, most: number): NumberedVersion[] {
    const range = this.#kv.range(numberKey(tables.history, from), numberKey(tables.history + 1, 0), { limit: most });
    return [...range].map(([key, value]) => versionOf(key, value));
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
   *
   * It looks at what has come since the last time, and at what goes, and not at all that stays. In slices: `pause` is called
   * often, and may throw, which ends it. A version has its record until all of it is gone, so the next pruning goes on.
   */
  async prune(
    files: Files,
    historyDirs: (root: string) => readonly BytePath[],
    nowMs: number,
    pause: () => Promise<void>,
    most = prunedMax,
  ): Promise<number> {
    await this.#count(pause);
    const dirsOf = ({ root }: KeptVersion) => historyDirs(root);
    const tooOld = ({ atMs }: KeptVersion) => nowMs - atMs > this.#limits.days * dayMs;
    const { bytesMax } = this.#limits;
    let left = most;
    const pruning: Pruning = { files, dirsOf, pause, stuckBytes: 0 };
    const isFull = () => this.#bytes - pruning.stuckBytes > bytesMax;
    left -= await this.#removeWhile(0, left, (version) => (tooOld(version) ? 'remove' : 'end'), pruning);
    // What must stay stands at the beginning, and is not looked at each time.
    let isFirst = true;
    if (isFull())
      left -= await this.#removeWhile(
        this.#staysTo + 1,
        left,
        (version) => {
          if (!isFull()) return 'end';
          if (!version.massDeleted) isFirst = false;
          else if (isFirst) this.#staysTo = version.number;
          return version.massDeleted ? 'stay' : 'remove';
        },
        pruning,
      );
    const [oldest] = isFull() && left > 0 ? this.#portion(0, 1) : [];
    this.#full = oldest ? { bytes: this.#bytes, bytesMax, untilMs: oldest.atMs + this.#limits.days * dayMs } : null;
    return most - left;
  }

  /** Adds up what has been kept since the last time; the first time all of it. */
  async #count(pause: () => Promise<void>): Promise<void> {
    for (;;) {
      const portion = this.#portion(this.#countedTo + 1, portionMax);
      const last = portion.at(-1);
      if (!last) return;
      for (const { bytes } of portion) this.#bytes += bytes;
      this.#countedTo = last.number;
      await pause();
    }
  }

  /** Goes through the versions from a number on until `judge` says that it is over. Returns how many went, `most` at most. */
  async #removeWhile(
    from: number,
    most: number,
    judge: (version: NumberedVersion) => 'remove' | 'stay' | 'end',
    pruning: Pruning,
  ): Promise<number> {
    const { files, dirsOf, pause } = pruning;
    let removed = 0;
    for (;;) {
      const writes: KvWrite[] = [];
      let isOver = true;
      let isStale = false;
      for (const version of this.#portion(from, portionMax)) {
        const verdict = removed < most ? judge(version) : 'end';
        isOver = verdict === 'end';
        if (isOver) break;
        from = version.number + 1;
        if (verdict === 'stay') continue;
        const remembers = async () => {
          isStale = true;
          await pause();
        };
        // What cannot be removed costs no newer version its place.
        const isGone = await removeVersion(files, () => dirsOf(version), version.file, remembers);
        if (isGone) {
          removed++;
          this.#bytes -= version.bytes;
          writes.push([numberKey(tables.history, version.number), null]);
        } else pruning.stuckBytes += version.bytes;
        // Somebody may have changed what was read before.
        if (isStale) break;
      }
      if (writes.length > 0) this.#kv.commit(writes);
      if (isOver) return removed;
      await pause();
    }
  }
}

interface Pruning {
  files: Files;
  dirsOf: (version: KeptVersion) => readonly BytePath[];
  pause: () => Promise<void>;
  /** Of what cannot be removed now. */
  stuckBytes: number;
}

/** False when it cannot be removed now: it is tried again with the next pruning, and keeps nobody. */
async function removeVersion(files: Files, dirs: () => readonly BytePath[], file: string, pause: () => Promise<void>): Promise<boolean> {
  try {
    for (const dir of dirs()) await removeTreeInSlices(files, `${dir}/${file}`, pause);
    return true;
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return false;
  }
}

type NumberedVersion = KeptVersion & { number: number };

function versionOf(key: Buffer, value: Buffer): NumberedVersion {
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
  return { number: key.readUIntBE(1, 6), root, path: path.toString('latin1'), atMs, files, bytes, file, foreign, massDeleted, undone };
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
