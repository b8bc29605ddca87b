import type { Message, MessageOf } from '../../../protocol/messages.ts';
import type { Hint } from '../../capture/watcher.ts';
import { metaKey } from '../../journal/keys.ts';
import { packNumber } from '../../journal/replica-index.ts';
import type { Channel } from '../../link/channel.ts';
import { sleep } from '../../platform/clock.ts';
import { displayPath } from '../../platform/files.ts';
import { audit, type AuditDifference } from '../audit.ts';
import { PeerView } from '../peer-view.ts';
import { Answers } from './answers.ts';
import { ForeignWatch } from './foreign-watch.ts';
import { markWrites, marksToldWrite, primaryEpochWrite, readMarksTold, readPrimaryEpoch } from './marks.ts';
import { Receiver, type ReceiverParts } from './receiver.ts';

type Hello = MessageOf<'hello'>;

const pruneEveryMs = 60_000;
const filledKey = metaKey('filled-here');
/** A copy that is further behind than this is not complete yet; a loaded pair is seconds behind at most. */
const completeLagMs = 5000;
const toldEveryMs = 5000;

/** The standby: receives the stream, answers the primary's questions, keeps history in bounds. */
export class StandbyRole {
  readonly #p: ReceiverParts;
  readonly receiver: Receiver;
  readonly answers: Answers;
  readonly peer: PeerView;
  #serving: Promise<void> | null = null;
  #digestsAt = -1;
  readonly #foreignWatch: ForeignWatch;
  #hintsAreForeign = false;
  #connectedWallMs = 0;
  /** Since when all marks are told on this connection, wall clock; null before. */
  #told: { savedMs: number } | null = null;

  constructor(parts: ReceiverParts, heartbeat: () => MessageOf<'heartbeat'>) {
    this.#p = parts;
    this.receiver = new Receiver(parts);
    this.answers = new Answers({ ...parts, foreign: this.receiver.foreign });
    this.peer = new PeerView(parts.clock, heartbeat);
    this.#foreignWatch = new ForeignWatch({
      ...parts,
      record: this.receiver.foreign,
      isUnderWay: (path) => this.receiver.isUnderWay(path),
      hintsAreForeign: () => this.#hintsAreForeign,
    });
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
    this.answers.reset();
    const serving = (async () => {
      await before;
      await this.receiver.serve(channel, (message) => this.#other(channel, message));
    })();
    this.#serving = serving.catch(() => {});
    await serving;
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
    await Promise.all([this.#prune(signal), this.#foreignWatch.run(signal)]);
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

  async #prune(signal: AbortSignal): Promise<void> {
    const { clock, keeper, files, roots } = this.#p;
    while (!signal.aborted) {
      await sleep(clock, pruneEveryMs, signal);
      if (!signal.aborted) keeper.prune(files, (name) => dirOf(roots, name), clock.wallMs());
    }
  }

  /** Compares this standby's disk with what was put there; deep re-reads all content. */
  audit(deep: boolean, progress: { files: number; bytes: number }, signal: AbortSignal): AsyncGenerator<AuditDifference> {
    return audit(this.#p, deep, progress, signal);
  }

  #other(channel: Channel, message: Message): void {
    if (message.type === 'heartbeat') {
      this.#noteFill(message);
      this.#noteMarksAge(message);
    }
    if (this.peer.take(message)) return;
    // Digests hold until a batch changes what they were computed from.
    const { revision } = this.#p.index;
    if (revision !== this.#digestsAt) this.answers.forgetDigests();
    this.#digestsAt = revision;
    if (this.answers.take(channel, message)) return;
    if (message.type === 'watermarks') this.#keepMarks(message);
  }

  /** Before this standby has a position of the primary's, the primary speaks of another standby. */
  #noteFill({ phase, epoch, lagMs }: MessageOf<'heartbeat'>): void {
    const { kv } = this.#p;
    if (this.receiver.position.epoch === 0) return;
    const known = kv.get(filledKey);
    if (phase === 'initial' && known) kv.commit([[filledKey, null]]);
    if (phase !== 'streaming' || lagMs > completeLagMs || known?.readUIntBE(0, known.length) === epoch) return;
    kv.commit([[filledKey, packNumber(epoch)]]);
  }

  /**
   * Marks are kept before the data that reaches them arrives: after a lossy takeover they say what was issued (I5). An
   * empty message says that those of all mailboxes were told.
   */
  #keepMarks({ items }: MessageOf<'watermarks'>): void {
    const { kv, clock } = this.#p;
    if (items.length > 0) return kv.commit(markWrites(kv, items, clock.wallMs()));
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

function dirOf(roots: ReceiverParts['roots'], name: string): string | null {
  const root = roots.find((r) => r.name === name);
  return root ? `${root.staging}/history` : null;
}
