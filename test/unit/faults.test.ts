import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encode } from '../../protocol/codec.ts';
import { limits } from '../../protocol/limits.ts';
import type { Op } from '../../protocol/ops.ts';
import type { Stat } from '../../agent/platform/files.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import { faultOf } from '../../agent/replicate/fault.ts';
import { withinBounds } from '../../agent/replicate/primary/bounds.ts';
import { metaOf } from '../../agent/replicate/primary/context.ts';
import { Unproven } from '../../agent/replicate/primary/unproven.ts';
import { withoutAcl } from '../../agent/replicate/standby/set-attributes.ts';
import { SimClock } from '../sim/sim-clock.ts';
import { SimKvStore } from '../sim/sim-kv.ts';

const withCode = (code: unknown) => Object.assign(new Error(String(code)), { code });

describe('whose an error is (I20)', () => {
  it.each([
    ['ENOENT', 'reading', 'gone'],
    ['EACCES', 'reading', 'path'],
    ['EIO', 'reading', 'path'],
    ['ESTALE', 'reading', 'path'],
    ['errno 117', 'reading', 'path'],
    ['EMFILE', 'reading', 'host'],
    ['EIO', 'writing', 'root'],
    ['EROFS', 'writing', 'root'],
    ['ENOSPC', 'writing', 'room'],
    ['EDQUOT', 'writing', 'room'],
    ['EPERM', 'writing', 'path'],
    ['EINVAL', 'writing', 'path'],
    ['ENOMEM', 'writing', 'host'],
    ['errno 117', 'writing', 'path'],
    ['EBADF', 'writing', 'us'],
    ['ERR_OUT_OF_RANGE', 'writing', 'us'],
    ['bad-message', 'reading', 'us'],
    [28, 'writing', 'us'],
  ] as const)('%s while %s is of: %s', (code, doing, of) => {
    expect(faultOf(withCode(code), doing)).toBe(of);
  });

  it('an error for an operator is nobody’s file', () => {
    expect(faultOf(new OperatorError('EPERM', 'x', 'y'), 'reading')).toBe('us');
  });
});

describe('what is carried of a place (I20)', () => {
  const stat: Stat = {
    kind: 'file',
    dev: 1n,
    ino: 1n,
    nlink: 1,
    size: 1,
    mode: 0o600,
    uid: 0,
    gid: 0,
    mtimeNs: 0n,
    ctimeNs: 0n,
    btimeNs: 0n,
  };
  const name = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 250 }).map((b) => `user.${Buffer.from(b.map((c) => c || 1)).toString('latin1')}`),
    fc.constantFrom('system.posix_acl_access', 'system.posix_acl_default'),
  );
  const xattrs = fc
    .array(fc.tuple(name, fc.nat({ max: limits.xattrBytesMax })), { maxLength: 250 })
    .map((all) => new Map(all.map(([key, size]) => [key, Buffer.alloc(size)])));

  it('any attributes fit a frame beside the largest inline content, or are in doubt', () => {
    fc.assert(
      fc.property(xattrs, (found) => {
        const { xattrs: kept, beyond } = withinBounds(stat, found);
        if (beyond === null) expect(kept).toBe(found);
        const meta = metaOf(stat, kept);
        const bytes = Buffer.alloc(limits.inlineFileBytesMax);
        const op: Op = { op: 'put', at: { dir: 0, name: 'x' }, meta, size: bytes.length, content: Buffer.alloc(32), bytes };
        const frame = encode({ type: 'ops', id: 1, dirs: [], ops: [op] });
        expect(frame.length + limits.opsFrameBytesTarget).toBeLessThan(limits.frameBytesMax);
      }),
      { numRuns: 30 },
    );
  });

  it('ACLs are kept where the rest is too much', () => {
    const acl = Buffer.alloc(44);
    const many = Array.from({ length: 200 }, (_, i) => [`user.${i}`, Buffer.alloc(1000)] as const);
    expect(withinBounds(stat, new Map([...many, ['system.posix_acl_access', acl]])).xattrs).toEqual(
      new Map([['system.posix_acl_access', acl]]),
    );
  });
});

describe('permissions without an ACL', () => {
  const entry = (tag: number, permissions: number, id = 0xffff_ffff) => {
    const out = Buffer.alloc(8);
    out.writeUInt16LE(tag, 0);
    out.writeUInt16LE(permissions, 2);
    out.writeUInt32LE(id, 4);
    return out;
  };
  const acl = (...entries: Buffer[]) => Buffer.concat([Buffer.from([2, 0, 0, 0]), ...entries]);

  it('are never wider than the ACL allows anybody', () => {
    // The group's own part counts, not the mask that the mode shows.
    expect(withoutAcl(0o660, acl(entry(1, 6), entry(2, 6, 1000), entry(4, 0), entry(16, 6), entry(32, 0)))).toBe(0o600);
    // Whom the ACL shuts out by name must not come in with the others.
    expect(withoutAcl(0o674, acl(entry(1, 6), entry(2, 0, 1000), entry(4, 7), entry(16, 7), entry(32, 4)))).toBe(0o600);
    expect(withoutAcl(0o2771, acl(entry(1, 7), entry(8, 5, 50), entry(4, 7), entry(16, 7), entry(32, 1)))).toBe(0o2751);
  });
});

