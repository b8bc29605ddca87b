import type { MessageOf } from '../../../protocol/messages.ts';
import { createHash } from 'node:crypto';
import { entryDigest, entryOf, unknownEntry, xattrsDigest, type Entry } from '../../journal/entry.ts';
import type { Layer } from '../../journal/layer.ts';
import { TreeDigests } from '../../journal/tree-digest.ts';
import { errnoCode, joinPath, type BytePath } from '../../platform/files.ts';
import { absolute } from '../root.ts';
import type { PrimaryParts } from './context.ts';

/** Asks the standby for a directory of its index, one page. */
export type AskListing = (root: string, dir: BytePath, after: BytePath) => Promise<MessageOf<'listing'>>;

/** What both sides were found to disagree about. */
export interface Disagreement {
  root: string;
  path: BytePath;
  what: string;
}

/** No directory has it: its attributes are sent again. */
const noMode = 0xffff;
const readBytes = 1024 * 1024;
const entriesBetweenPauses = 512;
const kinds: readonly Entry['kind'][] = ['file', 'dir', 'symlink'];

/**
 * Makes the primary's index say what the standby really has, by comparing digests from the roots down; the cost grows
 * with what differs. Each place that differs is recorded as a change, so that the ordinary way mends it.
 */
export class Reconciler {
  readonly #p: PrimaryParts;
  readonly #ask: AskListing;
  readonly #digests: TreeDigests;
  readonly found: Disagreement[] = [];
  total = 0;
  #layer: Layer;
  /** Bytes read since other work was let through. */
  #read = 0;
  #remembered = 0;

  constructor(parts: PrimaryParts, ask: AskListing) {
    this.#p = parts;
    this.#ask = ask;
    this.#digests = new TreeDigests(parts.index, () => parts.clock.yield());
    this.#layer = parts.index.begin();
  }

