import { entryDigest } from '../../journal/entry.ts';
import { TreeDigests } from '../../journal/tree-digest.ts';
import { displayPath, errnoCode, joinPath, parentPath, type BytePath } from '../../platform/files.ts';
import { absolute, type Root } from '../root.ts';
import type { PrimaryParts } from './context.ts';
import type { AskListing } from './reconcile.ts';

/** What the standby has that is not on this node's disk. */
export interface Surplus {
  /** With at least one of the messages. */
  mailboxes: number;
  messages: number;
  /** Anything else that is no mail server's control or index file. */
  files: number;
  /** Between the last change that this store knows to be over there and the last one that is; null when not known. */
  seconds: number | null;
  /** For people. */
  examples: string[];
}

const examplesMax = 5;

/**
 * Counts what the standby has and this node has not. Changes nothing, neither here nor there; the cost grows with what
 * differs. A message that has other flags here is here. `isDiskOlder`: the index is as the standby is, and only the disk is
 * older; then every name is looked at.
 */
export async function countSurplus(parts: PrimaryParts, ask: AskListing, seconds: number | null, isDiskOlder: boolean): Promise<Surplus> {
  const mailboxes = new Set<string>();
  const surplus: Surplus = { mailboxes: 0, messages: 0, files: 0, seconds, examples: [] };
  const digests = new TreeDigests(parts.index, () => parts.clock.yield());
  for (const root of parts.roots) {
    for await (const { path, isMessage } of newerBelow(parts, root, '', ask, isDiskOlder ? null : digests)) {
      if (isMessage) {
        surplus.messages++;
        mailboxes.add(`${root.name}\0${parentPath(parentPath(path))}`);
      } else surplus.files++;
      if (surplus.examples.length < examplesMax) surplus.examples.push(displayPath(joinPath(root.name, path)));
    }
  }
  surplus.mailboxes = mailboxes.size;
  return surplus;
}

async function* newerBelow(
  parts: PrimaryParts,
  root: Root,
  dir: BytePath,
  ask: AskListing,
  digests: TreeDigests | null,
): AsyncGenerator<{ path: BytePath; isMessage: boolean }> {
  const { index } = parts;
  let page = await ask(root.name, dir, '');
  if (page.digest === null) return;
  const number = index.dirAt(root.name, dir);
  if (digests && number !== null && page.digest.equals(await digests.below(number))) return;
  const here = namesHere(parts, root, dir);
  const below: BytePath[] = [];
  for (;;) {
    for (const [name, kind, digest] of page.entries) {
      const path = joinPath(dir, name);
      if (kind === 1) {
        below.push(path);
        continue;
      }
      const known = index.at(root.name, path)?.entry;
      if (digests && known && known.kind !== 'dir' && entryDigest(known).equals(digest)) continue;
      const { class: what, ignored } = root.format.classify(path, kind === 0 ? 'file' : 'symlink');
      if (ignored || (what !== 'message' && what !== 'plain')) continue;
      if (!here(name, what === 'message')) yield { path, isMessage: what === 'message' };
    }
    const last = page.entries.at(-1)?.[0];
    if (!page.more || last === undefined) break;
    page = await ask(root.name, dir, last);
  }
  for (const path of below) yield* newerBelow(parts, root, path, ask, digests);
}

/** Whether this disk has a name; of messages, which may have moved between new and cur with other flags, their base. */
function namesHere({ files }: PrimaryParts, root: Root, dir: BytePath): (name: string, isMessage: boolean) => boolean {
  const read = (path: BytePath): string[] => {
    try {
      return (files.readdir(absolute(root, path)) ?? []).map(({ name }) => name);
    } catch (error) {
      // What cannot be read is not known to be there.
      if (errnoCode(error) === undefined) throw error;
      return [];
    }
  };
  const names = new Set(read(dir));
  let bases: Set<string> | null = null;
  return (name, isMessage) => {
    if (names.has(name)) return true;
    if (!isMessage) return false;
    bases ??= new Set(['new', 'cur'].flatMap((part) => read(joinPath(parentPath(dir), part))).map((each) => root.format.baseOf(each)));
    return bases.has(root.format.baseOf(name));
  };
}
