import { closeSync, openSync, renameSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Random } from '../../../tools/mailgen/random.ts';

const hotBytes = 8 * 1024 * 1024;
const pageBytes = 4096;
/** Written for twelve seconds, at rest for eight. */
const pagesBetweenRests = 600;
const restMs = 8000;
const largeBytes = 24 * 1024 * 1024;

/** Files of a plain root that never rest: a database that is written in place, a log, large files, one with holes. */
export class HotFiles {
  readonly #dir: string;
  readonly #random: Random;
  #over = new AbortController();
  #work: Promise<void> = Promise.resolve();

  constructor(dir: string, random: Random) {
    this.#dir = dir;
    this.#random = random;
    writeFileSync(join(dir, 'hot.db'), Buffer.alloc(hotBytes, 1));
  }

  start(): void {
    this.#over = new AbortController();
    this.#work = Promise.all([this.#database(), this.#log(), this.#large()]).then(() => {});
    // Awaited by `stop`.
    this.#work.catch(() => {});
  }

  async stop(): Promise<void> {
    this.#over.abort();
    await this.#work;
  }

  /** It rests now and then: while it is written all the time it can be proved at no moment, and `wait` cannot confirm anything. */
  async #database(): Promise<void> {
    const page = Buffer.alloc(pageBytes);
    for (let i = 1; !this.#over.signal.aborted; i++) {
      if (i % pagesBetweenRests === 0) await pause(restMs, undefined, { signal: this.#over.signal }).catch(() => {});
      const fd = openSync(join(this.#dir, 'hot.db'), 'r+');
      page.writeUInt32LE(this.#random.uint32());
      tolerant(() => writeSync(fd, page, 0, pageBytes, this.#random.int(0, hotBytes / pageBytes - 1) * pageBytes));
      closeSync(fd);
      await pause(20);
    }
  }

  async #log(): Promise<void> {
    for (let i = 0; !this.#over.signal.aborted; i++) {
      tolerant(() => writeFileSync(join(this.#dir, 'server.log'), `${i} ${'a line of a log '.repeat(20)}\n`, { flag: 'a' }));
      await pause(150);
    }
  }

  async #large(): Promise<void> {
    const block = Buffer.alloc(1024 * 1024);
    for (let i = 0; !this.#over.signal.aborted; i++) {
      const [temporary, name] = [join(this.#dir, 'backup.part'), join(this.#dir, `backup-${i % 3}.tar`)];
      rmSync(temporary, { force: true });
      for (let at = 0; at < largeBytes && !this.#over.signal.aborted; at += block.length) {
        block.writeUInt32LE(this.#random.uint32());
        if (!tolerant(() => writeFileSync(temporary, block, { flag: 'a' }))) break;
        await pause(30);
      }
      tolerant(() => renameSync(temporary, name));
      tolerant(() => {
        writeFileSync(join(this.#dir, 'holes.img'), `holes ${i}`);
        truncateSync(join(this.#dir, 'holes.img'), 200 * 1024 * 1024);
      });
      await pause(4000);
    }
  }
}

/** False when the disk had no room: whoever writes there sees that himself. */
function tolerant(work: () => unknown): boolean {
  try {
    work();
    return true;
  } catch (error) {
    if (['ENOSPC', 'EDQUOT', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}
