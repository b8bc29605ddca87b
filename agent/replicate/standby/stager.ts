import { createHash, hash, type Hash } from 'node:crypto';
import type { Meta, Op, Piece } from '../../../protocol/ops.ts';
import { contentBytes, entryOf, replicatedMode, xattrsDigest, type Entry } from '../../journal/entry.ts';
import type { ReplicaIndex } from '../../journal/replica-index.ts';
import type { HistoryKeeper } from '../../history/keeper.ts';
import { joinPath, type BytePath, type FileKind, type Files, type MetaChange } from '../../platform/files.ts';
import { linkStaysInside } from '../../mailstore/links.ts';
import { absolute, type Root } from '../root.ts';
import { OpRefused, type Batch, type BatchDir } from './batch.ts';
import { mtimeNsOf } from './steps.ts';

export interface StagerParts {
  files: Files;
  index: ReplicaIndex;
  keeper: HistoryKeeper;
  wallMs: () => number;
  /** Lets heartbeats through between slices of long work. */
  yield: () => Promise<void>;
  /** True while a batch before this one still has to put this path (absolute) into place. */
  isPending: (path: BytePath) => boolean;
}

/** `settle-first`: the op needs what an earlier batch has not yet put into place. */
export type Staged = 'done' | 'streaming' | 'settle-first';

const copyPieceBytes = 1024 * 1024;
const noBytes = Buffer.alloc(0);
const otherContent = 'the content that arrived has another SHA-256 than was announced';

/**
 * Turns ops into staged files, index changes and steps. Nothing below a root is touched here: what an op brings is
 * complete, checked and beside the root when its step is done (I7, I8).
 */
export class Stager {
  readonly #p: StagerParts;
  #next = 1;

  constructor(parts: StagerParts) {
    this.#p = parts;
  }