describe('doubts (I10, I20)', () => {
  const make = () => {
    const clock = new SimClock();
    const host = clock.host(1_700_000_000_000);
    const store = new SimKvStore(() => 1);
    return { clock, store, host, unproven: new Unproven(store.open(host), host) };
  };

  it('are tried with growing pauses, from half a minute to an hour', () => {
    const { store, host } = make();
    let nowMs = 0;
    const unproven = new Unproven(store.open(host), { monotonicMs: () => nowMs, wallMs: () => nowMs });
    unproven.add('mail', 'a', 'x', 'place');
    const pauses: number[] = [];
    for (let last = 0; pauses.length < 10; nowMs += 1000) {
      if (unproven.due(10).length === 0) continue;
      pauses.push((nowMs - last) / 1000);
      last = nowMs;
      unproven.addAll([{ root: 'mail', path: 'a', bits: 16, reason: 'x' }]);
    }
    expect(pauses).toEqual([30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
  });

  it('block a place and all below it until their time has come', () => {
    const { unproven } = make();
    unproven.add('mail', 'dir', 'x', 'place');
    expect(unproven.isBlocked('mail', 'dir/below/it')).toBe(true);
    expect(unproven.isBlocked('mail', 'dirs')).toBe(false);
    expect(unproven.isBlocked('other', 'dir')).toBe(false);
    unproven.standbyToldAll(new Set());
    expect(unproven.due(10)).toHaveLength(1);
    expect(unproven.isBlocked('mail', 'dir/below/it')).toBe(false);
    unproven.addAll([{ root: 'mail', path: 'dir', bits: 16, reason: 'x' }]);
    expect(unproven.isBlocked('mail', 'dir')).toBe(true);
  });

  it('are tried early when something changes there, but not all the time; below a directory, what cannot be read', () => {
    const { store, host } = make();
    let nowMs = 0;
    const unproven = new Unproven(store.open(host), { monotonicMs: () => nowMs, wallMs: () => nowMs });
    unproven.add('mail', 'u1/cur/a', 'cannot be read');
    unproven.add('mail', 'u1', 'no such owner', 'attributes');
    unproven.add('mail', 'u2', 'cannot be read');
    nowMs = 20_000;
    unproven.nudge('mail', 'u1/cur', false);
    expect(unproven.due(10)).toEqual([]);
    unproven.nudge('mail', 'u1', true);
    expect(unproven.due(10).map(({ path }) => path)).toEqual(['u1/cur/a', 'u1']);
    nowMs = 21_000;
    unproven.nudge('mail', 'u1', true);
    expect(unproven.due(10)).toEqual([]);
    nowMs = 30_000;
    expect(unproven.due(10).map(({ path }) => path)).toEqual(['u1/cur/a', 'u1', 'u2']);
  });

  it('are kept over a restart, with their reason and since when', () => {
    const { store, host, unproven } = make();
    unproven.add('mail', 'a', 'cannot be read', 'reading', 'box');
    unproven.add('mail', 'a', 'no owner', 'attributes');
    unproven.prove('mail', 'b');
    const again = new Unproven(store.open(host), host);
    expect(again.list()).toMatchObject([
      { path: 'a', kind: 'reading', reason: 'cannot be read', again: 'box', sinceMs: 1_700_000_000_000 },
      { path: 'a', kind: 'attributes', reason: 'no owner' },
    ]);
    // What more than the place itself waits for ends with a comparison, which is due at once.
    again.prove('mail', 'a');
    expect(again.due(10).map(({ path }) => path)).toEqual(['a', 'a']);
    again.proveBelow('mail', 'a');
    again.standbyHas('mail', 'a');
    expect(again.count).toBe(0);
    expect(new Unproven(store.open(host), host).count).toBe(0);
  });

  it('beyond the bound the root as a whole is in doubt', () => {
    const { unproven } = make();
    unproven.addAll(Array.from({ length: 10_100 }, (_, i) => ({ root: 'mail', path: `f${i}`, bits: 1, reason: 'x' })));
    expect(unproven.count).toBe(10_001);
    expect(unproven.list().at(-1)).toMatchObject({ path: '', kind: 'attributes' });
    expect(unproven.isBlocked('mail', 'anything')).toBe(false);
  });
});
