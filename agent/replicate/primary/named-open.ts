import type { Change } from '../../journal/changes.ts';
import { errnoCode, type BytePath } from '../../platform/files.ts';
import { absolute } from '../root.ts';
import type { PrimaryParts } from './context.ts';
import type { Lagging } from './lagging.ts';

/**
 * Tells which open changes have a name in the status, so that nobody has to wait for them to know how things are: what is held
 * by place, what is in doubt, what lags behind, and mailboxes that cannot be closed without a message that lags.
 */
export function namedOpen(p: PrimaryParts, lagging: Lagging): (change: Change) => boolean {
  const nowMs = p.clock.monotonicMs();
  let mailboxes: Set<string> | null = null;
  return ({ root, path, kind }) => {
    const stop = p.holds.stopping(root, path);
    // A whole root that is not there was never compared: nobody knows what the copy lacks of it.
    if (stop) return stop.path !== '';
    if (kind === 'scan') return false;
    if (p.holds.count > 0 && p.holds.blocking(root, path, 'mass-delete') && isGone(p, root, path)) return true;
    if (lagging.has(root, path, nowMs) || p.unproven.isUnobtainable(root, path)) return true;
    mailboxes ??= mailboxesOf(p, lagging, nowMs);
    return mailboxes.size > 0 && waitsForOne(p, mailboxes, root, path);
  };
}

/** Mailboxes of which a message lags behind: their uidlists and indexes name it. */
function mailboxesOf(p: PrimaryParts, lagging: Lagging, nowMs: number): Set<string> {
  const mailboxes = new Set<string>();
  for (const { root, path } of lagging.list(nowMs)) {
    const class_ = p.roots.find(({ name }) => name === root)?.format.classify(path, 'file');
    if (class_?.class === 'message' && class_.mailbox !== null) mailboxes.add(class_.mailbox);
  }
  return mailboxes;
}

/** A mailbox's own files, and the removals that go with them. A server may keep these files in roots of their own. */
function waitsForOne(p: PrimaryParts, mailboxes: ReadonlySet<string>, name: string, path: BytePath): boolean {
  const class_ = p.roots.find((each) => each.name === name)?.format.classify(path, 'file');
  if (!class_ || class_.mailbox === null || !mailboxes.has(class_.mailbox)) return false;
  return class_.class !== 'message' || isGone(p, name, path);
}

function isGone({ files, roots }: PrimaryParts, name: string, path: BytePath): boolean {
  const root = roots.find((each) => each.name === name);
  try {
    return !root || files.lstat(absolute(root, path)) === null;
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return false;
  }
}
