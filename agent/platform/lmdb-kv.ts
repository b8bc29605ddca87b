import fs from 'node:fs';
import path from 'node:path';
import type { RangeOptions, RootDatabase } from 'lmdb';
import type { Clock } from './clock.ts';
import { systemClock } from './clock.ts';
import { OperatorError } from './errors.ts';
import { errnoCode } from './files.ts';
import type { Kv, KvWrite } from './kv.ts';
import { checkLmdbFile } from './lmdb-check.ts';
import { openBesideMemory } from './lmdb-open.ts';
import { silentLog, type Log } from './log.ts';
import { walkLmdbFile } from './lmdb-walk.ts';
import { mappableBytes, MappedMemory } from './mapped-memory.ts';
import { tryLock } from './native.ts';
import { damagedStore, readFailure, unwritableStore, writeFailure } from './store-errors.ts';
import { overwriteInPlace } from './store-blocks.ts';
import { breakSeal, seal, wasClosed } from './store-seal.ts';
import { storeRoom } from './store-room.ts';
import { StoreWriter } from './store-writer.ts';
import { WaitingKv, WriteFailed, type PlainStore, type StoreRoom } from './waiting-kv.ts';

/** Longest key in bytes (LMDB with pages of 4096 bytes). */
export const KEY_BYTES_MAX = 1978;

/**
 * Address space that is set aside for the map. It costs no memory, and a map that never moves is not counted twice
 * while it grows; beyond it lmdb maps anew.
 */
const MAP_BYTES = 64 * 1024 ** 3;
/** Less is not worth a start: a store of some size would not fit. */
const MAP_BYTES_MIN = 1024 ** 3;

/** Pages of the file that may stay in this process; all are in the file cache besides. */
const RESIDENT_BYTES_MAX = 24 * 1024 ** 2;

/** Entries that one read of a range fetches: few at first, because many callers want only the first ones. */
const CHUNK_FIRST = 16;
const CHUNK_MAX = 256;

export interface OpenOptions {
  clock?: Clock;
  log?: Log;
  /** A read met damage: nothing that this store says can be trusted any more. */
  onDamage?: (error: OperatorError) => void;
}

/** The store's file in its directory. */
export const storeFileName = 'data.mdb';

/**
 * Opens, or makes, the store in `dir`. One process at a time.
 *
 * @throws OperatorError `store-locked`, `store-unwritable`, `state-unwritable`, `store-unmappable` or `store-damaged`.
 */
export function openLmdbKv(dir: string, options: OpenOptions = {}): Kv {
  return openLocked(dir, lockDirectory(dir), options);
}

/**
 * The same, and reads the whole file first unless it was closed in order: LMDB meets damage by ending the process, and
 * whatever ended it may have been that. `check` is told of each record, and throws at one that cannot be read.
 */
export async function openCheckedKv(dir: string, check: (key: Buffer, value: Buffer) => void, options: OpenOptions = {}): Promise<Kv> {
  const { clock = systemClock, log = silentLog } = options;
  const file = path.join(dir, storeFileName);
  const lock = lockDirectory(dir);
  try {
    if (!wasClosed(dir, file)) {
      const started = clock.monotonicMs();
      let records = 0;
      const entry = (key: Buffer, value: Buffer): void => {
        records++;
        check(key, value);
      };
      await walkLmdbFile(file, { entry, clock });
      if (records > 0)
        log.info({ records, ms: Math.round(clock.monotonicMs() - started) }, 'the store was not closed in order; it was read and is whole');
    }
  } catch (error) {
    fs.closeSync(lock);
    if (errnoCode(error) !== undefined) throw openError(file, error);
    throw damagedStore(file, error instanceof Error ? error.message : String(error));
  }
  return openLocked(dir, lock, options);
}

/** `lock` is closed when it fails. */
function openLocked(dir: string, lock: number, { clock = systemClock, log = silentLog, onDamage = () => {} }: OpenOptions): Kv {
  const file = path.join(dir, storeFileName);
  try {
    checkLmdbFile(file);
    breakSeal(dir);
    if (!fs.existsSync(file)) overwriteInPlace(dir);
    const room = storeRoom(dir, file);
    return new WaitingKv(new LmdbStore(file, lock, room, onDamage), room, {
      clock,
      log,
      onFailure: (error) => onDamage(storeFailure(file, error)),
    });
  } catch (error) {
    fs.closeSync(lock);
    if (error instanceof OperatorError) throw error;
    throw openError(file, error);
  }
}

function mapSizeOf(file: string): number {
  const bytesMin = Math.max(MAP_BYTES_MIN, fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0);
  const bytes = mappableBytes(file, MAP_BYTES, bytesMin);
  if (bytes !== null) return bytes;
  throw new OperatorError(
    'store-unmappable',
    `${file} needs a map of ${Math.ceil(bytesMin / 1024 ** 2)} MiB, and this process may not map that much`,
    'Raise or remove its limit of address space (`ulimit -v`; LimitAS of the unit).',
  );
}

