import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Files } from '../../agent/platform/files.ts';
import { Lagging } from '../../agent/replicate/primary/lagging.ts';
import { LineWindow } from '../../agent/replicate/primary/line-window.ts';
import { mayRead, nextInLine, type InLine } from '../../agent/replicate/primary/transfer-order.ts';
import { writeSparsely } from '../../agent/replicate/standby/staged-writer.ts';

const MiB = 1024 * 1024;

describe('the window of large content', () => {
  /** Sends as the window allows over a line of this rate (bytes a ms) for a while; the longest delay once it has settled. */
  function delayOver(bytesPerMs: number, forMs: number): { delayMs: number; bytes: number } {
    const window = new LineWindow();
    const underWay: { bytes: number; atMs: number }[] = [];
    let [freeAtMs, delayMs, bytes] = [0, 0, 0];
    for (let now = 0; now < forMs; now++) {
      for (let first = underWay[0]; first && first.atMs <= now; first = underWay[0]) {
        underWay.shift();
        bytes += first.bytes;
        window.taken(first.bytes, now);
      }
      while (window.hasRoom) {
        const slice = window.sliceBytes;
        expect(Number.isInteger(slice)).toBe(true);
        window.sent(slice, now);
        freeAtMs = Math.max(freeAtMs, now) + slice / bytesPerMs;
        if (now > forMs / 2) delayMs = Math.max(delayMs, freeAtMs - now);
        underWay.push({ bytes: slice, atMs: freeAtMs + 1 });
      }
    }
    return { delayMs, bytes };
  }

  it.each([500, 2000, 20_000])('keeps a line of %i bytes a millisecond busy, and what follows waits little', (bytesPerMs) => {
    const { delayMs, bytes } = delayOver(bytesPerMs, 20_000);
    expect(delayMs).toBeLessThan(500);
    expect(bytes).toBeGreaterThan(bytesPerMs * 20_000 * 0.9);
  });

  it('takes a standby that answers more than was sent for what it is', () => {
    const window = new LineWindow();
    window.sent(1000, 0);
    window.taken(5000, 1);
    window.sent(1000, 2);
    expect(window.hasRoom).toBe(true);
  });
});

describe('the order of transfers', () => {
  const one = (order: number, bytesLeft: number, more: Partial<InLine> = {}): InLine => ({
    phase: 'sending',
    isMessage: false,
    bytesLeft,
    order,
    ...more,
  });

  it('is messages first, then what is done soonest, and each eighth turn the oldest', () => {
    const long = one(1, 80_000 * MiB);
    const short = one(2, MiB);
    const message = one(3, 40 * MiB, { isMessage: true });
    const all = [long, short, message];
    expect(Array.from({ length: 8 }, (_, turn) => nextInLine(all, turn)?.order)).toEqual([3, 3, 3, 3, 3, 3, 3, 1]);
    expect(nextInLine([long, short], 0)).toBe(short);
    expect(nextInLine([], 0)).toBe(null);
  });

  it('leaves places to short files, however many long ones there are, and has a bound', () => {
    const open = new Set(Array.from({ length: 16 }, (_, i) => one(i, 20 * MiB)));
    expect(mayRead(open, 0, one(20, 20 * MiB))).toBe(false);
    expect(mayRead(open, 0, one(20, MiB))).toBe(true);
    for (let i = 16; i < 48; i++) open.add(one(i, MiB));
    expect(mayRead(open, 0, one(50, MiB))).toBe(false);
    expect(mayRead(new Set(), 128, one(50, MiB))).toBe(false);
  });
});

describe('files that lag behind', () => {
  const file = { root: 'r', path: 'p', sinceMs: 0, reason: 'it is written all the time' };

  it('are tried again with growing pauses that have a bound, and told when they are old enough', () => {
    const lagging = new Lagging();
    const pauses: number[] = [];
    for (let i = 0, now = 0; i < 12; i++) {
      const at = lagging.failed(file, now, 0);
      pauses.push(at - now);
      now = at;
    }
    expect(pauses.slice(0, 4)).toEqual([250, 500, 1000, 2000]);
    expect(pauses.at(-1)).toBe(60_000);
    expect(lagging.list(4999)).toEqual([]);
    expect(lagging.list(5000)).toMatchObject([{ path: 'p', sinceMs: 0 }]);
    lagging.rested('r', 'p');
    expect(lagging.list(1e9)).toEqual([]);
  });

  it('that took long are not tried at once again', () => {
    expect(new Lagging().failed(file, 1000, 8000)).toBe(17_000);
  });

  it('are tried early when they have changed and rest since, for twice as long as a try takes', () => {
    const lagging = new Lagging();
    lagging.failed(file, 0, 3000, 60_000);
    expect(lagging.takeQuiet(50_000)).toEqual([]);
    lagging.touched('r', 'p', 1000);
    lagging.touched('r', 'p', 2000);
    expect(lagging.takeQuiet(7999)).toEqual([]);
    expect(lagging.takeQuiet(8000)).toMatchObject([{ path: 'p' }]);
    expect(lagging.retryAtMs('r', 'p')).toBe(8000);
    expect(lagging.takeQuiet(20_000)).toEqual([]);
  });

  it('are tried early also when the last change was told during the try that failed, and not when it was told before', () => {
    const lagging = new Lagging();
    lagging.failed(file, 0, 0);
    lagging.touched('r', 'p', 4000);
    lagging.failed(file, 5000, 2000, 60_000);
    expect(lagging.takeQuiet(9000)).toHaveLength(1);
    lagging.touched('r', 'p', 9500);
    lagging.failed(file, 13_000, 2000, 60_000);
    expect(lagging.takeQuiet(50_000)).toEqual([]);
  });

  it('are forgotten when they are gone', () => {
    const lagging = new Lagging();
    lagging.failed(file, 0, 0);
    lagging.prune((root, path) => root === 'r' && path === 'p');
    expect(lagging.list(1e9)).toEqual([]);
  });
});

describe('a staged file', () => {
  it('reads as what was written, wherever zeros and the borders of parts lie, and holds none of the whole blocks of zeros', () => {
    const part = fc.oneof(
      fc.integer({ min: 1, max: 12_000 }).map((length) => Buffer.alloc(length)),
      fc.uint8Array({ minLength: 1, maxLength: 6000 }).map((bytes) => Buffer.from(bytes)),
    );
    fc.assert(
      fc.property(
        fc.array(part, { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 8 }),
        (parts, cuts) => {
          const data = Buffer.concat(parts);
          const disk = Buffer.alloc(data.length);
          const files = { write: (_fd: number, bytes: Buffer, position: number) => void bytes.copy(disk, position) } as unknown as Files;
          let stored = 0;
          for (let at = 0, i = 0; at < data.length; i++) {
            const next = data.subarray(at, at + (cuts[i % cuts.length] ?? 1));
            stored += writeSparsely(files, 1, next, at);
            at += next.length;
          }
          expect(disk.equals(data)).toBe(true);
          expect(stored).toBeLessThanOrEqual(data.length);
        },
      ),
      { numRuns: 200 },
    );
    const files = { write: () => {} } as unknown as Files;
    expect(writeSparsely(files, 1, Buffer.alloc(64 * 1024), 0)).toBe(0);
    expect(writeSparsely(files, 1, Buffer.alloc(64 * 1024), 100)).toBe(4096);
  });
});
