import { z } from 'zod';
import { limits } from './limits.ts';

/** Accepted mail that waits in the queue of a node's mail transfer agent (MTA). It is not replicated: it lies on that node's disk alone. */

const text = z.string().max(limits.textBytesMax);
const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

export const queueReadingSchema = z.strictObject({
  /** `postfix`, `exim`, or both. */
  mta: text,
  /** Null = not known; `why` says so. */
  messages: count.nullable(),
  /** There are more than were counted. */
  more: z.boolean(),
  /** When the oldest of them came in, wall clock in milliseconds; null = not known, or there is none. */
  oldestMs: count.nullable(),
  /** When they were counted, wall clock in milliseconds. */
  readMs: count,
  /** Empty when the number is known. */
  why: text,
});
export type QueueReading = z.infer<typeof queueReadingSchema>;

/** The queue of a node, as it was last read there. Times are ISO 8601. */
export interface QueueStatus {
  node: string;
  mta: string;
  messages: number | null;
  /** There are more than were counted. */
  more: boolean;
  oldestAt: string | null;
  at: string;
  why: string;
}

/** Whether somebody has to know of it: mail waits there, or nobody knows. */
export function mayWait({ messages }: Pick<QueueReading, 'messages'>): boolean {
  return messages !== 0;
}

/** "42 messages wait in the queue of mail-a, which is not replicated". */
export function queueText(node: string, { messages, more, why }: Pick<QueueReading, 'messages' | 'more' | 'why'>): string {
  if (messages === null) return `how many messages wait in the queue of ${node}, which is not replicated, is not known (${why})`;
  const number = `${more ? 'at least ' : ''}${messages === 0 ? 'no' : messages} ${messages === 1 ? 'message waits' : 'messages wait'}`;
  return `${number} in the queue of ${node}${messages === 0 ? '' : ', which is not replicated'}`;
}
