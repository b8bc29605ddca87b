import { limits } from '../../../protocol/limits.ts';
import type { Message, MessageOf } from '../../../protocol/messages.ts';
import { doubtsToldMax, lacks, laggingToldMax, shortfallTextMax } from '../../../protocol/shortfall.ts';
import type { Position } from '../../../protocol/position.ts';
import type { Hint } from '../../capture/watcher.ts';
import type { Channel } from '../../link/channel.ts';
import { sleep } from '../../platform/clock.ts';
import { OperatorError } from '../../platform/errors.ts';
import { displayPath, errnoCode, joinPath, type BytePath } from '../../platform/files.ts';
import { audit, auditPlaces, otherContent } from '../audit.ts';
import { ifKnown } from '../fault.ts';
import { PeerView } from '../peer-view.ts';
import { placeName } from '../file-systems.ts';
import { absolute, excludesOf } from '../root.ts';
import { Scrubber, type ScrubSettings } from '../scrub/scrubber.ts';
import { damageOfCopy } from '../scrub/turned.ts';
import type { Changes } from '../../journal/changes.ts';
import { sameContent, type PrimaryParts } from './context.ts';
import { countFiles, type StoreCount } from './count.ts';
import type { ReleasedDeletion } from './deletions.ts';
import type { HeldDeletion } from './held-deletions.ts';
import type { HeldPlaces } from './held-places.ts';
import { Hints } from './hints.ts';
import { keptPlaces, type KeptPlace } from './kept.ts';
import { bringBack, type BroughtBack } from './bring-back.ts';
import { otherContentText, type Damage } from './damage.ts';
import { LeftOut } from './left-out.ts';
import { namedOpen } from './named-open.ts';
import { possibleLoss, type PossibleLoss } from './possible-loss.ts';
import { Sender } from './sender.ts';
import type { Unproven } from './unproven.ts';

type Hello = MessageOf<'hello'>;

/** A difference that `verify` found, for people. */
export interface VerifyDifference {
  node: 'primary' | 'standby' | 'pair';
  root: string;
  path: BytePath;
  what: string;
}

export interface VerifyReport {
  files: number;
  bytes: number;
  total: number;
  differences: VerifyDifference[];
}

/** What the walk over both disks found while replication went on. */
interface Walk {
  places: [root: string, path: BytePath][];
  standby: MessageOf<'audited'>;
  files: number;
  bytes: number;
}

export interface VerifyProgress {
  files: number;
  bytes: number;
  total: number;
  what: string;
}

/** Places in doubt that are tried again at one time. */
const retriesMax = 500;
/** A heartbeat names a place by this much of its path. */
const pathToldBytesMax = 500;
const saveEveryMs = 1000;
/** A file that a server writes through a mapping may show that a little later. */
const youngNs = 60_000_000_000n;
/** How often the standby is asked what it has of damaged files. */
const damageAskMs = 3_600_000;
const lossEveryMs = 500;
/** How often a store is counted while it is filled, at most; never for more than one part in so many of the time. */
const countEveryMs = 60_000;
const countShare = 20;
const differencesMax = 1000;
const suspectsMax = 10_000;
const barrierMs = 10_000;
const lagSampleMax = 2000;

/** The primary: turns hints into changes, keeps the stream going, proves convergence. */
export class PrimaryRole {
  readonly #p: PrimaryParts;
  /** What is not replicated on purpose. */
  readonly leftOut: LeftOut;
  readonly sender: Sender;
  readonly peer: PeerView;
  readonly scrubber: Scrubber | null;
  /** When what the standby has of damaged files was asked last, monotonic milliseconds. */
  #damageAskedMs = -Infinity;
  #askingDamage = false;
  #bringing = false;
  #barrier: ((timeoutMs: number) => Promise<void>) | null = null;
  #onAuditing: ((message: MessageOf<'auditing'>) => void) | null = null;
  #verifying = false;
  readonly #hints: Hints;
  /** Places that the standby has named so far in the list that it is telling. */
  readonly #shortThere = new Set<string>();
  #count: StoreCount | null = null;
  #counting = false;
  #countAgainMs = 0;
  #countFailure: Error | null = null;
  #loss: { at: number; value: PossibleLoss } | null = null;
  /** The last change of the comparison with which this role began, and whether it is done. */
  #scanHead = 0;
  #scanned = false;

