import { limits } from '../../../protocol/limits.ts';
import type { Message, MessageOf } from '../../../protocol/messages.ts';
import type { Channel } from '../../link/channel.ts';
import type { ReplicaIndex } from '../../journal/replica-index.ts';
import { kindNumber, TreeDigests } from '../../journal/tree-digest.ts';
import type { Clock } from '../../platform/clock.ts';
import { errnoCode, type BytePath } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import { audit, auditPlaces, type AuditDifference, type AuditParts } from '../audit.ts';
import { notADirectoryAbove } from '../primary/scan.ts';
import { absolute } from '../root.ts';
import { disown } from './disown.ts';
import type { ForeignRecord } from './foreign-record.ts';

export interface AnswerParts extends AuditParts {
  kv: Kv;
  index: ReplicaIndex;
  clock: Clock;
  /** What is known of foreign writes (I2): a comparison with the disk deals with them, because what differs is brought again. */
  foreign: ForeignRecord;
  /** Whether the file system of a place is missing, looked at now: what is missing with it is no difference. */
  isAwayNow(root: string, path: BytePath): boolean;
}

const progressEveryMs = 500;
const noBytes = Buffer.alloc(0);

/** Answers the primary's questions about what this standby holds. */
export class Answers {
  readonly #p: AnswerParts;
  readonly #digests: TreeDigests;
  #queue: Promise<void> = Promise.resolve();
  #queued = 0;
  #abort = new AbortController();
  /** Foreign writes that were known when the last walk over the whole disk began. */
  #walkMark = -1;

  constructor(parts: AnswerParts) {
    this.#p = parts;
    this.#digests = new TreeDigests(parts.index, () => parts.clock.yield());
  }

  /** A new connection: what was known may be old, what is running is of no use. */
  reset(): void {
    this.#digests.forget();
    this.#walkMark = -1;
    this.#abort.abort();
    this.#abort = new AbortController();
  }

  /** Takes a message; true when it was a question. Questions are answered one after the other. */
  take(channel: Channel, message: Message): boolean {
    if (message.type !== 'list' && message.type !== 'audit' && message.type !== 'contentAsk') return false;
    // A primary asks one thing at a time; more would be a fault of its own.
    if (++this.#queued > 16) {
      channel.close({ code: 'too-many-questions', detail: 'more than 16 questions wait for an answer' });
      return true;
    }
    const { signal } = this.#abort;
    this.#queue = this.#queue
      .then(() => {
        if (signal.aborted) return undefined;
        if (message.type === 'contentAsk') return this.#content(channel, message);
        return message.type === 'list' ? this.#list(channel, message) : this.#audit(channel, message, signal);
      })
      .catch((error: unknown) => channel.close({ code: 'answer-failed', detail: error instanceof Error ? error.message : String(error) }))
      .finally(() => this.#queued--);
    return true;
  }

  /** Batches change what digests were computed from. */
  forgetDigests(): void {
    this.#digests.forget();
  }

  async #list(channel: Channel, message: MessageOf<'list'>): Promise<void> {
    const { index } = this.#p;
    const dir = index.dirAt(message.root, message.dir);
    const entries: MessageOf<'listing'>['entries'] = [];
    let bytes = 0;
    let more = false;
    if (dir !== null) {
      for (const [name, entry] of index.entries(dir, { after: message.after })) {
        if (entries.length >= limits.listItemsMax || bytes > limits.opsFrameBytesTarget) {
          more = true;
          break;
        }
        entries.push([name, kindNumber(entry), await this.#digests.of(entry)]);
        bytes += name.length + 30;
      }
    }
    const digest = dir === null ? null : await this.#digests.below(dir);
    await channel.sendBulk({ type: 'listing', id: message.id, digest, entries, more });
  }

  /** Gives a part of a file whose content the primary has lost. */
  async #content(channel: Channel, { id, root: name, path, content, offset }: MessageOf<'contentAsk'>): Promise<void> {
    const answer = (bytes: Buffer, error: string | null) => channel.sendBulk({ type: 'contentPart', id, bytes, error });
    const { index, roots, files } = this.#p;
    const root = roots.find((each) => each.name === name);
    const entry = index.at(name, path)?.entry;
    // Of what a comparison gave up the index knows no content: the primary proves what it gets.
    const isOther = entry?.kind !== 'file' || (entry.content.length > 0 && !entry.content.equals(content));
    if (!root || isOther) return await answer(noBytes, 'the standby has no such version');
    if (notADirectoryAbove(files, root, path) !== null) return await answer(noBytes, 'a directory above it is none any more');
    let fd: number | null = null;
    try {
      fd = files.openRead(absolute(root, path));
      if (fd === null) return await answer(noBytes, 'the file is not there');
      const bytes = Buffer.allocUnsafe(limits.dataFrameBytesMax);
      const got = files.read(fd, bytes, 0, bytes.length, offset);
      await answer(bytes.subarray(0, got), null);
    } catch (error) {
      const code = errnoCode(error);
      if (code === undefined) throw error;
      await answer(noBytes, `the file cannot be read there (${code})`);
    } finally {
      if (fd !== null) files.close(fd);
    }
  }

  #disown(differences: readonly AuditDifference[]): void {
    disown(this.#p, differences);
    this.#digests.forget();
  }

  async #audit(channel: Channel, message: MessageOf<'audit'>, signal: AbortSignal): Promise<void> {
    const progress = { files: 0, bytes: 0 };
    if (message.places.length === 0) this.#walkMark = this.#p.foreign.mark();
    const mark = this.#walkMark;
    const differences: MessageOf<'audited'>['differences'] = [];
    let total = 0;
    let last = this.#p.clock.monotonicMs();
    const found: AuditDifference[] = [];
    const timer = () => {
      const now = this.#p.clock.monotonicMs();
      if (now - last < progressEveryMs) return;
      last = now;
      channel.sendControl({ type: 'auditing', id: message.id, ...progress });
    };
    const pausing = { ...this.#p, clock: { ...clockOf(this.#p.clock), yield: () => (timer(), this.#p.clock.yield()) } };
    const walk =
      message.places.length > 0
        ? auditPlaces(pausing, message.places, message.deep, progress)
        : audit(pausing, message.deep, progress, signal);
    for await (const difference of walk) {
      if (this.#p.isAwayNow(difference.root, difference.path)) continue;
      total++;
      if (differences.length < limits.differencesMax) differences.push([difference.root, difference.path, difference.what]);
      if (message.mend) found.push(difference);
      if (found.length >= 1000) this.#disown(found.splice(0));
    }
    this.#disown(found);
    if (!signal.aborted && (message.mend || (total === 0 && message.places.length === 0)))
      this.#p.foreign.forget(mark, this.#absolute(message.places));
    if (!signal.aborted) channel.sendControl({ type: 'audited', id: message.id, ...progress, differences, total });
  }

  #absolute(places: MessageOf<'audit'>['places']): BytePath[] {
    return places.flatMap(([name, path]) => this.#p.roots.filter((root) => root.name === name).map((root) => absolute(root, path)));
  }
}

function clockOf(clock: Clock): Clock {
  return {
    monotonicMs: () => clock.monotonicMs(),
    wallMs: () => clock.wallMs(),
    after: (ms, fn) => clock.after(ms, fn),
    yield: () => clock.yield(),
  };
}
