import { describe, expect, it } from 'vitest';
import { DeletionGuard } from '../../agent/replicate/primary/guard.ts';

const minute = 60_000;

describe('the guard against mass deletion', () => {
  it('lets ordinary deletions pass, and holds one that would take too much', () => {
    const guard = new DeletionGuard({ share: 0.2, filesMin: 100 });
    expect(guard.ask('mail', 1, 10_000, 0)).toBe(true);
    expect(guard.held).toBeNull();
    expect(guard.ask('mail', 2500, 10_000, 1)).toBe(false);
    expect(guard.held).toMatchObject({ root: 'mail', files: 2500 });
  });

  it('counts a deletion that comes in pieces as one', () => {
    const guard = new DeletionGuard({ share: 0.2, filesMin: 100 });
    let gone = 0;
    while (guard.ask('mail', 100, 10_000 - gone, gone) && gone < 10_000) gone += 100;
    expect(gone).toBe(2000);
  });

  it('forgets what is long ago', () => {
    const guard = new DeletionGuard({ share: 0.2, filesMin: 100 });
    expect(guard.ask('mail', 1900, 10_000, 0)).toBe(true);
    expect(guard.ask('mail', 1600, 8100, minute)).toBe(false);
    expect(guard.ask('mail', 1600, 8100, 11 * minute)).toBe(true);
  });

  it('counts what was given up and is asked for again once', () => {
    const guard = new DeletionGuard({ share: 0.2, filesMin: 100 });
    for (let tries = 0; tries < 10; tries++) {
      expect(guard.ask('mail', 700, 10_000, tries)).toBe(true);
      expect(guard.ask('mail', 700, 10_000, 5000 + tries)).toBe(true);
      guard.forgive('mail', 1400);
    }
    expect(guard.ask('mail', 1400, 10_000, 6000)).toBe(true);
    expect(guard.ask('mail', 1400, 8600, 6001)).toBe(false);
  });

  it('tells whether it would allow something without counting it', () => {
    const guard = new DeletionGuard({ share: 0.2, filesMin: 100 });
    for (let times = 0; times < 10; times++) expect(guard.allows('mail', 1500, 10_000, times)).toBe(true);
    expect(guard.ask('mail', 1500, 10_000, 20)).toBe(true);
    expect(guard.allows('mail', 1500, 8500, 21)).toBe(false);
    expect(guard.held).toMatchObject({ files: 1500 });
  });

  it('never holds fewer files than the least number', () => {
    const guard = new DeletionGuard({ share: 0.2, filesMin: 100 });
    expect(guard.ask('mail', 100, 100, 0)).toBe(true);
  });

  it('judges each root by itself', () => {
    const guard = new DeletionGuard({ share: 0.2, filesMin: 100 });
    expect(guard.ask('mail', 2000, 10_000, 0)).toBe(true);
    expect(guard.ask('other', 2000, 10_000, 0)).toBe(true);
    expect(guard.ask('mail', 2000, 8000, 0)).toBe(false);
  });

  it('goes on when a person has allowed it, until that deletion has passed', () => {
    const guard = new DeletionGuard({ share: 0.2, filesMin: 100 });
    expect(guard.ask('mail', 5000, 10_000, 0)).toBe(false);
    expect(guard.allow(1)).toBe(5000);
    expect(guard.ask('mail', 5000, 10_000, 1)).toBe(true);
    guard.settle();
    expect(guard.ask('mail', 4000, 5000, 2)).toBe(false);
  });

  it('allows nothing in advance', () => {
    const guard = new DeletionGuard({ share: 0.2, filesMin: 100 });
    guard.allow(0);
    expect(guard.ask('mail', 5000, 10_000, 0)).toBe(false);
  });

  it('knows after a restart what it let go before', () => {
    const guard = new DeletionGuard({ share: 0.2, filesMin: 100 });
    expect(guard.ask('mail', 1500, 10_000, 1000)).toBe(true);
    const restarted = new DeletionGuard({ share: 0.2, filesMin: 100 });
    restarted.restore(guard.window(2000), 3000, 50);
    expect(restarted.ask('mail', 1000, 8500, 60)).toBe(false);
    const later = new DeletionGuard({ share: 0.2, filesMin: 100 });
    later.restore(guard.window(2000), 11 * 60_000, 50);
    expect(later.ask('mail', 1000, 8500, 60)).toBe(true);
  });
});
