import type { Meta } from '../../../protocol/ops.ts';
import type { Hash64 } from '../../delta/xxhash.ts';
import { entryOf, replicatedMode, type Entry } from '../../journal/entry.ts';
import type { Change, Changes } from '../../journal/changes.ts';
import type { Layer } from '../../journal/layer.ts';
import type { ReplicaIndex } from '../../journal/replica-index.ts';
import type { Meter } from '../../observe/meter.ts';
import type { Clock } from '../../platform/clock.ts';
import type { BytePath, Files, Stat } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import type { Log } from '../../platform/log.ts';
import type { Root } from '../root.ts';
import { coarseNs } from '../times.ts';
import type { FileSystems } from '../file-systems.ts';
import type { ScrubSettings } from '../scrub/scrubber.ts';
import type { BatchWriter } from './batch-writer.ts';
import type { Damage } from './damage.ts';
import type { Deletions } from './deletions.ts';
import type { Grants } from './grants.ts';
import type { CountedLoss, DeletionGuard } from './guard.ts';
import type { FileSystemHolds } from './file-system-holds.ts';
import type { HeldPlaces } from './held-places.ts';
import type { Lagging } from './lagging.ts';
import type { RelivedTime } from './relived-time.ts';
import type { Arrived, Transfers } from './transfers.ts';
import type { Unproven } from './unproven.ts';

/** What every part of the primary's side works with. */
export interface PrimaryParts {
  kv: Kv;
  files: Files;
  clock: Clock;
  log: Log;
  meter: Meter;
  index: ReplicaIndex;
  changes: Changes;
  unproven: Unproven;
  /** Files of this node that its disk has damaged. */
  damage: Damage;
  /** How its content is read again; null: it is not. */
  scrub: ScrubSettings | null;
  guard: DeletionGuard;
  holds: HeldPlaces;
  fileSystems: FileSystems;
  fileSystemHolds: FileSystemHolds;
  relived: RelivedTime;
  grants: Grants;
  hash: Hash64;
  roots: readonly Root[];
  settleMs: number;
  restMaxMs: number;
}

/** What those work with who send. */
export interface SendingParts extends PrimaryParts {
  transfers: Transfers;
  lagging: Lagging;
}

/** The batch that is being made. */
export interface Making {
  writer: BatchWriter;
  layer: Layer;
  /** What it takes away, as the guard against mass deletion has counted it. */
  losses: CountedLoss[];
  deletions: Deletions;
  /** The change for which something is looked at: what has to be looked at besides stands in its place in line. */
  lookingFor: Change | undefined;
  /** Root and path of places whose directories above were seen to be directories, not links. */
  directories: Set<string>;
  /**
   * By root and inode: files of which names are gone, and all names that are left were looked at. One of these, with its change
   * time: as long as that is the same nothing has changed. Null: none was left.
   */
  namesLeft: Map<string, { path: BytePath; ctimeNs: bigint } | null>;
  /** Staged content that its ops use. */
  transfers: Arrived[];
}

/**
 * What became of looking at something.
 *
 * - `done`: the standby will have it with this batch, or has it already
 * - `later`: it would not hold still; look again
 * - `transfer`: its content goes ahead of the batch; looked at again when that is there
 * - `alone`: needs a batch of its own
 * - `held`: it would take away what must stay for now
 * - `scan`: a directory that is new here; compare all below it
 * - `sealed-only`: goes with its mailbox's next seal
 * - `unreadable`: in doubt, and recorded as such
 */
export type Outcome = 'done' | 'later' | 'transfer' | 'alone' | 'held' | 'scan' | 'sealed-only' | 'unreadable';

/** A timestamp this close to now may hide a later change in the same tick of the kernel's clock (4 ms and some). */
export const racyNs = 20_000_000n;

export function isRacy(mtimeNs: bigint, wallMs: number): boolean {
  return mtimeNs + racyNs > BigInt(Math.floor(wallMs)) * 1_000_000n;
}

/**
 * An entry for what was seen at `wallMs`. Its change time is left out when attributes may change after that without another
 * one: then they are read at the next look. Of messages, whose attributes nobody changes as they arrive, only where times
 * are whole seconds.
 */
export function entrySeen(stat: Stat, content: Buffer, xattrs: Buffer, dir: number, seen: { wallMs: number; immutable: boolean }): Entry {
  const coarse = coarseNs(stat);
  const mayHide = (coarse > 0n || !seen.immutable) && isRacy(stat.ctimeNs + coarse, seen.wallMs);
  return { ...entryOf(stat, content, xattrs, dir), ...(mayHide ? { ctimeNs: 0n } : {}) };
}

/** Whether an entry still describes what lstat shows, as far as content goes; its times may be of `RelivedTime`. */
export function sameContent(entry: Entry, stat: Stat): boolean {
  return (
    entry.kind === stat.kind &&
    !entry.racy &&
    entry.ino === stat.ino &&
    entry.size === stat.size &&
    entry.mtimeNs === stat.mtimeNs &&
    entry.content.length > 0
  );
}

export function sameAttributes(entry: Entry, stat: Stat): boolean {
  return (
    entry.uid === stat.uid && entry.gid === stat.gid && (stat.kind === 'symlink' || entry.mode === replicatedMode(stat.kind, stat.mode))
  );
}

const nsPerSecond = 1_000_000_000n;

/** The attributes that travel. */
export function metaOf(stat: Stat, xattrs: ReadonlyMap<string, Buffer> | null): Meta {
  const sec = stat.mtimeNs >= 0n || stat.mtimeNs % nsPerSecond === 0n ? stat.mtimeNs / nsPerSecond : stat.mtimeNs / nsPerSecond - 1n;
  const meta: Meta = {
    mode: replicatedMode(stat.kind, stat.mode),
    uid: stat.uid,
    gid: stat.gid,
    mtimeSec: Number(sec),
    mtimeNsec: Number(stat.mtimeNs - sec * nsPerSecond),
  };
  if (xattrs && xattrs.size > 0) meta.xattrs = [...xattrs];
  return meta;
}

export function splitPath(path: BytePath): { dir: BytePath; name: BytePath } {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? { dir: '', name: path } : { dir: path.slice(0, slash), name: path.slice(slash + 1) };
}

/** What is being done was given up: the connection ended or the standby refused a batch. */
export class Abandoned extends Error {
  constructor() {
    super('given up: it will be made again');
  }
}
