import { createHash } from 'node:crypto';
import { limits } from '../../../protocol/limits.ts';
import type { Change } from '../../journal/changes.ts';
import type { Entry } from '../../journal/entry.ts';
import { metaKey } from '../../journal/keys.ts';
import type { FoundEntry } from '../../journal/replica-index.ts';
import { displayPath, errnoCode, joinPath, type BytePath } from '../../platform/files.ts';
import { absolute, type Root } from '../root.ts';
import type { FileAt } from './choose-content.ts';
import { sameContent, type Making, type PrimaryParts } from './context.ts';
import { guardWindowMs, type GuardRecord, type LossKind, type Tripped } from './guard.ts';
import { HeldDeletions, type HeldDeletion } from './held-deletions.ts';
import { Losses, unitOf } from './losses.ts';
import { Recent } from './recent.ts';

/** What a person let go. */
export interface ReleasedDeletion {
  root: string;
  path: BytePath;
  files: number;
}

/** A change of content, as the guard sees it. Bytes. */
export interface Rewrite {
  oldSize: number;
  /** Of the old content, as far as it stays: an appended tail keeps all of it. */
  kept: number;
  content: Buffer;
}

/** Too much of a root would be lost, and its other half may still be found. Monotonic milliseconds. */
interface Doubt {
  since: number;
  /** The last change that was told before the doubt began; null until the watcher has told all. */
  toldAt: number | null;
  lookedAt: number;
  /** From here on what is too much is held at once. */
  settledAt: number | null;
}

type HistoryPlace = [root: string, path: BytePath, backMs: number, aheadMs: number];

const recordKey = metaKey('guard-window');
/** A deletion that is too much is held only when what may be its other half has been looked at, for at least and at most this long. */
const doubtMsMin = 500;
const doubtMsMax = 60_000;
const doubtLookMs = 100;
/** And so long after that, what is too much is held at once. */
const settledMs = 60_000;
const firstCheckMs = 1000;
const checkMsMin = 5000;
/** Counting what is held again takes this share of the time at most. */
const checkShare = 0.05;
const allowMs = 10 * 60_000;
/** What goes late, because a connection was down, still belongs to it. */
const historyAheadMs = 60 * 60_000;
const tellEveryMs = 10 * 60_000;
const rewritesMax = 50_000;
const filesBetweenYields = 200;
const readBytes = 1024 * 1024;

/**
 * Decides whether something may be taken from the standby. A deletion that would lose too much is held at its place, alone,
 * until a person allows it or the files are back; it outlives restarts.
 */
export class Deletions {
  readonly losses: Losses;
  readonly #p: PrimaryParts;
  readonly #held = new HeldDeletions();
  /** Files whose new content was held, by place; in a place with all below it they are found without. */
  readonly #rewrites = new Map<string, Set<BytePath>>();
  /** Files whose rewriting was let go within the window: each counts once. */
  readonly #rewritten = new Recent<true>(guardWindowMs, rewritesMax);
  readonly #doubts = new Map<string, Doubt>();
  #saved = '';
  #toldAtMs = 0;
  /** Whether something from before a change is still to be looked at, which may be where the content is now. */
  isOpen: (seq: number) => boolean = () => false;
  /** Resolves when all changes made before the call have been recorded. */
  barrier: ((timeoutMs: number) => Promise<void>) | null = null;
  /** A place is held from now on, or released. */
  onHeld: () => void = () => {};

  constructor(parts: PrimaryParts) {
    this.#p = parts;
    this.losses = new Losses(parts);
    this.losses.isHolding = () => this.#held.list().length > 0;
    this.#restore();
  }

  list(): readonly HeldDeletion[] {
    return this.#held.list();
  }

  /** Whether a mailbox's own deletions are held. */
  isHeld(root: string, unit: BytePath): boolean {
    return this.#held.covering(root, unit) !== null;
  }

  /** Whether a directory is held with all below it, or something in it is. */
  isHeldTree(root: string, path: BytePath): boolean {
    return this.#held.blockingTree(root, path) !== null;
  }

