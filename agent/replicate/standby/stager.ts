import { createHash, hash } from 'node:crypto';
import type { Meta, Op, Piece } from '../../../protocol/ops.ts';
import { contentBytes, entryOf, replicatedMode, xattrsDigest, type Entry } from '../../journal/entry.ts';
import type { ReplicaIndex } from '../../journal/replica-index.ts';
import type { HistoryKeeper } from '../../history/keeper.ts';
import {
  holding,
  joinPath,
  parentPath,
  type BytePath,
  type FileKind,
  type Files,
  type MetaChange,
  type Stat,
} from '../../platform/files.ts';
import { targetHere } from '../links.ts';
import { isAtOrBelow } from '../file-systems.ts';
import { absolute, type Root } from '../root.ts';
import { whyOf } from '../fault.ts';
import { foldKey } from '../one-name.ts';
import { OpRefused, type Batch, type BatchDir, type BatchPlace } from './batch.ts';
import { takenBy, type Folding } from './folding.ts';
import type { RenameRegions } from './rename-regions.ts';
import type { IncomingTransfers } from './incoming-transfers.ts';
import { isPathsOwn, setAttributes } from './set-attributes.ts';
import { lacks } from '../../../protocol/shortfall.ts';
import { isUnlisted, textOf, unlisted, untold, type Shortfall } from './shortfalls.ts';
import type { StagedNames } from './staged-names.ts';
import { copyPiece, otherContent, StagedWriter, writeSparsely } from './staged-writer.ts';
import { metaChange, mtimeNsOf, type Step } from './steps.ts';

export interface StagerParts {
  files: Files;
  roots: readonly Root[];
  index: ReplicaIndex;
  keeper: HistoryKeeper;
  transfers: IncomingTransfers;
  names: StagedNames;
  regions: RenameRegions;
  /** Paths of the file systems that are mounted below a root. */
  mounted: (root: string) => readonly BytePath[];
  wallMs: () => number;
  /** Lets heartbeats through between slices of long work. */
  yield: () => Promise<void>;
  /** True while a batch before this one still has to put this path (absolute) into place. */
  isPending: (path: BytePath) => boolean;
  /** Which file systems take several names for one. */
  folding: Folding;
  /** Batches before this one that are not in place yet. */
  queued: () => readonly Batch[];
  /** What is known to be lacking at a place. */
  shortfallAt: (root: string, path: BytePath) => Shortfall | undefined;
}

/** `settle-first`: the op needs what an earlier batch has not yet put into place. */
export type Staged = 'done' | 'settle-first';

const noBytes = Buffer.alloc(0);

/**
 * Turns ops into staged files, index changes and steps. Nothing below a root is touched here: what an op brings is
 * complete, checked and beside the root when its step is done (I7, I8).
 */
