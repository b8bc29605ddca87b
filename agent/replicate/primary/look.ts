import { createHash } from 'node:crypto';
import { limits } from '../../../protocol/limits.ts';
import type { Classified } from '../../mailstore/format.ts';
import { entryOf, xattrsDigest, type Entry } from '../../journal/entry.ts';
import type { FoundEntry } from '../../journal/replica-index.ts';
import { errnoCode, joinPath, type BytePath, type FileRead, type Files, type Stat } from '../../platform/files.ts';
import { faultOf, ifKnown, whyOf } from '../fault.ts';
import { canonicalTarget } from '../links.ts';
import { absolute, type Root } from '../root.ts';
import { coarseNs } from '../times.ts';
import { attributesOf } from './bounds.ts';
import type { FileAt } from './choose-content.ts';
import { sendFile } from './content.ts';
import {
  entrySeen,
  isRacy,
  metaOf,
  sameAttributes,
  sameContent,
  splitPath,
  type Making,
  type Outcome,
  type SendingParts,
} from './context.ts';
import { nameBeside } from './name-beside.ts';
import { leftOutTexts, type LeftOut, type LeftOutReason } from './left-out.ts';
import { notADirectoryAbove, tooLong } from './scan.ts';

const noBytes = Buffer.alloc(0);

const apartMax = 1000;
const namesBetweenYields = 128;

/** Looks at one path and sends what the standby needs to have it the same. Nothing is believed but lstat and the index. */
export class Looker {
  readonly #p: SendingParts;
  readonly #leftOut: LeftOut;

  /** Directories (root and path) that the standby cannot rename. */
  readonly #apart = new Set<string>();

  constructor(parts: SendingParts, leftOut: LeftOut) {
    this.#p = parts;
    this.#leftOut = leftOut;
  }

