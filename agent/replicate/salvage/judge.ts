import { salvagePlaces, type SalvageItem, type SalvageVerdict } from '../../../protocol/salvage.ts';
import { contentBytes } from '../../journal/entry.ts';
import type { FoundEntry, ReplicaIndex } from '../../journal/replica-index.ts';
import { joinPath, type BytePath, type Files } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import { absolute, type Root } from '../root.ts';
import { hasOriginal } from './originals.ts';
import type { SalvageRecords } from './records.ts';

export interface JudgeParts {
  files: Files;
  /** This node's: what it had when it took over, and nothing less. */
  index: ReplicaIndex;
  records: SalvageRecords;
  kv: Kv;
  /** Gives way from time to time. */
  pace: () => Promise<void>;
}

export interface Judgement {
  verdicts: SalvageVerdict[];
  /** Where else the content of an item is, by the item's number. */
  elsewhere: [item: number, path: BytePath][];
}

/**
 * Whether this active node has what the old primary found. It had arrived when a message of that name is in the mailbox.
 * When the root has one of the same content and date in another place, it may have been moved from there, or be a copy or
 * one more delivery of the same letter: only the old primary's disk tells. The index tells how it was when this node took
 * over, so what a user deletes afterwards is not brought back.
 */
export async function judge(parts: JudgeParts, root: Root, items: readonly SalvageItem[]): Promise<Judgement> {
  const verdicts = items.map((item) => quickVerdict(parts, root, item));
  const open = new Map<string, number[]>();
  items.forEach((item, i) => {
    if (verdicts[i] !== null || item.kind !== 'message') return;
    const key = contentOf(item.size, item.sha256);
    open.set(key, [...(open.get(key) ?? []), i]);
  });
  const places = new Places();
  if (open.size > 0)
    for await (const { dir, name, entry } of allFiles(parts, root))
      for (const i of open.get(contentOf(entry.size, entry.content)) ?? [])
        if (
          seconds(entry.mtimeNs) === seconds(BigInt(items[i]?.mtimeNs ?? '0')) &&
          places.add(i, joinPath(parts.index.pathOf(dir).path, name))
        )
          verdicts[i] = 'elsewhere';
  return { verdicts: verdicts.map((verdict) => verdict ?? 'missing'), elsewhere: places.all };
}

/** Bounded: what does not fit is brought once more rather than lost. */
class Places {
  readonly all: [number, BytePath][] = [];
  readonly #perItem = new Map<number, number>();
  #bytes = 0;

  add(item: number, path: BytePath): boolean {
    const count = this.#perItem.get(item) ?? 0;
    const { perItemMax, max, bytesMax } = salvagePlaces;
    if (count >= perItemMax || this.all.length >= max || this.#bytes + path.length > bytesMax) return false;
    this.#perItem.set(item, count + 1);
    this.#bytes += path.length;
    this.all.push([item, path]);
    return true;
  }
}

function quickVerdict({ files, index, records, kv }: JudgeParts, root: Root, item: SalvageItem): SalvageVerdict | null {
  if (records.get(item.id)?.state === 'placed') return 'placed';
  if (item.kind === 'message') return hasMessage(index, root, item) || hasOriginal(kv, root.name, item.path, item.base) ? 'there' : null;
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

async function* allFiles({ index, pace }: JudgeParts, root: Root): AsyncGenerator<FoundEntry> {
  const top = index.root(root.name);
  const dirs = top === null ? [] : [top];
  for (let dir = dirs.pop(); dir !== undefined; dir = dirs.pop()) {
    let count = 0;
    for (const [name, entry] of index.entries(dir)) {
      if (entry.kind === 'dir') dirs.push(entry.dir);
      else if (entry.kind === 'file') yield { dir, name, entry };
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
