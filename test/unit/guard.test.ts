import { describe, expect, it } from 'vitest';
import { DeletionGuard, type Verdict } from '../../agent/replicate/primary/guard.ts';

const minute = 60_000;
const limits = { share: 0.2, filesMin: 100 };

const gone = (guard: DeletionGuard, files: number, of: number, now: number, { root = 'mail', place = 'u' } = {}): Verdict =>
  guard.ask(root, place, 'gone', files, of, now);

describe('the guard against mass deletion', () => {
  it('lets ordinary deletions pass, holds one that would lose too much, and gives the numbers', () => {
    const guard = new DeletionGuard(limits);
    expect(gone(guard, 1, 10_000, 0).goes).toBe(true);
    expect(gone(guard, 2500, 9999, 1)).toEqual({ goes: false, tripped: { files: 2501, of: 10_000, limit: 2000, by: 'share' } });
  });

  it('counts a deletion that comes in pieces as one, also from many places', () => {
    const guard = new DeletionGuard(limits);
    let lost = 0;
    while (gone(guard, 100, 10_000 - lost, lost, { place: `u${lost}` }).goes && lost < 10_000) lost += 100;
    expect(lost).toBe(2000);
  });

  it('forgets what is long ago', () => {
    const guard = new DeletionGuard(limits);
    expect(gone(guard, 1900, 10_000, 0).goes).toBe(true);
    expect(gone(guard, 1600, 8100, minute).goes).toBe(false);
    expect(gone(guard, 1600, 8100, 11 * minute).goes).toBe(true);
  });

  it('counts what was given up and is asked for again once', () => {
    const guard = new DeletionGuard(limits);
    for (let tries = 0; tries < 10; tries++) {
      const asked = [gone(guard, 700, 10_000, tries), gone(guard, 700, 10_000, 5000 + tries)];
      for (const verdict of asked) {
        if (!verdict.goes) throw new Error('it must go');
        guard.forgive(verdict.loss);
      }
    }
    expect(gone(guard, 1400, 10_000, 6000).goes).toBe(true);
    expect(gone(guard, 1400, 8600, 6001).goes).toBe(false);
  });

  it('holds fewer files than the least number only when they are most of a small root', () => {
    const usual = { share: 0.2, filesMin: 1000 };
    const held = (files: number, of: number, places: number) => {
      const guard = new DeletionGuard(usual);
      const each = Math.ceil(files / places);
      for (let went = 0; went < files; went += each) {
        const verdict = gone(guard, Math.min(each, files - went), of - went, 0, { place: `u${went}` });
        if (!verdict.goes) return verdict.tripped;
      }
      return null;
    };
    // The mail of a small company, all of it or most of it.
    expect(held(600, 640, 6)).toMatchObject({ limit: 320, by: 'small' });
    expect(held(600, 640, 1)).toMatchObject({ files: 600, of: 640, limit: 512, by: 'small-place' });
    expect(held(330, 640, 3)).toMatchObject({ files: 330, by: 'small' });
    // One user who empties a folder of some hundred, or a few who tidy up.
    expect(held(400, 640, 1)).toBeNull();
    expect(held(300, 640, 3)).toBeNull();
    // A few dozen of a store of a few dozen.
    expect(held(40, 60, 2)).toMatchObject({ limit: 30 });
    expect(held(30, 31, 1)).toBeNull();
    // Where the least number is less than most of the root it counts, and then the share.
    expect(held(999, 2500, 3)).toBeNull();
    expect(held(1001, 2500, 3)).toMatchObject({ limit: 1000, by: 'least' });
    expect(held(1999, 10_000, 3)).toBeNull();
  });

  it('does not hold the few other letters that go beside an emptied folder as those of a second place', () => {
    const guard = new DeletionGuard({ share: 0.2, filesMin: 1000 });
    expect(gone(guard, 8, 640, 0, { place: 'al' }).goes).toBe(true);
    expect(gone(guard, 450, 632, 1, { place: 'jo/.Trash' }).goes).toBe(true);
    expect(gone(guard, 60, 182, 2, { place: 'al' }).goes).toBe(false);
  });

  it('knows of no small root while it is filled', () => {
    const guard = new DeletionGuard({ share: 0.2, filesMin: 1000 });
    expect(guard.ask('mail', 'u', 'gone', 100, 100, 0, true).goes).toBe(true);
  });

  it('judges each root by itself', () => {
    const guard = new DeletionGuard(limits);
    expect(gone(guard, 2000, 10_000, 0).goes).toBe(true);
    expect(gone(guard, 2000, 10_000, 0, { root: 'other' }).goes).toBe(true);
    expect(gone(guard, 2000, 8000, 0).goes).toBe(false);
  });

  it('takes what has come back under another name out of the count', () => {
    const guard = new DeletionGuard(limits);
    expect(gone(guard, 2000, 10_000, 0).goes).toBe(true);
    guard.giveBack('mail', 1500);
    expect(gone(guard, 1500, 10_000, 1).goes).toBe(true);
    expect(gone(guard, 200, 8500, 2).goes).toBe(false);
  });

  it('counts a rewrite of most of a root as much as its deletion, of the files that the root has', () => {
    const guard = new DeletionGuard(limits);
    let rewritten = 0;
    while (guard.ask('mail', 'u', 'rewritten', 1, 1000, rewritten).goes) rewritten++;
    expect(rewritten).toBe(200);
  });

  it('holds nothing when all of a root may go', () => {
    const guard = new DeletionGuard({ share: 1, filesMin: 1 });
    for (let times = 0; times < 3; times++) expect(guard.ask('mail', 'u', 'rewritten', 1000, 1000, times).goes).toBe(true);
  });

  it('takes the root as it was before the window: what arrives beside a deletion does not raise the limit', () => {
    const guard = new DeletionGuard(limits);
    guard.noteSize('mail', 1000, 0);
    expect(gone(guard, 150, 4000, 1).goes).toBe(true);
    guard.noteSize('mail', 3850, 20_000);
    expect(gone(guard, 51, 3850, 20_001).goes).toBe(false);
    expect(gone(guard, 50, 3850, 20_002).goes).toBe(true);
    expect(gone(guard, 700, 3800, 11 * minute).goes).toBe(true);
  });

  it('lets other places lose a few files when the limit is reached, and not many of them', () => {
    const guard = new DeletionGuard({ share: 0.2, filesMin: 1000 });
    expect(gone(guard, 1000, 5000, 0, { place: 'wiped' }).goes).toBe(true);
    expect(gone(guard, 11, 4000, 1, { place: 'jo' }).goes).toBe(false);
    expect(gone(guard, 9, 4000, 2, { place: 'jo' }).goes).toBe(true);
    expect(gone(guard, 2, 3991, 3, { place: 'jo' }).goes).toBe(false);
    expect(gone(guard, 1, 3991, 4, { place: 'wiped' }).goes).toBe(false);
    let few = 0;
    while (gone(guard, 10, 3991 - few, 5 + few, { place: `user ${few}` }).goes) few += 10;
    expect(few).toBeLessThan(500);
  });

  it('lets go what a person allowed: so many files at that place and below, for a time, and nothing else', () => {
    const guard = new DeletionGuard(limits);
    expect(gone(guard, 5000, 10_000, 0, { place: 'com/jo' }).goes).toBe(false);
    guard.allow('mail', 'com', true, 5000, 10 * minute, 1);
    expect(gone(guard, 5000, 10_000, 2, { place: 'org' }).goes).toBe(false);
    expect(gone(guard, 5000, 10_000, 2, { place: 'com', root: 'other' }).goes).toBe(false);
    expect(gone(guard, 4000, 10_000, 3, { place: 'com/jo' }).goes).toBe(true);
    expect(gone(guard, 4000, 6000, 4, { place: 'com/al' }).goes).toBe(false);
    expect(gone(guard, 1000, 6000, 5, { place: 'com/al' }).goes).toBe(true);
    expect(guard.allowances(6)).toEqual([]);
    // What was allowed is no part of the window.
    expect(gone(guard, 1000, 5000, 7).goes).toBe(true);
    guard.allow('mail', 'org', false, 3000, 10 * minute, 8);
    expect(gone(guard, 3000, 4000, 9, { place: 'org/below' }).goes).toBe(false);
    expect(gone(guard, 3000, 4000, 8 + 10 * minute, { place: 'org' }).goes).toBe(false);
  });

  it('counts anew once a person has let go all that was held, also after a restart, and tells where the rest of it was lost', () => {
    const guard = new DeletionGuard(limits);
    expect(gone(guard, 1900, 10_000, 0, { place: 'tidied' }).goes).toBe(true);
    expect(gone(guard, 1900, 8100, minute, { place: 'u' }).goes).toBe(false);
    guard.allow('mail', 'u', false, 1900, 10 * minute, minute);
    expect(gone(guard, 1900, 8100, minute + 1).goes).toBe(true);
    // Until nothing of it is held any more, what went before still counts.
    expect(gone(guard, 200, 6200, minute + 2, { place: 'tidied' }).goes).toBe(false);
    guard.accept('mail');
    const restarted = new DeletionGuard(limits);
    restarted.restore(guard.record(minute + 3), 0, minute + 3);
    for (const each of [guard, restarted]) {
      expect(each.places('mail', minute + 3)).toEqual(['tidied']);
      expect(gone(each, 200, 6200, minute + 3, { place: 'tidied' }).goes).toBe(true);
      expect(gone(each, 1100, 6000, minute + 4, { place: 'u' })).toMatchObject({
        goes: false,
        tripped: { files: 1300, of: 6200, limit: 1240 },
      });
    }
  });

  it('gives an allowance back with the batch that is given up', () => {
    const guard = new DeletionGuard(limits);
    guard.allow('mail', 'u', false, 5000, minute, 0);
    const verdict = gone(guard, 5000, 10_000, 1);
    if (!verdict.goes) throw new Error('it must go');
    guard.forgive(verdict.loss);
    expect(gone(guard, 5000, 10_000, 2).goes).toBe(true);
  });

  it('knows after a restart what it let go before, and what is allowed', () => {
    const guard = new DeletionGuard(limits);
    expect(gone(guard, 1500, 10_000, 1000).goes).toBe(true);
    guard.allow('mail', 'old', false, 3000, 10 * minute, 1000);
    const restarted = (awayMs: number) => {
      const next = new DeletionGuard(limits);
      next.restore(guard.record(2000), awayMs, 50);
      return next;
    };
    expect(gone(restarted(3000), 1000, 8500, 60).goes).toBe(false);
    expect(gone(restarted(3000), 3000, 8500, 60, { place: 'old' }).goes).toBe(true);
    expect(gone(restarted(11 * minute), 1000, 8500, 60).goes).toBe(true);
    expect(gone(restarted(11 * minute), 3000, 8500, 60, { place: 'old' }).goes).toBe(false);
  });
});
