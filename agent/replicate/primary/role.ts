import type { Message, MessageOf } from '../../../protocol/messages.ts';
import type { Position } from '../../../protocol/position.ts';
import type { Hint } from '../../capture/watcher.ts';
import type { Channel } from '../../link/channel.ts';
import { sleep } from '../../platform/clock.ts';
import { OperatorError } from '../../platform/errors.ts';
import { displayPath, errnoCode, joinPath, type BytePath } from '../../platform/files.ts';
import { audit, auditPlaces } from '../audit.ts';
import { PeerView } from '../peer-view.ts';
import { absolute } from '../root.ts';
import type { Changes } from '../../journal/changes.ts';
import { metaKey } from '../../journal/keys.ts';
import type { PrimaryParts } from './context.ts';
import type { GuardWindow } from './guard.ts';
import { acceptRoots } from './root-check.ts';
import { Sender } from './sender.ts';
import { Skipped } from './skipped.ts';
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

const guardKey = metaKey('guard-window');
const unprovenRetryMs = 60_000;
const saveEveryMs = 1000;
const differencesMax = 1000;
const suspectsMax = 10_000;
const barrierMs = 10_000;
const lagSampleMax = 2000;

/** The primary: turns hints into changes, keeps the stream going, proves convergence. */
export class PrimaryRole {
  readonly #p: PrimaryParts;
  readonly skipped = new Skipped();
  readonly sender: Sender;
  readonly peer: PeerView;
  #barrier: ((timeoutMs: number) => Promise<void>) | null = null;
  #onAuditing: ((message: MessageOf<'auditing'>) => void) | null = null;
  #verifying = false;
  #lastHint: Hint | null = null;
  #guardSaved = '[]';

  constructor(parts: PrimaryParts, epoch: number, heartbeat: () => MessageOf<'heartbeat'>) {
    this.#p = parts;
    this.sender = new Sender(parts, this.skipped, epoch);
    this.peer = new PeerView(parts.clock, heartbeat);
    this.#restoreGuard();
    this.sender.onOther((message) => this.#other(message));
  }

  get unproven(): Unproven {
    return this.#p.unproven;
  }

  /** The path that was last said to have changed, for people; null before the first. */
  get lastChanged(): string | null {
    return this.#lastHint && displayPath(joinPath(this.#lastHint.root, this.#lastHint.path));
  }

  get changes(): Changes {
    return this.#p.changes;
  }

  /** Compares every root with the index in the background: what changed while nobody watched is found here. */
  start(): void {
    for (const root of this.#p.roots) this.#p.changes.record(root.name, '', 'scan', this.#p.clock.monotonicMs());
    this.sender.wake();
  }

  /** Keeps what the guard against mass deletion has let go lately over a restart. Wall clock, because it outlives the process. */
  #saveGuard(): void {
    const { guard, clock, kv } = this.#p;
    const window = guard.window(clock.monotonicMs());
    const text = JSON.stringify(window.map(([root, , files]) => [root, files]));
    if (text === this.#guardSaved) return;
    this.#guardSaved = text;
    kv.commit([[guardKey, Buffer.from(JSON.stringify({ atMs: clock.wallMs(), window }))]]);
  }

  #restoreGuard(): void {
    const { guard, clock, kv } = this.#p;
    const saved = kv.get(guardKey);
    if (!saved) return;
    const { atMs, window } = JSON.parse(saved.toString()) as { atMs: number; window: GuardWindow };
    guard.restore(window, clock.wallMs() - atMs, clock.monotonicMs());
  }

  /** The watcher stands: `barrier` resolves when all changes made before it were given to `hints`. */
  watch(barrier: (timeoutMs: number) => Promise<void>): void {
    this.#barrier = barrier;
    this.sender.watch(barrier);
  }

  /** Takes hints in the order in which the watcher gives them. */
  hints(hints: readonly Hint[]): void {
    const { changes, clock, unproven, meter, log } = this.#p;
    const now = clock.monotonicMs();
    meter.hints(hints.length);
    for (const hint of hints) {
      if (hint.kind === 'lost') {
        unproven.add(hint.root, hint.path, hint.reason);
        meter.rescanned('lost-hints');
        log.warn({ root: hint.root, path: displayPath(hint.path), reason: hint.reason }, 'hints were lost; comparing again');
      }
      if (hint.kind === 'path') this.#lastHint = hint;
      const isNew = changes.record(hint.root, hint.path, hint.kind === 'path' ? 'path' : 'scan', now);
      if (!isNew && hint.kind === 'path') this.#otherName(hint.root, hint.path, now);
    }
    this.sender.wake();
  }

  /**
   * A name that nobody has looked at yet changes again. When it is one of several of a file that is known by another
   * name, that one has changed as well; by the time of the look this name may be gone, and nothing would tell.
   */
  #otherName(rootName: string, path: BytePath, now: number): void {
    const { roots, files, index, changes } = this.#p;
    const root = roots.find(({ name }) => name === rootName);
    if (!root || root.format.classify(path, 'file').class !== 'plain') return;
    try {
      const stat = files.lstat(absolute(root, path));
      const number = stat?.kind === 'file' && stat.nlink > 1 ? index.root(rootName) : null;
      const other = stat && number !== null ? index.byInode(number, stat.ino) : null;
      if (other) changes.record(rootName, joinPath(index.pathOf(other.dir).path, other.name), 'path', now);
    } catch (error) {
      // What cannot be looked at now is looked at in its turn.
      if (errnoCode(error) === undefined) throw error;
    }
  }

