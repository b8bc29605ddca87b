import { Packr } from 'msgpackr';
import type { Meta } from '../../../protocol/ops.ts';
import { replicatedMode } from '../../journal/entry.ts';
import { errnoCode, holding, type BytePath, type FileKind, type Files, type MetaChange, type Stat } from '../../platform/files.ts';
import { isNamed, NameTaken } from '../one-name.ts';
import { discardTree } from './discard-tree.ts';
import { setAttributes } from './set-attributes.ts';
import type { Shortfall } from './shortfalls.ts';

/**
 * One thing to do below a root when a batch is put into place. Paths are absolute; `ino` is the identity of the file
 * that the step is about, so that doing a step again after a crash is recognised and harmless.
 *
 * `keep` is the absolute path in the history directory to which what is in the way or goes is moved; null when it is
 * not kept. `fresh`: nothing has this name before. `via`: an absolute path in staging over which something moves to a name
 * that its file system may take for the one that it has; one rename between the two would do nothing.
 */
export type Step =
  | { do: 'mkdir'; path: BytePath; meta: Meta; staged: BytePath | null; fresh?: boolean }
  | { do: 'place'; staged: BytePath; path: BytePath; ino: bigint; keep: BytePath | null; fresh?: boolean }
  | { do: 'move'; from: BytePath; path: BytePath; ino: bigint; keep: BytePath | null; fresh?: boolean; via?: BytePath | null }
  | { do: 'discard'; path: BytePath; ino: bigint; keep: BytePath | null }
  | { do: 'meta'; path: BytePath; ino: bigint; meta: Meta };

const packr = new Packr({ useRecords: false });
const names = ['mkdir', 'place', 'move', 'discard', 'meta'] as const;

export function encodeSteps(steps: readonly Step[]): Buffer {
  const bytes = (path: BytePath | null) => path && Buffer.from(path, 'latin1');
  return Buffer.from(
    packr.pack(
      steps.map((s) => {
        const n = names.indexOf(s.do);
        if (s.do === 'mkdir') return [n, bytes(s.path), s.meta, bytes(s.staged), s.fresh ?? false];
        if (s.do === 'meta') return [n, bytes(s.path), s.ino, s.meta];
        if (s.do === 'discard') return [n, bytes(s.path), s.ino, bytes(s.keep)];
        const of = [n, bytes(s.path), s.ino, bytes(s.keep), bytes(s.do === 'place' ? s.staged : s.from), s.fresh ?? false];
        return s.do === 'place' ? of : [...of, bytes(s.via ?? null)];
      }),
    ),
  );
}

export function decodeSteps(data: Buffer): Step[] {
  const text = (value: unknown) => (value as Buffer).toString('latin1');
  const keep = (value: unknown) => (value === null ? null : text(value));
  return (packr.unpack(data) as unknown[][]).map((f): Step => {
    const path = text(f[1]);
    const what = names[f[0] as number];
    // Version 0.1.0 recorded no name in staging.
    if (what === 'mkdir') return { do: what, path, meta: f[2] as Meta, staged: keep(f[3] ?? null), fresh: f[4] === true };
    const ino = BigInt(f[2] as number | bigint);
    if (what === 'meta') return { do: what, path, ino, meta: f[3] as Meta };
    if (what === 'discard') return { do: what, path, ino, keep: keep(f[3]) };
    // Version 0.1.0 recorded no more.
    const fresh = f[5] === true;
    if (what === 'place') return { do: what, path, ino, keep: keep(f[3]), staged: text(f[4]), fresh };
    if (what === 'move') return { do: what, path, ino, keep: keep(f[3]), from: text(f[4]), fresh, via: keep(f[6] ?? null) };
    throw new Error('a step of an unknown kind is recorded; this state was written by a newer version');
  });
}

/** What doing a step met that nobody of ours put there (I2). */
export type ForeignFound = (path: BytePath, what: string) => void;

/** Whether the file system of a place (absolute) is there. */
export type Stands = (path: BytePath) => boolean;

const always: Stands = () => true;

