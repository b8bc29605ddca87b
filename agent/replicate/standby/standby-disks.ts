import { metaKey } from '../../journal/keys.ts';
import type { BytePath } from '../../platform/files.ts';
import type { Kv, KvWrite } from '../../platform/kv.ts';
import type { Log } from '../../platform/log.ts';
import { isAtOrBelow, placeName, type FileSystems, type FileSystemTrouble } from '../file-systems.ts';
import { absolute, type Root } from '../root.ts';
import type { RenameRegions } from './rename-regions.ts';
import { decodeSteps, encodeSteps, type Step } from './steps.ts';

export interface StandbyDisksParts {
  kv: Kv;
  log: Log;
  fileSystems: FileSystems;
  roots: readonly Root[];
  regions: RenameRegions;
  /** Does steps again that were set aside; false when a disk went meanwhile. */
  redo: (steps: readonly Step[]) => boolean;
}

const asideKey = metaKey('steps-aside');
/** Steps that were aside and are done; a power cut may still take back what they did. */
const takenUpKey = metaKey('steps-taken-up');

/** The file systems below a standby's roots, as the receiver has to do with them (I19). Paths are absolute. */
export class StandbyDisks {
  readonly #p: StandbyDisksParts;
  #onMoved: (came: readonly { root: string; path: BytePath }[]) => void = () => {};

  constructor(parts: StandbyDisksParts) {
    this.#p = parts;
  }

  /** Calls `fn` when file systems went or came; `came` are the places of those that came. */
  onMoved(fn: (came: readonly { root: string; path: BytePath }[]) => void): void {
    this.#onMoved = fn;
  }

  /** Looks at every file system of every root; what waited for one that came is done before anything else. */
  look(): void {
    const { fileSystems, log } = this.#p;
    const { came, began } = fileSystems.look();
    for (const { root, path, code, detail } of began) log.error({ code, place: placeName({ root, path }) }, detail);
    for (const place of came) log.info({ place: placeName(place) }, 'a file system is in its place');
    if (came.length > 0 || began.length > 0) this.#p.regions.forget();
    if (came.length > 0) this.takeUp();
    if (came.length > 0 || began.length > 0) this.#onMoved(came);
  }

  /** What is wrong with the file system of a path, or with the root above it, as the last look found it. */
  covering(path: BytePath): FileSystemTrouble | null {
    const { fileSystems, roots } = this.#p;
    if (fileSystems.troubles.length === 0) return null;
    const root = roots.find((each) => isAtOrBelow(path, each.path));
    return root ? fileSystems.covering(root.name, path.slice(root.path.length + 1)) : null;
  }

  /** Grows when one comes, also when it was away for a moment: what was done meanwhile may lie below its mount point. */
  get arrivals(): number {
    return this.#p.fileSystems.arrivals;
  }

  /** Whether the file systems that a path lies on are where the last look saw them; one that is mounted below it counts for nothing. */
  stands(path: BytePath): boolean {
    const root = this.#p.roots.find((each) => isAtOrBelow(path, each.path));
    return root !== undefined && this.#p.fileSystems.bear(root.name, path.slice(root.path.length + 1));
  }

  /** What is wrong with the file systems of these paths, looked at now; a root itself comes first. */
  troubleOf(paths: Iterable<BytePath>): FileSystemTrouble | null {
    this.look();
    const { fileSystems, roots } = this.#p;
    const troubles = fileSystems.troubles.toSorted((a, b) => a.path.length - b.path.length);
    if (troubles.length === 0) return null;
    const all = [...paths];
    return (
      troubles.find(({ root: name, path }) => {
        const root = roots.find((each) => each.name === name);
        return root && all.some((touched) => isAtOrBelow(touched, absolute(root, path)));
      }) ?? null
    );
  }

  /**
   * Keeps the steps of a durable batch whose disk is missing until it is back; durable when the store is flushed. Gives the
   * others. A root itself is waited for, and holds all.
   */
  setAside(steps: readonly Step[]): Step[] {
    const waits = steps.filter((step) => this.#waits(step));
    const aside = this.#aside();
    // Each start sets the steps of the last batch aside anew.
    const known = new Set(aside.map(identity));
    const fresh = waits.filter((step) => !known.has(identity(step)));
    if (fresh.length > 0) this.#p.kv.commit([this.#writeOf(asideKey, [...aside, ...fresh])]);
    return waits.length === 0 ? [...steps] : steps.filter((step) => !waits.includes(step));
  }

  /** Does what was set aside for disks that are back, and what was done for them since the last commit of a batch. */
  takeUp(): void {
    const aside = [...this.#steps(takenUpKey), ...this.#aside()];
    if (aside.length === 0) return;
    const waits = aside.filter((step) => this.#waits(step));
    const ready = aside.filter((step) => !waits.includes(step));
    if (ready.length === 0) return;
    // The next look finds what went, and comes here again when it is back.
    if (!this.#p.redo(ready)) return;
    this.#p.kv.commit([this.#writeOf(asideKey, waits), this.#writeOf(takenUpKey, ready)]);
    this.#p.log.info({ steps: ready.length }, 'what waited for a disk was put into place');
  }

  /**
   * For the commit of a batch, after the disks were synced and looked at: what was taken up is durable there. What lies on a
   * disk that went since then waits again.
   */
  settledWrites(): KvWrite[] {
    const takenUp = this.#steps(takenUpKey);
    if (takenUp.length === 0) return [];
    const waits = takenUp.filter((step) => this.#waits(step));
    return [this.#writeOf(asideKey, [...waits, ...this.#aside()]), this.#writeOf(takenUpKey, [])];
  }

  /** Files in staging (absolute) that a step which waits will put into place. */
  staged(): Set<BytePath> {
    return new Set(
      this.#aside().flatMap((step) => (step.do === 'place' ? [step.staged] : step.do === 'move' && step.via ? [step.via] : [])),
    );
  }

  #waits(step: Step): boolean {
    return this.covering(step.path) !== null || (step.do === 'move' && this.covering(step.from) !== null);
  }

  #aside(): Step[] {
    return this.#steps(asideKey);
  }

  #steps(key: Buffer): Step[] {
    const kept = this.#p.kv.get(key);
    return kept ? decodeSteps(kept) : [];
  }

  #writeOf(key: Buffer, steps: readonly Step[]): KvWrite {
    return [key, steps.length === 0 ? null : encodeSteps(steps)];
  }
}

function identity(step: Step): string {
  return encodeSteps([step]).toString('latin1');
}
