import { createHash } from 'node:crypto';
import type { MessageOf } from '../../../protocol/messages.ts';
import type { MailboxMarks } from '../../mailstore/format.ts';
import { type BytePath, joinPath, type Stat, type Xattrs } from '../../platform/files.ts';
import { faultOf, ifKnown, whyOf } from '../fault.ts';
import { absolute, type Root } from '../root.ts';
import { pathOf, type FileAt } from './choose-content.ts';
import { isTooLarge, sendArrived, sendBytes } from './content.ts';
import { sameAttributes, sameContent, splitPath, type Making, type SendingParts } from './context.ts';
import type { Looker } from './look.ts';
import { inMemory } from './read-content.ts';

/** What became of trying to close a mailbox's commit group. */
export type SealOutcome =
  | { kind: 'sealed' }
  /** A transaction is open, or the files changed while they were read. */
  | { kind: 'busy' }
  /** Messages that the index names and nobody has looked at yet. */
  | { kind: 'first'; paths: BytePath[] }
  /** A file of the set cannot be read, which is in doubt by name: the mailbox is closed when it can. */
  | { kind: 'doubt' }
  /** Files of the set that are too large for a batch go ahead of it. */
  | { kind: 'transfer'; paths: BytePath[] }
  | { kind: 'held' };

interface SealFile {
  name: string;
  stat: Stat;
  data: Buffer;
  xattrs: Xattrs | null;
  order: number;
  /** Of a large uidlist that only grew: its header, its last old line and what is new; else the same as `data`. */
  news: Buffer;
}

/** A mailbox's files as they were read at one time. */
interface Snapshot {
  files: SealFile[];
  missing: string[];
  changed: boolean;
}

/** A mailbox's names are proven up to this UID: the names of lower lines were there once, and lines never change. */
interface Proven {
  uidValidity: number;
  uid: number;
}

/** Control and index files in roots of their own rest this long before they follow the messages. */
const restApartMs = 50;
const provenMax = 20_000;
const largeUidlistBytes = 64 * 1024;
/** A line of a uidlist is about this long. */
const uidlistLineBytes = 60;
const namesWalkedPerSearch = 16;
const newline = 0x0a;
const messageDirs = ['cur', 'new'] as const;
const noNames: ReadonlySet<string> = new Set();
/** A lock as old as this was left by a server that died: Dovecot itself overrides one after 120 seconds. */
const staleLockMs = 120_000;
/** A message that is gone, and that the index names all the same, goes after this time. */
const stayMs = 10_000;
/** What does not have the form that is expected, and stays so for this long, is of another version and goes as it is. */
const strangeMs = 2000;
/** The same for half a record at the end: a server that opens such a log for writing takes it for damaged. */
const tailMs = 60_000;
const sealFileBytesMax = 256 * 1024 * 1024;

/**
 * Closes commit groups (I6): the control and index files of a mailbox go to the standby only as a set that was read at
 * rest, index first and uidlist last, and only when every message that they name is there or goes along. Removals go
 * last, with the index that no longer names what they remove.
 */
export class Sealer {
  readonly #p: SendingParts;
  readonly #looker: Looker;
  readonly #proven = new Map<string, Proven>();
  /** What the index and the uidlist of a mailbox told of removals when it was last closed. */
  readonly #removals = new Map<string, string>();
  readonly #marks = new Map<string, string>();
  /** By mailbox: since when (monotonic milliseconds) its index names what is nowhere. */
  readonly #awaited = new Map<string, number>();
  /** By mailbox and path: since when (monotonic milliseconds) something that is gone here stays on the standby. */
  readonly #staying = new Map<string, ReadonlyMap<BytePath, number>>();
  /** By mailbox: what was read of it, while some of that goes ahead of its batch. */
  readonly #ahead = new Map<string, Snapshot>();
  #newMarks: MessageOf<'watermarks'>['items'] = [];

  constructor(parts: SendingParts, looker: Looker) {
    this.#p = parts;
    this.#looker = looker;
  }

  /** Marks of mailboxes that rose since the last call; they go ahead of the data. */
  takeMarks(): MessageOf<'watermarks'>['items'] {
    const marks = this.#newMarks;
    this.#newMarks = [];
    return marks;
  }

