import { describe, expect, it } from 'vitest';
import { lacks } from '../../protocol/shortfall.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { Damage } from '../../agent/replicate/primary/damage.ts';
import { damageOfCopy, damageOfStore } from '../../agent/replicate/scrub/turned.ts';
import { Shortfalls } from '../../agent/replicate/standby/shortfalls.ts';
import { PlainPair } from './plain-pair.ts';
import { simFormat } from './sim-format.ts';

const minute = 60_000;
const scrub = { days: 1 / 144, bytesPerSecondMax: 50e6 };

/** A pair that holds some files, all of them on both nodes, and ten minutes for each pass. */
async function makePair(options: ConstructorParameters<typeof PlainPair>[0] = {}) {
  const pair = new PlainPair({ scrub, ...options });
  pair.connect();
  for (const name of ['first', 'second', 'third']) pair.work.writeFile(`/plain/${name}`, `${name} `.repeat(20));
  pair.work.writeFile('/plain/large', Buffer.alloc(400_000, 'large'));
  pair.work.mkdir('/plain/dir', 0o755);
  pair.work.writeFile('/plain/dir/below', 'below');
  await pair.settle();
  await pair.clock.runFor(2 * minute);
  // What was read in the moment of its change is read once more.
  pair.primary.primary?.start();
  await pair.settle();
  return pair;
}

const read = (files: PlainPair['work'], name: string) => files.readFile(`/plain/${name}`, 1e6)?.data.toString() ?? '';
const doubts = (pair: PlainPair) => (pair.primary.primary?.unproven.list() ?? []).map(({ path, kind }) => `${kind} ${path}`);
const damaged = (pair: PlainPair) => (pair.primary.primary?.damage.list() ?? []).map(({ path, there }) => `${path} ${there}`);

