import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeEntry, encodeEntry, entryDigest, entryOf, replicatedMode, xattrsDigest, type Entry } from '../../agent/journal/entry.ts';
import { errnoCode, type Stat } from '../../agent/platform/files.ts';
import { metaOf } from '../../agent/replicate/primary/context.ts';
import { mtimeNsOf } from '../../agent/replicate/standby/steps.ts';
import { packOp, unpackOp } from '../../protocol/ops.ts';

const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const i64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
/** Any seconds that the platform gives (64 bits of the kernel's, cut to what a number carries), with nanoseconds. */
const mtimeNs = fc
  .tuple(
    fc.oneof(fc.maxSafeInteger(), fc.constantFrom(-(2 ** 40), -11_676_096_000, -1, 0, 9_223_372_036, 10_413_792_000)),
    fc.nat(999_999_999),
  )
  .map(([seconds, nanoseconds]) => BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds));
const stats: fc.Arbitrary<Stat> = fc.record({
  kind: fc.constantFrom('file', 'dir', 'symlink'),
  dev: u64,
  ino: u64,
  nlink: fc.nat({ max: 2 ** 32 - 1 }),
  size: fc.nat({ max: 2 ** 48 - 1 }),
  mode: fc.nat(0o7777),
  uid: fc.nat(0xffff_fffe),
  gid: fc.nat(0xffff_fffe),
  mtimeNs,
  ctimeNs: i64,
  btimeNs: i64,
});
const bytes = (min: number, max: number) => fc.uint8Array({ minLength: min, maxLength: max }).map((b) => Buffer.from(b));

describe('what the index and the wire hold of a file (I20)', () => {
  it('any stat that the kernel can give comes back from the index as it was, a time of any year too', () => {
    fc.assert(
      fc.property(stats, bytes(32, 32), bytes(8, 8), fc.nat(31), fc.boolean(), (stat, content, xattrs, lacks, racy) => {
        const entry: Entry = { ...entryOf(stat, content, xattrs, stat.kind === 'dir' ? 7 : 0), racy, ...(lacks > 0 ? { lacks } : {}) };
        if (stat.kind === 'dir') entry.mtimeNs = stat.mtimeNs;
        expect(decodeEntry(encodeEntry(entry))).toEqual(entry);
        expect(entryDigest(decodeEntry(encodeEntry(entry)))).toEqual(entryDigest(entry));
      }),
    );
  });

  it('and so do its attributes from the wire', () => {
    fc.assert(
      fc.property(stats, (stat) => {
        const meta = metaOf(stat, null);
        const op = unpackOp(packOp({ op: 'meta', at: { dir: 0, name: 'x' }, meta }), 1);
        expect(op).toMatchObject({ meta });
        expect(mtimeNsOf(meta)).toBe(stat.mtimeNs);
        expect(meta.mode).toBe(replicatedMode(stat.kind, stat.mode));
      }),
    );
  });

  it('two times that differ have digests that differ, beyond 64 bits of nanoseconds too', () => {
    const entry = (timeNs: bigint) =>
      entryOf(
        { kind: 'file', dev: 1n, ino: 1n, nlink: 1, size: 1, mode: 0o600, uid: 0, gid: 0, mtimeNs: timeNs, ctimeNs: 0n, btimeNs: 0n },
        Buffer.alloc(32),
        xattrsDigest(null),
        0,
      );
    const times = [0n, -1n, 1n, 2n ** 63n, -(2n ** 63n) - 1n, 10_413_792_000n * 1_000_000_000n, 10_413_792_001n * 1_000_000_000n];
    expect(new Set(times.map((time) => entryDigest(entry(time)).toString('hex'))).size).toBe(times.length);
  });
});

describe('the errno of an error', () => {
  const withCode = (code: unknown) => Object.assign(new Error('x'), { code });

  it.each(['ENOENT', 'EPERM', 'ESTALE', 'ELOOP', 'ENAMETOOLONG', 'EOVERFLOW', 'EDQUOT'])('%s is the system’s own', (code) => {
    expect(errnoCode(withCode(code))).toBe(code);
  });

  it('a number without a name stays one', () => {
    expect(errnoCode(withCode('errno 117'))).toBe('errno 117');
    expect(errnoCode(withCode('Unknown system error -117'))).toBe('errno 117');
  });

  it.each(['bad-message', 'ERR_OUT_OF_RANGE', 'ERR_INVALID_ARG_TYPE', 'staging', 'ETHINGS', 5, undefined])('%s is none', (code) => {
    expect(errnoCode(withCode(code))).toBeUndefined();
    expect(errnoCode({ code })).toBeUndefined();
  });
});
