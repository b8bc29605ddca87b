import { lacks, shortfallTextMax } from '../../../protocol/shortfall.ts';
import type { Clock } from '../../platform/clock.ts';
import { displayPath, parentPath, type BytePath, type Files } from '../../platform/files.ts';
import type { Log } from '../../platform/log.ts';
import { faultOf, hasRoom, whyOf } from '../fault.ts';
import { NameTaken } from '../one-name.ts';
import type { Root } from '../root.ts';
import { checkParents } from './confine.ts';
import type { ForeignRecord } from './foreign-record.ts';
import type { Shortfall } from './shortfalls.ts';
import type { StandbyDisks } from './standby-disks.ts';
import type { Folding } from './folding.ts';
import { doStep, isSuperseded, PlaceAway, StepBlocked, type ForeignFound, type Step } from './steps.ts';

export interface PlacingParts {
  files: Files;
  clock: Clock;
  log: Log;
  roots: readonly Root[];
  foreign: ForeignRecord;
  disks: StandbyDisks;
  folding: Folding;
  /** Waits before something is tried again. */
  wait: (ms: number) => Promise<void>;
}

/** A step that left something undone: what, and at which places (absolute) the index and the disk may differ now. */
export interface StepFault extends Shortfall {
  /** Number of the step. */
  step: number;
  paths: BytePath[];
  /** Place (absolute) at which what should have gone from there, or moved away, still is. */
  stays?: BytePath;
}

const stepsBetweenYields = 128;
const rootWaitMs = 1000;
/** Disks that come and go may do so again. */
const againMs = 50;
const waitMsMax = 5000;
/** An error of the disk that is met so often at one place, while the rest of the disk works, is of that place. */
const triesMax = 8;
const notMade = 'the directory above it cannot be had';
const notAlone = 'another file of its mailbox cannot be put into place';
const notThere = 'what comes before it could not be done';
const notGone = 'what was there before could not be taken away';

/**
 * Puts a durable batch into place. What the disk as a whole refuses is tried until it can be done; what one place refuses
 * is left undone there and told, and everything else goes on (I20).
 */
export class Placing {
  readonly #p: PlacingParts;
  #stuck: string | null = null;
  readonly #broken: BrokenGroups;
  /** Directories (absolute) that could not be made; batches that were made before the primary heard of it put files there. */
  readonly #lost = new Set<BytePath>();
  /** Places (absolute) where a step was left undone. */
  readonly #undone = new Set<BytePath>();
  /** Places (absolute) from which something should have gone: a directory that is found there is not the one that should be made. */
  readonly #stays = new Set<BytePath>();

  constructor(parts: PlacingParts) {
    this.#p = parts;
    this.#broken = new BrokenGroups(parts.roots);
  }

  /** A place (absolute) that a batch before the next one could not have. */
  lacks(path: BytePath): void {
    this.#broken.note(path);
    this.#lost.add(path);
    this.#undone.add(path);
  }

  /** The index claims no more than there is: what comes from now on builds on that. */
  settled(): void {
    this.#broken.clear();
    this.#lost.clear();
    this.#undone.clear();
    this.#stays.clear();
  }

  /** What keeps the batch from being put into place. */
  get stuck(): string | null {
    return this.#stuck;
  }

  set stuck(reason: string | null) {
    this.#stuck = reason;
  }

  /**
   * `touched` are all places of the batch. What lies on a disk below a root that goes meanwhile is set aside until it is back; a
   * root itself is waited for, and then all is done again.
   */
  async place(steps: readonly Step[], touched: ReadonlySet<BytePath>): Promise<StepFault[]> {
    const { disks, foreign } = this.#p;
    const { arrivals } = disks;
    const found: [BytePath, string][] = [];
    const faults = await this.#placeAll(steps, touched, (path, what) => void found.push([path, what]));
    // What was put into place counts when the disks stood to the end: what a disk took with it may have been half of it.
    if (faults !== null && disks.troubleOf(touched) === null && disks.arrivals === arrivals) {
      // What is missing may have been on a disk that was away, and is nobody's doing then.
      for (const [path, what] of found) foreign.note(path, what);
      return faults;
    }
    await this.#untilRootsStand(touched);
    for (let todo = disks.setAside(steps); ; todo = disks.setAside(todo)) {
      const again = this.redoChecked(todo);
      if (again) return again.map((fault) => ({ ...fault, step: steps.indexOf(stepOf(todo, fault)) }));
      await this.#p.wait(againMs);
      await this.#untilRootsStand(touched);
    }
  }