  async all(): Promise<void> {
    for (const root of this.#p.roots) await this.dir(root.name, '', true);
  }

  /** Compares one directory; `below` also what differs inside it. */
  async dir(root: string, path: BytePath, below: boolean): Promise<void> {
    const { index, changes, clock } = this.#p;
    let page = await this.#ask(root, path, '');
    const number = index.dirAt(root, path);
    if (page.digest === null) {
      if (number === null) return;
      if (path === '') {
        for (const [name, entry] of [...index.entries(number)]) await this.#remove(root, number, name, entry);
      } else {
        const at = index.at(root, path);
        if (at) await this.#remove(root, at.dir, at.name, at.entry);
      }
      changes.record(root, path, 'scan', clock.monotonicMs());
      this.#note(root, path, 'the standby does not have this directory');
      return await this.#commit();
    }
    const dir = number ?? (path === '' ? index.addRoot(this.#layer, root) : null);
    if (dir === null) return;
    if (below && page.digest.equals(await this.#digests.below(dir))) return;
    const descend: BytePath[] = [];
    // Both lists are in byte order: what lies between two names of theirs and only here is missing there.
    let after = '';
    for (;;) {
      const theirs = new Map(page.entries.map(([name, kind, digest]) => [name, { kind, digest }]));
      const last = page.entries.at(-1)?.[0];
      for (const [name, entry] of [...index.entries(dir, { after })]) {
        if (page.more && last !== undefined && name > last) break;
        const there = theirs.get(name);
        theirs.delete(name);
        await this.#compare(root, path, dir, name, entry, there, below, descend);
      }
      for (const [name, { kind, digest }] of theirs) {
        // What is kept there of something left out is known already; what is below it is not asked for.
        if (this.#isLeftOut(root, joinPath(path, name))) {
          this.#put(root, dir, name, unknownEntry(kinds[kind] ?? 'file', 0));
          continue;
        }
        const same = kind === 0 ? await this.#sameHere(root, joinPath(path, name), digest) : null;
        if (same) {
          this.#put(root, dir, name, same);
          continue;
        }
        this.#put(root, dir, name, unknownEntry(kinds[kind] ?? 'file', 0));
        if (kind === 1) descend.push(joinPath(path, name));
        this.#differs(root, joinPath(path, name), 'only the standby has it');
      }
      await this.#commit();
      if (!page.more || last === undefined) break;
      after = last;
      page = await this.#ask(root, path, after);
    }
    for (const child of descend) await this.dir(root, child, true);
  }

  /** Ends the work; the last layer of this must not stay open. */
  close(): void {
    this.#p.index.drop(this.#layer);
  }

  async #compare(
    root: string,
    path: BytePath,
    dir: number,
    name: string,
    entry: Entry,
    there: { kind: number; digest: Buffer } | undefined,
    below: boolean,
    descend: BytePath[],
  ): Promise<void> {
    const { index } = this.#p;
    const child = joinPath(path, name);
    if (there && this.#isLeftOut(root, child)) return;
    if (!there) {
      await this.#remove(root, dir, name, entry);
      // Another name of a file below may bring the directory before its turn: a look at it would then find nothing to do.
      if (entry.kind === 'dir') this.#p.changes.record(root, child, 'scan', this.#p.clock.monotonicMs());
      return this.#differs(root, child, 'the standby does not have it');
    }
    const kind = kinds[there.kind] ?? 'file';
    if (kind !== entry.kind) {
      await this.#remove(root, dir, name, entry);
      this.#put(root, dir, name, unknownEntry(kind, 0));
      if (kind === 'dir') descend.push(child);
      return this.#differs(root, child, `the standby has a ${kind} here`);
    }
    if (kind === 'dir') {
      if (!below || there.digest.equals(await this.#digests.of(entry))) return;
      // Attributes of the directory itself may be what differs: sending them again is cheap.
      index.amendDir(this.#layer, dir, name, { mode: noMode, mtimeNs: 0n });
      this.#p.changes.record(root, child, 'path', this.#p.clock.monotonicMs());
      descend.push(child);
      return;
    }
    if (there.digest.equals(await this.#digests.of(entry))) return;
    const same = kind === 'file' ? await this.#sameHere(root, child, there.digest) : null;
    if (same) return this.#put(root, dir, name, same);
    await this.#remember(root, entry);
    this.#put(root, dir, name, unknownEntry(kind, 0));
    this.#differs(root, child, 'the standby has another version');
  }

  /**
   * The entry of a file that the standby holds just as this node's disk does, found by reading it here: an adopted
   * copy, or one that outlived this node's state, is not sent again. Null when the two differ.
   */
  async #sameHere(rootName: string, path: BytePath, digest: Buffer): Promise<Entry | null> {
    const root = this.#p.roots.find(({ name }) => name === rootName);
    if (!root) return null;
    try {
      const { files, clock } = this.#p;
      const where = absolute(root, path);
      const fd = files.openRead(where);
      if (fd === null) return null;
      try {
        const stat = files.fstat(fd);
        // Digests do not tell which names are one file there.
        if (stat.nlink > 1) return null;
        const hash = createHash('sha256');
        const buffer = Buffer.allocUnsafe(Math.min(readBytes, Math.max(1, stat.size)));
        for (let at = 0; at < stat.size;) {
          const got = files.read(fd, buffer, 0, buffer.length, at);
          if (got === 0) return null;
          hash.update(buffer.subarray(0, got));
          at += got;
          this.#read += got;
          if (this.#read >= readBytes) {
            this.#read = 0;
            await clock.yield();
          }
        }
        // Nothing is known of when this content was made: it is read again before it is trusted, unless it never changes.
        const entry = {
          ...entryOf(stat, hash.digest(), xattrsDigest(files.xattrs(where)), 0),
          racy: !root.format.classify(path, 'file').immutable,
        };
        return entryDigest(entry).equals(digest) ? entry : null;
      } finally {
        files.close(fd);
      }
    } catch (error) {
      if (errnoCode(error) === undefined) throw error;
      return null;
    }
  }

  #isLeftOut(root: string, path: BytePath): boolean {
    if (this.#p.holds.coveringAs('left-out', root, path) !== null) return true;
    const excluded = this.#p.roots.find(({ name }) => name === root)?.format.excluded?.(path, 'dir');
    return excluded !== null && excluded !== undefined && !excluded.derived;
  }

  /** Takes a place out of the index, with all below it; what this node's own files held is remembered. */
  async #remove(root: string, dir: number, name: string, entry: Entry): Promise<void> {
    await this.#remember(root, entry);
    this.#p.index.remove(this.#layer, root, dir, name);
  }

  async #remember(root: string, entry: Entry): Promise<void> {
    const { index, damage, clock } = this.#p;
    const number = index.root(root);
    if (number === null) return;
    if (entry.kind !== 'dir') return damage.remembered.keep(this.#layer, number, entry);
    for (const [, below] of index.entries(entry.dir)) {
      if (++this.#remembered % entriesBetweenPauses === 0) await clock.yield();
      await this.#remember(root, below);
    }
  }

  #put(root: string, dir: number, name: string, entry: Entry): void {
    this.#p.index.put(this.#layer, root, dir, name, entry);
  }

  #differs(root: string, path: BytePath, what: string): void {
    this.#p.changes.record(root, path, 'path', this.#p.clock.monotonicMs());
    this.#note(root, path, what);
  }

  #note(root: string, path: BytePath, what: string): void {
    this.total++;
    if (this.found.length < 1000) this.found.push({ root, path, what });
  }

  async #commit(): Promise<void> {
    const { index, kv, changes } = this.#p;
    kv.commit([...index.writesOf(this.#layer), ...changes.save()]);
    index.settle(this.#layer);
    this.#layer = index.begin();
    // A disk that takes nothing holds the comparison, so that little waits for it.
    await kv.flushed();
  }
}
