import { Packr } from 'msgpackr';
import { createHash } from 'node:crypto';
import { tables } from '../../journal/keys.ts';
import type { ReplicaIndex } from '../../journal/replica-index.ts';
import type { Clock } from '../../platform/clock.ts';
import { displayPath, errnoCode, joinPath, type BytePath, type Files, type Stat } from '../../platform/files.ts';
import type { Kv, KvWrite } from '../../platform/kv.ts';
import type { Log } from '../../platform/log.ts';
import { absolute, type Root } from '../root.ts';
import type { FileAt } from './choose-content.ts';
import { pathOf } from './choose-content.ts';
import { sameContent, type PrimaryParts } from './context.ts';
import { Remembered } from './remembered.ts';

/**
 * What the standby has in the place of a damaged file: `good` is what this node's file held, `damaged` something else or
 * nothing that can be read, `missing` nothing at all.
 */
export type There = 'unknown' | 'good' | 'damaged' | 'missing';

/** A file of this node that nobody has changed, and that does not give back what it held. */
export interface DamagedFile {
  root: string;
  path: BytePath;
  ino: bigint;
  size: number;
  mtimeNs: bigint;
  /** First 16 bytes of the SHA-256 of what it held. */
  content: Buffer;
  /** Why, for people, without the path. */
  reason: string;
  /** Wall clock, milliseconds. */
  sinceMs: number;
  there: There;
}

const packr = new Packr({ useRecords: false });
const filesMax = 10_000;
const loggedMax = 200;
const theres: readonly There[] = ['unknown', 'good', 'damaged', 'missing'];

/** Why a file is damaged that can be read. */
export const otherContentText = 'it holds something else than when it was read last, and nobody has changed it';

/**
 * Files of the primary that its disk has damaged. What they hold now is never sent over what the standby has. Durable until
 * somebody changes the file, takes it away, or brings the good version back.
 */
export class Damage {
  readonly #kv: Kv;
  readonly #clock: Pick<Clock, 'wallMs'>;
  readonly #log: Log;
  readonly #files = new Map<string, DamagedFile>();
  #more = 0;
  #logged = 0;
  #changed: () => void = () => {};
  readonly remembered: Remembered;

  constructor(kv: Kv, clock: Pick<Clock, 'wallMs'>, log: Log) {
    this.#kv = kv;
    this.#clock = clock;
    this.#log = log;
    this.remembered = new Remembered(kv);
    for (const [, value] of [...kv.range(Buffer.from([tables.damage]), Buffer.from([tables.damage + 1]))]) {
      const file = unpack(value);
      this.#files.set(nameOf(file), file);
    }
  }

