import type { Worker } from 'node:worker_threads';
import type { KvWrite } from './kv.ts';
import type { WriterAnswer, WriterAsk, WriterData } from './lmdb-writer.ts';
import { packWrites } from './packed-writes.ts';
import { startThread } from './thread.ts';

/** The thread that writes a store, as the main thread knows it. One thing at a time is asked of it. */
export class StoreWriter {
  readonly #worker: Worker;
  #asked: { resolve: () => void; reject: (error: Error) => void } | null = null;
  #failure: Error | null = null;

  constructor(data: WriterData) {
    this.#worker = startThread(import.meta.url, 'lmdb-writer', { workerData: data });
    // Whatever waits for an answer keeps the process, and nothing else here.
    this.#worker.unref();
    this.#worker.on('message', (answer: WriterAnswer) => {
      const asked = this.#done();
      if (answer === null) asked?.resolve();
      else asked?.reject(Object.assign(new Error(answer.message), answer.code === undefined ? {} : { code: answer.code }));
    });
    this.#worker.on('error', (error) => this.#fail(error instanceof Error ? error : new Error(String(error))));
    this.#worker.on('exit', (code) => this.#fail(new Error(`the thread that writes the store ended (${code})`)));
  }

  /** Resolves when the writes are on disk. @throws what LMDB says, with its number as `code`. */
  write(writes: readonly KvWrite[]): Promise<void> {
    const packed = packWrites(writes);
    return this.#ask({ do: 'write', writes: packed }, [packed.buffer as ArrayBuffer]);
  }

  /** Gives up the environment, so that the last one who has it can close it. */
  release(): Promise<void> {
    return this.#ask({ do: 'close' });
  }

  /** Takes the environment that stands now. */
  take(mapSize: number): Promise<void> {
    return this.#ask({ do: 'open', mapSize });
  }

  async end(): Promise<void> {
    if (this.#failure === null) await this.release();
    await this.#worker.terminate();
  }

  #ask(ask: WriterAsk, transfer: ArrayBuffer[] = []): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#asked) throw new Error('the thread that writes the store is asked for two things at once');
    return new Promise((resolve, reject) => {
      this.#asked = { resolve, reject };
      this.#worker.ref();
      this.#worker.postMessage(ask, transfer);
    });
  }

  #done(): { resolve: () => void; reject: (error: Error) => void } | null {
    const asked = this.#asked;
    this.#asked = null;
    this.#worker.unref();
    return asked;
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#done()?.reject(this.#failure);
  }
}
