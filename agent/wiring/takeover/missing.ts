import { survey } from '../../mailstore/survey.ts';
import { systemClock } from '../../platform/clock.ts';
import { joinPath, type Files } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import type { Root } from '../../replicate/root.ts';
import { readMarks } from '../../replicate/standby/marks.ts';

const mailboxesPerSlice = 64;

/** Messages that the primary is known to have numbered and that this copy does not reach: marks travel ahead of data. */
export async function missingHere(files: Files, kv: Kv, roots: readonly Root[]): Promise<{ mailboxes: number; messages: number }> {
  const here = new Map<string, number>();
  for (const root of roots) {
    if (root.format.name !== 'maildir') continue;
    for (const { mailbox, uidNext } of survey(files, root.path, root.format.excluded)) {
      here.set(joinPath(root.name, mailbox), uidNext);
      if (here.size % mailboxesPerSlice === 0) await systemClock.yield();
    }
  }
  const missing = readMarks(kv).map(({ root, mailbox, uidNext }) => Math.max(0, uidNext - (here.get(joinPath(root, mailbox)) ?? 1)));
  return { mailboxes: missing.filter((count) => count > 0).length, messages: missing.reduce((sum, count) => sum + count, 0) };
}
