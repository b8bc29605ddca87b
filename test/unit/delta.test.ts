import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Piece } from '../../protocol/ops.ts';
import { decodeChunks, encodeChunks } from '../../agent/delta/chunk-code.ts';
import { chooseDelta, chunkFileBytesMin, type Delta } from '../../agent/delta/choose.ts';
import { Chunker } from '../../agent/delta/chunker.ts';
import { ContentScan, scanFile, type OldVersion, type ScanResult } from '../../agent/delta/scan.ts';
import { sizesFor, sizesForNext } from '../../agent/delta/sizes.ts';
import { loadHash64, type Hash64 } from '../../agent/delta/xxhash.ts';

let hash: Hash64;
beforeAll(async () => {
  hash = await loadHash64(0x1234_5678_9abc_def0n);
});

/** Reproducible bytes without structure. */
function noise(length: number, seed: number): Buffer {
  const out = Buffer.alloc(length);
  let x = seed | 1;
  for (let i = 0; i < length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    out[i] = x;
  }
  return out;
}

function scan(data: Buffer, old: OldVersion | null, part = data.length || 1): ScanResult {
  const content = new ContentScan(data.length, old, hash);
  for (let at = 0; at < data.length; at += part) content.update(data.subarray(at, at + part));
  return content.finish();
}

function versionOf(data: Buffer): OldVersion {
  const { size, content, chunks } = scan(data, null);
  return { size, content, chunks };
}

function deltaOf(before: Buffer, after: Buffer): Delta {
  const old = versionOf(before);
  const next = scan(after, old);
  return chooseDelta(
    { oldSize: old.size, newSize: next.size, keepsPrefix: next.keepsPrefix, oldChunks: old.chunks, newChunks: next.comparable },
    (offset, length) => hash.of(after.subarray(offset, offset + length)),
  );
}

/** What the standby does with the pieces. */
function apply(before: Buffer, pieces: Piece[], literal: Buffer): Buffer {
  const parts: Buffer[] = [];
  let used = 0;
  for (const piece of pieces) {
    if ('from' in piece) {
      parts.push(before.subarray(piece.from, piece.from + piece.length));
    } else {
      parts.push(literal.subarray(used, used + piece.literal));
      used += piece.literal;
    }
  }
  expect(used).toBe(literal.length);
  return Buffer.concat(parts);
}

function sent(delta: Delta, after: Buffer): number {
  return delta.kind === 'whole' ? after.length : delta.literalBytes;
}

function rebuilt(delta: Delta, before: Buffer, after: Buffer): Buffer {
  if (delta.kind === 'whole') return after;
  const literal = Buffer.concat(delta.literals.map(({ offset, length }) => after.subarray(offset, offset + length)));
  expect(literal.length).toBe(delta.literalBytes);
  return apply(before, delta.pieces, literal);
}

describe('choice of a delta', () => {
  it('rebuilds the new version from the pieces, whatever was edited', () => {
    const base = noise(700_000, 5);
    const edit = fc.record({
      at: fc.nat(800_000),
      remove: fc.oneof(fc.nat(10), fc.nat(300_000)),
      insert: fc.oneof(fc.nat(10), fc.nat(100_000)),
      zeros: fc.boolean(),
      seed: fc.nat(),
      copyFrom: fc.option(fc.nat(600_000)),
    });
    fc.assert(
      fc.property(fc.nat(base.length), fc.array(edit, { maxLength: 4 }), (size, edits) => {
        const before = base.subarray(0, size);
        let after: Buffer = before;
        for (const e of edits) {
          const at = Math.min(e.at, after.length);
          const inserted =
            e.copyFrom !== null
              ? base.subarray(e.copyFrom, e.copyFrom + e.insert)
              : e.zeros
                ? Buffer.alloc(e.insert)
                : noise(e.insert, e.seed);
          after = Buffer.concat([after.subarray(0, at), inserted, after.subarray(at + e.remove)]);
        }
        const delta = deltaOf(before, after);
        expect(rebuilt(delta, before, after).equals(after)).toBe(true);
        if (delta.kind !== 'whole') {
          const total = delta.pieces.reduce((sum, p) => sum + ('from' in p ? p.length : p.literal), 0);
          expect(total).toBe(after.length);
        }
      }),
      { numRuns: 60 },
    );
  }, 30_000);

  it('sends the tail of any appended file, also of a small one', () => {
    for (const size of [100, 5_000, 70_000, 900_000]) {
      const before = noise(size, 9);
      const after = Buffer.concat([before, Buffer.from('7 :1700000000.M1.host\n')]);
      const delta = deltaOf(before, after);
      expect(delta.kind).toBe('tail');
      expect(sent(delta, after)).toBe(22);
      expect(rebuilt(delta, before, after).equals(after)).toBe(true);
    }
  });

  it('takes a changed beginning of the same size for no append', () => {
    const before = noise(5_000, 9);
    const after = Buffer.concat([before, Buffer.from('more')]);
    after[17]! ^= 1;
    expect(deltaOf(before, after).kind).toBe('whole');
  });

  it('finds a file that grew although its beginning is only known by chunks', () => {
    const before = noise(3_000_000, 4);
    const after = Buffer.concat([before, noise(1000, 8)]);
    const old = versionOf(before);
    const next = scan(after, old);
    const delta = chooseDelta(
      { oldSize: old.size, newSize: next.size, keepsPrefix: false, oldChunks: old.chunks, newChunks: next.comparable },
      (o, n) => hash.of(after.subarray(o, o + n)),
    );
    expect(delta).toMatchObject({ kind: 'tail', literalBytes: 1000 });
  });

  it('sends little for 4 KiB inserted in the middle of 64 MiB, and for zeros', () => {
    const before = noise(64 * 1024 * 1024, 3);
    const after = Buffer.concat([before.subarray(0, 33_000_001), noise(4096, 77), before.subarray(33_000_001)]);
    const delta = deltaOf(before, after);
    expect(delta.kind).toBe('patch');
    expect(sent(delta, after)).toBeLessThan(1024 * 1024);
    const holes = Buffer.alloc(3_000_000);
    const patched = Buffer.from(holes);
    patched[1_500_000] = 1;
    const zeros = deltaOf(holes, patched);
    expect(zeros.kind).toBe('patch');
    expect(sent(zeros, patched)).toBeLessThan(200_000);
  }, 30_000);

  it('sends a small or wholly new file whole, and an emptied one', () => {
    expect(deltaOf(noise(10_000, 1), noise(11_000, 2)).kind).toBe('whole');
    expect(deltaOf(noise(1_000_000, 1), noise(1_000_000, 2)).kind).toBe('whole');
    expect(deltaOf(noise(1000, 1), Buffer.alloc(0)).kind).toBe('whole');
  });
});

