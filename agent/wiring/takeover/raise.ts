import { uidMargin } from '../../failover/uid-margin.ts';
import { raiseRoot, type MailboxRaise } from '../../mailstore/raise.ts';
import { systemClock } from '../../platform/clock.ts';
import { displayPath, joinPath } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import { realFiles } from '../../platform/real-files.ts';
import type { Root } from '../../replicate/root.ts';
import { readMarks, type KeptMarks } from '../../replicate/standby/marks.ts';

export interface RaiseParts {
  kv: Kv;
  roots: readonly Root[];
  marginMin: number;
  /** Wall clock of the last word of the old primary; null when it was not heard since this agent started. */
  heardWallMs: number | null;
}

/**
 * Raises UIDNEXT and HIGHESTMODSEQ of every mailbox above what the old primary can have issued (I5). Marks travel ahead
 * of what they tell of, so a mailbox without a new mark had not grown when the primary was last heard: only the time
 * since then counts.
 *
 * @returns evidence, for people.
 */
export async function raiseAll({ kv, roots, marginMin, heardWallMs }: RaiseParts): Promise<string> {
  const marks = new Map(readMarks(kv).map((mark) => [joinPath(mark.root, mark.mailbox), mark]));
  const reports: MailboxRaise[] = [];
  const nowMs = systemClock.wallMs();
  for (const root of roots) {
    if (root.format.name !== 'maildir') continue;
    const markOf = (mailbox: string): KeptMarks | null => marks.get(joinPath(root.name, mailbox)) ?? null;
    const margin = (mailbox: string) => uidMargin({ history: until(markOf(mailbox), heardWallMs), nowMs, marginMin });
    reports.push(
      ...(await raiseRoot(realFiles, { name: root.name, path: root.path, staging: `${root.staging}/raise` }, markOf, margin, {
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

function until(mark: KeptMarks | null, heardMs: number | null): KeptMarks['history'] {
  const last = mark?.history.at(-1);
  if (!mark || !last || heardMs === null || heardMs <= last.atMs) return mark?.history ?? [];
  return [...mark.history, { ...last, atMs: heardMs }];
}
