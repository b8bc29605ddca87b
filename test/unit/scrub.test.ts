import { describe, expect, it } from 'vitest';
import type { ScrubState } from '../../protocol/control.ts';
import { dayMs, newPass, oldestUnprovedMs, passWrite, readPasses, shareDone, waitMs, type Pass } from '../../agent/replicate/scrub/pass.ts';
import { damageWarnings, scrubState } from '../../agent/replicate/scrub/status.ts';
import { SimClock } from '../sim/sim-clock.ts';
import { SimKvStore } from '../sim/sim-kv.ts';

const nowMs = 1_700_000_000_000;
const total = { files: 1000, bytes: 1e9 };
const half: Pass = { ...newPass(total, nowMs, false), files: 500, bytes: 5e8 };

describe('a pass over all content', () => {
  it('is spread over its time: who is ahead waits, who is late does not, and who is hurried never does', () => {
    const durationMs = 14 * dayMs;
    expect(shareDone(half)).toBe(0.5);
    // Looks at the time once a minute.
    expect(waitMs({ ...half, elapsedMs: 0 }, durationMs)).toBe(60_000);
    expect(waitMs({ ...half, elapsedMs: 7 * dayMs - 1000 }, durationMs)).toBe(1000);
    expect(waitMs({ ...half, elapsedMs: 8 * dayMs }, durationMs)).toBe(0);
    expect(waitMs({ ...half, hurried: true }, durationMs)).toBe(0);
    // Of a wait nothing is left that a clock cannot show.
    expect(waitMs({ ...half, elapsedMs: 7 * dayMs - 0.25 }, durationMs)).toBe(1);
  });

  it('of nothing, or of more than there was, is done', () => {
    expect(shareDone({ files: 0, bytes: 0, total: { files: 0, bytes: 0 } })).toBe(1);
    expect(shareDone({ files: 9000, bytes: 1e12, total })).toBe(1);
  });

  it('goes on after a restart behind the place that it came to, and the time without an agent counts', () => {
    const clock = new SimClock().host(nowMs);
    const kv = new SimKvStore(() => 1).open(clock);
    expect(readPasses(kv, nowMs, dayMs)).toEqual({ pass: null, last: null });
    const last = { startedMs: 1, endedMs: 2, files: 3, bytes: 4, found: 5 };
    const pass = { ...half, cursor: { dir: 7, name: 'caf\xe9 \xff:2,S' }, elapsedMs: 1000, savedMs: nowMs };
    kv.commit([passWrite({ pass, last })]);
    expect(readPasses(kv, nowMs + 5000, dayMs)).toEqual({ pass: { ...pass, elapsedMs: 6000 }, last });
    // A clock that was set back takes no time away, and one that was set far ahead makes no pass older than it may get.
    expect(readPasses(kv, 0, dayMs).pass?.elapsedMs).toBe(1000);
    expect(readPasses(kv, nowMs + 900 * dayMs, dayMs).pass?.elapsedMs).toBe(1000 + dayMs);
  });

  it('says since when the oldest content was not read', () => {
    const last = { startedMs: nowMs, endedMs: nowMs + 10 * dayMs, files: 1, bytes: 1, found: 0 };
    expect(oldestUnprovedMs({ pass: null, last: null })).toBeNull();
    expect(oldestUnprovedMs({ pass: half, last: null })).toBe(nowMs);
    expect(oldestUnprovedMs({ pass: null, last })).toBe(nowMs);
    expect(oldestUnprovedMs({ pass: half, last })).toBe(nowMs + 5 * dayMs);
  });
});

describe('what people are told of damaged files', () => {
  const state = (change: Partial<ScrubState>): ScrubState => ({
    days: 14,
    pass: null,
    lastPass: null,
    oldestUnprovedAt: new Date(nowMs - dayMs).toISOString(),
    readBytes: 0,
    damaged: [],
    damagedCount: 0,
    damagedThere: 0,
    mended: null,
    ...change,
  });
  const file = { root: 'mail', path: "u/cur/it's", reason: 'other content', since: '2026-01-01T00:00:00.000Z', there: 'good' as const };
  const peer = { node: 'mail-a' } as Parameters<typeof damageWarnings>[1]['peer'];
  const primary = { primary: {}, standby: null } as unknown as Parameters<typeof damageWarnings>[0];
  const standby = { primary: null, standby: {} } as unknown as Parameters<typeof damageWarnings>[0];
  const of = (roles: typeof primary, scrub: ScrubState | null) => damageWarnings(roles, { scrub, peer }, nowMs);

  it('is nothing while nothing is damaged, or nothing is read again', () => {
    expect([...of(primary, state({})), ...of(standby, state({})), ...of(primary, null)]).toEqual([]);
  });

  it('names the file on the primary with the command that brings it back, and says when there is no good version', () => {
    const [warning] = of(primary, state({ damaged: [file], damagedCount: 3 }));
    expect(warning).toMatchObject({ code: 'damaged-here', text: expect.stringContaining('3 files of this node are damaged') as string });
    expect(warning?.remedy).toContain(String.raw`mailtwin scrub restore 'mail/u/cur/it'\''s'`);
    const [without] = of(primary, state({ damaged: [{ ...file, there: 'damaged' }], damagedCount: 1 }));
    expect(without?.text).toContain('one file of this node is damaged');
    expect(without?.remedy).not.toContain('scrub restore');
  });

  it('is the same where nothing is read again by itself: others meet damage, too', () => {
    const found = { ...file, ino: 1n, size: 1, mtimeNs: 1n, content: Buffer.alloc(16), sinceMs: nowMs };
    const roles = { primary: { scrubber: null, damage: { list: () => [found], count: 1 } }, standby: null };
    const off = scrubState(roles as unknown as Parameters<typeof scrubState>[0], null);
    expect(off).toMatchObject({ days: 0, pass: null, lastPass: null, damagedCount: 1, damaged: [{ root: 'mail', path: file.path }] });
    expect(of(primary, off).map(({ code }) => code)).toEqual(['damaged-here']);
    expect(scrubState({ primary: null, standby: null }, null)).toBeNull();
  });

  it('says on the standby what of the copy is damaged, and what of the primary', () => {
    const found = of(standby, state({ damaged: [{ ...file, there: null }], damagedCount: 1, damagedThere: 2 }));
    expect(found.map(({ code }) => code)).toEqual(['damaged-copy', 'damaged-there']);
    expect(found[1]?.text).toContain('2 files are damaged on the disk of mail-a');
  });

  it('says when content was not read for much longer than it should be', () => {
    const since = (days: number) => state({ oldestUnprovedAt: new Date(nowMs - days * dayMs).toISOString() });
    expect(of(primary, since(30))).toEqual([]);
    expect(of(primary, since(36))).toMatchObject([{ code: 'scrub-late' }]);
  });
});
