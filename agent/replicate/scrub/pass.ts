import { metaKey } from '../../journal/keys.ts';
import type { Ref } from '../../journal/replica-index.ts';
import type { Kv, KvWrite } from '../../platform/kv.ts';

/** How much was read. */
export interface Amount {
  files: number;
  bytes: number;
}

/** One walk over all content. Durable, so that a restart goes on. */
export interface Pass extends Amount {
  /** Wall clock, milliseconds. */
  startedMs: number;
  /** How long it has been under way, milliseconds. */
  elapsedMs: number;
  /** Wall clock when this was written, milliseconds. */
  savedMs: number;
  /** The last place that it came to; null at the beginning. */
  cursor: Ref | null;
  /** What was there when it began. */
  total: Amount;
  /** Damaged files that it found. */
  found: number;
  /** A person asked for it: it goes as fast as it may. */
  hurried: boolean;
}

export interface EndedPass extends Amount {
  startedMs: number;
  endedMs: number;
  found: number;
}

export interface PassRecord {
  pass: Pass | null;
  last: EndedPass | null;
}

export const dayMs = 86_400_000;
const key = metaKey('scrub');
/** A file costs the disk about as much as reading so many bytes more. */
const fileCostBytes = 32 * 1024;
/** Between two looks at the time. */
const waitMsMax = 60_000;

export function newPass(total: Amount, nowMs: number, hurried: boolean): Pass {
  return { startedMs: nowMs, elapsedMs: 0, savedMs: nowMs, cursor: null, files: 0, bytes: 0, total, found: 0, hurried };
}

/** Share of a pass that is done, 0 to 1, by what it costs the disk. */
export function shareDone({ files, bytes, total }: Pick<Pass, 'files' | 'bytes' | 'total'>): number {
  const all = cost(total);
  return all === 0 ? 1 : Math.min(1, cost({ files, bytes }) / all);
}

/** How long to wait before the next file, so that the pass ends when its time is over; milliseconds, 0 when it is late. */
export function waitMs(pass: Pass, durationMs: number): number {
  if (pass.hurried) return 0;
  return Math.min(waitMsMax, Math.max(0, Math.ceil(shareDone(pass) * durationMs - pass.elapsedMs)));
}

/**
 * Wall clock since when the oldest content here was not read again, about, milliseconds: a pass comes to everything in the order of
 * the one before. Before the first pass has ended nothing is known of what it has not read, but that it began.
 */
export function oldestUnprovedMs({ pass, last }: PassRecord): number | null {
  if (!last) return pass?.startedMs ?? null;
  return last.startedMs + (pass ? shareDone(pass) : 0) * Math.max(0, last.endedMs - last.startedMs);
}

export function readPasses(kv: Kv, nowMs: number, durationMs: number): PassRecord {
  const value = kv.get(key);
  if (!value) return { pass: null, last: null };
  const record = JSON.parse(value.toString()) as PassRecord & { cursor: [number, string] | null };
  const { pass } = record;
  if (!pass) return { pass, last: record.last };
  // While no agent ran the time of the pass went on, as far as the clock is to be believed.
  const awayMs = Math.min(durationMs, Math.max(0, nowMs - pass.savedMs));
  const cursor = pass.cursor && { dir: pass.cursor.dir, name: Buffer.from(pass.cursor.name, 'base64').toString('latin1') };
  return { pass: { ...pass, cursor, elapsedMs: pass.elapsedMs + awayMs }, last: record.last };
}

export function passWrite({ pass, last }: PassRecord): KvWrite {
  const cursor = pass?.cursor ? { dir: pass.cursor.dir, name: Buffer.from(pass.cursor.name, 'latin1').toString('base64') } : null;
  return [key, Buffer.from(JSON.stringify({ pass: pass && { ...pass, cursor }, last }))];
}

function cost({ files, bytes }: Amount): number {
  return bytes + files * fileCostBytes;
}
