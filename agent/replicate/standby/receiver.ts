import type { Message, MessageOf } from '../../../protocol/messages.ts';
import { emptyPosition, samePosition, showPosition, type Position } from '../../../protocol/position.ts';
import type { Op } from '../../../protocol/ops.ts';
import type { Channel } from '../../link/channel.ts';
import { metaKey, tables } from '../../journal/keys.ts';
import { packNumber, type ReplicaIndex } from '../../journal/replica-index.ts';
import { removeTree, type HistoryKeeper } from '../../history/keeper.ts';
import type { Meter } from '../../observe/meter.ts';
import { sleep, type Clock } from '../../platform/clock.ts';
import { displayPath, errnoCode, type BytePath, type Files } from '../../platform/files.ts';
import type { Kv, KvWrite } from '../../platform/kv.ts';
import type { Log } from '../../platform/log.ts';
import type { Root } from '../root.ts';
import { OpRefused, type Batch } from './batch.ts';
import { checkParents } from './confine.ts';
import { ForeignRecord } from './foreign-record.ts';
import { decodeSteps, doStep, encodeSteps, isSuperseded, StepBlocked, type Step } from './steps.ts';
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
  freeBytesMin: number;
}

const redoKey = Buffer.from([tables.redo]);
const positionKey = metaKey('position');
const stepsBetweenYields = 128;

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
  readonly #rootByName: ReadonlyMap<string, Root>;
  /** Position after the last batch accepted for commit; `durable` trails it. */
  #accepted: Position;
  #durable: Position;
  #current: Batch | null = null;
  readonly #queued: Batch[] = [];
  #applying: Promise<void> | null = null;
  #stuck: string | null = null;
  /** Foreign writes met so far (I2). */
  readonly foreign: ForeignRecord;
  #lastAppliedWallMs: number | null = null;

  constructor(parts: ReceiverParts) {
    this.#p = parts;
    this.foreign = new ForeignRecord(parts.kv, parts.log);
    this.#rootByName = new Map(parts.roots.map((root) => [root.name, root]));
    this.#durable = this.#accepted = readPosition(parts.kv);
    this.#stager = new Stager({
      files: parts.files,
      index: parts.index,
      keeper: parts.keeper,
      wallMs: () => parts.clock.wallMs(),
      yield: () => parts.clock.yield(),
      isPending: (path) => this.#isPending(path),
    });
  }

  /** Position of the last batch that is durable. */
  get position(): Position {
    return this.#durable;
  }

  /** What keeps the last batch from being put into place. */
  get stuck(): string | null {
    return this.#stuck;
  }

  get lastAppliedWallMs(): number | null {
    return this.#lastAppliedWallMs;
  }

  /** Takes the position from the store again: it was set while nothing was connected. */
  reload(): void {
    this.#durable = this.#accepted = readPosition(this.#p.kv);
  }

  /** Whether a batch that is not in place yet changes this place (absolute) or one above it. */
  isUnderWay(path: BytePath): boolean {
    return this.#isPending(path) || (this.#current !== null && touches(this.#current, path));
  }

  /** Does again the steps of a batch whose renames may have been lost, and empties staging. Before anything else runs. */
  async recover(): Promise<void> {
    const record = this.#p.kv.get(redoKey);
    const steps = record ? decodeSteps(record) : [];
    // A killed process may have left a commit that power could still take back: nothing is put into place for that.
    if (record) await this.#p.kv.flushed();
    for (const [number, step] of steps.entries()) {
      try {
        doStep(this.#p.files, step, (path, what) => this.foreign.note(path, what), true);
      } catch (error) {
        const isMissing = ['ENOENT', 'ENOTDIR'].includes(errnoCode(error) ?? '');
        if (!(error instanceof StepBlocked) && !isMissing) throw error;
        if (isSuperseded(steps, number)) continue;
        // What is gone from both places was taken away by somebody else: the comparison will bring it back.
        this.foreign.note(step.path, error instanceof Error ? error.message : String(error));
      }
    }
    if (steps.length > 0) this.#p.log.info({ steps: steps.length }, 'the last batch was put into place again after a restart');
    for (const root of this.#p.roots) {
      for (const left of this.#p.files.readdir(`${root.staging}/stage`) ?? [])
        removeTree(this.#p.files, `${root.staging}/stage/${left.name}`);
    }
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
      if (over) continue;
      try {
        await this.#handle(channel, next.message, other);
      } finally {
        next.done();
      }
    }
    this.#dropCurrent();
    await this.#applying;
  }

  async #handle(channel: Channel, message: Message, other: (message: Message) => void): Promise<void> {
    switch (message.type) {
      case 'batch':
        return this.#begin(channel, message);
      case 'ops':
        return this.#ops(message);
      case 'data':
        return this.#data(message);
      case 'commit':
        return this.#commit(channel, message);
      case 'rebase':
        await this.#applying;
        return this.#rebase(channel, message.position);
      default:
        other(message);
    }
  }

  #begin(channel: Channel, message: MessageOf<'batch'>): void {
    this.#dropCurrent();
    if (!samePosition(message.from, this.#accepted)) {
      channel.sendControl({
        type: 'reject',
        id: message.id,
        code: 'from',
        ops: [],
        detail: `this standby is at ${showPosition(this.#accepted)}, the batch continues ${showPosition(message.from)}`,
      });
      return;
    }
    this.#current = {
      id: message.id,
      from: message.from,
      to: null,
      dirs: [],
      layer: this.#p.index.begin(),
      steps: [],
      writes: [],
      staged: [],
      trash: [],
      whereabouts: new Map(),
      touched: new Set(),
      ops: 0,
      bytes: 0,
      failure: null,
      stream: null,
    };
    for (const root of this.#p.roots) {
      const { freeBytes, freeInodes } = this.#p.files.space(root.staging);
      if (freeBytes < this.#p.freeBytesMin || freeInodes < 1000)
        this.#fail(this.#current, 'no-space', [], `${displayPath(root.path)}: ${freeBytes} bytes and ${freeInodes} inodes are free`);
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
      if (batch.stream) this.#fail(batch, 'content', [number - 1], 'content is missing');
      else await this.#stage(batch, op, number);
    }
  }

  async #stage(batch: Batch, op: Op, number: number): Promise<void> {
    try {
      for (;;) {
        const staged = this.#stager.stage(batch, op);
        const result = typeof staged === 'string' ? staged : await staged;
        if (result !== 'settle-first') break;
        if (this.#queued.length === 0) throw new OpRefused('io', 'an op builds on what the same batch changes');
        await this.#applying;
      }
      if ('bytes' in op && op.bytes) batch.bytes += op.bytes.length;
    } catch (error) {
      this.#refuse(batch, number, error);
    }
  }

  async #data(message: MessageOf<'data'>): Promise<void> {
    const batch = this.#current;
    const stream = batch?.stream;
    if (!batch || batch.id !== message.id || !stream) return;
    try {
      stream.received += message.bytes.length;
      if (stream.received > stream.expected) throw new OpRefused('content', 'more content than announced');
      await stream.write(message.bytes);
      batch.bytes += message.bytes.length;
      if (stream.received === stream.expected) {
        await stream.finish();
        batch.stream = null;
      }
    } catch (error) {
      stream.abandon();
      batch.stream = null;
      this.#refuse(batch, batch.ops - 1, error);
    }
  }

  #refuse(batch: Batch, op: number, error: unknown): void {
    if (error instanceof OpRefused) return this.#fail(batch, error.reject, [op], error.message);
    const code = errnoCode(error);
    if (code === undefined) throw error;
    this.#fail(
      batch,
      code === 'ENOSPC' || code === 'EDQUOT' ? 'no-space' : 'io',
      [op],
      `${code}: ${error instanceof Error ? error.message : ''}`,
    );
  }

  #fail(batch: Batch, code: NonNullable<Batch['failure']>['code'], ops: number[], detail: string): void {
    if (batch.failure?.code === code) batch.failure.ops.push(...ops);
    else if (!batch.failure || batch.failure.code === 'base') batch.failure = { code, ops, detail };
  }

  #commit(channel: Channel, message: MessageOf<'commit'>): void {
    const batch = this.#current;
    if (!batch || batch.id !== message.id) return;
    if (batch.stream || batch.ops !== message.ops) this.#fail(batch, 'content', [], `the batch has ${batch.ops} of ${message.ops} ops`);
    if (batch.failure) {
      const { code, ops, detail } = batch.failure;
      this.#p.meter.rejected(code);
      this.#dropCurrent();
      channel.sendControl({ type: 'reject', id: message.id, code, ops, detail: detail.slice(0, 1000) });
      return;
    }
    this.#current = null;
    batch.to = message.to;
    this.#accepted = message.to;
    this.#queued.push(batch);
    this.#applying ??= this.#applyQueued(channel);
  }

  async #applyQueued(channel: Channel): Promise<void> {
    try {
      for (let batch = this.#queued[0]; batch; batch = this.#queued[0]) {
        await this.#apply(channel, batch);
        this.#queued.shift();
      }
    } finally {
      this.#applying = null;
    }
  }

  async #apply(channel: Channel, batch: Batch): Promise<void> {
    const { kv, clock, meter, index } = this.#p;
    if (!batch.to) throw new Error('a batch without end cannot be applied');
    const started = clock.monotonicMs();
    await this.#syncRoots();
    const synced = clock.monotonicMs();
    meter.syncSeconds('files', (synced - started) / 1000);
    kv.commit([
      ...index.writesOf(batch.layer),
      ...batch.writes,
      [redoKey, encodeSteps(batch.steps)],
      [positionKey, packPosition(batch.to)],
    ]);
    index.settle(batch.layer);
    await kv.flushed();
    meter.syncSeconds('index', (clock.monotonicMs() - synced) / 1000);
    await this.#doSteps(batch.steps);
    this.#durable = batch.to;
    this.#lastAppliedWallMs = clock.wallMs();
    meter.applied(batch.ops, batch.bytes);
    channel.sendControl({ type: 'ack', id: batch.id, position: batch.to });
    for (const path of batch.trash) removeTree(this.#p.files, path);
  }

  /** The batch is durable from here on: whatever goes wrong is tried again until it is in place. */
  async #doSteps(steps: readonly Step[]): Promise<void> {
    const { files, clock, log } = this.#p;
    const safe = new Set<BytePath>();
    let waitMs = 50;
    for (let i = 0; i < steps.length;) {
      const step = steps[i];
      if (!step) break;
      try {
        checkParents(files, this.#p.roots, step, safe);
        doStep(files, step, (path, what) => this.foreign.note(path, what));
        this.#stuck = null;
        i++;
        if (i % stepsBetweenYields === 0) await clock.yield();
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        if (error instanceof StepBlocked) {
          // Somebody else took it away or stands in the way. The index says what belongs there; verify finds the rest.
          this.foreign.note(error.path, reason);
          if (step.do !== 'mkdir') {
            i++;
            continue;
          }
        }
        this.#stuck = reason;
        log.error({ step: step.do, path: displayPath(step.path), error: reason }, 'a change cannot be put into place; trying again');
        await sleep(clock, waitMs);
        waitMs = Math.min(waitMs * 2, 5000);
      }
    }
  }

  async #syncRoots(): Promise<void> {
    const { files, roots, clock, log } = this.#p;
    for (let waitMs = 100; ; waitMs = Math.min(waitMs * 2, 10_000)) {
      try {
        const devices = new Map(roots.map((root) => [files.lstat(root.staging)?.dev, root.staging]));
        await Promise.all([...devices.values()].map((path) => files.syncfs(path)));
        return;
      } catch (error) {
        this.#stuck = `writing to disk failed: ${error instanceof Error ? error.message : String(error)}`;
        log.error({ error: this.#stuck }, 'nothing is acknowledged until the disk takes what was written');
        await sleep(clock, waitMs);
      }
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
    batch.stream?.abandon();
    for (const path of batch.staged) removeTree(this.#p.files, path);
    this.#p.index.drop(batch.layer);
  }

  #rebase(channel: Channel, position: Position): Promise<void> {
    this.#dropCurrent();
    this.#accepted = this.#durable = position;
    const writes: KvWrite[] = [[positionKey, packPosition(position)]];
    this.#p.kv.commit(writes);
    return this.#p.kv.flushed().then(() => channel.sendControl({ type: 'rebased', position }));
  }
}

/** Whether a batch's steps touch a path (absolute) or a directory above it. */
function touches(batch: Batch, path: BytePath): boolean {
  for (let at: BytePath = path; at.length > 1; at = at.slice(0, Math.max(0, at.lastIndexOf('/')))) if (batch.touched.has(at)) return true;
  return false;
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
