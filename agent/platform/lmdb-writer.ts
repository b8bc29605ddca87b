import fs from 'node:fs';
import path from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import type { RootDatabase } from 'lmdb';
import { usedOf } from './lmdb-check.ts';
import { openBesideMemory } from './lmdb-open.ts';
import { unpackWrites } from './packed-writes.ts';
import { StoreBlocks } from './store-blocks.ts';

/** Which store the thread writes. */
export interface WriterData {
  file: string;
  mapSize: number;
}

/** What the thread is asked for, one at a time. */
export type WriterAsk = { do: 'write'; writes: Uint8Array } | { do: 'open'; mapSize: number } | { do: 'close' };

/** Null when it is done and on disk. */
export type WriterAnswer = { message: string; code: number | string | undefined } | null;

const ENOSPC = 28;

/** Writes a store of which the main thread has opened the environment: it alone waits for the disk. */
class Writer {
  readonly #file: string;
  readonly #fd: number;
  readonly #blocks: StoreBlocks;
  #db: RootDatabase<Buffer, Buffer> | null = null;

  constructor({ file, mapSize }: WriterData) {
    this.#file = file;
    this.#fd = fs.openSync(file, 'a+', 0o600);
    this.#blocks = new StoreBlocks(this.#fd, path.dirname(file));
    this.open(mapSize);
  }

  open(mapSize: number): void {
    this.#db = openBesideMemory(this.#file, mapSize);
  }

  write(packed: Buffer): void {
    const db = this.#db;
    if (!db) throw new Error('the store is closed');
    const writes = [...unpackWrites(packed)];
    const { usedBytes, pageSize } = usedOf(this.#fd);
    const bytes = packed.length + 16 * writes.length;
    if (!this.#blocks.reserve(usedBytes, pageSize, { keys: writes.length, bytes }))
      throw Object.assign(new Error('the disk is full'), { code: ENOSPC });
    // The callback gives nothing back: given a promise, and put returns one, lmdb would keep the transaction open.
    db.transactionSync(() => {
      for (const [key, value] of writes) {
        if (value === null) void db.remove(key);
        else void db.put(key, value);
      }
    });
  }

  async close(): Promise<void> {
    await this.#db?.close();
    this.#db = null;
  }

  async answer(ask: WriterAsk): Promise<WriterAnswer> {
    try {
      if (ask.do === 'write') this.write(Buffer.from(ask.writes.buffer, ask.writes.byteOffset, ask.writes.byteLength));
      else if (ask.do === 'open') this.open(ask.mapSize);
      else await this.close();
      return null;
    } catch (error) {
      const { code } = error as { code?: number | string };
      return { message: error instanceof Error ? error.message : String(error), code };
    }
  }
}

const port = parentPort;
if (port !== null) {
  const writer = new Writer(workerData as WriterData);
  port.on('message', (ask: WriterAsk) => {
    void writer.answer(ask).then((answer) => port.postMessage(answer));
  });
}
