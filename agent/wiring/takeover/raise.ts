import type { Config, RootConfig } from '../../config/config.ts';
import { uidMargin } from '../../failover/uid-margin.ts';
import { clearStaged } from '../../mailstore/staged-files.ts';
import { raiseRoot, type MailboxRaise } from '../../mailstore/raise.ts';
import { systemClock } from '../../platform/clock.ts';
import { displayPath, joinPath, type BytePath } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import { realFiles } from '../../platform/real-files.ts';
import { chooseStaging } from '../../replicate/staging.ts';
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
 * the primary last said that it was not behind: only the time since then counts.
 *
 * @returns evidence, for people.
 */
export async function raiseAll({ kv, config, marginMin: wantedMin }: RaiseParts): Promise<string> {
  const told = readMarksTold(kv);
  const isTold = told !== null && told.epoch === readPrimaryEpoch(kv);
  const marginMin = isTold ? wantedMin : Math.max(wantedMin, untoldMarginMin);
  const marks = new Map(readMarks(kv).map((mark) => [joinPath(mark.root, mark.mailbox), mark]));
  const reports: MailboxRaise[] = [];
  const nowMs = systemClock.wallMs();
  for (const root of mailRoots(config)) {
    const markOf = (mailbox: string): KeptMarks | null => marks.get(joinPath(root.name, mailbox)) ?? null;
    const margin = (mailbox: string) => uidMargin({ history: until(markOf(mailbox), isTold ? told.asOfMs : null), nowMs, marginMin });
    reports.push(
      ...(await raiseRoot(realFiles, { name: root.name, path: root.path, staging: stagingOf(config, root) }, markOf, margin, {
        nowSeconds: Math.floor(nowMs / 1000),
        breathe: () => systemClock.yield(),
      })),
    );
  }
  const skipped = reports.filter(({ skipped: why }) => why !== null);
  const first = skipped[0];
  const left = first ? `; ${skipped.length} need a look, first ${displayPath(joinPath(first.root, first.mailbox))}: ${first.skipped}` : '';
  return `${reports.length - skipped.length} of ${reports.length} mailboxes raised by at least ${marginMin}${left}`;
}

/** Removes what raising replaced; when the services are up, because it takes as long as raising does. */
export async function clearRaised(config: Config): Promise<void> {
  for (const root of mailRoots(config)) await clearStaged(realFiles, stagingOf(config, root), () => systemClock.yield());
}

function mailRoots(config: Config): RootConfig[] {
  return config.roots.filter(({ format }) => format === 'maildir');
}

/** Found anew, because an interrupted takeover goes on in an agent that is primary already and stages nothing else. */
function stagingOf(config: Config, root: RootConfig): BytePath {
  return `${chooseStaging(realFiles, root, config.state, root.staging)}/raise`;
}

function until(mark: KeptMarks | null, heardMs: number | null): KeptMarks['history'] {
  const last = mark?.history.at(-1);
  if (!mark || !last || heardMs === null || heardMs <= last.atMs) return mark?.history ?? [];
  return [...mark.history, { ...last, atMs: heardMs }];
}
