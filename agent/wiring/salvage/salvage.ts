import { createHash } from 'node:crypto';
import { limits } from '../../../protocol/limits.ts';
import { exitCodes, type StreamLine } from '../../../protocol/control.ts';
import {
  salvageItemsMax,
  type SalvageCounts,
  type SalvageItem,
  type SalvageTarget,
  type SalvageVerdict,
  type TailItem,
} from '../../../protocol/salvage.ts';
import type { Operator } from '../../../protocol/takeover.ts';
import { namedMessages } from '../../mailstore/uidlist.ts';
import { sleep, systemClock } from '../../platform/clock.ts';
import { OperatorError } from '../../platform/errors.ts';
import { baseName, displayPath, joinPath, parentPath, type BytePath, type Files, type Stat } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import { findTail, flagsOf, type Tail } from '../../replicate/salvage/find.ts';
import { noteOriginals, type Original } from '../../replicate/salvage/originals.ts';
import { messageName } from '../../replicate/salvage/place.ts';
import { findUndone, type UndonePlace } from '../../replicate/salvage/undone.ts';
import { VacatedPlaces } from '../../replicate/salvage/vacated.ts';
import { keywordsOf, readKeywords, systemFlags } from '../../replicate/salvage/keywords.ts';
import { absolute, type Root } from '../../replicate/root.ts';
import { judged, refuseFailing, type Judged } from '../checks.ts';
import type { Node } from '../node.ts';
import { askActive, type SalvageAsks } from './ask-active.ts';

export interface SalvageParts {
  node: Node;
  files: Files;
  kv: Kv;
  asks: SalvageAsks;
  /** The pair's and this node's name, which make the ids of a salvage its own. */
  pair: () => string;
  name: string;
  audit: (what: string, facts: Record<string, unknown>, by: Operator) => Promise<void>;
}

/** Something of the tail that can be brought back, with what tells it from all others. */
interface Candidate {
  root: Root;
  tail: Extract<Tail, { what: 'message' | 'file' }>;
  path: BytePath;
  /** Where its content is; absolute. */
  source: BytePath;
  stat: Stat;
  item: SalvageItem;
}

/** What the active node says of one, and of what was moved since, where it is there. */
interface JudgedCandidate {
  candidate: Candidate;
  verdict: Exclude<SalvageVerdict, 'elsewhere'>;
  moved: BytePath | null;
}

/** What a run goes by. */
interface Settling {
  apply: boolean;
  counts: SalvageCounts;
  uids: UidLookup;
  /** Null: what the active node has in another place is there. */
  vacated: VacatedPlaces | null;
  tell: (item: TailItem) => void;
  signal: AbortSignal;
}

const sliceMs = 8;
const shownMax = 2000;
/** The furthest time that a date can show, in milliseconds; somebody may have set any. */
const dateMsMax = 8.64e15;
const readBytes = limits.dataFrameBytesMax;
const uidlistBytesMax = 256 * 1024 * 1024;

/** Finds what only this fenced node has, has the active one judge it, and brings it there (I16). Nothing changes here. */
export class Salvage {
  readonly #p: SalvageParts;
  #busy = false;
  #lastMs = 0;

  constructor(parts: SalvageParts) {
    this.#p = parts;
  }

  /** Whether it may begin: this node was replaced, and the other one is the active one. None can be overridden. */
  checks(mayBeUndone = false): Judged[] {
    const { node } = this.#p;
    const isReplaced = node.role === 'fenced';
    const hasUndone = mayBeUndone && this.#undone().next().done !== true;
    const role = judged('role', 'not-fenced-here', isReplaced || hasUndone ? 'pass' : 'fail', {
      summary: isReplaced
        ? 'this node was replaced'
        : hasUndone
          ? 'the history of this standby has what an older state of the primary undid'
          : `this node is ${node.role}: only a node that was replaced has a lost tail`,
      remedy: isReplaced || hasUndone ? '' : 'run it on the node that was replaced',
    });
    return [role, this.#activeNode()];
  }

  #activeNode(): Judged {
    const { node } = this.#p;
    const { connected, reading } = node.running.peer;
    const check = 'active-node';
    if (!connected || !reading)
      return judged(check, 'disconnected', 'fail', {
        summary: 'the active node is not connected',
        remedy: 'see `mailtwin status` for why',
      });
    const is = `the other node is ${reading.role} of epoch ${reading.epoch} and ${reading.active ? 'active' : 'not active'}`;
    return reading.role === 'primary' && reading.active && reading.epoch >= node.epoch
      ? judged(check, '', 'pass', { summary: is })
      : judged(check, 'not-active', 'fail', { summary: is, remedy: 'bring it into service first' });
  }

