import { z } from 'zod';
import { limits } from './limits.ts';

/**
 * What a node that was replaced asks of the active one, to bring back what only it has (I16). messages.ts carries them as
 * `salvageAsk {id, ask}` and `salvageAnswer {id, answer}`. One question at a time; the next follows the answer.
 */

const text = z.string().max(limits.textBytesMax);
const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const byteString = z
  .string()
  .max(limits.pathBytesMax)
  .regex(/^[\0-\xff]*$/);
const bytes = (length: number) => z.custom<Buffer>((v) => Buffer.isBuffer(v) && v.length === length, `${length} bytes`);
const chunk = z.custom<Buffer>((v) => Buffer.isBuffer(v) && v.length <= limits.dataFrameBytesMax, 'bytes');
/** Nanoseconds since 1970, in decimal. */
const nanoseconds = z.string().regex(/^-?[0-9]{1,26}$/);
const owner = {
  mode: z.number().int().min(0).max(0o7777),
  uid: z.number().int().min(0).max(0xffffffff),
  gid: z.number().int().min(0).max(0xffffffff),
};

/** What a question may name at once. */
export const salvageItemsMax = 200;
/** Places that an answer names: for one item, in all, and their bytes together, so that it fits a frame. */
export const salvagePlaces = { perItemMax: 16, max: 2000, bytesMax: 512 * 1024 } as const;
const keywordsMax = 26;

export const salvageTargetSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('message'),
    mailbox: byteString,
    /** Letters of Maildir's system flags, in the order of the alphabet. */
    flags: z.string().regex(/^D?F?P?R?S?T?$/),
    keywords: z.array(text).max(keywordsMax),
    /** The server's size of the message (`S=` of the name), which is not that of a compressed or encrypted file; null when not known. */
    messageSize: count.nullable(),
    /** The same with CRLF line ends (`W=`). */
    virtualSize: count.nullable(),
  }),
  /** A file of a root that holds no mailboxes, as a queue. */
  z.strictObject({ kind: z.literal('file'), path: byteString }),
]);
export type SalvageTarget = z.infer<typeof salvageTargetSchema>;

/** Names one thing of the lost tail for ever: where it came from, and its content. */
const salvageId = bytes(32);

export const salvageAskSchema = z.discriminatedUnion('ask', [
  /** Which of these are not here? Changes nothing. */
  z.strictObject({
    ask: z.literal('judge'),
    root: text,
    items: z
      .array(
        z.strictObject({
          id: salvageId,
          kind: z.enum(['message', 'file']),
          /** Of a message its mailbox, of a file its path. */
          path: byteString,
          /** Of a message its name without flags; of a file empty. */
          base: byteString,
          size: count,
          sha256: bytes(32),
          mtimeNs: nanoseconds,
        }),
      )
      .max(salvageItemsMax),
  }),
  /** Makes a directory, or a mailbox with all that belongs to it, and what is missing above; nothing when it is there. */
  z.strictObject({ ask: z.literal('folder'), root: text, kind: z.enum(['mailbox', 'dir']), path: byteString, ...owner }),
  /** Content in portions from the beginning on; with the last one it is put in place. */
  z.strictObject({
    ask: z.literal('put'),
    root: text,
    id: salvageId,
    target: salvageTargetSchema,
    mtimeNs: nanoseconds,
    ...owner,
    size: count,
    sha256: bytes(32),
    offset: count,
    data: chunk,
  }),
]);
export type SalvageAsk = z.infer<typeof salvageAskSchema>;
export type SalvagePut = Extract<SalvageAsk, { ask: 'put' }>;
export type SalvageItem = Extract<SalvageAsk, { ask: 'judge' }>['items'][number];

/**
 * `missing`: not here. `there`: it arrived before the takeover. `placed`: an earlier salvage brought it. `differs`:
 * something else has its path. `elsewhere`: the same content and date is in these places, and the asking node alone knows
 * whether it was moved from one of them or is one more message.
 */
export const salvageVerdicts = ['missing', 'there', 'placed', 'differs', 'elsewhere'] as const;
export type SalvageVerdict = (typeof salvageVerdicts)[number];

export const salvageAnswerSchema = z.discriminatedUnion('answer', [
  z.strictObject({ answer: z.literal('refused'), code: text, text, remedy: text }),
  z.strictObject({
    answer: z.literal('judged'),
    verdicts: z.array(z.enum(salvageVerdicts)).max(salvageItemsMax),
    /** Number of an item in the question, and a path below the root. */
    elsewhere: z.array(z.tuple([z.number().int().min(0).max(salvageItemsMax), byteString])).max(salvagePlaces.max),
  }),
  z.strictObject({ answer: z.literal('folder'), state: z.enum(['made', 'was-there']) }),
  z.strictObject({
    answer: z.literal('taken'),
    /** `more`: go on with the next portion. */
    state: z.enum(['more', 'placed', 'was-placed']),
    /** Where it is now, below the root. */
    path: byteString,
    /** Keywords that the mailbox does not know and that were left out. */
    dropped: z.array(text).max(keywordsMax),
  }),
]);
export type SalvageAnswer = z.infer<typeof salvageAnswerSchema>;

/** One thing that only the old primary has, or that changed only there: a line of POST /salvage. */
export interface TailItem {
  /** `message`, `file` and `folder` are brought back; the others are only shown. */
  what: 'message' | 'file' | 'folder' | 'flags' | 'expunged' | 'folder-removed' | 'file-changed' | 'file-removed';
  root: string;
  /** For people. */
  mailbox: string;
  /** What it is called there, for people. */
  name: string;
  uid: number | null;
  size: number | null;
  /** ISO 8601; null when not known. */
  date: string | null;
  /** Maildir flags there; of a flag change `before > after`. */
  flags: string;
  /** `brought` in a run that delivers. */
  verdict: Exclude<SalvageVerdict, 'elsewhere'> | 'brought' | 'shown';
}

/** Facts of the last line of POST /salvage. */
export interface SalvageCounts {
  missing: number;
  brought: number;
  there: number;
  placed: number;
  shown: number;
  differs: number;
  bytes: number;
  keywordsDropped: number;
}