  /** Asks whether a path that is gone may go from the standby, with all below it; `lost` is what that would lose. */
  mayRemove(making: Making, root: Root, path: BytePath, { entry }: FoundEntry, lost: readonly Entry[]): boolean {
    if (lost.length === 0) return true;
    if (entry.kind !== 'dir') return this.#ask(making, root, unitOf(root, path), 'gone', lost);
    if (this.#held.blockingTree(root.name, path)) return false;
    return this.#ask(making, root, path, 'gone', lost, true);
  }

  /** The same for messages and files of one mailbox that go together. */
  mayRemoveAll(making: Making, root: Root, mailbox: BytePath, paths: readonly BytePath[]): boolean {
    const lost: Entry[] = [];
    for (const path of paths) {
      if (this.#p.holds.blocking(root.name, path, 'mass-delete')) return false;
      const found = this.#p.index.at(root.name, path);
      if (found && lstatOrNull(this.#p, absolute(root, path)) === null && this.losses.isLost(root, path, found, path))
        lost.push(found.entry);
    }
    return lost.length === 0 || this.#ask(making, root, mailbox, 'gone', lost);
  }

  /**
   * Asks whether a file's content may be replaced. Losing most of it is as bad as losing the file: a message never changes,
   * and of any other file more than half must stay.
   */
  mayReplace(making: Making, at: FileAt, rewrite: Rewrite): boolean {
    const { root, known } = at;
    const path = joinPath(at.dir, at.name);
    if (known?.kind !== 'file' || known.size === 0) return true;
    const isMessage = root.format.classify(path, 'file').class === 'message';
    if (!isMessage && rewrite.kept * 2 >= rewrite.oldSize) return true;
    const key = `${root.name}\0${path}`;
    const now = this.#p.clock.monotonicMs();
    const unit = unitOf(root, path);
    if (this.losses.wasLost(rewrite.content)) return true;
    if (this.#rewritten.get(key, now) && !this.isHeld(root.name, unit)) return true;
    if (!this.losses.isLost(root, path, { dir: at.dirNumber, name: at.name, entry: known }, path)) return true;
    if (this.#ask(making, root, unit, 'rewritten', [known])) {
      this.#rewritten.set(key, true, now);
      return true;
    }
    const held = this.#held.covering(root.name, unit);
    if (held && !held.deep) this.#noteRewrite(held, path);
    return false;
  }

  #noteRewrite({ root, place }: HeldDeletion, path: BytePath): void {
    const key = `${root}\0${place}`;
    const paths = this.#rewrites.get(key) ?? new Set();
    this.#rewrites.set(key, paths);
    if (paths.size < rewritesMax) paths.add(path);
  }

  #ask(making: Making, root: Root, place: BytePath, kind: LossKind, lost: readonly Entry[], deep = false): boolean {
    const { guard, index, clock } = this.#p;
    if (this.#held.covering(root.name, place)) return false;
    const of = index.totals(root.name).files;
    const verdict = guard.ask(root.name, place, kind, lost.length, of, clock.monotonicMs(), this.losses.isFilling());
    if (verdict.goes) {
      making.losses.push(verdict.loss);
      this.losses.counted(root, lost);
      return true;
    }
    if (this.#isSettled(root.name)) this.#hold(root.name, place, deep, lost.length, verdict.tripped);
    return false;
  }

  /**
   * Too much would be lost. Before it is held, what was told until now is looked at: the content may be there under a
   * name that nobody has looked at yet.
   */
  #isSettled(root: string): boolean {
    const now = this.#p.clock.monotonicMs();
    let doubt = this.#doubts.get(root);
    if (!doubt || (doubt.settledAt !== null && now - doubt.settledAt > settledMs)) {
      const begun: Doubt = { since: now, toldAt: null, lookedAt: 0, settledAt: null };
      this.#doubts.set(root, (doubt = begun));
      const told = () => {
        begun.toldAt = this.#p.changes.head;
      };
      if (this.barrier) this.barrier(doubtMsMax).then(told, told);
      else told();
    }
    if (doubt.settledAt !== null) return true;
    const age = now - doubt.since;
    if (age < doubtMsMin) return false;
    if (age < doubtMsMax) {
      if (doubt.toldAt === null || now - doubt.lookedAt < doubtLookMs) return false;
      doubt.lookedAt = now;
      if (this.isOpen(doubt.toldAt)) return false;
    }
    doubt.settledAt = now;
    return true;
  }

  #hold(root: string, place: BytePath, deep: boolean, files: number, tripped: Tripped): void {
    const { clock, log } = this.#p;
    const now = clock.monotonicMs();
    const deletion: HeldDeletion = { root, place, deep, files, tripped, sinceMs: now, nextCheckMs: now + firstCheckMs };
    log.warn({ root, place: displayPath(place), held: files, ...tripped }, 'a mass deletion is held until a person allows it');
    for (const replaced of this.#held.hold(deletion)) {
      this.#p.holds.letGo({ root, path: replaced.place, code: 'mass-delete' });
      this.#resume(replaced);
    }
    this.#show();
    this.save();
    this.onHeld();
  }

  #show(): void {
    for (const held of this.#held.list()) {
      const { root, place, files, tripped, sinceMs } = held;
      const lost =
        tripped.files > tripped.of
          ? `${show(tripped.files)} files of root ${root}, which had ${show(tripped.of)} before,`
          : `${show(tripped.files)} of ${show(tripped.of)} files of root ${root}`;
      const within = `${lost} would be lost within 10 minutes (limit ${this.#limitText(tripped)})`;
      const name = displayPath(joinPath(root, place));
      this.#p.holds.hold({
        root,
        path: place,
        code: 'mass-delete',
        detail: `the deletion of ${show(files)} ${files === 1 ? 'file' : 'files'} is held: ${within}; everything else goes on`,
        remedy: `look whether the mail store is intact; if the deletion is wanted, run \`mailtwin allow-delete ${quoted(name)}\` on this node`,
        sinceMs,
      });
    }
  }