  /** The standby cannot rename this directory: when it turns up elsewhere it is made anew there, with its files one by one. */
  apart(root: string, from: BytePath): void {
    if (this.#apart.size >= apartMax) this.#apart.clear();
    this.#apart.add(`${root}\0${from}`);
  }

  /** `sealing` allows what must otherwise wait for the mailbox to rest: removals and its index and control files. */
  async look(making: Making, root: Root, path: BytePath, sealing = false): Promise<Outcome> {
    // A directory has moved: what is in it comes with the next batch.
    if (making.writer.endsHere) return 'alone';
    // What stands there may be what was written below a mount point whose disk is missing.
    if (this.#p.holds.stopping(root.name, path)) return 'held';
    return this.#orTrouble(root, path, this.#look(making, root, path, sealing));
  }

  async #orTrouble(root: Root, path: BytePath, looking: Promise<Outcome>): Promise<Outcome> {
    try {
      return await looking;
    } catch (error) {
      // Renamed or removed between two calls, before anything of it was sent: a hint says where it is now.
      return faultOf(error, 'reading') === 'gone' ? 'later' : this.#unreadable(root, path, error);
    }
  }

  /**
   * Like `look`, for what a fill takes for a file that the standby does not have. A message is read at once, which also
   * tells what it is; nobody looks at it twice. Of other files a later change may hide behind the same mtime.
   */
  async lookAtNew(making: Making, root: Root, path: BytePath): Promise<Outcome> {
    const p = this.#p;
    const class_ = root.format.classify(path, 'file');
    const isBlocked = p.unproven.isBlocked(root.name, path);
    if (
      class_.immutable &&
      !isBlocked &&
      !making.writer.endsHere &&
      path.length <= limits.replicatedPathBytesMax &&
      !p.index.at(root.name, path)
    ) {
      const read = readSmall(p.files, absolute(root, path));
      if (read) return this.#orTrouble(root, path, this.#arrived(making, root, path, read.stat, undefined, class_, read));
    }
    return this.look(making, root, path);
  }

  async #look(making: Making, root: Root, path: BytePath, sealing: boolean): Promise<Outcome> {
    const p = this.#p;
    if (path === '') return 'scan';
    if (path.length > limits.replicatedPathBytesMax) {
      p.unproven.add(root.name, path, tooLong);
      return 'unreadable';
    }
    // What lies below a place that is left out is not of this root any more; when it is again, all of it is compared.
    const hold = p.holds.coveringAs('left-out', root.name, path);
    if (hold && hold.path !== path) return 'done';
    let stat: Stat | null;
    try {
      stat = p.files.lstat(absolute(root, path));
      if (stat && this.#isBehindLink(making, root, path)) return this.#behindLink(root, path);
    } catch (error) {
      if (errnoCode(error) === 'ELOOP') return this.#behindLink(root, path);
      return this.#unreadable(root, path, error);
    }
    const known = p.index.at(root.name, path);
    const class_ = root.format.classify(path, stat?.kind ?? known?.entry.kind ?? null);
    if (class_.ignored) return this.#ignored(making, root, path, stat, known);
    // What was changed by a name that the standby cannot have is found by the names that it has.
    const seen = p.unproven.seenAt(root.name, path);
    if (seen !== undefined && seen !== stat?.ino) await this.#namesLeft(making, root, seen, path);
    if (stat?.kind === 'file') p.unproven.sees(root.name, path, stat.ino);
    // The standby cannot have it, or cannot let it go: it is tried when its time has come, and nobody waits for it.
    if (p.unproven.isBlocked(root.name, path)) {
      // Nobody comes for its content now.
      p.transfers.lost(root.name, path);
      // What was changed by this name is sent by another one that the file has there.
      const other = stat?.kind === 'file' && stat.nlink > 1 ? nameBeside(p, root.name, path, stat.ino) : null;
      if (other !== null) p.changes.record(root.name, other, 'path', p.clock.monotonicMs(), making.lookingFor);
      return stat === null && !known ? this.#nothing(root, path) : 'unreadable';
    }
    if (stat?.kind === 'other') return this.#leaveOut(making, root, path, known, 'special', null);
    let canonical: BytePath | null = null;
    if (stat?.kind === 'symlink') {
      let target: BytePath;
      try {
        target = p.files.readlink(absolute(root, path));
      } catch (error) {
        return this.#unreadable(root, path, error);
      }
      canonical = canonicalTarget(p.files, p.roots, root, path, target);
      if (canonical === null) return this.#leaveOut(making, root, path, known, 'link-out', target);
      if (canonical.length > limits.replicatedPathBytesMax && canonical.startsWith('/')) {
        p.unproven.add(root.name, path, `leads to a path that ${tooLong}`);
        return 'unreadable';
      }
    }
    if (!stat && known && this.#leftOut.isHeld(root.name, path)) return this.#leftOutIsGone(making, root, path, known);
    if (this.#leftOut.settle(root.name, path)) p.changes.record(root.name, path, 'scan', p.clock.monotonicMs(), making.lookingFor);
    if (known?.entry.linked && stat?.ino !== known.entry.ino) await this.#namesLeft(making, root, known.entry.ino, path);
    const above = !stat && known ? this.#missingAbove(root, path) : null;
    if (above !== null) {
      // With its directory: piece by piece, a mailbox's index would outlive what it names.
      if (making.deletions.isHeldTree(root.name, above)) return 'held';
      p.changes.record(root.name, above, 'path', p.clock.monotonicMs());
      return 'later';
    }
    if (!stat) return known ? this.#gone(making, root, path, known, class_, sealing) : this.#nothing(root, path);
    if (class_.mailbox !== null && (class_.class === 'control' || class_.class === 'index') && stat.kind === 'file' && !sealing)
      return 'sealed-only';
    if (known && (known.entry.kind === 'dir') !== (stat.kind === 'dir')) {
      const removed = await this.#remove(making, root, path, known);
      if (removed !== 'done') return removed;
      return this.#arrived(making, root, path, stat, undefined, class_, null, canonical);
    }
    return this.#arrived(making, root, path, stat, known?.entry, class_, null, canonical);
  }

  /** Whether a link stands where one of the directories above was: then the kernel shows what is not of this root. */
  #isBehindLink(making: Making, root: Root, path: BytePath): boolean {
    const { dir } = splitPath(path);
    const key = `${root.name}\0${dir}`;
    if (dir === '' || making.directories.has(key)) return false;
    if (notADirectoryAbove(this.#p.files, root, path) !== null) return true;
    making.directories.add(key);
    return false;
  }

  /** The link is looked at first: what it says decides of all that the standby has below it. */
  #behindLink(root: Root, path: BytePath): Outcome {
    const p = this.#p;
    const link = notADirectoryAbove(p.files, root, path);
    if (link === null || !p.index.at(root.name, path)) return link === null ? 'later' : 'done';
    p.changes.record(root.name, link, 'path', p.clock.monotonicMs());
    return 'later';
  }

  /** The topmost directory above a path that is gone too; null when the path's own directory is there. */
  #missingAbove(root: Root, path: BytePath): BytePath | null {
    let missing: BytePath | null = null;
    for (let { dir } = splitPath(path); dir !== '' && this.#p.files.lstat(absolute(root, dir)) === null; dir = splitPath(dir).dir)
      missing = dir;
    return missing;
  }

  /** Removes a path that is gone here from the standby. */
  async #gone(making: Making, root: Root, path: BytePath, known: FoundEntry, class_: Classified, sealing: boolean): Promise<Outcome> {
    if (class_.mailbox !== null && known.entry.kind !== 'dir' && !sealing) return 'sealed-only';
    if (!this.#isReallyGone(root, path)) return 'later';
    // A mailbox asks for all that goes with its seal at once.
    return this.#remove(making, root, path, known, sealing && known.entry.kind !== 'dir');
  }

  /**
   * A path that is missing may have gone with its whole file system, at this very moment (I19). It is gone when it is missing
   * between two looks that both see the file system in its place.
   */
  #isReallyGone(root: Root, path: BytePath): boolean {
    const { files, fileSystems } = this.#p;
    return fileSystems.stand(root.name, path) && files.lstat(absolute(root, path)) === null && this.#stands(root, path);
  }

  /** Whether the file systems of a path stand; if not, that is found out and said. */
  #stands(root: Root, path: BytePath): boolean {
    if (this.#p.fileSystems.stand(root.name, path)) return true;
    this.#p.fileSystemHolds.look();
    return false;
  }

  /** `asked`: the guard against mass deletion has let it go, or nothing is lost by it. */
  async #remove(making: Making, root: Root, path: BytePath, known: FoundEntry, asked = false): Promise<Outcome> {
    const p = this.#p;
    if (!this.#stands(root, path) || p.holds.blocking(root.name, path, 'mass-delete')) return 'held';
    const tree = known.entry.kind === 'dir';
    if (!asked) {
      const linked = new Set<bigint>();
      const lost = await making.deletions.losses.below(root, path, known, linked);
      if (!making.deletions.mayRemove(making, root, path, known, lost)) return 'held';
      if (tree) for (const ino of linked) await this.#namesLeft(making, root, ino, path);
    }
    const { dir, name } = splitPath(path);
    p.index.remove(making.layer, root.name, known.dir, known.name);
    p.meter.sent('remove', 1, 0, 0);
    p.unproven.goesHere(root.name, path);
    if (tree) this.#leftOut.forgetBelow(root.name, path);
    await making.writer.add({ op: 'remove', at: { dir: making.writer.dir(root.name, dir), name }, tree }, { root: root.name, dir, name });
    return 'done';
  }

  /**
   * A name of a file with several is gone. What was changed through it before has to be found by the names that are
   * left, for which no hint comes. Those that would not hold still are looked at later: a mailbox that is being closed
   * must lose what its index calls removed all the same.
   */
  async #namesLeft(making: Making, root: Root, ino: bigint, gone: BytePath): Promise<void> {
    const p = this.#p;
    const key = `${root.name}\0${ino}`;
    const before = making.namesLeft.get(key);
    if (before === null || (before && p.files.lstat(absolute(root, before.path))?.ctimeNs === before.ctimeNs)) return;
    const rootNumber = p.index.root(root.name);
    let left: { path: BytePath; ctimeNs: bigint } | null = null;
    let mayHideMore = false;
    let count = 0;
    for (const other of rootNumber === null ? [] : p.index.namesOf(rootNumber, ino)) {
      if (++count % namesBetweenYields === 0) await p.clock.yield();
      const path = joinPath(p.index.pathOf(other.dir).path, other.name);
      if (path === gone || path.startsWith(`${gone}/`)) continue;
      const stat = p.files.lstat(absolute(root, path));
      if (stat?.ino !== ino) continue;
      if (left === null) {
        left = { path, ctimeNs: stat.ctimeNs };
        mayHideMore = isRacy(stat.ctimeNs + coarseNs(stat), p.clock.wallMs());
      }
      const outcome = await this.look(making, root, path);
      if (outcome === 'later' || outcome === 'alone' || outcome === 'transfer' || outcome === 'held')
        p.changes.record(root.name, path, 'path', p.clock.monotonicMs(), making.lookingFor);
    }
    // Of a file with very many names many may go at once: what is left of them is looked at once, not for each that went.
    if (!mayHideMore) making.namesLeft.set(key, left);
  }

  #nothing(root: Root, path: BytePath): Outcome {
    this.#p.unproven.isNowhere(root.name, path);
    return 'done';
  }

