import { createHash } from 'node:crypto';
import type { MessageOf } from '../../../protocol/messages.ts';
import type { MailboxMarks } from '../../mailstore/format.ts';
import { type BytePath, errnoCode, joinPath, type Stat, type Xattrs } from '../../platform/files.ts';
import { absolute, type Root } from '../root.ts';
import { sendBytes, type FileAt } from './content.ts';
import { sameAttributes, sameContent, splitPath, type Making, type PrimaryParts } from './context.ts';
import type { Looker } from './look.ts';

/** What became of trying to close a mailbox's commit group. */
export type SealOutcome =
  | { kind: 'sealed' }
  /** A transaction is open, or the files changed while they were read. */
  | { kind: 'busy' }
  /** Messages that the index names and nobody has looked at yet. */
  | { kind: 'first'; paths: BytePath[] }
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
  readonly #p: PrimaryParts;
  readonly #looker: Looker;
  readonly #proven = new Map<string, Proven>();
  /** What the index and the uidlist of a mailbox told of removals when it was last closed. */
  readonly #removals = new Map<string, string>();
  readonly #marks = new Map<string, string>();
  /** By mailbox: since when (monotonic milliseconds) its index names what is nowhere. */
  readonly #awaited = new Map<string, number>();
  /** By mailbox and path: since when (monotonic milliseconds) something that is gone here stays on the standby. */
  readonly #staying = new Map<string, ReadonlyMap<BytePath, number>>();
  #newMarks: MessageOf<'watermarks'>['items'] = [];

  constructor(parts: PrimaryParts, looker: Looker) {
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
   * a root of their own: 0 = no, its messages are here; 1 = it has the uidlist; 2 = it has only the index.
   */
  rankApart(root: Root, mailbox: BytePath): 0 | 1 | 2 {
    const dir = absolute(root, mailbox);
    const here = (name: string) => this.#p.files.lstat(`${dir}/${name}`) !== null;
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
    for (const change of p.changes.waiting()) {
      if (change.root === root.name) continue;
      const other = p.roots.find(({ name }) => name === change.root);
      const class_ = other?.format.classify(change.path, null).class;
      if (class_ !== 'index' && (rank === 2 || class_ !== 'control')) return false;
    }
    const times = this.files(root, mailbox).map((path) => p.files.lstat(absolute(root, path))?.mtimeNs ?? 0n);
    const newest = times.reduce((a, b) => (a > b ? a : b), 0n);
    return p.clock.wallMs() - Number(newest / 1_000_000n) > restApartMs;
  }

  /** A new connection hears every mark again. */
  forgetMarks(): void {
    this.#marks.clear();
  }

  /** The mailbox's keywords file, ahead of messages whose names use its letters. */
  async keywords(making: Making, root: Root, mailbox: BytePath): Promise<void> {
    const path = joinPath(mailbox, 'dovecot-keywords');
    if (this.#p.files.lstat(absolute(root, path))) await this.#looker.look(making, root, path, true);
  }

  /**
   * `gone` are paths of the mailbox that vanished here. With `mayForce` a mailbox that does not rest is taken as it is:
   * messages and what its uidlist gained, but no index and nothing that the standby's index may name is taken away.
   */
  async seal(making: Making, root: Root, mailbox: BytePath, gone: readonly BytePath[], mayForce: boolean): Promise<SealOutcome> {
    try {
      return await this.#seal(making, root, mailbox, gone, mayForce);
    } catch (error) {
      const code = errnoCode(error);
      // Renamed or removed between two calls: a hint says where it is now.
      if (code === 'ENOENT' || code === 'ENOTDIR') return { kind: 'busy' };
      if (code !== 'EACCES' && code !== 'EPERM' && code !== 'EIO' && code !== 'E2BIG') throw error;
      this.#p.unproven.add(root.name, mailbox, `cannot be read: ${code}`);
      return { kind: 'busy' };
    }
  }

  async #seal(making: Making, root: Root, mailbox: BytePath, gone: readonly BytePath[], mayForce: boolean): Promise<SealOutcome> {
    const p = this.#p;
    if (!p.files.lstat(absolute(root, mailbox === '' ? '.' : mailbox))) {
      p.changes.record(root.name, mailbox, 'path', p.clock.monotonicMs());
      return { kind: 'busy' };
    }
    const snapshot = this.#read(root, mailbox, mayForce);
    if (snapshot === null) return { kind: 'busy' };
    const { files, missing, changed } = snapshot;
    const force = mayForce && changed;
    this.#noteMarks(root, mailbox, files);
    const unnamed = this.#unseen(root, mailbox, files);
    if (unnamed === 'awaited' && !force) return { kind: 'busy' };
    if (unnamed !== 'awaited' && unnamed.length > 0) return { kind: 'first', paths: unnamed };
    if (changed && !force) return { kind: 'busy' };
    const renamed = this.#renamed(root, mailbox, gone);
    if (renamed.length > 0) return { kind: 'first', paths: renamed };
    const removals = this.#removalsIn(root, files);
    const removed = new Set([...gone, ...this.#vanished(root, mailbox, removals), ...missing.map((name) => joinPath(mailbox, name))]);
    // Without the index nothing goes: the one that the standby has may name it.
    const stillNamed = force || removed.size === 0 ? noNames : removals.indexed();
    const stays = (path: BytePath) =>
      (force || stillNamed.has(root.format.baseOf(splitPath(path).name))) && !this.#isTwice(root, mailbox, path);
    const key = `${root.name}\0${mailbox}`;
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
    // An index that tells of removals waits with them, when they are held.
    const goneFiles = going.filter((path) => this.#isGone(root, path)).length;
    if (goneFiles > 0 && !p.guard.allows(root.name, goneFiles, p.index.totals(root.name).files, now)) return { kind: 'held' };
    for (const file of files.toSorted((a, b) => a.order - b.order)) {
      if (force && root.format.classify(joinPath(mailbox, file.name), 'file').class === 'index') continue;
      const at = this.#fileAt(root, mailbox, file.name);
      // The directory is gone or not there yet: its own change says so.
      if (at === null) return { kind: 'busy' };
      // Written anew it may have lost lines, and the index that the standby has until this mailbox rests names them.
      if (force && root.format.isUidlist(file.name) && at.known && at.known.ino !== file.stat.ino) continue;
      if (at.known && sameContent(at.known, file.stat) && !p.relived.has(file.stat.mtimeNs)) {
        if (!sameAttributes(at.known, file.stat) || at.known.ctimeNs !== file.stat.ctimeNs)
          await this.#looker.look(making, root, joinPath(mailbox, file.name), true);
      } else await sendBytes(p, making, at, { ...file.stat, size: file.data.length }, file.data, file.xattrs);
    }
    for (const path of going) {
      const outcome = await this.#looker.look(making, root, path, true);
      if (outcome === 'held') return { kind: 'held' };
    }
    if (this.#staying.size >= provenMax) this.#staying.clear();
    if (staying.size > 0) this.#staying.set(key, staying);
    else this.#staying.delete(key);
    if (force || staying.size > 0) return { kind: 'busy' };
    if (this.#removals.size >= provenMax) this.#removals.clear();
    this.#removals.set(key, removals.told);
    return { kind: 'sealed' };
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
   * their removal must not be there without it. Looked for only when index or uidlist tell of removals.
   */
  #vanished(root: Root, mailbox: BytePath, { told, none }: { told: string; none: boolean }): BytePath[] {
    const p = this.#p;
    const before = this.#removals.get(`${root.name}\0${mailbox}`);
    if (before === told || (before === undefined && none)) return [];
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
      .filter((path) => !this.#p.index.at(root.name, path));
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
  #read(root: Root, mailbox: BytePath, force: boolean): { files: SealFile[]; missing: string[]; changed: boolean } | null {
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
    return { root, dir: mailbox, name, dirNumber, known: this.#p.index.get(dirNumber, name), immutable: false };
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
        if (wanted.delete(root.format.baseOf(entry.name))) paths.push(joinPath(mailbox, joinPath(name, entry.name)));
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
  }
}
