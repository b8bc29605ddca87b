import type { BytePath } from '../../platform/files.ts';

/** Losses of this long ago count together with new ones: a deletion that comes in pieces is one deletion. */
export const guardWindowMs = 10 * 60_000;
/** Losses of one place this close together are one entry of the window. */
const togetherMs = 1000;
/** When the limit is reached, places that lose few files may still do so, up to this multiple of it in all. */
const fewTogether = 1.5;
/** Few files of one place: this share of the least number. */
const fewShare = 0.01;

const sizeEveryMs = 15_000;
/** So few files are no mass deletion in any root. */
const anyMin = 30;
/** Of a root with so few files that `filesMin` would let most of it go: losses in several places, and in one alone, which a user may empty. */
const mostOfSmall = 0.5;
const mostInOnePlace = 0.8;
/** So few files beside the place that loses most make no second place. */
const besideMax = 10;

export interface GuardLimits {
  /** Share (0..1) of a root's files; 1 = nothing is ever held. */
  share: number;
  /** Fewer files than this are held only when they are most of a small root. */
  filesMin: number;
}

/** How content is lost: its file goes, or gets another content. */
export type LossKind = 'gone' | 'rewritten';

/** Files of one place that were lost within the window. */
interface Lost {
  place: BytePath;
  kind: LossKind;
  /** Monotonic milliseconds. */
  at: number;
  files: number;
  /** A person has let go what followed on it: it counts no more, and belongs to that deletion still. */
  accepted: boolean;
}

/** What a person has allowed to go: so many files at a place, until a moment. */
interface Allowance {
  root: string;
  place: BytePath;
  /** All below the place, too. */
  deep: boolean;
  files: number;
  /** Monotonic milliseconds. */
  until: number;
}

/** What was counted for one removal, to be given back when its batch is given up. */
export interface CountedLoss {
  root: string;
  counted: Lost | null;
  files: number;
  allowance: Allowance | null;
  allowed: number;
}

/** The numbers that tripped the guard. */
export interface Tripped {
  /** Lost within the window, with what is held now. */
  files: number;
  /** Files of the root before the window. */
  of: number;
  /** Most files that may go. */
  limit: number;
  /** Why so many: `GuardLimits.share`, `GuardLimits.filesMin`, or because the root is small. */
  by: 'share' | 'least' | 'small' | 'small-place';
}

export type Verdict = { goes: true; loss: CountedLoss } | { goes: false; tripped: Tripped };

/** What outlives a restart. Times are ages, or what is left, in milliseconds. */
export interface GuardRecord {
  lost: [root: string, place: BytePath, kind: LossKind, ageMs: number, files: number, accepted?: boolean][];
  allowed: [root: string, place: BytePath, deep: boolean, leftMs: number, files: number][];
}

/**
 * The guard against mass deletion: a wiped, wrong or rewritten store must not wipe its copy. It counts files whose
 * content would be lost, by root and place (a mailbox or a directory). Pure; time in monotonic milliseconds.
 */
export class DeletionGuard {
  readonly limits: GuardLimits;
  readonly #lost = new Map<string, Lost[]>();
  readonly #sizes = new Map<string, { at: number; files: number }[]>();
  #allowances: Allowance[] = [];

  constructor(limits: GuardLimits) {
    this.limits = limits;
  }