  /**
   * A path that the patterns of the configuration name is left out, with all below it. What the mail server makes anew
   * goes from the standby, too, where an older release brought it; anything else stays there until a person says otherwise.
   */
  async #ignored(making: Making, root: Root, path: BytePath, stat: Stat | null, known: FoundEntry | null): Promise<Outcome> {
    const excluded = root.format.excluded?.(path, stat?.kind ?? known?.entry.kind ?? null);
    if (!excluded || excluded.path !== path) return 'done';
    const has = known !== null && !(known.entry.kind === 'dir' && this.#isEmpty(known.entry.dir));
    if (!stat && !has) {
      this.#leftOut.settle(root.name, path);
      return 'done';
    }
    const mailbox = excluded.byDefault && this.#p.files.lstat(absolute(root, joinPath(path, 'cur')))?.kind === 'dir';
    const reason = excluded.derived && !mailbox ? 'derived' : 'excluded';
    const goes = known !== null && (reason === 'derived' || this.#leftOut.isReleased(root.name, path));
    this.#leftOut.note({ root: root.name, path, reason, detail: excluded.pattern, kept: has && !goes, mailbox });
    this.#p.unproven.proveBelow(root.name, path);
    return goes ? this.#letGo(making, root, path, known) : 'done';
  }

  /** What the standby has of it stays until a person says otherwise; nothing of it is looked at meanwhile. */
  async #leaveOut(
    making: Making,
    root: Root,
    path: BytePath,
    known: FoundEntry | null,
    reason: LeftOutReason,
    detail: BytePath | null,
  ): Promise<Outcome> {
    const place = { root: root.name, path, reason, detail };
    const isDir = known?.entry.kind === 'dir';
    const goes = known !== null && (this.#leftOut.isReleased(root.name, path) || (isDir && this.#isEmpty(known.entry.dir)));
    this.#leftOut.note({ ...place, kept: known !== null && !goes });
    if (goes) return this.#letGo(making, root, path, known);
    if (isDir) this.#leftOut.hold(root.name, path, `a ${leftOutTexts[reason]} is here now`);
    this.#p.unproven.proveBelow(root.name, path);
    return 'done';
  }

  /** Removes what the standby kept of something that is left out. */
  async #letGo(making: Making, root: Root, path: BytePath, known: FoundEntry): Promise<Outcome> {
    this.#leftOut.letGo(root.name, path);
    return this.#remove(making, root, path, known, true);
  }