  /**
   * Whether a mailbox directory holds only what names messages, because the server keeps its control or index files in
   * a root of their own: 0 = no, its messages are here; 1 = it has the uidlist; 2 = it has only the index. What cannot be looked at
   * may be there: closing the mailbox then says why it cannot be read.
   */
  rankApart(root: Root, mailbox: BytePath): 0 | 1 | 2 {
    const dir = absolute(root, mailbox);
    const here = (name: string) => ifKnown(() => this.#p.files.lstat(`${dir}/${name}`)) !== null;
    if (here('cur') || here('new')) return 0;
    return here('dovecot-uidlist') ? 1 : 2;
  }

  /** Paths of the files that are a set with their mailbox. */
  files(root: Root, mailbox: BytePath): BytePath[] {
    const names = this.#p.files.readdir(absolute(root, mailbox)) ?? [];
    return names
      .filter(({ name, kind }) => kind === 'file' && root.format.sealOrder(name) !== null)
      .map(({ name }) => joinPath(mailbox, name));
  }

  /**
   * Whether the control or index files of a root of their own may go now: nothing that they could name may wait in
   * another root, and they must have rested long enough for its hints to have come.
   */
  mayFollow(root: Root, mailbox: BytePath, rank: 1 | 2): boolean {
    const p = this.#p;
    if (p.roots.some(({ name }) => name !== root.name && p.holds.stopping(name, mailbox))) return false;
    const nowMs = p.clock.monotonicMs();
    for (const change of p.changes.waiting()) {
      // What lies on a disk that is missing holds its own mailbox alone.
      if (change.root === root.name || p.holds.stopping(change.root, change.path)) continue;
      const other = p.roots.find(({ name }) => name === change.root);
      const class_ = other?.format.classify(change.path, null);
      // A file that does not rest holds its own mailbox alone, too.
      if (class_?.mailbox !== mailbox && p.lagging.has(change.root, change.path, nowMs)) continue;
      if (class_?.class !== 'index' && (rank === 2 || class_?.class !== 'control')) return false;
    }
    const stats = ifKnown(() => this.files(root, mailbox).map((path) => p.files.lstat(absolute(root, path))));
    return stats?.every((stat) => stat === null || this.#age(stat) > restApartMs) ?? true;
  }

  /** A new connection hears every mark again. */
  forgetMarks(): void {
    this.#marks.clear();
  }

  /** The mailbox's keywords file, ahead of messages whose names use its letters. */
  async keywords(making: Making, root: Root, mailbox: BytePath): Promise<void> {
    const path = joinPath(mailbox, 'dovecot-keywords');
    if (ifKnown(() => this.#p.files.lstat(absolute(root, path))) !== null) await this.#looker.look(making, root, path, true);
  }

  /**
   * `gone` are paths of the mailbox that vanished here. With `mayForce` a mailbox that does not rest is taken as it is:
   * messages and what its uidlist gained, but no index and nothing that the standby's index may name is taken away.
   */
  async seal(making: Making, root: Root, mailbox: BytePath, gone: readonly BytePath[], mayForce: boolean): Promise<SealOutcome> {
    if (this.#p.holds.stopping(root.name, mailbox)) return { kind: 'held' };
    try {
      return await this.#seal(making, root, mailbox, gone, mayForce);
    } catch (error) {
      switch (faultOf(error, 'reading')) {
        case 'us':
        case 'link':
          throw error;
        // Renamed or removed between two calls: a hint says where it is now.
        case 'gone':
        case 'host':
          return { kind: 'busy' };
        default:
          this.#p.unproven.add(root.name, this.#blamed(root, mailbox, error), `cannot be read: ${whyOf(error)}`, 'reading', mailbox);
          return { kind: 'doubt' };
      }
    }
  }

  /** The file that an error speaks of, where it says so; else the mailbox. */
  #blamed(root: Root, mailbox: BytePath, error: unknown): BytePath {
    const { path } = error as NodeJS.ErrnoException;
    const isHere = path !== undefined && path.startsWith(absolute(root, mailbox === '' ? '' : `${mailbox}/`));
    return isHere ? path.slice(root.path.length + 1) : mailbox;
  }

  /** All of the set could be read: what could not before is proven. Of its messages that says nothing. */
  #proveRead(root: Root, mailbox: BytePath, files: readonly SealFile[]): void {
    const { unproven } = this.#p;
    if (unproven.countOf('reading') === 0) return;
    unproven.mayBeRead(root.name, mailbox);
    for (const { name } of files) unproven.prove(root.name, joinPath(mailbox, name));
  }

  async #seal(making: Making, root: Root, mailbox: BytePath, gone: readonly BytePath[], mayForce: boolean): Promise<SealOutcome> {
    const p = this.#p;
    const key = `${root.name}\0${mailbox}`;
    if (!p.files.lstat(absolute(root, mailbox === '' ? '.' : mailbox))) {
      p.changes.record(root.name, mailbox, 'path', p.clock.monotonicMs());
      return { kind: 'busy' };
    }
    const ahead = this.#ahead.get(key);
    this.#ahead.delete(key);
    const snapshot = ahead ?? this.#read(root, mailbox, mayForce);
    if (snapshot === null) return { kind: 'busy' };
    const { files, missing, changed } = snapshot;
    if (!changed) this.#proveRead(root, mailbox, files);
    const force = mayForce && changed;
    this.#noteMarks(root, mailbox, files);
    const unnamed = this.#unseen(root, mailbox, files);
    if (unnamed === 'awaited' && !force) return { kind: 'busy' };
    if (unnamed !== 'awaited' && unnamed.length > 0) return { kind: 'first', paths: unnamed };
    if (changed && !force) return { kind: 'busy' };
    const renamed = this.#renamed(root, mailbox, gone);
    if (renamed.length > 0) return { kind: 'first', paths: renamed };
    const removals = this.#removalsIn(root, files);
    const isHeld = making.deletions.isHeld(root.name, mailbox);
    const removed = new Set([
      ...gone,
      ...this.#vanished(root, mailbox, removals, isHeld),
      ...missing.map((name) => joinPath(mailbox, name)),
    ]);
    // Without the index nothing goes: the one that the standby has may name it.
    const stillNamed = force || removed.size === 0 ? noNames : removals.indexed();
    const stays = (path: BytePath) =>
      (force || stillNamed.has(root.format.baseOf(splitPath(path).name))) && !this.#isTwice(root, mailbox, path);
    // Whoever flags a message to and fro makes the same names go again and again: only what stayed without a break counts.
    const stayed = this.#staying.get(key);
    const staying = new Map<BytePath, number>();
    const going: BytePath[] = [];
    const now = p.clock.monotonicMs();
    for (const path of removed) {
      // A message whose file is gone, and that the index read here names all the same, goes when the index says so too.
      const since = stayed?.get(path) ?? now;
      if (stays(path) && now - since < stayMs && this.#isGone(root, path)) staying.set(path, since);
      else going.push(path);
    }
    // The directory is gone or not there yet: its own change says so.
    if (files.length > 0 && p.index.dirAt(root.name, mailbox) === null) return { kind: 'busy' };
    if (this.#isRefused(root, mailbox, files, force)) return { kind: 'doubt' };
    const counted = making.losses.length;
    // An index that tells of removals waits with them, when they are held.
    if (!making.deletions.mayRemoveAll(making, root, mailbox, going)) return { kind: 'held' };
    const large = this.#goAhead(root, mailbox, files, force);
    if (large.length > 0) {
      // It is asked for again when the set goes: nothing is lost yet.
      for (const loss of making.losses.splice(counted)) p.guard.forgive(loss);
      // A set that changes all the time would never arrive as one: what goes ahead is what is used, if nothing forbids it then.
      this.#ahead.set(key, { ...snapshot, changed });
      return { kind: 'transfer', paths: large };
    }
    let isPutOff = false;
    for (const file of files.toSorted((a, b) => a.order - b.order)) {
      if (force && root.format.classify(joinPath(mailbox, file.name), 'file').class === 'index') continue;
      const at = this.#fileAt(root, mailbox, file.name);
      if (at === null) return { kind: 'busy' };
      // Written anew it may have lost lines, and the index that the standby has until this mailbox rests names them.
      if (force && root.format.isUidlist(file.name) && at.known && at.known.ino !== file.stat.ino) continue;
      if (at.known && !at.anew && sameContent(at.known, file.stat) && !p.relived.has(file.stat.mtimeNs)) {
        const isTrying = p.unproven.isTrying(root.name, joinPath(mailbox, file.name));
        if (!sameAttributes(at.known, file.stat) || at.known.ctimeNs !== file.stat.ctimeNs || isTrying) {
          const outcome = await this.#looker.look(making, root, joinPath(mailbox, file.name), true);
          isPutOff ||= outcome === 'later';
        }
        continue;
      }
      const stat = { ...file.stat, size: file.data.length };
      const arrived = ahead && p.transfers.arrivedBytes(root.name, pathOf(at), sha256(file.data));
      if (arrived) await sendArrived(p, making, at, arrived, stat, file.xattrs);
      else await sendBytes(p, making, at, stat, file.data, file.xattrs);
    }
    for (const path of going) {
      const outcome = await this.#looker.look(making, root, path, true);
      if (outcome === 'held') return { kind: 'held' };
      isPutOff ||= outcome === 'later';
    }
    if (this.#staying.size >= provenMax) this.#staying.clear();
    if (staying.size > 0) this.#staying.set(key, staying);
    else this.#staying.delete(key);
    // What went ahead is the past by now.
    if (force || ahead || staying.size > 0 || isPutOff) return { kind: 'busy' };
    if (this.#removals.size >= provenMax) this.#removals.clear();
    this.#removals.set(key, removals.told);
    return { kind: 'sealed' };
  }

  /**
   * Whether the standby cannot have one of the files that would go: then none of them does, because each is only right
   * beside the others. The mailbox is compared when that doubt is tried again.
   */
  #isRefused(root: Root, mailbox: BytePath, files: readonly SealFile[], force: boolean): boolean {
    const { unproven } = this.#p;
    if (unproven.countOf('place') === 0) return false;
    const refused = files.flatMap((file) => {
      const at = this.#fileAt(root, mailbox, file.name);
      return at !== null && this.#mustGo(at, file, force) && unproven.isBlocked(root.name, pathOf(at)) ? [pathOf(at)] : [];
    });
    for (const path of refused) unproven.comparesAgain(root.name, path, mailbox);
    return refused.length > 0;
  }

  /** Files of the set whose content has to arrive before the set can go; it is on its way then. */
  #goAhead(root: Root, mailbox: BytePath, files: readonly SealFile[], force: boolean): BytePath[] {
    const p = this.#p;
    const paths: BytePath[] = [];
    for (const file of files) {
      const at = this.#fileAt(root, mailbox, file.name);
      if (at === null || !this.#mustGo(at, file, force)) continue;
      if (p.transfers.arrivedBytes(root.name, pathOf(at), sha256(file.data))) continue;
      const stat = { ...file.stat, size: file.data.length };
      const tooLarge = isTooLarge(p, at, stat, file.data);
      if (!tooLarge) continue;
      p.transfers.addBytes(at, { ...tooLarge, stat, bytes: inMemory(file.data), readWallMs: p.clock.wallMs() });
      paths.push(pathOf(at));
    }
    return paths;
  }

  /** Whether a file of the set has to be sent for its content. */
  #mustGo(at: FileAt, file: SealFile, force: boolean): boolean {
    const { root, known } = at;
    if (force && root.format.classify(pathOf(at), 'file').class === 'index') return false;
    // Written anew it may have lost lines, and the index that the standby has until this mailbox rests names them.
    if (force && root.format.isUidlist(file.name) && known && known.ino !== file.stat.ino) return false;
    return !known || at.anew === true || !sameContent(known, file.stat) || this.#p.relived.has(file.stat.mtimeNs);
  }

  /** The standby has it, and it is not here. */
  #isGone(root: Root, path: BytePath): boolean {
    return this.#p.index.at(root.name, path) !== null && this.#p.files.lstat(absolute(root, path)) === null;
  }

  /** What the files tell of removed messages, and which messages the index still names. */
  #removalsIn(root: Root, files: readonly SealFile[]): { told: string; none: boolean; indexed(): ReadonlySet<string> } {
    const data = (name: string) => files.find((file) => file.name === name)?.data;
    const [log, log2] = [data('dovecot.index.log'), data('dovecot.index.log.2')];
    const removals = root.format.removals({ ...(log ? { log } : {}), ...(log2 ? { log2 } : {}) });
    // A uidlist is written anew when lines go; what is only appended to stays the same file.
    const uidlist = files.find((file) => root.format.isUidlist(file.name));
    return {
      told: `${uidlist?.stat.ino} ${removals?.told}`,
      none: removals?.none ?? true,
      indexed: () => (removals ? this.#named(root, files, (uid) => !removals.has(uid)) : noNames),
    };
  }

  /**
   * Messages that the standby has and that are gone here, whether or not a hint of it has come: an index that knows of
   * their removal must not be there without it. Looked for only when index or uidlist tell of removals, or when removals
   * are held, of which the ones before may have told.
   */
  #vanished(root: Root, mailbox: BytePath, { told, none }: { told: string; none: boolean }, isHeld: boolean): BytePath[] {
    const p = this.#p;
    const before = this.#removals.get(`${root.name}\0${mailbox}`);
    if (!isHeld && (before === told || (before === undefined && none))) return [];
    const here = this.#messagesHere(root, mailbox);
    const vanished: BytePath[] = [];
    for (const sub of messageDirs) {
      const dir = joinPath(mailbox, sub);
      const number = p.index.dirAt(root.name, dir);
      if (number === null) continue;
      for (const [name, entry] of p.index.entries(number)) {
        if (entry.kind === 'file' && !here.has(root.format.baseOf(name))) vanished.push(joinPath(dir, name));
      }
    }
    return vanished;
  }

  /**
   * Messages that the standby has under names that are gone here, while they are here under names that nobody has
   * looked at: they get the new name first, or their removal would leave what names them without a message.
   */
  #renamed(root: Root, mailbox: BytePath, gone: readonly BytePath[]): BytePath[] {
    const isOpen = (path: BytePath) => root.format.classify(path, 'file').immutable && this.#p.index.at(root.name, path) !== null;
    const open = gone.filter(isOpen);
    if (open.length === 0) return [];
    const here = this.#messagesHere(root, mailbox);
    // A new name that the standby has already is nothing to wait for: only the old one has to go.
    return open
      .flatMap((path) => here.get(root.format.baseOf(splitPath(path).name)) ?? [])
      .filter((path) => !this.#p.index.at(root.name, path) && !this.#p.unproven.isUnobtainable(root.name, path));
  }

  /** Whether the standby has a message under another name too, one that is there on this side: then this one is too many. */
  #isTwice(root: Root, mailbox: BytePath, path: BytePath): boolean {
    const base = root.format.baseOf(splitPath(path).name);
    return messageDirs.some((sub) => {
      const dir = joinPath(mailbox, sub);
      const number = this.#p.index.dirAt(root.name, dir);
      const names = number === null ? [] : [...this.#p.index.entries(number, { prefix: base })].map(([name]) => name);
      return names.some(
        (name) =>
          root.format.baseOf(name) === base && joinPath(dir, name) !== path && this.#p.files.lstat(absolute(root, joinPath(dir, name))),
      );
    });
  }

  /** Messages on the disk: path by name without flags. Once more through cur, because renames may hide one from a walk. */
  #messagesHere(root: Root, mailbox: BytePath): ReadonlyMap<string, BytePath> {
    const here = new Map<string, BytePath>();
    for (const sub of ['new', 'cur', 'cur']) {
      const dir = joinPath(mailbox, sub);
      for (const { name } of this.#p.files.readdir(absolute(root, dir)) ?? []) here.set(root.format.baseOf(name), joinPath(dir, name));
    }
    return here;
  }

  /** Reads the set; null while a transaction is open. All of it without giving way, so that little can change meanwhile. */
  #read(root: Root, mailbox: BytePath, force: boolean): Snapshot | null {
    const p = this.#p;
    const dir = absolute(root, mailbox);
    const lockNames = root.format.locks(mailbox);
    const locked = () => lockNames.some((name) => this.#isLock(`${dir}/${name}`));
    if (locked() && !force) return null;
    const names: { name: string; order: number }[] = [];
    for (const entry of p.files.readdir(dir) ?? []) {
      const order = entry.kind === 'file' ? root.format.sealOrder(entry.name) : null;
      if (order !== null) names.push({ name: entry.name, order });
    }
    names.sort((a, b) => a.order - b.order);
    const before = new Map(names.map(({ name }) => [name, p.files.lstat(`${dir}/${name}`)]));
    const files: SealFile[] = [];
    let changed = false;
    for (const { name } of names) {
      const read = p.files.readFile(`${dir}/${name}`, sealFileBytesMax);
      if (!read || read.data.length !== read.stat.size) {
        changed = true;
        continue;
      }
      const news = root.format.isUidlist(name) ? this.#news(root, mailbox, name, read.data) : read.data;
      const unchanged = read.data.length - news.length;
      const whole = root.format.wholeLength(name, news);
      // Half a record is a moment of writing; what stays so is what the server itself sees, and goes as it is.
      const settled = this.#age(read.stat) > (whole.ok ? tailMs : strangeMs);
      if (!whole.ok && !settled) changed = true;
      const length = whole.ok && !settled ? unchanged + whole.length : read.data.length;
      files.push({
        name,
        stat: read.stat,
        data: read.data.subarray(0, length),
        xattrs: read.xattrs,
        news: news.subarray(0, length - unchanged),
        order: root.format.classify(joinPath(mailbox, name), 'file').applyOrder,
      });
      if (length !== read.data.length) changed = true;
    }
    for (const [name, stat] of before) {
      const now = p.files.lstat(`${dir}/${name}`);
      if (!stat || !now || now.ino !== stat.ino || now.size !== stat.size || now.mtimeNs !== stat.mtimeNs) changed = true;
    }
    if (locked()) changed = true;
    return { files, missing: this.#missing(root, mailbox, before), changed };
  }

  #isLock(path: BytePath): boolean {
    const stat = this.#p.files.lstat(path);
    return stat !== null && this.#age(stat) < staleLockMs;
  }

  /** Milliseconds since a file was changed. A time to come was written under a clock that was set back: also long ago. */
  #age(stat: Stat): number {
    return Math.abs(this.#p.clock.wallMs() - Number(stat.mtimeNs / 1_000_000n));
  }

  /**
   * What has to be looked at of a uidlist. A large one that only grew was checked, and its messages sent, when its
   * beginning was: of that only the header and the last line count, which has the highest UID.
   */
  #news(root: Root, mailbox: BytePath, name: string, data: Buffer): Buffer {
    const known = this.#fileAt(root, mailbox, name)?.known;
    if (
      !known ||
      known.content.length === 0 ||
      known.size < largeUidlistBytes ||
      data.length < known.size ||
      data[known.size - 1] !== newline
    )
      return data;
    const prefix = createHash('sha256').update(data.subarray(0, known.size)).digest();
    if (!prefix.subarray(0, known.content.length).equals(known.content)) return data;
    const header = data.subarray(0, data.indexOf(newline) + 1);
    const lastLine = data.lastIndexOf(newline, known.size - 2) + 1;
    return lastLine <= header.length ? data : Buffer.concat([header, data.subarray(lastLine)]);
  }

  /** Names of the set that the standby has and that are gone here. */
  #missing(root: Root, mailbox: BytePath, present: ReadonlyMap<string, unknown>): string[] {
    const dirNumber = this.#p.index.dirAt(root.name, mailbox);
    if (dirNumber === null) return [];
    const missing: string[] = [];
    for (const prefix of root.format.sealPrefixes) {
      for (const [name, entry] of this.#p.index.entries(dirNumber, { prefix })) {
        if (entry.kind === 'file' && root.format.sealOrder(name) !== null && !present.has(name)) missing.push(name);
      }
    }
    return missing;
  }