  /**
   * Asks whether files of a place of a root that has `of` files may be lost. Counts them when they may. While a root is filled,
   * nobody knows how small it is.
   */
  ask(root: string, place: BytePath, kind: LossKind, files: number, of: number, now: number, isFilling = false): Verdict {
    const allowance = this.#allowanceFor(root, place, now);
    const allowed = Math.min(files, allowance?.files ?? 0);
    const rest = files - allowed;
    const recent = this.#recent(root, now);
    const before = sum(recent);
    // The root as it was before the window's losses.
    const ofBefore = Math.min(of + goneOf(recent), this.#sizeMin(root, now));
    const { limit, by } = this.#limit(mostAtOnePlace(recent, place, rest), before + rest, ofBefore, isFilling);
    if (rest > 0 && before + rest > limit && !this.#isFew(recent, place, before, rest, limit))
      return { goes: false, tripped: { files: before + rest, of: ofBefore, limit, by } };
    if (allowance) allowance.files -= allowed;
    return {
      goes: true,
      loss: { root, counted: rest > 0 ? this.#count(root, place, kind, rest, now) : null, files: rest, allowance, allowed },
    };
  }

  /** Most files that may go. `most`: files of the place that loses most, of `all`. */
  #limit(most: number, all: number, of: number, isFilling: boolean): Pick<Tripped, 'limit' | 'by'> {
    const { share, filesMin } = this.limits;
    if (share >= 1) return { limit: Infinity, by: 'share' };
    const byShare = Math.floor(share * of);
    const inOne = all - most <= besideMax;
    const bySize = isFilling ? Infinity : Math.max(anyMin, Math.floor((inOne ? mostInOnePlace : mostOfSmall) * of));
    if (byShare >= Math.min(filesMin, bySize)) return { limit: byShare, by: 'share' };
    return filesMin <= bySize ? { limit: filesMin, by: 'least' } : { limit: bySize, by: inOne ? 'small-place' : 'small' };
  }

  /** A user who deletes a letter is not held because somebody else's folder was emptied a minute ago. */
  #isFew(recent: readonly Lost[], place: BytePath, before: number, files: number, limit: number): boolean {
    const here = sum(recent.filter((lost) => lost.place === place));
    return here + files <= this.limits.filesMin * fewShare && before + files <= limit * fewTogether;
  }

  /** How many files a root has, every now and then: what arrives beside a deletion must not raise its limit. */
  noteSize(root: string, of: number, now: number): void {
    const sizes = (this.#sizes.get(root) ?? []).filter(({ at }) => now - at < guardWindowMs);
    const last = sizes.at(-1);
    if (!last || now - last.at >= sizeEveryMs) sizes.push({ at: now, files: of + goneOf(this.#recent(root, now)) });
    this.#sizes.set(root, sizes);
  }

  #sizeMin(root: string, now: number): number {
    return Math.min(...(this.#sizes.get(root) ?? []).filter(({ at }) => now - at < guardWindowMs).map(({ files }) => files));
  }

  #count(root: string, place: BytePath, kind: LossKind, files: number, now: number): Lost {
    const kept = this.#kept(root, now);
    this.#lost.set(root, kept);
    const last = kept.at(-1);
    if (last && !last.accepted && last.place === place && last.kind === kind && now - last.at < togetherMs) {
      last.files += files;
      return last;
    }
    const lost = { place, kind, at: now, files, accepted: false };
    kept.push(lost);
    return lost;
  }

  /** What was counted was given up with its batch, and will be asked for again. */
  forgive({ counted, files, allowance, allowed }: CountedLoss): void {
    if (counted) counted.files = Math.max(0, counted.files - files);
    if (allowance) allowance.files += allowed;
  }

  /** The content of a file that was counted has come back under another name: it was moved. */
  giveBack(root: string, files: number): void {
    for (const lost of (this.#lost.get(root) ?? []).toReversed()) {
      const back = Math.min(files, lost.files);
      lost.files -= back;
      files -= back;
    }
  }

  /** A person has looked and wants these files to go. */
  allow(root: string, place: BytePath, deep: boolean, files: number, forMs: number, now: number): void {
    this.#allowances = this.#allowances.filter((known) => known.root !== root || known.place !== place || known.deep !== deep);
    this.#allowances.push({ root, place, deep, files, until: now + forMs });
  }

  /** A person has let go all that was held of a root: what went until the limit was reached is part of it, and counting begins anew. */
  accept(root: string): void {
    for (const lost of this.#lost.get(root) ?? []) lost.accepted = true;
  }

  /** Files that are allowed to go and have not gone yet, by place. */
  allowances(now: number): readonly Readonly<Allowance>[] {
    return (this.#allowances = this.#allowances.filter(({ files, until }) => files > 0 && until > now));
  }

  /** Where files of a root were lost within the window, accepted ones too. */
  places(root: string, now: number): BytePath[] {
    return [...new Set(this.#kept(root, now).map(({ place }) => place))];
  }

  #allowanceFor(root: string, place: BytePath, now: number): Allowance | null {
    const covers = (known: Allowance) =>
      known.place === place || (known.deep && (known.place === '' || place.startsWith(`${known.place}/`)));
    return this.#allowances.find((known) => known.root === root && known.files > 0 && known.until > now && covers(known)) ?? null;
  }

  /** What counts. */
  #recent(root: string, now: number): Lost[] {
    return this.#kept(root, now).filter(({ accepted }) => !accepted);
  }

  #kept(root: string, now: number): Lost[] {
    return (this.#lost.get(root) ?? []).filter(({ at, files }) => files > 0 && now - at < guardWindowMs);
  }

  /** For a restart: otherwise each start would let as much go again. */
  record(now: number): GuardRecord {
    return {
      lost: [...this.#lost.keys()].flatMap((root) =>
        this.#kept(root, now).map(({ place, kind, at, files, accepted }): GuardRecord['lost'][number] => [
          root,
          place,
          kind,
          now - at,
          files,
          accepted,
        ]),
      ),
      allowed: this.allowances(now).map(({ root, place, deep, files, until }) => [root, place, deep, until - now, files]),
    };
  }

  /** Takes up what the last run recorded, `awayMs` ago. */
  restore({ lost, allowed }: GuardRecord, awayMs: number, now: number): void {
    const away = Math.max(0, awayMs);
    for (const [root, place, kind, ageMs, files, accepted = false] of lost)
      this.#lost.set(root, [...(this.#lost.get(root) ?? []), { place, kind, at: now - ageMs - away, files, accepted }]);
    for (const [root, place, deep, leftMs, files] of allowed)
      this.#allowances.push({ root, place, deep, files, until: now + leftMs - away });
  }
}

function sum(lost: readonly Lost[]): number {
  return lost.reduce((files, each) => files + each.files, 0);
}

/** Files of the place that loses most, with these of one place. */
function mostAtOnePlace(recent: readonly Lost[], place: BytePath, files: number): number {
  const byPlace = new Map([[place, files]]);
  for (const lost of recent) byPlace.set(lost.place, (byPlace.get(lost.place) ?? 0) + lost.files);
  return Math.max(...byPlace.values());
}

function goneOf(lost: readonly Lost[]): number {
  return sum(lost.filter(({ kind }) => kind === 'gone'));
}
