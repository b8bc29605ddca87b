import { describe, expect, it } from 'vitest';
import { isWorthCollecting } from '../../agent/platform/process-memory.ts';

const mebibyte = 1024 * 1024;

describe('a whole collection of the heap', () => {
  it('waits for rest after work', () => {
    expect(isWorthCollecting({ isAtRest: false, worked: 60, heapGrowth: 0 })).toBe(false);
    expect(isWorthCollecting({ isAtRest: true, worked: 60, heapGrowth: 0 })).toBe(true);
    expect(isWorthCollecting({ isAtRest: true, worked: 1, heapGrowth: 0 })).toBe(false);
  });

  it('does not wait when the heap has grown: a fill of hours never rests', () => {
    expect(isWorthCollecting({ isAtRest: false, worked: 1, heapGrowth: 100 * mebibyte })).toBe(true);
    expect(isWorthCollecting({ isAtRest: false, worked: 1, heapGrowth: 10 * mebibyte })).toBe(false);
  });
});