  #limitText({ limit, by }: Tripped): string {
    const { share, filesMin } = this.#p.guard.limits;
    const files = `${show(limit)} files`;
    if (by === 'small') return `${files}, half of so small a root`;
    if (by === 'small-place') return `${files} in one place of so small a root`;
    return limit > filesMin ? `${show(share * 100)} %` : files;
  }

  /** Sets a change aside that a held deletion keeps from being done. False when no held deletion does. */
  absorb(change: Change): boolean {
    const held = this.#holding(change.root, change.path);
    if (held) this.#p.changes.hold(change, held.place);
    return held !== null;
  }

  /** The same for a path that a comparison found, which is part of the change that asked for it. */
  absorbPart(partOf: Change, path: BytePath): boolean {
    const held = this.#holding(partOf.root, path);
    if (held) this.#p.changes.holdPart(partOf, held.place);
    return held !== null;
  }

  #holding(rootName: string, path: BytePath): HeldDeletion | null {
    const root = this.#p.roots.find(({ name }) => name === rootName);
    if (!root || this.#p.holds.blocking(rootName, path, 'mass-delete')) return null;
    return this.#held.covering(rootName, unitOf(root, path)) ?? this.#held.blockingTree(rootName, path);
  }

  /** Places whose deletions a standby's history keeps for the whole time: those that are held, and those that are allowed. */
  historyPlaces(): HistoryPlace[] {
    const { clock, guard } = this.#p;
    const now = clock.monotonicMs();
    const held = this.#held.list().map(({ root, place, sinceMs }) => ({ root, place, backMs: guardWindowMs + now - sinceMs }));
    const allowed = guard.allowances(now).map(({ root, place }) => ({ root, place, backMs: guardWindowMs }));
    const own = [...held, ...allowed].map(({ root, place, backMs }): HistoryPlace => [root, place, Math.floor(backMs), historyAheadMs]);
    // What went until the limit was reached belongs to the same deletion.
    const before = [...new Set(own.map(([root]) => root))].flatMap((root) =>
      guard.places(root, now).map((place): HistoryPlace => [root, place, guardWindowMs, 0]),
    );
    const all = [...own, ...before];
    if (all.length <= limits.historyPlacesMax) return all;
    return [...new Set(all.map(([root]) => root))]
      .map((root): HistoryPlace => [root, '', guardWindowMs, 0])
      .concat(own)
      .slice(0, limits.historyPlacesMax);
  }

  /** Counts again what is due, in the background: what has come back, or turned up elsewhere, is held no longer. */
  async check(): Promise<void> {
    const { clock, log, guard, index, roots } = this.#p;
    if (clock.monotonicMs() - this.#toldAtMs > tellEveryMs) {
      this.#toldAtMs = clock.monotonicMs();
      this.onHeld();
    }
    if (!this.losses.isFilling()) for (const { name } of roots) guard.noteSize(name, index.totals(name).files, clock.monotonicMs());
    for (const held of this.#held.list()) {
      const began = clock.monotonicMs();
      if (began < held.nextCheckMs) continue;
      const files = await this.#count(held);
      const now = clock.monotonicMs();
      held.nextCheckMs = now + Math.max(checkMsMin, (now - began) / checkShare);
      if (this.#held.covering(held.root, held.place) !== held) continue;
      if (files === 0) {
        log.info({ root: held.root, place: displayPath(held.place) }, 'what was to be deleted is there again; the hold ends');
        this.#letGo(held);
      } else if (files !== held.files) {
        held.files = files;
        this.#show();
      }
    }
  }

  /** Files that a held deletion would lose now. */
  async #count(held: HeldDeletion): Promise<number> {
    const { index, clock } = this.#p;
    const root = this.#p.roots.find(({ name }) => name === held.root);
    if (!root) return 0;
    let files = 0;
    let seen = 0;
    const isMissing = (path: BytePath) => lstatOrNull(this.#p, absolute(root, path)) === null;
    const rewrites = this.#rewrites.get(`${held.root}\0${held.place}`);
    // Below a directory that is gone nothing has to be looked for.
    const walk = async (dirPath: BytePath, dir: number, isAway: boolean): Promise<void> => {
      for (const [name, entry] of index.entries(dir)) {
        const path = joinPath(dirPath, name);
        if (++seen % filesBetweenYields === 0) await clock.yield();
        if (entry.kind === 'dir') {
          // A mailbox's own deletions are those of its messages; folders inside are places of their own.
          if (held.deep || unitOf(root, joinPath(path, 'x')) === held.place) await walk(path, entry.dir, isAway || isMissing(path));
        } else if (isAway) {
          if (this.losses.isLost(root, path, { dir, name, entry }, path)) files++;
        } else if (await this.#isGone(root, path, { dir, name, entry }, held.deep || (rewrites?.has(path) ?? false))) files++;
      }
    };
    const dir = index.dirAt(held.root, held.place);
    if (dir !== null) await walk(held.place, dir, held.place !== '' && isMissing(held.place));
    return files;
  }

  async #isGone(root: Root, path: BytePath, found: FoundEntry, mayBeRewritten: boolean): Promise<boolean> {
    const stat = lstatOrNull(this.#p, absolute(root, path));
    if (stat === undefined) return false;
    if (stat === null) return this.losses.isLost(root, path, found, path);
    if (!mayBeRewritten || found.entry.kind !== 'file' || (stat.kind === 'file' && sameContent(found.entry, stat))) return false;
    if (!this.losses.isLost(root, path, found, path)) return false;
    const content = await this.#contentOf(root, path);
    if (content === null) return true;
    return !content.subarray(0, found.entry.content.length).equals(found.entry.content) && !this.losses.wasLost(content);
  }

  /** SHA-256 of a file as it is now; null when it would not hold still or cannot be read. */
  async #contentOf(root: Root, path: BytePath): Promise<Buffer | null> {
    const { files, clock } = this.#p;
    try {
      const fd = files.openRead(absolute(root, path));
      if (fd === null) return null;
      try {
        const { size } = files.fstat(fd);
        const hash = createHash('sha256');
        const buffer = Buffer.allocUnsafe(Math.min(readBytes, Math.max(1, size)));
        for (let at = 0; at < size;) {
          const got = files.read(fd, buffer, 0, buffer.length, at);
          if (got === 0) return null;
          hash.update(buffer.subarray(0, got));
          at += got;
          if (at < size) await clock.yield();
        }
        return hash.digest();
      } finally {
        files.close(fd);
      }
    } catch (error) {
      if (errnoCode(error) === undefined) throw error;
      return null;
    }
  }

  /** A person wants what is held at a place now to go: these files, for ten minutes, and no others. */
  async allow(held: HeldDeletion): Promise<ReleasedDeletion> {
    const { guard, clock, log } = this.#p;
    const files = await this.#count(held);
    guard.allow(held.root, held.place, held.deep, files, allowMs, clock.monotonicMs());
    log.warn({ root: held.root, place: displayPath(held.place), files }, 'a held deletion was allowed');
    this.onHeld();
    this.#held.letGo(held);
    if (!this.#held.list().some(({ root }) => root === held.root)) guard.accept(held.root);
    this.#letGo(held);
    return { root: held.root, path: held.place, files };
  }

  #letGo(held: HeldDeletion): void {
    this.#held.letGo(held);
    this.#rewrites.delete(`${held.root}\0${held.place}`);
    this.#p.holds.letGo({ root: held.root, path: held.place, code: 'mass-delete' });
    this.#resume(held);
    this.save();
  }

  /** What was set aside is compared again. */
  #resume({ root, place }: HeldDeletion): void {
    this.#p.changes.resume(root, place);
  }

  /** Keeps what a restart must know. Wall clock, because it outlives the process. */
  save(): void {
    const { guard, clock, kv } = this.#p;
    const now = clock.monotonicMs();
    const record = guard.record(now);
    const held = this.#held.list().map((each) => ({ ...each, sinceMs: now - each.sinceMs }));
    const text = JSON.stringify([
      record.lost.map(([root, place, kind, , files, accepted]) => [root, place, kind, files, accepted]),
      record.allowed.map(([root, place, , , files]) => [root, place, files]),
      held.map(({ root, place, deep, files }) => [root, place, deep, files]),
    ]);
    if (text === this.#saved) return;
    this.#saved = text;
    kv.commit([[recordKey, Buffer.from(JSON.stringify({ atMs: clock.wallMs(), ...record, held }))]]);
  }

  #restore(): void {
    const { guard, clock, kv, roots } = this.#p;
    const saved = kv.get(recordKey);
    if (!saved) return;
    const record = JSON.parse(saved.toString()) as Partial<GuardRecord> & {
      atMs: number;
      held?: HeldDeletion[];
      /** What an older release wrote. */
      window?: [root: string, ageMs: number, files: number][];
    };
    const now = clock.monotonicMs();
    const lost =
      record.lost ?? (record.window ?? []).map(([root, ageMs, files]): GuardRecord['lost'][number] => [root, '', 'gone', ageMs, files]);
    guard.restore({ lost, allowed: record.allowed ?? [] }, clock.wallMs() - record.atMs, now);
    for (const held of record.held ?? []) {
      if (!roots.some(({ name }) => name === held.root)) continue;
      this.#held.hold({ ...held, sinceMs: now - held.sinceMs, nextCheckMs: now + checkMsMin });
    }
    this.#show();
  }
}

function show(number: number): string {
  return number.toLocaleString('en-GB', { maximumFractionDigits: 1 });
}

/** As a shell takes it. */
function quoted(text: string): string {
  return /^[\w./@%+=:,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** What cannot be looked at is not gone. */
function lstatOrNull(p: PrimaryParts, path: BytePath) {
  try {
    return p.files.lstat(path);
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return undefined;
  }
}