  /** What `keep-this-store` on the other node took from this standby (I21). */
  *#undone(): Generator<UndonePlace> {
    yield* this.#p.node.running.standby?.undone() ?? [];
  }

  async run(apply: boolean, by: Operator, push: (line: StreamLine) => void, signal: AbortSignal): Promise<SalvageCounts> {
    refuseFailing(this.checks(true), push);
    if (this.#busy) throw new OperatorError('salvage-runs', 'a salvage runs already', 'wait for its end', exitCodes.refused);
    this.#busy = true;
    try {
      const counts = await this.#run(apply, push, signal);
      if (apply) await this.#p.audit('salvage', { ...counts }, by);
      return counts;
    } finally {
      this.#busy = false;
    }
  }

  async #run(apply: boolean, push: (line: StreamLine) => void, signal: AbortSignal): Promise<SalvageCounts> {
    const { node, files } = this.#p;
    const counts: SalvageCounts = { missing: 0, brought: 0, there: 0, placed: 0, shown: 0, differs: 0, bytes: 0, keywordsDropped: 0 };
    const vacated = new VacatedPlaces(files);
    let told = 0;
    const tell = (item: TailItem) => {
      if (++told <= shownMax) push({ kind: 'tail', item });
    };
    if (node.role === 'standby') await this.#runUndone({ apply, counts, vacated: null, tell, signal });
    let looked = 0;
    for (const root of node.role === 'standby' ? [] : node.running.roots) {
      const uids = new UidLookup(files, root);
      let waiting: Candidate[] = [];
      const settle = async () => {
        const batch = waiting;
        waiting = [];
        if (batch.length > 0) await this.#settle(root, batch, { apply, counts, uids, vacated, tell, signal });
      };
      for (const tail of findTail(files, node.running.index, root)) {
        if (signal.aborted) throw new OperatorError('given-up', 'the salvage was given up', 'run it again: it goes on');
        await this.#pace();
        if (tail === 'more') continue;
        if (tail === 'directory') {
          if (++looked % 100 === 0) push({ kind: 'progress', done: looked, total: null, text: 'directories compared' });
          continue;
        }
        if (tail.what === 'message' || tail.what === 'file') {
          const candidate = await this.#candidate(root, tail);
          if (candidate) waiting.push(candidate);
          if (waiting.length >= salvageItemsMax) await settle();
        } else if (tail.what === 'folder') {
          if (apply) await this.#folder(root, 'mailbox', tail.mailbox);
          tell(shownItem(root, tail, uids));
        } else {
          counts.shown++;
          tell(shownItem(root, tail, uids));
        }
      }
      await settle();
    }
    return counts;
  }

  /** From the history of a standby. What the active node has anywhere was moved, and is not brought once more. */
  async #runUndone(settling: Omit<Settling, 'uids'>): Promise<void> {
    const { files } = this.#p;
    let root: Root | null = null;
    let waiting: Candidate[] = [];
    const settle = async () => {
      if (root && waiting.length > 0) await this.#settle(root, waiting, { ...settling, uids: new UidLookup(files, root) });
      waiting = [];
    };
    for (const place of this.#undone()) {
      if (place.root !== root) await settle();
      root = place.root;
      for (const { tail, source } of findUndone(files, place)) {
        if (settling.signal.aborted) throw new OperatorError('given-up', 'the salvage was given up', 'run it again: it goes on');
        await this.#pace();
        const candidate = await this.#candidate(root, tail, source);
        if (candidate) waiting.push(candidate);
        if (waiting.length >= salvageItemsMax) await settle();
      }
    }
    await settle();
  }

  async #pace(): Promise<void> {
    const now = systemClock.monotonicMs();
    if (now - this.#lastMs < sliceMs) return;
    await sleep(systemClock, 0);
    this.#lastMs = systemClock.monotonicMs();
  }

  /** Null when it is gone, which cannot be here, or no regular file. */
  async #candidate(root: Root, tail: Candidate['tail'], from?: BytePath): Promise<Candidate | null> {
    const { files, name, pair, node } = this.#p;
    const path = tail.what === 'message' ? joinPath(joinPath(tail.mailbox, tail.place), tail.name) : tail.path;
    const source = from ?? absolute(root, path);
    const stat = files.lstat(source);
    if (stat?.kind !== 'file') return null;
    const hash = createHash('sha256');
    for await (const data of this.#content(source, path, stat.size)) hash.update(data);
    const sha256 = hash.digest();
    const place = tail.what === 'message' ? `${tail.mailbox}\0${tail.base}` : path;
    const id = createHash('sha256')
      .update([pair(), name, String(node.epoch), root.name, place].join('\0'), 'latin1')
      .update(sha256)
      .digest();
    const item: SalvageItem = {
      id,
      kind: tail.what,
      path: tail.what === 'message' ? tail.mailbox : path,
      base: tail.what === 'message' ? tail.base : '',
      size: stat.size,
      sha256,
      mtimeNs: String(stat.mtimeNs),
    };
    return { root, tail, path, source, stat, item };
  }

  async *#content(source: BytePath, path: BytePath, size: number): AsyncGenerator<Buffer> {
    const { files } = this.#p;
    const fd = files.openRead(source);
    if (fd === null) throw new OperatorError('salvage-read', `${displayPath(path)} cannot be read`, 'see to the disk of this node');
    try {
      for (let at = 0; at < size;) {
        const data = Buffer.allocUnsafe(Math.min(readBytes, size - at));
        const read = files.read(fd, data, 0, data.length, at);
        if (read === 0)
          throw new OperatorError(
            'salvage-read',
            `${displayPath(path)} became shorter`,
            'nothing may write into the mail store of this node',
          );
        at += read;
        yield data.subarray(0, read);
        await this.#pace();
      }
    } finally {
      files.close(fd);
    }
  }

  async #settle(root: Root, batch: readonly Candidate[], { apply, counts, uids, vacated, tell, signal }: Settling): Promise<void> {
    const { verdicts, elsewhere } = await askActive(
      this.#p.asks,
      { ask: 'judge', root: root.name, items: batch.map(({ item }) => item) },
      'judged',
    );
    const judged = batch.map((candidate, i): JudgedCandidate => {
      const verdict = verdicts[i] ?? 'missing';
      if (verdict !== 'elsewhere') return { candidate, verdict, moved: null };
      if (vacated === null) return { candidate, verdict: 'there', moved: null };
      const places = elsewhere.flatMap(([item, path]) => (item === i ? [path] : []));
      const moved = vacated.take(root, places);
      return { candidate, verdict: moved === null ? 'missing' : 'there', moved };
    });
    // Before anything is there under another name. What lies in the history of a standby (`vacated` is null) is nobody's original.
    if (vacated !== null)
      await noteOriginals(
        this.#p.kv,
        judged.flatMap((each) => this.#original(each, apply) ?? []),
      );
    for (const { candidate, verdict } of judged) {
      let shown: TailItem['verdict'] = verdict;
      if (verdict === 'missing' && apply) {
        if (signal.aborted) throw new OperatorError('given-up', 'the salvage was given up', 'run it again: it goes on');
        counts.keywordsDropped += await this.#bring(candidate);
        shown = 'brought';
      }
      counts[shown]++;
      if (verdict === 'missing') counts.bytes += candidate.stat.size;
      tell(candidateItem(candidate, shown, uids));
    }
  }

  /** Null of what the active node does not have, or has under the same name. */
  #original({ candidate: { root, tail, item }, verdict, moved }: JudgedCandidate, apply: boolean): Original | null {
    if (tail.what !== 'message') return null;
    const { mailbox, base } = tail;
    if (moved !== null)
      return {
        root: root.name,
        mailbox,
        base,
        copy: { mailbox: parentPath(parentPath(moved)), base: root.format.baseOf(baseName(moved)) },
      };
    return verdict === 'placed' || (verdict === 'missing' && apply)
      ? { root: root.name, mailbox, base, copy: { mailbox, base: messageName(item, sizesIn(tail.name)) } }
      : null;
  }

  /** The same directory there, with the owner and mode that it has here. */
  async #folder(root: Root, kind: 'mailbox' | 'dir', path: BytePath, below?: Stat): Promise<void> {
    const stat = this.#p.files.lstat(absolute(root, path === '' ? '.' : path));
    if (!stat && !below) return;
    // Of a folder that went as a whole only its messages tell whose it was.
    const { mode, uid, gid } = stat ?? { mode: 0o700, uid: below?.uid ?? 0, gid: below?.gid ?? 0 };
    await askActive(this.#p.asks, { ask: 'folder', root: root.name, kind, path, mode, uid, gid }, 'folder');
  }

  /** @returns how many keywords the mailbox there does not know. */
  async #bring({ root, tail, path, source, stat, item }: Candidate): Promise<number> {
    if (tail.what === 'message') await this.#folder(root, 'mailbox', tail.mailbox, stat);
    else await this.#folder(root, 'dir', parentPath(tail.path), stat);
    const target = this.#target(root, tail, path);
    const { mode, uid, gid, size } = stat;
    const put = {
      ask: 'put' as const,
      root: root.name,
      id: item.id,
      target,
      mtimeNs: item.mtimeNs,
      mode,
      uid,
      gid,
      size,
      sha256: item.sha256,
    };
    let offset = 0;
    if (size === 0) return (await askActive(this.#p.asks, { ...put, offset, data: Buffer.alloc(0) }, 'taken')).dropped.length;
    for await (const data of this.#content(source, path, size)) {
      const { state, dropped } = await askActive(this.#p.asks, { ...put, offset, data }, 'taken');
      if (state !== 'more') return dropped.length;
      offset += data.length;
    }
    throw new OperatorError('salvage-content', `${displayPath(path)} was sent and not taken`, 'run `mailtwin salvage --apply` again');
  }

  #target(root: Root, tail: Candidate['tail'], path: BytePath): SalvageTarget {
    if (tail.what === 'file') return { kind: 'file', path };
    const flags = flagsOf(tail.name);
    const list = this.#p.files.readFile(absolute(root, joinPath(tail.mailbox, 'dovecot-keywords')), 64 * 1024);
    return {
      kind: 'message',
      mailbox: tail.mailbox,
      flags: systemFlags(flags),
      keywords: list ? keywordsOf(flags, readKeywords(list.data)) : [],
      ...sizesIn(tail.name),
    };
  }
}

