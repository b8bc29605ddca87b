import fs from 'node:fs';
import path from 'node:path';
import { open, type RootDatabase, type RootDatabaseOptions } from 'lmdb';
import { OperatorError } from './errors.ts';
import { errnoCode } from './files.ts';
import type { Kv, KvWrite } from './kv.ts';
import { checkLmdbFile } from './lmdb-check.ts';
import { mappableBytes, MappedMemory } from './mapped-memory.ts';
import { tryLock } from './native.ts';

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

const openOptions: RootDatabaseOptions & { permissionsMode: number; noReadAhead: boolean } = {
  noSubdir: true,
  encoding: 'binary',
  keyEncoding: 'binary',
  maxDbs: 1,
  noReadAhead: true,
  // A commit that returns is on disk, by LMDB's own two meta pages. `flushed` of lmdb-js does not cover transactionSync.
  overlappingSync: false,
  permissionsMode: 0o600,
};

/**
 * Opens, or makes, the store in `dir`. One process at a time.
 *
 * @throws OperatorError `store-locked`, `store-unwritable`, `store-unmappable` or `store-damaged`.
 */
export function openLmdbKv(dir: string): Kv {
  const file = path.join(dir, 'data.mdb');
  const lock = lockDirectory(dir);
  let db: RootDatabase<Buffer, Buffer> | undefined;
  try {
    checkLmdbFile(file);
    db = open<Buffer, Buffer>(file, { ...openOptions, mapSize: mapSizeOf(file) });
    return new LmdbKv(db, lock, new MappedMemory(file, RESIDENT_BYTES_MAX));
  } catch (error) {
    void db?.close();
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

function lockDirectory(dir: string): number {
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

function openError(file: string, error: unknown): OperatorError {
  const text = error instanceof Error ? error.message : String(error);
  const code = errnoCode(error);
  if (
    code === 'EACCES' ||
    code === 'EPERM' ||
    code === 'EROFS' ||
    code === 'ENOSPC' ||
    code === 'ENOTDIR' ||
    /Permission denied|Read-only file system|No space left/.test(text)
  ) {
    return new OperatorError(
      'store-unwritable',
      `cannot write ${file}: ${text}`,
      'Make the state directory writable for the user that runs the agent, with free space.',
    );
  }
  return damaged(file, text);
}

function damaged(file: string, text: string): OperatorError {
  return new OperatorError(
    'store-damaged',
    `${file} cannot be used: ${text}`,
    'Check the disk. Then move the state directory’s database away and start the agent: it compares both stores anew.',
  );
}

class LmdbKv implements Kv {
  readonly #db: RootDatabase<Buffer, Buffer>;
  readonly #lock: number;
  readonly #memory: MappedMemory;

  constructor(db: RootDatabase<Buffer, Buffer>, lock: number, memory: MappedMemory) {
    this.#db = db;
    this.#lock = lock;
    this.#memory = memory;
  }

  get(key: Buffer): Buffer | undefined {
    this.#memory.touched(1);
    return this.#db.getBinary(key);
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
      const chunk = [...this.#db.getRange({ start: from, exclusiveStart, limit, ...bounds })];
      this.#memory.touched(chunk.length);
      for (const { key, value } of chunk) yield [key, value];
      const last = chunk.at(-1);
      if (last === undefined || chunk.length < limit) return;
      [from, exclusiveStart] = [last.key, true];
      left -= chunk.length;
      chunkSize = Math.min(chunkSize * 2, CHUNK_MAX);
    }
  }

  commit(writes: readonly KvWrite[]): void {
    if (writes.length === 0) return;
    const db = this.#db;
    this.#memory.touched(writes.length);
    // The callback gives nothing back: given a promise, and put returns one, lmdb would keep the transaction open.
    db.transactionSync(() => {
      for (const [key, value] of writes) {
        if (value === null) void db.remove(key);
        else void db.put(key, value);
      }
    });
  }

  /** Every commit that returned is on disk already. */
  flushed(): Promise<void> {
    return Promise.resolve();
  }

  async close(): Promise<void> {
    await this.#db.close();
    fs.closeSync(this.#lock);
  }
}
