import type { SalvageItem, SalvageVerdict } from '../../../protocol/salvage.ts';
import { contentBytes } from '../../journal/entry.ts';
import type { ReplicaIndex } from '../../journal/replica-index.ts';
import { joinPath, type Files } from '../../platform/files.ts';
import { absolute, type Root } from '../root.ts';
import type { SalvageRecords } from './records.ts';

export interface JudgeParts {
  files: Files;
  /** This node's: what it had when it took over, and nothing less. */
  index: ReplicaIndex;
  records: SalvageRecords;
  /** Gives way from time to time. */
  pace: () => Promise<void>;
}

/**
 * Whether this active node has what the old primary found. It had arrived when a message of that name is in the mailbox,
 * or when the root has one of the same content and date: it was copied, moved, or its folder was renamed. The index tells
 * how it was when this node took over, so what a user deletes afterwards is not brought back.
 */
export async function judge(parts: JudgeParts, root: Root, items: readonly SalvageItem[]): Promise<SalvageVerdict[]> {
  const verdicts = items.map((item) => quickVerdict(parts, root, item));
  const open = new Map<string, number[]>();
  items.forEach((item, i) => {
    if (verdicts[i] !== null || item.kind !== 'message') return;
    const key = contentOf(item.size, item.sha256);
    open.set(key, [...(open.get(key) ?? []), i]);
  });
  if (open.size > 0)
    for await (const { size, content, mtimeNs } of allFiles(parts, root))
      for (const i of open.get(contentOf(size, content)) ?? [])
        if (seconds(mtimeNs) === seconds(BigInt(items[i]?.mtimeNs ?? '0'))) verdicts[i] = 'there';
  return verdicts.map((verdict) => verdict ?? 'missing');
}

function quickVerdict({ files, index, records }: JudgeParts, root: Root, item: SalvageItem): SalvageVerdict | null {
  if (records.get(item.id)?.state === 'placed') return 'placed';
  if (item.kind === 'message') return hasMessage(index, root, item) ? 'there' : null;
  const known = index.at(root.name, item.path)?.entry;
  if (known?.kind === 'file' && known.size === item.size && known.content.equals(item.sha256.subarray(0, contentBytes))) return 'there';
  // Half of it was done when something was cut: what has the path is our own.
  if (known === undefined && (files.lstat(absolute(root, item.path)) === null || records.get(item.id) !== null)) return null;
  return 'differs';
}

function hasMessage(index: ReplicaIndex, root: Root, { path: mailbox, base }: SalvageItem): boolean {
  for (const place of ['cur', 'new']) {
    const dir = index.dirAt(root.name, joinPath(mailbox, place));
    if (dir === null) continue;
    for (const [name, { kind }] of index.entries(dir, { prefix: base }))
      if (kind === 'file' && root.format.baseOf(name) === base) return true;
  }
  return false;
}

async function* allFiles({ index, pace }: JudgeParts, root: Root): AsyncGenerator<{ size: number; content: Buffer; mtimeNs: bigint }> {
  const top = index.root(root.name);
  const dirs = top === null ? [] : [top];
  for (let dir = dirs.pop(); dir !== undefined; dir = dirs.pop()) {
    let count = 0;
    for (const [, entry] of index.entries(dir)) {
      if (entry.kind === 'dir') dirs.push(entry.dir);
      else if (entry.kind === 'file') yield entry;
      if (++count % 256 === 0) await pace();
    }
    await pace();
  }
}

function contentOf(size: number, sha256: Buffer): string {
  return `${size} ${sha256.toString('latin1', 0, contentBytes)}`;
}

/** INTERNALDATE knows whole seconds. */
function seconds(ns: bigint): bigint {
  return ns / 1_000_000_000n;
}
