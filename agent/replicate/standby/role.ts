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
import { markWrites } from './marks.ts';
import { Receiver, type ReceiverParts } from './receiver.ts';

type Hello = MessageOf<'hello'>;

const pruneEveryMs = 60_000;
const watermarksKey = metaKey('watermarks-at');
const filledKey = metaKey('filled-here');

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
   * The first fill was complete, as the primary said last; durable. Without it this copy is a part of the store, not a
   * copy of it.
   */
  get filled(): boolean {
    return this.#p.kv.get(filledKey) !== undefined && this.receiver.position.epoch > 0;
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
    if (message.type === 'heartbeat') this.#noteFill(message.phase);
    if (this.peer.take(message)) return;
    // Digests hold until a batch changes what they were computed from.
    const { revision } = this.#p.index;
    if (revision !== this.#digestsAt) this.answers.forgetDigests();
    this.#digestsAt = revision;
    if (this.answers.take(channel, message)) return;
    if (message.type === 'watermarks') this.#keepMarks(message);
  }

  /** Before this standby has a position of the primary's, the primary speaks of another standby. */
  #noteFill(phase: string): void {
    const { kv } = this.#p;
    if (this.receiver.position.epoch === 0 || (phase !== 'initial' && phase !== 'streaming')) return;
    const filled = phase === 'streaming';
    if (filled !== (kv.get(filledKey) !== undefined)) kv.commit([[filledKey, filled ? Buffer.from([1]) : null]]);
  }

  /** Marks are kept before the data that reaches them arrives: after a lossy takeover they say what was issued (I5). */
  #keepMarks(message: MessageOf<'watermarks'>): void {
    const wallMs = this.#p.clock.wallMs();
    const writes = markWrites(this.#p.kv, message.items, wallMs);
    writes.push([watermarksKey, packNumber(wallMs)]);
    this.#p.kv.commit(writes);
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
