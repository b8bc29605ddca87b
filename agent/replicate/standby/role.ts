import type { Message, MessageOf } from '../../../protocol/messages.ts';
import type { HistoryFull, HistoryKeeper } from '../../history/keeper.ts';
import type { Hint } from '../../capture/watcher.ts';
import { metaKey } from '../../journal/keys.ts';
import { packNumber } from '../../journal/replica-index.ts';
import type { Channel } from '../../link/channel.ts';
import { sleep } from '../../platform/clock.ts';
import { displayPath, type BytePath } from '../../platform/files.ts';
import { Pacer } from '../../platform/pacer.ts';
import { audit, type AuditDifference } from '../audit.ts';
import type { FileSystemTrouble } from '../file-systems.ts';
import { LastHeard } from '../last-heard.ts';
import { PeerView } from '../peer-view.ts';
import { absolute, excludesOf } from '../root.ts';
import { Scrubber, type ScrubSettings } from '../scrub/scrubber.ts';
import { damageOfStore } from '../scrub/turned.ts';
import { dropGone } from '../salvage/originals.ts';
import type { UndonePlace } from '../salvage/undone.ts';
import { Answers } from './answers.ts';
import { ForeignWatch } from './foreign-watch.ts';
import { markWrites, marksToldWrite, primaryEpochWrite, readMarksTold, readPrimaryEpoch } from './marks.ts';
import { Receiver, type ReceiverParts } from './receiver.ts';

type Hello = MessageOf<'hello'>;

const pruneEveryMs = 60_000;
const disksEveryMs = 1000;
const filledKey = metaKey('filled-here');
const toldEveryMs = 5000;
/** Messages of what the history is to keep that wait to be dealt with. */
const toProtectMax = 64;

/** The standby: receives the stream, answers the primary's questions, keeps history in bounds. */
export class StandbyRole {
  readonly #p: ReceiverParts;
  readonly receiver: Receiver;
  readonly answers: Answers;
  readonly peer: PeerView;
  #serving: Promise<void> | null = null;
  #protecting: Promise<void> = Promise.resolve();
  #toProtect = 0;
  #protectFailure: Error | null = null;
  #digestsAt = -1;
  readonly #foreignWatch: ForeignWatch;
  readonly scrubber: Scrubber | null;
  #hintsAreForeign = false;
  /** Damage was found of which the primary was not told. */
  #tellDamage = false;
  #connectedWallMs = 0;
  /** Since when all marks are told on this connection, wall clock; null before. */
  #told: { savedMs: number } | null = null;

