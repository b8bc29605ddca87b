import { lacks } from '../../../protocol/shortfall.ts';
import type { Entry } from '../../journal/entry.ts';
import type { FoundEntry, ReplicaIndex } from '../../journal/replica-index.ts';
import type { Clock } from '../../platform/clock.ts';
import { joinPath, type BytePath } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import type { Log } from '../../platform/log.ts';
import { absolute, type Root } from '../root.ts';
import { timesAgree } from '../times.ts';
import { dayMs, newPass, oldestUnprovedMs, passWrite, readPasses, shareDone, waitMs, type EndedPass, type PassRecord } from './pass.ts';
import type { Reading, ScrubReader } from './reading.ts';

/** How content is read again. */
export interface ScrubSettings {
  reader: ScrubReader;
  /** All of it within this many days. */
  days: number;
  /** Never more than this many bytes a second. */
  bytesPerSecondMax: number;
}

/** A file that the disk has damaged: nobody has changed it, and it does not give back what it held. */
export interface DamagedContent {
  root: string;
  path: BytePath;
  entry: Entry;
  reading: Reading;
  /** For people. */
  reason: string;
}

export interface ScrubParts extends ScrubSettings {
  kv: Kv;
  clock: Clock;
  log: Log;
  index: ReplicaIndex;
  roots: readonly Root[];
  /** Whether there is a whole copy to look at now: while it is made, everything was read just before. */
  isTime(): boolean;
  /** Whether nothing can be said of a place now: its disk is missing, or something else is about to be there. */
  skips(root: Root, path: BytePath): boolean;
  /** Whether a server may be writing a file that changed so lately without showing it yet. */
  mayBeWritten(root: Root, path: BytePath, reading: Reading): boolean;
  /** The index tells when attributes of a file changed last, as this disk shows it. */
  knowsChangeTimes: boolean;
  /** A later change may hide behind the times of a file, so nothing is known of its content: it is to be looked at again. */
  unsettled(root: string, path: BytePath): void;
  damaged(found: DamagedContent): void;
  good(root: string, path: BytePath): void;
}

export interface ScrubStatus {
  /** Share of the pass under way, 0 to 1; null between two. */
  share: number | null;
  files: number;
  bytes: number;
  /** Wall clock, milliseconds; null between two passes. */
  startedMs: number | null;
  hurried: boolean;
  last: EndedPass | null;
  oldestUnprovedMs: number | null;
  days: number;
  /** Bytes read since the agent began. */
  readBytes: number;
}

const portion = 256;
const saveEveryMs = 10_000;
const lookAgainMs = 5000;
/** Errors by which a disk or a file system says that content is damaged. */
const damageErrors = new Set(['EIO', 'EUCLEAN', 'EBADMSG', 'EILSEQ', 'EREMOTEIO', 'ENODATA']);
export const otherContentText = 'its content is another one than was put there, and nobody has changed it';

/**
 * Reads all content again, slowly, for as long as its role lasts, and holds it against the index: what a disk does to files that
 * nobody reads is found before they are needed. A pass takes `days`; the next one follows it.
 */
export class Scrubber {
  readonly #p: ScrubParts;
  #record: PassRecord;
  #savedMs = 0;
  #readBytes = 0;
  #hurry = false;
  #wake: () => void = () => {};

  constructor(parts: ScrubParts) {
    this.#p = parts;
    this.#record = readPasses(parts.kv, parts.clock.wallMs(), parts.days * dayMs);
  }

  get status(): ScrubStatus {
    const { pass, last } = this.#record;
    return {
      share: pass && shareDone(pass),
      files: pass?.files ?? 0,
      bytes: pass?.bytes ?? 0,
      startedMs: pass?.startedMs ?? null,
      hurried: pass?.hurried ?? false,
      last,
      oldestUnprovedMs: oldestUnprovedMs(this.#record),
      days: this.#p.days,
      readBytes: this.#readBytes,
    };
  }

  /** Begins a pass now, as fast as it may go. */
  hurry(): void {
    this.#hurry = true;
    this.#wake();
  }

  /** Works until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      while (!signal.aborted) {
        if (!this.#p.isTime()) await this.#sleep(lookAgainMs, signal);
        else await this.#some(signal);
      }
    } finally {
      if (this.#record.pass) this.#save();
      await this.#p.reader.close();
    }
  }

  async #some(signal: AbortSignal): Promise<void> {
    const { index, roots, clock } = this.#p;
    if (!this.#record.pass || this.#hurry) {
      const total = { files: 0, bytes: 0 };
      for (const { name } of roots) {
        const { files, bytes } = index.totals(name);
        total.files += files;
        total.bytes += bytes;
      }
      this.#record = { ...this.#record, pass: newPass(total, clock.wallMs(), this.#hurry) };
      this.#hurry = false;
      this.#save();
    }
    const entries = index.settledAfter(this.#record.pass?.cursor ?? null, portion);
    if (entries.length === 0) return await this.#end(signal);
    for (const found of entries) {
      const { pass } = this.#record;
      if (!pass || signal.aborted || this.#hurry || !this.#p.isTime()) return;
      if (found.entry.kind === 'file') await this.#file(found, signal);
      if (signal.aborted) return;
      pass.cursor = { dir: found.dir, name: found.name };
      if (clock.monotonicMs() - this.#savedMs >= saveEveryMs) this.#save();
    }
    await clock.yield();
  }

  /** The pass is over; what is left of its time is waited for. */
  async #end(signal: AbortSignal): Promise<void> {
    const { pass } = this.#record;
    if (!pass) return;
    pass.files = pass.total.files;
    pass.bytes = pass.total.bytes;
    await this.#wait(signal, 1000);
    if (signal.aborted || this.#hurry) return;
    const { startedMs, files, bytes, found } = pass;
    const last = { startedMs, endedMs: this.#p.clock.wallMs(), files, bytes, found };
    this.#record = { pass: null, last };
    this.#save();
    this.#p.log.info({ files, bytes, damaged: found }, 'all content was read again');
  }

  /** Waits until the next file may be read. */
  async #wait(signal: AbortSignal, leastMs: number): Promise<void> {
    const { pass } = this.#record;
    if (!pass) return;
    for (let ms = leastMs; !signal.aborted && !this.#hurry; ms = 0) {
      const wait = Math.max(ms, waitMs(pass, this.#p.days * dayMs));
      if (wait <= 0) return;
      await this.#sleep(wait, signal);
      if (this.#p.clock.monotonicMs() - this.#savedMs >= saveEveryMs) this.#save();
    }
  }

  /** Time goes on for the pass while this waits. */
  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#p;
    const before = clock.monotonicMs();
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        timer.cancel();
        signal.removeEventListener('abort', done);
        this.#wake = () => {};
        resolve();
      };
      const timer = clock.after(ms, done);
      signal.addEventListener('abort', done);
      this.#wake = done;
    });
    this.#passes(before);
  }

