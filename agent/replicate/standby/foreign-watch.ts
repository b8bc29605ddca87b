import type { Hint } from '../../capture/watcher.ts';
import type { ReplicaIndex } from '../../journal/replica-index.ts';
import { sleep, type Clock } from '../../platform/clock.ts';
import { type BytePath, type Files } from '../../platform/files.ts';
import type { Log } from '../../platform/log.ts';
import { ifKnown } from '../fault.ts';
import { attributesAlone, auditBelow, auditPlaces, undecided } from '../audit.ts';
import { absolute, type Root } from '../root.ts';
import type { ForeignRecord } from './foreign-record.ts';

export interface ForeignWatchParts {
  files: Files;
  clock: Clock;
  log: Log;
  index: ReplicaIndex;
  roots: readonly Root[];
  record: ForeignRecord;
  /** Whether a batch changes this place (absolute) or one above it, or could not: then disk and index differ, and it is nobody's doing. */
  mayDiffer(path: BytePath): boolean;
  /** Whether the file system of a place is missing: then nothing can be said of what is there. */
  isAway(root: string, path: BytePath): boolean;
  /** The same, looked at now: what seems to be foreign may be the look of a disk that just went. */
  isAwayNow(root: string, path: BytePath): boolean;
  /** Grows when a file system comes, also when it was away for a moment. */
  arrivals(): number;
  /** Whether the watcher never tells of this process's own changes: then each hint is worth reading the content. */
  hintsAreForeign(): boolean;
  /** Directories that are mount points, or lead to one. */
  mounted?: (root: string, path: BytePath) => boolean;
}

interface Suspect {
  root: string;
  path: BytePath;
  kind: 'path' | 'tree';
  /** Monotonic milliseconds. */
  due: number;
}

const tickMs = 200;
/** From a hint to the look: whoever writes makes more than one step. */
const settleMs = 200;
/** Beyond so many all is compared instead (I12). */
const suspectsMax = 20_000;
/** A walk that finds more than this has said enough. */
const walkFindsMax = 5000;
/** Where so many places are somebody else's, a further one may be another name of one of them. */
const exactMax = 100;
const sliceMs = 8;
/** A walk over a whole tree works for about a third of the time: mail that comes in does not wait for it. */
const walkPauseMs = 20;

/**
 * Finds what somebody else writes below a standby's roots (I2). A watcher's hints say where to look; only what differs
 * from the index counts, so that this agent's own renames need no account of their own. At the start, and when hints
 * were lost, all is compared, because nobody watched before. The attributes of a file with several names say nothing: what a
 * batch changes under one of them shows under the others before their turn. A comparison of both nodes finds those.
 */
export class ForeignWatch {
  readonly #p: ForeignWatchParts;
  readonly #suspects = new Map<string, Suspect>();
  #walking = false;

  constructor(parts: ForeignWatchParts) {
    this.#p = parts;
  }

  /** Places that still have to be looked at. */
  get open(): number {
    return this.#suspects.size + Number(this.#walking);
  }

  hints(hints: readonly Hint[]): void {
    for (const { kind, root, path } of hints) this.#suspect(root, path, kind === 'path' ? 'path' : 'tree');
  }

  /** Compares all that lies at or below a place. */
  compare(root: string, path: BytePath): void {
    this.#suspect(root, path, 'tree');
  }