  constructor(parts: ReceiverParts, heartbeat: () => MessageOf<'heartbeat'>) {
    this.receiver = new Receiver(parts);
    this.#p = { ...parts, files: this.receiver.files };
    this.answers = new Answers({
      ...this.#p,
      foreign: this.receiver.foreign,
      skips: (root, path) => this.#isAway(root, path),
      isAwayNow: (root, path) => this.#isAwayNow(root, path),
      mounted: (root, path) => parts.fileSystems.leadsToMount(root, path),
    });
    this.peer = new PeerView(parts.clock, heartbeat, new LastHeard(parts.kv, parts.clock));
    this.scrubber = parts.scrub && this.#makeScrubber(parts.scrub);
    this.#foreignWatch = new ForeignWatch({
      ...this.#p,
      record: this.receiver.foreign,
      mayDiffer: (path) => this.receiver.mayDiffer(path),
      isAway: (root, path) => this.#isAway(root, path),
      isAwayNow: (root, path) => this.#isAwayNow(root, path),
      arrivals: () => this.receiver.disks.arrivals,
      mounted: (root, path) => parts.fileSystems.leadsToMount(root, path),
      hintsAreForeign: () => this.#hintsAreForeign,
    });
  }

  #makeScrubber(settings: ScrubSettings): Scrubber {
    const { kv, clock, log, index, roots } = this.#p;
    return new Scrubber({
      ...settings,
      kv,
      clock,
      log,
      index,
      roots,
      // Putting a file into place changes it after it was entered.
      knowsChangeTimes: false,
      isTime: () => this.filled && kv.trouble === null,
      skips: (root, path) => this.#isAway(root.name, path) || this.receiver.isUnderWay(absolute(root, path)),
      mayBeWritten: () => false,
      unsettled: () => {},
      damaged: ({ root, path, reason }) => {
        this.receiver.noteDamage([{ root, path, reason }]);
        this.#tellDamage = true;
      },
      good: (root, path) => this.receiver.isGood(root, path),
    });
  }

  #isAwayNow(root: string, path: BytePath): boolean {
    this.receiver.disks.look();
    return this.#isAway(root, path);
  }

  /** Whether nothing can be said of a place, because its file system is not there. */
  #isAway(root: string, path: BytePath): boolean {
    return this.#p.fileSystems.covering(root, path) !== null;
  }

  /** Calls `fn` when file systems went or came: what watches over them has to be made anew there. */
  onMoved(fn: (came: readonly { root: string; path: BytePath }[]) => void): void {
    this.receiver.disks.onMoved((came) => {
      for (const { root, path } of came) this.#foreignWatch.compare(root, path);
      this.peer.tell();
      fn(came);
    });
  }

  /** What is wrong with the file systems of the roots. */
  get fileSystems(): readonly FileSystemTrouble[] {
    return this.#p.fileSystems.troubles;
  }

  /** Brings the roots to where the durable state says they are. Before anything connects. */
  async start(): Promise<void> {
    await this.receiver.recover();
  }

  /** Serves a connection; one at a time, in order. */
  async serve(channel: Channel, hello: Hello, address: string): Promise<void> {
    const before = this.#serving;
    const { kv, clock } = this.#p;
    if (readPrimaryEpoch(kv) !== hello.epoch) kv.commit([primaryEpochWrite(hello.epoch)]);
    this.#told = null;
    this.#connectedWallMs = clock.wallMs();
    this.peer.attach(channel, hello, address);
    channel.sendControl(excludesOf(this.#p.roots));
    this.answers.reset();
    const serving = (async () => {
      await before;
      this.receiver.tellShortfalls(channel);
      await this.receiver.serve(channel, (message) => this.#other(channel, message));
    })();
    this.#serving = serving.catch(() => {});
    await serving;
  }

  /** Of very many places not all are named at once; the rest follows when those are mended. */
  async #nameMore(): Promise<void> {
    const { index, roots, clock } = this.#p;
    const { shortfalls } = this.receiver;
    if (!shortfalls.mayHaveMore) return;
    await shortfalls.fill(index, roots, () => clock.yield());
    this.peer.send((channel) => this.receiver.tellShortfalls(channel));
  }

  /**
   * Resolves when everything that an ended connection brought is in place. The next connection waits for it, so that
   * its hello says where this standby really stands.
   */
  async idle(): Promise<void> {
    await this.#serving;
  }

  /** Background work until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    damageOfStore(this.#p, this.receiver);
    await Promise.all([this.#prune(signal), this.#foreignWatch.run(signal), this.#watchDisks(signal), this.scrubber?.run(signal)]);
  }

  /** Nothing tells that a file system was unmounted, least of all when no mail comes. */
  async #watchDisks(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#p.clock, disksEveryMs, signal);
      if (signal.aborted) return;
      this.receiver.disks.look();
      if (!this.#tellDamage) continue;
      this.#tellDamage = false;
      // The primary proves its own, and sends it whole.
      this.peer.send((channel) => this.receiver.tellShortfalls(channel));
    }
  }

  /**
   * A watcher stands over the roots from now on, and its hints come to `hints`; what happened before is found by
   * comparing. `kind` fanotify never tells of what this process itself does.
   */
  watched(kind: 'fanotify' | 'chokidar'): void {
    this.#hintsAreForeign = kind === 'fanotify';
    this.#foreignWatch.compareAll();
  }

  hints(hints: readonly Hint[]): void {
    this.#foreignWatch.hints(hints);
  }

  /**
   * This copy was complete once under the primary that it has now, as that one said; durable. Before that it is a part of
   * the store, or an old copy of it.
   */
  get filled(): boolean {
    const { kv } = this.#p;
    const filled = kv.get(filledKey);
    if (filled === undefined || this.receiver.position.epoch === 0) return false;
    return filled.readUIntBE(0, filled.length) >= readPrimaryEpoch(kv);
  }

  /** What was kept of a root lies on as many file systems as the root. */
  #historyDirs(name: string): BytePath[] {
    return this.#p.roots
      .filter((root) => root.name === name)
      .flatMap((root) => this.receiver.regions.all(root).map((dir) => `${dir}/history`));
  }

  async #prune(signal: AbortSignal): Promise<void> {
    const { clock, keeper, files } = this.#p;
    while (!signal.aborted) {
      await sleep(clock, pruneEveryMs, signal);
      if (this.#protectFailure) throw this.#protectFailure;
      if (signal.aborted) return;
      // What was kept on a disk that is missing cannot be removed now, and must not be forgotten.
      if (this.#p.fileSystems.troubles.length === 0) {
        try {
          await keeper.prune(files, (name) => this.#historyDirs(name), clock.wallMs(), new Pacer(clock, signal).pause);
        } catch (error) {
          if (signal.aborted) return;
          throw error;
        }
        if (this.filled) await dropGone(this.#p);
      }
      await this.#nameMore();
    }
  }

  /** Compares this standby's disk with what was put there; deep re-reads all content. */
  audit(deep: boolean, progress: { files: number; bytes: number }, signal: AbortSignal): AsyncGenerator<AuditDifference> {
    return audit(this.#p, deep, progress, signal);
  }

  #other(channel: Channel, message: Message): void {
    if (message.type === 'heartbeat') {
      this.#noteFill(message);
      this.#noteUndone(message);
      if (message.lagChanges === 0) this.receiver.nothingWaits();
      this.#noteMarksAge(message);
    }
    if (this.peer.take(message)) return;
    // Digests hold until a batch changes what they were computed from.
    const { revision } = this.#p.index;
    if (revision !== this.#digestsAt) this.answers.forgetDigests();
    this.#digestsAt = revision;
    if (message.type === 'list' || message.type === 'audit' || message.type === 'contentAsk') this.receiver.settleIndex();
    if (this.answers.take(channel, message)) return;
    if (message.type === 'keepHistory') return this.#keepHistory(channel, message);
    if (message.type === 'watermarks') this.#keepMarks(message);
  }

  #hasRoot(name: string): boolean {
    return this.#p.roots.some((root) => root.name === name);
  }

  /** What a mass deletion put into the history stays for its whole time. One at a time: each looks through the history. */
  #keepHistory(channel: Channel, { items }: MessageOf<'keepHistory'>): void {
    const { keeper, clock } = this.#p;
    // A primary tells all its mass deletions in a message or two.
    if (this.#toProtect >= toProtectMax)
      return channel.close({ code: 'too-many-questions', detail: `more than ${toProtectMax} messages of what the history keeps wait` });
    this.#toProtect++;
    const protect = async () => {
      for (const [root, path, backMs, aheadMs] of items.filter(([name]) => this.#hasRoot(name)))
        await keeper.protect(root, path, backMs, aheadMs, clock.wallMs(), () => clock.yield());
    };
    this.#protecting = this.#protecting
      .then(protect)
      .catch((error: unknown) => {
        this.#protectFailure = error instanceof Error ? error : new Error(String(error));
      })
      .finally(() => this.#toProtect--);
  }

  /** Why the history is larger than it may be; null when it is not. */
  get historyFull(): HistoryFull | null {
    return this.#p.keeper.full;
  }

  /** The history of this copy. */
  get keeper(): HistoryKeeper {
    return this.#p.keeper;
  }

  /** All that a person's word undoes has gone when both hold the same again. */
  #noteUndone({ phase, complete, lagChanges }: MessageOf<'heartbeat'>): void {
    if (phase !== 'streaming' || !complete || lagChanges > 0) return;
    const writes = this.#p.keeper.endUndo();
    if (writes.length > 0) this.#p.kv.commit(writes);
  }

  /** What was undone here, and where it lies now (I21). */
  *undone(): Generator<UndonePlace> {
    const { roots, files, keeper } = this.#p;
    for (const { root: name, path, file, undone } of keeper.versions()) {
      const root = roots.find((each) => each.name === name);
      if (!undone || !root) continue;
      const source = this.#historyDirs(name)
        .map((dir) => `${dir}/${file}`)
        .find((each) => files.lstat(each) !== null);
      if (source !== undefined) yield { root, path, source };
    }
  }

  /** Before this standby has a position of the primary's, the primary speaks of another standby. */
  #noteFill({ phase, epoch, complete }: MessageOf<'heartbeat'>): void {
    const { kv } = this.#p;
    if (this.receiver.position.epoch === 0) return;
    const known = kv.get(filledKey);
    if (phase === 'initial' && known) kv.commit([[filledKey, null]]);
    if (!complete || known?.readUIntBE(0, known.length) === epoch) return;
    kv.commit([[filledKey, packNumber(epoch)]]);
  }

  /**
   * Marks are kept before the data that reaches them arrives: after a lossy takeover they say what was issued (I5). An
   * empty message says that those of all mailboxes were told.
   */
  #keepMarks({ items }: MessageOf<'watermarks'>): void {
    const { kv, clock } = this.#p;
    if (items.length > 0) {
      const ours = items.filter(([root]) => this.#hasRoot(root));
      return ours.length > 0 ? kv.commit(markWrites(kv, ours, clock.wallMs())) : undefined;
    }
    this.#told = { savedMs: 0 };
    const epoch = readPrimaryEpoch(kv);
    kv.commit([marksToldWrite({ epoch, asOfMs: this.#connectedWallMs })]);
  }

  /** What is newer than the oldest change that the primary has not looked at may have been issued without a mark. */
  #noteMarksAge({ lagMs, epoch }: MessageOf<'heartbeat'>): void {
    const { kv, clock } = this.#p;
    const nowMs = clock.monotonicMs();
    if (!this.#told || nowMs - this.#told.savedMs < toldEveryMs) return;
    const asOfMs = Math.max(readMarksTold(kv)?.asOfMs ?? 0, Math.floor(clock.wallMs() - lagMs));
    kv.commit([marksToldWrite({ epoch, asOfMs })]);
    this.#told = { savedMs: nowMs };
  }

  /** Places where somebody else wrote (I2), also before a restart, until a comparison dealt with them. They block a takeover. */
  foreign(): { path: string; what: string }[] {
    return this.receiver.foreign.list().map(({ path, what }) => ({ path: displayPath(path), what }));
  }

  /** How many such places there are; more than are named, when there are very many. */
  get foreignCount(): number {
    return this.receiver.foreign.count;
  }
}
