import type { QueueFiles } from '../../platform/queue-files.ts';
import { eximMessage, postfixMessage, type MessageName } from './message-names.ts';

/** The queue of an MTA: `dir` is Postfix's `queue_directory` or Exim's `spool_directory`. */
export interface QueuePlace {
  mta: 'postfix' | 'exim';
  dir: string;
  /** The MTA itself says that its queue lies there. */
  told?: true;
}

export interface QueueCount {
  messages: number;
  /** Counting ended at its bound; there are more. */
  more: boolean;
  /** When the oldest came in, wall clock; null when there is none, or not all of them tell. */
  oldestMs: number | null;
}

/** How much is looked at (I12). */
export interface QueueBounds {
  messagesMax: number;
  /** Files of which the attributes are read, for the time of those whose name does not tell it. */
  statsMax: number;
}

export const queueBounds: QueueBounds = { messagesMax: 100_000, statsMax: 2000 };

/** Of Postfix, where mail waits. `defer`, `bounce`, `trace` and `flush` are logs; `corrupt` and `saved` are delivered by nobody. */
const postfixParts = ['maildrop', 'incoming', 'active', 'deferred', 'hold'];
/** Here a message is written before it is accepted. Then it becomes executable (Postfix's mail_queue.h). */
const postfixUnready = new Set(['maildrop', 'incoming']);
const readyBit = 0o100;
/** Hashed directories have names of one character. */
const hashed = /^[0-9A-Za-z]$/;
/** `hash_queue_depth` and the split spool of Exim are at most so deep. */
const depthMax = 16;

/**
 * Counts the messages of a queue, while it is worked on: one that moves meanwhile may count twice, or not at all.
 *
 * @throws the error of the file system when something cannot be read, and NoQueue when nothing is there.
 */
export async function countQueue({ mta, dir, told }: QueuePlace, files: QueueFiles, bounds = queueBounds): Promise<QueueCount> {
  const count = new Counting(files, bounds);
  const parts = mta === 'postfix' ? postfixParts : ['input'];
  let found = 0;
  for (const part of parts) {
    const isThere = await count.walk(`${dir}/${part}`, {
      message: mta === 'postfix' ? postfixMessage : eximMessage,
      unready: mta === 'postfix' && postfixUnready.has(part),
    });
    if (isThere) found++;
  }
  // Debian 13 leaves it to the first start of Postfix to make them. An empty directory may be a mount that is missing.
  if (found === 0 && told && (await hasSomething(dir, files))) return { messages: 0, more: false, oldestMs: null };
  if (found === 0) throw new NoQueue(`${dir} has none of ${parts.join(', ')}: it is no queue of ${mta === 'postfix' ? 'Postfix' : 'Exim'}`);
  return count.result;
}

async function hasSomething(dir: string, files: QueueFiles): Promise<boolean> {
  for await (const _ of (await files.list(dir)) ?? []) return true;
  return false;
}

/** There is no queue where one should be. */
export class NoQueue extends Error {}

interface Part {
  message: (name: string) => MessageName | null;
  /** Files may be there that are no accepted messages yet. */
  unready: boolean;
}

class Counting {
  readonly #files: QueueFiles;
  readonly #bounds: QueueBounds;
  #messages = 0;
  #more = false;
  #stats = 0;
  #oldestMs = Infinity;
  #isTimeKnown = true;

  constructor(files: QueueFiles, bounds: QueueBounds) {
    this.#files = files;
    this.#bounds = bounds;
  }

  get result(): QueueCount {
    const isKnown = this.#isTimeKnown && !this.#more && Number.isFinite(this.#oldestMs);
    return { messages: this.#messages, more: this.#more, oldestMs: isKnown ? Math.floor(this.#oldestMs) : null };
  }

  /** False when there is no such directory. */
  async walk(dir: string, part: Part, depth = 0): Promise<boolean> {
    const entries = await this.#files.list(dir);
    if (entries === null) return false;
    const below: string[] = [];
    for await (const { name, isDirectory } of entries) {
      if (isDirectory) {
        if (hashed.test(name) && depth < depthMax) below.push(name);
        continue;
      }
      const message = part.message(name);
      if (message === null) continue;
      if (this.#messages >= this.#bounds.messagesMax) {
        this.#more = true;
        return true;
      }
      await this.#add(`${dir}/${name}`, message, part.unready);
    }
    for (const name of below) {
      if (this.#more) break;
      await this.walk(`${dir}/${name}`, part, depth + 1);
    }
    return true;
  }

  async #add(path: string, { timeMs }: MessageName, unready: boolean): Promise<void> {
    if ((timeMs !== null && !unready) || this.#stats >= this.#bounds.statsMax) return this.#note(timeMs);
    this.#stats++;
    const stat = await this.#files.stat(path);
    // It went to another directory, or was delivered.
    if (stat === null || (unready && (stat.mode & readyBit) === 0)) return;
    this.#note(timeMs ?? stat.bornMs);
  }

  #note(timeMs: number | null): void {
    this.#messages++;
    if (timeMs === null) this.#isTimeKnown = false;
    else this.#oldestMs = Math.min(this.#oldestMs, timeMs);
  }
}