export class Stager {
  readonly #p: StagerParts;

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
    batch.places[batch.ops - 1] = this.#placeOf(batch, dir, path, op);
    if (!this.#isListed(batch, dir, op, path)) return 'settle-first';
    const isName = op.op !== 'meta' && op.op !== 'remove' && op.op !== 'patch' && op.at.name !== '';
    if (isName && this.#mayFold(dir.root, path) && !this.#isFree(batch, dir, op, path)) return 'settle-first';
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
        this.#step(batch, { do: 'meta', path: to, ino: entry.ino, meta: op.meta });
        this.#record(batch, dir, op.at.name, {
          ...entry,
          ...attributes(op.meta, entry.kind),
          ...this.#stillDamaged(batch, dir, path, entry),
        });
        batch.touched.add(to);
        return 'done';
      }
      case 'symlink': {
        const target = targetHere(this.#p.roots, dir.root, path, op.target);
        if (target === null) throw new OpRefused('confined', `the link ${path} would lead out of its root`);
        const staged = this.#name(batch, dir, op.at.name);
        this.#makeLink(target, staged, dir.root);
        const change = { uid: op.meta.uid, gid: op.meta.gid, mtimeNs: mtimeNsOf(op.meta) };
        const { shortfall, stat } = this.#give(staged, change, dir.root);
        this.#place(batch, dir, op.at.name, staged, to, {
          ...entryOf(stat, createHash('sha256').update(op.target, 'latin1').digest(), noBytes, 0),
          ...attributes(op.meta, 'symlink'),
          ...this.#lacking(batch, shortfall),
        });
        return 'done';
      }
      case 'remove':
        return this.#remove(batch, dir, op.at.name, op.tree, to);
    }
  }

  /**
   * Sees to it that the index knows what lies where an op works: a directory of which it does not (`unlisted`) goes as a whole
   * first, and is made anew. False when a batch before this one has to be put into place before that.
   */
  #isListed(batch: Batch, dir: BatchDir, op: Op, path: BytePath): boolean {
    if (dir.isListed !== true) {
      if (!this.#renew(batch, dir.root, dir.path, true)) return false;
      dir.isListed = true;
    }
    return op.op !== 'dir' || this.#renew(batch, dir.root, path, false);
  }

  #renew(batch: Batch, root: Root, path: BytePath, makes: boolean): boolean {
    const { index, files } = this.#p;
    const at = index.at(root.name, path);
    if (!at || !isUnlisted(at.entry)) return true;
    const to = absolute(root, path);
    if (this.#p.isPending(to) || batch.touched.has(to)) return false;
    const there = files.lstat(to);
    const xattrs = there?.kind === 'dir' && makes ? files.xattrs(to) : null;
    this.#p.regions.forget();
    index.remove(batch.layer, root.name, at.dir, at.name);
    const above: BatchDir = { root, path: parentPath(path) };
    if (there) {
      const keep = this.#keepTree(batch, above, at.name, { files: 0, bytes: 0 });
      this.#step(batch, { do: 'discard', path: to, ino: there.ino, keep });
    }
    batch.touched.add(to);
    batch.renewed.push({ root, path });
    if (!makes) return true;
    // The primary may know the directory, and not what is missing in it.
    const { mode, uid, gid } = there?.kind === 'dir' ? there : at.entry;
    const own = { mode, uid, gid, mtimeSec: 0, mtimeNsec: 0 };
    this.#makeDir(batch, above, at.name, xattrs && xattrs.size > 0 ? { ...own, xattrs: [...xattrs] } : own);
    return true;
  }

  #mayFold(root: Root, path: BytePath): boolean {
    return this.#p.folding.mayFold(root, this.#p.regions.stagingOf(root, path));
  }

  /**
   * Whether it is known what a new name falls together with, of what its file system may take for the same; noted in the batch.
   * False when a batch before this one decides of that.
   *
   * @throws OpRefused when something that is nobody's has the name.
   */
  #isFree(batch: Batch, dir: BatchDir, op: Op, path: BytePath): boolean {
    const { index } = this.#p;
    const number = this.#dirNumber(batch, dir);
    const { name } = op.at;
    if (index.get(number, name)) return true;
    const from = op.op === 'move' && this.#dir(batch, op.from.dir).path === dir.path ? op.from.name : null;
    const stays = (other: string) => other !== name && other !== from && index.get(number, other) !== undefined;
    const key = `${number}\0${foldKey(name)}`;
    const own = batch.fresh.get(key) ?? [];
    const beside = own.find(stays);
    if (beside !== undefined) this.#besides(batch, dir, number, name, beside);
    if (this.#p.queued().some(({ fresh }) => fresh.get(key)?.some(stays))) return false;
    const taken = this.#p.folding.otherName(absolute(dir.root, path));
    if (taken !== null && taken !== from) {
      const other = absolute(dir.root, joinPath(dir.path, taken));
      // What goes before this one comes does not stand in its way.
      const goes = index.get(number, taken) === undefined && (batch.touched.has(other) || this.#p.isPending(other));
      if (index.get(number, taken)) this.#besides(batch, dir, number, name, taken);
      else if (!goes) throw new OpRefused('path', takenBy(taken));
    }
    batch.fresh.set(key, [...own, name]);
    return true;
  }

  #besides(batch: Batch, dir: BatchDir, number: number, name: BytePath, other: BytePath): void {
    batch.beside.push({ op: batch.ops - 1, dir: number, name, other, path: absolute(dir.root, joinPath(dir.path, other)) });
  }

  /**
   * At the end of a batch: what it removes goes before what takes its name, which the primary sends first. A name beside another
   * one that stays is refused.
   */
  settleNames(batch: Batch): void {
    const refused = new Set<string>();
    for (const { op, dir, name, other, path } of batch.beside) {
      // Of two that would both be new only one is refused, or neither would ever come.
      if (batch.refused.has(op) || refused.has(`${dir}\0${other}`)) continue;
      const at = batch.stepOps.indexOf(op);
      const gone = batch.steps.findIndex((step) => step.do === 'discard' && step.path === path);
      if (this.#p.index.get(dir, other) !== undefined || gone < 0) {
        batch.refused.set(op, takenBy(other));
        refused.add(`${dir}\0${name}`);
      } else if (gone > at && at >= 0) {
        batch.steps.splice(at, 0, ...batch.steps.splice(gone, 1));
        batch.stepOps.splice(at, 0, ...batch.stepOps.splice(gone, 1));
      }
    }
  }

  #placeOf(batch: Batch, { root }: BatchDir, path: BytePath, op: Op): BatchPlace {
    const place: BatchPlace = { root, path, tree: (op.op === 'remove' || op.op === 'move') && op.tree, gone: op.op === 'remove' };
    if (op.op === 'move') {
      place.from = joinPath(this.#dir(batch, op.from.dir).path, op.from.name);
      place.anew = op.meta !== undefined;
    }
    if (op.op === 'meta') place.alone = true;
    if (op.op === 'link' && this.#dir(batch, op.from.dir).root === root)
      place.linked = joinPath(this.#dir(batch, op.from.dir).path, op.from.name);
    return place;
  }

  /** A step of the op that is being staged. */
  #step(batch: Batch, step: Step): void {
    batch.steps.push(step);
    batch.stepOps.push(batch.ops - 1);
  }

  /** Notes what the op that is being staged could not give; for the entry of its place. */
  #lacking(batch: Batch, shortfall: Shortfall | null): { lacks: number } {
    if (shortfall && shortfall.text !== '') batch.shortfalls.set(batch.ops - 1, shortfall);
    return { lacks: shortfall?.bits ?? 0 };
  }

  /** A file that gets another name lacks there what it lacked before. */
  #stillLacking(batch: Batch, entry: Entry, root: string, path: BytePath): void {
    const known = this.#p.shortfallAt(root, path);
    // What a batch on its way lacks is in the index when none is.
    const bits = (entry.lacks ?? (known?.bits ?? 0) & ~lacks.place) & ~unlisted;
    if (bits && !(bits & untold)) this.#lacking(batch, { bits, text: known?.text ?? textOf(bits) });
  }

  /** Attributes that are set anew mend no content. */
  #stillDamaged(batch: Batch, dir: BatchDir, path: BytePath, entry: Entry): { lacks: number } {
    const bits = (entry.lacks ?? 0) & lacks.content;
    if (bits === 0) return { lacks: 0 };
    return this.#lacking(batch, { bits, text: this.#p.shortfallAt(dir.root.name, path)?.text ?? textOf(bits) });
  }

  #makeLink(target: BytePath, staged: BytePath, { staging }: Root): void {
    try {
      this.#p.files.symlink(target, staged);
    } catch (error) {
      if (!isPathsOwn(this.#p.files, error, staging)) throw error;
      throw new OpRefused('path', `a symbolic link cannot be made: ${whyOf(error)}`);
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

  #name(batch: Batch, dir: BatchDir, name: string): BytePath {
    const staged = this.#p.names.next(dir.root, joinPath(dir.path, name));
    batch.staged.push(staged);
    return staged;
  }

  /** Gives what is staged its attributes; how it is then. */
  #give(staged: BytePath, change: MetaChange, { staging }: Root): { shortfall: Shortfall | null; stat: Stat } {
    const { files } = this.#p;
    const given = holding(files, staged, (fd, { kind }) => {
      const shortfall = setAttributes(files, fd, kind, change, staging);
      return { shortfall, stat: files.fstat(fd) };
    });
    if (!given) throw new OpRefused('io', 'a staged file has vanished');
    return given;
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
    this.#step(batch, { do: 'place', staged, path: to, ino: entry.ino, keep, fresh: old === undefined });
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
    return file === null ? null : `${this.#p.regions.stagingOf(dir.root, path)}/history/${file}`;
  }

  /** The same for a directory, which is never removed in its place. */
  #keepTree(batch: Batch, dir: BatchDir, name: string, size: { files: number; bytes: number }): BytePath {
    const kept = this.#keep(batch, dir, name, size);
    if (kept !== null) return kept;
    const trash = this.#p.names.next(dir.root, joinPath(dir.path, name), 'trash-');
    batch.trash.push(trash);
    return trash;
  }

  #makeDir(batch: Batch, dir: BatchDir, name: string, meta: Meta): Staged {
    const path = absolute(dir.root, joinPath(dir.path, name));
    let fresh = false;
    if (name !== '') {
      const number = this.#dirNumber(batch, dir);
      const old = this.#p.index.get(number, name);
      if (old && old.kind !== 'dir') throw new OpRefused('base', `${joinPath(dir.path, name)} is not a directory`);
      fresh = old === undefined;
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
    const staged = name === '' ? null : this.#name(batch, dir, name);
    this.#step(batch, { do: 'mkdir', path, meta: { ...meta, mode: replicatedMode('dir', meta.mode) }, staged, fresh });
    batch.touched.add(path);
    return 'done';
  }

  #put(batch: Batch, dir: BatchDir, op: Op & { op: 'put' }, to: BytePath): Staged {
    if ('bytes' in op) return this.#putWhole(batch, dir, op, op.bytes, to);
    const { staged, fd } = this.#p.transfers.use(batch, op.transfer, op.size, op.content);
    this.#finish(batch, dir, op.at.name, to, op.meta, op.content, staged, fd);
    return 'done';
  }

  /** A small file, which is most of a mail store: its content is proved (I8) before anything is written. */
  #putWhole(batch: Batch, dir: BatchDir, op: Op & { op: 'put' }, bytes: Buffer, to: BytePath): Staged {
    const { files } = this.#p;
    if (bytes.length !== op.size) throw new OpRefused('content', `content has ${bytes.length} of ${op.size} bytes`);
    if (!hash('sha256', bytes, 'buffer').equals(op.content)) throw new OpRefused('content', otherContent);
    const staged = this.#name(batch, dir, op.at.name);
    const fd = files.create(staged);
    try {
      if (writeSparsely(files, fd, bytes, 0) < bytes.length) files.truncate(fd, bytes.length);
      this.#finish(batch, dir, op.at.name, to, op.meta, op.content, staged, fd);
    } finally {
      files.close(fd);
    }
    return 'done';
  }

  #patch(batch: Batch, dir: BatchDir, op: Op & { op: 'patch' }, to: BytePath): Staged | Promise<Staged> {
    const old = this.#known(dir, op.at.name, op.base);
    if ((old.lacks ?? 0) & lacks.content) throw new OpRefused('base', `${op.at.name} is damaged here`);
    const source = this.#source(batch, to);
    if (source === null) return 'settle-first';
    const fd = this.#p.files.openRead(source);
    if (fd === null) throw new OpRefused('base', `${op.at.name} cannot be opened`);
    try {
      const stat = this.#p.files.fstat(fd);
      if (stat.ino !== old.ino || stat.size !== old.size) throw new OpRefused('base', `${op.at.name} was changed by somebody else`);
    } catch (error) {
      this.#p.files.close(fd);
      throw error;
    }
    return this.#assemble(batch, dir, op, fd, op.pieces, op.bytes, to);
  }

  /** Stages a new version of what is in `old`, an open file that is closed with it, and of literal bytes. */
  async #assemble(
    batch: Batch,
    dir: BatchDir,
    op: Op & { op: 'patch' | 'copy' },
    old: number,
    pieces: readonly Piece[],
    bytes: Buffer,
    to: BytePath,
  ): Promise<Staged> {
    const { files } = this.#p;
    let writer: StagedWriter | null = null;
    try {
      writer = new StagedWriter(files, this.#name(batch, dir, op.at.name), op.size);
      let used = 0;
      for (const piece of pieces) {
        if ('literal' in piece) writer.write(bytes.subarray(used, (used += piece.literal)));
        else await copyPiece(files, old, piece, writer, () => this.#p.yield());
      }
      writer.prove(op.content);
      this.#finish(batch, dir, op.at.name, to, op.meta, op.content, writer.path, writer.fd);
    } finally {
      writer?.close();
      files.close(old);
    }
    return 'done';
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
    const shortfall = setAttributes(this.#p.files, fd, 'file', change, dir.root.staging);
    const entry = Object.assign(entryOf(stat, content, noBytes, 0), attributes(meta, 'file'), this.#lacking(batch, shortfall));
    this.#place(batch, dir, name, staged, to, entry);
  }

  /** `copy` and `link`: the content is here already. */
  #again(batch: Batch, dir: BatchDir, op: Op & { op: 'copy' | 'link' }, to: BytePath): Staged | Promise<Staged> {
    const fromDir = this.#dir(batch, op.from.dir);
    const entry = this.#known(fromDir, op.from.name, op.op === 'link' ? op.base : op.content.subarray(0, contentBytes));
    if (entry.kind === 'dir') throw new OpRefused('base', `${op.from.name} is a directory`);
    if (op.op === 'copy' && (entry.lacks ?? 0) & lacks.content) throw new OpRefused('base', `${op.from.name} is damaged here`);
    const source = this.#source(batch, absolute(fromDir.root, joinPath(fromDir.path, op.from.name)));
    if (source === null) return 'settle-first';
    if (op.op === 'link') {
      if (this.#p.files.lstat(source)?.ino !== entry.ino) throw new OpRefused('base', `${op.from.name} was changed by somebody else`);
      const from = joinPath(fromDir.path, op.from.name);
      // On two file systems there is no name for one file: here it becomes a copy.
      if (this.#isApart(fromDir, from, dir, joinPath(dir.path, op.at.name)))
        return this.#copyApart(batch, dir, op.at.name, to, entry, source, () => this.#stillLacking(batch, entry, fromDir.root.name, from));
      const staged = this.#name(batch, dir, op.at.name);
      this.#p.files.link(source, staged);
      if (this.#statOf(staged).ino !== entry.ino) throw new OpRefused('base', `${op.from.name} was changed by somebody else`);
      this.#place(batch, dir, op.at.name, staged, to, { ...entry });
      this.#stillLacking(batch, entry, fromDir.root.name, joinPath(fromDir.path, op.from.name));
      return 'done';
    }
    const fd = this.#p.files.openRead(source);
    if (fd === null) throw new OpRefused('base', `${op.from.name} cannot be opened`);
    const pieces = op.size === 0 ? [] : [{ from: 0, length: op.size }];
    return this.#assemble(batch, dir, op, fd, pieces, noBytes, to).catch((error: unknown) => {
      // A source that is not what the index says is no reason to stop: the content is asked for.
      throw error instanceof OpRefused ? new OpRefused('base', error.message) : error;
    });
  }

  /** Whether no rename leads from one place to the other. */
  #isApart(fromDir: BatchDir, from: BytePath, dir: BatchDir, path: BytePath): boolean {
    return this.#p.regions.stagingOf(fromDir.root, from) !== this.#p.regions.stagingOf(dir.root, path);
  }

  /** Stages a copy of what is at `source`, with its attributes, for another file system. */
  async #copyApart(
    batch: Batch,
    dir: BatchDir,
    name: string,
    to: BytePath,
    entry: Entry,
    source: BytePath,
    placed: () => void,
    meta?: Meta,
  ): Promise<Staged> {
    const { files } = this.#p;
    const staged = this.#name(batch, dir, name);
    const kept = holding(files, source, (fd, { ino, kind, size, mode, uid, gid, mtimeNs }) => {
      if (ino !== entry.ino) return null;
      return { kind, size, of: { mode, uid, gid, mtimeNs, xattrs: files.xattrsOpen(fd) ?? new Map<string, Buffer>() } };
    });
    if (!kept) throw new OpRefused('base', 'what is to be copied was changed by somebody else');
    if (kept.kind === 'symlink') this.#makeLink(files.readlink(source), staged, dir.root);
    else await this.#copyContent(source, staged, kept.size, entry);
    const { mode: _, xattrs: __, ...ofLink } = kept.of;
    const change = kept.kind === 'symlink' ? ofLink : meta ? metaChange(meta, kept.kind) : kept.of;
    const { shortfall, stat } = this.#give(staged, change, dir.root);
    const { ino, btimeNs, ctimeNs } = stat;
    const own = meta ? attributes(meta, entry.kind) : {};
    this.#place(batch, dir, name, staged, to, {
      ...entry,
      ...own,
      ino,
      btimeNs,
      ctimeNs,
      linked: false,
      ...this.#lacking(batch, shortfall),
    });
    if (!shortfall && !meta) placed();
    return 'done';
  }

  async #copyContent(source: BytePath, staged: BytePath, size: number, entry: Entry): Promise<void> {
    const { files } = this.#p;
    const old = files.openRead(source);
    if (old === null) throw new OpRefused('base', 'what is to be copied cannot be opened');
    let writer: StagedWriter | null = null;
    try {
      writer = new StagedWriter(files, staged, size);
      if (size > 0) await copyPiece(files, old, { from: 0, length: size }, writer, () => this.#p.yield());
      const digest = writer.prefix();
      if (!digest.subarray(0, contentBytes).equals(entry.content))
        throw new OpRefused('base', 'what is to be copied was changed by somebody else');
      writer.prove(digest);
    } finally {
      writer?.close();
      files.close(old);
    }
  }

  /** A file moves to another file system: a copy is placed there, and then the old name goes. */
  async #moveApart(batch: Batch, dir: BatchDir, fromDir: BatchDir, op: Op & { op: 'move' }, to: BytePath, entry: Entry): Promise<Staged> {
    const fromPath = joinPath(fromDir.path, op.from.name);
    const from = absolute(fromDir.root, fromPath);
    const source = this.#source(batch, from);
    if (source === null) return 'settle-first';
    if (this.#p.files.lstat(source)?.ino !== entry.ino) throw new OpRefused('base', `${fromPath} is not what was put there`);
    const placed = () => this.#stillLacking(batch, entry, dir.root.name, fromPath);
    await this.#copyApart(batch, dir, op.at.name, to, entry, source, placed, op.meta);
    this.#p.index.remove(batch.layer, fromDir.root.name, this.#dirNumber(batch, fromDir), op.from.name);
    this.#step(batch, { do: 'discard', path: from, ino: entry.ino, keep: null });
    batch.whereabouts.delete(from);
    batch.touched.add(from);
    return 'done';
  }

  #move(batch: Batch, dir: BatchDir, op: Op & { op: 'move' }, to: BytePath): Staged | Promise<Staged> {
    const fromDir = this.#dir(batch, op.from.dir);
    const fromPath = joinPath(fromDir.path, op.from.name);
    const from = absolute(fromDir.root, fromPath);
    const entry = this.#known(fromDir, op.from.name, op.base);
    if ((entry.kind === 'dir') !== op.tree) throw new OpRefused('base', `${fromPath} is ${op.tree ? 'no' : 'a'} directory`);
    if (fromDir.root !== dir.root) throw new OpRefused('confined', 'a move goes from one root to another');
    // The index would have a circle that nobody comes out of.
    if (op.tree && isAtOrBelow(joinPath(dir.path, op.at.name), fromPath))
      throw new OpRefused('base', `${fromPath} cannot move into itself`);
    const number = this.#dirNumber(batch, dir);
    const isApart = this.#isApart(fromDir, fromPath, dir, joinPath(dir.path, op.at.name));
    if (op.tree && (isApart || this.#p.mounted(dir.root.name).some((point) => isAtOrBelow(point, fromPath))))
      throw new OpRefused('apart', `${fromPath} cannot be renamed here: its new place, or something in it, is on another file system`);
    if (isApart) return this.#moveApart(batch, dir, fromDir, op, to, entry);
    // What lies where it goes may have to go for it; nothing else of its batch can be before it.
    if (op.tree && (this.#p.isPending(from) || batch.touched.size > batch.renewed.length)) return 'settle-first';
    const tree = op.tree ? this.#p.files.lstat(from) : null;
    // What the index claims may never have been made: then something else is there, or nothing.
    if (op.tree && tree?.kind !== 'dir') throw new OpRefused('base', `${fromPath} is not what was put there`);
    const ino = tree ? tree.ino : entry.ino;
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
    const mayBeSame = !old && fromDir.path === dir.path && this.#mayFold(dir.root, fromPath);
    const via = mayBeSame ? this.#name(batch, dir, op.at.name) : null;
    this.#step(batch, { do: 'move', from, path: to, ino, keep, fresh: old === undefined, via });
    if (op.meta) {
      this.#step(batch, { do: 'meta', path: to, ino, meta: op.meta });
      const own = { ...attributes(op.meta, entry.kind), ...this.#stillDamaged(batch, fromDir, fromPath, entry) };
      this.#record(batch, dir, op.at.name, { ...entry, ...own, ...(isUnlisted(entry) ? { lacks: unlisted } : {}) });
    } else this.#stillLacking(batch, entry, dir.root.name, fromPath);
    const source = batch.whereabouts.get(from);
    batch.whereabouts.delete(from);
    batch.whereabouts.set(to, source ?? from);
    batch.touched.add(from).add(to);
    return 'done';
  }

  #remove(batch: Batch, dir: BatchDir, name: string, tree: boolean, to: BytePath): Staged {
    const entry = this.#known(dir, name, undefined);
    if ((entry.kind === 'dir') !== tree) throw new OpRefused('base', `${name} is ${tree ? 'no' : 'a'} directory`);
    // Of what could not be looked at before the index does not know which file it is.
    const isUnknown = tree || entry.ino === 0n;
    if (isUnknown && (this.#p.isPending(to) || batch.touched.has(to))) return 'settle-first';
    const ino = isUnknown ? (this.#p.files.lstat(to)?.ino ?? 0n) : entry.ino;
    if (tree) this.#p.regions.forget();
    const gone = this.#p.index.remove(batch.layer, dir.root.name, this.#dirNumber(batch, dir), name);
    const keep = tree ? this.#keepTree(batch, dir, name, gone) : this.#keep(batch, dir, name, gone);
    this.#step(batch, { do: 'discard', path: to, ino, keep });
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

function attributes(meta: Meta, kind: FileKind) {
  const mode = replicatedMode(kind, meta.mode);
  return {
    mode,
    uid: meta.uid,
    gid: meta.gid,
    ...(kind === 'dir' ? {} : { mtimeNs: mtimeNsOf(meta) }),
    xattrs: meta.xattrs ? xattrsDigest(new Map(meta.xattrs)) : noBytes,
    lacks: 0,
  };
}

function dirAttributes(meta: Meta) {
  return {
    mode: replicatedMode('dir', meta.mode),
    uid: meta.uid,
    gid: meta.gid,
    xattrs: meta.xattrs ? xattrsDigest(new Map(meta.xattrs)) : noBytes,
    lacks: 0,
  };
}