  constructor(parts: PrimaryParts, epoch: number, heartbeat: () => MessageOf<'heartbeat'>) {
    this.#p = parts;
    this.leftOut = new LeftOut(parts);
    this.sender = new Sender(parts, this.leftOut, epoch);
    this.#hints = new Hints(parts, this.sender.lagging);
    this.peer = new PeerView(parts.clock, heartbeat);
    this.sender.onOther((message) => this.#other(message));
    this.scrubber = parts.scrub && this.#makeScrubber(parts.scrub);
    damageOfCopy(parts);
    parts.damage.onFound(() => (this.#damageAskedMs = -Infinity));
    this.sender.asksApplied(() => this.peer.reading?.heartbeat?.appliedMs || null);
  }

  #makeScrubber(settings: ScrubSettings): Scrubber {
    const { kv, clock, log, index, roots, holds, damage } = this.#p;
    return new Scrubber({
      ...settings,
      kv,
      clock,
      log,
      index,
      roots,
      knowsChangeTimes: true,
      isTime: () => this.sender.filled && this.sender.putBack.found === null && kv.trouble === null,
      skips: ({ name }, path) => holds.stopping(name, path) !== null || holds.coveringAs('left-out', name, path) !== null,
      mayBeWritten: ({ format }, path, { stat }) =>
        !format.classify(path, 'file').immutable && stat.mtimeNs + youngNs > BigInt(Math.floor(clock.wallMs())) * 1_000_000n,
      unsettled: (root, path) => this.#p.changes.record(root, path, 'path', clock.monotonicMs()),
      damaged: ({ root, path, entry, reading, reason }) => damage.found(root, path, reading.stat, entry.content, reason, 'unknown'),
      good: (root, path) => damage.isGood(root, path),
    });
  }

  /** Files of this node that its disk has damaged. */
  get damage(): Damage {
    return this.#p.damage;
  }

  get unproven(): Unproven {
    return this.#p.unproven;
  }

  /** Places in doubt that the standby does not know of by itself, as a heartbeat tells them. */
  ownDoubts(): MessageOf<'heartbeat'>['doubts'] {
    const told: MessageOf<'heartbeat'>['doubts'] = [];
    for (const { root, path, kind, reason, sinceMs } of this.#p.unproven.list()) {
      if (kind === 'attributes' || kind === 'content') continue;
      if (told.length >= doubtsToldMax) break;
      told.push([root, path.slice(0, pathToldBytesMax), reason.slice(0, shortfallTextMax), sinceMs]);
    }
    return told;
  }

  /** Files that lag behind, as a heartbeat tells them. */
  laggingTold(): Pick<MessageOf<'heartbeat'>, 'lagging' | 'laggingCount'> {
    const nowMs = this.#p.clock.monotonicMs();
    const all = this.sender.lagging.list(nowMs);
    const told = all.slice(0, laggingToldMax).map(({ root, path, sinceMs, reason }): MessageOf<'heartbeat'>['lagging'][number] => {
      return [root, path.slice(0, pathToldBytesMax), reason.slice(0, shortfallTextMax), Math.floor(nowMs - sinceMs)];
    });
    return { laggingCount: all.length, lagging: told };
  }

  /** Places that are held, each alone. */
  get holds(): HeldPlaces {
    return this.#p.holds;
  }

  /** The path that was last said to have changed, for people; null before the first. */
  get lastChanged(): string | null {
    return this.#hints.lastChanged;
  }

  get changes(): Changes {
    return this.#p.changes;
  }

  /** Compares every root with the index in the background: what changed while nobody watched is found here. */
  start(): void {
    for (const root of this.#p.roots) this.#p.changes.record(root.name, '', 'scan', this.#p.clock.monotonicMs());
    this.#scanHead ||= this.#p.changes.head;
    this.sender.wake();
  }

  /** The watcher stands: `barrier` resolves when all changes made before it were given to `hints`. */
  watch(barrier: (timeoutMs: number) => Promise<void>): void {
    this.#barrier = barrier;
    this.sender.watch(barrier);
  }

  /** Takes hints in the order in which the watcher gives them. */
  hints(hints: readonly Hint[]): void {
    this.#hints.take(hints);
    this.sender.wake();
  }

  /** Background work until `signal` aborts: saves the journal, looks again at what is in doubt. */
  async run(signal: AbortSignal, rescanHours: number): Promise<void> {
    await Promise.all([this.sender.checkNumbers(signal), this.#run(signal, rescanHours), this.scrubber?.run(signal)]);
  }

  async #run(signal: AbortSignal, rescanHours: number): Promise<void> {
    const { changes, kv, clock, relived, log, meter } = this.#p;
    let rescannedAt = clock.monotonicMs();
    /** The comparison that ends with this change is the first one since no time passes twice any more. */
    let provenWith: number | null = null;
    while (!signal.aborted) {
      await sleep(clock, saveEveryMs, signal);
      const now = clock.monotonicMs();
      if (changes.unsavedCount > 0) kv.commit(changes.save());
      this.#keepCount(signal);
      this.sender.lookAtFill();
      this.sender.deletions.save();
      await this.sender.deletions.check();
      // Nothing tells that a file system was unmounted, least of all when no mail comes.
      this.sender.checkRoots();
      if (!relived.isOver) provenWith = null;
      else if (provenWith === null) {
        log.info({}, 'the clock was set back and has passed that time now; comparing again');
        meter.rescanned('clock');
        this.start();
        provenWith = changes.head;
      } else if (changes.durableSeq >= provenWith) relived.forget();
      this.#tryDoubts();
      this.#lookAtDamage();
      if (rescanHours > 0 && now - rescannedAt >= rescanHours * 3_600_000) {
        rescannedAt = now;
        this.#p.meter.rescanned('schedule');
        this.start();
      }
    }
  }

  /** What is damaged here may be another file by now; of the rest the standby is asked what it has. */
  #lookAtDamage(): void {
    const { damage, files, roots, index, clock } = this.#p;
    if (damage.count === 0) return;
    if (damage.look(files, roots, index) > 0) this.#p.unproven.asked();
    if (this.#askingDamage || this.#verifying || !this.peer.connected || this.sender.phase !== 'streaming') return;
    if (clock.monotonicMs() - this.#damageAskedMs < damageAskMs) return;
    this.#damageAskedMs = clock.monotonicMs();
    this.#askingDamage = true;
    this.sender.tellHistory();
    this.#askOfDamage().then(
      () => (this.#askingDamage = false),
      (error: unknown) => {
        this.#askingDamage = false;
        if (!(error instanceof OperatorError)) this.#countFailure = error instanceof Error ? error : new Error(String(error));
      },
    );
  }

  async #askOfDamage(): Promise<void> {
    const { damage, index } = this.#p;
    const files = damage.list();
    for (let i = 0; i < files.length; i += limits.differencesMax) {
      const asked = files.slice(i, i + limits.differencesMax);
      const { differences } = await this.#audit(
        true,
        false,
        asked.map(({ root, path }) => [root, path] as const),
      );
      for (const file of asked) {
        const differs = differences.find(([root, path]) => root === file.root && path === file.path);
        // Where the two do not hold the same in their indexes, that the standby's disk is as its own says proves nothing.
        const isSame = index.at(file.root, file.path)?.entry.content.equals(file.content) ?? false;
        if (differs) damage.setThere(file, differs[2] === 'is missing' ? 'missing' : 'damaged');
        else if (isSame) damage.setThere(file, 'good');
      }
    }
  }

  /**
   * Brings the good version of a damaged file back from the standby.
   *
   * @throws OperatorError `not-damaged`, `disconnected`, `no-good-version`, `restore-changed`, `restore-failed`; nothing was changed.
   */
  async bringBack(root: string, path: BytePath): Promise<BroughtBack> {
    const file = this.#p.damage.at(root, path);
    const place = displayPath(joinPath(root, path));
    if (!file)
      throw new OperatorError('not-damaged', `${place} is not known to be damaged`, 'run `mailtwin scrub`, which names what is', 3);
    if (this.#verifying || this.#bringing)
      throw new OperatorError('busy', 'a verification or another file is under way', 'wait until it has ended, then run it again', 3);
    this.#bringing = true;
    try {
      const back = await bringBack(this.#p, file, async ({ content }, offset) => {
        const answer = await this.sender.ask({ type: 'contentAsk', id: this.sender.nextAskId(), root, path, content, offset });
        return answer?.type === 'contentPart' ? answer : null;
      });
      this.#p.unproven.asked();
      this.sender.wake();
      return back;
    } catch (error) {
      if (error instanceof OperatorError && error.code === 'no-good-version') this.#p.damage.setThere(file, 'damaged');
      throw error;
    } finally {
      this.#bringing = false;
    }
  }

  /** What is in doubt and whose time has come becomes a change again. */
  #tryDoubts(): void {
    const { changes, clock, unproven } = this.#p;
    const due = unproven.due(retriesMax);
    for (const { root, path, kind, again } of due) {
      const now = clock.monotonicMs();
      changes.record(root, again ?? path, kind === 'reading' || again !== undefined ? 'scan' : 'path', now);
      // A comparison passes over what is the same here and in the index: only the standby's word for the place itself ends its doubt.
      if (kind === 'place' && again !== undefined) changes.record(root, path, 'path', now);
    }
    if (due.length > 0) this.sender.wake();
  }

  /** Writes down what is open, so that the next start knows of it. */
  save(): void {
    this.#p.kv.commit(this.#p.changes.save());
  }

  async serve(channel: Channel, hello: Hello, address: string): Promise<void> {
    this.#shortThere.clear();
    const position: Position = hello.position;
    // Before anybody hears the other node's word: it may be what lets this one go into service.
    this.sender.meet(position);
    this.peer.attach(channel, hello, address);
    channel.sendControl(excludesOf(this.#p.roots));
    await this.sender.serve(channel, position);
  }

  /** What a failure now would lose (I22); counted once a second at most. */
  loss(): PossibleLoss {
    const { changes, clock } = this.#p;
    const now = clock.monotonicMs();
    if (this.#loss && now - this.#loss.at < lossEveryMs) return this.#loss.value;
    this.#scanned ||= !changes.isOpenBesidesHeld(this.#scanHead, namedOpen(this.#p, this.sender.lagging));
    const { filled, phase } = this.sender;
    const count = phase === 'comparing' ? null : this.#count;
    const value = possibleLoss(this.#p, { filled, count, scanned: this.#scanned });
    this.#loss = { at: now, value };
    return value;
  }

  /** What is below the roots, while the copy is not complete and it was counted. */
  get count(): StoreCount | null {
    return this.#count;
  }

  /** Counts what a fill has to bring, beside everything else. */
  #keepCount(signal: AbortSignal): void {
    if (this.#countFailure) throw this.#countFailure;
    const { files, clock, roots } = this.#p;
    const began = clock.monotonicMs();
    if (this.sender.filled) this.#count = null;
    if (this.sender.filled || (this.#count && began < this.#countAgainMs) || this.#counting) return;
    this.#counting = true;
    countFiles(files, clock, roots, signal).then(
      (count) => {
        this.#counting = false;
        if (!signal.aborted) this.#count = count;
        // Mail goes on coming in meanwhile.
        this.#countAgainMs = clock.monotonicMs() + Math.max(countEveryMs, countShare * (clock.monotonicMs() - began));
      },
      (error: unknown) => {
        this.#countFailure = error instanceof Error ? error : new Error(String(error));
      },
    );
  }

  /** What replication lags behind, as far as this node can know without looking at everything. */
  lag(): { changes: number; ms: number; bytes: number } {
    const { changes, clock, files, roots } = this.#p;
    const count = changes.openCount;
    if (count === 0) return { changes: 0, ms: 0, bytes: 0 };
    let sampled = 0;
    let bytes = 0;
    for (const change of changes.open()) {
      if (sampled >= lagSampleMax) break;
      sampled++;
      const root = roots.find(({ name }) => name === change.root);
      if (!root || change.kind === 'scan') continue;
      try {
        bytes += files.lstat(absolute(root, change.path))?.size ?? 0;
      } catch (error) {
        if (errnoCode(error) === undefined) throw error;
      }
    }
    return { changes: count, ms: changes.oldestMs(clock.monotonicMs()), bytes: Math.round((bytes * count) / Math.max(1, sampled)) };
  }

  /**
   * Resolves when all that changed before the call is durable on the standby: it acknowledged that, and nothing is known
   * against it. An acknowledgement stays true while the standby is not connected. It does not count while the standby stands
   * where no batch from here ended (it, or this store, was put back, or it is another one) until both were compared, nor
   * while a file system of either node is not in its place, as far as that was told. A start of this node has to compare its
   * roots first, which takes a connection.
   *
   * @throws OperatorError `timeout`, `unproven`, `held`, `held-place`, `capture`.
   */
  async wait(timeoutMs: number, signal: AbortSignal, progress: (open: number) => void = () => {}): Promise<void> {
    const { changes, clock } = this.#p;
    const started = clock.monotonicMs();
    const left = () => timeoutMs - (clock.monotonicMs() - started);
    try {
      await this.#barrier?.(Math.max(1, left()));
    } catch (error) {
      throw new OperatorError(
        'capture',
        `the watcher does not answer: ${error instanceof Error ? error.message : String(error)}`,
        'look at the log of the agent; `mailtwin doctor` checks the watcher',
      );
    }
    // A disk that came just now is compared first.
    this.sender.checkRoots();
    // What is in doubt may be mended by now, and whoever waits wants to know.
    if (this.peer.connected && this.sender.isSure) {
      this.#p.unproven.asked();
      this.#tryDoubts();
    }
    let target = changes.head;
    let wasSure = this.sender.isSure;
    // What was in doubt or waited for a disk, and goes on now, is looked at anew: that comes after what was asked for.
    const goneOn = () => this.#p.unproven.ended + this.#p.holds.resumed;
    let known = goneOn();
    while (!this.sender.isSure || !wasSure || changes.durableSeq < target || goneOn() > known) {
      if (this.sender.isSure && (!wasSure || goneOn() > known)) {
        // So does what a comparison finds; all of it belongs to what was asked for, and may be on its way.
        target = changes.head;
        wasSure = true;
        known = goneOn();
        continue;
      }
      wasSure &&= this.sender.isSure;
      if (signal.aborted) return;
      if (!this.#mayGoOn(target)) break;
      if (left() <= 0 || (this.sender.isSure && !changes.isOpenBesidesHeld(target))) throw this.#late(target);
      progress(changes.openCount);
      this.sender.wake();
      await sleep(clock, Math.min(5, Math.max(1, left())), signal);
    }
    const { held } = this.sender;
    if (held?.code.startsWith('root-') || held?.code === 'put-back')
      throw new OperatorError('held', `sending is held: ${held.detail}`, held.remedy);
    const { stopped } = this.#p.holds;
    if (stopped) throw new OperatorError('held-place', `${placeName(stopped)} is held: ${stopped.detail}`, stopped.remedy);
    const [first] = this.#p.unproven.list();
    // What this node has come to know meanwhile, such as what is held, is as durable as what it confirms.
    if (!(await this.#flushedWithin(Math.max(1, left())))) throw this.#late(target);
    if (first)
      throw new OperatorError(
        'unproven',
        `${this.#p.unproven.count} places are in doubt, first ${displayPath(joinPath(first.root, first.path))}: ${first.reason}`,
        'mend what is named there; `mailtwin status` lists all of them',
      );
  }

  async #flushedWithin(ms: number): Promise<boolean> {
    const { kv, clock } = this.#p;
    const over = new AbortController();
    let isFlushed = false;
    const flushed = kv.flushed().then(() => void (isFlushed = true));
    await Promise.race([flushed, sleep(clock, ms, over.signal)]);
    over.abort();
    return isFlushed;
  }

  /** Whether anything up to a change is open that does not wait for a disk alone. */
  #mayGoOn(target: number): boolean {
    const { changes, holds } = this.#p;
    if (!holds.stopped) return true;
    for (const change of changes.open()) if (change.seq <= target && !holds.stopping(change.root, change.path)) return true;
    return false;
  }

  #late(target: number): OperatorError {
    const { held } = this.sender;
    const open = target - this.#p.changes.durableSeq;
    const [first] = this.sender.deletions.list();
    if (first && !this.#p.changes.isOpenBesidesHeld(target)) {
      const place = displayPath(joinPath(first.root, first.place));
      const shown = this.#p.holds
        .list()
        .find(({ code, root, path }) => code === 'mass-delete' && root === first.root && path === first.place);
      return new OperatorError('held', `a deletion is not on the standby: ${place}: ${shown?.detail ?? ''}`, shown?.remedy ?? '');
    }
    if (held) return new OperatorError('held', `sending is held: ${held.detail}`, held.remedy);
    if (!this.sender.isSure)
      return new OperatorError(
        'timeout',
        'what the standby holds is not known: it stands where nothing from here ended, and was not compared with this node since',
        'see `mailtwin status`; when the standby is connected it is compared by itself, and what it lacks is sent',
      );
    if (!this.peer.connected)
      return new OperatorError(
        'timeout',
        `not all changes are durable on the standby, which is not connected (${open} open)`,
        'see `mailtwin status` for why the standby is not connected',
      );
    const [lagging] = this.sender.lagging.list(this.#p.clock.monotonicMs());
    if (lagging)
      return new OperatorError(
        'timeout',
        `not all changes are durable on the standby yet (${open} open); ${displayPath(joinPath(lagging.root, lagging.path))} lags behind: ${lagging.reason}`,
        'stop what writes to that file for a moment, then run it again; everything else goes on meanwhile',
      );
    return new OperatorError(
      'timeout',
      `not all changes are durable on the standby yet (${open} open)`,
      'run it again with a longer --timeout, or see `mailtwin status`',
    );
  }

  /** Mass deletions that wait for a person. */
  get deletions(): readonly HeldDeletion[] {
    return this.sender.deletions.list();
  }

  /** Lets held deletions go: what is held at these places now, and nothing else. */
  allowDelete(held: readonly HeldDeletion[]): Promise<ReleasedDeletion[]> {
    return this.sender.release(held);
  }

  /**
   * A person says that what stands at these places is right: a root by its name, a file system below one as `root/path`. Of a
   * file system that is missing it says that it does not come back. Returns the places where something was wrong.
   */
  acceptRoots(names: readonly string[]): string[] {
    const accepted = this.#p.fileSystems.accept(names);
    this.sender.checkRoots();
    this.sender.wake();
    return accepted;
  }

  /** What the standby keeps of what is left out here. */
  keptPlaces(): KeptPlace[] {
    return keptPlaces(this.leftOut, this.#p.index);
  }

  /** A person says that the standby's copy of something that is left out may go. False when nothing is kept there. */
  releaseLeftOut(root: string, path: BytePath): boolean {
    if (!this.leftOut.release(root, path)) return false;
    this.#p.changes.record(root, path, 'path', this.#p.clock.monotonicMs());
    this.sender.wake();
    return true;
  }

  /**
   * Proves that both nodes hold the same: this node's disk against its index, the standby's disk against its own, and
   * both indexes against each other. What differs is sent again, and still reported.
   *
   * The long part, the walk over both disks, runs while replication goes on; what it finds may only have been on its
   * way. So replication pauses at its end, for as long as it takes to look at those places once more.
   */
  async verify(deep: boolean, timeoutMs: number, signal: AbortSignal, progress: (progress: VerifyProgress) => void): Promise<VerifyReport> {
    if (this.#verifying) throw new OperatorError('verifying', 'a verification is running already', 'wait until it has ended');
    this.#verifying = true;
    try {
      await this.#drain(timeoutMs, signal);
      const walk = await this.#walkBoth(deep, signal, progress);
      await this.#drain(timeoutMs, signal);
      return await this.sender.pauseWhile(() => this.#confirm(walk, deep, signal));
    } finally {
      this.#verifying = false;
      this.#onAuditing = null;
    }
  }

  /** Waits until what changed is there; places in doubt are what a verification is for, and those whose disk is missing are left out of it. */
  async #drain(timeoutMs: number, signal: AbortSignal): Promise<void> {
    try {
      await this.wait(timeoutMs, signal);
    } catch (error) {
      if (!(error instanceof OperatorError) || (error.code !== 'unproven' && error.code !== 'held-place')) throw error;
    }
  }

  async #walkBoth(deep: boolean, signal: AbortSignal, progress: (progress: VerifyProgress) => void): Promise<Walk> {
    const { index, roots, clock } = this.#p;
    const files = roots.reduce((sum, root) => sum + index.totals(root.name).files, 0);
    const own = { files: 0, bytes: 0 };
    let theirs = { files: 0, bytes: 0 };
    let last = clock.monotonicMs();
    const show = () => {
      if (clock.monotonicMs() - last < 200) return;
      last = clock.monotonicMs();
      progress({ files: own.files + theirs.files, bytes: own.bytes + theirs.bytes, total: files * 2, what: 'files compared' });
    };
    this.#onAuditing = (message) => {
      theirs = message;
      show();
    };
    const asked = this.#audit(deep, false, []);
    const places: [string, BytePath][] = [];
    const parts = { ...this.#p, skips: this.#skips, clock: pausing(clock, show) };
    for await (const { root, path } of audit(parts, deep, own, signal)) {
      if (places.length < suspectsMax) places.push([root, path]);
    }
    const standby = await asked;
    return { places, standby, files: own.files + standby.files, bytes: own.bytes + standby.bytes };
  }

  readonly #skips = (root: string, path: BytePath): boolean => this.#p.holds.stopping(root, path) !== null;

  async #audit(deep: boolean, mend: boolean, places: readonly (readonly [string, BytePath])[]): Promise<MessageOf<'audited'>> {
    const answer = await this.sender.ask({
      type: 'audit',
      id: this.sender.nextAskId(),
      deep,
      mend,
      places: places.map(([root, path]) => [root, path]),
    });
    if (answer?.type === 'audited') return answer;
    throw new OperatorError(
      'disconnected',
      'the connection to the standby ended during the verification',
      'run it again when `mailtwin status` shows the standby connected',
    );
  }

  /** Looks again at what the walk found, at rest. */
  async #confirm(walk: Walk, deep: boolean, signal: AbortSignal): Promise<VerifyReport> {
    const { changes, clock } = this.#p;
    const report: VerifyReport = { files: walk.files, bytes: walk.bytes, total: 0, differences: [] };
    const note = (difference: VerifyDifference) => {
      report.total++;
      if (report.differences.length < differencesMax) report.differences.push(difference);
    };
    const suspects: { root: string; path: BytePath; what: string }[] = [];
    // A disk that went during the walk is no difference.
    this.sender.checkRoots();
    const parts = { ...this.#p, skips: this.#skips };
    for await (const difference of auditPlaces(parts, walk.places, deep, { files: 0, bytes: 0 })) suspects.push(difference);
    // What changed just now is no difference: it is on its way, and its hint has come by the time the barrier answers.
    await this.#barrier?.(barrierMs);
    for (const { root, path, what } of suspects) {
      const coming = [...changes.open()].some(
        (change) =>
          change.root === root &&
          (change.path === path || (change.kind === 'scan' && (change.path === '' || path.startsWith(`${change.path}/`)))),
      );
      changes.record(root, path, 'path', clock.monotonicMs());
      if (coming) continue;
      note({ node: 'primary', root, path, what });
      if (deep && what === otherContent) this.#noteDamage(root, path);
    }
    if (walk.standby.total > 0 && !signal.aborted) {
      // More than were named: then all of it once more, at rest.
      const named = walk.standby.total === walk.standby.differences.length;
      const sure = await this.#audit(deep, true, named ? walk.standby.differences.map(([root, path]) => [root, path] as const) : []);
      for (const [root, path, what] of sure.differences) note({ node: 'standby', root, path, what });
      report.total += sure.total - sure.differences.length;
    }
    const compared = await this.sender.reconcile();
    for (const { root, path, what } of compared.found) {
      if (!report.differences.some((d) => d.root === root && d.path === path)) note({ node: 'pair', root, path, what });
    }
    return report;
  }

  /** Nobody has changed a file whose content is another one: then its disk has. */
  #noteDamage(name: string, path: BytePath): void {
    const { index, files, roots, damage, relived } = this.#p;
    const root = roots.find((each) => each.name === name);
    const entry = index.at(name, path)?.entry;
    const stat = root && ifKnown(() => files.lstat(absolute(root, path)));
    if (!root || !entry || !stat || !sameContent(entry, stat) || relived.has(stat.mtimeNs)) return;
    if (entry.ctimeNs === 0n || entry.ctimeNs === stat.ctimeNs) damage.found(name, path, stat, entry.content, otherContentText, 'unknown');
  }

  /** What the standby lacks, told at the beginning of a connection; with the last part all of it is tried again. */
  #takeShortfalls({ items: told, more }: MessageOf<'shortfalls'>): void {
    const { unproven, roots } = this.#p;
    // Both nodes have the same roots, so the doubt of another one is nobody's, and nothing would ever end it.
    const items = told.filter(([name]) => roots.some((root) => root.name === name));
    unproven.addAll(items.map(([root, path, bits, reason]) => ({ root, path, bits, reason })));
    for (const [root, path, bits] of items) {
      this.#shortThere.add(`${root}\0${path}`);
      // The word that it lacks this may have been lost, and the index claims it.
      if (bits & lacks.place) this.sender.compare(root, path);
    }
    if (more) return;
    unproven.standbyToldAll(this.#shortThere);
    this.#shortThere.clear();
  }

  #other(message: Message): void {
    if (this.peer.take(message)) {
      if (message.type === 'heartbeat') this.sender.heard(message);
      return;
    }
    if (message.type === 'shortfalls') return this.#takeShortfalls(message);
    if (message.type === 'auditing') this.#onAuditing?.(message);
  }
}

function pausing(clock: PrimaryParts['clock'], also: () => void): PrimaryParts['clock'] {
  return {
    monotonicMs: () => clock.monotonicMs(),
    wallMs: () => clock.wallMs(),
    after: (ms, fn) => clock.after(ms, fn),
    yield: () => {
      also();
      return clock.yield();
    },
  };
}