  #passes(sinceMs: number): void {
    if (this.#record.pass) this.#record.pass.elapsedMs += this.#p.clock.monotonicMs() - sinceMs;
  }

  async #file(found: FoundEntry, signal: AbortSignal): Promise<void> {
    const { index, roots, clock, bytesPerSecondMax } = this.#p;
    const { pass } = this.#record;
    const { root: number, path: dir } = index.pathOf(found.dir);
    const root = roots.find(({ name }) => index.root(name) === number);
    if (!root || !pass) return;
    const path = joinPath(dir, found.name);
    pass.files++;
    pass.bytes += found.entry.size;
    await this.#wait(signal, 0);
    const began = clock.monotonicMs();
    const bytes = await this.#judge(root, path, found);
    this.#passes(began);
    // What is in the way of nobody may go on at once; a burst of small files counts as what they hold.
    const spareMs = (bytes * 1000) / bytesPerSecondMax - (clock.monotonicMs() - began);
    if (spareMs >= 1 && !signal.aborted) await this.#sleep(spareMs, signal);
    else await clock.yield();
  }

  /** Reads a file and says what it found; returns how many bytes that took. */
  async #judge(root: Root, path: BytePath, found: FoundEntry): Promise<number> {
    if (found.entry.racy && !this.#p.skips(root, path)) this.#p.unsettled(root.name, path);
    if (!this.#isKnown(root, path, found)) return 0;
    const first = await this.#read(root, path);
    if (!first || !this.#isUnchanged(found.entry, first)) return first?.bytes ?? 0;
    if (first.content?.equals(found.entry.content)) {
      this.#p.good(root.name, path);
      return first.bytes;
    }
    // What a cable or a controller did once is not damage of the disk.
    const again = await this.#read(root, path);
    const bytes = first.bytes + (again?.bytes ?? 0);
    if (!again || !this.#isUnchanged(found.entry, again) || again.content?.equals(found.entry.content)) return bytes;
    if (again.error !== null && !damageErrors.has(again.error)) return bytes;
    if (this.#p.mayBeWritten(root, path, again) || !this.#isKnown(root, path, found)) return bytes;
    const reason = again.error === null ? otherContentText : `it cannot be read (${again.error})`;
    if (this.#record.pass) this.#record.pass.found++;
    this.#p.damaged({ root: root.name, path, entry: found.entry, reading: again, reason });
    return bytes;
  }

  async #read(root: Root, path: BytePath): Promise<Reading | null> {
    const reading = await this.#p.reader.read(absolute(root, path), this.#p.bytesPerSecondMax);
    this.#readBytes += reading?.bytes ?? 0;
    return reading;
  }

  /** Whether the index says what a file must hold, and nothing that is on its way says something else. */
  #isKnown(root: Root, path: BytePath, { dir, name, entry }: FoundEntry): boolean {
    if (entry.content.length === 0 || entry.racy || entry.ino === 0n || this.#p.skips(root, path)) return false;
    const now = this.#p.index.get(dir, name);
    return now !== undefined && now.ino === entry.ino && now.content.equals(entry.content) && now.mtimeNs === entry.mtimeNs;
  }

  /** Whether nobody has changed a file since the index was told of it. What somebody changed is for others to find. */
  #isUnchanged(entry: Entry, { stat }: Reading): boolean {
    if (stat.ino !== entry.ino || stat.size !== entry.size) return false;
    if (this.#p.knowsChangeTimes && entry.ctimeNs !== 0n && entry.ctimeNs !== stat.ctimeNs) return false;
    return ((entry.lacks ?? 0) & lacks.time) !== 0 || timesAgree(entry.mtimeNs, stat);
  }

  #save(): void {
    const { kv, clock } = this.#p;
    this.#savedMs = clock.monotonicMs();
    if (this.#record.pass) this.#record.pass.savedMs = clock.wallMs();
    kv.commit([passWrite(this.#record)]);
  }
}