  async #untilRootsStand(touched: ReadonlySet<BytePath>): Promise<void> {
    const { disks } = this.#p;
    for (let trouble = disks.troubleOf(touched); trouble?.path === ''; trouble = disks.troubleOf(touched)) {
      this.#stuck = trouble.detail;
      await this.#p.wait(rootWaitMs);
    }
    this.#stuck = null;
  }

  /** Null when a disk went meanwhile: what was done is not known then. */
  async #placeAll(steps: readonly Step[], touched: ReadonlySet<BytePath>, found: ForeignFound): Promise<StepFault[] | null> {
    const { files, clock, roots, disks } = this.#p;
    const note = this.#notingOthers(found);
    const { arrivals } = disks;
    const stands = (path: BytePath) => disks.stands(path);
    const faults: StepFault[] = [];
    const safe = new Set<BytePath>();
    let tries = 0;
    for (let i = 0; i < steps.length;) {
      const step = steps[i];
      if (!step) break;
      try {
        const why = this.#whyNot(step);
        if (why !== null) faults.push(this.#leaveUndone(i, step, why));
        else {
          checkParents(files, roots, step, safe);
          const shortfall = doStep(files, this.#asItIs(step), note, false, stands);
          this.#done(step);
          if (shortfall) faults.push({ ...shortfall, step: i, paths: [step.path] });
        }
        this.#stuck = null;
      } catch (error) {
        // What is missing may have gone with its disk, and is nobody's doing: `place` sees to it.
        if (disks.troubleOf(touched) || disks.arrivals !== arrivals) return null;
        // It was missing for a moment.
        if (error instanceof PlaceAway) {
          await this.#tryAgain(step, error, ++tries);
          continue;
        }
        if (!(error instanceof StepBlocked) && !this.#isStepsOwn(error, step, ++tries)) {
          await this.#tryAgain(step, error, tries);
          continue;
        }
        const isOurs = error instanceof StepBlocked && this.#isUndone(error.path);
        if (error instanceof StepBlocked) note(error.path, error.message);
        // Of other steps the index says what belongs there, and a comparison finds the rest.
        if (isOurs && step.do !== 'mkdir') faults.push(this.#leaveUndone(i, step, notThere));
        else if (!(error instanceof StepBlocked) || step.do === 'mkdir') {
          faults.push(this.#leave(i, step, error));
        }
      }
      tries = 0;
      i++;
      if (i % stepsBetweenYields === 0) await clock.yield();
    }
    return faults;
  }

  /**
   * As `redo`; null when a disk went or came meanwhile: what was done then is not known, and nothing that was missed is told.
   * The file systems are looked at no more than to see that.
   */
  redoChecked(steps: readonly Step[]): StepFault[] | null {
    const { disks, foreign, roots } = this.#p;
    const { arrivals } = disks;
    const isRoot = (path: BytePath) => roots.some((root) => root.path === path);
    const dirs = new Set(
      steps
        .flatMap((step) => (step.do === 'move' ? [step.path, step.from] : [step.path]))
        .map((path) => (isRoot(path) ? path : parentPath(path))),
    );
    const found: [BytePath, string][] = [];
    try {
      const faults = this.#p.folding.whileRedoing(() => this.redo(steps, (path, what) => void found.push([path, what])));
      for (const dir of dirs) if (!disks.stands(dir)) return null;
      if (disks.arrivals !== arrivals) return null;
      for (const [path, what] of found) foreign.note(path, what);
      return faults;
    } catch (error) {
      if (error instanceof PlaceAway) return null;
      throw error;
    }
  }

  /**
   * Does all steps again after a restart, when some may have been done and others lost.
   *
   * @throws PlaceAway when the file system of a directory that is to be made is gone.
   */
  redo(steps: readonly Step[], found: ForeignFound): StepFault[] {
    const { files, disks } = this.#p;
    const note = this.#notingOthers(found);
    const stands = (path: BytePath) => disks.stands(path);
    const faults: StepFault[] = [];
    for (const [number, step] of steps.entries()) {
      const why = this.#whyNot(step);
      if (why !== null) {
        faults.push(this.#leaveUndone(number, step, why));
        continue;
      }
      try {
        const shortfall = doStep(files, this.#asItIs(step), note, true, stands);
        this.#done(step);
        if (shortfall) faults.push({ ...shortfall, step: number, paths: [step.path] });
      } catch (error) {
        if (error instanceof PlaceAway) throw error;
        const of = error instanceof StepBlocked ? 'gone' : faultOf(error, 'writing');
        if ((of === 'gone' || error instanceof NameTaken) && isSuperseded(steps, number)) continue;
        // What is gone from both places was taken away by somebody else: the comparison will bring it back.
        if (of === 'gone' && this.#isUndone(error instanceof StepBlocked ? error.path : step.path))
          faults.push(this.#leaveUndone(number, step, notThere));
        else if (of === 'gone') note(step.path, whyOf(error));
        else if (of === 'path' || (of === 'room' && hasRoom(files, this.#rootOf(step)))) {
          faults.push(this.#leave(number, step, error));
        } else throw error;
      }
    }
    return faults;
  }

  /** Why a step is not even tried, for what was left undone before it. */
  #whyNot(step: Step): string | null {
    if (step.do === 'mkdir' && this.#stays.has(step.path)) return notGone;
    return isBelow(this.#lost, step) ? notMade : this.#broken.holds(step) ? notAlone : null;
  }

  /** Whether a step was left undone at a place or above it: what is missing there, or in the way, is nobody's doing. */
  #isUndone(path: BytePath): boolean {
    if (this.#undone.size === 0) return false;
    for (let at = path; at !== ''; at = parentPath(at)) if (this.#undone.has(at)) return true;
    return false;
  }

  /** Tells of what somebody else did. */
  #notingOthers(note: ForeignFound): ForeignFound {
    return (path, what) => {
      if (!this.#isUndone(path)) note(path, what);
    };
  }

  /** What was left undone below a directory is undone under its new name as well. */
  #done(step: Step): void {
    if (step.do !== 'move' || this.#undone.size === 0) return;
    const { from, path } = step;
    for (const each of [...this.#undone]) if (each.startsWith(`${from}/`)) this.#undone.add(`${path}${each.slice(from.length)}`);
  }

  #leaveUndone(number: number, step: Step, why: string): StepFault {
    const fault = undone(number, step, why);
    this.#broken.note(step.path);
    for (const path of fault.paths) this.#undone.add(path);
    if (fault.stays !== undefined) this.#stays.add(fault.stays);
    if (step.do === 'mkdir') this.#lost.add(step.path);
    return fault;
  }

  /** What the batch before could not put there is not there for this one, which was made before anybody knew. */
  #asItIs(step: Step): Step {
    return step.do !== 'discard' && step.do !== 'meta' && this.#undone.has(step.path) ? { ...step, fresh: true } : step;
  }

  #leave(number: number, step: Step, error: unknown): StepFault {
    const fault = this.#leaveUndone(number, step, whyOf(error));
    const root = this.#p.roots.find((each) => step.path.startsWith(`${each.path}/`));
    if (error instanceof NameTaken && root) this.#p.folding.found(root);
    this.#p.log.warn(
      { step: step.do, path: displayPath(step.path), error: fault.text },
      'a change cannot be put into place; it is left out',
    );
    return fault;
  }

  /** Whether only this step cannot be done. */
  #isStepsOwn(error: unknown, step: Step, tries: number): boolean {
    const { files } = this.#p;
    const root = this.#rootOf(step);
    switch (faultOf(error, 'writing')) {
      case 'gone':
      case 'path':
        return true;
      case 'room':
        return hasRoom(files, root) || (tries >= triesMax && this.#diskWorks(root));
      case 'root':
        return tries >= triesMax && this.#diskWorks(root);
      case 'us':
        throw error;
      default:
        return false;
    }
  }

  async #tryAgain(step: Step, error: unknown, tries: number): Promise<void> {
    this.#stuck = whyOf(error);
    this.#p.log.error(
      { step: step.do, path: displayPath(step.path), error: this.#stuck },
      'a change cannot be put into place; trying again',
    );
    await this.#p.wait(Math.min(waitMsMax, 50 * 2 ** (tries - 1)));
  }

  /** Whether new files can be written beside the root. */
  #diskWorks(staging: BytePath): boolean {
    const { files } = this.#p;
    const probe = `${staging}/stage/probe`;
    try {
      if (files.lstat(probe)) files.unlink(probe);
      const fd = files.create(probe);
      try {
        files.write(fd, Buffer.alloc(4096), 0);
      } finally {
        files.close(fd);
      }
      files.unlink(probe);
      return true;
    } catch (error) {
      if (faultOf(error, 'writing') === 'us') throw error;
      return false;
    }
  }

  #rootOf(step: Step): BytePath {
    const root = this.#p.roots.find((each) => step.path === each.path || step.path.startsWith(`${each.path}/`));
    if (!root) throw new StepBlocked(step.path, 'a path is outside of every root');
    return root.staging;
  }
}

/**
 * Mailboxes of which a control or index file could not be put into place. Each of these is only right beside the others, and
 * none may be newer than the one that failed: what follows of them, and removals of messages that they name, stay undone (I6),
 * also in the batches that were made before the primary heard of it.
 */
class BrokenGroups {
  readonly #roots: readonly Root[];
  readonly #broken = new Set<string>();

  constructor(roots: readonly Root[]) {
    this.#roots = roots;
  }

  /** What belongs to a place (absolute) could not be put there. */
  note(path: BytePath): void {
    const group = this.#groupOf(path);
    if (group && !group.isMessage) this.#broken.add(group.key);
  }

  clear(): void {
    this.#broken.clear();
  }

  holds(step: Step): boolean {
    if (this.#broken.size === 0) return false;
    const group = this.#groupOf(step.path);
    return group !== null && this.#broken.has(group.key) && (!group.isMessage || step.do === 'discard');
  }

  #groupOf(path: BytePath): { key: string; isMessage: boolean } | null {
    const root = this.#roots.find((each) => path.startsWith(`${each.path}/`));
    if (!root) return null;
    const { class: is, mailbox } = root.format.classify(path.slice(root.path.length + 1), 'file');
    return mailbox === null || is === 'plain' ? null : { key: `${root.name}\0${mailbox}`, isMessage: is === 'message' };
  }
}

function stepOf(steps: readonly Step[], { step }: StepFault): Step {
  const found = steps[step];
  if (!found) throw new Error(`there is no step ${step}`);
  return found;
}

function undone(step: number, { do: what, path, ...rest }: Step, why: string): StepFault {
  const text = what === 'discard' ? `cannot be removed: ${why}` : `cannot be put into place: ${why}`;
  const from = what === 'move' && 'from' in rest ? rest.from : null;
  const stays = what === 'discard' ? path : from;
  return {
    bits: lacks.place,
    text: text.slice(0, shortfallTextMax),
    step,
    paths: from === null ? [path] : [path, from],
    ...(stays === null ? {} : { stays }),
  };
}

function isBelow(lost: ReadonlySet<BytePath>, step: Step): boolean {
  if (lost.size === 0) return false;
  for (const dir of lost) if (step.path.startsWith(`${dir}/`) || (step.do === 'move' && step.from.startsWith(`${dir}/`))) return true;
  return false;
}