  /** Whether a directory of the standby holds nothing but directories. */
  #isEmpty(dir: number): boolean {
    for (const [, entry] of this.#p.index.entries(dir)) if (entry.kind !== 'dir' || !this.#isEmpty(entry.dir)) return false;
    return true;
  }

  /** Nothing is here where a directory was left out: perhaps it is about to come back. */
  async #leftOutIsGone(making: Making, root: Root, path: BytePath, known: FoundEntry): Promise<Outcome> {
    if (this.#leftOut.isReleased(root.name, path)) return this.#letGo(making, root, path, known);
    this.#leftOut.hold(root.name, path, 'what was left out here is gone, and nothing is in its place');
    return 'done';
  }

  async #arrived(
    making: Making,
    root: Root,
    path: BytePath,
    stat: Stat,
    known: Entry | undefined,
    class_: Classified,
    read: FileRead | null = null,
    canonical: BytePath | null = null,
  ): Promise<Outcome> {
    const { dir, name } = splitPath(path);
    const dirNumber = await this.#parents(making, root, dir);
    if (dirNumber === null) return 'done';
    if (dirNumber === 'alone') return 'alone';
    if (stat.kind === 'dir') return this.#dir(making, root, dir, name, dirNumber, stat, known);
    if (canonical !== null) return this.#symlink(making, root, dir, name, dirNumber, stat, canonical, known);
    const anew = this.#p.unproven.isTrying(root.name, path, 'content');
    return this.#file(making, { root, dir, name, dirNumber, known, immutable: class_.immutable, anew }, stat, class_, read);
  }

  async #file(making: Making, at: FileAt, stat: Stat, class_: Classified, read: FileRead | null): Promise<Outcome> {
    const isSame = at.known && sameContent(at.known, stat) && (at.immutable || !this.#p.relived.has(stat.mtimeNs));
    if (at.known && isSame && !at.anew) return this.#attributes(making, at, stat, at.known);
    // What the standby could not make of another file's name it may be able to have on its own.
    if (!at.anew && at.known?.ino !== stat.ino && !this.#p.unproven.isTrying(at.root.name, joinPath(at.dir, at.name), 'place')) {
      const elsewhere = await this.#identity(making, at, stat, class_);
      if (elsewhere) return elsewhere;
    }
    return this.#content(making, at, stat, read);
  }

  async #content(making: Making, at: FileAt, stat: Stat, read: FileRead | null = null): Promise<Outcome> {
    const ops = making.writer.ops;
    const outcome = await sendFile(this.#p, making, at, stat, read);
    if (outcome === 'done' && making.writer.ops > ops) await this.#otherNames(making, at, stat);
    return outcome;
  }

  /**
   * A file with several names changed under one of them. On the standby the new version may be a new file: the other
   * names, for which no hint comes, must become names of it too.
   */
  async #otherNames(making: Making, at: FileAt, stat: Stat): Promise<void> {
    const p = this.#p;
    if (stat.nlink === 1) return;
    const rootNumber = p.index.root(at.root.name);
    const entry = p.index.get(at.dirNumber, at.name);
    if (rootNumber === null || !entry) return;
    const from = { dir: making.writer.dir(at.root.name, at.dir), name: at.name };
    for (const other of p.index.namesOf(rootNumber, stat.ino)) {
      if (other.dir === at.dirNumber && other.name === at.name) continue;
      const dir = p.index.pathOf(other.dir).path;
      const otherPath = joinPath(dir, other.name);
      const there = ifKnown(() => p.files.lstat(absolute(at.root, otherPath)));
      if (there?.ino !== stat.ino) {
        // Gone, or moved with its directory: whatever turns up there is no longer known to be one file with this.
        p.index.put(making.layer, at.root.name, other.dir, other.name, { ...other.entry, ino: 0n, linked: false });
        // The op is made, so this file is not looked at again for it: a name that cannot be looked at now finds it by itself.
        if (there === undefined) p.changes.record(at.root.name, otherPath, 'path', p.clock.monotonicMs(), making.lookingFor);
        continue;
      }
      p.index.put(making.layer, at.root.name, other.dir, other.name, entry);
      p.meter.sent('link', 1, 0, stat.size);
      const place = { dir: making.writer.dir(at.root.name, dir), name: other.name };
      await making.writer.add(
        { op: 'link', at: place, from, base: entry.content },
        { root: at.root.name, dir, name: other.name, from: { dir: at.dir, name: at.name } },
      );
    }
  }

  /**
   * Makes the directories above a path where the standby has none. Null when one of them is gone by now; `alone` when
   * the standby has one under another name: that moves first, or what is in it would be there twice for a while.
   */
  async #parents(making: Making, root: Root, path: BytePath): Promise<number | null | 'alone'> {
    const p = this.#p;
    const known = p.index.dirAt(root.name, path);
    if (known !== null) return known;
    if (path === '') return p.index.addRoot(making.layer, root.name);
    const { dir, name } = splitPath(path);
    const above = await this.#parents(making, root, dir);
    if (above === 'alone') return above;
    const stat = above === null ? null : p.files.lstat(absolute(root, path));
    if (above === null || stat?.kind !== 'dir') return null;
    if (p.index.get(above, name)) return null;
    if (await this.#movedDir(making, root, dir, name, above, stat)) {
      p.changes.record(root.name, path, 'scan', p.clock.monotonicMs(), making.lookingFor);
      return 'alone';
    }
    await this.#dir(making, root, dir, name, above, stat, undefined, true);
    return p.index.dirAt(root.name, path);
  }

  async #dir(
    making: Making,
    root: Root,
    dir: BytePath,
    name: BytePath,
    dirNumber: number,
    stat: Stat,
    known: Entry | undefined,
    onTheWay = false,
  ): Promise<Outcome> {
    const p = this.#p;
    const path = joinPath(dir, name);
    const seen = { wallMs: p.clock.wallMs(), immutable: false };
    const xattrs = attributesOf(p, root, path, stat);
    const digest = xattrsDigest(xattrs);
    const isSame = known && known.ino === stat.ino && sameAttributes(known, stat) && known.xattrs.equals(digest);
    // What it could not have may be there all the same: only its word for this very place ends the doubt, and what lies
    // below was not looked at meanwhile.
    const isPlaceTried = p.unproven.isTrying(root.name, path, 'place');
    const entry = entrySeen(stat, noBytes, digest, known?.dir ?? 0, seen);
    if (isSame && !isPlaceTried && !p.unproven.isTrying(root.name, path, 'attributes')) {
      if (known.ctimeNs !== entry.ctimeNs) p.index.put(making.layer, root.name, dirNumber, name, entry);
      return 'done';
    }
    const isNew = !known || known.ino !== stat.ino;
    if (!known && !onTheWay) {
      const moved = await this.#movedDir(making, root, dir, name, dirNumber, stat);
      if (moved) return moved;
    }
    p.index.put(making.layer, root.name, dirNumber, name, entry);
    p.meter.sent('dir', 1, 0, 0);
    await making.writer.add(
      { op: 'dir', at: { dir: making.writer.dir(root.name, dir), name }, meta: { ...metaOf(stat, xattrs), mtimeSec: 0, mtimeNsec: 0 } },
      { root: root.name, dir, name },
    );
    if (isNew) await this.#mailboxParts(making, root, path);
    return isNew || isPlaceTried ? 'scan' : 'done';
  }

  /** A mailbox appears with its directories of messages, never in between: without them a server refuses to open it. */
  async #mailboxParts(making: Making, root: Root, path: BytePath): Promise<void> {
    if (!root.format.classify(joinPath(path, 'cur/x'), 'file').immutable) return;
    for (const sub of ['cur', 'new', 'tmp']) {
      const part = joinPath(path, sub);
      if (this.#p.files.lstat(absolute(root, part))?.kind === 'dir') await this.look(making, root, part);
    }
  }

  /** A directory that the standby has under another name, which is gone here: one rename, whatever is below it. */
  async #movedDir(making: Making, root: Root, dir: BytePath, name: BytePath, dirNumber: number, stat: Stat): Promise<Outcome | null> {
    const p = this.#p;
    const rootNumber = p.index.root(root.name);
    const other = rootNumber === null ? null : p.index.byInode(rootNumber, stat.ino);
    if (other?.entry.kind !== 'dir' || other.entry.btimeNs !== stat.btimeNs) return null;
    const fromDir = p.index.pathOf(other.dir).path;
    const from = joinPath(fromDir, other.name);
    const path = joinPath(dir, name);
    if (path.startsWith(`${from}/`) || p.files.lstat(absolute(root, from))?.ino === stat.ino) return null;
    if (stat.btimeNs === 0n && !this.#holdsNamesOf(root, path, other.entry.dir)) return null;
    if (this.#apart.has(`${root.name}\0${from}`)) return null;
    // The name that is gone may have gone with its disk.
    if (!p.fileSystems.stand(root.name, from)) return null;
    // Messages never leave a mailbox whose index names them.
    if (root.format.classify(joinPath(from, 'x'), 'file').immutable) return null;
    if (making.writer.ops > 0) return 'alone';
    const seen = { wallMs: p.clock.wallMs(), immutable: false };
    const xattrs = attributesOf(p, root, path, stat);
    const entry: Entry = { ...entrySeen(stat, noBytes, xattrsDigest(xattrs), other.entry.dir, seen), mtimeNs: other.entry.mtimeNs };
    const sameMeta = sameAttributes(other.entry, stat) && other.entry.xattrs.equals(entry.xattrs);
    this.#leftOut.forgetBelow(root.name, from);
    p.index.move(making.layer, root.name, other, { dir: dirNumber, name });
    p.index.put(making.layer, root.name, dirNumber, name, entry);
    p.meter.sent('move', 1, 0, 0);
    await making.writer.add(
      {
        op: 'move',
        at: { dir: making.writer.dir(root.name, dir), name },
        from: { dir: making.writer.dir(root.name, fromDir), name: other.name },
        tree: true,
        ...(sameMeta ? {} : { meta: metaOf(stat, xattrs) }),
      },
      { root: root.name, dir, name, from: { dir: fromDir, name: other.name } },
    );
    return 'scan';
  }

  /**
   * Without birth times an inode number that is used again looks like a directory that was renamed: it counts as one when
   * it holds the names that the standby's has. What has changed inside besides is found by the scan that follows.
   */
  #holdsNamesOf(root: Root, path: BytePath, known: number): boolean {
    const here = new Set<BytePath>();
    for (const { name, kind } of this.#p.files.readdir(absolute(root, path)) ?? [])
      if (!root.format.classify(joinPath(path, name), kind).ignored) here.add(name);
    const there = [...this.#p.index.entries(known)].map(([name]) => name);
    return there.length === here.size && there.every((name) => here.has(name));
  }

  async #symlink(
    making: Making,
    root: Root,
    dir: BytePath,
    name: BytePath,
    dirNumber: number,
    stat: Stat,
    target: BytePath,
    known: Entry | undefined,
  ): Promise<Outcome> {
    const p = this.#p;
    const entry = entryOf(stat, createHash('sha256').update(target, 'latin1').digest(), noBytes, 0);
    if (
      known &&
      known.kind === 'symlink' &&
      known.content.equals(entry.content) &&
      known.mtimeNs === entry.mtimeNs &&
      sameAttributes(known, stat) &&
      !p.unproven.isTrying(root.name, joinPath(dir, name))
    )
      return 'done';
    p.index.put(making.layer, root.name, dirNumber, name, entry);
    p.meter.sent('symlink', 1, target.length, 0);
    await making.writer.add(
      { op: 'symlink', at: { dir: making.writer.dir(root.name, dir), name }, target, meta: metaOf(stat, null) },
      { root: root.name, dir, name },
    );
    return 'done';
  }

  /** Same content under the same name: at most owner, mode or attributes changed. */
  async #attributes(making: Making, at: FileAt, stat: Stat, known: Entry): Promise<Outcome> {
    const p = this.#p;
    const path = joinPath(at.dir, at.name);
    const seen = { wallMs: p.clock.wallMs(), immutable: at.immutable };
    const xattrs = attributesOf(p, at.root, path, stat);
    const digest = xattrsDigest(xattrs);
    p.unproven.prove(at.root.name, path);
    const isTrying = p.unproven.isTrying(at.root.name, path);
    const isSame = sameAttributes(known, stat) && known.xattrs.equals(digest) && !isTrying;
    if (isSame && known.ctimeNs === stat.ctimeNs) return 'done';
    p.index.put(making.layer, at.root.name, at.dirNumber, at.name, entrySeen(stat, known.content, digest, 0, seen));
    if (isSame) return 'done';
    p.meter.sent('meta', 1, 0, stat.size);
    await making.writer.add(
      { op: 'meta', at: { dir: making.writer.dir(at.root.name, at.dir), name: at.name }, meta: metaOf(stat, xattrs), base: known.content },
      { root: at.root.name, dir: at.dir, name: at.name },
    );
    await this.#otherNames(making, at, stat);
    return 'done';
  }

  /**
   * The same file under another name: a rename (that name is gone) or a hard link. Inode numbers are used again at
   * once, so birth time, size and mtime must agree too, and of a file made within this clock tick the content.
   */
  async #identity(making: Making, at: FileAt, stat: Stat, class_: Classified): Promise<Outcome | null> {
    const p = this.#p;
    const rootNumber = p.index.root(at.root.name);
    const found = rootNumber === null ? null : p.index.byInode(rootNumber, stat.ino);
    const isFound = found !== null && this.#isSameFile(at, found, stat);
    // The inode leads to one name; only where that can be another one than the message's own is its old name searched.
    const mayMislead = stat.nlink > 1 || p.index.holdsUnknown || (found !== null && (found.entry.linked || !isFound));
    const renamed = class_.class === 'message' && mayMislead ? this.#oldName(at, class_) : null;
    if (renamed && !this.#isSameFile(at, renamed, stat)) {
      // What the standby has under the old name is not known: it gets the message anew, as a link where it has that under a third
      // name, and loses the old name at once.
      const linked = isFound ? await this.#underOtherName(making, at, stat, class_, found) : null;
      const sent = linked ?? (await this.#content(making, at, stat));
      return sent === 'done'
        ? this.#remove(making, at.root, joinPath(p.index.pathOf(renamed.dir).path, renamed.name), renamed, true)
        : sent;
    }
    const other = renamed ?? (isFound ? found : null);
    return other && this.#underOtherName(making, at, stat, class_, other);
  }

  /** The standby has this very file under another name, `other`; null when that is this name. */
  async #underOtherName(making: Making, at: FileAt, stat: Stat, class_: Classified, other: FoundEntry): Promise<Outcome | null> {
    const p = this.#p;
    if (other.dir === at.dirNumber && other.name === at.name) return null;
    const fromDir = p.index.pathOf(other.dir).path;
    const fromPath = joinPath(fromDir, other.name);
    const isLink = p.files.lstat(absolute(at.root, fromPath))?.ino === stat.ino;
    // Taking a message out of another mailbox is for that mailbox's seal; until then it has two names there. And what
    // was a copy of a message in this one never takes that message's name away.
    const isCopy = class_.class === 'message' && at.root.format.baseOf(other.name) !== at.root.format.baseOf(at.name);
    // A move takes the old name away, which may have gone with its disk.
    const mayBeMissing = !isLink && !p.fileSystems.stand(at.root.name, fromPath);
    const isApart = isCopy || at.root.format.classify(fromPath, 'file').mailbox !== class_.mailbox;
    // Under both names it would be two messages: it waits until its disk can be seen again.
    if (mayBeMissing && class_.class === 'message' && !isApart) return 'held';
    const asLink = isLink || isApart || mayBeMissing;
    const place = { dir: making.writer.dir(at.root.name, at.dir), name: at.name };
    const from = { dir: making.writer.dir(at.root.name, fromDir), name: other.name };
    const where = { root: at.root.name, dir: at.dir, name: at.name, from: { dir: fromDir, name: other.name } };
    const seen = { wallMs: p.clock.wallMs(), immutable: at.immutable };
    const xattrs = attributesOf(p, at.root, joinPath(at.dir, at.name), stat);
    const entry = entrySeen(stat, other.entry.content, xattrsDigest(xattrs), 0, seen);
    const sameMeta = sameAttributes(other.entry, stat) && other.entry.xattrs.equals(entry.xattrs);
    p.unproven.prove(at.root.name, joinPath(at.dir, at.name));
    if (asLink) {
      p.index.put(making.layer, at.root.name, at.dirNumber, at.name, entry);
      p.meter.sent('link', 1, 0, stat.size);
      await making.writer.add({ op: 'link', at: place, from, base: other.entry.content }, where);
      if (!sameMeta) {
        await making.writer.add({ op: 'meta', at: place, meta: metaOf(stat, xattrs), base: entry.content }, where);
        await this.#otherNames(making, at, stat);
      }
      return 'done';
    }
    p.index.move(making.layer, at.root.name, other, { dir: at.dirNumber, name: at.name });
    p.index.put(making.layer, at.root.name, at.dirNumber, at.name, entry);
    p.meter.sent('move', 1, 0, stat.size);
    await making.writer.add(
      { op: 'move', at: place, from, base: other.entry.content, tree: false, ...(sameMeta ? {} : { meta: metaOf(stat, xattrs) }) },
      where,
    );
    if (!sameMeta) await this.#otherNames(making, at, stat);
    return 'done';
  }

  /**
   * The name under which the standby has a message whose flags changed here. Under both names at once it would be two
   * messages to the mail server, so the old one must go with the batch that brings the new one.
   */
  #oldName(at: FileAt, class_: Classified): FoundEntry | null {
    const { index, files } = this.#p;
    const base = at.root.format.baseOf(at.name);
    for (const sub of ['new', 'cur']) {
      const path = joinPath(class_.mailbox ?? '', sub);
      const dir = index.dirAt(at.root.name, path);
      if (dir === null) continue;
      for (const [name, entry] of index.entries(dir, { prefix: base })) {
        if (at.root.format.baseOf(name) !== base || (dir === at.dirNumber && name === at.name)) continue;
        if (!files.lstat(absolute(at.root, joinPath(path, name)))) return { dir, name, entry };
      }
    }
    return null;
  }

  /** Whether a name in the index is or was a name of the file that is here now. */
  #isSameFile(at: FileAt, other: FoundEntry, stat: Stat): boolean {
    const { index, files, clock, relived } = this.#p;
    if (!sameContent(other.entry, stat) || other.entry.btimeNs !== stat.btimeNs) return false;
    const isMessage = at.immutable && at.root.format.baseOf(other.name) === at.root.format.baseOf(at.name);
    if (!isMessage && (relived.has(stat.mtimeNs) || relived.has(stat.btimeNs))) return this.#hasContent(at, other.entry);
    if (stat.btimeNs !== 0n && !isRacy(stat.btimeNs + coarseNs(stat), clock.wallMs())) return true;
    const path = absolute(at.root, joinPath(index.pathOf(other.dir).path, other.name));
    return files.lstat(path)?.ino === stat.ino || this.#hasContent(at, other.entry);
  }

  /** Reads a file to see whether it is the one that the index knows; nothing of it is sent. */
  #hasContent(at: FileAt, entry: Entry): boolean {
    if (entry.size > limits.inlineFileBytesMax * 2) return false;
    const read = this.#p.files.readFile(absolute(at.root, joinPath(at.dir, at.name)), limits.inlineFileBytesMax * 2);
    return read !== null && createHash('sha256').update(read.data).digest().subarray(0, entry.content.length).equals(entry.content);
  }

  #unreadable(root: Root, path: BytePath, error: unknown): Outcome {
    switch (faultOf(error, 'reading')) {
      case 'us':
      case 'link':
        throw error;
      case 'gone':
        return 'later';
      case 'host':
        // Not this file's fault: all of them wait a little.
        this.#p.log.warn({ error: whyOf(error) }, 'files cannot be read now; trying again');
        return 'held';
      default:
        this.#p.unproven.add(root.name, path, `cannot be read: ${whyOf(error)}`);
        return 'unreadable';
    }
  }
}

/** A file that can go inside its op, whole; null for anything else, and for what cannot be read: a look says what that is. */
function readSmall(files: Files, path: BytePath): FileRead | null {
  try {
    const read = files.readFile(path, limits.inlineFileBytesMax);
    return read && read.data.length === read.stat.size ? read : null;
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return null;
  }
}
