import { errnoCode, type BytePath, type Stat } from '../../platform/files.ts';
import { absolute } from '../root.ts';
import { sameContent, type PrimaryParts } from './context.ts';
import type { StoreCount } from './count.ts';
import { isOfContent, type Doubt } from './unproven.ts';

/** What is not durable on the standby now; null = not known. */
export interface PossibleLoss {
  changes: number;
  /** Age of the oldest of it, in milliseconds. */
  ms: number;
  mailboxes: number | null;
  messages: number | null;
  bytes: number | null;
  /** Bytes of the open changes alone, without what a fill has still to bring. */
  openBytes: number;
}

/** How far the copy is. */
export interface CopyState {
  /** All that was there when the copy began is on the standby. */
  filled: boolean;
  /** While it is filled: what there is in all; null while that is not counted, or not compared. */
  count: StoreCount | null;
  /** What happened while no agent ran has been found. */
  scanned: boolean;
}

const changesSampledMax = 10_000;
const filesSampledMax = 2000;

/**
 * Counts what a failure now would lose: open changes, places in doubt, and all that a fill has still to bring (I22). A file
 * whose content is over there, and that lacks attributes alone, is not lost.
 */
export function possibleLoss(p: PrimaryParts, { filled, count, scanned }: CopyState): PossibleLoss {
  const { changes, clock, unproven, index, holds } = p;
  const doubts = unproven.list().filter(isOfContent);
  const open = openWork(p, doubts);
  const known = {
    changes: changes.openCount + doubts.length,
    ms: changes.openCount === 0 ? 0 : changes.oldestMs(clock.monotonicMs()),
    openBytes: open.bytes,
  };
  // What lies on a disk that is missing, behind a link, or in a directory that nobody could look into is not known.
  const isHidden =
    holds.list().some(({ code }) => code !== 'mass-delete') ||
    doubts.some(({ root, path }) => path === '' || index.at(root, path)?.entry.kind === 'dir');
  if (isHidden || (filled ? !scanned : count === null)) return { ...known, mailboxes: null, messages: null, bytes: null };
  let { mailboxes, messages, bytes } = open;
  if (!filled && count) {
    const there = p.roots.reduce((sum, { name }) => sum + index.totals(name).files, 0);
    const missing = count.files === 0 ? 0 : Math.max(0, count.files - there) / count.files;
    // What is told of is mostly part of what was counted.
    mailboxes = Math.max(mailboxes, Math.ceil(count.mailboxes * missing));
    messages = Math.max(messages, Math.ceil(count.messages * missing));
    bytes = Math.max(bytes, Math.ceil(count.bytes * missing));
  }
  return { ...known, mailboxes, messages, bytes };
}

/** Of very many changes some stand for all. */
function openWork(p: PrimaryParts, doubts: readonly Doubt[]): { mailboxes: number; messages: number; bytes: number } {
  const { changes, roots } = p;
  const mailboxes = new Set<string>();
  let seen = 0;
  let looked = 0;
  let messages = 0;
  let bytes = 0;
  const places = function* () {
    for (const change of changes.open()) if (change.kind === 'path') yield { ...change, isChange: true };
    for (const doubt of doubts) yield { ...doubt, isChange: false };
  };
  for (const { root: name, path, isChange } of places()) {
    if (++seen > changesSampledMax) break;
    const root = roots.find((each) => each.name === name);
    if (!root) continue;
    const class_ = root.format.classify(path, null);
    const isSample = looked++ < filesSampledMax;
    const stat = isSample ? lstatOrNull(p, absolute(root, path)) : null;
    if (stat && isChange && isContentThere(p, name, path, stat)) continue;
    if (class_.mailbox !== null) mailboxes.add(`${name}\0${class_.mailbox}`);
    if (stat?.kind !== 'file') continue;
    bytes += stat.size;
    if (class_.class === 'message') messages++;
  }
  // A held deletion is one change for all of its mailbox.
  for (const { kind, root, path } of changes.open()) if (kind === 'scan' && isMailbox(roots, root, path)) mailboxes.add(`${root}\0${path}`);
  const all = changes.openCount + doubts.length;
  const scale = seen > filesSampledMax ? all / filesSampledMax : 1;
  return {
    mailboxes: Math.round(mailboxes.size * Math.max(1, all / changesSampledMax)),
    messages: Math.round(messages * scale),
    bytes: Math.round(bytes * scale),
  };
}

/** Whether the standby has this content for sure: what is on its way, if anything, are attributes. */
function isContentThere({ index }: PrimaryParts, name: string, path: BytePath, stat: Stat): boolean {
  const at = index.at(name, path);
  const known = at ? index.settled(at.dir, at.name) : undefined;
  return known !== undefined && (stat.kind === 'dir' ? known.kind === 'dir' : sameContent(known, stat));
}

function lstatOrNull({ files }: PrimaryParts, path: BytePath): Stat | null {
  try {
    return files.lstat(path);
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return null;
  }
}

function isMailbox(roots: PrimaryParts['roots'], name: string, path: string): boolean {
  const root = roots.find((each) => each.name === name);
  return root?.format.classify(`${path === '' ? '' : `${path}/`}cur/x`, 'file').class === 'message';
}
