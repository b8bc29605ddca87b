import type { QueueReading } from '../../../protocol/queue.ts';
import type { ServicesConfig } from '../../config/takeover-sections/services.ts';
import { sleep, type Clock } from '../../platform/clock.ts';
import type { Exec } from '../../platform/exec.ts';
import type { QueueFiles } from '../../platform/queue-files.ts';
import { countQueue, type QueueBounds, type QueueCount, type QueuePlace } from './count-queue.ts';
import { queuePlaces, type QueuePlaces } from './queue-places.ts';

const everyMs = 30_000;
/** A count that was not renewed for so long is not repeated (I18): the disk may hang. */
const countMsMax = 120_000;
/** The MTA is asked where its queue lies so often. */
const placesMs = 600_000;

export interface MailQueueParts {
  services: Pick<ServicesConfig, 'queue' | 'units'> | null;
  exec: Exec;
  files: QueueFiles;
  clock: Clock;
  bounds?: QueueBounds;
}

/**
 * Counts the mail that waits on this node, again and again.
 *
 * - `queue.reading()`: what was counted last; null when no queue is watched.
 * - `queue.run(signal)`: counts until then.
 */
export class MailQueue {
  readonly #p: MailQueueParts;
  #places: { found: QueuePlaces; atMs: number } | null = null;
  #last: { reading: QueueReading; atMs: number } | null = null;
  /** When the first count began. */
  #beganMs: number | null = null;

  constructor(parts: MailQueueParts) {
    this.#p = parts;
  }

  reading(): QueueReading | null {
    const found = this.#places?.found;
    if (found?.is !== 'places' || this.#beganMs === null) return null;
    if (this.#p.clock.monotonicMs() - (this.#last?.atMs ?? this.#beganMs) <= countMsMax) return this.#last?.reading ?? null;
    const readMs = this.#last?.reading.readMs ?? Math.floor(this.#p.clock.wallMs());
    return { ...nothingKnown(found.places, readMs), why: 'counting them does not come to its end' };
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#look();
      await sleep(this.#p.clock, everyMs, signal);
    }
  }

  async #look(): Promise<void> {
    const { services, exec, files, clock, bounds } = this.#p;
    const nowMs = clock.monotonicMs();
    if (this.#places === null || nowMs - this.#places.atMs > placesMs)
      this.#places = { found: await queuePlaces(services, exec), atMs: nowMs };
    const { found } = this.#places;
    if (found.is === 'none') return;
    this.#beganMs ??= nowMs;
    const reading = await readQueues(found, files, clock.wallMs(), bounds);
    this.#last = { reading, atMs: clock.monotonicMs() };
  }
}

/** Counts the queues of a node together; what cannot be read makes the number unknown, never smaller. */
export async function readQueues(
  { places }: Extract<QueuePlaces, { is: 'places' }>,
  files: QueueFiles,
  wallMs: number,
  bounds?: QueueBounds,
): Promise<QueueReading> {
  const none = nothingKnown(places, Math.floor(wallMs));
  const counts: QueueCount[] = [];
  for (const place of places)
    try {
      counts.push(await countQueue(place, files, bounds));
    } catch (error) {
      return { ...none, why: (error instanceof Error ? error.message : String(error)).slice(0, 300) };
    }
  const times = counts.flatMap(({ messages, oldestMs }) => (messages === 0 ? [] : [oldestMs]));
  return {
    ...none,
    messages: counts.reduce((sum, { messages }) => sum + messages, 0),
    more: counts.some(({ more }) => more),
    oldestMs: times.length === 0 || times.includes(null) ? null : Math.min(...times.filter((time) => time !== null)),
    why: '',
  };
}

function nothingKnown(places: readonly QueuePlace[], readMs: number): QueueReading {
  return { mta: [...new Set(places.map(({ mta }) => mta))].join(', '), messages: null, more: false, oldestMs: null, readMs, why: '' };
}