describe('a bit that the disk flips', () => {
  it.each(['first', 'large', 'dir/below'])(
    'on the standby is found and mended within a pass, and nobody else is to blame: %s',
    async (name) => {
      const pair = await makePair();
      const before = read(pair.work, name);
      pair.copy.flip(`/plain/${name}`);
      expect(read(pair.copy, name)).not.toBe(before);
      await pair.clock.runFor(25 * minute);
      expect(read(pair.copy, name)).toBe(before);
      const { standby } = pair.standby;
      expect(standby?.receiver.mended).toBe(1);
      expect(standby?.receiver.shortfalls.list()).toEqual([]);
      expect(standby?.foreign()).toEqual([]);
      expect([doubts(pair), damaged(pair)]).toEqual([[], []]);
      expect(standby?.scrubber?.status.last?.files).toBe(5);
      expect(pair.differences()).toEqual([]);
    },
  );

  it('on the standby is in doubt by name until the primary is there to mend it, also over a restart of both', async () => {
    const pair = await makePair();
    pair.network.cut();
    pair.copy.flip('/plain/second');
    await pair.clock.runFor(25 * minute);
    expect(pair.standby.standby?.receiver.shortfalls.list().map(({ path, bits }) => [path, bits])).toEqual([['second', lacks.content]]);
    pair.killStandby();
    pair.killPrimary();
    pair.startPrimary();
    await pair.startStandby();
    pair.connect();
    await pair.clock.runFor(minute);
    expect(read(pair.copy, 'second')).toBe(read(pair.work, 'second'));
    expect(doubts(pair)).toEqual([]);
    expect(pair.standby.standby?.receiver.mended).toBe(1);
  });

  it('on the primary is found and named, and never reaches the standby, whoever compares and connects anew', async () => {
    const pair = await makePair();
    const before = read(pair.work, 'first');
    pair.work.flip('/plain/first');
    await pair.clock.runFor(25 * minute);
    expect(damaged(pair)).toEqual(['first good']);
    expect(read(pair.copy, 'first')).toBe(before);
    const report = await pair.clock.settle(
      pair.primary.primary!.verify(true, minute, new AbortController().signal, () => {}),
      10 * minute,
    );
    expect(report.differences.map(({ node, path }) => `${node} ${path}`)).toEqual(['primary first']);
    pair.network.cut();
    pair.killPrimary();
    pair.startPrimary();
    pair.connect();
    await pair.clock.runFor(5 * minute);
    expect(damaged(pair)).toEqual(['first good']);
    expect(read(pair.copy, 'first')).toBe(before);
    // The good version comes back under every name, with all that the file had.
    const stat = pair.work.lstat('/plain/first');
    const back = await pair.clock.settle(pair.primary.primary!.bringBack('plain', 'first'), minute);
    expect(back).toEqual({ bytes: stat!.size, names: ['first'] });
    expect(read(pair.work, 'first')).toBe(before);
    expect(pair.work.lstat('/plain/first')).toMatchObject({ mode: stat!.mode, uid: stat!.uid, mtimeNs: stat!.mtimeNs });
    expect(
      pair.work
        .readdir('/plain')
        ?.map(({ name }) => name)
        .toSorted(),
    ).toEqual(['dir', 'first', 'large', 'second', 'third']);
    await pair.clock.runFor(minute);
    expect([doubts(pair), damaged(pair), pair.differences()]).toEqual([[], [], []]);
    pair.primary.primary!.start();
    await pair.settle();
    pair.work.flip('/plain/first');
    pair.primary.primary!.scrubber!.hurry();
    await pair.clock.runFor(minute);
    expect(damaged(pair)).toEqual(['first good']);
    // Its attributes go on, and so does its name.
    pair.work.setMeta('/plain/first', { mode: 0o600 });
    pair.work.rename('/plain/first', '/plain/renamed');
    await pair.clock.runFor(minute);
    expect(read(pair.copy, 'renamed')).toBe(before);
    expect(damaged(pair)).toEqual(['renamed good']);
    // A person writes it anew: nothing is left of it.
    pair.work.writeFile('/plain/renamed', 'written anew');
    await pair.clock.runFor(minute);
    expect(read(pair.copy, 'renamed')).toBe('written anew');
    expect([doubts(pair), damaged(pair)]).toEqual([[], []]);
  });

  it('on the primary replaces nothing on a standby whose index was lost, or whose attributes somebody changed', async () => {
    const pair = await makePair();
    const before = read(pair.work, 'first');
    pair.work.flip('/plain/first');
    pair.copy.setMeta('/plain/first', { mode: 0o604 });
    await pair.clock.settle(
      pair.primary.primary!.verify(false, minute, new AbortController().signal, () => {}),
      10 * minute,
    );
    await pair.clock.runFor(5 * minute);
    expect(read(pair.copy, 'first')).toBe(before);
    expect(damaged(pair).map((text) => text.split(' ')[0])).toEqual(['first']);
    expect(doubts(pair)).toEqual(['reading first']);
  });

  it('on both nodes replaces nothing, and is said', async () => {
    const pair = await makePair();
    pair.work.flip('/plain/large', 0.2);
    pair.copy.flip('/plain/large', 0.8);
    const there = read(pair.copy, 'large');
    await pair.clock.runFor(40 * minute);
    expect(read(pair.copy, 'large')).toBe(there);
    expect(damaged(pair)).toEqual(['large damaged']);
    expect(doubts(pair)).toEqual(['content large']);
    expect(pair.primary.primary?.unproven.list()[0]?.reason).toContain('both nodes');
    // What attributes are set anew mends no content.
    pair.work.setMeta('/plain/large', { mode: 0o640 });
    await pair.clock.runFor(minute);
    expect(pair.copy.lstat('/plain/large')?.mode).toBe(0o640);
    expect(pair.standby.standby?.receiver.damaged.map(({ path }) => path)).toEqual(['large']);
    const own = read(pair.work, 'large');
    await expect(pair.clock.settle(pair.primary.primary!.bringBack('plain', 'large'), minute)).rejects.toMatchObject({
      code: 'no-good-version',
    });
    expect(read(pair.work, 'large')).toBe(own);
    expect(pair.work.readdir('/plain')?.length).toBe(5);
  });

  it('on the standby is no base of a difference', async () => {
    const pair = await makePair();
    pair.copy.flip('/plain/large');
    pair.standby.standby?.scrubber?.hurry();
    pair.network.cut();
    await pair.clock.runFor(minute);
    pair.work.append('/plain/large', 'and more');
    pair.connect();
    await pair.clock.runFor(minute);
    expect(read(pair.copy, 'large')).toBe(read(pair.work, 'large'));
    expect(doubts(pair)).toEqual([]);
  });
});