/**
 * `S=` (size) and `W=` (size with CRLF line ends) of a Maildir++ name; null what it does not have. They are the server's sizes of
 * the message, which a compressed or encrypted file does not have itself.
 */
function sizesIn(name: string): { messageSize: number | null; virtualSize: number | null } {
  const size = (key: 'S' | 'W') => {
    const match = new RegExp(`,${key}=([0-9]{1,15})(?=[,:]|$)`).exec(name);
    return match ? Number(match[1]) : null;
  };
  return { messageSize: size('S'), virtualSize: size('W') };
}

/** UIDs of one mailbox at a time, as its list here names them. */
class UidLookup {
  readonly #files: Files;
  readonly #root: Root;
  #mailbox: BytePath | null = null;
  #uids = new Map<string, number>();

  constructor(files: Files, root: Root) {
    this.#files = files;
    this.#root = root;
  }

  of(mailbox: BytePath, base: string): number | null {
    if (this.#mailbox !== mailbox) {
      this.#mailbox = mailbox;
      const list = this.#files.readFile(absolute(this.#root, joinPath(mailbox, 'dovecot-uidlist')), uidlistBytesMax);
      this.#uids = new Map(list ? [...namedMessages(list.data)].map(({ uid, base: name }) => [name, uid]) : []);
    }
    return this.#uids.get(base) ?? null;
  }
}

