import { z } from 'zod';
import { abilitiesSchema } from './abilities.ts';
import { byteName, bytePath, byteString } from './byte-paths.ts';
import { limits } from './limits.ts';
import { networkStateSchema } from './network-state.ts';
import type { Op } from './ops.ts';
import { certificateToldSchema } from './certificate.ts';
import { queueReadingSchema } from './queue.ts';
import { releasesSchema } from './releases.ts';
import { putBackAnswerSchema, putBackAskSchema } from './put-back.ts';
import { roleSchema } from './role.ts';
import { doubtsToldMax, lacksMax, laggingToldMax, shortfallItemsMax, shortfallTextMax } from './shortfall.ts';
import { salvageAnswerSchema, salvageAskSchema } from './salvage.ts';
import { takeoverAnswerSchema, takeoverAskSchema } from './takeover.ts';

export type { Role } from './role.ts';

/**
 * Every message of the pair's link, in one place. PROTOCOL.md tells the conversation.
 *
 * Each has a number that is never reused, a direction (P = primary, S = standby) and a lane: control messages overtake
 * bulk ones that still wait. On the wire a message is a msgpack array: number, then the fields in the order below.
 */

const text = z.string().max(limits.textBytesMax);
const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
/** An epoch or a sequence number. */
const stored = z.number().int().min(0).max(limits.numberMax);
const uid = z.number().int().min(1).max(limits.uidMax);
const modseq = z.number().int().min(1).max(limits.modseqMax);
const buffer = z.custom<Buffer>((v) => Buffer.isBuffer(v) && v.length <= limits.frameBytesMax, 'bytes');
/** What a place lacks, as bits of shortfall.ts, and why. */
const lacking = z.number().int().min(1).max(lacksMax);
const shortfallText = z.string().max(shortfallTextMax);
const ofLength = (length: number) => z.custom<Buffer>((v) => Buffer.isBuffer(v) && v.length === length, `${length} bytes`);
const digest = ofLength(16);
const sha256 = ofLength(32);

const position = z.strictObject({ epoch: stored, seq: stored, checksum: z.string().regex(/^[0-9a-f]{16}$/) });

