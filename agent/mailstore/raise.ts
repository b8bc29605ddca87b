import { limits } from '../../protocol/limits.ts';
import { errnoCode, type BytePath, type Files } from '../platform/files.ts';
import { uidGap } from './borne-out.ts';
import type { MailboxMarks, MailstoreFormat } from './format.ts';
import { appendToLog, freshLog } from './index-log-write.ts';
import { readIndexHeader } from './index-header.ts';
import { readIndexLog } from './index-log.ts';
import { mailboxesBelow, readNumbering, type MailboxDir } from './mailbox-walk.ts';
import { maildirFormat } from './maildir.ts';
import { StagedFiles } from './staged-files.ts';
import { checkUidlist, raiseUidNext } from './uidlist.ts';
import { raiseValidityCounter } from './uidvalidity-counter.ts';

/**
 * Raises the numbers of every mailbox of a maildir root above what the lost primary can have issued (I5).
 *
 * Only before any service starts, and only when something may be lost. File by file, because a program for each of
 * thousands of mailboxes takes minutes: UIDNEXT in the uidlist's header, HIGHESTMODSEQ at the end of the index log (why
 * not UIDNEXT as well: `index-log-write.ts`). Everything is staged first, then synced, then renamed into place, then synced: killed at any moment and
 * done again, no number is ever lower than before. The index of what is on this disk does not know the new files; the
 * node finds them when it scans its roots as the new primary.
 */
export interface RaiseTarget {
  name: string;
  /** Absolute path of the root. */
  path: BytePath;
  /** Absolute, outside of the root, on the same file system, and nobody else's. Made here; `clearStaged` removes it. */
  staging: BytePath;
  /** What is left out of the root. */
  excluded?: MailstoreFormat['excluded'] | undefined;
}

export interface MailboxRaise {
  root: string;
  mailbox: BytePath;
  /** 0 when its files do not tell. */
  uidValidity: number;
  /** Null when there is nothing to raise it in: its list is in another root, or is damaged, and the server will make a new one. */
  uidNext: { before: number; after: number } | null;
  highestModseq: { before: number; after: number } | null;
  /** What a person should know: null when all that there is was raised above the watermark. */
  skipped: string | null;
}

export interface RaiseOptions {
  /** Seconds since the epoch, for the number of a new index log. */
  nowSeconds: number;
  /** Called between slices of work. @throws to stop; nothing is in place yet then, or all of it is named in no report. */
  breathe: () => Promise<void>;
}

/** UIDs end at 2^32 - 2, and one must be left for the next message. */
const uidNextMax = 0xfffffffe;
const { modseqMax } = limits;
/** New folders take their UIDVALIDITY from a counter; nobody makes more of them in a lost tail. */
const foldersMax = 100_000;
/** No takeover uses up more than this part of the UIDs that are left. */
const uidsLeftShare = 16;
const mailboxesPerSlice = 64;
const noMargin = 'the mailbox has no UIDs left';

export async function raiseRoot(
  files: Files,
  root: RaiseTarget,
  marks: (mailbox: BytePath) => MailboxMarks | null,
  margin: (mailbox: BytePath) => { uids: number; modseqs: number },
  { nowSeconds, breathe }: RaiseOptions,
): Promise<MailboxRaise[]> {
  const stage = new StagedFiles(files, root.staging);
  const reports: MailboxRaise[] = [];
  for (const dir of mailboxesBelow(files, root.path, { excluded: root.excluded })) {
    if (dir.isMailbox) reports.push(raiseMailbox(stage, root.name, dir, marks(dir.mailbox), margin(dir.mailbox), nowSeconds));
    raiseValidityCounter(stage, dir, Math.min(margin(dir.mailbox).uids, foldersMax));
    if (reports.length % mailboxesPerSlice === 0) await breathe();
  }
  await stage.place(root.path, breathe);
  return reports;
}

