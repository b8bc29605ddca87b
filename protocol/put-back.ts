import { z } from 'zod';
import { limits } from './limits.ts';

/**
 * What a primary whose store was put back asks of its standby before a person's word makes its state the pair's again
 * (I5, I21). messages.ts carries them as `putBackAsk {id, ask}` and `putBackAnswer {id, answer}`. One question at a time.
 */

const text = z.string().max(limits.textBytesMax);
const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const byteString = z
  .string()
  .max(limits.pathBytesMax)
  .regex(/^[\0-\xff]*$/);

export const putBackAskSchema = z.discriminatedUnion('ask', [
  /** The mailboxes whose place comes after `after`, in byte order. `marginMin`: `takeover.uidMarginMin` of the asking node. */
  z.strictObject({ ask: z.literal('marks'), after: byteString, marginMin: count }),
  /** What the standby has more is undone from here on: it marks what goes to its history, so that `salvage` offers it there. */
  z.strictObject({ ask: z.literal('undo') }),
]);
export type PutBackAsk = z.infer<typeof putBackAskSchema>;

export const putBackAnswerSchema = z.discriminatedUnion('answer', [
  z.strictObject({ answer: z.literal('undo') }),
  z.strictObject({ answer: z.literal('refused'), code: text, text, remedy: text }),
  z.strictObject({
    answer: z.literal('marks'),
    /** Root, mailbox, UIDVALIDITY, and above what may ever have been issued: UIDNEXT and HIGHESTMODSEQ, the margin included. */
    items: z.array(z.tuple([text, byteString, count, count, count])).max(limits.watermarksPerMessageMax),
    /** What to ask after next; null at the end. */
    next: byteString.nullable(),
    /** The margin of a mailbox that the standby knows nothing of. */
    margin: count,
  }),
]);
export type PutBackAnswer = z.infer<typeof putBackAnswerSchema>;
