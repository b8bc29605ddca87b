import type { Config, RootConfig } from '../../config/config.ts';
import type { Did } from '../../failover/takeover-actions.ts';
import { uidMargin } from '../../failover/uid-margin.ts';
import { ReplicaIndex } from '../../journal/replica-index.ts';
import { excluding } from '../../mailstore/exclude.ts';
import { formatByName } from '../../mailstore/format-by-name.ts';
import type { MailboxMarks } from '../../mailstore/format.ts';
import { clearStaged } from '../../mailstore/staged-files.ts';
import { raiseRoot, type MailboxRaise } from '../../mailstore/raise.ts';
import { systemClock } from '../../platform/clock.ts';
import { displayPath, joinPath, type BytePath, type Files } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import { filesOf, stagingOf } from '../parts.ts';
import { readMarks, readMarksTold, readPrimaryEpoch, type KeptMarks } from '../../replicate/standby/marks.ts';

export interface RaiseParts {
  kv: Kv;
  config: Config;
  marginMin: number;
}

/**
 * When the old primary never told this node all its marks: it may have raised them itself as it took over, and issued more
 * since. UIDs have 32 bits; a million of them is nothing.
 */
const untoldMarginMin = 1_000_000;

/**
 * Raises UIDNEXT and HIGHESTMODSEQ of every mailbox above what the old primary can have issued (I5). All marks
 * are told when a connection begins, and then ahead of what they tell of. So a mailbox without a new mark had not grown when
 * the primary last said that it was not behind: only the time since then counts, and that a client may have copied
 * the whole store into one mailbox in a moment of it.
 *
 * @returns evidence, for people; where no root has such numbers, that.
 */
export async function raiseAll({ kv, config, marginMin }: RaiseParts): Promise<Did> {
  if (mailRoots(config).length === 0) return { skipped: 'no root holds mailboxes whose numbers could be raised' };
  const numbers = numbersKnown({ kv, config, marginMin });
  const reports = await raiseRoots(config, numbers.markOf, numbers.marginOf);
  return raisedText(reports, numbers.marginMin);
}

/** What this node, as a standby, knows of the numbers that its primary gave, and how much more it may have given unheard. */
export interface NumbersKnown {
  marks: readonly KeptMarks[];
  markOf: (root: string, mailbox: string) => KeptMarks | null;
  marginOf: (root: string, mailbox: string) => { uids: number; modseqs: number };
  /** The least margin, in UIDs. */
  marginMin: number;
}

export function numbersKnown({ kv, config, marginMin: wantedMin }: RaiseParts): NumbersKnown {
  const told = readMarksTold(kv);
  const isTold = told !== null && told.epoch === readPrimaryEpoch(kv);
  const marginMin = isTold ? wantedMin : Math.max(wantedMin, untoldMarginMin);
  const marks = readMarks(kv);
  const byPlace = new Map(marks.map((mark) => [joinPath(mark.root, mark.mailbox), mark]));
  const nowMs = systemClock.wallMs();
  const index = new ReplicaIndex(kv, { findByIdentity: false });
  const storeMessages = mailRoots(config).reduce((sum, { name }) => sum + index.totals(name).files, 0);
  const markOf = (root: string, mailbox: string): KeptMarks | null => byPlace.get(joinPath(root, mailbox)) ?? null;
  return {
    marks,
    markOf,
    marginOf: (root, mailbox) =>
      uidMargin({ history: until(markOf(root, mailbox), isTold ? told.asOfMs : null), nowMs, marginMin, storeMessages }),
    marginMin,
  };
}

/** Raises the numbers of every mail root of this node. Only before any service starts. */
export async function raiseRoots(
  config: Config,
  markOf: (root: string, mailbox: string) => MailboxMarks | null,
  marginOf: NumbersKnown['marginOf'],
): Promise<MailboxRaise[]> {
  const reports: MailboxRaise[] = [];
  const files = filesOf(config);
  const nowSeconds = Math.floor(systemClock.wallMs() / 1000);
  for (const root of mailRoots(config)) {
    const { name, path } = root;
    reports.push(
      ...(await raiseRoot(
        files,
        { name, path, staging: raisingIn(files, config, root), excluded: excluding(formatByName(root.format), root.exclude).excluded },
        (mailbox) => markOf(name, mailbox),
        (mailbox) => marginOf(name, mailbox),
        { nowSeconds, breathe: () => systemClock.yield() },
      )),
    );
  }
  return reports;
}

/** For people. */
export function raisedText(reports: readonly MailboxRaise[], marginMin: number): string {
  const skipped = reports.filter(({ skipped: why }) => why !== null);
  const first = skipped[0];
  const left = first ? `; ${skipped.length} need a look, first ${displayPath(joinPath(first.root, first.mailbox))}: ${first.skipped}` : '';
  return `${reports.length - skipped.length} of ${reports.length} mailboxes raised by at least ${marginMin}${left}`;
}

/** Removes what raising replaced; when the services are up, because it takes as long as raising does. */
export async function clearRaised(config: Config): Promise<void> {
  const files = filesOf(config);
  for (const root of mailRoots(config)) await clearStaged(files, raisingIn(files, config, root), () => systemClock.yield());
}

function mailRoots(config: Config): RootConfig[] {
  return config.roots.filter(({ format }) => format === 'maildir');
}

/** Found anew, because an interrupted takeover goes on in an agent that is primary already and stages nothing else. */
function raisingIn(files: Files, config: Config, root: RootConfig): BytePath {
  return `${stagingOf(files, config, root)}/raise`;
}

function until(mark: KeptMarks | null, heardMs: number | null): KeptMarks['history'] {
  const last = mark?.history.at(-1);
  if (!mark || !last || heardMs === null || heardMs <= last.atMs) return mark?.history ?? [];
  return [...mark.history, { ...last, atMs: heardMs }];
}
