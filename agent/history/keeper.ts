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
}

export interface KeeperLimits {
  days: number;
  bytesMax: number;
}

/** Index files change with every delivery: of these one old version in this time is kept, of messages every one. */
const controlIntervalMs = 10 * 60_000;
const controlPathsMax = 20_000;

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

  constructor(kv: Kv, limits: KeeperLimits) {
    this.#kv = kv;
    this.#limits = limits;
    this.#next = readNumber(kv.get(metaKey('history-next'))) ?? 1;
  }

  /**
   * Decides whether the version at a path is kept, and under which name in the history directory; null when it is
   * not. `writes` receives what has to be committed with the batch.
   */
  keep(what: Omit<KeptVersion, 'file'>, isMessage: boolean, writes: KvWrite[]): string | null {
    if (this.#limits.days === 0) return null;
    if (!isMessage && !what.foreign) {
      const key = `${what.root}\0${what.path}`;
      const last = this.#lastControl.get(key);
      if (last !== undefined && what.atMs - last < controlIntervalMs && what.atMs >= last) return null;
      if (this.#lastControl.size >= controlPathsMax) this.#lastControl.clear();
      this.#lastControl.set(key, what.atMs);
    }
    const number = this.#next++;
    const file = String(number);
    writes.push([
      numberKey(tables.history, number),
      Buffer.from(packr.pack([what.root, Buffer.from(what.path, 'latin1'), what.atMs, what.files, what.bytes, file, what.foreign])),
    ]);
    writes.push([metaKey('history-next'), packNumber(this.#next)]);
    return file;
  }

  /** Kept versions, oldest first. */
  *versions(): Generator<KeptVersion & { number: number }> {
    let from = numberKey(tables.history, 0);
    const end = numberKey(tables.history + 1, 0);
    for (;;) {
      const portion = [...this.#kv.range(from, end, { limit: 256 })];
      for (const [key, value] of portion) {
        const [root, path, atMs, files, bytes, file, foreign] = packr.unpack(value) as [
          string,
          Buffer,
          number,
          number,
          number,
          string,
          boolean,
        ];
        yield { number: key.readUIntBE(1, 6), root, path: path.toString('latin1'), atMs, files, bytes, file, foreign };
      }
      const last = portion.at(-1);
      if (portion.length < 256 || !last) return;
      from = Buffer.concat([last[0], Buffer.from([0])]);
    }
  }

  /**
   * Removes what is older than the window, and the oldest while all of it is larger than allowed; at most `most` at a
   * call. Returns how many versions went.
   */
  prune(files: Files, historyDir: (root: string) => BytePath | null, nowMs: number, most = 500): number {
    const all = [...this.versions()];
    let bytes = all.reduce((sum, version) => sum + version.bytes, 0);
    const writes: KvWrite[] = [];
    for (const version of all) {
      const tooOld = nowMs - version.atMs > this.#limits.days * 86_400_000;
      if ((!tooOld && bytes <= this.#limits.bytesMax) || writes.length >= most) break;
      const dir = historyDir(version.root);
      if (dir !== null) removeTree(files, `${dir}/${version.file}`);
      bytes -= version.bytes;
      writes.push([numberKey(tables.history, version.number), null]);
    }
    if (writes.length > 0) this.#kv.commit(writes);
    return writes.length;
  }
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
