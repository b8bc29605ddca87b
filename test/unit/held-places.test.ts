import { describe, expect, test } from 'vitest';
import { HeldPlaces } from '../../agent/replicate/primary/held-places.ts';

const place = (path: string, code: 'mount-missing' | 'left-out' = 'mount-missing') => ({
  root: 'mail',
  path,
  code,
  detail: 'the disk is not mounted',
  remedy: 'mount it',
  sinceMs: 1,
});

describe('held places (I19, I20)', () => {
  test('keep themselves, what is below them and what is above them from being removed, and nothing beside them', () => {
    const holds = new HeldPlaces();
    holds.hold(place('example.com'));
    expect(holds.blocking('mail', 'example.com')).not.toBeNull();
    expect(holds.blocking('mail', 'example.com/user/cur/1')).not.toBeNull();
    expect(holds.blocking('mail', '')).not.toBeNull();
    expect(holds.blocking('mail', 'example.com.old')).toBeNull();
    expect(holds.blocking('mail', 'example.org')).toBeNull();
    expect(holds.blocking('other', 'example.com')).toBeNull();
    expect(holds.covering('mail', '')).toBeNull();
    expect(holds.covering('mail', 'example.com/user')).not.toBeNull();
  });

  test('of two codes are two holds, and each keeps its time until it is let go', () => {
    const holds = new HeldPlaces();
    holds.hold(place('a'));
    holds.hold({ ...place('a'), sinceMs: 99 });
    holds.hold(place('a', 'left-out'));
    expect(holds.list().map(({ code, sinceMs }) => [code, sinceMs])).toEqual([
      ['mount-missing', 1],
      ['left-out', 1],
    ]);
    expect(holds.letGo(place('a'))).toBe(true);
    expect(holds.letGo(place('a'))).toBe(false);
    expect(holds.blocking('mail', 'a')?.code).toBe('left-out');
  });
});