function raiseMailbox(
  stage: StagedFiles,
  root: string,
  dir: MailboxDir,
  watermark: MailboxMarks | null,
  margin: { uids: number; modseqs: number },
  nowSeconds: number,
): MailboxRaise {
  const report: MailboxRaise = { root, mailbox: dir.mailbox, uidValidity: 0, uidNext: null, highestModseq: null, skipped: null };
  const found = readable(() => readNumbering(stage.files, dir));
  if (typeof found === 'string') return { ...report, skipped: `its files cannot be read: ${found}` };
  const lists = [found.uidlist, found.courier].filter((list) => list !== undefined);
  const own = maildirFormat.marks(buffers(found));
  if (!own && lists.length === 0)
    return { ...report, skipped: 'no uidlist here: it is in another root, or the server makes one when the mailbox is first opened' };
  report.uidValidity = own?.uidValidity ?? 0;
  // A watermark of another UIDVALIDITY says nothing about the UIDs that will be given under this one.
  const known = watermark && own && watermark.uidValidity === own.uidValidity ? watermark : null;
  if (watermark && !known) report.skipped = `the last known UIDVALIDITY is ${watermark.uidValidity}, and that mailbox is not here`;
  const courier = found.courier ? checkUidlist(found.courier.data) : null;
  const uidBefore = Math.max(own?.uidNext ?? 1, courier?.ok ? courier.uidNext : 1);
  // An older release took such a mark from a damaged file. To skip so many would leave the mailbox without UIDs.
  const isPossible = (known?.uidNext ?? 1) - uidBefore <= uidGap;
  if (!isPossible) report.skipped = `the last known next UID is ${known?.uidNext}, which cannot be: here it is ${uidBefore}`;
  const uidKnown = Math.max(uidBefore, isPossible ? (known?.uidNext ?? 1) : 1);
  if (uidKnown > uidNextMax) return { ...report, skipped: noMargin };
  const uidsMax = Math.floor((uidNextMax - uidKnown) / uidsLeftShare);
  const uidAfter = uidKnown + Math.min(margin.uids, uidsMax);
  if (margin.uids > uidsMax) report.skipped = `it has few UIDs left and was raised by ${uidsMax}, not by ${margin.uids}`;
  for (const list of lists) {
    const check = checkUidlist(list.data);
    if (check.ok) {
      stage.replace(list, raiseUidNext(list.data.subarray(0, check.length), uidAfter));
      report.uidNext = { before: uidBefore, after: uidAfter };
    } else report.skipped = `its uidlist cannot be read: ${check.reason}`;
  }
  const modseqBefore = own?.highestModseq ?? 1;
  const modseqAfter = Math.max(modseqBefore, known?.highestModseq ?? 1) + margin.modseqs;
  if (modseqAfter > modseqMax) return { ...report, skipped: 'the modification sequence is at its end' };
  const expected = (watermark?.highestModseq ?? 1) > 1;
  const trouble = raiseLog(stage, dir, found, { modseqAfter, modseqs: margin.modseqs, expected, nowSeconds });
  if (trouble === null) report.highestModseq = { before: modseqBefore, after: modseqAfter };
  else if (trouble !== notHere) report.skipped ??= trouble;
  return report;
}

/** Index files lie in another root, or the server is one that has none. */
const notHere = '';

function raiseLog(
  stage: StagedFiles,
  dir: MailboxDir,
  found: ReturnType<typeof readNumbering>,
  to: { modseqAfter: number; modseqs: number; expected: boolean; nowSeconds: number },
): string | null {
  const { log, index, uidlist } = found;
  const header = index ? readIndexHeader(index.data) : null;
  if (!log) {
    if (index) return 'its index has no log: HIGHESTMODSEQ stays';
    // Without one the server would begin at 1 again, below what clients have seen.
    if (!uidlist || !dir.hasMessages || !to.expected) return notHere;
    stage.add(`${dir.dir}/dovecot.index.log`, freshLog(to.nowSeconds >>> 0 || 1, to.modseqAfter), uidlist);
    return null;
  }
  const facts = readIndexLog(log.data);
  if (!facts) return 'its index log cannot be read: HIGHESTMODSEQ stays';
  if (header && header.indexId === facts.indexId && header.logSeq === facts.seq && header.logHeadOffset > facts.length)
    return 'its index is ahead of its log: HIGHESTMODSEQ stays';
  // Clients have seen what the log tells, also where nothing else bears it out.
  const highestModseq = Math.max(to.modseqAfter, Math.min(facts.highestModseq + to.modseqs, modseqMax));
  const raised = appendToLog(log.data, highestModseq);
  if (!raised) return 'its index log does not count modification sequences';
  stage.replace(log, raised);
  return null;
}

/** What was read, or why it could not be: one mailbox must not end the raising of all. @throws what is no error of the system. */
function readable<T extends object>(read: () => T): T | string {
  try {
    return read();
  } catch (error) {
    const code = errnoCode(error);
    if (code === undefined) throw error;
    return code;
  }
}

function buffers(found: ReturnType<typeof readNumbering>): Parameters<typeof maildirFormat.marks>[0] {
  const { index, log, log2 } = found;
  const uidlist = found.uidlist ?? found.courier;
  return {
    ...(uidlist && { uidlist: uidlist.data }),
    ...(index && { index: index.data }),
    ...(log && { log: log.data }),
    ...(log2 && { log2: log2.data }),
  };
}
