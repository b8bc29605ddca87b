import type { MessageOf } from '../../../protocol/messages.ts';
import { metaKey, tables } from '../../journal/keys.ts';
import { packNumber } from '../../journal/replica-index.ts';
import type { MailboxMarks } from '../../mailstore/format.ts';
import { joinPath, type BytePath } from '../../platform/files.ts';
import type { Kv, KvWrite } from '../../platform/kv.ts';

/**
 * What the primary's mailboxes had issued, as far as this standby was told, and how fast that rose (I5).
 *
 * - `markWrites(kv, items, wallMs)`: what keeps a message of marks.
 * - `readMarks(kv)`: all of them.
 *
 * A value is UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ (what older versions kept, and nothing else), then points of the
 * history, oldest first: time, UIDNEXT, HIGHESTMODSEQ. Six bytes a number.
 */
export interface MarkPoint {
  /** Wall clock, milliseconds: it must mean something after a restart. */
  atMs: number;
  uidNext: number;
  highestModseq: number;
}

export interface KeptMarks extends MailboxMarks {
  root: string;
  /** Relative to the root. */
  mailbox: BytePath;
  /** Oldest first, the last one the newest marks; empty when kept by a version without history. */
  history: MarkPoint[];
}

const toldKey = metaKey('marks-told');
const primaryEpochKey = metaKey('primary-epoch');

/** What is known of the numbers of all mailboxes. */
export interface MarksTold {
  /** Of the primary that told them. */
  epoch: number;
  /** Wall clock: nothing that was issued before is unknown here. */
  asOfMs: number;
}

/** Null before a primary has told all its marks. */
export function readMarksTold(kv: Kv): MarksTold | null {
  const value = kv.get(toldKey);
  return value ? { epoch: value.readUIntBE(0, numberBytes), asOfMs: value.readUIntBE(numberBytes, numberBytes) } : null;
}

export function marksToldWrite({ epoch, asOfMs }: MarksTold): KvWrite {
  return [toldKey, Buffer.concat([packNumber(epoch), packNumber(asOfMs)])];
}

/** Epoch of the primary that this standby was last connected to; 0 before the first. */
export function readPrimaryEpoch(kv: Kv): number {
  return kv.get(primaryEpochKey)?.readUIntBE(0, numberBytes) ?? 0;
}

export function primaryEpochWrite(epoch: number): KvWrite {
  return [primaryEpochKey, packNumber(epoch)];
}

const numberBytes = 6;
const pointBytes = 3 * numberBytes;
/** Points closer together than this are one, or a mailbox that rises all the time would remember only the last seconds. */
const pointEveryMs = 10_000;
const windowMs = 15 * 60_000;
const pointsMax = 12;
/** LMDB's keys end near 1,978 bytes. */
const placeBytesMax = 1900;

export function markWrites(kv: Kv, items: MessageOf<'watermarks'>['items'], wallMs: number): KvWrite[] {
  // A mailbox can be told of twice in one message; the second builds on the first.
  const latest = new Map<string, { key: Buffer; value: Buffer }>();
  for (const [root, mailbox, uidValidity, next, modseq] of items) {
    const place = joinPath(root, mailbox).slice(0, placeBytesMax);
    const key = Buffer.concat([Buffer.from([tables.watermark]), Buffer.from(place, 'latin1')]);
    const old = latest.get(place)?.value ?? kv.get(key);
    const before = old ? decode(old) : null;
    const same = before?.uidValidity === uidValidity ? before : null;
    // No number goes back: what was issued once stays issued.
    const [uidNext, highestModseq] = [Math.max(next, same?.uidNext ?? 0), Math.max(modseq, same?.highestModseq ?? 0)];
    const history = same?.history ?? [];
    const value = encode({ uidValidity, uidNext, highestModseq }, addPoint(history, { atMs: wallMs, uidNext, highestModseq }));
    latest.set(place, { key, value });
  }
  return [...latest.values()].map(({ key, value }): KvWrite => [key, value]);
}

export function readMarks(kv: Kv): KeptMarks[] {
  const marks: KeptMarks[] = [];
  for (const [key, value] of kv.range(Buffer.from([tables.watermark]), Buffer.from([tables.watermark + 1]))) {
    const place = key.toString('latin1', 1);
    const slash = place.indexOf('/');
    const kept = decode(value);
    if (kept) marks.push({ root: slash < 0 ? place : place.slice(0, slash), mailbox: slash < 0 ? '' : place.slice(slash + 1), ...kept });
  }
  return marks;
}

/** Pure: the newest point is always there, the one before it at least `pointEveryMs` older than the one before that. */
export function addPoint(history: readonly MarkPoint[], point: MarkPoint): MarkPoint[] {
  const [last, before] = [history.at(-1), history.at(-2)];
  // A clock that was set back: what it said before says nothing about rates now.
  if (last && last.atMs > point.atMs) return [point];
  const kept = last && before && last.atMs - before.atMs < pointEveryMs ? history.slice(0, -1) : history;
  const points = [...kept, point].slice(-pointsMax);
  while (points.length > 2 && point.atMs - (points[0]?.atMs ?? 0) > windowMs) points.shift();
  return points;
}

function encode(marks: MailboxMarks, history: readonly MarkPoint[]): Buffer {
  return Buffer.concat(
    [
      [marks.uidValidity, marks.uidNext, marks.highestModseq],
      ...history.map(({ atMs, uidNext, highestModseq }) => [atMs, uidNext, highestModseq]),
    ].flatMap((numbers) => numbers.map(packNumber)),
  );
}

function decode(value: Buffer): (MailboxMarks & { history: MarkPoint[] }) | null {
  if (value.length < pointBytes) return null;
  const three = (at: number) => [0, 1, 2].map((i) => value.readUIntBE(at + i * numberBytes, numberBytes)) as [number, number, number];
  const [uidValidity, uidNext, highestModseq] = three(0);
  const history: MarkPoint[] = [];
  for (let at = pointBytes; at + pointBytes <= value.length; at += pointBytes) {
    const [atMs, next, modseq] = three(at);
    history.push({ atMs, uidNext: next, highestModseq: modseq });
  }
  return { uidValidity, uidNext, highestModseq, history };
}