  #fileAt(root: Root, mailbox: BytePath, name: string): FileAt | null {
    const dirNumber = this.#p.index.dirAt(root.name, mailbox);
    if (dirNumber === null) return null;
    const anew = this.#p.unproven.isTrying(root.name, joinPath(mailbox, name), 'content');
    return { root, dir: mailbox, name, dirNumber, known: this.#p.index.get(dirNumber, name), immutable: false, anew };
  }

  /** Messages that the uidlist names, that exist here, and that the standby neither has nor gets with this batch; `awaited` when it is to be asked again. */
  #unseen(root: Root, mailbox: BytePath, files: readonly SealFile[]): BytePath[] | 'awaited' {
    const p = this.#p;
    const uidlist = files.find((file) => root.format.isUidlist(file.name));
    if (!uidlist) return [];
    const marks = root.format.marks({ uidlist: uidlist.news });
    const key = `${root.name}\0${mailbox}`;
    const proven = this.#proven.get(key);
    const from = proven && proven.uidValidity === marks?.uidValidity ? proven.uid : 0;
    const dirs = ['cur', 'new'].map((name) => ({ name, number: p.index.dirAt(root.name, joinPath(mailbox, name)) }));
    const wanted = new Set<string>();
    let last = from;
    for (const { uid, base } of root.format.namedMessages(uidlist.news)) {
      last = Math.max(last, uid);
      if (uid > from) wanted.add(base);
    }
    // Where a good part of the mailbox is new, one walk through its names is cheaper than a search for each.
    const walk = wanted.size * namesWalkedPerSearch * uidlistLineBytes > uidlist.data.length;
    for (const { number } of dirs) {
      if (number === null) continue;
      if (walk) for (const [name] of p.index.entries(number)) wanted.delete(root.format.baseOf(name));
      else for (const base of wanted) if (this.#has(number, root, base)) wanted.delete(base);
    }
    const paths: BytePath[] = [];
    // Messages are renamed from new to cur and inside cur meanwhile, which may hide them from a walk: a second one finds them.
    for (const name of ['new', 'cur', 'cur']) {
      if (wanted.size === 0) break;
      for (const entry of p.files.readdir(absolute(root, joinPath(mailbox, name))) ?? []) {
        if (!wanted.delete(root.format.baseOf(entry.name))) continue;
        // One message that cannot be had must not keep all others of its mailbox: a server drops its line.
        const path = joinPath(mailbox, joinPath(name, entry.name));
        if (!p.unproven.isUnobtainable(root.name, path)) paths.push(path);
      }
    }
    if (paths.length === 0 && this.#isAwaited(root, mailbox, files, wanted)) return 'awaited';
    if (paths.length === 0 && marks) {
      if (this.#proven.size >= provenMax) this.#proven.clear();
      this.#proven.set(key, { uidValidity: marks.uidValidity, uid: last });
    }
    return paths;
  }

  /**
   * Whether some of the messages that are nowhere, neither here nor on the standby, are named by the index: their files
   * have just gone, and the server is about to tell the index so. Not for ever.
   */
  #isAwaited(root: Root, mailbox: BytePath, files: readonly SealFile[], nowhere: ReadonlySet<string>): boolean {
    const key = `${root.name}\0${mailbox}`;
    const indexed = nowhere.size > 0 ? this.#removalsIn(root, files).indexed() : noNames;
    const now = this.#p.clock.monotonicMs();
    const since = this.#awaited.get(key) ?? now;
    if (now - since >= stayMs || ![...nowhere].some((base) => indexed.has(base))) {
      this.#awaited.delete(key);
      return false;
    }
    if (this.#awaited.size >= provenMax) this.#awaited.clear();
    this.#awaited.set(key, since);
    return true;
  }

  #has(dir: number, root: Root, base: string): boolean {
    for (const [name] of this.#p.index.entries(dir, { prefix: base })) if (root.format.baseOf(name) === base) return true;
    return false;
  }

  /** Messages that the uidlist names, of those whose UID `fits`. */
  #named(root: Root, files: readonly SealFile[], fits: (uid: number) => boolean): ReadonlySet<string> {
    const names = new Set<string>();
    const uidlist = files.find((file) => root.format.isUidlist(file.name));
    if (uidlist) for (const { uid, base } of root.format.namedMessages(uidlist.data)) if (fits(uid)) names.add(base);
    return names;
  }

  #noteMarks(root: Root, mailbox: BytePath, files: readonly SealFile[]): void {
    const data: { uidlist?: Buffer; index?: Buffer; log?: Buffer; log2?: Buffer } = {};
    for (const file of files) {
      if (root.format.isUidlist(file.name)) data.uidlist = file.news;
      if (file.name === 'dovecot.index') data.index = file.data;
      if (file.name === 'dovecot.index.log') data.log = file.data;
      if (file.name === 'dovecot.index.log.2') data.log2 = file.data;
    }
    const marks: MailboxMarks | null = root.format.marks(data);
    if (!marks) return;
    const key = `${root.name}\0${mailbox}`;
    const text = `${marks.uidValidity} ${marks.uidNext} ${marks.highestModseq}`;
    if (this.#marks.get(key) === text) return;
    this.#marks.set(key, text);
    this.#newMarks.push([root.name, mailbox, marks.uidValidity, marks.uidNext, marks.highestModseq]);
  }

  /** The index no longer holds what it held: everything has to be proven again. */
  forgetProven(): void {
    this.#proven.clear();
    this.#removals.clear();
    this.#ahead.clear();
  }
}

function sha256(data: Buffer): Buffer {
  return createHash('sha256').update(data).digest();
}