  /**
   * Stages one op of a batch.
   *
   * @throws OpRefused when it does not fit what is there or its content is not what it says.
   */
  stage(batch: Batch, op: Op): Staged | Promise<Staged> {
    const dir = this.#dir(batch, op.at.dir);
    const path = joinPath(dir.path, op.at.name);
    const to = absolute(dir.root, path);
    switch (op.op) {
      case 'dir':
        return this.#makeDir(batch, dir, op.at.name, op.meta);
      case 'put':
        return this.#put(batch, dir, op, to);
      case 'patch':
        return this.#patch(batch, dir, op, to);
      case 'copy':
      case 'link':
        return this.#again(batch, dir, op, to);
      case 'move':
        return this.#move(batch, dir, op, to);
      case 'meta': {
        const entry = this.#known(dir, op.at.name, op.base);
        batch.steps.push({ do: 'meta', path: to, ino: entry.ino, meta: op.meta });
        this.#record(batch, dir, op.at.name, { ...entry, ...attributes(op.meta, entry.kind) });
        batch.touched.add(to);
        return 'done';
      }
      case 'symlink': {
        if (!linkStaysInside(path, op.target)) throw new OpRefused('confined', `the link ${path} would lead out of its root`);
        const staged = this.#name(batch, dir.root);
        this.#p.files.symlink(op.target, staged);
        this.#p.files.setMeta(staged, { uid: op.meta.uid, gid: op.meta.gid, mtimeNs: mtimeNsOf(op.meta) });
        const stat = this.#statOf(staged);
        this.#place(batch, dir, op.at.name, staged, to, {
          ...entryOf(stat, createHash('sha256').update(op.target, 'latin1').digest(), noBytes, 0),
          ...attributes(op.meta, 'symlink'),
        });
        return 'done';
      }
      case 'remove':
        return this.#remove(batch, dir, op.at.name, op.tree, to);
    }
  }

  #dir(batch: Batch, number: number): BatchDir {
    const dir = batch.dirs[number];
    if (!dir) throw new OpRefused('io', `directory ${number} is not in the batch's table`);
    return dir;
  }

  /** Number of the directory in the index; every directory above must be a directory of ours (I11). */
  #dirNumber(batch: Batch, dir: BatchDir): number {
    const { index } = this.#p;
    if (dir.path === '') return index.addRoot(batch.layer, dir.root.name);
    const number = index.dirAt(dir.root.name, dir.path);
    if (number === null) throw new OpRefused('base', `the directory ${dir.path} is not there`);
    return number;
  }

  #known(dir: BatchDir, name: string, base: Buffer | undefined): Entry {
    const number = this.#p.index.dirAt(dir.root.name, dir.path);
    const entry = number === null ? undefined : this.#p.index.get(number, name);
    if (!entry) throw new OpRefused('base', `${joinPath(dir.path, name)} is not there`);
    if (base && !entry.content.equals(base)) throw new OpRefused('base', `${joinPath(dir.path, name)} has other content`);
    return entry;
  }

  #name(batch: Batch, root: Root): BytePath {
    const staged = `${root.staging}/stage/${this.#next++}`;
    batch.staged.push(staged);
    return staged;
  }

  #statOf(path: BytePath) {
    const stat = this.#p.files.lstat(path);
    if (!stat) throw new OpRefused('io', 'a staged file has vanished');
    return stat;
  }

  #record(batch: Batch, dir: BatchDir, name: string, entry: Entry): void {
    this.#p.index.put(batch.layer, dir.root.name, this.#dirNumber(batch, dir), name, entry);
  }

  #place(batch: Batch, dir: BatchDir, name: string, staged: BytePath, to: BytePath, entry: Entry): void {
    const number = this.#dirNumber(batch, dir);
    const old = this.#p.index.get(number, name);
    if (old?.kind === 'dir') throw new OpRefused('base', `${joinPath(dir.path, name)} is a directory`);
    const keep = old && old.ino !== entry.ino ? this.#keep(batch, dir, name, { files: 1, bytes: old.size }) : null;
    this.#p.index.put(batch.layer, dir.root.name, number, name, entry);
    batch.steps.push({ do: 'place', staged, path: to, ino: entry.ino, keep });
    batch.whereabouts.set(to, staged);
    batch.touched.add(to);
  }

  /** Absolute path in history for what goes from a place, or null. */
  #keep(batch: Batch, dir: BatchDir, name: string, size: { files: number; bytes: number }): BytePath | null {
    const path = joinPath(dir.path, name);
    const isMessage = dir.root.format.classify(path, 'file').immutable;
    const file = this.#p.keeper.keep(
      { root: dir.root.name, path, atMs: this.#p.wallMs(), ...size, foreign: false },
      isMessage || dir.root.format.name === 'plain',
      batch.writes,
    );
    return file === null ? null : `${dir.root.staging}/history/${file}`;
  }

  #makeDir(batch: Batch, dir: BatchDir, name: string, meta: Meta): Staged {
    const path = absolute(dir.root, joinPath(dir.path, name));
    if (name !== '') {
      const number = this.#dirNumber(batch, dir);
      const old = this.#p.index.get(number, name);
      if (old && old.kind !== 'dir') throw new OpRefused('base', `${joinPath(dir.path, name)} is not a directory`);
      const entry: Entry = {
        kind: 'dir',
        ino: 0n,
        btimeNs: 0n,
        size: 0,
        mtimeNs: 0n,
        content: noBytes,
        dir: old?.dir ?? 0,
        ctimeNs: 0n,
        racy: false,
        linked: false,
        ...dirAttributes(meta),
      };
      this.#p.index.put(batch.layer, dir.root.name, number, name, entry);
    } else this.#dirNumber(batch, dir);
    batch.steps.push({ do: 'mkdir', path, meta: { ...meta, mode: replicatedMode('dir', meta.mode) } });
    batch.touched.add(path);
    return 'done';
  }

  #put(batch: Batch, dir: BatchDir, op: Op & { op: 'put' }, to: BytePath): Staged | Promise<Staged> {
    if (op.bytes || op.size === 0) return this.#putWhole(batch, dir, op, op.bytes ?? noBytes, to);
    return this.#content(batch, this.#writer(batch, dir, op.at.name, to, op.meta, op.size, op.content), undefined, op.size);
  }

  /** A small file, which is most of a mail store: its content is proved (I8) before anything is written. */
  #putWhole(batch: Batch, dir: BatchDir, op: Op & { op: 'put' }, bytes: Buffer, to: BytePath): Staged {
    const { files } = this.#p;
    if (bytes.length !== op.size) throw new OpRefused('content', `content has ${bytes.length} of ${op.size} bytes`);
    if (!hash('sha256', bytes, 'buffer').equals(op.content)) throw new OpRefused('content', otherContent);
    const staged = this.#name(batch, dir.root);
    const fd = files.create(staged);
    try {
      if (bytes.length > 0) files.write(fd, bytes, 0);
      this.#finish(batch, dir, op.at.name, to, op.meta, op.content, staged, fd);
    } finally {
      files.close(fd);
    }
    return 'done';
  }

  #patch(batch: Batch, dir: BatchDir, op: Op & { op: 'patch' }, to: BytePath): Staged | Promise<Staged> {
    const old = this.#known(dir, op.at.name, op.base);
    const source = this.#source(batch, to);
    if (source === null) return 'settle-first';
    const fd = this.#p.files.openRead(source);
    if (fd === null) throw new OpRefused('base', `${op.at.name} cannot be opened`);
    const stat = this.#p.files.fstat(fd);
    if (stat.ino !== old.ino || stat.size !== old.size) {
      this.#p.files.close(fd);
      throw new OpRefused('base', `${op.at.name} was changed by somebody else`);
    }
    const patcher = this.#patcher(fd, op.pieces, () => this.#writer(batch, dir, op.at.name, to, op.meta, op.size, op.content));
    return this.#content(batch, patcher, op.bytes, op.literalBytes);
  }

  #content(batch: Batch, writer: StagedWriter | Patcher, bytes: Buffer | undefined, expected: number): Staged | Promise<Staged> {
    if (writer instanceof Patcher && (bytes || expected === 0)) return finishLater(writer, bytes);
    batch.stream = {
      expected,
      received: 0,
      write: (data) => writer.write(data),
      finish: () => writer.finish(),
      abandon: () => writer.abandon(),
    };
    return 'streaming';
  }

  #writer(batch: Batch, dir: BatchDir, name: string, to: BytePath, meta: Meta, size: number, content: Buffer): StagedWriter {
    const staged = this.#name(batch, dir.root);
    return new StagedWriter(this.#p.files, staged, size, content, (fd) => this.#finish(batch, dir, name, to, meta, content, staged, fd));
  }

  /** Gives a staged file whose content is proved its attributes, and a step that puts it into place. */
  #finish(batch: Batch, dir: BatchDir, name: string, to: BytePath, meta: Meta, content: Buffer, staged: BytePath, fd: number): void {
    const stat = this.#p.files.fstat(fd);
    const change: MetaChange = { mtimeNs: mtimeNsOf(meta) };
    const mode = replicatedMode('file', meta.mode);
    const isOwned = stat.uid === meta.uid && stat.gid === meta.gid;
    if (!isOwned) Object.assign(change, { uid: meta.uid, gid: meta.gid });
    // A new owner may take bits of the mode away.
    if (!isOwned || stat.mode !== mode) change.mode = mode;
    if (meta.xattrs) change.xattrs = new Map(meta.xattrs);
    this.#p.files.setMetaOpen(fd, change);
    this.#place(batch, dir, name, staged, to, Object.assign(entryOf(stat, content, noBytes, 0), attributes(meta, 'file')));
  }

  /** A patcher that owns `old`, also when the new file cannot be made. */
  #patcher(old: number, pieces: readonly Piece[], target: () => StagedWriter): Patcher {
    try {
      return new Patcher(this.#p, old, pieces, target());
    } catch (error) {
      this.#p.files.close(old);
      throw error;
    }
  }

  /** `copy` and `link`: the content is here already. */
  #again(batch: Batch, dir: BatchDir, op: Op & { op: 'copy' | 'link' }, to: BytePath): Staged | Promise<Staged> {
    const fromDir = this.#dir(batch, op.from.dir);
    const entry = this.#known(fromDir, op.from.name, op.op === 'link' ? op.base : op.content.subarray(0, contentBytes));
    if (entry.kind === 'dir') throw new OpRefused('base', `${op.from.name} is a directory`);
    const source = this.#source(batch, absolute(fromDir.root, joinPath(fromDir.path, op.from.name)));
    if (source === null) return 'settle-first';
    const staged = this.#name(batch, dir.root);
    if (op.op === 'link') {
      if (this.#p.files.lstat(source)?.ino !== entry.ino) throw new OpRefused('base', `${op.from.name} was changed by somebody else`);
      this.#p.files.link(source, staged);
      this.#place(batch, dir, op.at.name, staged, to, { ...entry });
      return 'done';
    }
    const fd = this.#p.files.openRead(source);
    if (fd === null) throw new OpRefused('base', `${op.from.name} cannot be opened`);
    const pieces = op.size === 0 ? [] : [{ from: 0, length: op.size }];
    const copier = this.#patcher(fd, pieces, () => this.#writer(batch, dir, op.at.name, to, op.meta, op.size, op.content));
    return finishLater(copier, undefined).catch((error: unknown) => {
      // A source that is not what the index says is no reason to stop: the content is asked for.
      throw error instanceof OpRefused ? new OpRefused('base', error.message) : error;
    });
  }

  #move(batch: Batch, dir: BatchDir, op: Op & { op: 'move' }, to: BytePath): Staged {
    const fromDir = this.#dir(batch, op.from.dir);
    const fromPath = joinPath(fromDir.path, op.from.name);
    const from = absolute(fromDir.root, fromPath);
    const entry = this.#known(fromDir, op.from.name, op.base);
    if ((entry.kind === 'dir') !== op.tree) throw new OpRefused('base', `${fromPath} is ${op.tree ? 'no' : 'a'} directory`);
    if (fromDir.root !== dir.root) throw new OpRefused('confined', 'a move goes from one root to another');
    const number = this.#dirNumber(batch, dir);
    if (op.tree && (this.#p.isPending(from) || batch.touched.size > 0)) return 'settle-first';
    const ino = op.tree ? (this.#p.files.lstat(from)?.ino ?? 0n) : entry.ino;
    if (!this.#p.isPending(from) && !batch.touched.has(from) && this.#p.files.lstat(from)?.ino !== ino)
      throw new OpRefused('base', `${fromPath} is not what was put there`);
    const old = this.#p.index.get(number, op.at.name);
    if (old?.kind === 'dir' || (old && op.tree)) throw new OpRefused('base', `${to} is in the way`);
    const keep = old ? this.#keep(batch, dir, op.at.name, { files: 1, bytes: old.size }) : null;
    this.#p.index.move(
      batch.layer,
      dir.root.name,
      { dir: this.#dirNumber(batch, fromDir), name: op.from.name },
      { dir: number, name: op.at.name },
    );
    batch.steps.push({ do: 'move', from, path: to, ino, keep });
    if (op.meta) {
      batch.steps.push({ do: 'meta', path: to, ino, meta: op.meta });
      this.#record(batch, dir, op.at.name, { ...entry, ...attributes(op.meta, entry.kind) });
    }
    const source = batch.whereabouts.get(from);
    batch.whereabouts.delete(from);
    batch.whereabouts.set(to, source ?? from);
    batch.touched.add(from).add(to);
    return 'done';
  }

  #remove(batch: Batch, dir: BatchDir, name: string, tree: boolean, to: BytePath): Staged {
    const entry = this.#known(dir, name, undefined);
    if ((entry.kind === 'dir') !== tree) throw new OpRefused('base', `${name} is ${tree ? 'no' : 'a'} directory`);
    if (tree && (this.#p.isPending(to) || batch.touched.has(to))) return 'settle-first';
    const ino = tree ? (this.#p.files.lstat(to)?.ino ?? 0n) : entry.ino;
    const gone = this.#p.index.remove(batch.layer, dir.root.name, this.#dirNumber(batch, dir), name);
    let keep = this.#keep(batch, dir, name, gone);
    if (tree && keep === null) {
      keep = `${dir.root.staging}/stage/trash-${this.#next++}`;
      batch.trash.push(keep);
    }
    batch.steps.push({ do: 'discard', path: to, ino, keep });
    batch.whereabouts.delete(to);
    batch.touched.add(to);
    return 'done';
  }

  /** Where the content of a path is now; null when an earlier batch has to be put into place first. */
  #source(batch: Batch, path: BytePath): BytePath | null {
    const own = batch.whereabouts.get(path);
    if (own !== undefined) return own;
    return this.#p.isPending(path) ? null : path;
  }
}

async function finishLater(writer: Patcher, bytes: Buffer | undefined): Promise<Staged> {
  try {
    if (bytes) await writer.write(bytes);
    await writer.finish();
  } finally {
    writer.abandon();
  }
  return 'done';
}

/** A new file in staging; its content is proved before anybody can use it (I8). */
class StagedWriter {
  readonly #files: Files;
  readonly #fd: number;
  readonly #hash: Hash = createHash('sha256');
  readonly #size: number;
  readonly #content: Buffer;
  readonly #done: (fd: number) => void;
  #written = 0;
  #open = true;

  constructor(files: Files, path: BytePath, size: number, content: Buffer, done: (fd: number) => void) {
    this.#files = files;
    this.#size = size;
    this.#content = content;
    this.#done = done;
    this.#fd = files.create(path);
  }

  write(bytes: Buffer): void {
    if (this.#written + bytes.length > this.#size) throw new OpRefused('content', 'more content than announced');
    this.#files.write(this.#fd, bytes, this.#written);
    this.#hash.update(bytes);
    this.#written += bytes.length;
  }

  finish(): void {
    if (this.#written !== this.#size) throw new OpRefused('content', `content ends after ${this.#written} of ${this.#size} bytes`);
    if (!this.#hash.digest().equals(this.#content)) throw new OpRefused('content', otherContent);
    this.#done(this.#fd);
    this.abandon();
  }

  abandon(): void {
    if (this.#open) this.#files.close(this.#fd);
    this.#open = false;
  }
}

/** Builds a new version from pieces of the old one and what arrives; in slices, because the old one may be large. */
class Patcher {
  readonly #p: StagerParts;
  readonly #old: number;
  readonly #target: StagedWriter;
  readonly #pieces: Piece[];
  #literalLeft = 0;
  #open = true;

  constructor(parts: StagerParts, old: number, pieces: readonly Piece[], target: StagedWriter) {
    this.#p = parts;
    this.#old = old;
    this.#target = target;
    this.#pieces = [...pieces];
  }

  async write(bytes: Buffer): Promise<void> {
    let rest = bytes;
    while (rest.length > 0) {
      if (this.#literalLeft === 0) await this.#copyOld();
      const part = rest.subarray(0, this.#literalLeft);
      if (part.length === 0) throw new OpRefused('content', 'more content than announced');
      this.#target.write(part);
      this.#literalLeft -= part.length;
      rest = rest.subarray(part.length);
    }
  }

  async finish(): Promise<void> {
    if (this.#literalLeft === 0) await this.#copyOld();
    this.#target.finish();
    this.abandon();
  }

  abandon(): void {
    if (this.#open) this.#p.files.close(this.#old);
    this.#open = false;
    this.#target.abandon();
  }

  /** Copies pieces of the old version up to the next literal. */
  async #copyOld(): Promise<void> {
    let buffer: Buffer | null = null;
    for (let piece = this.#pieces.shift(); piece; piece = this.#pieces.shift()) {
      if ('literal' in piece) {
        this.#literalLeft = piece.literal;
        return;
      }
      buffer ??= Buffer.allocUnsafe(Math.min(copyPieceBytes, piece.length));
      for (let done = 0; done < piece.length;) {
        const got = this.#p.files.read(this.#old, buffer, 0, Math.min(buffer.length, piece.length - done), piece.from + done);
        if (got === 0) throw new OpRefused('base', 'the old version is shorter than expected');
        this.#target.write(buffer.subarray(0, got));
        done += got;
        if (done < piece.length) await this.#p.yield();
      }
    }
  }
}

function attributes(meta: Meta, kind: FileKind) {
  const mode = replicatedMode(kind, meta.mode);
  return {
    mode,
    uid: meta.uid,
    gid: meta.gid,
    ...(kind === 'dir' ? {} : { mtimeNs: mtimeNsOf(meta) }),
    xattrs: meta.xattrs ? xattrsDigest(new Map(meta.xattrs)) : noBytes,
  };
}

function dirAttributes(meta: Meta) {
  return {
    mode: replicatedMode('dir', meta.mode),
    uid: meta.uid,
    gid: meta.gid,
    xattrs: meta.xattrs ? xattrsDigest(new Map(meta.xattrs)) : noBytes,
  };
}
