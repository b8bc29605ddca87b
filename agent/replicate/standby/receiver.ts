import type { Message, MessageOf } from '../../../protocol/messages.ts';
import { emptyPosition, samePosition, showPosition, type Position } from '../../../protocol/position.ts';
import type { Op } from '../../../protocol/ops.ts';
import { lacks, shortfallTextMax } from '../../../protocol/shortfall.ts';
import type { Channel } from '../../link/channel.ts';
import { unknownEntry } from '../../journal/entry.ts';
import { metaKey, tables } from '../../journal/keys.ts';
import type { Layer } from '../../journal/layer.ts';
import { packNumber, readNumber, type ReplicaIndex } from '../../journal/replica-index.ts';
import type { HistoryKeeper } from '../../history/keeper.ts';
import type { Meter } from '../../observe/meter.ts';
import { sleep, type Clock } from '../../platform/clock.ts';
import { OperatorError } from '../../platform/errors.ts';
import { baseName, displayPath, errnoCode, joinPath, parentPath, type BytePath, type Files } from '../../platform/files.ts';
import type { Kv, KvWrite } from '../../platform/kv.ts';
import type { Log } from '../../platform/log.ts';
import { Pacer } from '../../platform/pacer.ts';
import { removeTree, removeTreeInSlices } from '../../platform/remove-tree.ts';
import { faultOf, hasRoom, ifKnown, whyOf } from '../fault.ts';
import { placeName, RootAway, rootTrouble, type FileSystems } from '../file-systems.ts';
import { absolute, type Root } from '../root.ts';
import type { ScrubSettings } from '../scrub/scrubber.ts';
import { OpRefused, type Batch } from './batch.ts';
import { disown, type Disowned } from './disown.ts';
import { Folding } from './folding.ts';
import { ForeignRecord } from './foreign-record.ts';
import { IncomingTransfers } from './incoming-transfers.ts';
import { Placing, type StepFault } from './placing.ts';
import { RenameRegions } from './rename-regions.ts';
import { isUnlisted, Shortfalls, textOf, unlisted, type ShortPlace, type Shortfall } from './shortfalls.ts';
import { StagedNames } from './staged-names.ts';
import { StandbyDisks } from './standby-disks.ts';
import { decodeSteps, encodeSteps, type Step } from './steps.ts';
import { Stager } from './stager.ts';

export interface ReceiverParts {
  kv: Kv;
  files: Files;
  clock: Clock;
  log: Log;
  meter: Meter;
  index: ReplicaIndex;
  keeper: HistoryKeeper;
  roots: readonly Root[];
  fileSystems: FileSystems;
  freeBytesMin: number;
  /** How the content of this copy is read again; null: it is not. */
  scrub: ScrubSettings | null;
}

/** The index claims more of a place than the disk has. */
interface Overclaim {
  root: Root;
  path: BytePath;
  bits: number;
  /** The batch that is still to make the place so. */
  by: Batch | null;
  /** What should have gone from there may be there still. */
  stays: boolean;
}

/** How often, and after which pauses, what a place refuses at a start is tried. */
const redoTriesMax = 6;
const redoPauseMs = 100;
/** Disks that went and came are looked at again after this time. */
const diskPauseMs = 50;
const redoKey = Buffer.from([tables.redo]);
const positionKey = metaKey('position');
const appliedAtKey = metaKey('applied-at');
const mendedKey = metaKey('damage-mended');

/**
 * The standby's side of the stream: stages what arrives, makes it durable, puts it into place, acknowledges.
 *
 * The order is what I1 and I6 rest on. For a batch: everything staged; syncfs (which also makes the renames of the
 * batch before durable); one durable commit of index, position and the list of steps; the steps; the acknowledgement.
 * A crash before the commit leaves nothing of the batch but files in staging; after it, `recover` does the steps again.
 */
export class Receiver {
  readonly #p: ReceiverParts;
  readonly #stager: Stager;
  readonly #transfers: IncomingTransfers;
  readonly #rootByName: ReadonlyMap<string, Root>;
  /** Position after the last batch accepted for commit; `durable` trails it. */
  #accepted: Position;
  #durable: Position;
  #current: Batch | null = null;
  readonly #queued: Batch[] = [];
  #applying: Promise<void> | null = null;
  /** Where is staged what goes to a place, and where is kept what was there. */
  readonly regions: RenameRegions;
  readonly #disks: StandbyDisks;
  /** Why a batch could not be applied: this receiver is of no use any more. */
  #failure: Error | null = null;
  readonly #placing: Placing;
  readonly #folding: Folding;
  /** Places where the index claims more than the disk has, by absolute path. */
  readonly #overclaimed = new Map<BytePath, Overclaim>();
  /**
   * While a batch is ended that left a tree undone: the first one that follows it, by number, if one has come. It is refused with all
   * after it, once the primary has the acknowledgement, which tells it what to make anew.
   */
  #givenUp: { first: number | null } | null = null;
  /** Something is not lacking any more of which the primary was told. */
  #hasForgotten = false;
  /** Why the last batch was not taken, when that is no fault of one place; null since one was. */
  #cannotTake: { code: 'standby-io' | 'no-space'; detail: string } | null = null;
  #mended: number;
  /** Foreign writes met so far (I2). */
  readonly foreign: ForeignRecord;
  /** What is here without all that belongs to it. */
  readonly shortfalls: Shortfalls;
  #lastAppliedWallMs: number | null = null;
  readonly #leaving = new AbortController();