  list(): readonly DamagedFile[] {
    return [...this.#files.values()];
  }

  /** How many there are; more than are named, when there are very many. */
  get count(): number {
    return this.#files.size + this.#more;
  }

  at(root: string, path: BytePath): DamagedFile | undefined {
    return this.#files.get(nameOf({ root, path }));
  }

  /** The damaged file that this is, under whatever name. */
  ofFile(root: string, stat: Pick<Stat, 'ino' | 'size' | 'mtimeNs'>): DamagedFile | undefined {
    for (const file of this.#files.values())
      if (file.ino === stat.ino && file.root === root && file.size === stat.size && file.mtimeNs === stat.mtimeNs) return file;
    return undefined;
  }

  /** Calls `fn` when a file was found that was not known. */
  onFound(fn: () => void): void {
    this.#changed = fn;
  }

  found(root: string, path: BytePath, stat: Pick<Stat, 'ino' | 'size' | 'mtimeNs'>, content: Buffer, reason: string, there: There): void {
    const known = this.at(root, path);
    if (known?.ino === stat.ino && known.reason === reason && (there === 'unknown' || there === known.there)) return;
    if (!known && this.#files.size >= filesMax) {
      this.#more++;
      return;
    }
    const file: DamagedFile = {
      root,
      path,
      ino: stat.ino,
      size: stat.size,
      mtimeNs: stat.mtimeNs,
      content: Buffer.from(content),
      reason,
      sinceMs: known?.sinceMs ?? Math.floor(this.#clock.wallMs()),
      there: there === 'unknown' ? (known?.there ?? there) : there,
    };
    this.#files.set(nameOf(file), file);
    this.#kv.commit([writeOf(file)]);
    if (!known && this.#logged++ < loggedMax)
      this.#log.error(
        { code: 'damaged-here', root, path: displayPath(path), reason },
        'a file of this node is damaged; what the standby has of it is kept',
      );
    this.#changed();
  }

  /** What the standby has of these files, as it said. */
  setThere(file: DamagedFile, there: There): void {
    const known = this.at(file.root, file.path);
    if (known?.ino !== file.ino || known.there === there) return;
    known.there = there;
    this.#kv.commit([writeOf(known)]);
  }

  /** A file was read and holds what it should. */
  isGood(root: string, path: BytePath): void {
    if (this.#files.size > 0) this.#end([{ root, path }]);
  }

  /** Forgets files that are gone or are other ones by now, and follows those that have another name. Returns how many ended. */
  look(files: Files, roots: readonly Root[], index: ReplicaIndex): number {
    const before = this.#files.size;
    for (const file of this.list()) {
      const root = roots.find(({ name }) => name === file.root);
      if (!root || isStill(files, root, file.path, file)) continue;
      this.#end([file]);
      const number = index.root(file.root);
      const moved = number === null ? null : index.byInode(number, file.ino);
      const path = moved && joinPath(index.pathOf(moved.dir).path, moved.name);
      if (path === null || path === file.path || isStill(files, root, path, file) !== 'same') continue;
      const renamed = { ...file, path };
      this.#files.set(nameOf(renamed), renamed);
      this.#kv.commit([writeOf(renamed)]);
    }
    return before - this.#files.size;
  }

  #end(files: readonly Pick<DamagedFile, 'root' | 'path'>[]): void {
    const writes: KvWrite[] = [];
    for (const { root, path } of files) if (this.#files.delete(nameOf({ root, path }))) writes.push([keyOf({ root, path }), null]);
    if (writes.length === 0) return;
    // Those that were only counted are found again by the next pass.
    this.#more = 0;
    this.#kv.commit(writes);
  }
}

/** Whether the file at a path is still the one that was found; what cannot be looked at is. */
function isStill(files: Files, root: Root, path: BytePath, file: DamagedFile): 'same' | 'unknown' | false {
  try {
    const stat = files.lstat(absolute(root, path));
    return stat?.ino === file.ino && stat.size === file.size && stat.mtimeNs === file.mtimeNs ? 'same' : false;
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return 'unknown';
  }
}

/** What a file of this node must hold as it stands there; null when nothing is known of that. First bytes of its SHA-256. */
function expectedContent(p: PrimaryParts, at: FileAt, stat: Stat): Buffer | null {
  const { known } = at;
  if (!at.immutable && p.relived.has(stat.mtimeNs)) return null;
  if (known && sameContent(known, stat) && (known.ctimeNs === 0n || known.ctimeNs === stat.ctimeNs)) return known.content;
  const root = p.index.root(at.root.name);
  const remembered = root === null ? null : p.damage.remembered.of(root, stat);
  // A new name is a change that shows, and mends nothing.
  return remembered ?? p.damage.ofFile(at.root.name, stat)?.content ?? null;
}

/**
 * Whether what was read of a file must not be sent, because its disk has damaged it and the standby has something in its place;
 * it is in doubt then. A standby that has nothing there gets what there is.
 */
export function isDamagedHere(p: PrimaryParts, at: FileAt, stat: Stat, content: Buffer): boolean {
  const expected = expectedContent(p, at, stat);
  if (expected === null || expected.equals(content.subarray(0, expected.length))) return false;
  const found = p.damage.ofFile(at.root.name, stat);
  // Under another name the standby may have had it until now: then the good version is in its history.
  const has = at.known !== undefined || (found !== undefined && found.there !== 'missing');
  p.damage.found(at.root.name, pathOf(at), stat, expected, otherContentText, at.anew ? 'damaged' : has ? 'unknown' : 'missing');
  if (!has) return false;
  const text = at.anew ? 'damaged on both nodes: nothing of it is replaced' : 'damaged on this node: the standby keeps what it has';
  p.unproven.add(at.root.name, pathOf(at), text, at.anew ? 'content' : 'reading');
  return true;
}

function nameOf({ root, path }: { root: string; path: BytePath }): string {
  return `${root}\0${path}`;
}

function keyOf(file: { root: string; path: BytePath }): Buffer {
  return Buffer.concat([Buffer.from([tables.damage]), createHash('sha256').update(nameOf(file), 'latin1').digest().subarray(0, 16)]);
}

function writeOf(file: DamagedFile): KvWrite {
  const { root, path, ino, size, mtimeNs, content, reason, sinceMs, there } = file;
  const fields = [root, Buffer.from(path, 'latin1'), String(ino), size, String(mtimeNs), content, reason, sinceMs, theres.indexOf(there)];
  return [keyOf(file), Buffer.from(packr.pack(fields))];
}

function unpack(value: Buffer): DamagedFile {
  const [root, path, ino, size, mtimeNs, content, reason, sinceMs, there] = packr.unpack(value) as [
    string,
    Buffer,
    string,
    number,
    string,
    Buffer,
    string,
    number,
    number,
  ];
  return {
    root,
    path: path.toString('latin1'),
    ino: BigInt(ino),
    size,
    mtimeNs: BigInt(mtimeNs),
    content: Buffer.from(content),
    reason,
    sinceMs,
    there: theres[there] ?? 'unknown',
  };
}
