import type { Worker } from 'node:worker_threads';
import type { DiskRead, DiskReading } from './disk-reader-worker.ts';
import { startThread } from './thread.ts';

/**
 * Reads files whole from the disk itself, and not from the page cache, on a thread of its own that everybody else's reads and work
 * go before: idle I/O class where the scheduler of the disk knows one, lowest priority for the processor.
 */
export class DiskReader {
  #worker: Worker | null = null;
  readonly #waiting = new Map<number, (reading: DiskReading | null) => void>();
  #next = 1;

  /** Reads an open file, at most so many bytes a second. Null when the thread ended. */
  read(fd: number, bytesPerSecond: number): Promise<DiskReading | null> {
    const worker = (this.#worker ??= this.#start());
    const id = this.#next++;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      worker.postMessage({ id, fd, bytesPerSecond } satisfies DiskRead);
    });
  }

  #start(): Worker {
    const worker = startThread(import.meta.url, 'disk-reader-worker', { resourceLimits: { maxOldGenerationSizeMb: 64 } });
    worker.unref();
    const end = () => {
      if (this.#worker === worker) this.#end();
    };
    worker.on('message', (reading: DiskReading) => {
      this.#waiting.get(reading.id)?.(reading);
      this.#waiting.delete(reading.id);
    });
    worker.on('error', end);
    worker.on('exit', end);
    return worker;
  }

  /** Ends the thread. One that hangs in a read from a dead disk is not waited for. */
  close(): void {
    const worker = this.#worker;
    this.#end();
    void worker?.terminate();
  }

  #end(): void {
    this.#worker = null;
    for (const resolve of this.#waiting.values()) resolve(null);
    this.#waiting.clear();
  }
}