/**
 * Does one step; doing it again changes nothing. `again` is for all steps of a batch after a restart, when what a
 * later step did may already be there; `files` must show what has a name by that very name alone then, and do so otherwise once it
 * is known that names may fall together there.
 *
 * @returns what the place could not be given of its attributes; null when nothing is lacking.
 * @throws the operating system's error; the step can then be tried again. NameTaken when something else is found under a new name.
 */
export function doStep(files: Files, step: Step, foreign: ForeignFound, again = false, stands: Stands = always): Shortfall | null {
  if (step.do === 'mkdir') return makeDir(files, step, again, stands);
  if (step.do === 'meta')
    return holding(files, step.path, (fd, there) =>
      there.ino === step.ino ? setAttributes(files, fd, there.kind, metaChange(step.meta, there.kind), step.path) : null,
    );
  doRename(files, step, foreign, again);
  return null;
}

function makeDir(files: Files, step: Step & { do: 'mkdir' }, again: boolean, stands: Stands): Shortfall | null {
  const there = whatIsAt(files, step, again);
  if (there && there.kind !== 'dir') throw new StepBlocked(step.path, `a ${there.kind} is where a directory belongs`);
  if (there) return setDirAttributes(files, step.path, step);
  try {
    return bringDir(files, step);
  } catch (error) {
    if (errnoCode(error) === undefined || stands(step.path)) throw error;
    throw new PlaceAway();
  }
}

/**
 * From staging, as everything else: no rename leads below the mount point of a file system that went. And there nobody can put
 * another directory in its place, which would be given its owner.
 */
function bringDir(files: Files, step: Step & { do: 'mkdir' }): Shortfall | null {
  const { path, staged } = step;
  if (staged === null) {
    files.mkdir(path, 0o700);
    return setDirAttributes(files, path, step);
  }
  if (!files.lstat(staged)) files.mkdir(staged, 0o700);
  const shortfall = setDirAttributes(files, staged, step);
  try {
    files.rename(staged, path);
    return shortfall;
  } catch (error) {
    if (errnoCode(error) !== 'EACCES') throw error;
  }
  // Without privilege, a directory that one may not write in cannot be moved; then there is nobody else's to be given away either.
  holding(files, staged, (fd) => files.setMetaOpen(fd, { mode: 0o700 }));
  files.rename(staged, path);
  return setDirAttributes(files, path, step);
}

function setDirAttributes(files: Files, at: BytePath, { path, meta }: Step & { do: 'mkdir' }): Shortfall | null {
  const { mode, uid, gid } = meta;
  return holding(files, at, (fd, { kind }) => {
    if (kind !== 'dir') throw new StepBlocked(path, `a ${kind} is where a directory belongs`);
    return setAttributes(files, fd, 'dir', { mode, uid, gid, ...xattrsOf(meta) }, path);
  });
}

function doRename(files: Files, step: Exclude<Step, { do: 'mkdir' | 'meta' }>, foreign: ForeignFound, again: boolean): void {
  switch (step.do) {
    case 'place': {
      // Nothing is in the way, which the kernel itself says: the common case costs one call.
      if (!again && step.keep === null && files.renameNew(step.staged, step.path)) return;
      const there = whatIsAt(files, step, again);
      const staged = files.lstat(step.staged);
      const isStaged = staged?.ino === step.ino;
      if (there?.ino === step.ino) {
        // A second name of the same file: rename(2) between the two would leave both. Or it was put there before.
        if (isStaged) files.unlink(step.staged);
        return;
      }
      // Whatever has the name is said before what is missing.
      if (!there && (isStaged || !staged) && files.renameNew(step.staged, step.path)) return;
      if (again && !isStaged) throw new StepBlocked(step.staged, 'the file that should be put into place is gone');
      if (there) saveOld(files, step.path, step.keep, there.kind, foreign);
      files.rename(step.staged, step.path);
      return;
    }
    case 'move': {
      if (step.via) return moveOver(files, step, step.via, again);
      const there = whatIsAt(files, step, again);
      const source = files.lstat(step.from);
      if (source?.ino !== step.ino) {
        if (there?.ino === step.ino) return;
        throw new StepBlocked(step.from, 'the file that should move is gone');
      }
      // rename(2) between two names of one file does nothing and leaves both.
      if (there?.ino === step.ino) return files.unlink(step.from);
      if (there) saveOld(files, step.path, step.keep, there.kind, foreign);
      files.rename(step.from, step.path);
      return;
    }
    case 'discard': {
      const there = files.lstat(step.path);
      if (!there || there.ino !== step.ino) return;
      if (step.keep !== null && there.kind === 'dir') discardTree(files, step.path, step.keep);
      else if (step.keep !== null) files.rename(step.path, step.keep);
      else if (there.kind === 'dir') throw new StepBlocked(step.path, 'a directory is only ever moved to history');
      else files.unlink(step.path);
      return;
    }
  }
}