/** The lock that keeps a second process away; it ends with the descriptor. @throws OperatorError `store-locked`. */
export function lockDirectory(dir: string): number {
  let fd: number;
  try {
    fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
    fd = fs.openSync(path.join(dir, 'owner.lock'), 'a', 0o600);
  } catch (error) {
    throw openError(dir, error);
  }
  if (tryLock(fd)) return fd;
  fs.closeSync(fd);
  throw new OperatorError(
    'store-locked',
    `${dir} is in use by another process`,
    'Stop the other agent that uses this state directory, or give this one its own.',
  );
}

/** What is neither damage nor ours is the system's: a disk or a user that may not write. */
function openError(file: string, error: unknown): OperatorError {
  const failure = writeFailure(file, error, null);
  if (failure instanceof OperatorError) return failure;
  const isSystems = failure instanceof WriteFailed || errnoCode(error) !== undefined;
  return isSystems ? unwritableStore(file, error) : damagedStore(file, error instanceof Error ? error.message : String(error));
}

/** For whoever must end because of it. */
function storeFailure(file: string, error: unknown): OperatorError {
  if (error instanceof OperatorError) return error;
  return new OperatorError(
    'store-failed',
    `the agent's store ${file} cannot be written: ${error instanceof Error ? error.message : String(error)}`,
    'look at the disk of the state directory and the log of the agent',
  );
}

/** LMDB itself: read here, written by a thread that alone waits for the disk. */
class LmdbStore implements PlainStore {
  readonly keyBytesMax = KEY_BYTES_MAX;
  readonly #file: string;
  readonly #lock: number;
  readonly #room: StoreRoom;
  readonly #onDamage: (error: OperatorError) => void;
  readonly #writer: StoreWriter;
  #db: RootDatabase<Buffer, Buffer>;
  #memory: MappedMemory;
  /** A page of meta could not be written: LMDB takes nothing more before it is opened again. */
  #mustReopen = false;

  constructor(file: string, lock: number, room: StoreRoom, onDamage: (error: OperatorError) => void) {
    this.#file = file;
    this.#lock = lock;
    this.#room = room;
    this.#onDamage = onDamage;
    const mapSize = mapSizeOf(file);
    this.#db = openBesideMemory(file, mapSize);
    this.#memory = new MappedMemory(file, RESIDENT_BYTES_MAX);
    this.#writer = new StoreWriter({ file, mapSize });
  }

  get(key: Buffer): Buffer | undefined {
    this.#memory.touched(1);
    try {
      return this.#db.getBinary(key);
    } catch (error) {
      throw this.#readFailure(error);
    }
  }

  #readFailure(error: unknown): unknown {
    const failure = readFailure(this.#file, error);
    if (failure instanceof OperatorError) this.#onDamage(failure);
    return failure;
  }

  /** Reads in chunks, so that no cursor stays open between two steps of the caller. */
  *range(start: Buffer, end: Buffer, options: { limit?: number; reverse?: boolean } = {}): Iterable<[Buffer, Buffer]> {
    let left = options.limit ?? Infinity;
    let chunkSize = CHUNK_FIRST;
    let from = options.reverse ? end : start;
    let exclusiveStart = options.reverse === true;
    while (left > 0) {
      const limit = Math.min(left, chunkSize);
      const bounds = options.reverse ? { end: start, inclusiveEnd: true, reverse: true } : { end };
      const chunk = this.#chunk({ start: from, exclusiveStart, limit, ...bounds });
      this.#memory.touched(chunk.length);
      for (const { key, value } of chunk) yield [key, value];
      const last = chunk.at(-1);
      if (last === undefined || chunk.length < limit) return;
      [from, exclusiveStart] = [last.key, true];
      left -= chunk.length;
      chunkSize = Math.min(chunkSize * 2, CHUNK_MAX);
    }
  }

  #chunk(options: RangeOptions): { key: Buffer; value: Buffer }[] {
    try {
      return [...this.#db.getRange(options)];
    } catch (error) {
      throw this.#readFailure(error);
    }
  }

  /** Resolves when it is on disk, and read here. @throws WriteFailed when the disk does not take it: then nothing is written. */
  async write(writes: readonly KvWrite[]): Promise<void> {
    this.#memory.touched(writes.length);
    try {
      if (this.#mustReopen) await this.#reopen();
      await this.#writer.write(writes);
      // What is read from here on is no older than this: without it a view that was begun before would be used a little longer.
      this.#db.resetReadTxn();
    } catch (error) {
      const failure = writeFailure(this.#file, error, this.#room.freeBytes());
      if (failure instanceof OperatorError) this.#onDamage(failure);
      // Whether the page of meta was the one that failed is not told.
      if (failure instanceof WriteFailed) this.#mustReopen = failure.isFatal;
      throw failure;
    }
  }

  /** The environment ends with the last one that has it, and the next one to open it begins a new one. */
  async #reopen(): Promise<void> {
    await this.#writer.release();
    // Nobody reads in between: this ends before it first waits.
    void this.#db.close();
    const mapSize = mapSizeOf(this.#file);
    this.#db = openBesideMemory(this.#file, mapSize);
    this.#memory = new MappedMemory(this.#file, RESIDENT_BYTES_MAX);
    await this.#writer.take(mapSize);
    this.#mustReopen = false;
  }

  async close(): Promise<void> {
    await this.#writer.end();
    await this.#db.close();
    seal(path.dirname(this.#file), this.#file);
    fs.closeSync(this.#lock);
  }
}
