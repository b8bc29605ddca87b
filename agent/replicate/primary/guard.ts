/** Removals of this long ago count together with new ones: a deletion that comes in pieces is one deletion. */
const windowMs = 10 * 60_000;

/** Root, age of the removal in milliseconds, files. */
export type GuardWindow = [root: string, ageMs: number, files: number][];

export interface GuardLimits {
  /** Share (0..1) of a root's files. */
  share: number;
  /** Fewer files than this are never held. */
  filesMin: number;
}

/**
 * The guard against mass deletion: a wiped or wrong store must not wipe its copy. Pure; time in monotonic milliseconds.
 */
export class DeletionGuard {
  readonly #limits: GuardLimits;
  readonly #removed = new Map<string, { at: number; files: number }[]>();
  #held: { root: string; files: number; of: number } | null = null;
  /** Files that a person has allowed to go. */
  #allowance = 0;

  constructor(limits: GuardLimits) {
    this.#limits = limits;
  }

  /** The removals of the window, for a restart: otherwise each start would let as much go again. Ages in milliseconds. */
  window(now: number): GuardWindow {
    return [...this.#removed].flatMap(([root, removed]) =>
      removed.filter((r) => now - r.at < windowMs).map((r): GuardWindow[number] => [root, now - r.at, r.files]),
    );
  }

  /** Takes up the window of the last run, `awayMs` after it was saved. */
  restore(window: GuardWindow, awayMs: number, now: number): void {
    for (const [root, ageMs, files] of window)
      this.#removed.set(root, [...(this.#removed.get(root) ?? []), { at: now - ageMs - Math.max(0, awayMs), files }]);
  }

  /** What is held now; null when nothing is. */
  get held(): { root: string; files: number; of: number } | null {
    return this.#held;
  }

  /** Asks to remove files of a root that has `of` files. Counts them when it is allowed. */
  ask(root: string, files: number, of: number, now: number): boolean {
    if (!this.allows(root, files, of, now)) return false;
    const recent = this.#recent(root, now);
    if (this.#isTooMuch(root, files, of, now)) this.#allowance -= files;
    else {
      const last = recent.at(-1);
      if (last && now - last.at < 1000) last.files += files;
      else recent.push({ at: now, files });
    }
    this.#removed.set(root, recent);
    return true;
  }

  /** Whether files may be removed, without counting them; when not, they are held. */
  allows(root: string, files: number, of: number, now: number): boolean {
    if (!this.#isTooMuch(root, files, of, now) || this.#allowance >= files) return true;
    this.#held = { root, files: Math.max(files, this.#held?.root === root ? this.#held.files : 0), of };
    return false;
  }

  /** What was counted was given up with its batch, and will be asked for again. */
  forgive(root: string, files: number): void {
    const recent = this.#removed.get(root) ?? [];
    for (let left = files; left > 0;) {
      const last = recent.at(-1);
      if (!last) return;
      const taken = Math.min(left, last.files);
      last.files -= taken;
      left -= taken;
      if (last.files === 0) recent.pop();
    }
  }

  #recent(root: string, now: number): { at: number; files: number }[] {
    return (this.#removed.get(root) ?? []).filter((r) => now - r.at < windowMs);
  }

  #isTooMuch(root: string, files: number, of: number, now: number): boolean {
    const before = this.#recent(root, now).reduce((sum, r) => sum + r.files, 0);
    // The root as it was before the window's removals.
    return before + files > Math.max(this.#limits.filesMin, this.#limits.share * (of + before));
  }

  /** A person has looked and wants what is held to go. Returns how many files are released. */
  allow(waitingFiles: number): number {
    const released = this.#held ? Math.max(this.#held.files, waitingFiles) : 0;
    this.#allowance = this.#held ? Number.MAX_SAFE_INTEGER : 0;
    this.#held = null;
    return released;
  }

  /** Nothing waits any more: an allowance that was not used up ends. */
  settle(): void {
    this.#allowance = 0;
    this.#held = null;
  }
}
