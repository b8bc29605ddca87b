import { describe, expect, it } from 'vitest';
import type { Change } from '../../agent/journal/changes.ts';
import { freshFirst } from '../../agent/replicate/primary/fresh-first.ts';

const change = (path: string, seq: number, more: Partial<Change> = {}): Change => ({
  id: seq,
  seq,
  root: 'mail',
  path,
  kind: 'path',
  at: seq,
  notBefore: 0,
  deferrals: 0,
  ...more,
});
const paths = (changes: readonly Change[]) => changes.map(({ path }) => path);

describe('what the next batch looks at', () => {
  it('is what came first, as long as all of it fits', () => {
    const all = [change('a/1', 1), change('b/2', 2), change('a/3', 3)];
    expect(paths(freshFirst(all, 3))).toEqual(['a/1', 'b/2', 'a/3']);
  });

  it('begins with the latest letter to each of a few mailboxes, when many files of others wait', () => {
    const burst = Array.from({ length: 5000 }, (_, i) => change(`jo/new/${i}`, i));
    const more = Array.from({ length: 500 }, (_, i) => change(`jo/new/late${i}`, 6000 + i));
    const all = [...burst, change('al/new/letter', 5000), change('di/new/letter', 5001), ...more];
    const next = paths(freshFirst(all, 100));
    expect(next.slice(0, 4)).toEqual(['jo/new/late499', 'di/new/letter', 'al/new/letter', 'jo/new/0']);
    expect(next).toHaveLength(100);
    expect(new Set(next).size).toBe(100);
  });

  it('leaves most of it to what waits longest, whatever comes', () => {
    const all = Array.from({ length: 1000 }, (_, i) => change(`u${i}/new/1`, i));
    const next = paths(freshFirst(all, 100));
    expect(next.filter((path) => Number(/\d+/.exec(path)?.[0]) >= 900)).toHaveLength(16);
    expect(next[16]).toBe('u0/new/1');
  });

  it('lets nothing overtake that was put off before, nor comparisons', () => {
    const all = [
      ...Array.from({ length: 200 }, (_, i) => change(`jo/new/${i}`, i)),
      change('al', 300, { kind: 'scan' }),
      change('al/hot', 301, { deferrals: 3 }),
    ];
    expect(paths(freshFirst(all, 100)).slice(0, 2)).toEqual(['jo/new/199', 'jo/new/0']);
  });
});