  /** Compares everything: nobody has watched until now. */
  compareAll(): void {
    this.#suspects.clear();
    for (const { name } of this.#p.roots) this.#suspect(name, '', 'tree');
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#again(signal, () => this.#looks(signal)), this.#again(signal, () => this.#walks(signal))]);
  }

  async #again(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#p.clock, tickMs, signal);
      await work();
    }
  }

  #suspect(root: string, path: BytePath, kind: Suspect['kind'], waitMs = settleMs): void {
    const key = `${root}\0${path}`;
    const known = this.#suspects.get(key);
    if (known) {
      if (kind === 'tree') known.kind = kind;
      return;
    }
    if (this.#suspects.size >= suspectsMax) return this.compareAll();
    this.#suspects.set(key, { root, path, kind, due: this.#p.clock.monotonicMs() + waitMs });
  }

  async #looks(signal: AbortSignal): Promise<void> {
    const { clock } = this.#p;
    const now = clock.monotonicMs();
    let sliceEnd = now + sliceMs;
    for (const [key, suspect] of [...this.#suspects]) {
      if (signal.aborted) return;
      if (suspect.kind === 'tree' || suspect.due > now || this.#suspects.get(key) !== suspect || this.#waits(suspect)) continue;
      this.#suspects.delete(key);
      await this.#look(suspect);
      if (clock.monotonicMs() < sliceEnd) continue;
      await clock.yield();
      sliceEnd = clock.monotonicMs() + sliceMs;
    }
  }

  /** Trees one at a time, beside the single places. */
  async #walks(signal: AbortSignal): Promise<void> {
    const now = this.#p.clock.monotonicMs();
    for (const [key, suspect] of [...this.#suspects]) {
      if (signal.aborted) return;
      if (suspect.kind === 'path' || suspect.due > now || this.#suspects.get(key) !== suspect || this.#waits(suspect)) continue;
      this.#suspects.delete(key);
      this.#walking = true;
      await this.#walk(suspect, signal);
      this.#walking = false;
    }
  }

  /** While a batch changes a place or could not, or its disk is missing, nothing can be said of it. */
  #waits(suspect: Suspect): boolean {
    const root = this.#rootOf(suspect);
    if (!root) return false;
    const mayDiffer = suspect.path !== '' && this.#p.mayDiffer(absolute(root, suspect.path));
    if (!mayDiffer && !this.#p.isAway(suspect.root, suspect.path)) return false;
    suspect.due = this.#p.clock.monotonicMs() + settleMs;
    return true;
  }

  /** Index and disk are read in one go, so that no batch can come between. */
  async #look({ root: name, path }: Suspect): Promise<void> {
    const root = this.#p.roots.find((each) => each.name === name);
    if (!root || path === '') return;
    const deep = this.#p.hintsAreForeign();
    const arrivals = this.#p.arrivals();
    const parts = {
      ...this.#p,
      skips: (...place: [string, BytePath]) => this.#p.isAway(...place),
      hasEnough: () => this.#p.record.count >= exactMax,
    };
    for await (const { what, stat } of auditPlaces(parts, [[name, path]], deep, { files: 0, bytes: 0 })) {
      if (undecided.has(what) || (attributesAlone.has(what) && stat?.kind === 'file' && stat.nlink > 1)) continue;
      if (this.#p.isAwayNow(name, path) || this.#p.arrivals() !== arrivals) this.#suspect(name, path, 'path');
      else this.#p.record.note(absolute(root, path), what);
    }
  }

  /** What a walk finds may have been on its way: each place is looked at once more, when no batch changes it. */
  async #walk(suspect: Suspect, signal: AbortSignal): Promise<void> {
    const { clock, files, record } = this.#p;
    const root = this.#rootOf(suspect);
    if (!root) return;
    const top = suspect.path === '' ? ifKnown(() => files.lstat(`${root.path}/.`)) : null;
    if (top === undefined) return this.#suspect(suspect.root, '', 'tree');
    if (suspect.path === '' && !top) return record.note(root.path, 'the root is missing');
    const paced: Clock = {
      monotonicMs: () => clock.monotonicMs(),
      wallMs: () => clock.wallMs(),
      after: (ms, fn) => clock.after(ms, fn),
      yield: () => sleep(clock, walkPauseMs, signal),
    };
    let found = 0;
    for await (const { root: name, path } of auditBelow(
      { ...this.#p, clock: paced, skips: (...place) => this.#p.isAway(...place) },
      suspect.root,
      suspect.path,
      signal,
    )) {
      if (++found > walkFindsMax) return record.note(absolute(root, suspect.path), `more than ${walkFindsMax} names below it differ`);
      this.#suspect(name, path, 'path', 0);
    }
  }

  #rootOf({ root }: Suspect): Root | undefined {
    return this.#p.roots.find(({ name }) => name === root);
  }
}