  /** Background work until `signal` aborts: saves the journal, looks again at what is in doubt. */
  async run(signal: AbortSignal, rescanHours: number): Promise<void> {
    const { changes, kv, clock, unproven, relived, log, meter } = this.#p;
    let retriedAt = clock.monotonicMs();
    let rescannedAt = clock.monotonicMs();
    /** The comparison that ends with this change is the first one since no time passes twice any more. */
    let provenWith: number | null = null;
    while (!signal.aborted) {
      await sleep(clock, saveEveryMs, signal);
      const now = clock.monotonicMs();
      if (changes.unsavedCount > 0) kv.commit(changes.save());
      this.#saveGuard();
      // Nothing tells that a file system was unmounted, least of all when no mail comes.
      this.sender.checkRoots();
      if (!relived.isOver) provenWith = null;
      else if (provenWith === null) {
        log.info({}, 'the clock was set back and has passed that time now; comparing again');
        meter.rescanned('clock');
        this.start();
        provenWith = changes.head;
      } else if (changes.durableSeq >= provenWith) relived.forget();
      if (now - retriedAt >= unprovenRetryMs) {
        retriedAt = now;
        for (const { root, path } of unproven.list()) changes.record(root, path, 'scan', now);
      }
      if (rescanHours > 0 && now - rescannedAt >= rescanHours * 3_600_000) {
        rescannedAt = now;
        this.#p.meter.rescanned('schedule');
        this.start();
      }
    }
  }

  /** Writes down what is open, so that the next start knows of it. */
  save(): void {
    this.#p.kv.commit(this.#p.changes.save());
  }

  async serve(channel: Channel, hello: Hello, address: string): Promise<void> {
    this.peer.attach(channel, hello, address);
    const position: Position = hello.position;
    await this.sender.serve(channel, position);
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
   * Resolves when all that changed before the call is durable on the standby.
   *
   * @throws OperatorError `timeout`, `unproven`, `held`, `capture`.
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
    const target = changes.head;
    while (changes.durableSeq < target) {
      if (signal.aborted) return;
      if (left() <= 0) throw this.#late(target);
      progress(changes.openCount);
      this.sender.wake();
      await sleep(clock, Math.min(5, Math.max(1, left())), signal);
    }
    const { held } = this.sender;
    if (held?.code.startsWith('root-')) throw new OperatorError('held', `sending is held: ${held.detail}`, held.remedy);
    const [first] = this.#p.unproven.list();
    if (first)
      throw new OperatorError(
        'unproven',
        `${this.#p.unproven.count} places are in doubt, first ${displayPath(joinPath(first.root, first.path))}: ${first.reason}`,
        'mend what is named there; `mailtwin status` lists all of them',
      );
  }

  #late(target: number): OperatorError {
    const { held } = this.sender;
    const open = target - this.#p.changes.durableSeq;
    if (held) return new OperatorError('held', `sending is held: ${held.detail}`, held.remedy);
    if (!this.peer.connected)
      return new OperatorError(
        'timeout',
        `not all changes are durable on the standby, which is not connected (${open} open)`,
        'see `mailtwin status` for why the standby is not connected',
      );
    return new OperatorError(
      'timeout',
      `not all changes are durable on the standby yet (${open} open)`,
      'run it again with a longer --timeout, or see `mailtwin status`',
    );
  }

  /** Releases what the guard against mass deletion holds (how many files), and accepts the roots as they are (which had changed). */
  allowDelete(): { released: number; acceptedRoots: string[] } {
    const acceptedRoots = acceptRoots(this.#p.roots, this.#p.files, this.#p.kv);
    return { released: this.sender.release(), acceptedRoots };
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

  /** Waits until what changed is there; places in doubt are what a verification is for. */
  async #drain(timeoutMs: number, signal: AbortSignal): Promise<void> {
    try {
      await this.wait(timeoutMs, signal);
    } catch (error) {
      if (!(error instanceof OperatorError) || error.code !== 'unproven') throw error;
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
    for await (const { root, path } of audit({ ...this.#p, leavesOutLinks: true, clock: pausing(clock, show) }, deep, own, signal)) {
      if (places.length < suspectsMax) places.push([root, path]);
    }
    const standby = await asked;
    return { places, standby, files: own.files + standby.files, bytes: own.bytes + standby.bytes };
  }

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
    for await (const difference of auditPlaces({ ...this.#p, leavesOutLinks: true }, walk.places, deep, { files: 0, bytes: 0 }))
      suspects.push(difference);
    // What changed just now is no difference: it is on its way, and its hint has come by the time the barrier answers.
    await this.#barrier?.(barrierMs);
    for (const { root, path, what } of suspects) {
      const coming = [...changes.open()].some(
        (change) =>
          change.root === root &&
          (change.path === path || (change.kind === 'scan' && (change.path === '' || path.startsWith(`${change.path}/`)))),
      );
      changes.record(root, path, 'path', clock.monotonicMs());
      if (!coming) note({ node: 'primary', root, path, what });
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

  #other(message: Message): void {
    if (this.peer.take(message)) return;
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