/**
 * @param again all steps are done again: the files are shown by their very names then, and each of them is where it belongs.
 * @throws NameTaken when what is found under a new name has another one.
 */
function whatIsAt(files: Files, { fresh, path }: { fresh?: boolean; path: BytePath }, again: boolean): Stat | null {
  const there = files.lstat(path);
  if (there && fresh && !again && !isNamed(files, path)) throw new NameTaken(path);
  return there;
}

/** Something gets a name that may be the one that it has, in two renames. */
function moveOver(files: Files, { from, path, ino, fresh }: Step & { do: 'move' }, via: BytePath, again: boolean): void {
  if (files.lstat(via)?.ino !== ino) {
    if (files.lstat(from)?.ino !== ino) {
      if (files.lstat(path)?.ino === ino) return;
      throw new StepBlocked(from, 'the file that should move is gone');
    }
    files.rename(from, via);
  }
  try {
    if (files.renameNew(via, path)) return;
    whatIsAt(files, { path, ...(fresh === undefined ? {} : { fresh }) }, again);
    throw new StepBlocked(path, 'something was put where a file belongs');
  } catch (error) {
    // What stays in staging would be removed.
    if (!files.lstat(from)) files.rename(via, from);
    throw error;
  }
}

/**
 * Whether what a step leaves at its path is taken away or replaced by a later one of the same batch: done again from
 * the beginning, it then finds nothing to do.
 */
export function isSuperseded(steps: readonly Step[], number: number): boolean {
  const path = steps[number]?.path;
  if (path === undefined) return false;
  return steps.some((later, i) => {
    if (i <= number) return false;
    const gone = later.do === 'move' ? later.from : later.do === 'discard' ? later.path : null;
    return (
      (gone !== null && (path === gone || path.startsWith(`${gone}/`))) ||
      (later.do !== 'meta' && later.do !== 'mkdir' && later.path === path)
    );
  });
}

/** A step cannot be done because of what is there; retrying alone will not help. */
export class StepBlocked extends Error {
  readonly path: BytePath;
  constructor(path: BytePath, why: string) {
    super(why);
    this.path = path;
  }
}

/** The file system of a place is not there at this moment. */
export class PlaceAway extends Error {
  constructor() {
    super('the file system that it belongs on is gone');
  }
}

/** Keeps what is about to be replaced; a link first, so that the name is never without a file. */
function saveOld(files: Files, path: BytePath, keep: BytePath | null, kind: string, foreign: ForeignFound): void {
  if (kind === 'dir') {
    foreign(path, 'a directory was where a file belongs');
    if (keep === null) throw new StepBlocked(path, 'a directory is where a file belongs');
    files.rename(path, keep);
  } else if (keep !== null) {
    try {
      files.link(path, keep);
    } catch (error) {
      if (errnoCode(error) !== 'EEXIST') throw error;
    }
  }
}

/** Attributes as they are set on what is there: a file gets no setgid bit, whatever is asked (I11). */
export function metaChange(meta: Meta, kind: FileKind): MetaChange {
  return { mode: replicatedMode(kind, meta.mode), uid: meta.uid, gid: meta.gid, mtimeNs: mtimeNsOf(meta), ...xattrsOf(meta) };
}

export function mtimeNsOf(meta: Meta): bigint {
  return BigInt(meta.mtimeSec) * 1_000_000_000n + BigInt(meta.mtimeNsec);
}

function xattrsOf(meta: Meta): MetaChange {
  return { xattrs: new Map(meta.xattrs ?? []) };
}
