import { beforeEach, describe, expect, it } from 'vitest';
import { HeldPlaces } from '../../agent/replicate/primary/held-places.ts';
import { LeftOut, showLeftOut } from '../../agent/replicate/primary/left-out.ts';
import { notCompared } from '../../agent/replicate/primary/not-compared.ts';
import { Unproven } from '../../agent/replicate/primary/unproven.ts';
import { SimClock } from '../sim/sim-clock.ts';
import { SimKvStore } from '../sim/sim-kv.ts';

const link = (path: string, kept = false) => ({ root: 'mail', path, reason: 'link-out', detail: '/disk2/x', kept }) as const;
const socket = (path: string) => ({ root: 'mail', path, reason: 'special', detail: null, kept: false }) as const;

describe('what is left out (I22)', () => {
  const sim = new SimClock();
  const clock = sim.host(1_700_000_000_000);
  let store: SimKvStore;
  let holds: HeldPlaces;
  let leftOut: LeftOut;

  beforeEach(() => {
    store = new SimKvStore(() => 1);
    holds = new HeldPlaces();
    leftOut = new LeftOut({ kv: store.open(clock), clock, holds });
  });

  it('is counted by reason, with the newest examples, and the ones that need somebody first', () => {
    for (let n = 0; n < 8; n++) leftOut.note(socket(`s${n}`));
    leftOut.note(link('example.com', true));
    expect(leftOut.list()).toMatchObject([
      { reason: 'special', count: 8, kept: 0, unexpected: 0 },
      { reason: 'link-out', count: 1, kept: 1, unexpected: 1 },
    ]);
    expect(leftOut.list()[0]?.places.map(showLeftOut)).toEqual(['mail/s7', 'mail/s6', 'mail/s5', 'mail/s4', 'mail/s3']);
    expect(leftOut.list()[1]?.places.map(showLeftOut)).toEqual(['mail/example.com -> /disk2/x']);
  });

  it('is counted once, and no more when it is replicated, gone, or gone with a directory', () => {
    leftOut.note(link('a'));
    leftOut.note(link('a'));
    leftOut.note(socket('d/s'));
    leftOut.note(socket('d/e/s'));
    expect(leftOut.list().map(({ count }) => count)).toEqual([1, 2]);
    leftOut.settle('mail', 'a');
    expect(leftOut.list().map(({ reason, count }) => [reason, count])).toEqual([['special', 2]]);
    leftOut.forgetBelow('mail', 'd');
    expect(leftOut.list()).toEqual([]);
  });

  it('changes its reason with what is there', () => {
    leftOut.note(link('a'));
    leftOut.note(socket('a'));
    expect(leftOut.list().map(({ reason, count }) => [reason, count])).toEqual([['special', 1]]);
  });

  it('is dropped by a scan that does not see it again, unless it is in a directory that the scan did not list', () => {
    leftOut.note(socket('gone'));
    leftOut.note(socket('cur/not-listed'));
    leftOut.note({ ...socket('elsewhere'), root: 'other' });
    const begun = leftOut.beginScan();
    leftOut.note(socket('seen'));
    leftOut.endScan(begun, 'mail', '', (path) => path === 'cur/not-listed');
    expect(
      leftOut
        .list()[0]
        ?.places.map(({ path }) => path)
        .toSorted(),
    ).toEqual(['cur/not-listed', 'elsewhere', 'seen']);
  });

  it('holds a directory that the standby has, also after a restart, until it is settled', async () => {
    leftOut.hold('mail', 'example.com', 'a link is here now');
    expect(holds.blocking('mail', 'example.com/u1')?.code).toBe('left-out');
    // A kill may take what was committed in the last moment.
    await sim.runFor(100);
    store.kill();
    const holdsAgain = new HeldPlaces();
    const again = new LeftOut({ kv: store.open(clock), clock, holds: holdsAgain });
    expect(holdsAgain.blocking('mail', 'example.com')?.code).toBe('left-out');
    expect(again.settle('mail', 'example.com')).toBe(true);
    expect(holdsAgain.list()).toEqual([]);
    await sim.runFor(100);
    store.kill();
    const last = new HeldPlaces();
    void new LeftOut({ kv: store.open(clock), clock, holds: last });
    expect(last.list()).toEqual([]);
  });

  it('releases only what is kept, and what was released is settled when it is replicated again', () => {
    expect(leftOut.release('mail', 'a')).toBe(false);
    leftOut.note(link('a'));
    expect(leftOut.release('mail', 'a')).toBe(false);
    leftOut.note(link('a', true));
    expect(leftOut.release('mail', 'a')).toBe(true);
    expect(leftOut.isReleased('mail', 'a')).toBe(true);
    leftOut.settle('mail', 'a');
    expect(leftOut.isReleased('mail', 'a')).toBe(false);
  });

  it('is never passed over when two nodes are said to be the same', () => {
    const kv = store.open(clock);
    const unproven = new Unproven(kv, clock);
    const primary = { leftOut, holds, unproven };
    expect(notCompared(primary)).toEqual({ count: 0, texts: [], byDesign: [] });
    leftOut.note(socket('s'));
    expect(notCompared(primary)).toEqual({ count: 0, texts: [], byDesign: ['1 × socket, fifo or device'] });
    leftOut.note(link('example.com', true));
    leftOut.hold('mail', 'example.com', 'a link is here now');
    expect(notCompared(primary).count).toBe(1);
    holds.hold({ root: 'mail', path: 'disk', code: 'mount-missing', detail: 'gone', remedy: '', sinceMs: 0 });
    unproven.add('mail', 'x', 'cannot be read: EIO');
    leftOut.note({ root: 'mail', path: '.snapshots', reason: 'excluded', detail: '/.snapshots/', kept: false, mailbox: true });
    const { count, texts } = notCompared(primary);
    expect(count).toBe(4);
    expect(texts.join('\n')).toContain('mail/example.com -> /disk2/x');
    expect(texts.join('\n')).toContain('mail/disk: gone');
  });
});