const shapes = {
  /** 1, both, control: the first message of each side. */
  hello: {
    number: 1,
    lane: 'control',
    fields: {
      oldest: count,
      newest: count,
      pair: text,
      node: text,
      role: roleSchema,
      epoch: stored,
      /** S: position of the last batch applied. P: position of the last batch made. */
      position,
      agentVersion: text,
      /** For example `dovecot 2.3.19`; null when none was found. */
      serverVersion: text.nullable(),
      /** `name:format` of each root, sorted. */
      roots: z.array(text).max(limits.rootsMax),
      /** Wall clock at sending, milliseconds since 1970. */
      wallMs: count,
      /** New at each start of the agent. */
      boot: text,
      /** The port that the sender listens on, so that the other side can call back after a takeover; 0 = unknown. */
      port: z.number().int().min(0).max(65535),
      /** The sender holds the service addresses and runs the mail services, or does not know better. */
      active: z.boolean(),
    },
  },
  /** 2, both, control: why the connection is refused or ended by intent; the sender then closes. */
  refuse: { number: 2, lane: 'control', fields: { code: text, detail: text } },
  /** 3, both, control: life and health, every `heartbeatIntervalMs`. */
  heartbeat: {
    number: 3,
    lane: 'control',
    fields: {
      wallMs: count,
      role: roleSchema,
      epoch: stored,
      /** P: changes recorded so far. S: last batch applied. */
      position,
      /** P: changes and bytes not yet durable on the standby, and the age of the oldest in milliseconds. S: zeros. */
      lagChanges: count,
      lagBytes: count,
      lagMs: count,
      phase: text,
      /** P: the copy has all that was there when it began, or when both nodes were last compared, except what has a name in the status. S: false. */
      complete: z.boolean(),
      /** P: mailboxes, messages and bytes that are not durable on the standby; null = not known. S: null. */
      lossMailboxes: count.nullable(),
      lossMessages: count.nullable(),
      lossBytes: count.nullable(),
      /** P: files below the roots while the copy is not complete; null otherwise, and while they are not counted. */
      filesTotal: count.nullable(),
      /** S: when it applied its last batch, milliseconds since 1970; 0 = unknown, and from P. */
      appliedMs: count,
      /** The sender holds the service addresses and runs the mail services. */
      active: z.boolean(),
      /** Free and total bytes of the file system of each root, by root name. */
      space: z.array(z.tuple([text, count, count])).max(limits.rootsMax),
      /** Foreign writes found below a standby's roots (I2), unproven directories of a primary (I10). */
      unproven: count,
      /** P: places that are left out unexpectedly, held, or in doubt: the standby lacks what is there now. S: 0. */
      leftOut: count,
      /** Free text lines that status shows. */
      warnings: z.array(text).max(50),
      /** P: places in doubt on its own side: root, path, why, since when (wall clock, milliseconds). `unproven` counts all. */
      doubts: z.array(z.tuple([text, bytePath, text, count])).max(doubtsToldMax),
      /** P: files that do not follow for the time being: how many, and the oldest by root, path, why, and age of the oldest change that is not there in milliseconds. */
      laggingCount: count,
      lagging: z.array(z.tuple([text, bytePath, text, count])).max(laggingToldMax),
      /** File systems of the sender's roots that are not in their places (I19): root, path below it ('' is the root itself), code, what is wrong. */
      fileSystems: z.array(z.tuple([text, bytePath, text, text])).max(limits.fileSystemsToldMax),
      /** Accepted mail that waits on the sender and is not replicated; null = nobody watches a queue there. */
      queue: queueReadingSchema.nullable(),
      /** The certificate that clients of the sender's mail server see, or would see; null = not known. */
      certificate: certificateToldSchema.nullable(),
      /** Which releases the sender runs; null = not read yet. */
      releases: releasesSchema.nullable(),
      /** Files of the sender that its disk has damaged, and that are not mended. */
      damaged: count,
    },
  },
  /** 4, both, control: grants this many bulk bytes more. */
  credit: { number: 4, lane: 'control', fields: { bytes: count } },
  /** 5, P, control: marks of mailboxes, ahead of the data that reaches them. */
  watermarks: {
    number: 5,
    lane: 'control',
    fields: {
      /** Root, mailbox path, UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ. */
      items: z.array(z.tuple([text, bytePath, uid, uid, modseq])).max(limits.watermarksPerMessageMax),
    },
  },
  /** 6, both, control: what the sender's file systems can do; the primary begins, the standby answers. */
  abilities: { number: 6, lane: 'control', fields: { abilities: abilitiesSchema } },
  /** 7, S, control: what it lacks, at the beginning of a connection, in parts; `more` follow. */
  shortfalls: {
    number: 7,
    lane: 'control',
    fields: {
      /** Root, path, bits of shortfall.ts, why. */
      items: z.array(z.tuple([text, bytePath, lacking, shortfallText])).max(shortfallItemsMax),
      more: z.boolean(),
    },
  },
  /** 8, both, control, after `hello`: what the sender's configuration leaves out, by root: patterns as byte strings. */
  excludes: {
    number: 8,
    lane: 'control',
    fields: {
      roots: z.array(z.tuple([text, z.array(byteString.max(limits.excludeBytesMax)).max(limits.excludesMax)])).max(limits.rootsMax),
    },
  },
  /** 10, P, bulk: begins a batch, which applies only on top of `from`. */
  batch: { number: 10, lane: 'bulk', fields: { id: count, from: position } },
  /** 11, P, bulk: new entries of the batch's directory table (root name, path), and ops. */
  ops: {
    number: 11,
    lane: 'bulk',
    fields: { id: count, dirs: z.array(z.tuple([text, bytePath])).max(limits.batchOpsMax * 2), ops: z.custom<Op[]>(Array.isArray) },
  },
  // 12 was `data` until version 2: content of large files, inside their batch.
  /** 13, P, bulk: the batch is whole. */
  commit: { number: 13, lane: 'bulk', fields: { id: count, ops: count, to: position } },
  /** 14, S, control: the batch is durable and in place (I1), except for what these ops (by number) lack there. */
  ack: {
    number: 14,
    lane: 'control',
    fields: { id: count, position, lacking: z.array(z.tuple([count, lacking, shortfallText])).max(limits.batchOpsMax * 2) },
  },
  /**
   * 15, S, control: nothing of the batch was applied, and nothing of any later one. `code`: `base` (the ops at these
   * indexes do not fit what is there: send whole), `content` (SHA-256 differs: send whole), `no-space`, `from` (does
   * not continue my position), `state-full` (the disk of the state directory takes nothing), `io` (an error of the disk;
   * `detail` says), `path` (the places of these ops cannot be had here; `faults` says why of each, by number: without
   * them the batch can be), `apart` (these directories cannot be renamed here, where their places lie on several file
   * systems: send them anew).
   */
  reject: {
    number: 15,
    lane: 'control',
    fields: {
      id: count,
      code: z.enum(['base', 'content', 'no-space', 'from', 'io', 'confined', 'state-full', 'path', 'apart']),
      ops: z.array(count).max(limits.batchOpsMax * 2),
      detail: text,
      faults: z.array(z.tuple([count, shortfallText])).max(limits.batchOpsMax * 2),
    },
  },
  /**
   * 16, P, bulk: begins a transfer, the content of a large file on its way apart from batches. `path` is where it is to go, which
   * decides where it is staged; `source` is a file of the standby from which pieces are copied, whose content must be `base`.
   * With a `key` the standby answers `transferFound` first, and keeps what arrived when the connection ends.
   */
  transfer: {
    number: 16,
    lane: 'bulk',
    fields: {
      id: count,
      root: text,
      path: bytePath,
      size: z.number().int().min(0).max(limits.fileBytesMax),
      source: bytePath.nullable(),
      base: digest.nullable(),
      key: digest.nullable(),
    },
  },
  /**
   * 17, P, bulk: the next part of a transfer. Pieces in order: [offset, length] of the source, [-1, length] of `bytes`, or
   * [-2, length] of zeros.
   */
  slice: {
    number: 17,
    lane: 'bulk',
    fields: {
      id: count,
      pieces: z.array(z.tuple([z.number().int().min(-2).max(limits.fileBytesMax), count])).max(limits.slicePiecesMax),
      bytes: buffer,
    },
  },
  /** 18, P, bulk: the transfer is whole; the SHA-256 of the new content proves it. */
  transferEnd: { number: 18, lane: 'bulk', fields: { id: count, content: sha256 } },
  /** 19, P, bulk: the transfer is given up, or what it staged is not needed any more. */
  transferDrop: { number: 19, lane: 'bulk', fields: { id: count } },
  /** 20, P, control: asks for what the standby's index holds in these directories. */
  list: {
    number: 20,
    lane: 'control',
    fields: { id: count, root: text, dir: bytePath, after: byteString },
  },
  /** 21, S, bulk: entries in byte order after `after`; `digest` of the directory with all below it, null when missing. */
  listing: {
    number: 21,
    lane: 'bulk',
    fields: {
      id: count,
      digest: buffer.nullable(),
      /** Name, kind (0 file, 1 directory, 2 symbolic link), digest (8 bytes of a file; 16 bytes of a directory with all below it). */
      entries: z.array(z.tuple([byteName, z.number().int().min(0).max(2), buffer])).max(limits.listItemsMax),
      more: z.boolean(),
    },
  },
  /**
   * 22, P, control: compare the disk (only attributes, or all content when deep) with the index. `places` (root, path)
   * limits it to these; none = everything. With `mend` the index gives up what the disk does not bear out, so that the
   * comparison that follows brings it again; only while nothing is sent.
   */
  audit: {
    number: 22,
    lane: 'control',
    fields: { id: count, deep: z.boolean(), mend: z.boolean(), places: z.array(z.tuple([text, bytePath])).max(limits.differencesMax) },
  },
  /** 23, S, control: how far the audit is. */
  auditing: { number: 23, lane: 'control', fields: { id: count, files: count, bytes: count } },
  /** 24, S, control: what the audit found. */
  audited: {
    number: 24,
    lane: 'control',
    fields: {
      id: count,
      files: count,
      bytes: count,
      /** Root, path, what is wrong. At most `differencesMax`; `total` counts all. */
      differences: z.array(z.tuple([text, bytePath, text])).max(limits.differencesMax),
      total: count,
    },
  },
  /** 25, P, control: the standby's position is no longer of use; it takes `position` as its own from now on. */
  rebase: { number: 25, lane: 'control', fields: { position } },
  /** 26, S, control: done. */
  rebased: { number: 26, lane: 'control', fields: { position } },
  /** 27, S, control: this many bytes of slices, of whatever transfer, were written. */
  transferTaken: { number: 27, lane: 'control', fields: { bytes: count } },
  /**
   * 28, S, control: what became of a transfer. `staged`: it may be used by a `put`. `base`: the source is not what the primary
   * takes it for. `content`: the SHA-256 is another one. `no-space`, `io`, `confined` as in `reject`. All but `staged` end it.
   */
  transferred: {
    number: 28,
    lane: 'control',
    fields: { id: count, code: z.enum(['staged', 'base', 'content', 'no-space', 'io', 'confined']), detail: text },
  },
  /** 29, S, control: how much of a transfer with this key is staged already, and the SHA-256 of that much; 0 and null for nothing. */
  transferFound: { number: 29, lane: 'control', fields: { id: count, bytes: count, prefix: sha256.nullable() } },
  /** 30, both, control: the coordinator of a takeover asks the other node. */
  takeoverAsk: { number: 30, lane: 'control', fields: { id: count, ask: takeoverAskSchema } },
  /** 31, both, control: the answer to the ask of that number. */
  takeoverAnswer: { number: 31, lane: 'control', fields: { id: count, answer: takeoverAnswerSchema } },
  /** 32, both, control: what the sender's network really is; kept by the other for when the sender is dead. */
  network: { number: 32, lane: 'control', fields: { state: networkStateSchema } },
  /** 33, a fenced node to the active one, bulk: a question of a salvage (I16). */
  salvageAsk: { number: 33, lane: 'bulk', fields: { id: count, ask: salvageAskSchema } },
  /** 34, the active node, control: the answer to the question of that number. */
  salvageAnswer: { number: 34, lane: 'control', fields: { id: count, answer: salvageAnswerSchema } },
  /** 35, P, control: how a verification of both nodes ended; the standby's guards and status tell it, too. */
  verified: {
    number: 35,
    lane: 'control',
    fields: {
      at: text,
      /** `incomplete`: no difference, but `leftOut` places could not be compared. */
      result: z.enum(['clean', 'incomplete', 'different', 'failed']),
      deep: z.boolean(),
      differences: count,
      leftOut: count,
    },
  },
  /** 50, P, control: a primary whose store was put back asks its standby (I21). */
  putBackAsk: { number: 50, lane: 'control', fields: { id: count, ask: putBackAskSchema } },
  /** 51, S, control: the answer to the question of that number. */
  putBackAnswer: { number: 51, lane: 'control', fields: { id: count, answer: putBackAnswerSchema } },
  /**
   * 36, P, control: deletions that are held or were allowed. What a standby put into its history at or below these places in the
   * last `backMs`, and puts there in the next `aheadMs`, stays for the whole time of `history.keep`.
   */
  keepHistory: {
    number: 36,
    lane: 'control',
    fields: { items: z.array(z.tuple([text, bytePath, count, count])).max(limits.historyPlacesMax) },
  },
  /**
   * 52, P, control: asks for a part of a file that the standby has with this content, by the index of the standby; the primary's
   * own is damaged. At most `dataFrameBytesMax` bytes come back.
   */
  contentAsk: {
    number: 52,
    lane: 'control',
    fields: { id: count, root: text, path: bytePath, content: digest, offset: z.number().int().min(0).max(limits.fileBytesMax) },
  },
  /** 53, S, bulk: that part; empty at the end. `error`: why there is none. The SHA-256 of all of it proves it. */
  contentPart: { number: 53, lane: 'bulk', fields: { id: count, bytes: buffer, error: text.nullable() } },
} as const;

type Shapes = typeof shapes;
export type MessageType = keyof Shapes;
type FieldsOf<T extends MessageType> = {
  -readonly [K in keyof Shapes[T]['fields']]: Shapes[T]['fields'][K] extends z.ZodType<infer V> ? V : never;
};
export type MessageOf<T extends MessageType> = { type: T } & FieldsOf<T>;
export type Message = { [T in MessageType]: MessageOf<T> }[MessageType];
export type Lane = 'control' | 'bulk';

export interface MessageSpec {
  number: number;
  lane: Lane;
  fieldNames: string[];
  schema: z.ZodType<Record<string, unknown>>;
}

/** What codec.ts needs of each message. */
export const messageSpecs: Record<MessageType, MessageSpec> = Object.fromEntries(
  Object.entries(shapes).map(([type, shape]) => [
    type,
    {
      number: shape.number,
      lane: shape.lane,
      fieldNames: Object.keys(shape.fields),
      schema: z.strictObject(shape.fields as Record<string, z.ZodType>),
    },
  ]),
) as unknown as Record<MessageType, MessageSpec>;

export function laneOf(message: Message): Lane {
  return messageSpecs[message.type].lane;
}