function candidateItem({ root, tail, path, stat }: Candidate, verdict: TailItem['verdict'], uids: UidLookup): TailItem {
  const isMessage = tail.what === 'message';
  return {
    what: tail.what,
    root: root.name,
    mailbox: isMessage ? displayPath(tail.mailbox) : '',
    name: displayPath(isMessage ? tail.base : path),
    uid: isMessage ? uids.of(tail.mailbox, tail.base) : null,
    size: stat.size,
    date: new Date(Math.min(dateMsMax, Math.max(-dateMsMax, Number(stat.mtimeNs / 1_000_000n)))).toISOString(),
    flags: isMessage ? flagsOf(tail.name) : '',
    verdict,
  };
}

function shownItem(root: Root, tail: Exclude<Tail, { what: 'message' | 'file' }>, uids: UidLookup): TailItem {
  const mailbox = 'mailbox' in tail ? tail.mailbox : '';
  const base = 'base' in tail ? tail.base : null;
  return {
    what: tail.what,
    root: root.name,
    mailbox: displayPath(mailbox),
    name: displayPath('path' in tail ? tail.path : (base ?? mailbox)),
    uid: base === null ? null : uids.of(mailbox, base),
    size: null,
    date: null,
    flags: tail.what === 'flags' ? `${tail.before === '' ? '-' : tail.before} > ${tail.after === '' ? '-' : tail.after}` : '',
    verdict: tail.what === 'folder' ? 'missing' : 'shown',
  };
}
