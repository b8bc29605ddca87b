import type { Entry } from '../../journal/entry.ts';
import type { FoundEntry } from '../../journal/replica-index.ts';
import { errnoCode, joinPath, type BytePath } from '../../platform/files.ts';
import { absolute, type Root } from '../root.ts';
import type { FileAt } from './choose-content.ts';
import { splitPath, type PrimaryParts } from './context.ts';
import { guardWindowMs } from './guard.ts';
import { Recent } from './recent.ts';

const contentsMax = 50_000;
const filesBetweenYields = 500;
/** Files with more names than this are not gone through for each name that goes: for so long it holds that none is left. */
const manyNames = 64;
const namelessMs = 1000;
const namelessMax = 10_000;

/** A mailbox, or the directory of other files: what the guard counts and holds together. */
export function unitOf(root: Root, path: BytePath): BytePath {
  return root.format.classify(path, 'file').mailbox ?? splitPath(path).dir;
}

/**
 * Tells what a removal or a rewrite would lose: files whose content is under no other name. What was moved is found by its
 * inode, and what was copied and then removed by its content, if it arrived within the guard's window.
 */
export class Losses {
  readonly #p: PrimaryParts;
  /** By content: where it arrived last. */
  readonly #arrived = new Recent<{ root: string; dir: number; name: BytePath }>(guardWindowMs, contentsMax);
  /** By content: the root in which it was counted as lost. */
  readonly #lost = new Recent<string>(guardWindowMs, contentsMax);
  /** By root and inode: when it was seen that no name is left of a file with very many. */
  readonly #nameless = new Map<string, number>();
  /** While a deletion is held, what went before it is not forgotten: it may be put back. */
  isHolding: () => boolean = () => false;
  #heldSinceMs: number | null = null;
  /** During a fill everything arrives and nothing has gone before. */
  isFilling: () => boolean = () => false;

  constructor(parts: PrimaryParts) {
    this.#p = parts;
  }

  /** Content that the standby did not have under this name is on its way to it. Counted as lost before, it was moved. */
  arrived(at: FileAt, content: Buffer): void {
    if (this.isFilling()) return;
    const now = this.#p.clock.monotonicMs();
    const key = keyOf(content);
    this.#arrived.set(key, { root: at.root.name, dir: at.dirNumber, name: at.name }, now);
    const lostIn = this.#lost.get(key, this.#lostClockMs());
    if (lostIn === undefined) return;
    this.#lost.delete(key);
    this.#p.guard.giveBack(lostIn, 1);
  }

  /** These were counted as lost. Of very many only as many as are remembered at all. */
  counted(root: Root, entries: readonly Entry[]): void {
    const now = this.#lostClockMs();
    for (const { content } of entries.slice(-contentsMax)) if (content.length > 0) this.#lost.set(keyOf(content), root.name, now);
  }

  /** Whether this content was counted as lost: whoever writes it puts it back. */
  wasLost(content: Buffer): boolean {
    return this.#lost.get(keyOf(content), this.#lostClockMs()) !== undefined;
  }

  #lostClockMs(): number {
    const now = this.#p.clock.monotonicMs();
    if (!this.isHolding()) this.#heldSinceMs = null;
    else this.#heldSinceMs ??= now;
    return this.#heldSinceMs ?? now;
  }

  /** Files of which the content would be lost with a name: those below a directory; `linked` receives inodes that have other names. */
  async below(root: Root, path: BytePath, found: FoundEntry, linked: Set<bigint>): Promise<Entry[]> {
    const lost: Entry[] = [];
    let seen = 0;
    const walk = async (dirPath: BytePath, dir: number): Promise<void> => {
      for (const [name, entry] of this.#p.index.entries(dir)) {
        const child = joinPath(dirPath, name);
        if (++seen % filesBetweenYields === 0) await this.#p.clock.yield();
        if (entry.kind === 'dir') await walk(child, entry.dir);
        else if (this.isLost(root, child, { dir, name, entry }, path)) lost.push(entry);
        if (entry.linked) linked.add(entry.ino);
      }
    };
    if (found.entry.kind === 'dir') await walk(path, found.entry.dir);
    else if (this.isLost(root, path, found, path)) lost.push(found.entry);
    return lost;
  }

  /** Whether the content of a file that the standby has at a path is under no other name. `gone`: what goes, with all below it. */
  isLost(root: Root, path: BytePath, { dir, name, entry }: FoundEntry, gone: BytePath): boolean {
    if (entry.kind !== 'file') return false;
    // Derived from the rest, or numbers of a mailbox that its messages outlive.
    const class_ = root.format.classify(path, 'file');
    if (class_.class === 'index' || (class_.class === 'control' && class_.mailbox !== null)) return false;
    return !this.#hasOtherName(root, { dir, name, entry }, gone) && !this.#hasArrived({ dir, name, entry });
  }

  #hasOtherName(root: Root, { dir, name, entry }: FoundEntry, gone: BytePath): boolean {
    const { index, files } = this.#p;
    const rootNumber = index.root(root.name);
    if (rootNumber === null || entry.ino === 0n) return false;
    const key = `${root.name}\0${entry.ino}`;
    const nowMs = this.#p.clock.monotonicMs();
    if (entry.linked && nowMs - (this.#nameless.get(key) ?? -Infinity) < namelessMs) return false;
    const others = entry.linked ? index.eachNameOf(rootNumber, entry.ino) : [index.byInode(rootNumber, entry.ino)];
    let missing = 0;
    let isPart = false;
    for (const other of others) {
      if (!other || (other.dir === dir && other.name === name) || other.entry.btimeNs !== entry.btimeNs) continue;
      const path = joinPath(index.pathOf(other.dir).path, other.name);
      if (path === gone) continue;
      if (path.startsWith(`${gone}/`)) {
        isPart = true;
        continue;
      }
      missing++;
      const stat = lstatOrNull(files, absolute(root, path));
      const isThere = stat?.kind === 'file' && stat.ino === entry.ino && stat.size === other.entry.size;
      if (isThere && other.entry.content.equals(entry.content)) return true;
    }
    // Names that go with a directory were not looked at, and may be there when something else asks.
    if (missing >= manyNames && !isPart) {
      if (this.#nameless.size >= namelessMax) this.#nameless.clear();
      this.#nameless.set(key, nowMs);
    }
    return false;
  }

  #hasArrived({ dir, name, entry }: FoundEntry): boolean {
    const { index, files, clock, roots } = this.#p;
    const at = entry.content.length > 0 ? this.#arrived.get(keyOf(entry.content), clock.monotonicMs()) : undefined;
    if (!at || (at.dir === dir && at.name === name)) return false;
    const there = index.get(at.dir, at.name);
    const root = roots.find((each) => each.name === at.root);
    if (!root || there?.kind !== 'file' || !there.content.equals(entry.content)) return false;
    return lstatOrNull(files, absolute(root, joinPath(index.pathOf(at.dir).path, at.name)))?.ino === there.ino;
  }
}

function keyOf(content: Buffer): string {
  return content.toString('latin1', 0, 16);
}

/** What cannot be looked at is not known to be there. */
function lstatOrNull(files: PrimaryParts['files'], path: BytePath) {
  try {
    return files.lstat(path);
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return null;
  }
}