describe('a pass over all content', () => {
  it('takes its time, goes on where it was after a restart, and hurries when a person asks', async () => {
    const pair = await makePair();
    const { standby } = pair.standby;
    await pair.clock.runFor(4 * minute);
    const { share, startedMs } = standby!.scrubber!.status;
    expect(share).toBeGreaterThan(0);
    expect(share).toBeLessThan(1);
    pair.killStandby();
    await pair.startStandby();
    pair.connect();
    await pair.clock.runFor(minute);
    const again = pair.standby.standby!.scrubber!.status;
    expect(again.startedMs).toBe(startedMs);
    expect(again.share).toBeGreaterThanOrEqual(share!);
    pair.standby.standby!.scrubber!.hurry();
    await pair.clock.runFor(minute);
    const { last } = pair.standby.standby!.scrubber!.status;
    expect(last!.endedMs - last!.startedMs).toBeLessThan(minute);
    expect(last!.files).toBe(5);
  });

  it('passes over an error that says nothing of the disk, and names a file that cannot be read', async () => {
    const pair = await makePair();
    const before = read(pair.work, 'first');
    pair.standbyDisk.fail({ operation: 'read', code: 'ENOMEM', path: /second/, times: 100 });
    pair.standbyDisk.fail({ operation: 'read', code: 'EIO', path: /first/, times: 100 });
    pair.network.cut();
    pair.standby.standby?.scrubber?.hurry();
    await pair.clock.runFor(2 * minute);
    const shortfalls = pair.standby.standby?.receiver.shortfalls.list() ?? [];
    expect(shortfalls.map(({ path, text }) => [path, text])).toEqual([['first', 'it cannot be read (EIO)']]);
    pair.standbyDisk.mend();
    pair.connect();
    await pair.clock.runFor(2 * minute);
    expect(read(pair.copy, 'first')).toBe(before);
    expect(pair.standby.standby?.receiver.mended).toBe(1);
  });
});

describe('what is damaged on a node that gets the other role', () => {
  it('is damaged in its own store when it was damaged in its copy, and in its copy when it was in its store', async () => {
    const pair = await makePair();
    pair.network.cut();
    pair.copy.flip('/plain/first');
    pair.standby.standby!.scrubber!.hurry();
    await pair.clock.runFor(minute);
    const { kv, index, files, clock } = pair.standby;
    const { receiver } = pair.standby.standby!;
    expect(receiver.damaged.map(({ path }) => path)).toEqual(['first']);
    const damage = new Damage(kv, clock, silentLog);
    const roots = [{ name: 'plain', path: '/plain', format: simFormat('plain'), staging: '' }];
    damageOfCopy({ kv, clock, log: silentLog, damage, index, files, roots } as unknown as Parameters<typeof damageOfCopy>[0]);
    const { content } = index.at('plain', 'first')!.entry;
    expect(damage.list()).toMatchObject([{ root: 'plain', path: 'first', there: 'unknown', content }]);
    expect(new Shortfalls(kv, clock, silentLog).list()).toEqual([]);
    // And back; what is another file by now is not taken over.
    damage.found('plain', 'second', { ...files.lstat('/plain/second')!, ino: 1n }, content, 'x', 'good');
    receiver.shortfalls.clear('plain', 'first', []);
    damageOfStore({ kv, clock, log: silentLog, index } as unknown as Parameters<typeof damageOfStore>[0], receiver);
    expect(new Damage(kv, clock, silentLog).list()).toEqual([]);
    expect(new Shortfalls(kv, clock, silentLog).list()).toMatchObject([{ path: 'first', bits: lacks.content }]);
    pair.connect();
    await pair.clock.runFor(minute);
    expect(read(pair.copy, 'first')).toBe(read(pair.work, 'first'));
    expect(receiver.mended).toBe(1);
  });
});