  constructor(given: ReceiverParts) {
    const folding = new Folding(given);
    const parts = { ...given, files: folding.files };
    this.#folding = folding;
    this.#p = parts;
    this.foreign = new ForeignRecord(parts.kv, parts.log);
    this.shortfalls = new Shortfalls(parts.kv, parts.clock, parts.log);
    this.#mended = readNumber(parts.kv.get(mendedKey)) ?? 0;
    this.regions = new RenameRegions(parts);
    this.#disks = new StandbyDisks({ ...parts, regions: this.regions, redo: (steps) => this.#redo(steps) });
    this.#placing = new Placing({
      ...parts,
      folding,
      disks: this.#disks,
      foreign: this.foreign,
      wait: (ms) => this.#again(ms),
    });
    this.#rootByName = new Map(parts.roots.map((root) => [root.name, root]));
    this.#durable = this.#accepted = readPosition(parts.kv);
    this.#lastAppliedWallMs = readNumber(parts.kv.get(appliedAtKey));
    const names = new StagedNames(this.regions, parts.clock.wallMs());
    this.#transfers = new IncomingTransfers({
      ...parts,
      roots: this.#rootByName,
      names,
      isUnderWay: (path) => this.isUnderWay(path),
    });
    this.#stager = new Stager({
      files: parts.files,
      roots: parts.roots,
      transfers: this.#transfers,
      names,
      regions: this.regions,
      mounted: (root) => parts.fileSystems.mounted(root),
      index: parts.index,
      keeper: parts.keeper,
      wallMs: () => parts.clock.wallMs(),
      yield: () => parts.clock.yield(),
      isPending: (path) => this.#isPending(path),
      folding,
      queued: () => this.#queued,
      shortfallAt: (root, path) => this.shortfalls.at(root, path),
    });
  }

  /** What all that works on this standby's roots sees of them. */
  get files(): Files {
    return this.#p.files;
  }

  /** Position of the last batch that is durable. */
  get position(): Position {
    return this.#durable;
  }

  /** What the disk of this copy refuses, as a whole: it is said here, too, where it can be mended. */
  get cannotTake(): { code: 'standby-io' | 'no-space'; detail: string } | null {
    return this.#cannotTake ?? this.#transfers.shortOfRoom;
  }

  /** The primary has nothing more for this copy: what was refused is not wanted any more. */
  nothingWaits(): void {
    this.#cannotTake = null;
    this.#transfers.nothingWaits();
  }

  /** What keeps the last batch from being put into place. */
  get stuck(): string | null {
    return this.#p.kv.trouble?.detail ?? this.#placing.stuck;
  }

  get lastAppliedWallMs(): number | null {
    return this.#lastAppliedWallMs;
  }

  /** Takes the position from the store again: it was set while nothing was connected. */
  reload(): void {
    this.#durable = this.#accepted = readPosition(this.#p.kv);
  }

  #syncingSinceMs: number | null = null;
  #discarding: Promise<void> = Promise.resolve();

  /** What cannot be put into place now is not tried any more: `recover` does it when the role is entered again. */
  leave(): void {
    this.#leaving.abort();
  }

  /** Waits before something is tried again. @throws when the role is being left. */
  async #again(waitMs: number): Promise<void> {
    const { signal } = this.#leaving;
    if (!signal.aborted) await sleep(this.#p.clock, waitMs, signal);
    if (signal.aborted) throw new Error('the role is being left; the last batch is put into place at the next start');
  }

  /**
   * Whether nobody can tell by the index what belongs at a place (absolute): a batch changes it or one above it, or could not put
   * there what should be, or not take away with all below it what should go, or nobody knows what lies in a directory above it.
   */
  mayDiffer(path: BytePath): boolean {
    if (this.isUnderWay(path)) return true;
    const root = this.#p.roots.find((each) => path.startsWith(`${each.path}/`));
    if (!root) return false;
    for (let at = path; at.length > root.path.length; at = parentPath(at)) {
      const place = at.slice(root.path.length + 1);
      if (at !== path && isUnlisted(this.#p.index.at(root.name, place)?.entry)) return true;
      const known = this.shortfalls.at(root.name, place);
      if (((this.#overclaimed.get(at)?.bits ?? 0) | (known?.bits ?? 0)) & lacks.place) return true;
    }
    return false;
  }

  /** Whether a batch that is not in place yet changes this place (absolute) or one above it. */
  isUnderWay(path: BytePath): boolean {
    if (this.#overclaimed.has(path)) return true;
    return this.#isPending(path) || (this.#current !== null && touches(this.#current, path));
  }

  /** Damaged files that were brought again, in the life of this store. */
  get mended(): number {
    return this.#mended;
  }

  /** Files whose content the disk has damaged, and that were not brought again. */
  get damaged(): readonly ShortPlace[] {
    return this.shortfalls.count === 0 ? [] : this.shortfalls.list().filter(({ bits }) => bits & lacks.content);
  }

  /** Places whose content the disk has damaged: nothing is built on it, and the primary is asked for it. */
  noteDamage(places: readonly { root: string; path: BytePath; reason: string }[]): void {
    const writes: KvWrite[] = [];
    for (const { root: name, path, reason } of places) {
      const root = this.#rootByName.get(name);
      if (!root || this.isUnderWay(absolute(root, path))) continue;
      const bits = lacks.content | (this.shortfalls.at(name, path)?.bits ?? 0);
      this.shortfalls.note(name, path, { bits, text: reason }, writes);
      this.#overclaim(root, path, bits);
    }
    if (writes.length > 0) this.#p.kv.commit(writes);
    this.settleIndex();
  }

  /** A place was read and holds what was put there. */
  isGood(name: string, path: BytePath): void {
    const known = this.shortfalls.at(name, path);
    const root = this.#rootByName.get(name);
    if (!known || !root || !(known.bits & lacks.content) || this.isUnderWay(absolute(root, path))) return;
    // Layers of batches lie above what is durable; it is read again in the next pass.
    if (this.#current !== null || this.#queued.length > 0) return;
    const bits = known.bits & ~lacks.content;
    const writes: KvWrite[] = [];
    if (bits === 0) this.shortfalls.clear(name, path, writes);
    else this.shortfalls.note(name, path, { bits, text: textOf(bits) }, writes);
    const at = this.#p.index.at(name, path);
    const layer = this.#p.index.begin();
    if (at) this.#p.index.put(layer, name, at.dir, at.name, { ...at.entry, lacks: bits });
    this.#p.kv.commit([...writes, ...this.#p.index.writesOf(layer)]);
    this.#p.index.settle(layer);
  }

  /**
   * Does again the steps of a batch whose renames may have been lost, and empties staging. Before anything else runs.
   *
   * @throws RootAway when a root goes meanwhile: the record of the steps stays, and all is done again.
   */
  async recover(): Promise<void> {
    const record = this.#p.kv.get(redoKey);
    const steps = record ? decodeSteps(record) : [];
    // A killed process may have left a commit that power could still take back: nothing is put into place for that.
    if (record) await this.#p.kv.flushed();
    this.#disks.takeUp();
    // Of batches before the last one the index may not have been set right before the end.
    for (const { root: name, path, bits } of this.shortfalls.list()) {
      const root = this.#rootByName.get(name);
      if (root) this.#overclaim(root, path, bits);
    }
    for (const root of this.#p.roots) ifKnown(() => this.#folding.mayFold(root, root.staging));
    const faults = await this.#redoOnDisks(steps);
    if (faults.length > 0) {
      const writes: KvWrite[] = [];
      for (const fault of faults) this.#noteFault(fault, writes);
      this.#p.kv.commit(writes);
    }
    if (steps.length > 0) this.#p.log.info({ steps: steps.length }, 'the last batch was put into place again after a restart');
    this.settleIndex();
    // A disk may have come since the last look, with files on it that steps which wait for it need.
    const needed = this.#disks.staged();
    for (const staging of this.#p.roots.flatMap((root) => this.regions.all(root))) {
      const left = (this.#p.files.readdir(`${staging}/stage`) ?? []).map(({ name }) => `${staging}/stage/${name}`);
      await this.#discard(left.filter((path) => !needed.has(path)));
    }
  }

  /**
   * What was received is in place, and no connection brings more: makes that durable, and forgets how it is done again. Before
   * this node serves, or it would be done again over what a mail server has changed since.
   *
   * @throws OperatorError `sync` when the disk does not take it; what was to be done again stays.
   */
  async finish(): Promise<void> {
    try {
      await this.#syncDevices();
    } catch (error) {
      if (errnoCode(error) === undefined) throw error;
      throw new OperatorError('sync', `what was received cannot be written to disk: ${whyOf(error)}`, 'look at the disk of this node');
    }
    this.#p.kv.commit([[redoKey, null]]);
    await this.#p.kv.flushed();
  }

  /** What was left undone before the start is known to be missing. */
  #beginPlacing(): void {
    this.#placing.settled();
    for (const { root: name, path, bits } of this.shortfalls.list()) {
      const root = this.#rootByName.get(name);
      if (root && bits & lacks.place) this.#placing.lacks(absolute(root, path));
    }
  }

  /**
   * What waits for a disk is set aside; what a disk took with it while it was done is done again. What a place refuses is tried some
   * times more: power may have taken one file of a commit group back and let another one stand, which is newer then (I6).
   */
  async #redoOnDisks(steps: readonly Step[]): Promise<StepFault[]> {
    let tries = 0;
    for (let todo = this.#disks.setAside(steps); ; todo = this.#disks.setAside(todo)) {
      this.#beginPlacing();
      const faults = this.#placing.redoChecked(todo);
      const isUndone = faults?.some(({ bits }) => bits & lacks.place) ?? false;
      if (faults && (!isUndone || ++tries >= redoTriesMax)) return faults;
      if (faults) {
        await this.#again(redoPauseMs);
        continue;
      }
      this.#disks.look();
      const trouble = rootTrouble(this.#p.fileSystems);
      if (trouble) throw new RootAway(trouble);
      await this.#again(diskPauseMs);
    }
  }

  /** Does steps again of which some may have been done; false when a disk went meanwhile, so that nothing is known of them. */
  #redo(steps: readonly Step[]): boolean {
    const faults = this.#placing.redoChecked(steps);
    if (!faults) return false;
    const writes: KvWrite[] = [];
    for (const fault of faults) this.#noteFault(fault, writes);
    if (writes.length > 0) this.#p.kv.commit(writes);
    this.settleIndex();
    return true;
  }

  /** What the file systems of the roots are to this standby. */
  get disks(): StandbyDisks {
    return this.#disks;
  }

  /** Serves one connection; resolves when it has ended and everything accepted is in place. */
  async serve(channel: Channel, other: (message: Message) => void): Promise<void> {
    const inbox: { message: Message; done: () => void }[] = [];
    let wake: (() => void) | null = null;
    let over = false;
    channel.onMessage((message, done) => {
      inbox.push({ message, done });
      wake?.();
    });
    void channel.ended.then(() => {
      over = true;
      wake?.();
    });
    for (;;) {
      const next = inbox.shift();
      if (!next) {
        if (over) break;
        await new Promise<void>((resolve) => (wake = resolve));
        wake = null;
        continue;
      }
      if (over || this.#transfers.take(channel, next.message, next.done)) continue;
      try {
        await this.#handle(channel, next.message, other);
      } finally {
        next.done();
      }
    }
    this.#dropCurrent();
    await this.#transfers.abandon();
    await this.#applying;
    if (this.#failure) throw this.#failure;
    this.settleIndex();
  }

  async #handle(channel: Channel, message: Message, other: (message: Message) => void): Promise<void> {
    switch (message.type) {
      case 'batch':
        return this.#begin(channel, message);
      case 'ops':
        return this.#ops(message);
      case 'commit':
        return this.#commit(channel, message);
      case 'rebase':
        await this.#applying;
        return this.#rebase(channel, message.position);
      case 'list':
        // A batch that was accepted may still be given up, when a disk goes: only what is durable is told.
        await this.#applying;
        return other(message);
      default:
        other(message);
    }
  }

  #begin(channel: Channel, message: MessageOf<'batch'>): void {
    this.#dropCurrent();
    if (this.#givenUp) {
      this.#givenUp.first ??= message.id;
      return;
    }
    this.#disks.look();
    this.settleIndex();
    if (!samePosition(message.from, this.#accepted)) {
      channel.sendControl({
        type: 'reject',
        id: message.id,
        code: 'from',
        ops: [],
        faults: [],
        detail: `this standby is at ${showPosition(this.#accepted)}, the batch continues ${showPosition(message.from)}`,
      });
      return;
    }
    const batch: Batch = {
      id: message.id,
      from: message.from,
      to: null,
      dirs: [],
      layer: this.#p.index.begin(),
      steps: [],
      stepOps: [],
      places: [],
      shortfalls: new Map(),
      owed: [],
      renewed: [],
      refused: new Map(),
      missed: new Set(),
      writes: [],
      staged: [],
      trash: [],
      whereabouts: new Map(),
      arrivals: this.#disks.arrivals,
      touched: new Set(),
      fresh: new Map(),
      beside: [],
      ops: 0,
      bytes: 0,
      failure: null,
      transfers: [],
    };
    this.#current = batch;
    const full = this.#p.kv.trouble;
    if (full) this.#fail(batch, 'state-full', [], full.detail);
    for (const root of this.#p.roots) {
      // Staging may be on the file system that is missing: nothing is written then, not even beside the root.
      const trouble = this.#p.fileSystems.covering(root.name, '');
      if (trouble) {
        this.#fail(batch, 'io', [], trouble.detail);
        continue;
      }
      const space = ifKnown(() => this.#p.files.space(root.staging));
      if (!space) {
        this.#fail(batch, 'io', [], `${displayPath(root.path)}: nobody knows how much room there is`);
        continue;
      }
      const { freeBytes, freeInodes } = space;
      if (freeBytes < this.#p.freeBytesMin || freeInodes < 1000)
        this.#fail(batch, 'no-space', [], `${displayPath(root.path)}: ${freeBytes} bytes and ${freeInodes} inodes are free`);
    }
  }

  async #ops(message: MessageOf<'ops'>): Promise<void> {
    const batch = this.#current;
    if (!batch || batch.id !== message.id) return;
    for (const [rootName, path] of message.dirs) {
      const root = this.#rootByName.get(rootName);
      if (root) batch.dirs.push({ root, path });
      else this.#fail(batch, 'confined', [], `there is no root ${rootName} here`);
    }
    for (const op of message.ops) {
      const number = batch.ops++;
      // After a first misfit the others are still judged, so that one answer names them all.
      if (batch.failure && batch.failure.code !== 'base') continue;
      await this.#stage(batch, op, number);
      if (this.#current !== batch) return this.#unstage(batch.staged);
    }
  }

  async #stage(batch: Batch, op: Op, number: number): Promise<void> {
    try {
      this.#checkPlace(batch, op);
      for (;;) {
        const staged = this.#stager.stage(batch, op);
        const result = typeof staged === 'string' ? staged : await staged;
        if (result !== 'settle-first') break;
        if (this.#queued.length === 0) throw new OpRefused('io', 'an op builds on what the same batch changes');
        await this.#applying;
        // What failed is never settled: the connection ends for it.
        if (this.#failure) throw this.#failure;
        if (this.#current !== batch) return;
      }
      if ('bytes' in op && op.bytes) batch.bytes += op.bytes.length;
    } catch (error) {
      if (error instanceof OpRefused && error.reject === 'base' && this.#missesBase(batch, op)) return;
      this.#refuse(batch, number, error);
      if (batch.refused.has(number)) this.#miss(batch, op);
    }
  }

  /** Whether an op builds on what this batch was refused: it is no fault of its own, and made again without that. */
  #missesBase(batch: Batch, op: Op): boolean {
    if (batch.missed.size === 0 || !placesOf(batch, op).some((path) => isOrBelow(batch.missed, path))) return false;
    this.#miss(batch, op);
    return true;
  }

  #miss(batch: Batch, op: Op): void {
    for (const path of placesOf(batch, op)) batch.missed.add(path);
  }

  /** @throws OpRefused when the place of an op lies on a file system that is not there. */
  #checkPlace(batch: Batch, op: Op): void {
    if (this.#p.fileSystems.troubles.length === 0) return;
    for (const at of 'from' in op ? [op.at, op.from] : [op.at]) {
      const dir = batch.dirs[at.dir];
      const trouble = dir && this.#p.fileSystems.covering(dir.root.name, joinPath(dir.path, at.name));
      if (trouble) throw new OpRefused('io', `${placeName(trouble)}: ${trouble.detail}`);
    }
  }

  #refuse(batch: Batch, op: number, error: unknown): void {
    if (error instanceof OpRefused) {
      if (error.reject !== 'path') return this.#fail(batch, error.reject, [op], error.message);
      return void batch.refused.set(op, error.message.slice(0, shortfallTextMax));
    }
    const of = faultOf(error, 'writing');
    if (of === 'us' || of === 'link') throw error;
    const staging = batch.places[op]?.root.staging;
    if (of === 'path' || (of === 'room' && staging !== undefined && hasRoom(this.#p.files, staging)))
      return void batch.refused.set(op, whyOf(error).slice(0, shortfallTextMax));
    this.#fail(batch, of === 'room' ? 'no-space' : 'io', [op], whyOf(error));
  }

  #fail(batch: Batch, code: NonNullable<Batch['failure']>['code'], ops: number[], detail: string): void {
    if (batch.failure?.code === code) batch.failure.ops.push(...ops);
    else if (!batch.failure || batch.failure.code === 'base') batch.failure = { code, ops, detail };
  }

  #commit(channel: Channel, message: MessageOf<'commit'>): void {
    const batch = this.#current;
    if (!batch || batch.id !== message.id) return;
    if (batch.ops !== message.ops) this.#fail(batch, 'content', [], `the batch has ${batch.ops} of ${message.ops} ops`);
    this.#stager.settleNames(batch);
    if (batch.failure || batch.refused.size > 0) {
      const { code, ops, detail } = batch.failure ?? {
        code: 'path',
        ops: [...batch.refused.keys()],
        detail: 'some places cannot be had here',
      };
      this.#p.meter.rejected(code);
      if (code === 'io' || code === 'no-space') this.#cannotTake = { code: code === 'io' ? 'standby-io' : code, detail };
      this.#dropCurrent();
      channel.sendControl({ type: 'reject', id: message.id, code, ops, detail: detail.slice(0, 1000), faults: [...batch.refused] });
      return;
    }
    this.#current = null;
    this.#transfers.handOver(batch.transfers);
    batch.to = message.to;
    this.#accepted = message.to;
    this.#queued.push(batch);
    this.#applying ??= this.#applyQueued(channel).catch((error: unknown) => {
      // Nobody waits for it while messages come: the connection ends, and whoever serves it hears of it.
      this.#failure = error instanceof Error ? error : new Error(String(error));
      channel.close({ code: 'internal', detail: 'the standby cannot apply what it was sent' });
    });
  }

  async #applyQueued(channel: Channel): Promise<void> {
    try {
      for (let batch = this.#queued[0]; batch; batch = this.#queued[0]) {
        if (!(await this.#apply(channel, batch))) return;
        this.#queued.shift();
        this.settleIndex();
        // The primary has heard of it, and nothing that it does there would end its doubt.
        if (this.#hasForgotten) this.tellShortfalls(channel);
        this.#hasForgotten = false;
      }
    } finally {
      this.#applying = null;
    }
  }

  /** False: it was refused after all, with those that follow it. */
  async #apply(channel: Channel, batch: Batch): Promise<boolean> {
    const { kv, clock, meter, index } = this.#p;
    if (!batch.to) throw new Error('a batch without end cannot be applied');
    const started = clock.monotonicMs();
    await this.#syncRoots(batch);
    const trouble = this.#disks.troubleOf(batch.touched);
    if (trouble) {
      this.#giveUp(channel, batch, `${placeName(trouble)}: ${trouble.detail}`);
      return false;
    }
    // What was staged may not be there any more.
    if (this.#disks.arrivals !== batch.arrivals) {
      this.#giveUp(channel, batch, 'a file system was mounted again meanwhile');
      return false;
    }
    const synced = clock.monotonicMs();
    meter.syncSeconds('files', (synced - started) / 1000);
    kv.commit([
      ...index.writesOf(batch.layer),
      ...batch.writes,
      ...this.#shortfallWrites(batch),
      ...this.#disks.settledWrites(),
      [redoKey, encodeSteps(batch.steps)],
      [positionKey, packPosition(batch.to)],
      [appliedAtKey, packNumber(Math.floor(clock.wallMs()))],
    ]);
    index.settle(batch.layer);
    this.#followMoves(batch);
    await kv.flushed();
    meter.syncSeconds('index', (clock.monotonicMs() - synced) / 1000);
    await this.#putInPlace(batch);
    this.#durable = batch.to;
    this.#cannotTake = null;
    this.#lastAppliedWallMs = clock.wallMs();
    meter.applied(batch.ops, batch.bytes);
    const told = (text: string) => text.slice(0, shortfallTextMax);
    const lacking = [...batch.shortfalls].map(([op, { bits, text }]): MessageOf<'ack'>['lacking'][number] => [op, bits, told(text)]);
    channel.sendControl({ type: 'ack', id: batch.id, position: batch.to, lacking });
    this.#refuseFollowing(channel);
    // Nobody waits for it: of a tree it may take a while, and the next start goes on where this one ended.
    if (batch.trash.length > 0)
      this.#discarding = this.#discarding
        .then(() => this.#discard(batch.trash))
        .catch((error: unknown) => {
          this.#failure = error instanceof Error ? error : new Error(String(error));
        });
    return true;
  }

  /** A file system that a batch changes is gone before its commit, or was for a moment: nothing of it happens, and nothing of what follows it. */
  #giveUp(channel: Channel, batch: Batch, why: string): void {
    this.#dropFrom(0);
    this.#accepted = this.#durable;
    this.#p.meter.rejected('io');
    channel.sendControl({ type: 'reject', id: batch.id, code: 'io', ops: [], detail: why.slice(0, 1000), faults: [] });
  }

  #refuseFollowing(channel: Channel): void {
    const first = this.#givenUp?.first ?? null;
    this.#givenUp = null;
    if (first === null) return;
    const detail = 'a directory that the batch before it changes could not be renamed or removed';
    channel.sendControl({ type: 'reject', id: first, code: 'base', ops: [], detail, faults: [] });
  }

  /** Nothing remains of the batches from a place in the line on, nor of the one that is coming. */
  #dropFrom(first: number): void {
    this.#dropCurrent();
    for (const given of this.#queued.splice(first).toReversed()) {
      this.#p.index.drop(given.layer);
      this.#unstage(given.staged);
    }
  }

  /** What cannot be removed from staging, or lies on a file system that is gone, is removed at the next start. */
  #unstage(paths: readonly BytePath[]): void {
    for (const path of paths) {
      try {
        removeTree(this.#p.files, path);
      } catch (error) {
        if (faultOf(error, 'writing') === 'us') throw error;
      }
    }
  }

  /** The same of what may be a tree of any size, in slices (I24). Never rejects but for a mistake of ours, which ends the connection. */
  async #discard(paths: readonly BytePath[]): Promise<void> {
    const { files, clock } = this.#p;
    const { signal } = this.#leaving;
    const { pause } = new Pacer(clock, signal);
    for (const path of paths) {
      try {
        await removeTreeInSlices(files, path, pause);
      } catch (error) {
        if (signal.aborted) return;
        if (faultOf(error, 'writing') === 'us') throw error;
      }
    }
  }

  /** The batch is durable from here on. What one place refused is kept, durably too, before the primary hears of it. */
  async #putInPlace(batch: Batch): Promise<void> {
    const { kv } = this.#p;
    const faults = await this.#placing.place(batch.steps, batch.touched);
    if (faults.length === 0 && batch.owed.length === 0) return;
    // What follows was made for an index in which the whole tree is in another place: it is made again.
    const treeStays = faults.some(({ stays }) => stays !== undefined && this.#mayBeDir(stays));
    if (treeStays) {
      this.#givenUp = { first: this.#queued[1]?.id ?? this.#current?.id ?? null };
      this.#dropFrom(1);
      this.#accepted = batch.to ?? this.#accepted;
    }
    const writes: KvWrite[] = [];
    this.#settleOwed(batch, faults, writes);
    for (const fault of faults) {
      const op = batch.stepOps[fault.step];
      if (op !== undefined && fault.text !== '') batch.shortfalls.set(op, together(batch.shortfalls.get(op), fault));
      this.#noteFault(fault, writes);
      if (!(fault.bits & lacks.place)) for (const path of fault.paths) this.#noteNames(path, fault, batch, writes);
    }
    kv.commit(writes);
    // Before anything else can be made for it, or become durable on it.
    if (treeStays) this.#settleNow();
    await kv.flushed();
    // It comes again each time that the place is tried: kept here until the next start it would fill the disk.
    this.#unstage(
      faults.flatMap(({ step: number, bits }) => {
        const step = batch.steps[number];
        return step?.do === 'place' && bits & lacks.place ? [step.staged] : [];
      }),
    );
  }

  #mayBeDir(path: BytePath): boolean {
    const there = ifKnown(() => ({ kind: this.#p.files.lstat(path)?.kind }));
    return there === undefined || there.kind === 'dir';
  }

  /** What was thought to be missing was there to move after all. */
  #settleOwed(batch: Batch, faults: readonly StepFault[], writes: KvWrite[]): void {
    const undone = new Set(faults.flatMap(({ paths }) => paths));
    for (const op of batch.owed) {
      const place = batch.places[op];
      if (!place || place.from === undefined) continue;
      const { root, path, from } = place;
      if (!undone.has(absolute(root, from))) this.shortfalls.clear(root.name, from, writes);
      if (undone.has(absolute(root, path))) continue;
      this.shortfalls.clear(root.name, path, writes);
      const shortfall = batch.shortfalls.get(op);
      if (shortfall) this.shortfalls.note(root.name, path, shortfall, writes);
    }
  }

  /** The file has got other names in this batch or in one that waits: they lack the same. */
  #noteNames(of: BytePath, fault: StepFault, batch: Batch, writes: KvWrite[]): void {
    for (const each of [...this.#queued, ...(this.#current ? [this.#current] : [])]) {
      for (const [op, place] of each.places.entries()) {
        // Ops of a batch that is refused have no place.
        if (place?.linked === undefined) continue;
        const { root, path, linked } = place;
        const name = absolute(root, path);
        if (absolute(root, linked) !== of || name === of) continue;
        const known = each.shortfalls.get(op);
        if (known && (known.bits & fault.bits) === fault.bits) continue;
        each.shortfalls.set(op, together(known, fault));
        // What is not committed yet writes it with its commit.
        if (each === batch) this.#noteFault({ ...fault, paths: [name] }, writes);
        else this.#overclaim(root, path, fault.bits, each);
        this.#noteNames(name, fault, batch, writes);
      }
    }
  }

  /** What a step left undone: for people and the primary, and for the index, which claims more than is there. */
  #noteFault(fault: StepFault, writes: KvWrite[]): void {
    for (const absolutePath of fault.paths) {
      const root = this.#p.roots.find(({ path }) => absolutePath.startsWith(`${path}/`));
      if (!root) continue;
      const path = absolutePath.slice(root.path.length + 1);
      const known = this.shortfalls.at(root.name, path);
      if (fault.text !== '') this.shortfalls.note(root.name, path, together(known, fault), writes);
      this.#overclaim(root, path, fault.bits | (known?.bits ?? 0), null, absolutePath === fault.stays);
    }
  }

  #overclaim(root: Root, path: BytePath, bits: number, by: Batch | null = null, stays = false): void {
    const key = absolute(root, path);
    const known = this.#overclaimed.get(key);
    this.#overclaimed.set(key, { root, path, bits: bits | (known?.bits ?? 0), by, stays: stays || (known?.stays ?? false) });
  }

  /**
   * What a place lacks goes where the batch takes it. Where the batch puts another file, or sets all attributes anew, nothing
   * of that is left: what is lacking then is known from the batch itself.
   */
  #followMoves(batch: Batch): void {
    for (const { root, path, from, tree, anew } of batch.places) {
      if (this.#overclaimed.size === 0) return;
      this.#forgetLacking(root, path, batch);
      if (from === undefined) continue;
      if (anew) this.#forgetLacking(root, from, batch);
      const one = this.#overclaimed.get(absolute(root, from));
      for (const claim of tree ? [...this.#overclaimed.values()] : one ? [one] : []) {
        if (claim.root !== root || (!tree && claim.bits & lacks.place)) continue;
        if (claim.path !== from && !claim.path.startsWith(`${from}/`)) continue;
        this.#overclaimed.delete(absolute(root, claim.path));
        this.#overclaim(root, `${path}${claim.path.slice(from.length)}`, claim.bits, claim.by, claim.stays);
      }
    }
  }

  #forgetLacking(root: Root, path: BytePath, batch: Batch): void {
    const key = absolute(root, path);
    const claim = this.#overclaimed.get(key);
    if (claim && claim.by !== batch && !(claim.bits & lacks.place)) this.#overclaimed.delete(key);
  }

  /**
   * Makes the index claim no more than the disk has, at places where a step was left undone. While batches are on their way
   * their layers lie above what is durable; so it waits until none is.
   */
  settleIndex(): void {
    if (this.#overclaimed.size === 0 || this.#current !== null || this.#queued.length > 0) return;
    this.#settleNow();
  }

  #settleNow(): void {
    const { kv, index, files } = this.#p;
    const places = [...this.#overclaimed.values()];
    this.#overclaimed.clear();
    const differences: Disowned[] = [];
    const layer = index.begin();
    for (const { root, path, bits, stays } of places) {
      const at = index.at(root.name, path);
      if (bits & lacks.place) {
        try {
          differences.push({ root: root.name, path, stat: files.lstat(absolute(root, path)), stays });
        } catch (error) {
          if (faultOf(error, 'reading') === 'us') throw error;
          // What cannot be looked at now is looked at when the next batch begins; until then nobody may take it for the same.
          this.#overclaim(root, path, bits, null, stays);
          this.#claimUnknown(layer, root, path, stays);
        }
      } else if (at && bits !== 0)
        index.put(layer, root.name, at.dir, at.name, { ...at.entry, lacks: bits | ((at.entry.lacks ?? 0) & unlisted) });
    }
    kv.commit(index.writesOf(layer));
    index.settle(layer);
    disown({ kv, index }, differences);
    this.#forgetGone(differences);
    this.#placing.settled();
  }

  /** What the index lets go with a place that is not there lacks no attributes any more: if it comes again, it is told anew. */
  #forgetGone(differences: readonly Disowned[]): void {
    const { kv, index } = this.#p;
    const writes: KvWrite[] = [];
    for (const { root, path } of differences) {
      for (const each of this.shortfalls.below(root, path))
        if (!(each.bits & lacks.place) && index.at(root, each.path) === null) this.shortfalls.clear(root, each.path, writes);
    }
    if (writes.length === 0) return;
    kv.commit(writes);
    this.#hasForgotten = true;
  }

  /** Something may be at a place, and nothing is known of it. */
  #claimUnknown(layer: Layer, root: Root, path: BytePath, stays: boolean): void {
    const { index } = this.#p;
    const known = index.at(root.name, path)?.entry;
    const dir = index.dirAt(root.name, parentPath(path));
    if (dir === null) return;
    // Of a directory its own attributes are in doubt; what is below it is told by itself, if it is known.
    const isListed = known?.kind !== 'dir' || (!stays && !isUnlisted(known));
    const entry = unknownEntry(known?.kind ?? 'file', known?.dir ?? 0);
    index.put(layer, root.name, dir, baseName(path), isListed ? entry : { ...entry, lacks: unlisted });
  }

  /** What the batch's own places lack, or lack no more. */
  #shortfallWrites(batch: Batch): KvWrite[] {
    const writes: KvWrite[] = [];
    const { shortfalls } = this;
    if (batch.shortfalls.size === 0 && shortfalls.count === 0) return writes;
    for (const { root, path } of batch.renewed) shortfalls.clearBelow(root.name, path, writes);
    for (const [op, { root, path, from, tree, gone, alone }] of batch.places.entries()) {
      const known = alone ? shortfalls.at(root.name, path) : undefined;
      // It was made before the primary heard that there is nothing here, or damage: attributes alone mend neither.
      const stays = (known?.bits ?? 0) & (lacks.place | lacks.content);
      if (known && stays) batch.shortfalls.set(op, together(batch.shortfalls.get(op), { bits: stays, text: known.text }));
      if (tree && from !== undefined) shortfalls.move(root.name, from, path, writes);
      else if (tree) shortfalls.clearBelow(root.name, path, writes);
      const owed = tree || from === undefined ? undefined : shortfalls.at(root.name, from);
      // What was not put there may not be there to move: both places lack it until the step is done.
      const isOwed = owed !== undefined && (owed.bits & lacks.place) !== 0;
      if (isOwed) batch.owed.push(op);
      else if (owed) shortfalls.clear(root.name, owed.path, writes);
      const shortfall = isOwed ? together(batch.shortfalls.get(op), owed) : batch.shortfalls.get(op);
      const wasDamaged = ((shortfalls.at(root.name, path)?.bits ?? 0) & lacks.content) !== 0;
      if (wasDamaged && !gone && !((shortfall?.bits ?? 0) & lacks.content)) writes.push([mendedKey, packNumber(++this.#mended)]);
      if (shortfall && !gone) shortfalls.note(root.name, path, shortfall, writes);
      else shortfalls.clear(root.name, path, writes);
    }
    return writes;
  }

  /** Returns when the disks have what was written, or when one that the batch needs is gone. */
  async #syncRoots(batch: Batch): Promise<void> {
    const { log } = this.#p;
    for (let waitMs = 100; ; waitMs = Math.min(waitMs * 2, 10_000)) {
      try {
        return await this.#syncDevices();
      } catch (error) {
        if (this.#disks.troubleOf(batch.touched)) return;
        this.#placing.stuck = `writing to disk failed: ${whyOf(error)}`;
        log.error({ error: this.#placing.stuck }, 'nothing is acknowledged until the disk takes what was written');
        await this.#again(waitMs);
      }
    }
  }

  /** How long the disks of the roots have been taking what was written to them, in milliseconds; 0 while nothing waits for them. */
  get syncingMs(): number {
    return this.#syncingSinceMs === null ? 0 : this.#p.clock.monotonicMs() - this.#syncingSinceMs;
  }

  async #syncDevices(): Promise<void> {
    const { files, roots, clock } = this.#p;
    const devices = new Map(roots.flatMap((root) => this.regions.all(root)).map((staging) => [files.lstat(staging)?.dev, staging]));
    this.#syncingSinceMs = clock.monotonicMs();
    try {
      await Promise.all([...devices.values()].map((path) => files.syncfs(path)));
    } finally {
      this.#syncingSinceMs = null;
    }
  }

  #isPending(path: BytePath): boolean {
    return this.#queued.some((batch) => touches(batch, path));
  }

  /** Nothing of an unfinished batch remains. */
  #dropCurrent(): void {
    const batch = this.#current;
    if (!batch) return;
    this.#current = null;
    this.#transfers.giveBack(batch.transfers);
    this.#unstage(batch.staged);
    this.#p.index.drop(batch.layer);
  }

  /** All that this copy lacks, so that a word of it that was lost is told again. */
  tellShortfalls(channel: Channel): void {
    for (const message of this.shortfalls.messages()) channel.sendControl(message);
  }

  #rebase(channel: Channel, position: Position): Promise<void> {
    this.#dropCurrent();
    this.#accepted = this.#durable = position;
    const writes: KvWrite[] = [[positionKey, packPosition(position)]];
    this.#p.kv.commit(writes);
    return this.#p.kv.flushed().then(() => {
      // The primary passes over acknowledgements of batches that it has given up, and with them what their places lack.
      this.tellShortfalls(channel);
      channel.sendControl({ type: 'rebased', position });
    });
  }
}

/** Two things that one place lacks. */
function together(one: Shortfall | undefined, other: Shortfall): Shortfall {
  if (!one || one.text === other.text) return { bits: other.bits | (one?.bits ?? 0), text: other.text.slice(0, shortfallTextMax) };
  return { bits: one.bits | other.bits, text: `${one.text}; ${other.text}`.slice(0, shortfallTextMax) };
}

/** Whether a batch's steps touch a path (absolute) or a directory above it. */
function touches({ touched }: Batch, path: BytePath): boolean {
  return isOrBelow(touched, path);
}

/** Whether a path (absolute) is one of these places, or below one. */
function isOrBelow(places: ReadonlySet<BytePath>, path: BytePath): boolean {
  for (let at: BytePath = path; at.length > 1; at = at.slice(0, Math.max(0, at.lastIndexOf('/')))) if (places.has(at)) return true;
  return false;
}

/** The places (absolute) that an op is about. */
function placesOf({ dirs }: Batch, op: Op): BytePath[] {
  return ('from' in op ? [op.at, op.from] : [op.at]).flatMap(({ dir, name }) => {
    const at = dirs[dir];
    return at ? [absolute(at.root, joinPath(at.path, name))] : [];
  });
}

export function packPosition(position: Position): Buffer {
  return Buffer.concat([packNumber(position.epoch), packNumber(position.seq), Buffer.from(position.checksum, 'hex')]);
}

/** The position that a store holds; the empty one when it is new. */
export function readPosition(kv: Kv, key = positionKey): Position {
  const value = kv.get(key);
  if (!value) return emptyPosition;
  return { epoch: value.readUIntBE(0, 6), seq: value.readUIntBE(6, 6), checksum: value.subarray(12, 20).toString('hex') };
}