describe('chunks', () => {
  it('are the same in whatever parts the content arrives', () => {
    const data = noise(600_000, 12);
    const whole = scan(data, null);
    for (const part of [1_000, 4_096, 99_991]) expect(scan(data, null, part)).toEqual(whole);
    expect(whole.content.equals(createHash('sha256').update(data).digest())).toBe(true);
  });

  it('keep to their bounds and cover the content', () => {
    const sizes = sizesFor(10_000_000);
    const chunker = new Chunker(sizes, hash);
    const data = noise(20_000_000, 31);
    chunker.update(data);
    const { chunks } = chunker.finish();
    let at = 0;
    for (const chunk of chunks) {
      expect(chunk.offset).toBe(at);
      at += chunk.length;
      expect(chunk.length).toBeLessThanOrEqual(sizes.max);
      if (at < data.length) expect(chunk.length).toBeGreaterThanOrEqual(sizes.min);
    }
    expect(at).toBe(data.length);
    const average = data.length / chunks.length;
    expect(average).toBeGreaterThan(40_000);
    expect(average).toBeLessThan(130_000);
  });

  it('are cut elsewhere under another secret', async () => {
    const other = await loadHash64(99n);
    const data = noise(300_000, 6);
    const lengths = (h: Hash64) => {
      const chunker = new Chunker(sizesFor(data.length), h);
      chunker.update(data);
      return chunker.finish().chunks.map((c) => c.length);
    };
    expect(lengths(other)).not.toEqual(lengths(hash));
  });

  it('survive storage, and a damaged list is no list', () => {
    const { chunks } = scan(noise(chunkFileBytesMin * 5, 2), null);
    const stored = encodeChunks(chunks!);
    expect(decodeChunks(stored)).toEqual(chunks);
    expect(decodeChunks(stored.subarray(0, stored.length - 1))).toBeNull();
    expect(decodeChunks(Buffer.alloc(0))).toBeNull();
  });

  it('keep the size of the last list while the file does not outgrow it', () => {
    const small = sizesFor(1_000_000);
    expect(sizesForNext(small, 5 * 1024 ** 2)).toBe(small);
    expect(sizesForNext(small, 100 * 1024 ** 2)).toBe(sizesFor(100 * 1024 ** 2));
    expect(sizesForNext(sizesFor(100 * 1024 ** 2), 1000)).toBe(small);
  });

  it('are comparable across a change of their size', () => {
    const before = noise(3_900_000, 14);
    const after = Buffer.concat([noise(10, 1), before, noise(14_000_000, 15)]);
    const delta = deltaOf(before, after);
    expect(delta.kind).toBe('patch');
    expect(sent(delta, after)).toBeLessThan(14_200_000);
    expect(rebuilt(delta, before, after).equals(after)).toBe(true);
  });

  it('are read block by block with pauses between', async () => {
    const data = noise(3 * 1024 * 1024, 8);
    let pauses = 0;
    const result = await scanFile(
      (o, n) => data.subarray(o, o + n),
      data.length,
      null,
      hash,
      async () => void pauses++,
    );
    expect(result).toEqual(scan(data, null));
    expect(pauses).toBe(3);
  });
});
